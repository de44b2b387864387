"""Where in a frame a code may be: the place with the densest edges.

A QR symbol is black and white from module to module, and little else before a kiosk is. Cutting
it out makes each rescue cost a seventh of what it costs on the whole frame.
"""

from typing import Any, TypeAlias

import cv2
import numpy as np

from hardware.frame import Luma

Region: TypeAlias = tuple[slice, slice]
"""Rows and columns of a frame: `luma[region]` is a view of it."""

CELL_PX = 16
"""The side of the squares in which edges are counted."""
SHARE = 0.36
"""A cell belongs to the region if it has this share of what the densest cell has."""
MARGIN_CELLS = 2
"""Two cells around: the quiet zone, and the soft rim of what is blurred."""


def halve(luma: Luma) -> Luma:
    """Make a plane of half the width and height; the mean of four pixels where that is cheap."""
    height, width = luma.shape
    if luma.strides[1] != 1:
        # The luma of YUYV: to lay it out for OpenCV would cost more than the decoding.
        return np.ascontiguousarray(luma[::2, ::2])
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def find_regions(luma: Luma) -> list[Region]:
    """Find the places with the densest edges.

    Args:
        luma: uint8, shape (height, width), any strides.

    Returns:
        Rows and columns, with a margin: the largest dense place, and, if that is another one,
        the densest; all of a frame too small to have places; none where nothing has edges.
    """
    height, width = luma.shape
    if min(height, width) < 6 * CELL_PX:
        return [(slice(0, height), slice(0, width))]
    half = halve(luma)
    # Along the diagonal: an edge of either direction is seen, for the price of one.
    edges: Any = cv2.absdiff(half[:-2, :-2], half[2:, 2:])
    cells = cv2.boxFilter(halve(halve(halve(edges))), -1, (3, 3))
    _, densest, _, (column, row) = cv2.minMaxLoc(cells)
    if not densest:
        return []
    _, dense = cv2.threshold(cells, int(densest * SHARE), 255, cv2.THRESH_BINARY)
    _, labels, places, _ = cv2.connectedComponentsWithStats(dense, connectivity=4)
    largest = 1 + int(np.argmax(places[1:, cv2.CC_STAT_AREA]))
    chosen = dict.fromkeys((largest, int(labels[row, column])))
    return [_around(*places[place].tolist()[:4]) for place in chosen]


def _around(left: int, top: int, columns: int, rows: int) -> Region:
    """Make a region of cells; it may reach beyond the frame's end, as a slice may."""
    margin = MARGIN_CELLS
    return (
        slice(max(0, top - margin) * CELL_PX, (top + rows + margin) * CELL_PX),
        slice(max(0, left - margin) * CELL_PX, (left + columns + margin) * CELL_PX),
    )
