"""Notice codes of the wrong kind, so that the customer is told instead of left waiting.

Small and linear symbologies are easily seen where there are none: what these stages read counts,
as a rescue's read does, only when a second look agrees.
"""

import re

import numpy as np
import zxingcpp

from hardware.frame import Luma
from kiosk.messages import Symbol

_Format = zxingcpp.BarcodeFormat
# In groups, because together they take longer than all that is done with a frame besides.
_GROUPS = (
    (_Format.MicroQRCode, _Format.RMQRCode, _Format.QRCodeModel1),
    (_Format.Aztec,),
    (_Format.DataMatrix, _Format.PDF417),
    (_Format.Code128, _Format.EANUPC),
)


class KindStage:
    """Looks for some symbologies that are none of ours."""

    def __init__(self, formats: tuple[zxingcpp.BarcodeFormat, ...]) -> None:
        """Take the symbologies."""
        self._formats = zxingcpp.BarcodeFormats(list(formats))
        self.name = "kinds"

    def decode(self, luma: Luma) -> list[Symbol]:
        """Read symbols of these kinds; the kind is the symbology's name in small letters."""
        found = zxingcpp.read_barcodes(
            np.ascontiguousarray(luma), formats=self._formats, try_rotate=False
        )
        return [
            Symbol(payload=one.bytes, kind=_kind(str(one.format)), stage=self.name) for one in found
        ]


def kind_stages() -> list[KindStage]:
    """All symbologies that are looked for, in some stages of about the same cost."""
    return [KindStage(formats) for formats in _GROUPS]


def _kind(symbology: str) -> str:
    """Make `microqr` of `Micro QR Code`, `code128` of `Code 128`, `ean13` of `EAN-13`."""
    kind = re.sub("[^a-z0-9]", "", symbology.lower()).removesuffix("code")
    # Model 2 was not looked for: whatever calls itself just QR here is model 1.
    return "qrmodel1" if kind in ("qr", "qrcodemodel1") else kind
