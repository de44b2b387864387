"""Whatever a box answers: what the customer is told must follow from it by the letter.

First byte: the HTTP status and `gateway.trust_refusals`, and whether the rest is a body or all
that comes over the connection, status line and headers included.
"""

import contextlib
import json
import re
import socket
import sys
from pathlib import Path

import strict_json
from hypothesis import strategies as st
from planted import planted

from kiosk.core.intent import Outcome
from kiosk.errors import NoAnswerError
from kiosk.payment import answer as answers
from kiosk.payment import gateway as gateways
from kiosk.payment.gateway import Gateway
from kiosk.settings import GatewaySettings

sys.path.append(str(Path(__file__).parents[1] / "unit" / "payment"))
# The strategies and the rules that hold for any answer stand with the tests of the table.
import test_answer as table

STATUSES = [200, 200, 200, 400, 201, 204, 302, 500]
AMOUNT, CODE = table.AMOUNT, table.CODE
DISTRUSTS, IS_WIRE = 8, 16
MOST_BYTES = 66_000

_body = answers.read_answer
_noted = []
_gateways = [
    Gateway.from_settings(GatewaySettings(url="http://127.0.0.1:9", trust_refusals=trusts))
    for trusts in (False, True)
]


def try_one(data):
    """Approved or declined only where a second, stricter reader says so; no other error."""
    first = data[0] if data else 0
    trusts = not first & DISTRUSTS
    if first & IS_WIRE:
        _try_wire(data[1:], trusts=trusts)
    else:
        status = STATUSES[first % 8]
        found = _read(status, data[1:], amount=AMOUNT, code=CODE, trust_refusals=trusts)
        _judge(found, status, data[1:], trusts=trusts)


def _read(status, body, **how):
    return answers.read_answer(status, body, **how)


def _judge(found, status, body, *, trusts):
    try:
        envelope = strict_json.read(body)
    except strict_json.RefusedError:
        envelope = None
    except strict_json.TooDeepError:
        return
    if found.outcome is Outcome.APPROVED:
        assert approves(status, envelope), body
    if found.outcome is Outcome.DECLINED:
        assert declines(status, envelope, trusts=trusts), body
    table.check(found, envelope, status)


def approves(status, envelope):
    """The row of the table that says so."""
    data = envelope.get("data") if isinstance(envelope, dict) else None
    return (
        status == 200
        and isinstance(data, dict)
        and envelope.get("is_success") is True
        and envelope.get("error", "absent") is None
        and data.get("status") == "successfully"
        and isinstance(data.get("payment_id"), str)
        and 1 <= len(data["payment_id"]) <= 64
        and data["payment_id"].isprintable()
        and type(data.get("amount")) is int
    )


def declines(status, envelope, *, trusts):
    """The two rows of the table that say so."""
    if not isinstance(envelope, dict):
        return False
    data, error = envelope.get("data", "absent"), envelope.get("error", "absent")
    if status == 200 and envelope.get("is_success") is True:
        return trusts and error is None and isinstance(data, dict) and data["status"] == "failed"
    if status not in (200, 400) or envelope.get("is_success") is not False or data is not None:
        return False
    code = error.get("code") if isinstance(error, dict) else None
    precedes = code in (7, 333, 444) or (code == 104 and "billing" not in str(error).lower())
    return type(code) is int and (trusts or precedes)


# What comes over the connection


class _Line(gateways._PlainLine):
    """Connected to a box that says its piece as soon as it hears something."""

    def __init__(self, wire):
        super().__init__("127.0.0.1", 9)
        self.sock, self._box = socket.socketpair()
        self._wire = wire

    def send(self, data):
        super().send(data)
        if self._wire is not None:
            self._box.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._box.send(self._wire)
            self._box.shutdown(socket.SHUT_WR)
            self._wire = None

    def asked(self):
        """All that the box was sent; closes its end."""
        with self._box as box:
            box.settimeout(5)
            heard = b""
            while piece := box.recv(65_536):
                heard += piece
            return heard


def _noting(status, body, **how):
    _noted.append((status, body))
    return answers.read_answer(status, body, **how)


gateways.read_answer = _noting


def _try_wire(wire, *, trusts):
    _noted.clear()
    line, call = _Line(wire), _gateways[trusts].call()
    call._line, call._sock = line, line.sock
    try:
        found = call.submit(AMOUNT, CODE, float("inf"))
    except NoAnswerError:
        found = None
    finally:
        call.close()
        asked = line.asked()
    assert asked.count(b"POST /payment/payme HTTP/1.1\r\n") == 1
    assert asked.count(b"HTTP/1.1\r\n") == 1
    if found is None or found.outcome is Outcome.UNKNOWN:
        return
    ((status, body),) = _noted
    _judge(found, status, body, trusts=trusts)
    assert re.search(rb"^HTTP/[^ ]* +%d" % status, wire, re.MULTILINE), wire
    head = wire[: wire.rindex(body[:1])] if body else wire
    lengths = re.findall(rb"(?im)^content-length:[ \t]*([^\r\n]*)", head)
    if b"HTTP/" not in head[5:]:
        assert len(set(lengths)) <= 1, wire
        assert all(length.strip().isdigit() for length in lengths), wire


def _http(body, *headers, status="200 OK"):
    lines = [f"HTTP/1.1 {status}", *headers]
    return bytes([IS_WIRE]) + "\r\n".join([*lines, "", ""]).encode() + body


