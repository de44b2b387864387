"""Recorded frames on disk: pictures, raw luma planes, videos, folders of them.

Whatever lies in a folder may be broken or hostile. Each file either gives uint8 luma planes
or an `UnreadableError` that names it; nothing here trusts a header to be modest.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_PIXELS = 1 << 26
"""64 megapixels: more than any phone's photograph; a header that claims more is refused."""

# OpenCV reads its own limit once, when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

import cv2  # noqa: E402 - after the limit above
import numpy as np  # noqa: E402 - with cv2
from numpy.typing import NDArray  # noqa: E402 - with cv2

from hardware.errors import HardwareError  # noqa: E402 - with cv2
from hardware.frame import Luma  # noqa: E402 - with cv2

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".npy", ".bmp", ".pgm", ".webp"})
VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})


class UnreadableError(HardwareError):
    """This file gives no frame; others may."""


def is_video(path: Path) -> bool:
    """Tell whether the file's name says that it is a video."""
    return path.suffix.lower() in VIDEOS


def is_recording(path: Path) -> bool:
    """Tell whether the file's name says that it holds frames; hidden files never do."""
    return path.suffix.lower() in PICTURES | VIDEOS and not path.name.startswith(".")


def list_recordings(path: Path) -> list[Path]:
    """List a folder's recordings, recursively, in order of name; a file is itself its list.

    Raises:
        FileNotFoundError: Nothing of this name.
        OSError: The folder cannot be listed.
    """
    if not path.is_dir():
        path.stat()
        return [path]
    found: list[Path] = []
    for folder, folders, files in os.walk(path, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [file for name in files if is_recording(file := Path(folder, name))]
    return sorted(found)


def load_luma(path: Path) -> Luma:
    """Read one picture, or a plane saved with `numpy.save`.

    Colour, 16 bit and one-channel pictures become uint8 luma, shape (height, width).

    Raises:
        UnreadableError: No picture, damaged, empty, too large or of a type that is no image.
        FileNotFoundError: Nothing of this name (any more).
    """
    if path.suffix.lower() == ".npy":
        return _load_plane(path)
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}.") from error
    if not encoded.size:
        raise UnreadableError(f"{path}: the file is empty.")
    try:
        luma: Any = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    except (cv2.error, MemoryError) as error:
        raise UnreadableError(f"{path}: OpenCV refuses it: {_first_line(error)}.") from error
    if luma is None:
        raise UnreadableError(f"{path}: no picture that can be read, or a damaged one.")
    return to_luma(luma, path)


def video_lumas(path: Path) -> Iterator[Luma]:
    """Yield each frame of a video, in order.

    Raises:
        UnreadableError: No video, or not one frame in it.
        FileNotFoundError: Nothing of this name (any more).
    """
    path.stat()
    video = cv2.VideoCapture(str(path))
    frames = 0
    try:
        while True:
            try:
                read, pixels = video.read()
                if not read:
                    break
                luma = to_luma(pixels, path)
            except cv2.error as error:
                raise UnreadableError(f"{path}: {_first_line(error)}.") from error
            frames += 1
            yield luma
    finally:
        video.release()
    if not frames:
        raise UnreadableError(f"{path}: no video that can be read, or a damaged one.")


def to_luma(pixels: NDArray[Any], source: object) -> Luma:
    """Make a uint8 plane of pixels of other depths and channels; uint8 planes stay views.

    Args:
        pixels: uint8 or uint16; shape (height, width), (height, width, 1) or BGR, BGRA.
        source: What to name in the error.

    Raises:
        UnreadableError: Empty, too large, or of a type that is no image.
    """
    if not 2 <= pixels.ndim <= 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableError(
            f"{source}: {pixels.dtype} of shape {pixels.shape} is no frame.",
            advice="A frame is uint8, height x width.",
        )
    if not 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS:
        raise UnreadableError(f"{source}: a frame of shape {pixels.shape} is empty or too large.")
    plane: NDArray[Any] = pixels
    if plane.dtype == np.uint16:
        plane = (plane >> 8).astype(np.uint8)
    if plane.ndim == 3:
        channels = plane.shape[2]
        if channels == 1:
            plane = plane[:, :, 0]
        elif channels in (3, 4):
            plane = cv2.cvtColor(np.ascontiguousarray(plane[:, :, :3]), cv2.COLOR_BGR2GRAY)
        else:
            raise UnreadableError(f"{source}: {channels} channels are no frame.")
    return plane


def shrink(luma: Luma, max_pixels: int) -> Luma:
    """Halve a plane until it has no more than so many pixels; a smaller one stays a view."""
    while luma.size > max_pixels:
        height, width = luma.shape
        size = (max(1, width // 2), max(1, height // 2))
        halved: Any = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        luma = halved
    return luma


def _load_plane(path: Path) -> Luma:
    try:
        # Mapped first: a header that claims more than the file holds is refused unread.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, OverflowError) as error:
        raise UnreadableError(f"{path}: no plane saved by numpy: {_first_line(error)}.") from error
    if not isinstance(mapped, np.ndarray):
        raise UnreadableError(f"{path}: an archive, not one plane.")
    return np.array(to_luma(mapped, path))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _raise(error: OSError) -> None:
    raise error
