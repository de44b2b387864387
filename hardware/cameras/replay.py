"""A camera whose frames were recorded: a picture, a folder or a video, at a true pace."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from hardware.camera import CameraLostError, CameraMissingError, ExposureRange
from hardware.frame import Frame, Luma
from hardware.recordings import (
    UnreadableError,
    is_video,
    list_recordings,
    load_luma,
    shrink,
    video_lumas,
)

log = logging.getLogger(__name__)

CACHE_BYTES = 12 << 20
"""About forty frames of 640x480 stay decoded; of a larger folder, the first ones."""

MAX_PIXELS = 1920 * 1080
"""A photograph has more pixels than a kiosk's camera: it is shown halved, until it fits, so
that one file cannot hold the scanner up for seconds."""

MAX_FPS = 240
"""A video that claims more is shown at the pace of pictures."""

_Stamp = tuple[int, int, int]  # inode, mtime_ns, size


class ReplayCamera:
    """Shows recorded frames as a camera would, `fps` a second, a video at its own pace.

    With `loop` a folder is listed anew at each pass, so that files may come, go and be
    exchanged (renamed into place) meanwhile: that is how a test holds up a phone. An empty
    folder is a camera without frames yet. A file that cannot be read is named once and
    skipped. Without `loop`, after the last frame there are no more frames.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: int = 30,
        loop: bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the recording; nothing is read before `open`.

        Args:
            path: A picture, a folder (recursive, in order of name) or a video.
            fps: Frames a second, of pictures and of videos that do not tell their own pace.
            loop: Start again at the end.
            clock: Seconds on the monotonic clock.
            sleep: Waits so many seconds.
        """
        self._path = path
        self._picture_interval_s = self._interval_s = 1 / fps
        self._loop = loop
        self._clock = clock
        self._sleep = sleep
        self._lumas: Iterator[Luma | None] | None = None
        self._due_at_s = 0.0
        self._sequence = 0
        self._cache: dict[Path, tuple[_Stamp, Luma | None]] = {}

    @property
    def name(self) -> str:
        """Which recording this is."""
        return f"replay {self._path}"

    def open(self) -> None:
        """Start at the first frame.

        Raises:
            CameraMissingError: Nothing of this name.
        """
        if not self._path.exists():
            raise CameraMissingError(
                f"There is no recording {self._path}.",
                advice="Set camera.path to a picture, a folder of pictures or a video.",
            )
        self._lumas = self._passes()
        self._due_at_s = self._clock()

    def read(self, timeout_s: float) -> Frame | None:
        """Wait until the next frame is due and show it.

        Raises:
            CameraLostError: Not open, or the recording was taken away.
        """
        lumas = self._opened()
        wait_s = self._due_at_s - self._clock()
        if wait_s > timeout_s:
            self._sleep(timeout_s)
            return None
        if wait_s > 0:
            self._sleep(wait_s)
        luma = next(lumas, None)
        now_s = self._clock()
        self._due_at_s += self._interval_s
        if self._due_at_s <= now_s:
            # A reader that came late does not get the missed frames in a burst.
            self._due_at_s = now_s + self._interval_s
        if luma is None:
            return None
        self._sequence += 1
        return Frame(luma, now_s, self._sequence)

    def exposure_range(self) -> ExposureRange | None:
        """None: a recording was exposed when it was made.

        Raises:
            CameraLostError: Not open.
        """
        self._opened()
        return None

    def expose(self, value: int) -> int:
        """Change nothing, and return the value that nothing came of.

        Raises:
            CameraLostError: Not open.
        """
        self._opened()
        return value

    def close(self) -> None:
        """Stop, and forget what was decoded."""
        self._lumas = None
        self._cache.clear()

    def _opened(self) -> Iterator[Luma | None]:
        if self._lumas is None:
            raise CameraLostError(f"{self.name} is not open.")
        return self._lumas

    def _passes(self) -> Iterator[Luma | None]:
        """Yield frames; None stands for a frame interval in which there is none."""
        while True:
            shown = False
            for luma in self._one_pass():
                shown = True
                yield luma
            if not self._loop:
                return
            if not shown:
                yield None

    def _one_pass(self) -> Iterator[Luma]:
        try:
            files = list_recordings(self._path)
        except OSError as error:
            raise CameraLostError(
                f"The recording {self._path} is gone: {error.strerror}."
            ) from error
        for gone in self._cache.keys() - set(files):
            del self._cache[gone]
        for file in files:
            try:
                if is_video(file):
                    yield from self._video(file)
                elif (luma := self._picture(file)) is not None:
                    yield luma
            except OSError:
                continue  # taken away between listing and reading

    def _picture(self, file: Path) -> Luma | None:
        """Give the picture's luma, from disk only if the file is another one than before."""
        stamp = _stamp(file)
        known = self._cache.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            luma = shrink(load_luma(file), MAX_PIXELS)
        except UnreadableError as error:
            log.warning("unreadable frame skipped", extra={"file": str(file), "why": str(error)})
            self._cache[file] = (stamp, None)
            return None
        self._cache.pop(file, None)
        kept = sum(plane.nbytes for _, plane in self._cache.values() if plane is not None)
        if kept + luma.nbytes <= CACHE_BYTES:
            self._cache[file] = (stamp, luma)
        return luma

    def _video(self, file: Path) -> Iterator[Luma]:
        stamp = _stamp(file)
        if self._cache.get(file) == (stamp, None):
            return
        self._interval_s = _video_interval_s(file) or self._picture_interval_s
        try:
            for luma in video_lumas(file):
                yield shrink(luma, MAX_PIXELS)
        except UnreadableError as error:
            log.warning("unreadable video skipped", extra={"file": str(file), "why": str(error)})
            self._cache[file] = (stamp, None)
        finally:
            self._interval_s = self._picture_interval_s


def _video_interval_s(file: Path) -> float | None:
    """Seconds from one frame of a video to the next, if it says so and it can be meant."""
    video = cv2.VideoCapture(str(file))
    fps = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return 1 / fps if 1 <= fps <= MAX_FPS else None


def _stamp(file: Path) -> _Stamp:
    status = file.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
