"""A wish for an exposure goes to the camera between two frames, and comes back as taken."""

import queue

import numpy as np
import pytest

from hardware.camera import CameraLostError, ExposureRange
from hardware.frame import Frame
from kiosk.scanner.capture import ASK_EXPOSURE_EVERY_S, CameraReport, Capture
from kiosk.scanner.exposure import Setting

WAIT_S = 10.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class SettableCamera:
    """Delivers a frame each time the test lets it, and obeys in steps of ten."""

    name = "settable"

    def __init__(self):
        self.go = queue.Queue()
        self.reading = queue.Queue()
        self.range = ExposureRange(lowest=1, highest=300, now=250)
        self.calls = []
        self.failure = None

    def open(self):
        self.calls.append("open")

    def close(self):
        self.calls.append("close")

    def exposure_range(self):
        self.calls.append("range")
        return self.range

    def expose(self, value):
        self.calls.append(value)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return value // 10 * 10

    def read(self, timeout_s):
        self.reading.put(True)
        self.go.get(timeout=WAIT_S)
        return Frame(np.zeros((4, 4), np.uint8), 0.0, 1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def camera():
    return SettableCamera()


@pytest.fixture
def start(camera, clock, monkeypatch):
    monkeypatch.setattr(Capture, "_pause", lambda self, pause_s: None)
    started = []

    def begin(**how):
        capture = Capture(lambda: camera, fps=30, stall_s=2, clock=clock, **how)
        started.append(capture)
        capture.start()
        camera.reading.get(timeout=WAIT_S)
        return capture

    yield begin
    for capture in started:
        capture._stopping.set()
        camera.go.put(True)
        capture.stop(WAIT_S)


def next_read(camera):
    """Let the camera deliver, and return when it is asked for the frame after that."""
    camera.go.put(True)
    camera.reading.get(timeout=WAIT_S)


def test_what_the_camera_took_is_told_with_its_time(start, camera, clock):
    capture = start(exposes=True)
    assert capture.setting() == Setting(1, 300, 250, since_s=100)
    clock.now_s = 101
    capture.expose(44)
    assert 44 not in camera.calls  # the capture thread waits for a frame

    next_read(camera)

    assert camera.calls[-1] == 44
    assert capture.setting() == Setting(1, 300, 40, since_s=101)


def test_a_wish_is_told_once(start, camera):
    capture = start(exposes=True)
    capture.expose(44)
    for _ in range(3):
        next_read(camera)

    assert camera.calls.count(44) == 1


def test_the_newest_wish_wins(start, camera):
    capture = start(exposes=True)
    capture.expose(44)
    capture.expose(55)
    next_read(camera)

    assert camera.calls == ["open", "range", 55]


def test_until_there_is_a_wish_the_cameras_own_control_is_looked_at_now_and_then(
    start, camera, clock
):
    capture = start(exposes=True)
    camera.range = ExposureRange(lowest=1, highest=300, now=77)
    next_read(camera)
    assert capture.setting().now == 250

    clock.now_s += ASK_EXPOSURE_EVERY_S
    next_read(camera)
    # The camera moved it; nobody set it.
    assert capture.setting() == Setting(1, 300, 77, since_s=100)

    capture.expose(60)
    next_read(camera)
    clock.now_s += 10 * ASK_EXPOSURE_EVERY_S
    next_read(camera)
    assert camera.calls.count("range") == 2


def test_a_camera_that_cannot_be_set_is_said_once_and_left_alone(start, camera, clock, caplog):
    camera.range = None
    capture = start(exposes=True)
    capture.expose(44)
    for _ in range(3):
        clock.now_s += 5
        next_read(camera)

    assert capture.setting() is None
    assert camera.calls == ["open", "range"]
    assert [r.message for r in caplog.records].count("exposure cannot be set by hand") == 1


def test_a_camera_lost_while_it_is_set_is_opened_again_and_told_again(start, camera):
    capture = start(exposes=True)
    camera.failure = CameraLostError("Unplugged.")
    capture.expose(44)
    camera.go.put(True)
    camera.reading.get(timeout=WAIT_S)

    assert camera.calls == ["open", "range", 44, "close", "open", "range", 44]
    assert capture.setting().now == 40
    assert capture.report() == CameraReport(ok=False, detail="Unplugged.")


def test_nobody_asks_a_camera_whose_exposure_is_its_own_affair(start, camera):
    capture = start()
    capture.expose(44)
    next_read(camera)

    assert camera.calls == ["open"]
    assert capture.setting() is None
