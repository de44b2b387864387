"""Any bytes from a scanner that a hostile picture has taken over, into a real kiosk.

First byte: whether a press is needed. Times count from 1000.0, which is now.
"""

import contextlib
import json
import re
import socket
from base64 import b64decode, b64encode

import msgspec
from desk import NOW_S, Desk, objects_in, types_in
from hypothesis import strategies as st
from planted import planted, sizes

from kiosk import messages
from kiosk.core import events
from kiosk.messages import MAX_LINE_BYTES, CameraState, Hello, LineReader, Pulse, Sighting, encode
from kiosk.payment import informant, scanner_link
from kiosk.payment.mailbox import ScannerSaid
from kiosk.payment.scanner_link import ScannerLink

MOST_BYTES = 150_000
GOOD = b"50502044301381396427"


class _Hostile:
    """Where the link gets its connection from."""

    def __init__(self):
        self.says = b""

    def open(self):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            theirs.send(self.says)
        return ours

    def end(self):
        return "it is gone"


class Table:
    def __init__(self, *, confirm_automatic):
        self.source, self.posts = _Hostile(), []
        self.link = ScannerLink(self.source, self.posts.append)
        self.desk = Desk(confirm_automatic=confirm_automatic)


_tables = [Table(confirm_automatic=False), Table(confirm_automatic=True)]


def try_one(data):
    """It ends the connection at worst; only a code that matches starts anything."""
    table, said = _tables[data[:1] < b"\x80"], data[1:]
    table.desk.begin()
    table.posts.clear()
    table.source.says = said

    table.link._one_life()
    # As the deciding thread takes them: one after the other, whatever state it is in by then.
    table.desk.handle(table.posts)

    found = objects_in(said)
    _only_messages_came(table.posts, found)
    allowed = codes_in(found)
    for code in table.desk.started.codes:
        assert code in allowed, code
    assert len(table.desk.started.codes) <= len(table.posts)
    assert table.desk.started.submitted == 0
    assert table.desk.rows() == {}
    assert len(encode(table.desk.loop._shown)) <= MAX_LINE_BYTES, "a line that no client may read"
    _lines_are_cut_alike(said)


def _only_messages_came(posts, found):
    came = [post.message for post in posts if isinstance(post, ScannerSaid)]
    assert len(came) <= scanner_link.MOST_MESSAGES_A_S
    assert {message.__struct_config__.tag for message in came} <= types_in(found)
    others = [post for post in posts if not isinstance(post, ScannerSaid)]
    assert all(isinstance(post, events.TroubleEnded) for post in others), others


def codes_in(objects):
    """Twenty ASCII digits out of a symbol that calls itself whole."""
    found = set()
    for line in objects:
        for symbols in line.every("symbols"):
            for symbol in symbols if isinstance(symbols, list) else ():
                if "qr" not in getattr(symbol, "every", lambda _: [])("kind"):
                    continue
                for payload in symbol.every("payload"):
                    with contextlib.suppress(ValueError, TypeError):
                        found.add(b64decode(payload))
    return {
        payload.decode()
        for payload in found
        if len(payload) == 20 and all(0x30 <= byte <= 0x39 for byte in payload)
    }


def _lines_are_cut_alike(said):
    """However the bytes arrive; and what waits for its end stays small."""
    step = 1 + len(said) // 7

    def cut(pieces):
        lines, reader = [], LineReader()
        try:
            for piece in pieces:
                lines += reader.feed(piece)
                assert len(reader._rest) <= MAX_LINE_BYTES
        except ValueError:
            lines.append(None)
        return lines

    whole, parts = cut([said]), cut(said[at : at + step] for at in range(0, len(said), step))
    # A line that is too long is noticed at its end or before.
    assert whole == parts or whole[-1] is parts[-1] is None, said


def _sighting(payload, kind="qr", at_s=NOW_S):
    symbol = messages.Symbol(payload=payload, kind=kind, stage="zxing")
    return encode(Sighting(sequence=1, captured_at_s=at_s, symbols=[symbol]))


