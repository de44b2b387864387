"""Connections that break off, stall, drip or come late."""

import itertools

from kiosk.sandbox.faults.fault import Exchange, Fault, fault
from kiosk.sandbox.http1 import JSON_TYPE, format_answer, format_head


def _reset(x: Exchange) -> None:
    x.connection.reset()


def _hang_up(x: Exchange) -> None:
    x.connection.hang_up()


def _stall(x: Exchange) -> None:
    x.connection.pause(x.pace.stall_s)


def _late(x: Exchange) -> None:
    x.connection.pause(x.pace.late_s)
    x.mark_answered()
    x.answer(x.body())


def _after_part(x: Exchange, share: float) -> None:
    whole = format_answer(200, x.body(), [JSON_TYPE])
    x.send(whole[: int(len(whole) * share)])


def _reset_in_body(x: Exchange) -> None:
    _after_part(x, 0.6)
    x.connection.reset()


def _stall_in_body(x: Exchange) -> None:
    _after_part(x, 0.8)
    _stall(x)


def _drip(x: Exchange) -> None:
    body = x.body()
    x.send(format_head(200, [JSON_TYPE, ("Content-Length", str(len(body) + 1_000_000))]) + body)
    _drip_on(x, itertools.repeat(b" "))


def _drip_whole(x: Exchange) -> None:
    whole = format_answer(200, x.body(), [JSON_TYPE])
    size = len(whole) // 8 + 1
    for start in range(0, len(whole), size):
        x.send(whole[start : start + size])
        x.connection.pause(x.pace.drip_s)


def _slow_headers(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip_on(x, itertools.repeat(b"a"))


def _slow_status(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 O")
    _drip_on(x, itertools.repeat(b"K"))


def _drip_on(x: Exchange, pieces: "itertools.repeat[bytes]") -> None:
    steps = int(x.pace.stall_s / x.pace.drip_s)
    for piece in itertools.islice(pieces, steps):
        x.send(piece)
        x.connection.pause(x.pace.drip_s)


HANGUPS: tuple[Fault, ...] = (
    fault(
        "hang-up-before-reading",
        "unknown",
        "resets the connection when a payment request begins, its body unread",
        _reset,
        unread=True,
    ),
    fault(
        "close-before-reading",
        "unknown",
        "closes the connection in order when a payment request begins, its body unread",
        _hang_up,
        unread=True,
    ),
    fault("hang-up-uncharged", "unknown", "reads the request and hangs up, no charge", _hang_up),
    fault("hang-up-charged", "unknown", "charges and hangs up", _hang_up, charges=True),
    fault("reset-uncharged", "unknown", "reads the request and resets, no charge", _reset),
    fault("reset-charged", "unknown", "charges and resets", _reset, charges=True),
    fault("stall-uncharged", "unknown", "reads the request and goes silent, no charge", _stall),
    fault("stall-charged", "unknown", "charges and goes silent", _stall, charges=True),
    fault(
        "late",
        "unknown",
        "charges, and answers truly but only after --late seconds",
        _late,
        charges=True,
        also="approved",
    ),
    fault(
        "truncated-headers",
        "unknown",
        "hangs up in the middle of the headers",
        lambda x: _after_part(x, 0.1),
        charges=True,
    ),
    fault(
        "truncated-body",
        "unknown",
        "hangs up in the middle of the body",
        lambda x: _after_part(x, 0.8),
        charges=True,
    ),
    fault(
        "reset-in-body",
        "unknown",
        "resets in the middle of the body",
        _reset_in_body,
        charges=True,
    ),
    fault(
        "stall-in-body",
        "unknown",
        "goes silent in the middle of the body",
        _stall_in_body,
        charges=True,
    ),
    fault(
        "drip",
        "unknown",
        "sends one byte now and then, so that no single read ever times out",
        _drip,
        charges=True,
    ),
    fault(
        "drip-whole",
        "approved",
        "sends the true answer in eight pieces with pauses",
        _drip_whole,
        charges=True,
    ),
    fault(
        "slow-headers",
        "unknown",
        "sends a header that does not end, byte by byte",
        _slow_headers,
        charges=True,
    ),
    fault(
        "slow-status-line",
        "unknown",
        "sends a first line that does not end, byte by byte",
        _slow_status,
        charges=True,
    ),
    fault(
        "blackhole",
        "not_sent",
        "accepts connections and never reads or writes; a client that had no need of an "
        "earlier answer on the connection may have sent its request",
        also="unknown",
        place="connection",
    ),
    fault(
        "accept-hang-up",
        "not_sent",
        "accepts connections and closes them at once",
        also="unknown",
        place="connection",
    ),
    fault("down", "not_sent", "the port is closed: connections are refused", place="listener"),
)
