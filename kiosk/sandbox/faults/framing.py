"""HTTP whose lines, headers and lengths are not what they should be."""

import gzip
import itertools
from collections.abc import Iterator

from kiosk.sandbox.faults.fault import Action, Exchange, Fault, Outcome, fault
from kiosk.sandbox.http1 import JSON_TYPE, Header, format_answer, format_head

_CHUNKED: Header = ("Transfer-Encoding", "chunked")
_CLOSE: Header = ("Connection", "close")
_BLOCK = b" " * 65_536


def _length(*values: str) -> Action:
    """The true body under these Content-Lengths; `{n}` stands for the right one."""

    def run(x: Exchange) -> None:
        body = x.body()
        lengths = [
            ("Content-Length", value.format(n=len(body), m=len(body) + 9)) for value in values
        ]
        x.send(format_head(200, [JSON_TYPE, *lengths, _CLOSE]) + body)

    return run


def _length_off_by(more: int) -> Action:
    def run(x: Exchange) -> None:
        body = x.body()
        length = ("Content-Length", str(len(body) + more))
        x.send(format_head(200, [JSON_TYPE, length, _CLOSE]) + body)

    return run


def _start(line: bytes) -> Action:
    """The true answer behind another status line."""

    def run(x: Exchange) -> None:
        _, _, rest = format_answer(200, x.body(), [JSON_TYPE]).partition(b"\r\n")
        x.send(line + rest)

    return run


def _chunks(*sizes: str, extension: str = "", end: bytes = b"0\r\n\r\n") -> Action:
    """The true body in two chunks; given sizes replace the first chunk's."""

    def run(x: Exchange) -> None:
        body = x.body()
        first, second = body[:100], body[100:]
        size = sizes[0] if sizes else f"{len(first):x}"
        x.send(format_head(200, [JSON_TYPE, _CHUNKED, _CLOSE]))
        x.send(f"{size}{extension}\r\n".encode() + first + b"\r\n")
        x.send(f"{len(second):x}\r\n".encode() + second + b"\r\n" + end)

    return run


def _chunks_and_length(x: Exchange) -> None:
    body = x.body()
    headers = [JSON_TYPE, _CHUNKED, ("Content-Length", str(len(body))), _CLOSE]
    x.send(format_head(200, headers) + _one_chunk(body))


def _one_chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"


def _until_close(share: float = 1.0) -> Action:
    def run(x: Exchange) -> None:
        body = x.body()
        x.send(format_head(200, [JSON_TYPE, _CLOSE]) + body[: int(len(body) * share)])

    return run


def _padded_to(size: int) -> Action:
    """The true body with spaces behind it, up to so many bytes."""
    return lambda x: x.answer(x.body().ljust(size))


def _flood(x: Exchange, pieces: Iterator[bytes], total: int) -> None:
    """Send until so many bytes are out or a side has had enough."""
    sent = 0
    for piece in pieces:
        x.send(piece)
        sent += len(piece)
        if sent >= total:
            return


_FLOOD_BYTES = 300 * 1024 * 1024


def _huge(x: Exchange) -> None:
    x.send(format_head(200, [JSON_TYPE, ("Content-Length", str(_FLOOD_BYTES)), _CLOSE]) + x.body())
    _flood(x, itertools.repeat(_BLOCK), _FLOOD_BYTES)


def _endless_chunks(x: Exchange) -> None:
    x.send(format_head(200, [JSON_TYPE, _CHUNKED, _CLOSE]))
    _flood(x, itertools.repeat(b"10000\r\n" + _BLOCK + b"\r\n"), _FLOOD_BYTES)


def _endless_until_close(x: Exchange) -> None:
    x.send(format_head(200, [JSON_TYPE, _CLOSE]) + x.body())
    _flood(x, itertools.repeat(_BLOCK), _FLOOD_BYTES)


def _endless_headers(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\n")
    _flood(x, (f"X-Header-{n}: more\r\n".encode() for n in itertools.count()), _FLOOD_BYTES)


def _endless_line(x: Exchange) -> None:
    x.send(b"HTTP/1.1 200 OK\r\nX-Header: ")
    _flood(x, itertools.repeat(b"a" * 65_536), _FLOOD_BYTES)


def _endless_status(x: Exchange) -> None:
    _flood(x, itertools.repeat(b"a" * 65_536), _FLOOD_BYTES)


def _endless_continues(x: Exchange) -> None:
    _flood(x, itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 64), _FLOOD_BYTES)


