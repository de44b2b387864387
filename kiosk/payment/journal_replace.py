"""Staff decide which journal is in force: a new one, the one that stands there, or a copy.

Nothing is deleted: what was in force is moved aside whole, and what it knows of spent codes is
taken over.
"""

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from kiosk.errors import (
    JournalDamagedError,
    JournalError,
    JournalMissingError,
    JournalReplacedError,
    JournalWriteError,
)
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal
from kiosk.payment.journal_import import salvage
from kiosk.payment.journal_sqlite import refuse_damage
from kiosk.payment.journal_wal import refuse_broken_wal


def put_in_force(path: Path, source: Path | None) -> list[str] | None:
    """Make the journal at `path` one that a kiosk can go on with.

    Args:
        path: Of the kiosk's journal.
        source: A copy to put there; None to keep what is sound, or else begin anew.

    Returns:
        What was done, a sentence each; None where nothing had to be.

    Raises:
        JournalError: It could not be done; what was in force is where it was, or aside.
        JournalBusyError: The kiosk runs.
    """
    try:
        return _put_in_force(path, source)
    except OSError as error:
        raise JournalError(f"{error.filename or path}: {error.strerror}") from error


def _put_in_force(path: Path, source: Path | None) -> list[str] | None:
    told = []
    if source is not None:
        if source.resolve() == path.resolve():
            raise JournalError(f"{source} is the kiosk's own journal; name a copy of it")
        _refuse_damaged(source)
        is_ours = not _is_anothers(path)
        files.begin_init(path)
        told += _replace(path, source, is_ours=is_ours)
    else:
        try:
            with closing(Journal.open(path)) as journal:
                journal.refuse_damage()
        except JournalDamagedError:
            files.begin_init(path)
            told += _move_aside(path)
        except JournalReplacedError:
            files.begin_init(path)
            told.append(f"{path} is in force from now on, as it stands there")
        except JournalMissingError:
            files.begin_init(path)
        else:
            return None
        if not path.exists() or path.stat().st_size == 0:
            told.append(f"{path} is new")
    with closing(Journal.open(path, new=True)) as journal:
        told += _take_over(journal)
        files.end_init(path)
    return told


def _is_anothers(path: Path) -> bool:
    """Whether what stands there is a journal that never was in force here."""
    try:
        Journal.open(path).close()
    except JournalReplacedError as error:
        return error.is_anothers
    except (JournalDamagedError, JournalMissingError, JournalWriteError):
        pass
    return False


def _refuse_damaged(source: Path) -> None:
    if source.exists():
        refuse_broken_wal(source)
    with closing(Journal.open_to_read(source)) as db:
        refuse_damage(db, source)


def _move_aside(path: Path, *, is_ours: bool = True) -> list[str]:
    lock = files.Lock(path)
    try:
        moved = files.move_aside(path, datetime.now(UTC), is_ours=is_ours)
    finally:
        lock.close()
    return [f"what was there is kept: {part}" for part in moved if not part.name.endswith("-shm")]


def _replace(path: Path, source: Path, *, is_ours: bool) -> list[str]:
    told = _move_aside(path, is_ours=is_ours)
    for line in files.read_spill(source):
        files.append_spill(path, line)  # twice is no harm: the same outcome is one row
    # The WAL first: a database without its own would be an older state of it.
    for suffix in ("-wal", ""):
        part = files.beside(source, suffix)
        if part.exists():
            new = files.beside(path, f".new{suffix}")
            shutil.copyfile(part, new)
            with new.open("rb+") as file:
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
            new.replace(files.beside(path, suffix))
    files.sync_folder(path)
    return [*told, f"{source} is in force now"]


def _take_over(journal: Journal) -> list[str]:
    """From everything that was ever moved aside here, as often as it is asked."""
    told = []
    for aside in files.moved_aside(journal.path):
        try:
            found = salvage(aside, journal.key)
        except OSError as error:
            told.append(f"{aside}: {error.strerror}; the codes it knows are NOT recognised")
            continue
        codes, rows = journal.take_over(found, rows=not files.was_refused(aside))
        told.append(f"{codes} spent codes were taken over from {aside.name}, and {rows} rows")
        if files.was_refused(aside):
            told.append(f"{aside.name} never was in force here: its payments are not taken over")
        if not found.is_whole:
            lost = f" ({found.missing} rows are missing between others)" if found.missing else ""
            told.append(
                f"{aside.name} could not be read whole{lost}: some codes charged before may NOT be "
                "recognised; compare the day with the provider's cabinet"
            )
    if not told:
        told.append("there is no earlier journal here: codes charged before are NOT recognised")
    return told
