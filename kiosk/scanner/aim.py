"""How a code lies before the lens, in figures, and the one word that tells what to do about it.

Pure functions over a luma plane. What they measure depends neither on what the code says nor on
how strong its contrast is. The limits were found with rendered frames whose lens, light and
distance are known; `tests/unit/scanner/test_aim.py` repeats the essence of that.
"""

import enum
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner.outline import Place, locate

SHARP_EDGE_PX = 3.5
"""Edges of a lens at its best are 2.8 px wide; out of focus by a circle of 1 px radius 3.0, of
2 px 3.9, 3 px 4.5, 4 px 5.0, whatever the contrast. Modules of 4 px and less take half a pixel off
what is soft, and so does a camera that sharpens by itself."""
SMEARED, SMEARED_AND_SOFT = 1.3, 1.18
"""Of a code out of focus the edges are alike in all directions, to within 1.14; of one moved by
its module they differ by 1.35 in the middle, by two modules 1.9. The lower limit holds where the
edges are wide as well, so that something is wrong in any case."""
RESTLESS_EDGE_PX = 0.8
RESTLESS_SHIFT_PX = 6.0
"""From frame to frame: a lens stays as it is, a hand does not."""
LEAST_MODULE_PX = 3.5
"""Where the first stage begins to fail; the rescues read down to 2.5."""
LEAST_SIDE_PX = 80.0
"""The smallest symbol with such modules, where these could not be counted."""
MOST_OF_FRAME = 0.85
"""A larger symbol has no room for its light margin, nor for a hand that shakes."""
LARGE_ENOUGH_TO_BE_CUT = 0.35
"""What reaches to the frame's rim and is smaller is about to come in, not too near."""
LEAST_CONTRAST = 40.0
MOST_CLIPPED = 0.6

_ROWS = 480
_CLIPPED, _BLACK = 254, 5
_MODULE_COUNTS = range(21, 58, 4)  # versions 1 to 10; twenty digits need the first or the second
_FINDER = np.array([[max(abs(x - 3), abs(y - 3)) != 2 for x in range(7)] for y in range(7)])
_KNOWN_BY_FINDERS = 0.55


class Advice(enum.StrEnum):
    """What to do, for whoever holds the phone or mends the kiosk.

    TURN_THE_LENS is for the technician only: a customer can do nothing about it.
    """

    CLOSER = "closer"
    FARTHER = "farther"
    HOLD_STILL = "hold still"
    BRIGHTER = "brighter"
    DARKER = "darker"
    TURN_THE_LENS = "turn the lens"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Aim:
    """How a code lies in one frame.

    Attributes:
        read: It was read in this frame; else it only looks like a code.
        side_px: Side of the symbol without its light margin; the square root of its area.
        module_px: Side of a module; None where the modules could not be counted.
        edge_px: Width of its sharper edges, from dark to light, in pixels of a frame that has no
            more than 480 rows; see `SHARP_EDGE_PX`. None where there are too few of them.
        smear: How much sharper it is in one direction than across, at least 1.
        contrast: Levels between dark and light modules.
        clipped: Share of the pixels that are white beyond measure.
        black: Share of the pixels that are as dark as can be.
        cut: It reaches to the rim of the frame.
        fill: Side of the symbol over the frame's shorter side.
        centre: x and y of the middle of the box around it, in pixels.
    """

    read: bool
    side_px: float
    module_px: float | None
    edge_px: float | None
    smear: float
    contrast: float
    clipped: float
    black: float
    cut: bool
    fill: float
    centre: tuple[float, float]


def measure(luma: Luma, symbols: Sequence[Symbol] = ()) -> Aim | None:
    """Measure the code in a frame.

    Args:
        luma: uint8, shape (height, width), any strides; not kept.
        symbols: What was read in it; the largest one counts. Without one, what looks most like
            a code is measured.

    Returns:
        None where nothing looks like a code.
    """
    read = max((s for s in symbols if len(s.corners) == 4), key=_side_px, default=None)
    place = locate(luma) if read is None else _box(read, luma)
    if place is None:
        return None
    pixels = place.of(luma)
    dark, bright = (float(level) for level in np.percentile(pixels, (8, 92)))
    edge_px, smear = _edges(_as_of_480_rows(pixels, luma))
    if read is not None:
        smear = max(1.0, smear / _stretch(read))
    return Aim(
        read=read is not None,
        side_px=place.side_px,
        module_px=None if read is None else _module_px(luma, read, place.side_px),
        edge_px=edge_px,
        smear=smear,
        contrast=bright - dark,
        clipped=float((pixels >= _CLIPPED).mean()),
        black=float((pixels <= _BLACK).mean()),
        cut=place.cut,
        fill=place.side_px / min(luma.shape),
        centre=((place.left + place.right) / 2, (place.top + place.bottom) / 2),
    )


