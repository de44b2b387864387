"""What every real camera is asked for."""

import pytest


@pytest.fixture
def next_frame():
    """Waits for a frame of an open camera; the test releases it."""

    def read(camera):
        for _ in range(20):
            if (frame := camera.read(0.5)) is not None:
                return frame
        raise AssertionError("no frame in ten seconds")

    return read
