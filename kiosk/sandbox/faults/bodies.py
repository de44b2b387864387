"""HTTP as it should be around a body that is not the JSON it should be."""

import functools
import gzip
import zlib
from collections.abc import Callable

from kiosk.sandbox.faults.fault import Action, Exchange, Fault, Outcome, fault
from kiosk.sandbox.http1 import JSON_TYPE, Header

_DEPTH = 30_000  # deep enough for a RecursionError, small enough for the limit of 64 KiB
_BOMB_BYTES = 50 * 1024 * 1024


def _turns(change: Callable[[bytes], bytes]) -> Action:
    return lambda x: x.answer(change(x.body()))


def _is(body: bytes) -> Action:
    return lambda x: x.answer(body)


def _swaps(old: bytes, new: bytes) -> Action:
    """Replace once; `old` must be there, or the fault would be none."""

    def run(x: Exchange) -> None:
        body = x.body()
        if old not in body:
            raise AssertionError(old)
        x.answer(body.replace(old, new, 1))

    return run


def _amount(literal: bytes) -> Action:
    def run(x: Exchange) -> None:
        amount = str(x.charge.amount).encode()
        x.answer(x.body().replace(b'"amount":' + amount, b'"amount":' + literal, 1))

    return run


def _encoded(encoding: str | None, compress: Callable[[bytes], bytes]) -> Action:
    headers: list[Header] = [JSON_TYPE]
    if encoding is not None:
        headers.append(("Content-Encoding", encoding))
    return lambda x: x.answer(compress(x.body()), headers=headers)


@functools.cache
def _packed_blanks() -> bytes:
    return gzip.compress(b" " * _BOMB_BYTES)


def _bomb(x: Exchange) -> None:
    body = gzip.compress(x.body()) + _packed_blanks()
    x.answer(body, headers=[JSON_TYPE, ("Content-Encoding", "gzip")])


@functools.cache
def _deflated_blanks() -> bytes:
    return zlib.compress(b" " * _BOMB_BYTES)


def _plain(body: bytes) -> bytes:
    return body


def _unknown(name: str, text: str, run: Action, also: Outcome | None = None) -> Fault:
    return fault(name, "unknown", text, run, charges=True, also=also)


def _approved(name: str, text: str, run: Action, also: Outcome | None = None) -> Fault:
    return fault(name, "approved", text, run, charges=True, also=also)


_REFUSAL = b'{"data":null,"error":{"code":106,"message":"no","data":null},"is_success":false}'

