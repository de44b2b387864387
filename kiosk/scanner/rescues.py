"""The rescues: what is done to a region that the first stages could not read, and then read again.

Each stands for a way in which a phone's screen comes out badly: too small, too soft, smeared,
eaten by glare, too thin, too fat. Decision 0011 tells how they were chosen, and which ones were
not. A box mean does what a large Gaussian does at an eighth of the cost.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner import reader
from kiosk.scanner.region import halve
from kiosk.settings import RescueName

_MOST_PIXELS_TO_ENLARGE = 240_000
"""A larger region is halved before: to enlarge it would take longer than all the other stages."""


class _Recipe(NamedTuple):
    """How a rescue prepares a plane, how the result is read, and its scale."""

    prepare: Callable[[Luma], Luma]
    read: Callable[[Luma, str], list[Symbol]]
    scale: float = 1.0
    border_px: int = 0


class RescueStage:
    """One rescue as a decoder stage."""

    def __init__(self, name: RescueName) -> None:
        """Take the recipe of this name."""
        self.name = name
        self._recipe = _RECIPES[name]

    def decode(self, luma: Luma) -> list[Symbol]:
        """Prepare a copy of the plane and read it; corners are those in `luma`."""
        recipe = self._recipe
        plane, scale = np.ascontiguousarray(luma), recipe.scale
        if scale > 1 and luma.size > _MOST_PIXELS_TO_ENLARGE:
            plane, scale = halve(plane), scale / 2
        symbols = recipe.read(recipe.prepare(plane), self.name)
        if not symbols or (scale == 1 and not recipe.border_px):
            return symbols
        border = recipe.border_px
        return [placed(symbol, scale, -border, -border) for symbol in symbols]


def placed(symbol: Symbol, scale: float, x: int, y: int) -> Symbol:
    """Tell where a symbol is that was read in a part of a frame, at another scale.

    Args:
        symbol: As read.
        scale: Pixels there for each pixel of the frame.
        x: Column of the frame at which the part begins.
        y: Row of the frame at which the part begins.
    """
    corners = tuple((round(a / scale) + x, round(b / scale) + y) for a, b in symbol.corners)
    return Symbol(payload=symbol.payload, kind=symbol.kind, stage=symbol.stage, corners=corners)


def _square(side: int) -> Any:
    return np.ones((side, side), dtype=np.uint8)


def _mean(luma: Luma, side: int) -> Luma:
    return np.asarray(cv2.boxFilter(luma, -1, (side, side)), dtype=np.uint8)


def _threshold(luma: Luma, side: int) -> Luma:
    """White where a pixel is brighter than the mean of the square around it."""
    return np.asarray(cv2.compare(luma, _mean(luma, side), cv2.CMP_GT), dtype=np.uint8)


def _sharpen(luma: Luma, side: int, amount: float) -> Luma:
    return np.asarray(
        cv2.addWeighted(luma, 1 + amount, _mean(luma, side), -amount, 0), dtype=np.uint8
    )


def _enlarge(luma: Luma, scale: float) -> Luma:
    return np.asarray(
        cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _grow_dark(luma: Luma, side: int) -> Luma:
    return np.asarray(cv2.erode(luma, _square(side)), dtype=np.uint8)


def _grow_light(luma: Luma, side: int) -> Luma:
    return np.asarray(cv2.dilate(luma, _square(side)), dtype=np.uint8)


def _fine_threshold(luma: Luma) -> Luma:
    smooth = cv2.GaussianBlur(luma, (0, 0), 0.8)
    white = cv2.adaptiveThreshold(smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 0)
    return np.asarray(white, dtype=np.uint8)


def _border(luma: Luma) -> Luma:
    return np.asarray(
        cv2.copyMakeBorder(luma, 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=(255,)), dtype=np.uint8
    )


_two_tone = reader.read_one_threshold
_RECIPES: dict[RescueName, _Recipe] = {
    "smooth-threshold": _Recipe(lambda y: _threshold(_mean(y, 3), 15), _two_tone),
    "dark-grow": _Recipe(lambda y: _threshold(_grow_dark(y, 2), 25), _two_tone),
    "half-light-grow": _Recipe(
        lambda y: _threshold(_grow_light(halve(y), 2), 15), _two_tone, scale=0.5
    ),
    "enlarge-sharpen": _Recipe(lambda y: _sharpen(_enlarge(y, 1.5), 17, 3.0), _two_tone, scale=1.5),
    "light-grow": _Recipe(lambda y: _threshold(_grow_light(y, 3), 25), _two_tone),
    "sharpen": _Recipe(lambda y: _sharpen(y, 9, 2.0), reader.read),
    "smooth": _Recipe(lambda y: _mean(y, 3), reader.read_at_scale),
    "dark-grow-fine": _Recipe(lambda y: _threshold(_grow_dark(y, 3), 15), _two_tone),
    "fine-threshold": _Recipe(_fine_threshold, _two_tone),
    "border": _Recipe(_border, _two_tone, border_px=20),
}
