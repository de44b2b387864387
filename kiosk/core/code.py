"""From a payload that a stranger holds up to a code that may be charged."""

import enum
import re
from dataclasses import dataclass, field

MARK_BYTES = 64


@dataclass(frozen=True, slots=True)
class PaymeCode:
    """A payload that passed `scan.code_pattern`. Whoever holds it can charge the customer.

    Attributes:
        digits: The whole code; never printed, see `masked`.
    """

    digits: str = field(repr=False)

    @property
    def masked(self) -> str:
        """The code as logs may show it: `5050…6427`."""
        return mask(self.digits)

    @property
    def mark(self) -> bytes:
        """What the session recognises it by while it is in view."""
        return self.digits.encode("ascii")

    def __str__(self) -> str:
        return self.masked


class Refusal(enum.Enum):
    """Why a payload is no code of ours."""

    NOT_PAYME = "not_payme"
    NOT_QR = "not_qr"
    PART = "part"  # of a structured append: 20 digits in it may be a piece of anything


def check_payload(payload: bytes, kind: str, pattern: re.Pattern[bytes]) -> PaymeCode | Refusal:
    """Accept bytes that match the whole pattern, out of a whole QR Code model 2.

    Bytes, not text: Arabic-Indic and full-width digits are digits to `str`, and `$` would
    let a trailing newline pass.

    Args:
        payload: What the symbol holds.
        kind: `messages.Symbol.kind`.
        pattern: `scan.code_pattern`, compiled over bytes.
    """
    if kind == "part":
        return Refusal.PART
    if kind != "qr":
        return Refusal.NOT_QR
    if pattern.fullmatch(payload) is None or not payload.isascii():
        return Refusal.NOT_PAYME
    return PaymeCode(payload.decode("ascii"))


def mark_of(payload: bytes) -> bytes:
    """What the session recognises any payload by; short, so that strangers cannot fill memory."""
    return payload[:MARK_BYTES]


def mask(secret: str) -> str:
    """First and last four characters of a secret; less where it is short."""
    if len(secret) < 12:
        return "…"
    return f"{secret[:4]}…{secret[-4:]}"


def mask_phone(phone: str) -> str:
    """`998712565009` as `9987…09`."""
    return f"{phone[:4]}…{phone[-2:]}" if len(phone) >= 9 else "…"
