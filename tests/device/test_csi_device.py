"""A real camera at the ribbon cable of a Pi, where picamera2 finds one."""

import time

import numpy as np
import pytest

from hardware.camera import CameraMissingError
from hardware.cameras.csi import CsiCamera

pytestmark = pytest.mark.device


@pytest.fixture
def camera():
    camera = CsiCamera()
    try:
        camera.open()
    except CameraMissingError as error:
        pytest.skip(str(error))
    yield camera
    camera.close()


def read(camera):
    for _ in range(20):
        if (frame := camera.read(0.5)) is not None:
            return frame
    raise AssertionError("no frame in ten seconds")


def test_a_real_camera_delivers_luma_in_order_with_the_sensors_time(camera):
    frames = []
    for _ in range(30):
        frame = read(camera)
        assert frame.luma.dtype == np.uint8
        assert frame.luma.shape == (480, 640)
        assert time.monotonic() - frame.captured_at_s < 0.2
        frame.release()
        frames.append(frame)
    assert frames[-1].captured_at_s > frames[0].captured_at_s
    assert frames[-1].sequence > frames[0].sequence


def test_a_real_camera_obeys_an_exposure(camera):
    limits = camera.exposure_range()
    assert limits is not None
    camera.expose(limits.lowest * 10)
    for _ in range(15):
        read(camera).release()
    assert camera.exposure_range().now <= limits.lowest * 12


def test_a_real_camera_can_be_opened_again_while_a_frame_is_on_loan(camera):
    frame = read(camera)
    camera.close()
    camera.open()
    read(camera).release()
    frame.release()
