"""Notices codes of the wrong kind, so that the customer is told instead of left waiting."""

import logging
import re

import zxingcpp

from hardware.frame import Luma
from kiosk.messages import Symbol

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
AGREE_WITHIN_S = 1.5

_Format = zxingcpp.BarcodeFormat
_FORMATS = zxingcpp.BarcodeFormats(
    [
        _Format.MicroQRCode,
        _Format.RMQRCode,
        _Format.QRCodeModel1,
        _Format.Aztec,
        _Format.DataMatrix,
        _Format.PDF417,
        _Format.Code128,
        _Format.EANUPC,
    ]
)


class KindWatch:
    """Looks twice a second at frames in which no QR Code was read.

    Small and linear symbologies are easily seen where there are none. So a kind counts only
    when two looks within a second and a half agree on it and on its payload.
    """

    name = "kinds"

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._next_at_s = 0.0
        self._seen: dict[tuple[str, bytes], float] = {}

    def look(self, luma: Luma, now_s: float) -> list[Symbol]:
        """Look if it is time to.

        Args:
            luma: uint8, shape (height, width).
            now_s: Seconds on the monotonic clock.

        Returns:
            Symbols of a wrong kind that an earlier look saw too; mostly nothing.
        """
        if now_s < self._next_at_s:
            return []
        self._next_at_s = now_s + LOOK_EVERY_S
        found = {
            (_kind(str(one.format)), one.bytes)
            for one in zxingcpp.read_barcodes(luma, formats=_FORMATS, try_rotate=False)
        }
        confirmed = [
            Symbol(payload=payload, kind=kind, stage=self.name)
            for kind, payload in sorted(found)
            if now_s - self._seen.get((kind, payload), float("-inf")) <= AGREE_WITHIN_S
        ]
        self._seen = {
            seen: at_s for seen, at_s in self._seen.items() if now_s - at_s <= AGREE_WITHIN_S
        }
        self._seen.update(dict.fromkeys(found, now_s))
        return confirmed


def _kind(symbology: str) -> str:
    """Make `microqr` of `Micro QR Code`, `code128` of `Code 128`, `ean13` of `EAN-13`."""
    kind = re.sub("[^a-z0-9]", "", symbology.lower()).removesuffix("code")
    # Model 2 was not looked for: whatever calls itself just QR here is model 1.
    return "qrmodel1" if kind in ("qr", "qrcodemodel1") else kind
