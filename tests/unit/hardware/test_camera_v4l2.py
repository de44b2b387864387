"""The V4L2 camera over a pretended cv2.VideoCapture: formats, controls, failures."""

import logging

import cv2
import numpy as np
import pytest

from hardware.camera import CameraBusyError, CameraLostError, CameraMissingError
from hardware.cameras import v4l2
from hardware.cameras.csi import CsiCamera
from hardware.cameras.v4l2 import V4l2Camera

DEVICE = "/dev/null"  # a character device that may be opened


def fourcc(name):
    return cv2.VideoWriter.fourcc(*name)


class FakeVideo:
    """A camera with some formats, each with a size and a pace; frames are handed in."""

    def __init__(self, formats=("GREY", "YUYV", "MJPG"), *, opened=True, max_fps=30, stuck=()):
        self.formats = formats
        self.opened = opened
        self.max_fps = max_fps
        self.stuck = stuck
        self.props = {}
        self.frames = []
        self.released = 0

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.opened

    def set(self, prop, value):
        if prop in self.stuck:
            return False
        if prop == cv2.CAP_PROP_FOURCC and value not in map(fourcc, self.formats):
            value = fourcc(self.formats[0])
        if prop == cv2.CAP_PROP_FPS:
            name = next(f for f in self.formats if fourcc(f) == self.props[cv2.CAP_PROP_FOURCC])
            value = min(value, self.max_fps[name] if isinstance(self.max_fps, dict) else 30)
        self.props[prop] = value
        return True

    def get(self, prop):
        return float(self.props.get(prop, 0))

    def read(self):
        return self.frames.pop(0)()

    def release(self):
        self.released += 1


def opened(video, **how):
    camera = V4l2Camera(DEVICE, open_video=lambda device: video, **how)
    camera.open()
    return camera


def show(video, pixels):
    video.frames.append(lambda: (True, pixels))


@pytest.mark.parametrize(
    ("formats", "chosen"),
    [
        (("GREY", "YUYV", "MJPG"), "GREY"),
        (("MJPG", "YUYV"), "YUYV"),
        (("MJPG",), "MJPG"),
    ],
)
def test_the_format_nearest_to_luma_is_taken(formats, chosen):
    video = FakeVideo(formats)
    opened(video)
    assert video.props[cv2.CAP_PROP_FOURCC] == fourcc(chosen)
    assert video.props[cv2.CAP_PROP_CONVERT_RGB] == 0
    assert video.props[cv2.CAP_PROP_BUFFERSIZE] == 1


def test_a_format_too_slow_at_this_size_is_passed_over():
    video = FakeVideo(("YUYV", "MJPG"), max_fps={"YUYV": 10, "MJPG": 30})
    opened(video, width=1280, height=720)
    assert video.props[cv2.CAP_PROP_FOURCC] == fourcc("MJPG")


def test_a_camera_that_has_nothing_of_it_is_used_with_a_warning(caplog):
    video = FakeVideo(("NV12",), max_fps={"NV12": 5})
    opened(video)
    assert "not what was asked for" in caplog.text


def test_yuyv_gives_a_view_of_every_other_byte():
    video = FakeVideo()
    camera = opened(video)
    pixels = np.zeros((480, 640, 2), np.uint8)
    pixels[:, :, 0] = 77
    show(video, pixels)
    frame = camera.read(1)
    assert frame.luma.shape == (480, 640)
    assert np.shares_memory(frame.luma, pixels)
    assert (frame.luma == 77).all()


@pytest.mark.parametrize("shape", [(480, 640), (1, 480 * 640), (480 * 640, 1)])
def test_grey_gives_the_plane_itself(shape):
    video = FakeVideo()
    camera = opened(video)
    pixels = np.full(shape, 9, np.uint8)
    show(video, pixels)
    luma = camera.read(1).luma
    assert luma.shape == (480, 640)
    assert np.shares_memory(luma, pixels)


def test_mjpg_gives_the_luma_of_the_jpeg():
    video = FakeVideo()
    camera = opened(video)
    _, packed = cv2.imencode(".jpg", np.full((480, 640, 3), 120, np.uint8))
    show(video, packed.reshape(1, -1))
    luma = camera.read(1).luma
    assert luma.shape == (480, 640)
    assert abs(int(luma[5, 5]) - 120) <= 1


def test_a_converted_frame_becomes_luma():
    video = FakeVideo()
    camera = opened(video)
    show(video, np.full((480, 640, 3), 50, np.uint8))
    assert (camera.read(1).luma == 50).all()


@pytest.mark.parametrize(
    "pixels", [np.frombuffer(b"\xff\xd8 broken", np.uint8), np.zeros((1, 0), np.uint8)]
)
def test_a_truncated_jpeg_is_no_frame_and_no_failure(pixels):
    video = FakeVideo()
    camera = opened(video)
    show(video, pixels.reshape(1, -1))
    assert camera.read(1) is None


