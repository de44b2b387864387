"""The Pi's own camera connector. Not in this version: it comes with picamera2."""

from hardware.camera import CameraLostError, CameraMissingError
from hardware.frame import Frame


class CsiCamera:
    """Stands in for the ribbon-cable camera and says what to use instead."""

    name = "csi"

    def open(self) -> None:
        """Refuse.

        Raises:
            CameraMissingError: Always.
        """
        raise CameraMissingError(
            "The CSI camera comes with picamera2, which this version does not have yet.",
            advice="Set camera.backend to v4l2 and connect a USB camera.",
        )

    def read(self, timeout_s: float) -> Frame | None:  # noqa: ARG002 - the port has it
        """Refuse.

        Raises:
            CameraLostError: Always.
        """
        raise CameraLostError(f"{self.name} is not open.")

    def close(self) -> None:
        """Do nothing; nothing was opened."""
