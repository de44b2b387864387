"""One camera image, on loan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Luma: TypeAlias = NDArray[np.uint8]
"""A brightness plane: uint8, shape (height, width); rows may be padded, pixels may be apart."""


def _nothing_to_give_back() -> None:
    """Release of a frame whose pixels belong to nobody else."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An image whose pixels still belong to the driver.

    Hold a frame for one decode and no longer; copy `luma` to keep it. Whoever holds the
    frame calls `release` exactly once, also when nothing was done with it.

    Attributes:
        luma: uint8, shape (height, width). A view: rows may be padded.
        captured_at_s: Seconds on the monotonic clock, taken by the driver where it can.
        sequence: The driver's own count; a gap means it dropped frames.
        release: Gives the pixels back to the driver; `luma` must not be read afterwards.
    """

    luma: Luma
    captured_at_s: float
    sequence: int
    release: Callable[[], None] = _nothing_to_give_back
