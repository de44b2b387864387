"""Exposure, gain and focus of a V4L2 camera: set, read back, and said where it does not obey."""

import contextlib
import logging
from typing import Literal, TypeAlias

import videodev2 as v4l2

from hardware.camera import ExposureRange
from hardware.cameras.v4l2_device import GONE, Device

log = logging.getLogger(__name__)

CameraValue: TypeAlias = Literal["auto"] | int
ExposureValue: TypeAlias = Literal["auto", "screen"] | int

UNITS_PER_S = 10_000
"""V4L2_CID_EXPOSURE_ABSOLUTE counts in 100 us, so says the kernel's documentation."""

# UVC cameras choose the time and leave the iris alone, so their "auto" is aperture priority.
_AUTOMATIC = (v4l2.V4L2_EXPOSURE_APERTURE_PRIORITY, v4l2.V4L2_EXPOSURE_AUTO)
_BY_HAND = (v4l2.V4L2_EXPOSURE_MANUAL, v4l2.V4L2_EXPOSURE_SHUTTER_PRIORITY)


class Controls:
    """The controls of one open device. Threads: as the device."""

    def __init__(self, device: Device, name: str, *, fps: int) -> None:
        """Look what there is to set.

        Args:
            device: An open device.
            name: Of the camera, for the log.
            fps: Frames a second: no exposure by hand is longer than a frame.
        """
        self._device = device
        self._name = name
        self._longest = max(1, UNITS_PER_S // fps)
        self._by_hand = False

    def apply(self, exposure: ExposureValue, gain: CameraValue, focus: CameraValue) -> None:
        """Set all three; whoever measures the exposure ("screen") begins with the automatic one.

        Raises:
            OSError: The camera went away.
        """
        if isinstance(exposure, int):
            self._choose("exposure mode", v4l2.V4L2_CID_EXPOSURE_AUTO, _BY_HAND)
            self._put("exposure", v4l2.V4L2_CID_EXPOSURE_ABSOLUTE, exposure, asked=True)
        else:
            self._choose("exposure mode", v4l2.V4L2_CID_EXPOSURE_AUTO, _AUTOMATIC)
        self._by_hand = False
        # 1 would let the camera halve the frame rate in the dark.
        self._put("exposure priority", v4l2.V4L2_CID_EXPOSURE_AUTO_PRIORITY, 0)
        self._put("gain mode", v4l2.V4L2_CID_AUTOGAIN, int(gain == "auto"))
        if gain != "auto":
            self._put("gain", v4l2.V4L2_CID_GAIN, gain, asked=True)
        self._put("focus mode", v4l2.V4L2_CID_FOCUS_AUTO, int(focus == "auto"))
        if focus != "auto":
            self._put("focus", v4l2.V4L2_CID_FOCUS_ABSOLUTE, focus, asked=True)

    def exposure_range(self) -> ExposureRange | None:
        """What `expose` takes; None if the camera has no exposure to be set.

        Raises:
            OSError: The camera went away.
        """
        limits = self._device.range_of(v4l2.V4L2_CID_EXPOSURE_ABSOLUTE)
        mode = self._device.range_of(v4l2.V4L2_CID_EXPOSURE_AUTO)
        if limits is None or (mode is not None and mode.highest < v4l2.V4L2_EXPOSURE_MANUAL):
            return None
        highest = max(limits.lowest, min(limits.highest, self._longest))
        now = self._actual(v4l2.V4L2_CID_EXPOSURE_ABSOLUTE)
        return ExposureRange(limits.lowest, highest, highest if now is None else now)

    def expose(self, value: int) -> int:
        """Set the exposure by hand, within its range; return what the camera took.

        The gain stays as it is: an automatic one would undo what a shorter exposure does.

        Raises:
            OSError: The camera went away.
        """
        if not self._by_hand:
            self._choose("exposure mode", v4l2.V4L2_CID_EXPOSURE_AUTO, _BY_HAND)
            self._put("gain mode", v4l2.V4L2_CID_AUTOGAIN, 0)
            self._by_hand = True
        limits = self._device.range_of(v4l2.V4L2_CID_EXPOSURE_ABSOLUTE)
        if limits is not None:
            value = max(limits.lowest, min(limits.highest, self._longest, value))
            value -= (value - limits.lowest) % limits.step
        self._put("exposure", v4l2.V4L2_CID_EXPOSURE_ABSOLUTE, value)
        taken = self._actual(v4l2.V4L2_CID_EXPOSURE_ABSOLUTE)
        return value if taken is None else taken

    def _choose(self, what: str, control: int, modes: tuple[int, int]) -> None:
        """Set a menu to the first of its entries that the camera has."""
        for mode in modes:
            if self._set(control, mode) and self._actual(control) == mode:
                return
        self._say(what, modes[0], self._actual(control), asked=False)

    def _put(self, what: str, control: int, value: int, *, asked: bool = False) -> None:
        """Set a control; what was asked for in numbers and is not obeyed is a warning."""
        self._set(control, value)
        actual = self._actual(control)
        if actual != value:
            self._say(what, value, actual, asked=asked)

    def _set(self, control: int, value: int) -> bool:
        try:
            self._device.set(control, value)
        except OSError as error:
            if error.errno in GONE:
                raise
            return False  # many cameras have no focus, and some refuse what they list
        return True

    def _actual(self, control: int) -> int | None:
        with contextlib.suppress(OSError):
            return self._device.get(control)
        return None

    def _say(self, what: str, asked_for: int, actual: int | None, *, asked: bool) -> None:
        log.log(
            logging.WARNING if asked else logging.DEBUG,
            "camera does not obey",
            extra={"camera": self._name, "control": what, "asked": asked_for, "actual": actual},
        )
