"""Records of a journal, found in bytes that SQLite refuses to read.

A record begins with its length and the types of its values, so it can be known by itself, in a
page whose head is gone, in a file whose head is gone, and in a `-wal`. Source of the format:
https://www.sqlite.org/fileformat2.html#record_format
"""

import math
import re
import struct
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeGuard

import msgspec

from kiosk.core.intent import RowKind

_TEXT = rb"[\x0d-\x7f]"
_ANY = rb"[\x00-\x7f]"
_MAYBE_LONG = rb"(?:[\x80-\xff]{0,2}[\x00-\x7f])"
_AT = rb"\x47"  # 29 letters: 2026-11-24T10:00:00.000+00:00
_KEY, _MAC = rb"\x4c", rb"\x2c"  # 32 and 16 bytes
_HEADS = re.compile(
    b"(?P<row>[\x0b-\x0d]\x00"
    + _TEXT * 2
    + _AT
    + _TEXT
    + rb"[\x00-\x07]"
    + _ANY * 3
    + _MAYBE_LONG
    + b")|(?P<device>\x05\x00"
    + _KEY
    + _AT
    + rb"[\x01-\x09])|(?P<imported>\x05"
    + _KEY
    + _MAC
    + _TEXT * 2
    + b")|(?P<kept>[\x06-\x09]"
    + _TEXT
    + _AT
    + _TEXT
    + rb"[\x00-\x7f])|(?P<spent>\x03"
    + _MAC
    + _TEXT
    + b")",
    re.DOTALL,
)
_INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
_FLOAT = 7
_WORD = re.compile(r"[\w-]{1,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
_KINDS = frozenset(kind.value for kind in RowKind)
_COLUMNS = {"row": 10, "device": 4, "imported": 4, "kept": 3, "spent": 2}

ALL_ROWS = (
    "SELECT seq, intent, kind, at, boot, boot_s, amount_sum, reference, payment_id, body FROM row"
)
FoundRow = tuple[int, str, str, str, str, float, int | None, str | None, str | None, str]
"""A row's columns as they stand in the table, `seq` first."""


@dataclass(slots=True)
class Scanned:
    """What was found; the same record may stand in several places and is there once.

    Attributes:
        keys: The device's; more than one where bytes of several journals were scanned.
        spent: Hash and intent.
        imported: Key, hash, intent, outcome.
        codes: Intent and whole code.
    """

    keys: set[bytes] = field(default_factory=set)
    rows: set[FoundRow] = field(default_factory=set)
    spent: set[tuple[bytes, str]] = field(default_factory=set)
    imported: set[tuple[bytes, bytes, str, str]] = field(default_factory=set)
    codes: set[tuple[str, str]] = field(default_factory=set)


def scan(data: bytes, found: Scanned) -> None:
    """Add every record of a journal that stands in `data`, whatever stands around it."""
    place = 0
    while head := _HEADS.search(data, place):
        kind, start = head.lastgroup, head.start()
        assert kind is not None
        place = start + 1  # what only looks like a head may overlap one
        values, place_of_end = _record_at(data, start, _COLUMNS[kind])
        if values is None:
            continue
        match kind:
            case "row":
                _add_row(data, start, values, found)
            case "device":
                if _are(values[2:3], _TIME):
                    found.keys.add(values[1])
            case "imported":
                if _are(values[2:], _WORD):
                    found.imported.add((values[0], values[1], values[2], values[3]))
            case "kept":
                is_text = isinstance(values[2], str)
                if is_text and _are(values[:1], _WORD) and _are(values[1:2], _TIME):
                    found.codes.add((values[0], values[2]))
            case _:
                # A cell of an index says before its record how long that is.
                long = data[start - 1 : start] == bytes([place_of_end - start])
                if long and _are(values[1:], _WORD):
                    found.spent.add((values[0], values[1]))


def opened_in(page: bytes) -> int:
    """How often a journal had been opened, by the page of its table `device`; 0 where none is.

    That record is at the end of its page, in one sector, so a cut leaves the old or the new one.
    """
    for head in _HEADS.finditer(page):
        if head.lastgroup == "device":
            values, _ = _record_at(page, head.start(), _COLUMNS["device"])
            if values is not None and isinstance(values[3], int):
                return values[3]
    return 0


def _add_row(data: bytes, start: int, values: list[Any], found: Scanned) -> None:
    row = (_number_before(data, start), *values[1:])
    if is_row(row):
        found.rows.add(row)


def is_row(values: tuple[Any, ...]) -> TypeGuard[FoundRow]:
    """Whether these can be a row's columns: damage makes any value of any type of them."""
    seq, intent, kind, at, boot, boot_s, amount_sum, reference, payment_id, body = values
    return (
        isinstance(seq, int)
        and seq > 0
        and kind in _KINDS
        and _are([intent, boot], _WORD)
        and _are([at], _TIME)
        and _is_date(at)
        and isinstance(boot_s, int | float)
        and math.isfinite(boot_s)
        and isinstance(amount_sum, int | None)
        and isinstance(reference, str | None)
        and isinstance(payment_id, str | None)
        and _is_object(body)
    )


def _is_date(text: str) -> bool:
    try:
        return datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def _are(values: list[Any], pattern: re.Pattern[str]) -> bool:
    return all(isinstance(value, str) and pattern.fullmatch(value) for value in values)


def _is_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def _record_at(data: bytes, start: int, count: int) -> tuple[list[Any] | None, int]:
    """The first values of the record whose head begins at `start`, and where they end."""
    types, place = [], start + 1
    for _ in range(count):
        kind, place = _number_at(data, place)
        types.append(kind)
    head_bytes = data[start]
    if place - start > head_bytes:
        return None, place
    place, values = start + head_bytes, []
    for kind in types:
        size = _INTEGER_BYTES.get(kind, 8 if kind == _FLOAT else (kind - 12) // 2)
        part = data[place : place + size]
        if len(part) < size or kind in (10, 11):
            return None, place
        try:
            values.append(_value(kind, part))
        except UnicodeDecodeError:
            return None, place
        place += size
    return values, place


def _value(kind: int, part: bytes) -> Any:
    if kind == _FLOAT:
        return struct.unpack(">d", part)[0]
    if kind in (8, 9):
        return kind - 8
    if kind in _INTEGER_BYTES:
        return int.from_bytes(part, "big", signed=True) if kind else None
    return part.decode() if kind % 2 else part


def _number_at(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for size in range(1, 9):
        byte = data[place + size - 1] if place + size <= len(data) else 0
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place + size
    return number, place + 8


def _number_before(data: bytes, end: int) -> int:
    """A row's own number stands before its record; read backwards it ends in itself."""
    begin = end - 1
    while begin > 0 and end - begin < 8 and data[begin - 1] >= 0x80:
        begin -= 1
    return _number_at(data, begin)[0] if begin >= 0 else 0
