"""SQLite as the journal needs it: strict to the disk, and its errors by what may be done."""

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kiosk.errors import JournalDamagedError, JournalWriteError
from kiosk.payment import journal_files as files
from kiosk.payment import journal_schema as schema
from kiosk.payment.journal_scan import ALL_ROWS, is_row, opened_in

_HEADING = "*** in database main ***\n"
"""Before what a check of SQLite found; the path says it better."""


def open_file(path: Path) -> sqlite3.Connection:
    """A connection to a database file, made where it is missing, readable by its owner only."""
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, isolation_level=None, check_same_thread=True)


def opened_without_wal(path: Path, known: int) -> int:
    """How often the database had been opened, by itself; where that is news, it is on the disk.

    Only while no connection is open: closing a file lets go of all locks of the process on it.
    """
    with path.open("rb") as file:
        page_bytes = int.from_bytes(file.read(18)[16:], "big")
        file.seek(page_bytes)  # `device` is the first table
        opened = opened_in(file.read(page_bytes))
        if opened != known:  # the mark may tell of nothing that a cut of the power takes back
            os.fsync(file.fileno())
    return opened


def forget_personal_data(aside: Path) -> None:
    """Erase whole codes, phone numbers and raw answers from a journal that lies aside.

    Raises:
        sqlite3.Error: It is damaged too far for that.
    """
    if not files.beside(aside, "-wal").exists():
        uri = aside.absolute().as_uri() + "?mode=ro&immutable=1"  # leaves no file beside it
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            if db.execute("SELECT 1 FROM secret LIMIT 1").fetchone() is None:
                return
    with contextlib.closing(sqlite3.connect(aside, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = ON").fetchall()
        db.execute("DELETE FROM secret")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def open_to_look(path: Path) -> sqlite3.Connection:
    """A second connection, which can change nothing.

    As long as it is open, closing another one leaves database and WAL as they are.
    """
    db = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True, isolation_level=None)
    # Whoever opens it to write will say what is wrong.
    with contextlib.suppress(sqlite3.Error, ValueError):
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    return db


def set_up(db: sqlite3.Connection, path: Path, at: str) -> None:
    """Check the file, make what a commit means as strict as it gets, and create the tables.

    Raises:
        JournalDamagedError, JournalNewerError, JournalWriteError: As they say.
    """
    db.execute("PRAGMA busy_timeout = 2000").fetchall()
    # Half of SQLite's usual page: a payment touches eight pages, and all are written whole.
    db.execute("PRAGMA page_size = 2048").fetchall()
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0].rpartition(_HEADING)[2]
    if found != "ok":
        raise JournalDamagedError(f"{path} is damaged: {found}")
    refuse_gaps(db, path)
    # Without a table and without the mark: new, or power was cut while it was made.
    has_tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,)
    is_unborn = not has_tables and not files.beside(path, ".made").exists()
    if path.stat().st_size == 0:
        is_unborn = True
    version = schema.VERSION if is_unborn else schema.check(db)
    # The row of each pragma is fetched: an error while it is set is swallowed otherwise.
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()
    # FULL, not NORMAL: with NORMAL a power cut may take back the last commits.
    db.execute("PRAGMA synchronous = FULL").fetchall()
    level = db.execute("PRAGMA synchronous").fetchone()
    if mode != ("wal",) or level != (2,):
        raise JournalWriteError(f"{path}: WAL with synchronous=FULL cannot be had on this disk")
    # A checkpoint in the middle of a payment would stand between press and request; see tidy.
    db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    db.execute("PRAGMA secure_delete = ON").fetchall()
    if is_unborn:
        schema.create(db, secrets.token_bytes(32), at)
        files.sync_folder(path)
    else:
        schema.bring_up(db, version)


def refuse_gaps(db: sqlite3.Connection, path: Path) -> None:
    """Rows are numbered without a gap and never deleted.

    SQLite takes a `-wal` for this database's own whose pages belong to another copy of it; what
    comes of that can look sound page by page.

    Raises:
        JournalDamagedError: A number is missing.
    """
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'row'").fetchone() is None:
        return
    count, last = db.execute("SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM row").fetchone()
    if count != last:
        raise JournalDamagedError(f"{path} is damaged: {last - count} of {last} rows are missing")


def refuse_damage(db: sqlite3.Connection, path: Path) -> None:
    """Read all of it, every value too: a kiosk finds a damaged row only when it needs that one.

    Raises:
        JournalDamagedError: Something in it cannot be read.
    """
    try:
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if not all(map(is_row, db.execute(ALL_ROWS))):
            found = "a row cannot be read"
    except (sqlite3.Error, ValueError) as error:
        found = str(error)
    if found != "ok":
        raise JournalDamagedError(f"{path} is damaged: {found}")


def mac_key(db: sqlite3.Connection) -> bytes:
    """The device's key for what is kept of spent codes.

    Raises:
        JournalDamagedError: It is gone.
    """
    found = db.execute("SELECT mac_key FROM device").fetchone()
    if found is None or not isinstance(found[0], bytes):
        raise JournalDamagedError("the journal has lost the key by which it knows spent codes")
    return found[0]


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's errors by what the caller may now do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in _DAMAGED or (type(error) is sqlite3.OperationalError and primary is None):
            raise JournalDamagedError(f"{path} is damaged: {error}") from error
        raise JournalWriteError(f"{path} cannot be used: {error}{_advice(primary)}") from error
    except UnicodeDecodeError as error:  # SQLite tells of damage in words that are damaged
        raise JournalDamagedError(f"{path} is damaged: {error.reason}") from error


# A plain SQLITE_ERROR: a table or column is missing, as every statement here is a constant. Without
# any code: a text is none ("Could not decode to UTF-8").
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


_ADVICE: dict[int, str] = {
    sqlite3.SQLITE_FULL: "; free some space on this disk",
    sqlite3.SQLITE_READONLY: "; mount it writable, or mend its owner and mode",
    sqlite3.SQLITE_CANTOPEN: "; mend the owner and mode of the file and its folder",
    sqlite3.SQLITE_IOERR: "; the disk fails: replace the card",
    sqlite3.SQLITE_BUSY: "; another program holds it",
}


def _advice(primary: int | None) -> str:
    return _ADVICE.get(primary, "") if primary is not None else ""
