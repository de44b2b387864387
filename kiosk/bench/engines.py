"""The usual ways to read a code, and the kiosk's own, each called as its user would call it."""

import ctypes
from collections.abc import Iterable
from typing import Any, Protocol

import cv2
import numpy as np
import zxingcpp

from hardware.frame import Luma
from kiosk.errors import UsageError
from kiosk.messages import Symbol
from kiosk.scanner.decoder import Decoder, build_decoder
from kiosk.settings import EngineName, RescueName, ScanSettings

KIOSK = "kiosk"
USUAL = "pyzbar, usual"
ZBAR = "pyzbar, QR"
OPENCV = "OpenCV"
ARUCO = "OpenCV Aruco"
ZXING = "zxing-cpp"
FRAME_S = 1 / 30
_MOST_PRESENTATIONS = 60
RIVALS = (USUAL, ZBAR, OPENCV, ARUCO, ZXING)


class Engine(Protocol):
    """A way to read frames."""

    name: str

    def prepare(self, luma: Luma) -> Any:
        """Make what this engine's user gets from a camera; never part of what is timed."""

    def read(self, prepared: Any) -> list[str]:
        """Read one frame; no frame knows of another."""


class _Zbar:
    """pyzbar, on what `cv2.VideoCapture.read` gives and for all symbologies, or as it is best."""

    def __init__(self, *, usual: bool) -> None:
        try:
            # pyzbar looks for it with a compiler and a linker, and says less when it is missing.
            ctypes.CDLL("libzbar.so.0")
            from pyzbar import pyzbar
        except (OSError, ImportError) as error:
            raise UsageError(
                "The bench compares with pyzbar, which needs libzbar: sudo apt install libzbar0."
            ) from error
        self.name = USUAL if usual else ZBAR
        self._usual = usual
        self._decode = pyzbar.decode
        self._symbols = None if usual else [pyzbar.ZBarSymbol.QRCODE]

    def prepare(self, luma: Luma) -> Any:
        """BGR for the usual loop; the plane as it is otherwise."""
        return cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR) if self._usual else luma

    def read(self, prepared: Any) -> list[str]:
        """See `Engine`."""
        try:
            return [as_text(one.data) for one in self._decode(prepared, symbols=self._symbols)]
        except ValueError:
            return []  # a structured append, which pyzbar cannot express


class _Opencv:
    """One of OpenCV's two detectors."""

    def __init__(self, name: str, detector: Any) -> None:
        self.name = name
        self._detector = detector

    def prepare(self, luma: Luma) -> Any:
        """The plane as it is."""
        return luma

    def read(self, prepared: Any) -> list[str]:
        """See `Engine`."""
        try:
            # Bytes: the call that gives text throws where a payload is not UTF-8.
            payload, _, _ = self._detector.detectAndDecodeBytes(prepared)
        except cv2.error:
            return []  # "not implemented", and asserts on odd shapes
        return [as_text(bytes(payload))] if payload else []


class _Zxing:
    """zxing-cpp with its defaults, but for the rotation that only linear codes need."""

    name = ZXING

    def prepare(self, luma: Luma) -> Any:
        """The plane as it is."""
        return luma

    def read(self, prepared: Any) -> list[str]:
        """See `Engine`."""
        return plain_zxing(prepared)


_MODEL_2 = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCodeModel2])


def plain_zxing(luma: Luma) -> list[str]:
    """Read QR Codes model 2 as zxing-cpp does by itself."""
    found = zxingcpp.read_barcodes(luma, formats=_MODEL_2, try_rotate=False)
    return [as_text(one.bytes) for one in found]


def load_rivals() -> list[Engine]:
    """Make the usual engines, in the order of `RIVALS`.

    Raises:
        UsageError: The system has no libzbar.
    """
    return [
        _Zbar(usual=True),
        _Zbar(usual=False),
        _Opencv(OPENCV, cv2.QRCodeDetector()),
        _Opencv(ARUCO, cv2.QRCodeDetectorAruco()),
        _Zxing(),
    ]


class Kiosk:
    """The scanner's decoder with its default settings, and a clock that only this moves."""

    def __init__(self, *, without: Iterable[str] = ()) -> None:
        """Build it; `without` names engines to leave out."""
        settings = ScanSettings()
        left_out = set(without)
        engines: list[EngineName] = [one for one in settings.engines if one not in left_out]
        rescues: tuple[RescueName, ...] = settings.rescues
        self.decoder: Decoder = build_decoder(engines, rescues)
        self.now_s = 0.0

    def read_still(self, luma: Luma) -> list[str]:
        """Present a picture as a phone held still, thirty frames a second.

        Returns:
            What was read in the first frame that gave anything; nothing once all stages had
            their turn.
        """
        self.decoder.forget()
        # Where a wrong kind is seen in each frame, not all have their turn.
        for _ in range(_MOST_PRESENTATIONS):
            self.now_s += FRAME_S
            payloads = payable(self.decoder.decode(luma, self.now_s).symbols)
            if payloads or self.decoder.done:
                return payloads
        return []

    def read_next(self, luma: Luma) -> list[str]:
        """Present the next frame of a camera."""
        self.now_s += FRAME_S
        return payable(self.decoder.decode(luma, self.now_s).symbols)


def payable(symbols: Iterable[Symbol]) -> list[str]:
    """The texts of those that the payment process would look at."""
    return [as_text(symbol.payload) for symbol in symbols if symbol.kind == "qr"]


def as_text(payload: bytes) -> str:
    """Guess the character set, where it matters: UTF-8, else Shift JIS, else Latin-1."""
    for charset in ("utf-8", "shift_jis"):
        try:
            return payload.decode(charset)
        except UnicodeDecodeError:
            pass
    return payload.decode("latin-1")


def noisy(luma: Luma, rng: np.random.Generator, levels: float = 1.5) -> Luma:
    """The same picture with another noise of the sensor."""
    noise = rng.normal(0.0, levels, luma.shape)
    varied: Luma = np.clip(np.rint(luma + noise), 0, 255).astype(np.uint8)
    return varied
