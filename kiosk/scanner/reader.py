"""Reading with zxing-cpp, the one decoder that shows which modules it read.

Everything that counts goes through here: the payload's bytes, where the symbol is, and whether
it is a message of its own.
"""

from typing import Any

import zxingcpp

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner.symbol_mode import FNC1, PLAIN, STRUCTURED_APPEND, read_mode

# Never QRCode: that admits Micro QR and rMQR, and gave false reads.
_MODEL_2 = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCodeModel2])
_PLAIN_TEXT = zxingcpp.TextMode.Plain
_GLOBAL = zxingcpp.Binarizer.GlobalHistogram
_LOCAL = zxingcpp.Binarizer.LocalAverage

_MOST_KNOWN = 64
_known: dict[bytes, str] = {}
"""Modules to kind, of which all else follows: a phone held still shows the same thirty times a
second, and zxing-cpp takes 3 us to say what else it knows of them."""


def read_fast(luma: Luma, stage: str, shrunk: int = 1) -> list[Symbol]:
    """Read dark symbols on a light ground, with one threshold for the whole plane.

    Args:
        luma: uint8, shape (height, width), any strides.
        stage: The name to sign with.
        shrunk: How many pixels of the frame, in a row, one pixel stands for.
    """
    found = zxingcpp.read_barcodes(luma, _MODEL_2, False, False, False, _PLAIN_TEXT, _GLOBAL)
    return [_symbol(one, stage, shrunk) for one in found]


def read_one_threshold(luma: Luma, stage: str) -> list[Symbol]:
    """Read as `read_fast` does, inverted symbols too: a plane that is all but black and white."""
    found = zxingcpp.read_barcodes(luma, _MODEL_2, False, False, True, _PLAIN_TEXT, _GLOBAL)
    return [_symbol(one, stage) for one in found]


def read_at_scale(luma: Luma, stage: str) -> list[Symbol]:
    """Read with a threshold for each place, at this scale only; inverted symbols too."""
    found = zxingcpp.read_barcodes(luma, _MODEL_2, False, False, True, _PLAIN_TEXT, _LOCAL)
    return [_symbol(one, stage) for one in found]


def read(luma: Luma, stage: str) -> list[Symbol]:
    """Read with all that zxing-cpp does by itself: also a large plane made smaller."""
    # try_rotate is for linear codes; a QR Code is found at any angle.
    found = zxingcpp.read_barcodes(luma, _MODEL_2, False, True, True, _PLAIN_TEXT, _LOCAL)
    return [_symbol(one, stage) for one in found]


def _symbol(one: Any, stage: str, shrunk: int = 1) -> Symbol:
    place, n = one.position, shrunk
    a, b, c, d = place.top_left, place.top_right, place.bottom_right, place.bottom_left
    return Symbol(
        payload=one.bytes,
        kind=_kind(one),
        stage=stage,
        corners=((n * a.x, n * a.y), (n * b.x, n * b.y), (n * c.x, n * c.y), (n * d.x, n * d.y)),
    )


def _kind(one: Any) -> str:
    """Tell a whole message (`qr`) from a part, a GS1 label (`gs1`) and what is neither."""
    drawn = bytes(one.to_image(scale=1, add_quiet_zones=False))
    kind = _known.get(drawn)
    if kind is None:
        kind = _kind_by_modules(one, drawn)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[drawn] = kind
    return kind


def _kind_by_modules(one: Any, drawn: bytes) -> str:
    extra = one.extra
    clean = extra.get("UEC") == 1.0
    mode = read_mode(drawn, extra.get("ECLevel", ""), extra.get("DataMask", -1), clean=clean)
    if mode == STRUCTURED_APPEND:
        return "part"
    # ]Q1 without, ]Q2 with a character set named; from ]Q3 on FNC1 is in it somewhere.
    if mode in FNC1 or one.symbology_identifier not in ("]Q1", "]Q2"):
        return "gs1"
    return "qr" if mode in PLAIN else "unclear"
