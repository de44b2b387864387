"""What the screen of a phone shows: a payment app, and the symbol on a card in its middle."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.sandbox.phone import BOTTOM_MM, LEFT_MM, RIGHT_MM, TOP_MM, Matrix, Phone, Points
from kiosk.sandbox.symbols import Kind, draw_modules

Bitmap = NDArray[np.uint8]

_BEZEL_MM = 2.4
_MAX_TEXTURE_PX = 16  # of a module; beyond, the camera's lens is softer than the texture


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """The front of a phone as a bitmap.

    Attributes:
        bitmap: uint8, shape (height, width), as the app draws it: sRGB gray. Read-only.
        to_mm: float64, shape (3, 3): from the centres of its pixels to millimetres.
    """

    bitmap: Bitmap
    to_mm: Matrix


def draw_screen(phone: Phone) -> Screen:
    """Draw what the phone shows, at a resolution that suits its size in the frame."""
    # Twice the frame's own resolution: the renderer samples so, and takes the mean over areas.
    texture_px = min(max(round(2 * phone.module_px), 2), _MAX_TEXTURE_PX)
    look = Phone(
        payload=phone.payload,
        kind=phone.kind,
        ec_level=phone.ec_level,
        symbol_mm=phone.symbol_mm,
        quiet_modules=phone.quiet_modules,
        dark_theme=phone.dark_theme,
        inverted=phone.inverted,
    )
    return _draw_look(look, texture_px)


@functools.lru_cache(maxsize=16)
def _draw_look(look: Phone, module_px: int) -> Screen:
    """Draw the screen of a phone; a visit of many frames draws it once."""
    columns, rows = look.columns_and_rows
    scale = module_px / look.module_mm  # pixels a millimetre
    width, height = round((RIGHT_MM - LEFT_MM) * scale), round((BOTTOM_MM - TOP_MM) * scale)
    left = round(-LEFT_MM * scale - columns * module_px / 2)
    top = round(-TOP_MM * scale - rows * module_px / 2)
    origin = np.array([left + columns * module_px / 2, top + rows * module_px / 2]) / scale
    app = _App(np.full((height, width), 12, dtype=np.uint8), scale, origin, look.dark_theme)
    app.draw()
    if look.kind is Kind.NONE:
        app.draw_menu()
    else:
        margin = look.quiet_modules * look.module_mm
        half_x, half_y = columns * look.module_mm / 2 + margin, rows * look.module_mm / 2 + margin
        app.draw_card(half_x, half_y, 8 if look.inverted else 255)
        modules = draw_modules(look.kind, look.payload, look.ec_level) != look.inverted
        drawn = np.kron(modules, np.ones((module_px, module_px), dtype=np.bool_))
        area = app.bitmap[top : top + drawn.shape[0], left : left + drawn.shape[1]]
        area[:] = np.where(drawn, 8, 255)
    app.bitmap.flags.writeable = False
    to_mm = np.array(
        [
            [1 / scale, 0, 0.5 / scale - origin[0]],
            [0, 1 / scale, 0.5 / scale - origin[1]],
            [0, 0, 1],
        ]
    )
    return Screen(app.bitmap, to_mm)


@dataclass(frozen=True, slots=True, eq=False)
class _App:
    """A payment app's page, drawn around the symbol; positions in millimetres."""

    bitmap: Bitmap
    scale: float
    origin_mm: Points
    dark: bool

    def draw(self) -> None:
        """Draw the page, its header, its texts and its navigation bar."""
        page, ink, header = (26, 200, 40) if self.dark else (238, 70, 150)
        edge = _BEZEL_MM
        self._fill(LEFT_MM + edge, TOP_MM + edge, RIGHT_MM - edge, BOTTOM_MM - edge, page)
        self._fill(LEFT_MM + edge, TOP_MM + edge, RIGHT_MM - edge, TOP_MM + 19, header)
        self._disc(0, TOP_MM + edge + 2.2, 1.6, 2)  # the front camera
        self._write("12:47", LEFT_MM + 7, TOP_MM + 6.4, 2.3, 235)
        self._fill(RIGHT_MM - 11, TOP_MM + 4.2, RIGHT_MM - 6, TOP_MM + 6.4, 235)
        self._write("<  To'lov kodi", LEFT_MM + 6, TOP_MM + 14.5, 3.4, 245)
        self._write("Kodni kassaga ko'rsating", -24, -35, 2.7, ink)
        self._write("01:52", -6, 39, 3.6, ink)
        card, shade = (52, 84) if self.dark else (255, 205)
        self._fill(-31, 45, 31, 58, card)
        self._fill(-28, 48, -16, 55, shade)
        self._write("Uzcard  **** 4417", -13, 52.8, 2.7, ink)
        self._fill(-31, 60.5, 31, 69, 70 if self.dark else 150)
        self._write("Yangilash", -10, 66.3, 3.2, 245)
        bar = 20 if self.dark else 250
        self._fill(LEFT_MM + edge, BOTTOM_MM - 12, RIGHT_MM - edge, BOTTOM_MM - edge, bar)
        for x in (-24, -8, 8, 24):
            self._disc(x, BOTTOM_MM - 7, 1.9, ink if x != -8 else 110)

    def draw_card(self, half_x_mm: float, half_y_mm: float, level: int) -> None:
        """Draw the card that carries the symbol."""
        self._fill(-half_x_mm, -half_y_mm, half_x_mm, half_y_mm, level)

    def draw_menu(self) -> None:
        """Draw a page without a symbol: a grid of services."""
        tile, ink = (52, 180) if self.dark else (255, 120)
        for row in range(3):
            for column in range(3):
                x, y = -21 + 21 * column, -19 + 20 * row
                self._fill(x - 9, y - 9, x + 9, y + 9, tile)
                self._disc(x, y - 2, 3.5, ink)
                self._fill(x - 6, y + 4.6, x + 6, y + 5.8, ink)

    def _px(self, x_mm: float, y_mm: float) -> tuple[int, int]:
        x, y = (np.array([x_mm, y_mm]) + self.origin_mm) * self.scale
        return round(x), round(y)

    def _fill(self, left: float, top: float, right: float, bottom: float, level: int) -> None:
        (x0, y0), (x1, y1) = self._px(left, top), self._px(right, bottom)
        self.bitmap[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = level

    def _disc(self, x: float, y: float, radius: float, level: int) -> None:
        cv2.circle(self.bitmap, self._px(x, y), round(radius * self.scale), level, -1, cv2.LINE_AA)

    def _write(self, text: str, x: float, y: float, height: float, level: int) -> None:
        size = height * self.scale / 21  # a capital of this font is 21 px high at size 1
        thick = max(1, round(height * self.scale / 9))
        cv2.putText(
            self.bitmap,
            text,
            self._px(x, y),
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            level,
            thick,
            cv2.LINE_AA,
        )