def advise(aims: Sequence[Aim | None]) -> Advice | None:
    """Say what to do, from the last frames; a single one will do.

    Light comes first, since it spoils the other figures; then the distance, then what blurs. One
    frame tells a hand from a lens if the code moved along by a module and more. What moved less
    mostly shows by the frames before, which differ.

    Args:
        aims: Of consecutive frames, the newest last; a second is enough.

    Returns:
        None where nothing looks like a code now.
    """
    aim = aims[-1] if aims else None
    if aim is None:
        return None
    if aim.clipped > MOST_CLIPPED:
        return Advice.DARKER
    if aim.contrast < LEAST_CONTRAST:
        return Advice.BRIGHTER
    cut = aim.cut and not aim.read and aim.fill > LARGE_ENOUGH_TO_BE_CUT
    if cut or aim.fill > MOST_OF_FRAME:
        return Advice.FARTHER
    if aim.smear >= SMEARED:
        return Advice.HOLD_STILL
    if _is_small(aim):
        return Advice.CLOSER
    known = [each for each in aims if each is not None]
    if aim.edge_px is not None and aim.edge_px > SHARP_EDGE_PX:
        moved = aim.smear >= SMEARED_AND_SOFT or _restless(known)
        return Advice.HOLD_STILL if moved else Advice.TURN_THE_LENS
    # Nothing is wrong with a code that was not read yet: the slower stages need a moment.
    return Advice.FINE if any(each.read for each in known) else Advice.HOLD_STILL


def _is_small(aim: Aim) -> bool:
    if aim.module_px is not None:
        return aim.module_px < LEAST_MODULE_PX
    return aim.side_px < LEAST_SIDE_PX


def _restless(aims: Sequence[Aim]) -> bool:
    """The frames differ more than those of a phone held still before a bad lens."""
    widths = [aim.edge_px for aim in aims if aim.edge_px is not None]
    if max(widths) - min(widths) > RESTLESS_EDGE_PX:
        return True
    shifts = [math.dist(a.centre, b.centre) for a, b in itertools.pairwise(aims)]
    return bool(shifts) and float(np.median(shifts)) > RESTLESS_SHIFT_PX


def _side_px(symbol: Symbol) -> float:
    corners = np.array(symbol.corners, dtype=np.float32)
    return math.sqrt(max(cv2.contourArea(corners), 1.0))


def _stretch(symbol: Symbol) -> float:
    """Longer side over shorter side: how much of the smear a tilted phone explains."""
    sides = [math.dist(a, b) for a, b in itertools.pairwise(symbol.corners)]
    return max(sides) / max(min(sides), 1.0)


def _box(symbol: Symbol, luma: Luma) -> Place | None:
    height, width = luma.shape
    x, y = zip(*symbol.corners, strict=True)
    left, top = max(min(x), 0), max(min(y), 0)
    right, bottom = min(max(x) + 1, width), min(max(y) + 1, height)
    if right - left < 8 or bottom - top < 8:
        return None
    cut = left == 0 or top == 0 or right == width or bottom == height
    return Place(left, top, right, bottom, _side_px(symbol), cut)


def _as_of_480_rows(pixels: Luma, luma: Luma) -> Luma:
    """Shrink what a larger frame shows: its pixels are finer than cheap lenses draw."""
    scale = _ROWS / min(luma.shape)
    if scale > 0.9:
        return pixels
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _edges(pixels: Luma) -> tuple[float | None, float]:
    """Width of the sharper edges in pixels, and how much the directions differ.

    The width is that of a ramp as steep as the edge and as high as the contrast around it.
    """
    smooth = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.6, dst=None)).astype(np.float32)
    across = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1)) / 2
    down = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1)) / 2
    slope = np.asarray(cv2.magnitude(across, down))
    near = np.ones((9, 9), dtype=np.uint8)
    height = np.asarray(cv2.dilate(smooth, near)) - np.asarray(cv2.erode(smooth, near))
    steepest = np.asarray(cv2.dilate(slope, np.ones((3, 3), dtype=np.uint8)))
    edge = (slope >= steepest) & (height > 0.6 * np.percentile(height, 90)) & (slope > 0)
    xx, yy, xy = (float(np.mean(product)) for product in (across**2, down**2, across * down))
    difference = math.hypot(xx - yy, 2 * xy)
    smear = math.sqrt((xx + yy + difference) / max(xx + yy - difference, 1e-6))
    if np.count_nonzero(edge) < 20:
        return None, smear
    return float(np.percentile(height[edge] / slope[edge], 25)), smear


def _module_px(luma: Luma, symbol: Symbol, side_px: float) -> float | None:
    """Count the modules by where the finders' rings lie."""
    corners = np.array(symbol.corners, dtype=np.float32)
    if not cv2.isContourConvex(corners) or side_px < 21:
        return None
    best, modules = _KNOWN_BY_FINDERS, None
    for count in _MODULE_COUNTS:
        square = np.array([[0, 0], [count, 0], [count, count], [0, count]], dtype=np.float32)
        to_frame = cv2.getPerspectiveTransform(square, corners)
        finders = ((0, 0), (count - 7, 0), (0, count - 7))
        fit = sum(_finder_fit(luma, to_frame, x, y) for x, y in finders) / 3
        if fit > best:
            best, modules = fit, count
    return None if modules is None else side_px / modules


def _finder_fit(luma: Luma, to_frame: NDArray[Any], x: int, y: int) -> float:
    """How well the 49 modules there agree with a finder: 1 for one, less for anything else."""
    rows, columns = np.mgrid[:7, :7]
    middles = np.column_stack([columns.ravel() + x + 0.5, rows.ravel() + y + 0.5, np.ones(49)])
    mapped = middles @ to_frame.T
    at = np.rint(mapped[:, :2] / mapped[:, 2:]).astype(int)
    height, width = luma.shape
    levels = luma[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, width - 1)].astype(np.float64)
    if levels.std() < 1:
        return 0.0
    return abs(float(np.corrcoef(levels, _FINDER.ravel())[0, 1]))
