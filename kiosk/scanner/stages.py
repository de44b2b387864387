"""The decoder stages: each one call of a native library on one luma plane.

A stage answers with what it can vouch for. zxing-cpp gives the payload's bytes and the
symbol's modules, so it can; zbar and OpenCV give text that went through a character set, and
do not tell a whole message from a part. What they find is therefore read a second time by
zxing-cpp, from the place (zbar) or the straightened modules (OpenCV) that they found.
"""

import ctypes
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import zxingcpp

from hardware.frame import Luma
from kiosk.errors import SettingsError
from kiosk.messages import Symbol
from kiosk.scanner.symbol_mode import FNC1, PLAIN, STRUCTURED_APPEND, read_mode

log = logging.getLogger(__name__)

# Never QRCode: that admits Micro QR and rMQR, and gave false reads.
_MODEL_2 = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCodeModel2])


class Stage(Protocol):
    """One way to read the symbols of a frame."""

    name: str

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read what this stage can read.

        Args:
            luma: uint8, shape (height, width), any strides; only looked at, not kept.

        Returns:
            Whole QR Codes model 2 as kind `qr`, parts of a structured append as `part`;
            empty if nothing was read.
        """


class ZxingStage:
    """zxing-cpp: fast, needs nothing from the system, and shows the modules it read."""

    name = "zxing"

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read all symbols, also inverted and mirrored ones."""
        return _read_qr(luma, self.name)


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
                symbols += _read_again(looks, symbol.data, self.name)
        return symbols


class OpencvStage:
    """OpenCV's detector; finds some tilted symbols that the others miss."""

    name = "opencv"

    def __init__(self) -> None:
        """Load OpenCV and make its detector."""
        import cv2

        self._detector = cv2.QRCodeDetector()
        self._error = cv2.error

    def decode(self, luma: Luma) -> list[Symbol]:
        """Let OpenCV locate and straighten one symbol, and read its modules with zxing-cpp."""
        try:
            # The ...Multi calls join the parts of a structured append without a word.
            payload, corners, modules = self._detector.detectAndDecodeBytes(
                np.ascontiguousarray(luma)
            )
        except self._error:
            # "Not implemented" where a symbol names a character set; asserts on odd shapes.
            return []
        if not payload or corners is None or modules is None:
            return []
        enlarged = np.kron(modules, np.ones((4, 4), dtype=np.uint8))
        drawn = np.pad(enlarged, 16, constant_values=255)
        return _read_again([drawn, *_straighten(luma, corners[0])], payload, self.name)


def load_stages(engines: Sequence[str]) -> list[Stage]:
    """Load the engines in the order of `scan.engines`; one that is missing is left out.

    Raises:
        SettingsError: None of them is there.
    """
    stages: list[Stage] = []
    for engine in engines:
        match engine:
            case "zxing":
                stages.append(ZxingStage())
            case "pyzbar":
                try:
                    stages.append(PyzbarStage())
                except (OSError, ImportError):
                    log.warning(
                        "libzbar is missing: sudo apt install libzbar0; going on without pyzbar"
                    )
            case "opencv":
                stages.append(OpencvStage())
            case _:
                raise ValueError(f"no engine {engine!r}")
    if not stages:
        raise SettingsError(
            ["scan.engines: none of these is installed. sudo apt install libzbar0, or add zxing"]
        )
    return stages


def _read_qr(luma: Luma, stage: str) -> list[Symbol]:
    found = zxingcpp.read_barcodes(
        luma,
        formats=_MODEL_2,
        try_rotate=False,
        text_mode=zxingcpp.TextMode.Plain,
    )
    return [Symbol(payload=one.bytes, kind=_kind(one), stage=stage) for one in found]


def _kind(symbol: Any) -> str:
    """Tell a whole message (`qr`) from a part, a GS1 label (`gs1`) and what is neither."""
    drawn = np.asarray(symbol.to_image(scale=1, add_quiet_zones=False))
    extra = symbol.extra
    mode = read_mode(
        drawn == 0,
        extra.get("ECLevel", ""),
        extra.get("DataMask", -1),
        clean=extra.get("UEC") == 1.0,
    )
    if mode == STRUCTURED_APPEND:
        return "part"
    # ]Q1 without, ]Q2 with a character set named; from ]Q3 on FNC1 is in it somewhere.
    if mode in FNC1 or symbol.symbology_identifier not in ("]Q1", "]Q2"):
        return "gs1"
    return "qr" if mode in PLAIN else "unclear"


def _read_again(looks: Iterable[Luma], text: bytes, stage: str) -> list[Symbol]:
    """Read with zxing-cpp what another engine read, to learn its bytes and its kind.

    Args:
        looks: Views of the symbol, the likeliest first.
        text: What the other engine read. In ASCII it is the payload; beyond, engines guess a
            character set, and what they made of it is not compared.
        stage: The name to sign with.
    """
    for look in looks:
        symbols = _read_qr(look, stage)
        if any(symbol.payload == text or not text.isascii() for symbol in symbols):
            return symbols
    return []


def _straighten(luma: Luma, corners: Sequence[Sequence[float]]) -> Iterator[Luma]:
    """Cut a located symbol out, seen from the front, as it is and then in black and white.

    Args:
        luma: The frame.
        corners: Four, one after the other around the symbol, x before y.
    """
    import cv2

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
