"""What a V4L2 driver's refusals mean, and what to do about them."""

import errno
from pathlib import Path

from hardware.camera import CameraBusyError, CameraError, CameraLostError, CameraMissingError
from hardware.cameras.v4l2_device import GONE

STABLE_NAMES = Path("/dev/v4l/by-id")


def refusal(path: str, error: OSError) -> CameraError:
    """Name what a driver's refusal to start means."""
    why = error.strerror or str(error)
    match error.errno:
        case errno.EBUSY:
            return CameraBusyError(
                f"{path} is in use by another program.",
                advice=f"Which one: fuser {path}.{_also_called(path, stable_name(path))}",
            )
        case errno.EACCES | errno.EPERM:
            return CameraMissingError(
                f"{path} may not be opened by this user.",
                advice="sudo usermod -aG video USER, then log in again.",
            )
        case errno.ENOTTY | errno.EINVAL | errno.EISDIR:
            return CameraMissingError(
                f"{path} is no camera ({why}).", advice=f"Set camera.device to {_cameras()}."
            )
        case errno.ENOSPC:
            return CameraMissingError(
                f"{path} does not fit on its USB bus ({why}).",
                advice="Another camera is on it too, or width, height and fps are too large.",
            )
        case _:
            return CameraMissingError(
                f"There is no camera {path} ({why}).",
                advice=f"Is it plugged in? Set camera.device to {_cameras()}.",
            )


def lost(path: str, stable: str | None, error: OSError) -> CameraLostError:
    """Name what the failure of an open camera means.

    Args:
        path: As it was opened.
        stable: Its link in /dev/v4l/by-id, which goes when the camera goes.
        error: The driver's.
    """
    if error.errno in GONE or not Path(path).exists():
        return CameraLostError(
            f"{path} was unplugged.",
            advice=f"Check the cable of the camera.{_also_called(path, stable)}",
        )
    return CameraLostError(f"{path} does not deliver any more ({error.strerror or error}).")


def stable_name(path: str) -> str | None:
    """The link in /dev/v4l/by-id that leads to this device, if there is one."""
    try:
        target = Path(path).resolve(strict=True)
        links = sorted(STABLE_NAMES.iterdir())
        return next((str(link) for link in links if link.resolve() == target), None)
    except OSError:
        return None


def _also_called(path: str, stable: str | None) -> str:
    if stable is None or stable == path:
        return ""
    return f" The name that stays, for camera.device: {stable}."


def _cameras() -> str:
    """The names of the cameras that are there; of the nodes of a camera, the first delivers."""
    links = sorted(str(link) for link in STABLE_NAMES.glob("*-index0"))
    return " or ".join(links) or "a name that ls /dev/v4l/by-id shows"
