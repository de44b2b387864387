"""The newest frame wins, stale ones are given back, and a camera that fails is opened again."""

import queue
import select
import threading

import numpy as np
import pytest

from hardware.camera import CameraLostError, CameraMissingError
from hardware.frame import Frame
from kiosk.scanner import capture as capture_module
from kiosk.scanner.capture import CameraReport, Capture, CaptureHungError

WAIT_S = 10.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class ScriptedCamera:
    """Does one scripted thing for each `open` and `read`; the test hands them in.

    A script step is a Frame, None, an exception to raise, or a function to call.
    """

    name = "scripted"

    def __init__(self):
        self.opens = queue.Queue()
        self.reads = queue.Queue()
        self.opened = queue.Queue()
        self.closed = queue.Queue()
        self.reading = queue.Queue()

    def open(self):
        self.opened.put(True)
        self._do(self.opens)

    def read(self, timeout_s):
        self.reading.put(True)
        return self._do(self.reads)

    def close(self):
        self.closed.put(True)

    def _do(self, steps):
        step = steps.get(timeout=WAIT_S)
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    def await_read(self):
        """Return when the camera is asked for a frame: all earlier steps are done."""
        self.reading.get(timeout=WAIT_S)


class Loans:
    """Makes frames and knows which were given back."""

    def __init__(self, clock):
        self.clock = clock
        self.returned = []
        self.count = 0

    def frame(self, age_s=0.0):
        self.count += 1
        sequence = self.count
        return Frame(
            np.zeros((4, 4), np.uint8),
            self.clock() - age_s,
            sequence,
            lambda: self.returned.append(sequence),
        )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def camera():
    return ScriptedCamera()


@pytest.fixture
def loans(clock):
    return Loans(clock)


@pytest.fixture
def capture(camera, clock, monkeypatch):
    # Waiting between two tries is a wait for the clock, which the test moves.
    monkeypatch.setattr(Capture, "_pause", lambda self, pause_s: pauses.append(pause_s))
    pauses = []
    made = Capture(lambda: camera, fps=30, stall_s=2, clock=clock)
    made.pauses = pauses
    yield made
    made._stopping.set()
    for _ in range(3):
        camera.opens.put(None)
        camera.reads.put(None)
    made.stop(WAIT_S)


def delivering(capture, camera):
    """Start, and get the camera as far as its first read."""
    capture.want(wanted=True)
    capture.start()
    camera.opens.put(None)
    camera.await_read()


def deliver(camera, *steps):
    """Let the camera do these steps, and return when they are done."""
    for step in steps:
        camera.reads.put(step)
        camera.await_read()


def test_the_newest_frame_wins_and_the_others_are_given_back(capture, camera, loans):
    delivering(capture, camera)

    deliver(camera, loans.frame(), loans.frame(), loans.frame())

    assert capture.take().sequence == 3
    assert loans.returned == [1, 2]
    assert capture.take() is None


def test_a_frame_makes_the_descriptor_readable(capture, camera, loans):
    delivering(capture, camera)
    deliver(camera, loans.frame())

    assert select.select([capture.fileno()], [], [], WAIT_S)[0]
    capture.take().release()
    assert not select.select([capture.fileno()], [], [], 0)[0]


@pytest.mark.parametrize(("fps", "age_s", "fresh"), [(30, 0.09, True), (30, 0.11, False)])
def test_a_stale_frame_is_given_back_undecoded(capture, camera, loans, fps, age_s, fresh):
    delivering(capture, camera)
    deliver(camera, loans.frame(age_s))

    assert (capture.take() is not None) is fresh
    assert loans.returned == ([] if fresh else [1])
    assert capture.stale == (0 if fresh else 1)


def test_a_slow_camera_may_have_older_frames(camera, clock, loans):
    capture = Capture(lambda: camera, fps=10, stall_s=2, clock=clock)
    capture.want(wanted=True)
    capture._put(loans.frame(age_s=0.25))
    assert capture.take() is not None


