"""The CSI camera over a module with picamera2's interface: requests, controls, time, failures."""

import importlib
import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_picamera2 import FakePicamera2

from hardware.camera import CameraBusyError, CameraLostError, CameraMissingError
from hardware.cameras.csi import BUFFERS, CsiCamera


@pytest.fixture
def picamera2():
    return FakePicamera2()


@pytest.fixture
def opened(picamera2):
    """Opens a camera of this module."""
    made = []

    def make(device="0", **how):
        made.append(CsiCamera(device, load=lambda: picamera2, **how))
        made[-1].open()
        return made[-1]

    yield make
    for camera in made:
        camera.close()


def test_it_asks_for_luma_first_at_the_size_and_pace(picamera2, opened):
    opened(width=1280, height=720, fps=25)
    config = picamera2.camera.config
    assert config["main"]["size"] == (1280, 720)
    assert config["buffer_count"] == BUFFERS
    assert config["controls"]["FrameDurationLimits"] == (40_000, 40_000)
    assert (config["display"], config["encode"]) == (None, None)


def test_a_frame_is_the_first_rows_of_the_buffer_and_holds_its_request(picamera2, opened):
    camera = opened()
    frame = camera.read(1)
    assert frame.luma.shape == (480, 640)
    assert frame.luma.strides == (704, 1)
    assert np.shares_memory(frame.luma, picamera2.camera.pixels(0))
    assert (len(picamera2.camera.free), picamera2.mapped) == (BUFFERS - 1, 1)
    frame.release()
    frame.release()
    assert (len(picamera2.camera.free), picamera2.mapped) == (BUFFERS, 0)


def test_a_request_that_is_late_is_waited_for_again(picamera2, opened):
    camera = opened()
    picamera2.delivers = False
    assert camera.read(0.01) is None
    assert camera.read(0.01) is None
    assert len(picamera2.camera.jobs) == 1
    picamera2.delivers = True
    assert camera.read(0.01)
    assert not picamera2.camera.jobs


def test_a_request_from_before_a_pause_is_given_back(picamera2, opened):
    camera = opened()
    picamera2.delivers = False
    assert camera.read(0) is None
    picamera2.delivers = True
    picamera2.camera.deliver(ago_s=3)
    frame = camera.read(1)
    assert time.monotonic() - frame.captured_at_s < 1
    frame.release()
    assert (len(picamera2.camera.free), picamera2.mapped) == (BUFFERS, 0)


def test_frames_that_were_passed_over_are_counted(picamera2, opened, monkeypatch):
    camera = opened(fps=30)
    stamps_s = [time.monotonic() + at / 30 for at in (0, 1, 2, 5, 5)]
    monkeypatch.setattr(camera, "_stamp", lambda told: stamps_s.pop(0))
    numbers = []
    while stamps_s:
        frame = camera.read(1)
        numbers.append(frame.sequence)
        frame.release()
    assert numbers == [1, 2, 3, 6, 7]


def test_the_sensors_stamp_is_taken_and_one_of_a_machine_that_slept_is_put_right(
    opened, monkeypatch
):
    camera = opened()
    now_s = time.monotonic()
    assert camera._stamp({"SensorTimestamp": round((now_s - 0.03) * 1e9)}) == pytest.approx(
        now_s - 0.03, abs=1e-6
    )
    assert camera._stamp({}) >= now_s
    slept_s = 3600
    monkeypatch.setattr(time, "clock_gettime", lambda clock: time.monotonic() + slept_s)
    booted = {"SensorTimestamp": round((now_s - 0.03 + slept_s) * 1e9)}
    assert camera._stamp(booted) == pytest.approx(now_s - 0.03, abs=0.01)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 0), np.uint8),
        np.zeros((720, 600), np.uint8),
        np.zeros((400, 704), np.uint8),
        np.zeros((720, 704), np.uint16),
        np.zeros(720 * 704, np.uint8),
        None,
    ],
)
def test_what_is_no_luma_is_dropped_and_given_back(picamera2, opened, caplog, pixels):
    camera = opened()

    def once(whole):
        picamera2.damaged = lambda pixels: pixels
        return pixels

    picamera2.damaged = once
    assert camera.read(1).luma.shape == (480, 640)
    assert len(picamera2.camera.free) == BUFFERS - 1
    assert "camera frame dropped" in caplog.text


def test_damage_without_end_is_one_report_and_no_frame(picamera2, opened, caplog):
    camera = opened()
    picamera2.damaged = lambda whole: None
    assert camera.read(0.1) is None
    assert caplog.text.count("camera frame dropped") == 1
    assert len(picamera2.camera.free) == BUFFERS


@pytest.mark.parametrize("where", ["wait", "metadata", "map"])
def test_a_failure_of_libcamera_is_a_lost_camera(picamera2, opened, monkeypatch, where):
    camera = opened()

    def fail(*arguments):
        raise RuntimeError("failed to find buffer")

    match where:
        case "wait":
            picamera2.fails = RuntimeError("failed to find buffer")
        case "metadata":
            monkeypatch.setattr("fake_picamera2.Request.get_metadata", fail)
        case "map":
            picamera2.damaged = fail
    with pytest.raises(CameraLostError, match="failed to find"):
        camera.read(1)
    if where != "map":
        assert picamera2.mapped == 0
    assert len(picamera2.camera.free) == BUFFERS


# Controls.


