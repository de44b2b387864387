"""picamera2 itself: how it is loaded, and what its failures to start mean."""

import importlib
import os
from typing import Any

from hardware.camera import CameraBusyError, CameraError, CameraMissingError


def load_picamera2() -> Any:
    """Load the module, which brings libcamera along.

    Raises:
        CameraMissingError: Not there, or not fit for this Python.
    """
    # Its messages go to stderr, past the log.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        return importlib.import_module("picamera2")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        # ValueError: a part of it was built for another numpy.
        raise CameraMissingError(
            f"The ribbon cable's camera needs picamera2, which does not load here ({error}).",
            advice="sudo apt install python3-picamera2, and a venv that sees it: python3 -m venv "
            "--system-site-packages. Or set camera.backend to v4l2 and connect a USB camera.",
        ) from error


def refusal(name: str, error: BaseException) -> CameraError:
    """Name what picamera2's failure means; the reason is at the end of its chain of errors."""
    reasons = [str(error)]
    cause = error.__cause__
    while cause is not None:
        reasons.append(str(cause))
        cause = cause.__cause__
    if any("busy" in reason.lower() for reason in reasons):
        return CameraBusyError(
            f"{name} is in use by another program.", advice="Which one: fuser /dev/media*."
        )
    return CameraMissingError(
        f"{name} does not start ({reasons[-1]}).",
        advice="Try it alone: rpicam-hello --list-cameras, rpicam-hello -t 5000.",
    )
