"""Where something looks like a code that nobody has read: too blurred, too dim, too far, too near.

Busy all over, about as wide as high, and of two colours that change again and again in both
directions; a shop, a customer and a phone without a code have none of that together.
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.frame import Luma
from kiosk.scanner.region import Region, find_regions

_CELL_LIMIT_PX = 200  # a region is shrunk to this: its modules are then some six pixels
_REACH_PX = 13  # two such modules: wherever one stands in a code, both colours are near
_RIM_PX = _REACH_PX - 5
"""How far the busy place reaches beyond the symbol, on both sides together."""
_LEAST_OUTLINE_PX, _MOST_ASPECT, _LEAST_TO_SEE = 16, 2.4, 10
_LEAST_CHANGES = 4.0
"""Across a code the colour changes some ten times, if blurred six times; across what else is
busy in a shop, or on a phone without a code, mostly once."""


class Place(NamedTuple):
    """A box in the frame, and the side of what it holds."""

    left: int
    top: int
    right: int
    bottom: int
    side_px: float
    cut: bool

    def of(self, luma: Luma) -> Luma:
        """The pixels, laid out for OpenCV."""
        return np.ascontiguousarray(luma[self.top : self.bottom, self.left : self.right])


def locate(luma: Luma) -> Place | None:
    """Find the outline of what looks most like a code: busy all over, square, of two tones."""
    places = [place for region in find_regions(luma) if (place := _place_in(region, luma))]
    return max(places, key=lambda place: place.side_px, default=None)


def _place_in(region: Region, luma: Luma) -> Place | None:
    rows, columns = region
    part = np.ascontiguousarray(luma[rows, columns])
    scale = min(1.0, _CELL_LIMIT_PX / max(part.shape))
    found = _outline(_resized(part, scale))
    if found is None:
        return None
    (left, top, right, bottom), side = found
    ends = (
        columns.start + left / scale,
        rows.start + top / scale,
        columns.start + right / scale,
        rows.start + bottom / scale,
    )
    height, width = luma.shape
    cut = ends[0] <= 1 or ends[1] <= 1 or ends[2] >= width - 1 or ends[3] >= height - 1
    rim = _RIM_PX / 2 / scale
    return Place(
        round(ends[0] + rim),
        round(ends[1] + rim),
        round(min(ends[2], width) - rim),
        round(min(ends[3], height) - rim),
        side / scale,
        cut,
    )


def _resized(part: Luma, scale: float) -> Luma:
    if scale == 1:
        return part
    resized = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _outline(part: Luma) -> tuple[tuple[int, int, int, int], float] | None:
    """Bounds of the busy place in a part, and the side of the symbol; None if it is no code."""
    smooth = cv2.GaussianBlur(part, (0, 0), 0.8)
    reach = _REACH_PX
    near = np.ones((reach, reach), dtype=np.uint8)
    spread = np.asarray(cv2.subtract(cv2.dilate(smooth, near), cv2.erode(smooth, near)))
    strong = float(np.percentile(spread, 90))
    busy = (spread > 0.5 * strong).astype(np.uint8)
    busy = np.asarray(cv2.morphologyEx(busy, cv2.MORPH_OPEN, np.ones((21, 21), dtype=np.uint8)))
    count, labels, places, _ = cv2.connectedComponentsWithStats(busy, connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(np.argmax(places[1:, cv2.CC_STAT_AREA]))
    inside = labels == largest
    points = np.column_stack(np.nonzero(inside)[::-1]).astype(np.float32)
    _, (a, b), _ = cv2.minAreaRect(points)
    a, b = a - _RIM_PX, b - _RIM_PX
    if not _looks_like_a_code(smooth, inside, a, b):
        return None
    left, top, columns, rows = (int(value) for value in places[largest][:4])
    return (left, top, left + columns, top + rows), math.sqrt(a * b)


def _looks_like_a_code(smooth: NDArray[Any], inside: NDArray[np.bool_], a: float, b: float) -> bool:
    """Tell by how often the colour changes on the way across, in both directions."""
    if min(a, b) < _LEAST_OUTLINE_PX or max(a, b) > _MOST_ASPECT * min(a, b):
        return False
    dark, bright = np.percentile(smooth[inside], (5, 95))
    if bright - dark < _LEAST_TO_SEE:
        return False
    white = smooth > (dark + bright) / 2
    along = np.mean((white[:, 1:] != white[:, :-1])[inside[:, 1:]])
    down = np.mean((white[1:] != white[:-1])[inside[1:]])
    return min(float(along), float(down)) * math.sqrt(a * b) >= _LEAST_CHANGES
