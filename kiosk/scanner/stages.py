"""The decoder stages: each one way to read the symbols of one luma plane."""

import logging
from collections.abc import Sequence
from typing import Protocol

from hardware.frame import Luma
from kiosk.errors import SettingsError
from kiosk.messages import Symbol
from kiosk.scanner import reader
from kiosk.scanner.region import halve

log = logging.getLogger(__name__)


class Stage(Protocol):
    """One way to read the symbols of a frame, or of a part of one."""

    @property
    def name(self) -> str:
        """Which stage this is; what it reads is signed with it."""

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read what this stage can read.

        Args:
            luma: uint8, shape (height, width), any strides; only looked at, not kept.

        Returns:
            Whole QR Codes model 2 as kind `qr`, parts of a structured append as `part`;
            empty if nothing was read.
        """


class FastStage:
    """zxing-cpp on a plane of half the size with one threshold: most phones held well."""

    name = "fast"

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read dark symbols on a light ground whose modules are four pixels and more."""
        return reader.read_fast(halve(luma), self.name, shrunk=2)


class ZxingStage:
    """zxing-cpp as it comes: needs nothing from the system, and shows the modules it read."""

    name = "zxing"

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read all symbols, also inverted and mirrored ones."""
        return reader.read(luma, self.name)


def load_stages(engines: Sequence[str]) -> list[Stage]:
    """Load the engines in the order of `scan.engines`; one that is missing is left out.

    Args:
        engines: Names; `gate` is no stage and is passed over.

    Raises:
        SettingsError: None of them is there.
    """
    stages: list[Stage] = []
    for engine in engines:
        match engine:
            case "gate":
                pass
            case "fast":
                stages.append(FastStage())
            case "zxing":
                stages.append(ZxingStage())
            case "pyzbar":
                from kiosk.scanner.other_engines import PyzbarStage

                try:
                    stages.append(PyzbarStage())
                except (OSError, ImportError):
                    log.warning(
                        "libzbar is missing: sudo apt install libzbar0; going on without pyzbar"
                    )
            case "opencv":
                from kiosk.scanner.other_engines import OpencvStage

                stages.append(OpencvStage())
            case _:
                raise ValueError(f"no engine {engine!r}")
    if not stages:
        raise SettingsError(
            ["scan.engines: none of these is installed. sudo apt install libzbar0, or add zxing"]
        )
    return stages