def test_auto_is_set_as_auto():
    video = FakeVideo()
    opened(video)
    assert video.props[cv2.CAP_PROP_AUTO_EXPOSURE] == 3
    assert video.props[cv2.CAP_PROP_AUTOFOCUS] == 1
    assert cv2.CAP_PROP_GAIN not in video.props


def test_numbers_are_set_as_numbers():
    video = FakeVideo()
    opened(video, exposure=80, gain=5, focus=30)
    assert video.props[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert video.props[cv2.CAP_PROP_EXPOSURE] == 80
    assert video.props[cv2.CAP_PROP_GAIN] == 5
    assert video.props[cv2.CAP_PROP_AUTOFOCUS] == 0
    assert video.props[cv2.CAP_PROP_FOCUS] == 30


def test_a_number_that_the_camera_does_not_obey_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        opened(FakeVideo(stuck=[cv2.CAP_PROP_FOCUS, cv2.CAP_PROP_AUTOFOCUS]), focus=30)
    [record] = [one for one in caplog.records if "obey" in one.getMessage()]
    assert (record.control, record.asked) == ("focus", 30)


def test_the_drivers_time_is_taken_where_it_is_monotonic():
    video = FakeVideo()
    camera = V4l2Camera(DEVICE, open_video=lambda device: video, clock=lambda: 100.0)
    camera.open()
    for driver_s, stamp_s in ((99.98, 99.98), (1_700_000_000.0, 100.0), (0.0, 100.0)):
        video.props[cv2.CAP_PROP_POS_MSEC] = driver_s * 1000
        show(video, np.zeros((480, 640), np.uint8))
        assert camera.read(1).captured_at_s == pytest.approx(stamp_s)


def test_a_device_that_is_not_there_is_missing():
    with pytest.raises(CameraMissingError, match="plugged in"):
        V4l2Camera("/dev/video-none").open()


def test_a_file_is_no_camera(tmp_path):
    (tmp_path / "video0").write_bytes(b"")
    with pytest.raises(CameraMissingError, match="no device"):
        V4l2Camera(str(tmp_path / "video0")).open()


@pytest.mark.parametrize(
    ("error", "expected", "advice"),
    [
        (PermissionError(13, "denied"), CameraMissingError, "usermod"),
        (OSError(16, "busy"), CameraBusyError, "another program"),
        (OSError(19, "no device"), CameraMissingError, "plugged in"),
    ],
)
def test_the_systems_refusal_says_what_to_do(monkeypatch, error, expected, advice):
    def refuse(path, flags):
        raise error

    monkeypatch.setattr(v4l2.os, "open", refuse)
    with pytest.raises(expected, match=advice):
        V4l2Camera(DEVICE).open()


def test_a_camera_that_does_not_start_is_busy_and_given_back():
    video = FakeVideo(opened=False)
    with pytest.raises(CameraBusyError, match="fuser"):
        opened(video)
    assert video.released == 1


class TickingClock:
    """Moves on by the next of the given steps at each look."""

    def __init__(self, *steps):
        self.now_s, self.steps = 10.0, list(steps)

    def __call__(self):
        self.now_s += self.steps.pop(0)
        return self.now_s


def reading(video, *steps):
    camera = V4l2Camera(DEVICE, open_video=lambda device: video, clock=TickingClock(*steps))
    camera.open()
    video.frames.append(lambda: (False, None))
    return camera


def test_no_frame_in_time_is_no_frame():
    assert reading(FakeVideo(), 0.0, 1.0).read(0.2) is None


def test_a_driver_that_gives_up_at_once_is_lost():
    with pytest.raises(CameraLostError, match="stopped"):
        reading(FakeVideo(), 0.0, 0.01).read(0.2)


def test_an_unplugged_camera_is_lost(monkeypatch):
    camera = reading(FakeVideo(), 0.0, 1.0)
    monkeypatch.setattr(v4l2.Path, "exists", lambda path: False)
    with pytest.raises(CameraLostError, match="cable"):
        camera.read(0.2)


def test_opencv_failing_is_a_lost_camera():
    video = FakeVideo()
    camera = opened(video)

    def fail():
        raise cv2.error("x")

    video.frames.append(fail)
    with pytest.raises(CameraLostError):
        camera.read(0.2)


def test_closing_gives_the_device_back_once():
    video = FakeVideo()
    camera = opened(video)
    camera.close()
    camera.close()
    assert video.released == 1


def test_csi_says_what_to_use_instead():
    camera = CsiCamera()
    with pytest.raises(CameraMissingError, match="picamera2"):
        camera.open()
    with pytest.raises(CameraLostError):
        camera.read(0.1)
    camera.close()
