"""Cameras with the capture thread of the scanner: noticed, told with a reason, recovered from."""

import threading
import time

import pytest
from fake_picamera2 import FakePicamera2
from fake_v4l2 import FakeDriver

from hardware.cameras.csi import CsiCamera
from hardware.cameras.v4l2 import V4l2Camera
from kiosk.scanner.capture import Capture

STALL_S = 0.3


class Watched:
    """A capture thread, seen as the scanner's main thread sees it."""

    def __init__(self, camera):
        self.capture = Capture(lambda: camera, fps=30, stall_s=STALL_S)
        self.capture.want(wanted=True)
        self.capture.start()

    def delivers(self):
        frame = self.capture.take()
        if frame is not None:
            frame.release()
        return frame is not None and self.capture.report().ok

    def complains(self, why):
        report = self.capture.report()
        return report is not None and not report.ok and why in report.detail


def wait_until(condition, limit_s=30):
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def watch():
    watched = []

    def start(camera):
        watched.append(Watched(camera))
        wait_until(watched[-1].delivers)
        return watched[-1]

    yield start
    for one in watched:
        one.capture.stop(timeout_s=10)


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def usb(driver, watch, tmp_path):
    """A USB camera that delivers."""
    (tmp_path / "video0").touch()
    return watch(V4l2Camera(str(tmp_path / "video0"), kernel=driver))


def test_unplugged_and_plugged_in_again(usb, driver):
    driver.unplug()
    wait_until(lambda: usb.complains("was unplugged"))
    wait_until(lambda: usb.complains("no camera"))
    driver.plug()
    wait_until(usb.delivers)


def test_a_camera_that_falls_silent_is_opened_again(usb, driver):
    driver.by_itself = False
    wait_until(lambda: usb.complains("No frame from v4l2"))
    driver.by_itself = True
    wait_until(usb.delivers)


def test_a_stream_that_breaks_is_opened_again(usb, driver):
    driver.broken = True
    wait_until(lambda: usb.complains("does not deliver any more"))
    driver.broken = False
    wait_until(usb.delivers)


def test_taken_by_another_program_and_given_back(usb, driver):
    driver.by_itself = False
    wait_until(lambda: usb.complains("No frame"))
    driver.refuse["VIDIOC_S_FMT"] = 16  # EBUSY
    wait_until(lambda: usb.complains("another program"))
    driver.by_itself = True
    driver.refuse.clear()
    wait_until(usb.delivers)


def test_a_driver_that_hangs_is_told_and_holds_nobody_else_up(usb, driver):
    frames = []

    def take():
        if (frame := usb.capture.take()) is not None:
            frames.append(frame)
        return bool(frames)

    wait_until(take)
    hanging, go_on = threading.Event(), threading.Event()
    poll = driver.poll

    def hang(fd, timeout_s):
        hanging.set()
        go_on.wait(60)
        return poll(fd, timeout_s)

    driver.poll = hang
    assert hanging.wait(30)
    frames[0].release()  # with the driver stuck, this returns all the same
    wait_until(lambda: usb.complains("does not answer"))
    driver.poll = poll
    go_on.set()
    wait_until(usb.delivers)


def test_a_loose_ribbon_cable(watch):
    module = FakePicamera2()
    csi = watch(CsiCamera(load=lambda: module))
    module.delivers = False
    wait_until(lambda: csi.complains("No frame from csi"))
    module.delivers = True
    wait_until(csi.delivers)
    assert module.opened[0].closed


def test_libcamera_giving_up(watch):
    module = FakePicamera2()
    csi = watch(CsiCamera(load=lambda: module))
    module.fails = RuntimeError("event loop died")
    wait_until(lambda: csi.complains("event loop died"))
    module.fails = None
    wait_until(csi.delivers)
