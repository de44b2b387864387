"""What an earlier journal knows: carried over, never forgotten in silence.

A journal that was moved aside, lies in a backup or on an older card still knows which codes were
charged, which payments wait for staff, and which offers were sold. What can be read of it is taken
over. Spent codes stay under its own key: a hash cannot be turned back into a code.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiosk.core.intent import Outcome, RowKind, standing_of
from kiosk.payment import journal_files as files
from kiosk.payment.journal_questions import MAC_BYTES, mac_under
from kiosk.payment.journal_scan import ALL_ROWS, FoundRow, Scanned, is_row, scan
from kiosk.payment.journal_wal import is_broken

Spent = tuple[bytes, bytes, str, str]
"""Key, hash of the code under it, intent, outcome."""
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_LOST_BODY = '{"by":"?","why":"?","detail":"the text of this row was damaged"}'
_COLUMNS = "intent, kind, at, boot, boot_s, amount_sum, reference, payment_id, body"


@dataclass(slots=True)
class Salvage:
    """What could be read of an earlier journal.

    Attributes:
        source: Its file.
        spent: Without repetition.
        rows: By their numbers there.
        kept: Lines of its table `secret`.
        is_whole: Nothing was unreadable.
    """

    source: Path
    spent: set[Spent] = field(default_factory=set)
    rows: set[FoundRow] = field(default_factory=set)
    kept: list[tuple[Any, ...]] = field(default_factory=list)
    is_whole: bool = True

    @property
    def missing(self) -> int:
        """How many rows surely stood between those that were found."""
        return max((row[0] for row in self.rows), default=0) - len({row[0] for row in self.rows})


def salvage(path: Path, own_key: bytes) -> Salvage:
    """Read a journal, as far as its pages or at least its bytes can be read.

    Args:
        path: The database file, with its `-wal` beside it where there is one; where a cut came
            between the two, either alone. They are not touched.
        own_key: Of the journal in force: a code that is still there whole is hashed under it,
            which helps where the earlier key is lost.

    Raises:
        OSError: The file cannot be read or copied.
    """
    import shutil  # the kiosk that sells needs neither
    import tempfile

    found, parts = Salvage(path), Scanned()
    # A copy: to open a database is to fold in its WAL, and what was moved aside stays as it is.
    with tempfile.TemporaryDirectory(prefix="kiosk-import-") as folder:
        copy = Path(folder) / "journal.db"
        if path.exists():
            shutil.copyfile(path, copy)
        wal = files.beside(path, "-wal")
        if wal.exists():
            shutil.copyfile(wal, files.beside(copy, "-wal"))
            data = wal.read_bytes()
            scan(data, parts)  # SQLite stops at its first damage, and is silent
            found.is_whole = not is_broken(data)
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            _read(db, parts, found)
        found.is_whole = found.is_whole and not found.missing
        if not found.is_whole and path.exists():
            scan(path.read_bytes(), parts)
    _put_together(parts, own_key, found)
    return found


def _read(db: sqlite3.Connection, parts: Scanned, found: Salvage) -> None:
    """What SQLite reads."""
    keys = [key for (key,) in _readable(db, found, "SELECT mac_key FROM device")]
    checked = list(_readable(db, found, "PRAGMA integrity_check(1)"))
    found.is_whole = found.is_whole and bool(keys) and checked == [("ok",)]
    parts.keys.update(key for key in keys if isinstance(key, bytes))
    for mac, intent in _both_ways(db, found, "SELECT mac, intent FROM spent", "mac"):
        parts.spent.add((mac, intent))
    for row in _both_ways(db, found, ALL_ROWS, "seq"):
        if not is_row(row):
            found.is_whole = False
            row = (*row[:-1], _LOST_BODY)  # its payment_id must not go with its text
        if is_row(row):
            found.rows.add(row)
    kept = "SELECT intent, at, code, phone, answer FROM secret"
    found.kept = list(dict.fromkeys(_both_ways(db, found, kept, "intent")))
    parts.codes.update((line[0], line[2]) for line in found.kept if isinstance(line[2], str))
    if _has_imported(db):
        query = "SELECT mac_key, mac, intent, outcome FROM imported"
        parts.imported.update(_both_ways(db, found, query, "mac_key, mac"))


def _put_together(parts: Scanned, own_key: bytes, found: Salvage) -> None:
    """Rows and spent codes from what was read in one way or the other."""
    found.rows |= parts.rows
    ends = _ends(found.rows)

    def end_of(intent: str) -> str:
        return ends.get(intent, Outcome.UNKNOWN.value)

    # Which of several keys a hash is under cannot be seen; under the wrong one it fits no code.
    every = {
        (key, mac, intent, end_of(intent)) for key in parts.keys for mac, intent in parts.spent
    }
    hashed, proved = {intent for _, intent in parts.spent}, set()
    for intent, code in parts.codes:
        every.add((own_key, mac_under(own_key, code), intent, end_of(intent)))
        if any((mac_under(key, code), intent) in parts.spent for key in parts.keys):
            proved.add(intent)
        elif intent in hashed:
            found.is_whole = False  # the key, the hash or the code is not what it was
    every |= parts.imported
    # What a damaged page makes of a value is not taken for one; what was never sent is not spent.
    every = {one for one in every if _is_sound(one) and one[3] != Outcome.NOT_SENT.value}
    # Once under our own key is enough, where no damage made another code of it.
    found.spent = {one for one in every if one[0] == own_key or one[2] not in proved}


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
    except (sqlite3.Error, ValueError):
        return False


def _ends(rows: set[FoundRow]) -> dict[str, str]:
    """How each intent stands, by the rows that can be read."""
    kinds: dict[str, list[RowKind]] = {}
    for row in sorted(rows, key=lambda row: row[0]):
        kinds.setdefault(row[1], []).append(RowKind(row[2]))
    return {
        intent: (standing_of(found).outcome or Outcome.UNKNOWN).value
        for intent, found in kinds.items()
    }


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


# Into the journal in force. Inside a transaction of its own; see `Journal.take_over`.


def put_rows(db: sqlite3.Connection, found: Salvage) -> int:
    """Append the rows that are not there yet, in their order; each says where it comes from.

    Returns:
        How many.
    """
    count = 0
    for row in sorted(found.rows, key=lambda row: (row[0], row[-1] == _LOST_BODY)):
        _, intent, kind, at, *_, payment_id, body = row
        known = "SELECT 1 FROM row WHERE intent = ? AND kind = ? AND at = ? AND payment_id IS ?"
        if db.execute(known, (intent, kind, at, payment_id)).fetchone() is None:
            marked = "json_set(?, '$.taken_over_from', ?)"
            db.execute(
                f"INSERT INTO row ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, {marked})",  # noqa: S608 - as above
                (*row[1:-1], body, found.source.name),
            )
            count += 1
    for line in found.kept:
        db.execute(
            "INSERT OR IGNORE INTO secret (intent, at, code, phone, answer) VALUES (?, ?, ?, ?, ?)",
            line,
        )
    return count


def put_spent(db: sqlite3.Connection, own_key: bytes, found: Salvage) -> int:
    """Know its spent codes as well.

    Returns:
        How many of them were not known yet.
    """
    count = 0
    for key, mac, intent, outcome in found.spent:
        is_known = (
            key == own_key
            and db.execute("SELECT 1 FROM spent WHERE mac = ?", (mac,)).fetchone() is not None
        )
        if not is_known:
            count += db.execute(
                "INSERT OR IGNORE INTO imported (mac_key, mac, intent, outcome)"
                " VALUES (?, ?, ?, ?)",
                (key, mac, intent, outcome),
            ).rowcount
    return count
