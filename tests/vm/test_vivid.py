"""The V4L2 camera before a driver of the kernel: what it delivers, and how it breaks.

Runs in the machine that run.py boots, a slow one: no test here is about speed.
"""

import itertools
import logging
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from vivid import HDMI, SIZE

from hardware.camera import CameraBusyError, CameraLostError, CameraMissingError
from hardware.cameras import v4l2_formats
from hardware.cameras.v4l2 import BUFFERS, V4l2Camera
from kiosk.scanner.capture import Capture
from kiosk.scanner.stages import ZxingStage

FRAMES = Path(__file__).parent.parent / "data" / "frames"
SHOWN = ("easy-01", "dark-theme-01", "rotated-01", "none-01")
UNCOMPRESSED = ("GREY", "NV12", "YU12", "YUYV", "UYVY")


@pytest.fixture
def camera_of(vivid):
    """Makes webcams of vivid, 640x360 at 15 frames a second."""
    made = []

    def make(**how):
        camera = V4l2Camera(vivid.camera, **{"width": 640, "height": 360, "fps": 15} | how)
        made.append(camera)
        return camera

    yield make
    for camera in made:
        camera.close()


def read(camera, timeout_s=5.0):
    frame = camera.read(timeout_s)
    assert frame is not None
    return frame


def read_on(camera):
    """Read until the camera is lost."""
    for _ in range(50):
        if (frame := camera.read(0.5)) is not None:
            frame.release()


