"""A real camera, where there is one."""

from pathlib import Path

import numpy as np
import pytest

from hardware.cameras.v4l2 import V4l2Camera

DEVICE = "/dev/video0"

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not Path(DEVICE).exists(), reason=f"no {DEVICE}"),
]


def test_a_real_camera_delivers_luma():
    camera = V4l2Camera(DEVICE)
    camera.open()
    try:
        frames = [frame for _ in range(30) if (frame := camera.read(1)) is not None]
    finally:
        camera.close()
    assert len(frames) > 10
    assert frames[-1].luma.dtype == np.uint8
    assert frames[-1].luma.ndim == 2
    assert frames[-1].captured_at_s >= frames[0].captured_at_s
