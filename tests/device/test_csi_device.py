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


def test_a_real_camera_delivers_luma_in_order_with_the_sensors_time(camera, next_frame):
    frames = []
    for _ in range(30):
        frame = next_frame(camera)
        assert frame.luma.dtype == np.uint8
        assert frame.luma.shape == (480, 640)
        assert time.monotonic() - frame.captured_at_s < 0.2
        frame.release()
        frames.append(frame)
    assert frames[-1].captured_at_s > frames[0].captured_at_s
    assert frames[-1].sequence > frames[0].sequence


def test_a_real_camera_obeys_an_exposure(camera, next_frame):
    limits = camera.exposure_range()
    assert limits is not None
    camera.expose(limits.lowest * 10)
    for _ in range(15):
        next_frame(camera).release()
    assert camera.exposure_range().now <= limits.lowest * 12


def test_a_real_camera_can_be_opened_again_while_a_frame_is_on_loan(camera, next_frame):
    frame = next_frame(camera)
    camera.close()
    camera.open()
    next_frame(camera).release()
    frame.release()