def _endless_continue(x: Exchange) -> None:
    x.send(b"HTTP/1.1 100 Continue\r\n")
    _flood(x, (f"X-Header-{n}: more\r\n".encode() for n in itertools.count()), _FLOOD_BYTES)


def _endless_hints(x: Exchange) -> None:
    _flood(x, itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 64), _FLOOD_BYTES)


def _behind_chunks(x: Exchange, end: bytes) -> None:
    body = x.body()
    x.send(format_head(200, [JSON_TYPE, _CHUNKED, _CLOSE]))
    x.send(f"{len(body):x}\r\n".encode() + body + b"\r\n" + end)


def _endless_trailers(x: Exchange) -> None:
    _behind_chunks(x, b"0\r\n")
    _flood(x, itertools.repeat(b"X-Trailer: more\r\n" * 64), _FLOOD_BYTES)


def _dripping_trailers(x: Exchange) -> None:
    _behind_chunks(x, b"0\r\n")
    for _ in range(int(x.pace.stall_s / x.pace.drip_s)):
        x.send(b"X-Trailer: more\r\n")
        x.connection.pause(x.pace.drip_s)


def _dripping_chunks(x: Exchange) -> None:
    x.send(format_head(200, [JSON_TYPE, _CHUNKED, _CLOSE]))
    for _ in range(int(x.pace.stall_s / x.pace.drip_s)):
        x.send(b"1\r\n \r\n")
        x.connection.pause(x.pace.drip_s)


def _endless_extension(x: Exchange) -> None:
    _behind_chunks(x, b"1;")
    _flood(x, itertools.repeat(b"a" * 65_536), _FLOOD_BYTES)


def _many_headers(x: Exchange) -> None:
    many = [(f"X-Header-{n}", "more") for n in range(200)]
    x.answer(x.body(), headers=[JSON_TYPE, *many])


def _dripping_continues(x: Exchange) -> None:
    for _ in range(int(x.pace.stall_s / x.pace.drip_s)):
        x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        x.connection.pause(x.pace.drip_s)


def _two_answers(x: Exchange) -> None:
    answer = format_answer(200, x.body(), [JSON_TYPE], close=False)
    x.send(answer + answer)


def _refusal_then_approval(x: Exchange) -> None:
    refusal = b'{"data":null,"error":{"code":106,"message":"no","data":null},"is_success":false}'
    x.send(
        format_answer(200, refusal, [JSON_TYPE], close=False)
        + format_answer(200, x.body(), [JSON_TYPE])
    )


def _headerless(x: Exchange) -> None:
    x.send(x.body())


def _bare_line_feeds(x: Exchange) -> None:
    x.send(format_answer(200, x.body(), [JSON_TYPE]).replace(b"\r\n", b"\n"))


def _unknown(name: str, text: str, run: Action, also: Outcome | None = None) -> Fault:
    return fault(name, "unknown", text, run, charges=True, also=also)


def _approved(name: str, text: str, run: Action, also: Outcome | None = None) -> Fault:
    return fault(name, "approved", text, run, charges=True, also=also)


LENGTHS: tuple[Fault, ...] = (
    _unknown("content-length-negative", "Content-Length: -1", _length("-1")),
    _unknown("content-length-double", "two different Content-Lengths", _length("{n}", "{m}")),
    _unknown("content-length-twice", "the right Content-Length twice", _length("{n}", "{n}")),
    _unknown("content-length-list", "Content-Length: N, N", _length("{n}, {n}")),
    _unknown("content-length-absurd", "a Content-Length of 31 digits", _length("9" * 31)),
    _unknown("content-length-zero", "Content-Length: 0 before a body", _length("0")),
    _unknown("content-length-text", "Content-Length: many", _length("many")),
    _unknown("content-length-empty", "an empty Content-Length", _length("")),
    # Python's int() takes these two; RFC 9110 section 8.6 does not.
    _unknown("content-length-plus", "Content-Length: +N", _length("+{n}"), also="approved"),
    _unknown("content-length-underscore", "Content-Length: 0_N", _length("0_{n}"), also="approved"),
    _unknown("body-too-short", "the body ends 100 bytes early", _length_off_by(100)),
    _unknown("body-too-long", "Content-Length cuts the body", _length_off_by(-20)),
    _approved(
        "until-close", "no Content-Length: the body ends with the connection", _until_close()
    ),
    _unknown("until-close-truncated", "the same, and the body is cut", _until_close(0.7)),
)