NOT_JSON: tuple[Fault, ...] = (
    _unknown("json-empty", "no body", _is(b"")),
    _unknown("json-blank", "a body of spaces", _is(b" \r\n ")),
    _unknown("json-none", "plain text", _is(b"successfully payment")),
    _unknown("json-html", "an HTML page", _is(b"<!doctype html><title>Log in</title>")),
    _unknown("json-xml", "XML", _is(b"<?xml version='1.0'?><is_success>true</is_success>")),
    _unknown("json-python", "single quotes and True", _is(b"{'data': None, 'is_success': True}")),
    _unknown("json-truncated", "half of the JSON", _turns(lambda body: body[: len(body) // 2])),
    _unknown("json-unclosed", "the last brace is missing", _turns(lambda body: body[:-1])),
    _unknown("json-trailing", "garbage behind the JSON", _turns(lambda body: body + b"; ok")),
    _unknown("json-leading", "garbage before the JSON", _turns(lambda body: b")]}',\n" + body)),
    _unknown("json-comma", "a comma too many", _turns(lambda body: body[:-1] + b",}")),
    _unknown("json-comment", "a comment", _turns(lambda body: b"/* ok */" + body)),
    _unknown("json-bom", "a byte-order mark first", _turns(lambda body: b"\xef\xbb\xbf" + body)),
    _unknown("json-utf16", "UTF-16", _turns(lambda body: body.decode().encode("utf-16"))),
    _unknown(
        "json-utf8-broken", "a byte that is no UTF-8", _swaps(b"successfully p", b"\xff\xfe p")
    ),
    _unknown("json-control", "a raw line end in a string", _swaps(b"successfully p", b"ok\n p")),
    _unknown("json-nul", "a NUL behind the JSON", _turns(lambda body: body + b"\x00")),
    _unknown("two-objects", "the JSON twice", _turns(lambda body: body + body)),
    _unknown(
        "two-objects-differ", "a refusal and the true JSON", _turns(lambda body: _REFUSAL + body)
    ),
    _unknown("json-lines", "the JSON twice, a line each", _turns(lambda body: body + b"\n" + body)),
)

ODD_JSON: tuple[Fault, ...] = (
    _unknown("json-array", "the JSON inside an array", _turns(lambda body: b"[" + body + b"]")),
    _unknown("json-string", "a string", _is(b'"successfully"')),
    _unknown("json-null", "null", _is(b"null")),
    _unknown("json-true", "true", _is(b"true")),
    _unknown("json-number", "a number", _is(b"200")),
    _unknown("json-empty-object", "{}", _is(b"{}")),
    _unknown("json-nan", "the amount is NaN", _amount(b"NaN")),
    _unknown("json-infinity", "the amount is -Infinity", _amount(b"-Infinity")),
    _unknown("json-exponent", "the amount is 1e999", _amount(b"1e999")),
    _unknown("json-leading-zero", "the amount is 0001000", _amount(b"0001000")),
    _unknown("json-digits", "the amount has 5,000 digits", _amount(b"1" * 5_000), also="approved"),
    _unknown(
        "json-deep",
        "30,000 arrays in one another",
        _swaps(b'"error":null', b'"error":' + b"[" * _DEPTH + b"]" * _DEPTH),
    ),
    _unknown("json-deep-open", "30,000 arrays that are not closed", _is(b"[" * _DEPTH)),
    _unknown(
        "json-doubled-key",
        "is_success stands twice: false, then true",
        _swaps(b'"is_success":true', b'"is_success":false,"is_success":true'),
    ),
    _unknown(
        "json-doubled-inner-key",
        "payment_id stands twice",
        _swaps(b'"payment_id":', b'"payment_id":"696e0246c9a128176d5934d8","payment_id":'),
    ),
    _unknown(
        "json-doubled-escaped-key",
        "status stands twice, once written with an escape",
        _swaps(b'"status":', b'"st\\u0061tus":"failed","status":'),
    ),
    _approved(
        "json-padded", "blanks around the JSON", _turns(lambda body: b"\r\n  " + body + b"\n")
    ),
    _approved(
        "json-escaped",
        "letters written as escapes",
        _swaps(b'"successfully"', rb'"\u0073uccessfull\u0079"'),
    ),
)

ENCODINGS: tuple[Fault, ...] = (
    _unknown(
        "gzip", "compressed, although identity was asked for", _encoded("gzip", gzip.compress)
    ),
    _unknown("deflate", "compressed with deflate", _encoded("deflate", zlib.compress)),
    _unknown("gzip-undeclared", "compressed without a header", _encoded(None, gzip.compress)),
    _unknown(
        "gzip-declared-only",
        "says that it is compressed, and is not",
        _encoded("gzip", _plain),
        also="approved",
    ),
    _unknown("brotli-declared", "says br", _encoded("br", _plain), also="approved"),
    _unknown("gzip-bomb", "50 KB that unpack to 50 MB", _bomb),
    _unknown(
        "deflate-bomb",
        "as gzip-bomb, with deflate",
        _encoded("deflate", lambda _: _deflated_blanks()),
    ),
    _unknown(
        "gzip-bomb-undeclared",
        "the same without a header",
        _encoded(None, lambda _: _packed_blanks()),
    ),
    _approved("identity-declared", "says identity, and is", _encoded("identity", _plain)),
    _approved(
        "content-type-html",
        "says that it is HTML, and is JSON",
        lambda x: x.answer(x.body(), headers=[("Content-Type", "text/html")]),
        also="unknown",
    ),
)

BODIES: tuple[Fault, ...] = (*NOT_JSON, *ODD_JSON, *ENCODINGS)
