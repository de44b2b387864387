"""A camera of the kernel's V4L2, as USB cameras are: luma where the driver put it, newest frame."""

import collections
import logging
import time
from collections.abc import Callable

from hardware.camera import CameraLostError, CameraMissingError, ExposureRange
from hardware.cameras import v4l2_formats as formats
from hardware.cameras.v4l2_controls import CameraValue, Controls, ExposureValue
from hardware.cameras.v4l2_device import Device, Filled, Kernel, LinuxKernel, PixelFormat
from hardware.cameras.v4l2_errors import lost, refusal, stable_name
from hardware.frame import Frame, Luma

log = logging.getLogger(__name__)

BUFFERS = 4
"""One in the slot, one with the decoder, one that is being filled, and one to fill next."""

_PLAUSIBLE_S = 1.0
_COMPLAIN_EVERY_S = 10.0


class V4l2Camera:
    """A camera by path; the links in /dev/v4l/by-id keep their names.

    A frame's luma is a view of the driver's buffer (of a JPEG, a plane of its own). To release
    it only notes the buffer's number; the thread that reads gives it to the driver, so that
    nobody else ever waits for a driver.
    """

    def __init__(
        self,
        device: str = "/dev/video0",
        *,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        exposure: ExposureValue = "auto",
        gain: CameraValue = "auto",
        focus: CameraValue = "auto",
        kernel: Kernel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the camera and how to set it; nothing is opened before `open`.

        Args:
            device: Such as /dev/video0, or better a link in /dev/v4l/by-id.
            width: Pixels.
            height: Pixels.
            fps: Frames a second.
            exposure: Auto, the driver's value, or "screen": automatic until `expose` is called.
            gain: Auto, or the driver's value.
            focus: Auto, or the driver's value.
            kernel: The system's, unless a test says otherwise.
            clock: Seconds on the monotonic clock.
        """
        self._path = device
        self._size = (width, height)
        self._fps = fps
        self._exposure: ExposureValue = exposure
        self._gain: CameraValue = gain
        self._focus: CameraValue = focus
        self._kernel = kernel or LinuxKernel()
        self._clock = clock
        self._max_age_s = max(0.1, 3 / fps)
        self._device: Device | None = None
        self._format = PixelFormat("", 0, 0, 0, 0)
        self._planes: list[Luma] = []
        self._controls: Controls | None = None
        self._returned: collections.deque[int] = collections.deque()
        self._stable_name: str | None = None
        self._driver_sequence = self._sequence = 0
        self._dropped = 0
        self._complain_at_s = float("-inf")

    @property
    def name(self) -> str:
        """Which camera this is."""
        return f"v4l2 {self._path}"

    def open(self) -> None:
        """Open the device, choose a format, set exposure, gain and focus, let frames come.

        Raises:
            CameraMissingError: No such device, no right to open it, or no camera of ours.
            CameraBusyError: In use by another program.
        """
        self.close()
        try:
            device = Device(self._path, self._kernel)
        except OSError as error:
            raise refusal(self._path, error) from error
        self._stable_name = stable_name(self._path)
        try:
            card = self._prove_it_is_a_camera(device)
            self._format, fps = formats.choose(device, self.name, self._size, self._fps)
            self._controls = Controls(device, self.name, fps=self._fps)
            self._controls.apply(self._exposure, self._gain, self._focus)
            device.start(BUFFERS)
            self._planes = self._planes_in(device)
        except OSError as error:
            device.close()
            raise refusal(self._path, error) from error
        except BaseException:
            device.close()
            raise
        self._device = device
        # A frame on loan from before belongs to buffers that are no more.
        self._returned = collections.deque()
        self._driver_sequence = self._sequence = 0
        log.info(
            "camera opened",
            extra={
                "camera": self.name,
                "card": card,
                "stable_name": self._stable_name,
                "format": self._format.fourcc,
                "width": self._format.width,
                "height": self._format.height,
                "fps": fps,
            },
        )

    def read(self, timeout_s: float) -> Frame | None:
        """Lend the newest frame, or wait for one.

        Raises:
            CameraLostError: Not open, unplugged, or the driver gave up.
        """
        device = self._opened()
        deadline_s = self._clock() + timeout_s
        waited = False
        try:
            while True:
                frame = self._newest(device, waited=waited)
                if frame is not None:
                    return frame
                left_s = deadline_s - self._clock()
                if left_s <= 0:
                    return None
                waited = device.wait(left_s)
        except OSError as error:
            raise lost(self._path, self._stable_name, error) from error

    def exposure_range(self) -> ExposureRange | None:
        """What `expose` takes, in units of 100 us; None if the camera has no such control.

        Raises:
            CameraLostError: Not open, or gone.
        """
        self._opened()
        assert self._controls is not None
        try:
            return self._controls.exposure_range()
        except OSError as error:
            raise lost(self._path, self._stable_name, error) from error

    def expose(self, value: int) -> int:
        """Set the exposure by hand and return what the camera took.

        Raises:
            CameraLostError: Not open, or gone.
        """
        self._opened()
        assert self._controls is not None
        try:
            return self._controls.expose(value)
        except OSError as error:
            raise lost(self._path, self._stable_name, error) from error

    def close(self) -> None:
        """Give the device back. Frames on loan stay readable until they are released."""
        device, self._device = self._device, None
        self._controls = None
        self._planes = []
        if device is not None:
            device.close()

    def _opened(self) -> Device:
        if self._device is None:
            raise CameraLostError(f"{self.name} is not open.")
        return self._device

    def _newest(self, device: Device, *, waited: bool) -> Frame | None:
        """Take all filled buffers, keep the newest, and give the others back at once.

        Args:
            device: The open one.
            waited: There was none a moment ago: what is there now is fresh, whatever its stamp.
        """
        while self._returned:
            device.queue(self._returned.popleft())
        newest: Filled | None = None
        for _ in range(len(device.buffers)):
            filled = device.dequeue()
            if filled is None:
                break
            if filled.damaged or not formats.is_whole(self._format, filled.used):
                self._drop(f"damaged, {filled.used} bytes")
                device.queue(filled.index)
                continue
            if newest is not None:
                device.queue(newest.index)
            newest = filled
        if newest is None:
            return None
        now_s = self._clock()
        captured_at_s = newest.stamp_s
        if captured_at_s is None or captured_at_s > now_s:
            captured_at_s = now_s
        elif waited and captured_at_s < now_s - _PLAUSIBLE_S:
            captured_at_s = now_s  # some drivers count from elsewhere
        if not waited and now_s - captured_at_s > self._max_age_s:
            # Nobody read for a while, and the driver stopped when its buffers were full.
            device.queue(newest.index)
            return None
        return self._lend(device, newest, captured_at_s)

    def _lend(self, device: Device, filled: Filled, captured_at_s: float) -> Frame | None:
        since_last = (filled.sequence - self._driver_sequence) & 0xFFFF_FFFF
        self._driver_sequence = filled.sequence
        self._sequence += max(1, since_last)
        if self._format.fourcc == formats.JPEG:
            data = device.buffers[filled.index][: filled.used]
            plane = formats.luma_of_jpeg(data, self._format)
            device.queue(filled.index)
            if plane is None:
                self._drop(f"damaged JPEG, {filled.used} bytes")
                return None
            return Frame(plane, captured_at_s, self._sequence)
        loan = _Loan(filled.index, self._returned)
        return Frame(self._planes[filled.index], captured_at_s, self._sequence, loan.give_back)

    def _drop(self, why: str) -> None:
        """Report damaged frames, not each of them."""
        self._dropped += 1
        now_s = self._clock()
        if now_s >= self._complain_at_s:
            self._complain_at_s = now_s + _COMPLAIN_EVERY_S
            log.warning(
                "camera frame dropped",
                extra={"camera": self.name, "why": why, "dropped": self._dropped},
            )

    def _prove_it_is_a_camera(self, device: Device) -> str:
        card, delivers = device.capability()
        if not delivers:
            raise CameraMissingError(
                f"{self._path} ({card}) is not the node that delivers pictures.",
                advice="A camera has several; its name in /dev/v4l/by-id ends in -video-index0.",
            )
        return card

    def _planes_in(self, device: Device) -> list[Luma]:
        """The luma plane of each buffer; of JPEGs there is none."""
        smallest = min((pixels.size for pixels in device.buffers), default=0)
        if smallest < formats.least_bytes(self._format):
            raise CameraMissingError(f"{self._path} has buffers smaller than its frames.")
        if self._format.fourcc == formats.JPEG:
            return []
        return [formats.luma_view(pixels, self._format) for pixels in device.buffers]


class _Loan:
    """A buffer that is with a reader.

    Threads: `give_back` is called by any thread; a deque needs no lock for it.
    """

    __slots__ = ("_index", "_returned")

    def __init__(self, index: int, returned: collections.deque[int]) -> None:
        self._index = index
        self._returned: collections.deque[int] | None = returned

    def give_back(self) -> None:
        """Note that the buffer may be filled again; a second time does nothing."""
        returned, self._returned = self._returned, None
        if returned is not None:
            returned.append(self._index)