CHUNKS: tuple[Fault, ...] = (
    _approved("chunked", "the true body in chunks", _chunks()),
    _approved(
        "chunked-trailers",
        "chunks with an extension and a trailer",
        _chunks(extension=";name=value", end=b"0\r\nX-Trailer: yes\r\n\r\n"),
    ),
    _unknown("chunked-truncated", "the last, empty chunk is missing", _chunks(end=b"")),
    _unknown("chunked-size-text", "a chunk's size is no number", _chunks("zz")),
    _unknown("chunked-size-empty", "a chunk has no size", _chunks("")),
    _unknown("chunked-size-negative", "a chunk's size is -64", _chunks("-64")),
    _unknown("chunked-size-huge", "a chunk says it has 2**64 - 1 bytes", _chunks("f" * 16)),
    _unknown("chunked-size-short", "a chunk is longer than it says", _chunks("40")),
    _unknown("chunked-endless", "chunks go on for 300 MB", _endless_chunks),
    _unknown("chunked-dripping", "chunks of one byte, now and then", _dripping_chunks),
    _unknown(
        "endless-chunk-extension",
        "behind the true body a chunk whose first line does not end",
        _endless_extension,
    ),
    # The answer is whole before them; who believes it has no need of trailers.
    _unknown(
        "endless-trailers",
        "behind the true body trailers that do not end, at full speed",
        _endless_trailers,
        also="approved",
    ),
    _unknown(
        "dripping-trailers",
        "behind the true body trailers that do not end, now and then",
        _dripping_trailers,
        also="approved",
    ),
    _unknown(
        "transfer-encoding-gzip",
        "Transfer-Encoding: gzip, chunked",
        lambda x: x.send(
            format_head(200, [JSON_TYPE, ("Transfer-Encoding", "gzip, chunked"), _CLOSE])
            + _one_chunk(gzip.compress(x.body()))
        ),
    ),
    _unknown(
        "chunked-and-length",
        "chunks and a Content-Length as well: two readings of one answer",
        _chunks_and_length,
        also="approved",
    ),
)

SIZES: tuple[Fault, ...] = (
    _approved("body-at-limit", "64 KiB, the most that is read", _padded_to(65_536)),
    _unknown("body-over-limit", "one byte more than 64 KiB", _padded_to(65_537)),
    _unknown("body-oversized", "a megabyte", _padded_to(1_000_000)),
    _unknown("body-huge", "300 MB", _huge),
    _unknown("until-close-huge", "300 MB under no Content-Length", _endless_until_close),
    _unknown("endless-headers", "headers that do not end", _endless_headers),
    _unknown("endless-header-line", "one header that does not end", _endless_line),
    _unknown("endless-status-line", "a first line that does not end", _endless_status),
    _unknown("endless-continues", "HTTP 100 again and again, at full speed", _endless_continues),
    _unknown("endless-continue", "one HTTP 100 whose headers do not end", _endless_continue),
    _unknown("endless-hints", "HTTP 103 again and again, at full speed", _endless_hints),
    _unknown("many-headers", "the true answer under 200 headers", _many_headers, also="approved"),
    _unknown("dripping-continues", "HTTP 100 again and again, now and then", _dripping_continues),
)

LINES: tuple[Fault, ...] = (
    _unknown("http-0.9", "the body alone, as before HTTP/1.0", _headerless),
    _approved("http-1.0", "the true answer as HTTP/1.0", _start(b"HTTP/1.0 200 OK\r\n")),
    _unknown("status-line-garbage", "the first line is no HTTP", _start(b"HELLO 200 OK\r\n")),
    _unknown("status-line-empty", "the first line is missing", _start(b"\r\n")),
    _unknown("status-line-text", "the status is no number", _start(b"HTTP/1.1 OK OK\r\n")),
    _unknown("status-line-negative", "the status is -200", _start(b"HTTP/1.1 -200 OK\r\n")),
    _unknown("status-line-2000", "the status is 2000", _start(b"HTTP/1.1 2000 OK\r\n")),
    _unknown(
        "header-garbage",
        "a line among the headers is none",
        _start(b"HTTP/1.1 200 OK\r\nthis is no header\r\n"),
        also="approved",
    ),
    _approved("bare-line-feeds", "lines end with LF alone", _bare_line_feeds, also="unknown"),
    _approved("two-answers", "the true answer twice", _two_answers, also="unknown"),
    fault(
        "two-answers-differ",
        "declined",
        "a refusal, and behind it an approval that is not true",
        _refusal_then_approval,
        also="unknown",
    ),
)

FRAMING: tuple[Fault, ...] = (*LENGTHS, *CHUNKS, *SIZES, *LINES)
