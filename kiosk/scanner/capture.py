"""The capture thread: from the camera, the newest frame and how the camera is.

And to the camera: the exposure that the main thread wishes, between two frames.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hardware.camera import Camera, CameraError
from hardware.frame import Frame
from kiosk.errors import KioskError
from kiosk.scanner.exposure import Setting

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.2
REOPEN_FIRST_S = 0.25
REOPEN_MAX_S = 4.0
HANG_LIMIT_S = 15.0
ASK_EXPOSURE_EVERY_S = 1.0


class CaptureHungError(KioskError):
    """A call into the camera's driver does not return; only a new process helps."""


@dataclass(frozen=True, slots=True)
class CameraReport:
    """How the camera is: it delivers frames, or it does not and why."""

    ok: bool
    detail: str = ""


class Capture:
    """Keeps the newest frame of a camera and opens the camera again when it fails.

    One slot: a newer frame replaces an older one, which is given back at once. A frame that
    waited longer than 100 ms or three frame intervals, whichever is longer, is given back
    undecoded: what it shows may have left.

    Threads: the capture thread alone opens, reads, exposes and closes the camera. The main
    thread calls everything public; `fileno` becomes readable when there is something to take.
    """

    def __init__(
        self,
        open_camera: Callable[[], Camera],
        *,
        fps: int,
        stall_s: float,
        exposes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            open_camera: Makes the camera object, on the capture thread: its imports take as
                long as those of the decoders and run beside them.
            fps: Frames a second, for the age at which a frame is stale.
            stall_s: Without a frame for so long, the camera is opened again.
            exposes: The main thread will call `expose`; else the camera is never asked.
            clock: Seconds on the monotonic clock.
        """
        self._make_camera = open_camera
        self._stall_s = stall_s
        self._hand = _Hand(clock) if exposes else None
        self._max_age_s = max(0.1, 3 / fps)
        self._clock = clock
        self._lock = threading.Lock()
        self._slot: Frame | None = None
        self._wanted = False
        self._report: CameraReport | None = None
        self._failure: BaseException | None = None
        self._alive_at_s = clock()
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A daemon: a driver that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.frames = 0
        self.stale = 0

    def start(self) -> None:
        """Start the thread, which opens the camera."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.3) -> None:
        """Close the camera, or leave it behind if its driver hangs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._put(None)

    def fileno(self) -> int:
        """A descriptor that is readable while a frame or report was not looked at."""
        return self._wake

    def wake(self) -> None:
        """Make `fileno` readable; safe in a signal handler."""
        os.eventfd_write(self._wake, 1)

    def want(self, *, wanted: bool) -> None:
        """Keep frames, or give each back at once; the camera stays open and warm."""
        with self._lock:
            self._wanted = wanted
        if not wanted:
            self._put(None)

    def expose(self, value: int) -> None:
        """Wish for an exposure; the capture thread tells the camera before its next read.

        A camera that is opened again is told again.
        """
        if self._hand is not None:
            self._hand.wish = value

    def setting(self) -> Setting | None:
        """The exposure as the camera took it; None while that is unknown or cannot be set."""
        return None if self._hand is None else self._hand.setting

    def take(self) -> Frame | None:
        """Take the newest frame, if there is a fresh one; the caller releases it.

        Raises:
            BaseException: What ended the capture thread.
            CaptureHungError: The driver has not returned for fifteen seconds.
        """
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._failure is not None:
            raise self._failure
        with self._lock:
            frame, self._slot = self._slot, None
        if frame is not None and self._clock() - frame.captured_at_s > self._max_age_s:
            frame.release()
            self.stale += 1
            return None
        return frame

    def report(self) -> CameraReport | None:
        """How the camera is now; None until that is known.

        Raises:
            CaptureHungError: The driver has not returned for fifteen seconds.
        """
        silent_s = self._clock() - self._alive_at_s
        # Reading waits READ_TIMEOUT_S at most, and opening some camera a little longer.
        if silent_s > self._stall_s + HANG_LIMIT_S:
            raise CaptureHungError(f"The camera's driver has hung for {silent_s:.0f} s.")
        if silent_s > self._stall_s + READ_TIMEOUT_S:
            return CameraReport(ok=False, detail="The camera's driver does not answer.")
        return self._report

    def _run(self) -> None:
        try:
            self._keep_open()
        except BaseException as error:  # noqa: BLE001 - raised again on the main thread
            self._failure = error
            self.wake()

    def _keep_open(self) -> None:
        pause_s = REOPEN_FIRST_S
        camera = self._make_camera()
        while not self._stopping.is_set():
            frames_before = self.frames
            try:
                camera.open()
                self._alive_at_s = self._clock()
                self._read_frames(camera)
            except CameraError as error:
                self._tell(ok=False, detail=str(error))
            finally:
                if self._hand is not None:
                    self._hand.let_go()
                self._put(None)
                camera.close()
            if self.frames > frames_before:
                pause_s = REOPEN_FIRST_S
            self._pause(pause_s)
            pause_s = min(2 * pause_s, REOPEN_MAX_S)

    def _read_frames(self, camera: Camera) -> None:
        """Read until told to stop or until frames fail to come for `stall_s`."""
        last_at_s = self._clock()
        while not self._stopping.is_set():
            if self._hand is not None:
                self._hand.turn(camera)
            frame = camera.read(min(READ_TIMEOUT_S, self._stall_s))
            now_s = self._alive_at_s = self._clock()
            if frame is not None:
                last_at_s = now_s
                self.frames += 1
                self._tell(ok=True)
                self._put(frame)
            elif now_s - last_at_s > self._stall_s:
                self._tell(
                    ok=False,
                    detail=f"No frame from {camera.name} for {self._stall_s:g} s.",
                )
                return

    def _put(self, frame: Frame | None) -> None:
        """Put a frame into the slot, and give back what was there or is not wanted."""
        with self._lock:
            if frame is not None and not self._wanted:
                unused = frame
            else:
                # mypy takes `unused` for a frame, as above; here it may be the empty slot.
                unused, self._slot = self._slot, frame  # type: ignore[assignment]
                if frame is not None:
                    self.wake()
        if unused is not None:
            unused.release()

    def _tell(self, *, ok: bool, detail: str = "") -> None:
        report = CameraReport(ok=ok, detail=detail)
        if report != self._report:
            self._report = report
            log.log(
                logging.INFO if ok else logging.WARNING,
                "camera delivers" if ok else "camera does not deliver",
                extra={"detail": detail},
            )
            self.wake()

    def _pause(self, pause_s: float) -> None:
        """Wait before the next try, alive all the while."""
        until_s = self._clock() + pause_s
        while (left_s := until_s - self._clock()) > 0:
            self._alive_at_s = self._clock()
            if self._stopping.wait(min(left_s, READ_TIMEOUT_S)):
                return


class _Hand:
    """Sets the exposure of a camera as it is wished, and knows how it is set.

    Threads: the main thread writes `wish` and reads `setting`, the capture thread does the
    rest. Each is one reference; a wish replaced before it was seen is not missed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.wish: int | None = None
        self.setting: Setting | None = None
        self._clock = clock
        self._told: int | None = None
        self._ask_at_s = 0.0
        self._refused = False

    def turn(self, camera: Camera) -> None:
        """Tell the camera what is wished, if that is news.

        Raises:
            CameraLostError: The camera is gone.
        """
        wish, setting, now_s = self.wish, self.setting, self._clock()
        if self._refused:
            return
        # Until there is a wish, the camera's own control moves what is in force.
        if setting is None or (wish is None and now_s >= self._ask_at_s):
            self._ask_at_s = now_s + ASK_EXPOSURE_EVERY_S
            found = camera.exposure_range()
            if found is None:
                self._refused = True
                log.warning("exposure cannot be set by hand", extra={"camera": camera.name})
                return
            since_s = now_s if setting is None else setting.since_s
            setting = Setting(found.lowest, found.highest, found.now, since_s)
        if wish is not None and wish != self._told:
            taken = camera.expose(wish)
            self._told = wish
            setting = Setting(setting.lowest, setting.highest, taken, self._clock())
            log.debug("exposure set", extra={"wished": wish, "taken": taken})
        self.setting = setting

    def let_go(self) -> None:
        """The camera was closed: nothing is known, and all is to be told again."""
        self.setting = self._told = None
