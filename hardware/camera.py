"""The camera port: what any camera backend promises, and what its errors mean."""

from dataclasses import dataclass
from typing import Protocol

from hardware.errors import HardwareError
from hardware.frame import Frame


class CameraError(HardwareError):
    """No frames from this camera now. Close it; opening it again later may help."""


class CameraMissingError(CameraError):
    """The camera is not there, or not one that this machine can use. Nothing was opened."""


class CameraBusyError(CameraError):
    """The camera is there, but something else holds it. Nothing was opened."""


class CameraLostError(CameraError):
    """An open camera stopped to be one: unplugged, hung up, its recording gone."""


@dataclass(frozen=True, slots=True)
class ExposureRange:
    """What `Camera.expose` takes: linear in time, in the driver's own unit.

    Attributes:
        lowest: The shortest exposure.
        highest: The longest one; it fits into a frame.
        now: The one in force, as far as the driver tells.
    """

    lowest: int
    highest: int
    now: int


class Camera(Protocol):
    """A source of frames.

    Threads: one thread at a time calls the methods; a camera has no lock. A frame is released
    by any thread, at any time, also after `close`: that never waits for the driver.
    """

    @property
    def name(self) -> str:
        """Which camera this is, for a technician, such as `v4l2 /dev/video0`."""

    def open(self) -> None:
        """Start the camera. A camera may be opened again after `close`.

        Raises:
            CameraMissingError: Not there, or not usable here; the advice says what to do.
            CameraBusyError: In use by another program.
        """

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame and lend it.

        Args:
            timeout_s: How long to wait; a backend may return earlier or a little later.

        Returns:
            A frame that the caller releases, or None: no frame in time, the camera is
            still there. How long that is bearable is for the caller to say.

        Raises:
            CameraLostError: The camera is gone. Only `close` and `open` make sense now.
        """

    def exposure_range(self) -> ExposureRange | None:
        """What `expose` takes; None: this camera's exposure cannot be set by hand.

        Raises:
            CameraLostError: Not open, or gone.
        """

    def expose(self, value: int) -> int:
        """Set the exposure by hand and return what the camera took.

        It takes effect within a few frames, and stays until the camera is opened again.

        Raises:
            CameraLostError: Not open, or gone.
        """

    def close(self) -> None:
        """Stop the camera and give it back. Closing twice, or a camera never opened, is fine."""
