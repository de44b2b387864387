"""A real V4L2 camera, where there is one: KIOSK_CAMERA names it, else /dev/video0."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from hardware.cameras.v4l2 import BUFFERS, V4l2Camera

DEVICE = os.environ.get("KIOSK_CAMERA", "/dev/video0")

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not Path(DEVICE).exists(), reason=f"no {DEVICE}"),
]


@pytest.fixture
def camera():
    camera = V4l2Camera(DEVICE)
    camera.open()
    yield camera
    camera.close()


def test_a_real_camera_delivers_luma_in_order(camera, next_frame):
    frames = []
    for _ in range(30):
        frame = next_frame(camera)
        assert frame.luma.dtype == np.uint8
        assert frame.luma.ndim == 2
        frame.release()
        frames.append(frame)
    assert frames[-1].captured_at_s > frames[0].captured_at_s
    assert frames[-1].sequence > frames[0].sequence


def test_a_real_camera_delivers_a_new_frame_after_a_pause(camera, next_frame):
    next_frame(camera).release()
    time.sleep(2)
    resumed_at_s = time.monotonic()
    assert next_frame(camera).captured_at_s > resumed_at_s - 0.2


def test_a_real_camera_gives_its_buffers_round(camera, next_frame):
    held = [next_frame(camera) for _ in range(BUFFERS - 1)]
    for frame in held:
        frame.release()
    for _ in range(3 * BUFFERS):
        next_frame(camera).release()


def test_a_real_camera_obeys_an_exposure_or_says_that_it_cannot(camera):
    limits = camera.exposure_range()
    if limits is None:
        return
    taken = camera.expose(limits.lowest)
    assert limits.lowest <= taken <= limits.highest
    assert camera.exposure_range().now == taken


def test_a_real_camera_can_be_opened_again_while_a_frame_is_on_loan(camera, next_frame):
    frame = next_frame(camera)
    camera.close()
    camera.open()
    next_frame(camera).release()
    frame.release()
