"""zbar and OpenCV as further engines: they find symbols that zxing-cpp does not.

They give text that went through a character set, and do not tell a whole message from a part.
What they find is therefore read a second time by zxing-cpp, from the place (zbar) or the
straightened modules (OpenCV) that they found.
"""

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner import reader
from kiosk.scanner.region import halve

_MOST_PIXELS = 640 * 480


class PyzbarStage:
    """zbar through pyzbar; reads some blurred symbols that zxing-cpp misses."""

    name = "pyzbar"

    def __init__(self) -> None:
        """Load libzbar.

        Raises:
            OSError: The system has no libzbar.
        """
        # pyzbar looks for the library with a compiler and a linker: slow where there is none.
        ctypes.CDLL("libzbar.so.0")
        from pyzbar import pyzbar

        self._decode = pyzbar.decode
        self._only_qr = [pyzbar.ZBarSymbol.QRCODE]

    def decode(self, luma: Luma) -> list[Symbol]:
        """Locate symbols with zbar, and read each again where it was found."""
        luma, shrunk = _bounded(luma)
        try:
            found = self._decode(luma, symbols=self._only_qr)
        except ValueError:
            # zbar gives a structured append as a composite symbol without orientation, which
            # pyzbar cannot express. Nothing else of this frame is to be had through it.
            return []
        symbols = []
        for symbol in found:
            if symbol.type == "QRCODE" and len(symbol.polygon) == 4:
                looks = _straighten(luma, symbol.polygon)
                symbols += _read_again(looks, symbol.data, symbol.polygon, shrunk, self.name)
        return symbols


class OpencvStage:
    """OpenCV's detector; finds some tilted symbols that the others miss."""

    name = "opencv"

    def __init__(self) -> None:
        """Make OpenCV's detector."""
        # It complains in plain text of what strangers hold up, between our lines of JSON.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._detector = cv2.QRCodeDetector()

    def decode(self, luma: Luma) -> list[Symbol]:
        """Let OpenCV locate and straighten one symbol, and read its modules with zxing-cpp."""
        luma, shrunk = _bounded(luma)
        try:
            # The ...Multi calls join the parts of a structured append without a word.
            payload, corners, modules = self._detector.detectAndDecodeBytes(
                np.ascontiguousarray(luma)
            )
        except cv2.error:
            # "Not implemented" where a symbol names a character set; asserts on odd shapes.
            return []
        if not payload or corners is None or modules is None:
            return []
        enlarged = np.kron(modules, np.ones((4, 4), dtype=np.uint8))
        drawn = np.pad(enlarged, 16, constant_values=255)
        looks = [drawn, *_straighten(luma, corners[0])]
        return _read_again(looks, payload, corners[0], shrunk, self.name)


def _bounded(luma: Luma) -> tuple[Luma, int]:
    """Halve a plane until these engines do with it what they do in the time of a frame."""
    shrunk = 1
    while luma.size > _MOST_PIXELS:
        luma, shrunk = halve(luma), 2 * shrunk
    return luma, shrunk


def _read_again(
    looks: Iterable[Luma],
    text: bytes,
    corners: Iterable[Sequence[float]],
    shrunk: int,
    stage: str,
) -> list[Symbol]:
    """Read with zxing-cpp what another engine read, to learn its bytes and its kind.

    Args:
        looks: Views of the symbol, the likeliest first.
        text: What the other engine read. In ASCII it is the payload; beyond, engines guess a
            character set, and what they made of it is not compared.
        corners: Where the engine found it.
        shrunk: How many pixels of the frame, in a row, one pixel there stands for.
        stage: The name to sign with.
    """
    for look in looks:
        symbols = reader.read(look, stage)
        if any(symbol.payload == text or not text.isascii() for symbol in symbols):
            place = tuple((round(shrunk * x), round(shrunk * y)) for x, y in corners)
            return [msgspec.structs.replace(symbol, corners=place) for symbol in symbols]
    return []


def _straighten(luma: Luma, corners: Sequence[Sequence[float]]) -> Iterator[Luma]:
    """Cut a located symbol out, seen from the front, as it is and then in black and white.

    Args:
        luma: The frame.
        corners: Four, one after the other around the symbol, x before y.
    """
    side, quiet = 256, 40
    low, high = quiet, quiet + side
    page = side + 2 * quiet
    square = np.array([(low, low), (low, high), (high, high), (high, low)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(np.array(corners, dtype=np.float32), square)
    straight: Any = cv2.warpPerspective(luma, matrix, (page, page), borderValue=255)
    yield straight
    smooth = cv2.GaussianBlur(straight, (5, 5), 0)
    black_and_white: Any = cv2.adaptiveThreshold(
        smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 51, 0
    )
    yield black_and_white
