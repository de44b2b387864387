"""Secrets in the technician's file: where they stand, and what is left when they are taken.

A secret gives way to as many `x`, in place: the file keeps its size, its comments and its line
ends. A value of nothing but `x` therefore means: the one that the kiosk has.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from kiosk.settings import Settings

PASSWORD_KEY = "device.wifi_password"  # noqa: S105 - the name of the key
HEADERS_KEY = "gateway.headers"
_TAKEN = re.compile("x+")


class Span(NamedTuple):
    """Where the value of a key stands, quotes included: bytes from `start` up to `end`."""

    key: str
    start: int
    end: int
    value: str
    quote: str


class SpreadError(ValueError):
    """A secret runs over several lines, so that nothing of the same size could stand there."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"{key} runs over several lines; write it on one, in quotes")
        self.key, self.line = key, line


def secrets_of(settings: Settings) -> dict[str, str]:
    """Each secret that is a value, by its dotted key; an empty one is none."""
    found = {f"{HEADERS_KEY}.{name}": value for name, value in settings.gateway.headers.items()}
    found[PASSWORD_KEY] = settings.device.wifi_password or ""
    return {key: value for key, value in found.items() if value}


def is_taken(value: str) -> bool:
    """Whether only the place of a secret is there."""
    return _TAKEN.fullmatch(value) is not None


def are_taken(data: bytes) -> bool:
    """The same for a whole file."""
    return re.fullmatch(rb"\s*x+\s*", data) is not None


def in_place_of(value: str) -> str:
    """What stands in the place of a secret."""
    return "x" * len(value)


def spans_of(data: bytes, keys: set[str]) -> list[Span]:
    """Find the values of dotted keys.

    Args:
        data: A file that the settings loader took.
        keys: Which ones; a name with a dot in it is one name here, as in the loader.

    Raises:
        SpreadError: One of them cannot be replaced in place.
    """
    mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    text = data[mark:].decode()
    found: list[Span] = []
    # The parser in Python: its marks count characters of exactly this text.
    _walk(yaml.compose(text, Loader=yaml.SafeLoader), "", keys, found)
    return [
        each._replace(
            start=mark + len(text[: each.start].encode()), end=mark + len(text[: each.end].encode())
        )
        for each in found
    ]


def _walk(node: Any, key: str, keys: set[str], found: list[Span]) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            _walk(child, f"{key}.{name.value}" if key else name.value, keys, found)
    elif isinstance(node, yaml.ScalarNode) and key in keys:
        begin, end = node.start_mark, node.end_mark
        if begin.line != end.line or node.style in ("|", ">"):
            raise SpreadError(key, begin.line + 1)
        found.append(Span(key, begin.index, end.index, node.value, node.style or ""))


def without(data: bytes, spans: list[Span]) -> bytes:
    """The file without what stands there; of the same size.

    An escape in quotes is longer than what it means: spaces behind the quote make up for it.
    """
    left = bytearray(data)
    for span in spans:
        instead = f"{span.quote}{in_place_of(span.value)}{span.quote}".encode()
        left[span.start : span.end] = instead.ljust(span.end - span.start)
    return bytes(left)


def is_from(found: bytes, secret: bytes) -> bool:
    """Whether some or all of a secret has given way to x, and nothing else happened to it."""
    return is_between(found, secret, b"x" * len(secret))


def is_between(found: bytes, whole: bytes, taken: bytes) -> bool:
    """Whether a file is one of two versions, or what a cut in the middle of the change left."""
    return len(found) == len(whole) and all(
        byte in pair for byte, pair in zip(found, zip(whole, taken, strict=True), strict=True)
    )