PAID = json.dumps(table.paid()).encode()
REFUSED = json.dumps(table.refused(106)).encode()
SEEDS = [
    *(bytes([status]) + body for status in range(16) for body in (PAID, REFUSED)),
    b"\x00" + json.dumps(table.paid(status="failed")).encode(),
    b"\x00" + PAID.replace(b"true", b"1"),
    b"\x00" + PAID.replace(b"true", b'"true"'),
    b"\x00" + PAID.replace(b"1000", b"1e3"),
    b"\x00" + PAID.replace(b'"error"', b'"is_success": false, "error"'),
    b"\x00" + PAID.replace(b"null", b"NaN"),
    b"\x00" + b"[" * 3000,
    b"\x00" + PAID[:-1],
    b"\x00" + REFUSED[:-1],
    _http(PAID, f"Content-Length: {len(PAID)}"),
    _http(PAID, f"Content-Length: {len(PAID) + 1}"),
    _http(PAID, f"Content-Length: {len(PAID)}", f"Content-Length: {len(PAID)}"),
    _http(PAID, "Content-Length: -1"),
    _http(REFUSED, status="400 Bad Request"),
    _http(b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAID), PAID), "Transfer-Encoding: chunked"),
    _http(PAID, "Content-Encoding: gzip"),
    bytes([IS_WIRE]) + b"HTTP/1.1 100 Continue\r\n\r\n" + _http(PAID)[1:],
    bytes([IS_WIRE]) + PAID,
]
WORDS = [
    *(f'"{name}"'.encode() for name in (*table.DATA, "data", "error", "is_success", "code")),
    *(b"true", b"false", b"null", b"NaN", b'"successfully"', b'"failed"', b"1000", b"1e3", b"{}"),
    *(b"HTTP/1.1 200 OK\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"billing", b"\\ud800"),
]

_envelopes = st.one_of(
    table.envelopes(), table.values, st.just(table.paid()), st.just(table.refused(106))
)


@st.composite
def _bodies(draw):
    """JSON near the contract, some of it damaged as a box's program or a bad line would."""
    body = json.dumps(draw(_envelopes)).encode()
    for _ in range(draw(st.integers(0, 2))):
        old, new = draw(st.sampled_from(DAMAGES))
        body = body.replace(old, new, draw(st.integers(1, 2)))
    if draw(st.integers(0, 5)) == 0 and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=2)) + body[at + draw(st.integers(0, 2)) :]
    return body


DAMAGES = [
    (b"true", b"1"),
    (b"true", b'"true"'),
    (b"false", b"0"),
    (b"false", b'"false"'),
    (b"null", b'""'),
    (b"null", b"NaN"),
    (b"1000", b'"1000"'),
    (b"1000", b"1000.0"),
    (b"1000", b"1e3"),
    (b'"error"', b'"data"'),
    (b'"is_success"', b'"is_success": false, "is_success"'),
    (b'"status": "successfully"', b'"status": "failed", "status": "successfully"'),
    (b'"data": {', b'"data": [{'),
    (b"}", b""),
    (b"}", b"}}"),
    (b'"', b"'"),
    (b" ", b"\x0b"),
]
_heads = st.lists(
    st.sampled_from(
        [
            "Content-Length: {n}",
            "Content-Length: 0",
            "Content-Length: -5",
            "Content-Length: {n}9",
            "Content-Length: {n}, {n}",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Content-Encoding: gzip",
            "Content-Type: application/json",
            "Connection: close",
            " folded",
            "Location: http://127.0.0.1:9/",
            "broken",
        ]
    ),
    max_size=3,
)
_wires = st.builds(
    lambda status, heads, body: _http(
        body, *(head.format(n=len(body)) for head in heads), status=status
    ),
    st.sampled_from(["200 OK", "200", "400 No", "500 Oh", "302 Found", "1200 X", "20 X", "-200 X"]),
    _heads,
    _bodies(),
)
inputs = st.one_of(
    st.builds(lambda first, body: bytes([first]) + body, st.integers(0, 15), _bodies()),
    st.builds(
        lambda wire, distrusts: bytes([wire[0] | distrusts]) + wire[1:],
        _wires,
        st.sampled_from([0, DISTRUSTS]),
    ),
)


# Faults


def _after(change):
    """The real reader, behind something that makes answers easier to read."""

    def reader(status, body, **how):
        return _body(status, change(body), **how)

    return lambda: planted(answers, read_answer=reader)


def _takes_words_for_truth(body):
    return body.replace(b'"true"', b"true").replace(b'"false"', b"false")


def _last_key_wins(body):
    with contextlib.suppress(ValueError, RecursionError):
        return json.dumps(json.loads(body)).encode()
    return body


def _mends_the_end(body):
    return (
        body if not body.startswith(b"{") or body.count(b"{") == body.count(b"}") else body + b"}"
    )


def _believes_any_status(_status, body, **how):
    return _body(200, body, **how)


FAULTS = {
    'takes "true" for true': _after(_takes_words_for_truth),
    "lets the last of two equal keys win": _after(_last_key_wins),
    "mends a body that was cut": _after(_mends_the_end),
    "believes every HTTP status": lambda: planted(answers, read_answer=_believes_any_status),
}