def test_auto_is_set_as_auto(picamera2, opened):
    opened(exposure="screen")
    assert picamera2.camera.set["AeEnable"] is True
    assert picamera2.camera.set["AfMode"] == 2
    assert not {"ExposureTime", "AnalogueGain", "LensPosition"} & set(picamera2.camera.set)


def test_numbers_are_set_as_numbers(picamera2, opened):
    opened(exposure=8000, gain=4, focus=10)
    wanted = {"ExposureTime": 8000, "AnalogueGain": 4.0, "AfMode": 0, "LensPosition": 10.0}
    assert picamera2.camera.set.items() >= wanted.items()
    assert "AeEnable" not in picamera2.camera.set


def test_what_the_sensor_has_not_is_said_where_a_number_was_asked_for(picamera2, opened, caplog):
    del picamera2.controls["AfMode"], picamera2.controls["LensPosition"]
    with caplog.at_level(logging.WARNING):
        opened(focus=10)
    assert [one.control for one in caplog.records if "obey" in one.getMessage()] == ["LensPosition"]


def test_an_exposure_by_hand_keeps_the_gain_that_there_is(picamera2, opened):
    camera = opened(fps=30)
    limits = camera.exposure_range()
    assert (limits.lowest, limits.highest) == (26, 33_333)
    camera.read(1).release()
    assert camera.exposure_range().now == 20_000
    assert camera.expose(5000) == 5000
    assert picamera2.camera.set["AnalogueGain"] == 2.5
    picamera2.camera.gain = 2.4  # as the sensor rounds it
    camera.read(1).release()
    assert camera.expose(1_000_000) == 33_333
    assert picamera2.camera.set["AnalogueGain"] == 2.5


def test_an_exposure_by_hand_leaves_a_gain_by_hand_alone(picamera2, opened):
    camera = opened(gain=4)
    camera.read(1).release()
    camera.expose(5000)
    assert picamera2.camera.set["AnalogueGain"] == 4.0


def test_a_size_that_libcamera_changed_is_used_with_a_warning(opened, caplog):
    camera = opened(width=641, height=481)
    assert camera.read(1).luma.shape == (480, 640)
    assert "not what was asked for" in caplog.text


def test_a_sensor_without_exposure_time_cannot_be_set(picamera2, opened):
    del picamera2.controls["ExposureTime"]
    assert opened().exposure_range() is None


def test_a_camera_that_refuses_an_exposure_is_lost(picamera2, opened, monkeypatch):
    camera = opened()

    def fail(controls):
        raise RuntimeError("gone")

    monkeypatch.setattr(picamera2.camera, "set_controls", fail)
    with pytest.raises(CameraLostError, match="gone"):
        camera.expose(100)


# Opening and closing.


@pytest.mark.parametrize("device", ["0", "/dev/video0"])
def test_the_default_device_is_the_first_camera(opened, device):
    assert opened(device).name == "csi 0"


def test_a_number_that_is_not_there_is_missing(picamera2, opened):
    with pytest.raises(CameraMissingError, match="list-cameras"):
        opened("1")
    assert not picamera2.opened


def test_a_camera_that_does_not_start_is_missing_and_given_back(picamera2, opened, monkeypatch):
    def fail(camera):
        raise RuntimeError("Failed to start camera: Broken pipe")

    monkeypatch.setattr(picamera2.Picamera2, "start", fail)
    with pytest.raises(CameraMissingError, match="Broken pipe"):
        opened()
    assert picamera2.camera.closed


def test_a_camera_in_use_is_busy(picamera2, opened):
    picamera2.busy = True
    with pytest.raises(CameraBusyError, match="another program"):
        opened()


def test_closing_ends_the_wait_for_a_request_before_it_stops(picamera2, opened):
    camera = opened()
    picamera2.delivers = False
    assert camera.read(0.01) is None
    camera.close()
    assert picamera2.camera.closed


def test_a_request_that_came_just_before_closing_is_given_back(picamera2, opened):
    camera = opened()
    picamera2.delivers = False
    assert camera.read(0.01) is None
    picamera2.delivers = True
    picamera2.camera.deliver()
    camera.close()
    assert len(picamera2.camera.free) == BUFFERS


def test_a_camera_that_does_not_close_is_logged_and_left(picamera2, opened, monkeypatch, caplog):
    camera = opened()

    def fail():
        raise RuntimeError("stuck")

    monkeypatch.setattr(picamera2.camera, "stop", fail)
    camera.close()
    assert "does not close" in caplog.text


def test_a_request_that_cannot_be_given_back_is_no_matter(picamera2, opened):
    camera = opened()
    frame = camera.read(1)

    def fail(self):
        raise RuntimeError("the camera is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fake_picamera2.Request.release", fail)
        frame.release()


# The module itself.


def test_without_picamera2_the_advice_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraMissingError, match="system-site-packages") as caught:
        CsiCamera().open()
    assert "python3-picamera2" in caught.value.advice


def test_a_picamera2_that_does_not_fit_numpy_is_missing_too(monkeypatch):
    def fail(name):
        raise ValueError("numpy.dtype size changed")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(CameraMissingError, match="size changed"):
        CsiCamera().open()


def test_picamera2_is_loaded_when_the_camera_is_opened_not_before(tmp_path):
    (tmp_path / "picamera2.py").write_text("raise ImportError('loaded')")
    script = (
        "from hardware.cameras.csi import CsiCamera\n"
        "camera = CsiCamera()\n"
        "try: camera.open()\n"
        "except Exception as error: print(error.detail)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert "(loaded)" in ran.stdout
