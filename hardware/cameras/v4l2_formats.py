"""The formats of V4L2 cameras: which one is chosen, and where the luma plane is in it."""

import logging
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.camera import CameraMissingError
from hardware.cameras.v4l2_device import Device, PixelFormat
from hardware.frame import Luma

log = logging.getLogger(__name__)

JPEG = "MJPG"

MAX_SIDE_PX = 8192
"""No camera for a kiosk has more; a driver that claims it is not believed."""

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the brightness of a pixel is: bytes from one to the next, and to the first."""

    step: int
    first: int


_LAYOUTS = {
    "GREY": _Layout(1, 0),
    "NV12": _Layout(1, 0),  # the luma plane comes first
    "YU12": _Layout(1, 0),  # and here
    "YUYV": _Layout(2, 0),
    "UYVY": _Layout(2, 1),
}

FORMATS = (*_LAYOUTS, JPEG)
"""In order of preference: nothing but luma, luma first, every other byte, a JPEG."""


def choose(
    device: Device, name: str, size: tuple[int, int], fps: int
) -> tuple[PixelFormat, float | None]:
    """Set the first format that the camera really has at this size and pace, else the best.

    Returns:
        The format in force, and the frame rate where the driver has one.

    Raises:
        CameraMissingError: None that can be read.
        OSError: The driver refuses.
    """
    offered = device.formats()
    found: list[tuple[bool, bool, str]] = []
    for fourcc in FORMATS:
        if fourcc not in offered:
            continue
        pixels, pace = device.set_format(fourcc, *size), device.set_fps(fps)
        if pixels.fourcc != fourcc or not is_possible(pixels):
            continue
        right_size = (pixels.width, pixels.height) == size
        # Uncompressed formats are slow over USB at large sizes: then the JPEG is better.
        fast = pace is None or pace >= 0.9 * fps
        if right_size and fast:
            return pixels, pace
        found.append((right_size, fast, fourcc))
    if not found:
        raise CameraMissingError(
            f"{name} has no format that can be read ({', '.join(offered) or 'none at all'}).",
            advice="For a camera at the ribbon cable set camera.backend to csi.",
        )
    # `max` takes the first of the best, and they are in order of preference.
    best = max(found, key=lambda one: one[:2])[2]
    pixels, pace = device.set_format(best, *size), device.set_fps(fps)
    log.warning(
        "camera has not what was asked for",
        extra={
            "camera": name,
            "format": pixels.fourcc,
            "size": [pixels.width, pixels.height],
            "fps": pace,
        },
    )
    return pixels, pace


def is_possible(pixels: PixelFormat) -> bool:
    """Tell whether a frame can be what the driver says that it is."""
    if not (0 < pixels.width <= MAX_SIDE_PX and 0 < pixels.height <= MAX_SIDE_PX):
        return False
    if pixels.fourcc == JPEG:
        return pixels.size > 0
    row = pixels.width * _LAYOUTS[pixels.fourcc].step
    return row <= pixels.stride <= 4 * MAX_SIDE_PX and least_bytes(pixels) <= pixels.size


def least_bytes(pixels: PixelFormat) -> int:
    """How many bytes a frame has at least."""
    if pixels.fourcc == JPEG:
        return 4
    row = pixels.width * _LAYOUTS[pixels.fourcc].step
    return pixels.stride * (pixels.height - 1) + row


def is_whole(pixels: PixelFormat, used: int) -> bool:
    """Tell whether so many bytes hold all of a frame's luma."""
    return least_bytes(pixels) <= used


def luma_view(buffer: NDArray[np.uint8], pixels: PixelFormat) -> Luma:
    """Show the luma plane where it is; nothing is copied."""
    layout = _LAYOUTS[pixels.fourcc]
    return np.lib.stride_tricks.as_strided(
        buffer[layout.first :],
        shape=(pixels.height, pixels.width),
        strides=(pixels.stride, layout.step),
        writeable=False,
    )


def luma_of_jpeg(data: NDArray[np.uint8], pixels: PixelFormat) -> Luma | None:
    """Decode only the luma of a JPEG; None if it is damaged or not as large as was agreed."""
    if jpeg_size(data.data) != (pixels.width, pixels.height):
        return None  # before the decoder makes room for what a header claims
    try:
        plane: Any = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    if plane is None or plane.shape != (pixels.height, pixels.width):
        return None
    luma: Luma = plane
    return luma


def jpeg_size(data: memoryview | bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, without decoding; None if there is no header."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _SIZE_MARKERS:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        if marker == 0xFF:  # filling
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
