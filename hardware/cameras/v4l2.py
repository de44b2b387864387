"""A USB camera over OpenCV's V4L2 backend: luma as the driver lays it out, newest frame."""

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from hardware.camera import CameraBusyError, CameraLostError, CameraMissingError
from hardware.frame import Frame, Luma

log = logging.getLogger(__name__)

CameraValue = Literal["auto"] | int

FORMATS = ("GREY", "YUYV", "MJPG")
"""In order of preference: no conversion, a strided view, the luma of a JPEG."""

_AUTO_EXPOSURE, _MANUAL_EXPOSURE = 3, 1  # V4L2_EXPOSURE_APERTURE_PRIORITY, V4L2_EXPOSURE_MANUAL
_QUICK_FAILURE_S = 0.5


class VideoCapture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802, D102 - OpenCV's names
    def set(self, prop: int, value: float) -> bool: ...  # noqa: D102 - OpenCV's names
    def get(self, prop: int) -> float: ...  # noqa: D102 - OpenCV's names
    def read(self) -> tuple[bool, Any]: ...  # noqa: D102 - OpenCV's names
    def release(self) -> None: ...  # noqa: D102 - OpenCV's names


class V4l2Camera:
    """A camera that the kernel's V4L2 drives, by path; /dev/v4l/by-id names stay the same."""

    def __init__(
        self,
        device: str = "/dev/video0",
        *,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        exposure: CameraValue = "auto",
        gain: CameraValue = "auto",
        focus: CameraValue = "auto",
        open_video: Callable[[str], VideoCapture] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the camera and how to set it; nothing is opened before `open`.

        Args:
            device: Such as /dev/video0, or better a link in /dev/v4l/by-id.
            width: Pixels.
            height: Pixels.
            fps: Frames a second.
            exposure: Auto, or the driver's value.
            gain: Auto, or the driver's value.
            focus: Auto, or the driver's value.
            open_video: Opens the device by path; OpenCV unless a test says otherwise.
            clock: Seconds on the monotonic clock.
        """
        self._device = device
        self._size = (width, height)
        self._fps = fps
        self._exposure = exposure
        self._gain = gain
        self._focus = focus
        self._open_video = open_video or _open_with_opencv
        self._clock = clock
        self._video: VideoCapture | None = None
        self._sequence = 0

    @property
    def name(self) -> str:
        """Which camera this is."""
        return f"v4l2 {self._device}"

    def open(self) -> None:
        """Open the device, choose a format, set exposure, gain and focus.

        Raises:
            CameraMissingError: No such device, no right to open it, or no camera.
            CameraBusyError: In use by another program.
        """
        self._probe()
        video = self._open_video(self._device)
        if not video.isOpened():
            video.release()
            raise CameraBusyError(
                f"{self._device} does not start.",
                advice=f"Another program uses it (see: fuser {self._device}), or it is not the "
                "node of the camera that delivers pictures (see: v4l2-ctl --list-devices).",
            )
        self._video = video
        video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        chosen = self._choose_format(video)
        self._set_controls(video)
        log.info("camera opened", extra={"camera": self.name, "format": chosen})

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - the port has it
        """Wait for a frame; OpenCV decides how long (OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT).

        Raises:
            CameraLostError: Not open, unplugged, or the driver gave up.
        """
        video = self._video
        if video is None:
            raise CameraLostError(f"{self.name} is not open.")
        began_at_s = self._clock()
        try:
            read, pixels = video.read()
        except cv2.error as error:
            raise CameraLostError(f"{self.name} failed: {error}.") from error
        now_s = self._clock()
        if not read or pixels is None:
            if not Path(self._device).exists():
                raise CameraLostError(
                    f"{self._device} was unplugged.", advice="Check the cable of the camera."
                )
            if now_s - began_at_s < _QUICK_FAILURE_S:
                raise CameraLostError(f"{self._device} stopped to deliver.")
            return None
        luma = self._luma(pixels)
        if luma is None:
            return None
        self._sequence += 1
        return Frame(luma, _stamp(video, now_s), self._sequence)

    def close(self) -> None:
        """Give the device back."""
        video, self._video = self._video, None
        if video is not None:
            video.release()

    def _probe(self) -> None:
        """Open the device for a moment, because OpenCV does not tell why it could not."""
        try:
            os.close(os.open(self._device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise CameraBusyError(f"{self._device} is in use by another program.") from error
            if error.errno in (errno.EACCES, errno.EPERM):
                raise CameraMissingError(
                    f"{self._device} may not be opened by this user.",
                    advice="sudo usermod -aG video USER, then log in again.",
                ) from error
            raise CameraMissingError(
                f"There is no camera {self._device} ({error.strerror}).",
                advice="Is it plugged in? ls /dev/v4l/by-id shows the names for camera.device.",
            ) from error
        if not Path(self._device).is_char_device():
            raise CameraMissingError(
                f"{self._device} is no device.", advice="Set camera.device to /dev/video0 or alike."
            )

    def _choose_format(self, video: VideoCapture) -> str:
        """Take the first format that the camera really has at this size and pace."""
        chosen = ""
        for wanted in FORMATS:
            video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted))
            video.set(cv2.CAP_PROP_FRAME_WIDTH, self._size[0])
            video.set(cv2.CAP_PROP_FRAME_HEIGHT, self._size[1])
            video.set(cv2.CAP_PROP_FPS, self._fps)
            chosen = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1")
            size = (
                int(video.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            )
            fps = video.get(cv2.CAP_PROP_FPS)
            # Uncompressed formats are slow over USB at large sizes: then the JPEG is better.
            if chosen == wanted and size == self._size and fps >= 0.9 * self._fps:
                return chosen
        log.warning(
            "camera has not what was asked for",
            extra={"camera": self.name, "format": chosen, "size": size, "fps": fps},
        )
        return chosen

    def _set_controls(self, video: VideoCapture) -> None:
        automatic = self._exposure == "auto"
        controls: list[tuple[str, int, float]] = [
            (
                "exposure mode",
                cv2.CAP_PROP_AUTO_EXPOSURE,
                _AUTO_EXPOSURE if automatic else _MANUAL_EXPOSURE,
            )
        ]
        if self._exposure != "auto":
            controls.append(("exposure", cv2.CAP_PROP_EXPOSURE, self._exposure))
        if self._gain != "auto":
            controls.append(("gain", cv2.CAP_PROP_GAIN, self._gain))
        controls.append(("focus mode", cv2.CAP_PROP_AUTOFOCUS, self._focus == "auto"))
        if self._focus != "auto":
            controls.append(("focus", cv2.CAP_PROP_FOCUS, self._focus))
        for control, prop, value in controls:
            obeyed = video.set(prop, value)
            actual = video.get(prop)
            if not obeyed or actual != value:
                # Many cameras have no focus; what was asked for in numbers should be obeyed.
                asked = control in ("exposure", "gain", "focus")
                log.log(
                    logging.WARNING if asked else logging.DEBUG,
                    "camera does not obey",
                    extra={"control": control, "asked": float(value), "actual": actual},
                )

    def _luma(self, pixels: Any) -> Luma | None:
        """The luma plane of what OpenCV hands out for the format; None if it is damaged."""
        width, height = self._size
        if pixels.ndim == 3 and pixels.shape[2] == 2:  # YUYV: every other byte
            plane: Any = pixels[:, :, 0]
        elif pixels.ndim == 3 and pixels.shape[2] == 3:  # OpenCV converted it after all
            plane = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        elif pixels.size == width * height and 1 in pixels.shape:  # GREY as one long row
            plane = pixels.reshape(height, width)
        elif pixels.ndim == 2 and 1 not in pixels.shape:
            plane = pixels
        else:  # MJPG
            try:
                plane = cv2.imdecode(np.ascontiguousarray(pixels).reshape(-1), cv2.IMREAD_GRAYSCALE)
            except cv2.error:
                plane = None
        return plane if plane is None or plane.dtype == np.uint8 else None


def _open_with_opencv(device: str) -> VideoCapture:
    return cv2.VideoCapture(device, cv2.CAP_V4L2)


def _stamp(video: VideoCapture, now_s: float) -> float:
    """The driver's time of the frame, if it is on the monotonic clock, else now."""
    driver_s = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return driver_s if now_s - 2 < driver_s <= now_s else now_s
