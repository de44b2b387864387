"""Spent codes of an earlier journal: carried over, never forgotten in silence.

A journal that was moved aside, lies in a backup or on an older card still knows which codes were
charged. What can be read of it is taken over under its own key: a hash cannot be turned back
into a code, so it stays as it is.
"""

import hashlib
import hmac
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiosk.core.intent import Outcome, RowKind, standing_of
from kiosk.payment import journal_files as files

Spent = tuple[bytes, bytes, str, str]
"""Key, hash of the code under it, intent, outcome."""
MAC_BYTES = 16
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_KINDS = frozenset(kind.value for kind in RowKind)


@dataclass(slots=True)
class Salvage:
    """What could be read of an earlier journal.

    Attributes:
        source: Its file.
        spent: Without repetition.
        is_whole: Nothing of its spent codes was unreadable.
    """

    source: Path
    spent: set[Spent] = field(default_factory=set)
    is_whole: bool = True


def salvage(path: Path, own_key: bytes) -> Salvage:
    """Read the spent codes of a journal, as far as its pages can be read.

    Args:
        path: The database file, with its `-wal` beside it where there is one. It is not touched.
        own_key: Of the journal in force: a code that is still there whole is hashed under it,
            which helps where the earlier key is lost.

    Raises:
        OSError: The file cannot be read or copied.
    """
    found = Salvage(path)
    # A copy: to open a database is to fold in its WAL, and what was moved aside stays as it is.
    with tempfile.TemporaryDirectory(prefix="kiosk-import-") as folder:
        copy = Path(folder) / "journal.db"
        shutil.copyfile(path, copy)
        wal = files.beside(path, "-wal")
        if wal.exists():
            shutil.copyfile(wal, files.beside(copy, "-wal"))
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            _read(db, own_key, found)
    return found


def _read(db: sqlite3.Connection, own_key: bytes, found: Salvage) -> None:
    unknown = Outcome.UNKNOWN.value
    ends = _ends(db, found)
    keys = [key for (key,) in _readable(db, found, "SELECT mac_key FROM device")]
    if not keys or not isinstance(keys[0], bytes):
        found.is_whole = False
    else:
        for mac, intent in _both_ways(db, found, "SELECT mac, intent FROM spent", "mac"):
            found.spent.add((keys[0], mac, intent, ends.get(intent, unknown)))
    kept = "SELECT intent, code FROM secret WHERE code IS NOT NULL"
    for intent, code in _both_ways(db, found, kept, "intent"):
        mac = hmac.digest(own_key, str(code).encode(), hashlib.sha256)[:MAC_BYTES]
        found.spent.add((own_key, mac, intent, ends.get(intent, unknown)))
    if _has_imported(db):
        query = "SELECT mac_key, mac, intent, outcome FROM imported"
        found.spent.update(_both_ways(db, found, query, "mac_key, mac"))
    # What a damaged page makes of a value is not taken for one.
    found.spent = {spent for spent in found.spent if _is_sound(spent)}
    # Once under our own key is enough.
    ours = {intent for key, _, intent, _ in found.spent if key == own_key}
    found.spent = {s for s in found.spent if s[0] == own_key or s[2] not in ours}


def _is_sound(spent: Spent) -> bool:
    key, mac, intent, outcome = spent
    return (
        (type(key), type(mac), type(intent)) == (bytes, bytes, str)
        and len(mac) == MAC_BYTES
        and outcome in _OUTCOMES
    )


def _has_imported(db: sqlite3.Connection) -> bool:
    try:
        found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'imported'")
        return found.fetchone() is not None
    except sqlite3.Error:
        return False


def _ends(db: sqlite3.Connection, found: Salvage) -> dict[str, str]:
    """How each intent stands, by the rows that can be read."""
    kinds: dict[str, set[tuple[int, str]]] = {}
    for seq, intent, kind in _both_ways(db, found, "SELECT seq, intent, kind FROM row", "seq"):
        if kind in _KINDS:
            kinds.setdefault(intent, set()).add((seq, kind))
    ends = {}
    for intent, rows in kinds.items():
        standing = standing_of(RowKind(kind) for _, kind in sorted(rows))
        ends[intent] = (standing.outcome or Outcome.UNKNOWN).value
    return ends


def _both_ways(db: sqlite3.Connection, found: Salvage, query: str, order: str) -> Iterator[Any]:
    """Rows from the front, and from the back where a page in the middle cannot be read."""
    was_whole, found.is_whole = found.is_whole, True
    yield from _readable(db, found, f"{query} ORDER BY {order}")
    if not found.is_whole:
        backwards = ", ".join(f"{name} DESC" for name in order.split(", "))
        yield from _readable(db, found, f"{query} ORDER BY {backwards}")
    found.is_whole = found.is_whole and was_whole


def _readable(db: sqlite3.Connection, found: Salvage, query: str) -> Iterator[Any]:
    try:
        yield from db.execute(query)
    except (sqlite3.Error, ValueError):
        found.is_whole = False