def test_a_frame_that_waits_becomes_stale(capture, camera, loans, clock):
    delivering(capture, camera)
    deliver(camera, loans.frame())
    clock.now_s += 0.2

    assert capture.take() is None
    assert loans.returned == [1]


def test_while_nothing_is_wanted_frames_are_given_back_and_the_camera_stays_open(
    capture, camera, loans
):
    delivering(capture, camera)
    deliver(camera, loans.frame())
    capture.want(wanted=False)
    deliver(camera, loans.frame())

    assert loans.returned == [1, 2]
    assert capture.take() is None
    assert camera.closed.empty()
    assert capture.frames == 2


def test_the_first_frame_says_that_the_camera_delivers(capture, camera, loans):
    delivering(capture, camera)
    assert capture.report() is None
    deliver(camera, loans.frame())
    assert capture.report() == CameraReport(ok=True)


def test_a_missing_camera_is_reported_and_tried_again(capture, camera, loans):
    capture.want(wanted=True)
    capture.start()
    camera.opens.put(CameraMissingError("No camera.", advice="Plug it in."))
    camera.opens.put(CameraMissingError("No camera.", advice="Plug it in."))
    for _ in range(3):
        camera.opened.get(timeout=WAIT_S)

    assert capture.report() == CameraReport(ok=False, detail="No camera. Plug it in.")
    assert capture.pauses == [0.25, 0.5]

    camera.opens.put(None)
    camera.await_read()
    deliver(camera, loans.frame())
    assert capture.report() == CameraReport(ok=True)


def test_a_lost_camera_is_closed_reported_and_opened_again(capture, camera, loans):
    delivering(capture, camera)
    deliver(camera, loans.frame())
    camera.opened.get(timeout=WAIT_S)
    camera.reads.put(CameraLostError("Unplugged."))
    camera.opened.get(timeout=WAIT_S)

    assert camera.closed.get(timeout=WAIT_S)
    assert capture.report() == CameraReport(ok=False, detail="Unplugged.")
    assert loans.returned == [1]  # what it showed is no longer there
    assert capture.pauses == [0.25]


def test_a_camera_without_frames_is_reported_and_opened_again(capture, camera, loans, clock):
    delivering(capture, camera)
    deliver(camera, loans.frame(), None)
    assert capture.report().ok

    def too_long():
        clock.now_s += 2.1

    camera.reads.put(too_long)
    camera.opened.get(timeout=WAIT_S)
    camera.opened.get(timeout=WAIT_S)

    report = capture.report()
    assert not report.ok
    assert "scripted" in report.detail
    assert "2 s" in report.detail


def test_a_driver_that_does_not_return_is_noticed_from_outside(capture, camera, clock):
    delivering(capture, camera)
    clock.now_s += 2.3
    assert not capture.report().ok

    clock.now_s += capture_module.HANG_LIMIT_S
    with pytest.raises(CaptureHungError, match="hung"):
        capture.report()


def test_an_exception_on_the_thread_surfaces_on_the_main_thread(capture, camera):
    delivering(capture, camera)
    camera.reads.put(ZeroDivisionError("a bug"))
    select.select([capture.fileno()], [], [], WAIT_S)

    with pytest.raises(ZeroDivisionError):
        capture.take()


def test_stopping_closes_the_camera_and_gives_the_frame_back(capture, camera, loans):
    delivering(capture, camera)
    deliver(camera, loans.frame())
    capture._stopping.set()
    camera.reads.put(None)
    capture.stop(WAIT_S)

    assert camera.closed.get(timeout=WAIT_S)
    assert loans.returned == [1]


def test_stopping_before_the_start_is_fine(clock):
    Capture(ScriptedCamera, fps=30, stall_s=2, clock=clock).stop()


def test_a_pause_ends_when_stopping():
    capture = Capture(ScriptedCamera, fps=30, stall_s=2)
    pausing = threading.Thread(target=capture._pause, args=(3600,))
    pausing.start()
    capture._stopping.set()
    pausing.join(WAIT_S)
    assert not pausing.is_alive()
