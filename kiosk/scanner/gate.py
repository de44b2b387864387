"""The gate: a scene that does not change is not decoded again and again."""

import cv2
import numpy as np

from hardware.frame import Luma

SAMPLE_EVERY_PX = 16
"""Each sample costs a cache line: at every 4th pixel the gate would cost three copies of the
frame, at every 16th row and column it costs half of one."""
SLACK = 12
"""Levels that a sample may differ by the sensor's noise alone; what differs less is not counted."""
CHANGE_PER_SAMPLE = 0.5
"""Levels of change, in the mean of all samples: half of what a far phone brings, in a fifteenth
of the frame, 16 levels brighter than what was behind it."""


class Gate:
    """Tells whether a frame shows what the last decoded one showed, from every 16th pixel."""

    def __init__(self) -> None:
        """Start with nothing seen: the first frame is a change."""
        self._seen: Luma | None = None

    def remember(self, luma: Luma) -> None:
        """Keep the samples of a frame that is decoded now.

        Args:
            luma: uint8, shape (height, width), any strides; not kept.
        """
        self._seen = _sample(luma)

    def still(self, luma: Luma) -> bool:
        """Compare a frame with the one remembered.

        Args:
            luma: uint8, shape (height, width), any strides; not kept.
        """
        seen = self._seen
        now = _sample(luma)
        if seen is None or seen.shape != now.shape:
            return False
        _, change = cv2.threshold(cv2.absdiff(now, seen), SLACK, 0, cv2.THRESH_TOZERO)
        return cv2.norm(change, cv2.NORM_L1) <= CHANGE_PER_SAMPLE * now.size


def _sample(luma: Luma) -> Luma:
    step = SAMPLE_EVERY_PX
    return np.ascontiguousarray(luma[step // 2 :: step, step // 2 :: step])
