"""Bytes out of a symbol, as the scanner reports them: a code, or a refusal.

First byte: the kind. The rest: what the symbol holds.
"""

import re

import msgspec
from hypothesis import strategies as st
from planted import planted

from kiosk.core import code as checked
from kiosk.core.code import PaymeCode, Refusal, mark_of
from kiosk.messages import Symbol

KINDS = ["qr", "part", "gs1", "unclear", "microqr", "rmqr", "aztec", "", "QR", "qr "]
PATTERN = re.compile(rb"[0-9]{20}")
GOOD = b"50502044301381396427"
OTHER_DIGITS = "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "۰۱۲۳۴۵۶۷۸۹", "০১২৩৪৫৬৭৮৯", "²³¹"
WORDS = [GOOD, b"\n", b"https://", "٣".encode(), "３".encode(), b"\x00"]
SEEDS = [
    b"\x00" + payload
    for payload in (
        *(GOOD, GOOD[:-1], GOOD + b"0", GOOD + b"\n", b" " + GOOD, b"-" + GOOD[1:], b""),
        *(GOOD[:-1] + b"\x00", GOOD.decode().encode("utf-16-le"), b"1" * 4000, b"+" + GOOD[:19]),
        b"\xef\xbb\xbf" + GOOD,
    )
] + [bytes([kind]) + GOOD for kind in range(1, len(KINDS))]
MOST_BYTES = 1 + 4096

_digits = st.text(alphabet="0123456789", min_size=18, max_size=22)
_foreign = st.sampled_from(OTHER_DIGITS).flatmap(
    lambda digits: st.text(alphabet="0123456789" + digits, min_size=20, max_size=20)
)
_edged = st.builds(
    lambda a, digits, b: a + digits + b,
    st.sampled_from(["", " ", "\n", "\x00", "+", "https://payme.uz/"]),
    _digits,
    st.sampled_from(["", " ", "\n", "\r\n", "\x00", "$"]),
)
inputs = st.builds(
    lambda kind, payload: bytes([kind]) + payload,
    st.integers(0, len(KINDS) + 1),
    st.one_of((_digits | _foreign | _edged).map(str.encode), st.binary(max_size=40)),
)


def try_one(data):
    """A code exactly when it is twenty ASCII digits out of a whole QR Code; nothing is shown."""
    kind = KINDS[data[0] % len(KINDS)] if data else "qr"
    data = data[:MOST_BYTES]
    # As it comes from the scanner: over the link, which takes no longer ones.
    sent = msgspec.json.encode(Symbol(payload=data[1:], kind=kind, stage="s"))
    symbol = msgspec.json.decode(sent, type=Symbol)
    assert symbol.payload == data[1:]

    found = checked.check_payload(symbol.payload, symbol.kind, PATTERN)

    is_code = kind == "qr" and len(data) == 21 and all(0x30 <= byte <= 0x39 for byte in data[1:])
    assert isinstance(found, PaymeCode if is_code else Refusal), data
    assert len(mark_of(symbol.payload)) <= 64
    if isinstance(found, PaymeCode):
        assert found.digits.encode() == data[1:]
        assert found.digits not in f"{found} {found!r} {found.masked}"


def _checks_by(accepts):
    def check_payload(payload, kind, _pattern):
        digits = accepts(payload, kind)
        return PaymeCode(digits) if digits else Refusal.NOT_PAYME

    return planted(checked, check_payload=check_payload)


def _takes_any_digit(payload, kind):
    text = payload.decode("utf-8", "replace")
    return text if kind == "qr" and re.fullmatch(r"\d{20}", text) else None


def _takes_a_newline(payload, kind):
    found = re.match(rb"[0-9]{20}$", payload)
    return payload.decode() if kind == "qr" and found else None


def _takes_a_part(payload, kind):
    return payload.decode() if kind in ("qr", "part") and PATTERN.fullmatch(payload) else None


FAULTS = {
    "takes the digits of every script": lambda: _checks_by(_takes_any_digit),
    "overlooks a newline at the end": lambda: _checks_by(_takes_a_newline),
    "takes a part of a structured append": lambda: _checks_by(_takes_a_part),
}