def wait_until(condition, limit_s=60):
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("fourcc", UNCOMPRESSED)
def test_a_frame_shown_to_it_is_read_pixel_by_pixel(vivid, camera_of, monkeypatch, fourcc):
    monkeypatch.setattr(v4l2_formats, "FORMATS", (fourcc,))
    vivid.select(HDMI)
    vivid.connect()
    stage = ZxingStage()
    camera = camera_of(width=SIZE[0], height=SIZE[1])
    with vivid.screen_in(fourcc) as show:
        camera.open()
        for name in SHOWN:
            luma = cv2.imread(str(FRAMES / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            expected = (FRAMES / f"{name}.txt").read_bytes().removesuffix(b"\n")
            show(luma)

            def arrived(luma=luma, expected=expected):
                frame = read(camera)
                try:
                    assert frame.luma.shape == (SIZE[1], SIZE[0])
                    if not np.array_equal(frame.luma, luma):
                        return False
                    found = [one.payload for one in stage.decode(frame.luma)]
                    return found == ([expected] if expected else [])
                finally:
                    frame.release()

            wait_until(arrived)


def test_stamps_are_the_drivers_and_frames_are_counted(camera_of):
    camera = camera_of()
    camera.open()
    read(camera).release()
    frames = []
    for _ in range(6):
        frame = read(camera)
        assert 0 <= time.monotonic() - frame.captured_at_s < 0.5
        frame.release()
        frames.append(frame)
    for before, after in itertools.pairwise(frames):
        intervals = round((after.captured_at_s - before.captured_at_s) * 15)
        assert after.sequence - before.sequence == intervals


def test_after_a_pause_the_frame_is_a_new_one(camera_of):
    camera = camera_of()
    camera.open()
    before = read(camera)
    before.release()
    time.sleep(2)
    resumed_at_s = time.monotonic()
    after = read(camera)
    assert after.captured_at_s > resumed_at_s - 0.2
    assert after.sequence - before.sequence > BUFFERS


def test_what_is_on_loan_is_not_overwritten_and_comes_back_by_release(camera_of, vivid):
    vivid.set("OSD Text Mode", 1)  # counters, so that no two frames are alike
    camera = camera_of()
    camera.open()
    frames = [read(camera) for _ in range(BUFFERS)]
    copies = [frame.luma.copy() for frame in frames]
    assert camera.read(0.5) is None
    for frame, copy in zip(frames, copies, strict=True):
        assert np.array_equal(frame.luma, copy)
    for frame in frames:
        frame.release()
        frame.release()
    assert len({read(camera).sequence for _ in range(BUFFERS)}) == BUFFERS


def test_it_closes_and_opens_while_a_frame_is_on_loan(camera_of):
    camera = camera_of()
    camera.open()
    frame = read(camera)
    camera.close()
    level = int(frame.luma.mean())
    camera.open()
    read(camera).release()
    frame.release()
    assert int(frame.luma.mean()) == level
    assert len([read(camera) for _ in range(BUFFERS)]) == BUFFERS


def test_a_damaged_frame_is_dropped_and_told(camera_of, vivid, caplog):
    camera = camera_of()
    camera.open()
    first = read(camera)
    first.release()
    vivid.set("Inject V4L2_BUF_FLAG_ERROR")
    wait_until(lambda: read(camera).release() or "camera frame dropped" in caplog.text)


def test_sequence_and_time_may_wrap(camera_of, vivid):
    vivid.set("Wrap Sequence Number")
    vivid.set("Wrap Timestamp")
    camera = camera_of()
    try:
        camera.open()
        sequences = []
        for _ in range(8):
            frame = read(camera)
            assert abs(time.monotonic() - frame.captured_at_s) < 1
            sequences.append(frame.sequence)
            frame.release()
        assert sequences == sorted(set(sequences))
    finally:
        camera.close()
        vivid.set("Wrap Sequence Number", 0)
        vivid.set("Wrap Timestamp", 0)


def test_gain_is_set_and_read_back_and_what_is_not_there_is_said(camera_of, vivid, caplog):
    with caplog.at_level(logging.DEBUG):
        camera = camera_of(gain=77, exposure=100)
        camera.open()
    assert vivid.get("Gain") == 77
    assert vivid.get("Gain, Automatic") == 0
    told = {one.control: one for one in caplog.records if "obey" in one.getMessage()}
    assert "gain" not in told
    assert told["exposure"].levelno == logging.WARNING
    assert camera.exposure_range() is None
    camera.close()
    camera_of().open()
    assert vivid.get("Gain, Automatic") == 1


def test_another_program_has_it(camera_of):
    first, second = camera_of(), camera_of()
    first.open()
    with pytest.raises(CameraBusyError, match="fuser"):
        second.open()
    read(first).release()
    first.close()
    second.open()
    assert read(second)


def test_a_node_that_delivers_no_pictures_is_named(vivid):
    with pytest.raises(CameraMissingError, match="not the node"):
        V4l2Camera(vivid.screen).open()


def test_a_device_that_is_no_camera_is_named():
    with pytest.raises(CameraMissingError, match="is no camera"):
        V4l2Camera("/dev/null").open()


@pytest.mark.parametrize("fault", ["Inject VIDIOC_REQBUFS Error", "Inject VIDIOC_STREAMON Error"])
def test_a_camera_that_does_not_start_can_be_opened_again(camera_of, vivid, fault):
    camera = camera_of()
    vivid.set(fault)
    with pytest.raises(CameraMissingError):
        camera.open()
    camera.open()
    assert read(camera)


@pytest.mark.parametrize("fault", ["Inject VIDIOC_QBUF Error", "Inject Fatal Streaming Error"])
def test_a_stream_that_breaks_is_a_lost_camera_that_can_be_opened_again(camera_of, vivid, fault):
    camera = camera_of()
    camera.open()
    read(camera).release()
    vivid.set(fault)
    with pytest.raises(CameraLostError, match="any more"):
        read_on(camera)
    camera.open()
    assert read(camera)


def test_unplugged_it_says_so_and_opens_again(camera_of, vivid):
    camera = camera_of()
    camera.open()
    read(camera).release()
    vivid.set("Disconnect")
    with pytest.raises(CameraLostError, match="unplugged"):
        read_on(camera)
    with pytest.raises(CameraLostError, match="unplugged"):
        camera.exposure_range()
    camera.close()
    camera.open()
    assert read(camera)


class Watched:
    """The real capture thread with the real camera, as in the scanner."""

    def __init__(self, camera, stall_s):
        self.capture = Capture(lambda: camera, fps=15, stall_s=stall_s)
        self.capture.want(wanted=True)
        self.capture.start()

    def delivers(self):
        frame = self.capture.take()
        if frame is not None:
            frame.release()
        return frame is not None

    def complains(self, of):
        report = self.capture.report()
        return report is not None and not report.ok and of in report.detail


@pytest.fixture
def watched(camera_of):
    watching = Watched(camera_of(), stall_s=2)
    wait_until(watching.delivers)
    yield watching
    watching.capture.stop(timeout_s=10)


def test_the_capture_thread_gets_over_an_unplugged_camera(watched, vivid):
    vivid.set("Disconnect")
    wait_until(lambda: watched.complains("unplugged"))
    wait_until(watched.delivers)
    assert watched.capture.report().ok


def test_the_capture_thread_notices_a_silent_camera_and_gets_over_it(watched, vivid):
    vivid.set("Percentage of Dropped Buffers", 100)
    wait_until(lambda: watched.complains("No frame"))
    vivid.set("Percentage of Dropped Buffers", 0)
    wait_until(watched.delivers)
    assert watched.capture.report().ok


def test_what_a_frame_costs_beside_opencv(camera_of, vivid, capsys):
    """Not a promise: the figures of decision 0012."""
    frames = 60
    rates = {"fps": 30}
    camera = camera_of(**rates)
    camera.open()
    ours_s = processor_s(lambda: read(camera).release(), frames)
    camera.close()
    video = cv2.VideoCapture(vivid.camera, cv2.CAP_V4L2)
    video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"GREY"))
    video.set(cv2.CAP_PROP_FRAME_WIDTH, 640)
    video.set(cv2.CAP_PROP_FRAME_HEIGHT, 360)
    video.set(cv2.CAP_PROP_FPS, 30)
    video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    assert video.read()[0]
    theirs_s = processor_s(video.read, frames)
    video.release()
    with capsys.disabled():
        print("\nprocessor time of a frame, 640x360 GREY, emulated (compare only the two):")
        print(f"mapped buffers {ours_s * 1e6:.0f} us, cv2.VideoCapture {theirs_s * 1e6:.0f} us")


def processor_s(read_one, frames):
    read_one()
    before_s = time.thread_time()
    for _ in range(frames):
        read_one()
    return (time.thread_time() - before_s) / frames
