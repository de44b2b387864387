"""The Pi's own camera connector (CSI) through picamera2 and libcamera: luma without a copy.

picamera2 is loaded when the camera is opened: it comes with Raspberry Pi OS, not from PyPI.
Not run on a Pi yet: the tests put a module with picamera2's interface in its place.
"""

import atexit
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Literal, TypeAlias

import numpy as np

from hardware.camera import CameraLostError, CameraMissingError, ExposureRange
from hardware.cameras.csi_picamera2 import load_picamera2, refusal
from hardware.frame import Frame, Luma

log = logging.getLogger(__name__)

CameraValue: TypeAlias = Literal["auto"] | int

BUFFERS = 4
"""One in the slot, one with the decoder, one that is being filled, and one to fill next."""

_COMPLAIN_EVERY_S = 10.0
_AF_MANUAL, _AF_CONTINUOUS = 0, 2  # libcamera's AfMode
_CANCEL_S = 1.0


class CsiCamera:
    """A camera at the ribbon cable, by its number.

    Frames come as picamera2's requests, which count their holders. A request is asked for
    and waited for with a time limit; one that came too late is taken at the next read. The
    frame's luma is the Y plane of the request's buffer, which goes back when it is released.
    """

    def __init__(
        self,
        device: str = "0",
        *,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        exposure: Literal["auto", "screen"] | int = "auto",
        gain: CameraValue = "auto",
        focus: CameraValue = "auto",
        load: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the camera and how to set it; nothing is loaded before `open`.

        Args:
            device: The camera's number, as `rpicam-hello --list-cameras` shows; the path of
                a V4L2 device, which is the setting's default, stands for number 0.
            width: Pixels.
            height: Pixels.
            fps: Frames a second.
            exposure: Auto, microseconds, or "screen": automatic until `expose` is called.
            gain: Auto, or how many times the sensor amplifies.
            focus: Auto, or dioptres (10 is sharp at 10 cm), where the lens moves.
            load: Gives the module picamera2.
            clock: Seconds on the monotonic clock.
        """
        self._number = int(device) if device.isdecimal() else 0
        self._size = (width, height)
        self._fps = fps
        self._exposure = exposure
        self._gain = gain
        self._focus = focus
        self._load = load or load_picamera2
        self._clock = clock
        self._max_age_s = max(0.1, 3 / fps)
        self._picamera2: Any = None
        self._camera: Any = None
        self._job: Any = None
        self._exposure_us: int | None = None
        self._gain_now: float | None = None
        self._gain_by_hand: float | None = None
        self._sequence = 0
        self._last_at_s = 0.0
        self._dropped = 0
        self._complain_at_s = float("-inf")

    @property
    def name(self) -> str:
        """Which camera this is."""
        return f"csi {self._number}"

    def open(self) -> None:
        """Load picamera2, configure the camera, start it.

        Raises:
            CameraMissingError: No picamera2, or no such camera.
            CameraBusyError: In use by another program.
        """
        self.close()
        self._picamera2 = self._load()
        # Asked first: an object that fails in its constructor leaves a pipe open.
        found = len(self._picamera2.Picamera2.global_camera_info())
        if self._number >= found:
            raise CameraMissingError(
                f"There is no camera {self._number} at the ribbon cable ({found} found).",
                advice="Check both ends of the cable; then: rpicam-hello --list-cameras.",
            )
        camera = None
        try:
            camera = self._picamera2.Picamera2(self._number)
            # A driver that hangs must not keep the process from ending.
            atexit.unregister(camera.close)
            camera.configure(self._configuration(camera))
            camera.start()
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            if camera is not None:
                with contextlib.suppress(Exception):
                    camera.close()
            raise refusal(self.name, error) from error
        self._camera = camera
        self._sequence, self._last_at_s = 0, 0.0
        self._exposure_us = self._gain_now = self._gain_by_hand = None
        size = camera.camera_configuration()["main"]["size"]
        if tuple(size) != self._size:
            log.warning(
                "camera has not what was asked for",
                extra={"camera": self.name, "size": list(size)},
            )
        log.info("camera opened", extra={"camera": self.name, "size": list(size)})

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame and lend it.

        Raises:
            CameraLostError: Not open, or libcamera gave up.
        """
        camera = self._opened()
        deadline_s = self._clock() + timeout_s
        while True:
            try:
                if self._job is None:
                    self._job = camera.capture_request(wait=False)
                request = camera.wait(self._job, timeout=max(0.0, deadline_s - self._clock()))
            except TimeoutError:
                return None  # the same request is waited for the next time
            except (RuntimeError, OSError, CancelledError) as error:
                self._job = None
                raise CameraLostError(f"{self.name} does not deliver any more: {error}.") from error
            self._job = None
            frame = self._lend(request)
            if frame is not None or self._clock() >= deadline_s:
                return frame

    def exposure_range(self) -> ExposureRange | None:
        """What `expose` takes, in microseconds; None if the sensor has no such control.

        Raises:
            CameraLostError: Not open.
        """
        limits = self._opened().camera_controls.get("ExposureTime")
        if limits is None:
            return None
        lowest, highest = int(limits[0]), min(int(limits[1]), self._frame_us())
        now = self._exposure_us
        return ExposureRange(lowest, max(lowest, highest), highest if now is None else now)

    def expose(self, value: int) -> int:
        """Set the exposure by hand, and leave the gain as it is; return what it will be.

        Raises:
            CameraLostError: Not open, or libcamera gave up.
        """
        camera = self._opened()
        limits = self.exposure_range()
        if limits is None:
            return value
        value = max(limits.lowest, min(limits.highest, value))
        # Not AeEnable: with it libcamera may keep the values of the moment before (picamera2
        # issue 933). A time and a gain end the automatic one; a gain left to it would undo
        # what a shorter time does.
        wanted: dict[str, Any] = {"ExposureTime": value}
        if self._gain == "auto" and self._gain_now is not None:
            wanted["AnalogueGain"] = self._gain_by_hand = self._gain_by_hand or self._gain_now
        try:
            camera.set_controls(wanted)
        except (RuntimeError, OSError) as error:
            raise CameraLostError(f"{self.name} does not obey any more: {error}.") from error
        self._exposure_us = value
        return value

    def close(self) -> None:
        """Stop the camera and give it back.

        libcamera is known to hang here when a cable came loose. This then hangs too; the
        thread that called it is missed by its watchdog, and only a new process helps.
        """
        camera, self._camera = self._camera, None
        job, self._job = self._job, None
        if camera is None:
            return
        try:
            if job is not None:
                # Jobs are done in order: one that waits for a frame would keep `stop` waiting.
                camera.cancel_all_and_flush()
                with contextlib.suppress(TimeoutError, CancelledError):
                    camera.wait(job, timeout=_CANCEL_S).release()
            camera.stop()
            camera.close()
        except (RuntimeError, OSError) as error:
            log.warning("camera does not close", extra={"camera": self.name, "why": str(error)})

    def _opened(self) -> Any:
        if self._camera is None:
            raise CameraLostError(f"{self.name} is not open.")
        return self._camera

    def _configuration(self, camera: Any) -> Any:
        """Luma first in memory (YUV420), the wanted size and pace, no frame kept for later."""
        return camera.create_video_configuration(
            main={"size": self._size, "format": "YUV420"},
            buffer_count=BUFFERS,
            queue=False,
            display=None,
            encode=None,
            controls=self._controls(camera),
        )

    def _controls(self, camera: Any) -> dict[str, Any]:
        has = camera.camera_controls
        wanted: dict[str, Any] = {"FrameDurationLimits": (self._frame_us(), self._frame_us())}
        if isinstance(self._exposure, int):
            wanted["ExposureTime"] = self._exposure
        else:
            wanted["AeEnable"] = True
        if self._gain != "auto":
            wanted["AnalogueGain"] = float(self._gain)
        if self._focus == "auto":
            wanted["AfMode"] = _AF_CONTINUOUS
        else:
            wanted |= {"AfMode": _AF_MANUAL, "LensPosition": float(self._focus)}
        for control in [control for control in wanted if control not in has]:
            asked = control in ("ExposureTime", "AnalogueGain", "LensPosition")
            log.log(
                logging.WARNING if asked else logging.DEBUG,
                "camera does not obey",
                extra={"camera": self.name, "control": control, "asked": wanted[control]},
            )
            del wanted[control]
        return wanted

    def _lend(self, request: Any) -> Frame | None:
        """Show the request's luma, or give it back: it is stale, or no frame of ours."""
        with contextlib.ExitStack() as holding:
            holding.callback(request.release)
            try:
                told = request.get_metadata()
                captured_at_s = self._stamp(told)
                if self._clock() - captured_at_s > self._max_age_s:
                    return None  # it came while nobody read
                mapped = self._picamera2.MappedArray(request, "main", write=False)
                luma = self._plane(holding.enter_context(mapped).array)
            except (RuntimeError, OSError) as error:
                raise CameraLostError(f"{self.name} gave no frame: {error}.") from error
            if luma is None:
                self._drop()
                return None
            if "ExposureTime" in told:
                self._exposure_us = int(told["ExposureTime"])
            if "AnalogueGain" in told:
                self._gain_now = float(told["AnalogueGain"])
            self._count(captured_at_s)
            return Frame(luma, captured_at_s, self._sequence, _once(holding.pop_all()))

    def _drop(self) -> None:
        """Report frames that are none, not each of them."""
        self._dropped += 1
        now_s = self._clock()
        if now_s >= self._complain_at_s:
            self._complain_at_s = now_s + _COMPLAIN_EVERY_S
            log.warning(
                "camera frame dropped", extra={"camera": self.name, "dropped": self._dropped}
            )

    def _plane(self, pixels: Any) -> Luma | None:
        """The Y plane: the first rows of the buffer, each as long as the stride."""
        width, height = self._camera.camera_configuration()["main"]["size"]
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2:
            return None
        plane: Luma = pixels[:height, :width]
        return plane if plane.shape == (height, width) else None

    def _stamp(self, told: dict[str, Any]) -> float:
        """When the sensor exposed the first row, on the monotonic clock."""
        now_s = self._clock()
        stamp_ns = told.get("SensorTimestamp")
        if stamp_ns is None:
            return now_s
        stamp_s = float(stamp_ns) / 1e9
        if stamp_s > now_s:
            # libcamera documents CLOCK_BOOTTIME, which also counts while the machine sleeps;
            # the Pi's driver gives CLOCK_MONOTONIC. On a Pi, which never sleeps, they agree.
            stamp_s -= time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return min(stamp_s, now_s)

    def _count(self, captured_at_s: float) -> None:
        """Count the frames that libcamera passed over, by the time between two."""
        passed = round((captured_at_s - self._last_at_s) * self._fps) if self._last_at_s else 1
        self._sequence += max(1, passed)
        self._last_at_s = captured_at_s

    def _frame_us(self) -> int:
        return round(1e6 / self._fps)


def _once(holding: contextlib.ExitStack) -> Callable[[], None]:
    """Give back what is held; a second time does nothing, and a stopped camera is no matter."""

    def give_back() -> None:
        try:
            holding.close()
        except (RuntimeError, OSError) as error:
            log.debug("request not given back", extra={"why": str(error)})

    return give_back
