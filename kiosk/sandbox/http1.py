"""The text of HTTP/1.1: heads of requests in, heads of answers out."""

import http
from collections.abc import Iterable
from dataclasses import dataclass, field

Header = tuple[str, str]
JSON_TYPE: Header = ("Content-Type", "application/json")


class BadRequestError(Exception):
    """What arrived is no HTTP request that the sandbox understands.

    Attributes:
        status: The HTTP status to refuse it with.
    """

    def __init__(self, status: int, reason: str) -> None:
        """The status to answer with, and why."""
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers; names in lower case, doubled headers joined by a comma.

    Attributes:
        path: The target without its query.
        received_bytes: As it stood on the wire, the empty line included.
    """

    method: str
    path: str
    version: str
    headers: dict[str, str] = field(repr=False)
    received_bytes: int

    @property
    def wants_more(self) -> bool:
        """Whether the client means to keep the connection."""
        wishes = self.headers.get("connection", "").lower()
        return self.version == "HTTP/1.1" and "close" not in wishes


def format_answer(
    status: int, body: bytes = b"", headers: Iterable[Header] = (), *, close: bool = True
) -> bytes:
    """A well-formed answer with its Content-Length; 204 and 304 carry no body."""
    bodiless = status in (204, 304)
    lengths = [] if bodiless else [("Content-Length", str(len(body)))]
    ends = [("Connection", "close")] if close else []
    head = format_head(status, [*headers, *lengths, *ends])
    return head if bodiless else head + body


def format_head(status: int, headers: Iterable[Header]) -> bytes:
    """Status line and headers exactly as given, with the empty line."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def parse_head(raw: bytes, received_bytes: int) -> Head:
    """Read a request's head, without the empty line.

    Raises:
        BadRequestError: It is no HTTP/1.x.
    """
    first, *rest = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1") or not parts[1].startswith("/"):
        raise BadRequestError(400, "the request line is malformed")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, "a header is malformed")
        known = headers.get(name.lower())
        headers[name.lower()] = value.strip() if known is None else f"{known},{value.strip()}"
    return Head(parts[0], parts[1].partition("?")[0], parts[2], headers, received_bytes)