_HELLO = encode(Hello(version="1", engines=["zxing"], camera="v4l2 /dev/video0"))
_ORDINARY = [_HELLO, encode(CameraState(ok=True)), encode(Pulse(frames=1, decoded=1))]
_LINES = [*_ORDINARY, _sighting(GOOD), encode(CameraState(ok=False, detail="gone"))]
_PAYLOADS = [
    *(GOOD, GOOD[:-1], GOOD + b"7", GOOD + b"\n", b"https://example.uz", b"", b"\x00" * 20),
    *("٥" * 20).encode().split(b"x"),
]
SEEDS = [
    *(bytes([first]) + b"".join(_LINES) for first in (0, 255)),
    *(b"\x00" + _sighting(payload) for payload in _PAYLOADS),
    *(b"\x00" + _sighting(GOOD, kind) for kind in ("part", "gs1", "unclear", "microqr")),
    *(b"\x00" + _sighting(GOOD, at_s=at_s) for at_s in (0.0, 998.9, 1000.2, 1e300, -1.0)),
    b"\xff" + _sighting(GOOD) + _sighting(b"9" * 20) + _sighting(GOOD),
    b"\x00" + _ORDINARY[2] * 700,
    *(b"\x00" + b"x" * n + b"\n" + _sighting(GOOD) for n in (65_536, 65_537, 140_000)),
    b"\x00" + _LINES[4].replace(b"gone", b"g" * (MAX_LINE_BYTES + 5 - len(_LINES[4]))),
    b"\x00" + _sighting(GOOD).replace(b'"zxing"', b'"zxing","stage":"' + b"z" * 60_000 + b'"'),
    b"\x00" + _sighting(GOOD)[:-3].replace(b"]}", b"]") + b"[" * 30_000 + b"\n",
    b"\x00"
    + _sighting(GOOD).replace(b"1000.0", b"NaN")
    + _sighting(GOOD).replace(b"1000.0", b"1e999"),
]
WORDS = [
    *(f'"{word}"'.encode() for word in ("type", "hello", "sighting", "camera", "pulse", "symbols")),
    *(f'"{word}"'.encode() for word in ("payload", "kind", "qr", "part", "captured_at_s", "ok")),
    *(b'"sequence":1', b"1000.0", b64encode(GOOD), b"NTA1MDIwNDQzMDEzODEzOTY0Mjc3", b"\n"),
]

_payloads = st.one_of(
    st.sampled_from(_PAYLOADS),
    st.text(alphabet="0123456789", min_size=19, max_size=22).map(str.encode),
    st.text(alphabet="01٣３", min_size=20, max_size=20).map(str.encode),
    st.binary(max_size=30),
)
_symbols = st.fixed_dictionaries(
    {
        "payload": st.one_of(_payloads, _payloads, st.binary(max_size=5000)).map(
            lambda payload: b64encode(payload).decode()
        ),
        "kind": st.sampled_from(["qr", "qr", "qr", "part", "gs1", "QR", ""]),
        "stage": st.just("zxing") | st.text(max_size=5),
    },
    optional={"corners": st.lists(st.lists(st.integers(), max_size=3), max_size=5)},
)
_sightings = st.fixed_dictionaries(
    {
        "type": st.just("sighting"),
        "sequence": st.just(1) | st.integers(),
        "captured_at_s": st.sampled_from([NOW_S, NOW_S, NOW_S, NOW_S - 0.9]) | st.floats(),
        "symbols": st.lists(_symbols, max_size=4),
    }
)
_long = st.builds(lambda sign, n: sign * n, st.sampled_from("aя\x00"), sizes)
_others = st.one_of(
    st.builds(
        lambda ok, detail: {"type": "camera", "ok": ok, "detail": detail},
        st.booleans(),
        _long | st.text(),
    ),
    st.builds(
        lambda name: {"type": "hello", "version": "1", "engines": [name], "camera": name},
        _long | st.text(max_size=9),
    ),
    st.builds(lambda n: {"type": "pulse", "frames": n, "decoded": n}, st.integers() | st.floats()),
)
_lines = st.one_of(
    *([_sightings.map(lambda line: json.dumps(line).encode())] * 4),
    _others.map(lambda line: json.dumps(line, ensure_ascii=False).encode()),
    st.sampled_from([line[:-1] for line in _LINES]),
    st.binary(max_size=30),
    st.builds(lambda sign, n: sign * n, st.sampled_from([b"x", b"[", b" "]), sizes),
)
inputs = st.builds(
    lambda first, lines: (bytes([first]) + b"".join(line + b"\n" for line in lines))[:MOST_BYTES],
    st.sampled_from([0, 255]),
    st.lists(_lines, max_size=6),
)


# Faults


def _checks_by(pattern):
    def check(payload, kind, _pattern):
        found = re.fullmatch(pattern, payload)
        return real(found[1] if found else payload, kind, _pattern)

    real = informant.check_payload
    return planted(informant, check_payload=check)


def _whatever_kind(payload, _kind, pattern):
    return messages_check(payload, "qr", pattern)


messages_check = informant.check_payload


class _Trusting:
    """Reads the link as if only a friend could be at its end."""

    def decode(self, line):
        assert json.loads(line)["type"]
        return msgspec.json.decode(line, type=messages.FromScanner)


class _Loose:
    """Reads the link without lengths."""

    def decode(self, line):
        found = json.loads(line)
        if isinstance(found, dict) and found.get("type") == "camera":
            return CameraState(ok=bool(found.get("ok")), detail=str(found.get("detail")))
        return msgspec.json.decode(line, type=messages.FromScanner)


FAULTS = {
    "takes twenty of twenty-one digits": lambda: _checks_by(rb"([0-9]{20})[0-9]"),
    "takes a part of a structured append": lambda: planted(informant, check_payload=_whatever_kind),
    "dies of JSON that is no message": lambda: planted(scanner_link, _decoder=_Trusting()),
    "repeats a detail of any length": lambda: planted(scanner_link, _decoder=_Loose()),
    "waits for the end of any line": lambda: planted(LineReader, feed=_feed_without_limit),
}


def _feed_without_limit(self, data):
    self._rest += data
    while (end := self._rest.find(b"\n")) >= 0:
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        yield line
