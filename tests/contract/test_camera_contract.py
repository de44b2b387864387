"""What every camera backend promises, whichever it is."""

import cv2
import numpy as np
import pytest

from hardware.camera import Camera, CameraError, CameraLostError, CameraMissingError
from hardware.cameras.replay import ReplayCamera
from hardware.cameras.v4l2 import V4l2Camera
from hardware.frame import Frame


class FakeVideo:
    """A cv2.VideoCapture that always has a gray frame."""

    def __init__(self):
        self.props = {}

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def set(self, prop, value):
        self.props[prop] = value
        return True

    def get(self, prop):
        return float(self.props.get(prop, 0))

    def read(self):
        return True, np.full((480, 640), 80, np.uint8)

    def release(self):
        self.props.clear()


class Bench:
    """A backend with the means to have it and to take it away."""

    def __init__(self, camera, take_away):
        self.camera: Camera = camera
        self.take_away = take_away


@pytest.fixture(params=["replay folder", "replay picture", "replay video", "v4l2"])
def bench(request, tmp_path, monkeypatch):
    picture = np.full((480, 640), 80, np.uint8)
    there = tmp_path / "there"
    there.mkdir()
    match request.param:
        case "replay folder":
            cv2.imwrite(str(there / "a.png"), picture)
            camera = ReplayCamera(there, fps=120)
        case "replay picture":
            cv2.imwrite(str(there / "a.png"), picture)
            camera = ReplayCamera(there / "a.png", fps=120)
        case "replay video":
            path = there / "a.avi"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
            for _ in range(3):
                writer.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
            writer.release()
            camera = ReplayCamera(path, fps=120)
        case _:
            video = FakeVideo()
            # The path of the device goes away as that of a recording does.
            monkeypatch.setattr(V4l2Camera, "_probe", lambda self: _probe(there))
            camera = V4l2Camera(str(there), open_video=lambda device: video)
            monkeypatch.setattr(
                video, "read", lambda: (there.exists(), picture if there.exists() else None)
            )
    yield Bench(camera, lambda: there.rename(tmp_path / "away"))
    camera.close()


def _probe(there):
    if not there.exists():
        raise CameraMissingError("Not there.")


def read_one(camera):
    """The next frame, however many empty reads come before it."""
    for _ in range(100):
        if (frame := camera.read(0.5)) is not None:
            return frame
    raise AssertionError("no frame")


def read_on(camera):
    """Read more frames than a recording has; a camera that is gone must tell."""
    for _ in range(200):
        camera.read(0.1)


def test_it_has_a_name(bench):
    assert bench.camera.name


def test_a_frame_is_luma_with_time_and_number(bench):
    bench.camera.open()
    frame = read_one(bench.camera)
    assert isinstance(frame, Frame)
    assert frame.luma.dtype == np.uint8
    assert frame.luma.shape == (480, 640)
    assert abs(int(frame.luma[100, 100]) - 80) <= 2
    frame.release()


def test_frames_are_in_order(bench):
    bench.camera.open()
    first, second = read_one(bench.camera), read_one(bench.camera)
    assert second.sequence > first.sequence
    assert second.captured_at_s >= first.captured_at_s


def test_it_may_be_closed_twice_and_unopened_and_opened_again(bench):
    bench.camera.close()
    bench.camera.open()
    bench.camera.close()
    bench.camera.close()
    bench.camera.open()
    assert read_one(bench.camera)


def test_reading_a_closed_camera_is_a_lost_camera(bench):
    with pytest.raises(CameraLostError):
        bench.camera.read(0.1)


def test_taken_away_while_open_it_is_lost(bench):
    bench.camera.open()
    read_one(bench.camera)
    bench.take_away()
    with pytest.raises(CameraLostError):
        read_on(bench.camera)


def test_taken_away_before_opening_it_is_missing(bench):
    bench.take_away()
    with pytest.raises(CameraMissingError) as caught:
        bench.camera.open()
    assert isinstance(caught.value, CameraError)
    assert caught.value.detail
