"""The files around a journal: lock, mark of existence, spill and reserve.

For a journal `journal.db` these are `journal.db.lock`, `.made`, `.init`, `.spill` and `.reserve`.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from kiosk.errors import JournalBusyError, JournalMissingError, JournalWriteError

RESERVE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = "-refused"


def beside(path: Path, suffix: str) -> Path:
    """The file of this journal with this suffix."""
    return path.with_name(path.name + suffix)


def sync_folder(path: Path) -> None:
    """Make the names in the folder of `path` durable.

    A disk that fails here is not always reported by the kernel; the next fsync of data is.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Lock:
    """Holds the journal for one writing process; the kernel lets go when the process dies."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            JournalBusyError: Another process has it.
            JournalWriteError: The folder cannot be written.
        """
        file = beside(path, ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalWriteError(
                f"{file}: {error.strerror}; the kiosk needs to write in this folder"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise JournalWriteError(f"{file}: {error.strerror}") from error
            raise JournalBusyError(
                f"{path} is in use by another process (is `kiosk run` running already? "
                "Stop it: sudo systemctl stop kiosk)"
            ) from error

    def close(self) -> None:
        """Let go. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def traces_of_earlier(path: Path) -> list[Path]:
    """What tells that a journal stood here before."""
    names = [beside(path, suffix) for suffix in (".made", ".init", "-wal", "-shm", ".spill")]
    asides = sorted(path.parent.glob(path.name + ".aside-*")) if path.parent.is_dir() else []
    return [name for name in (*names, *asides) if name.exists()]


def refuse_silent_beginning(path: Path) -> None:
    """Where a journal is gone, staff decide; spent codes are never forgotten in silence.

    Raises:
        JournalMissingError: Something beside it tells of an earlier one.
    """
    if traces := traces_of_earlier(path):
        raise JournalMissingError(
            f"{path} is missing or empty, but {traces[0].name} tells of an earlier one. Put it "
            "back; or, if it is lost for good, start a new one with `kiosk journal init`"
        )


def move_aside(path: Path, now: datetime, *, is_ours: bool = True) -> list[Path]:
    """Put what is left of a journal out of the way, whole; nothing of it is deleted.

    A spill stays: the journal that is in force next takes the outcomes in it.

    Args:
        path: The journal.
        now: Names what lies aside.
        is_ours: It was in force here; else its payments are not this kiosk's.

    Returns:
        Where the parts are now.
    """
    moved, aside = [], _free_aside(path, now)
    if not is_ours:
        beside(aside, _REFUSED).touch(mode=0o600)  # first: a cut must not make its payments ours
    for suffix in ("", "-wal", "-shm"):
        part = beside(path, suffix)
        if part.exists():
            part.rename(beside(aside, suffix))
            moved.append(beside(aside, suffix))
    if moved:
        sync_folder(path)
    return moved


def _free_aside(path: Path, now: datetime) -> Path:
    """A name that nothing has: a rename over what lies aside already would delete it."""
    while True:
        aside = beside(path, f".aside-{now:%Y%m%dT%H%M%SZ}")
        if not any(path.parent.glob(aside.name + "*")):
            return aside
        now += timedelta(seconds=1)


def keep_aside(path: Path, db: sqlite3.Connection, now: datetime) -> Path:
    """Write what an open database holds to a file of its own, durably.

    Raises:
        sqlite3.Error, OSError: It could not be written.
    """
    aside = _free_aside(path, now)
    release_reserve(path)  # what is open has no name any more: this is its only chance
    db.execute("VACUUM INTO ?", (str(aside),))
    with aside.open("rb+") as file:
        os.fchmod(file.fileno(), 0o600)
        os.fsync(file.fileno())
    sync_folder(path)
    return aside


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands beside a journal about it, so that a lost or replaced one is noticed.

    Attributes:
        identity: Of the journal: the same for all its copies.
        opened: How often it had been opened or folded in; an older copy was so less often.
        rows: How many it had at least.
        folded: `opened` as it stood in the database alone, without its `-wal`.
    """

    identity: str
    opened: int
    rows: int
    folded: int


def read_mark(path: Path) -> Mark | None:
    """What the mark tells; None where there is none, or one of an older version, which is empty."""
    try:
        identity, *numbers = beside(path, ".made").read_bytes().split()
        opened, rows, folded = map(int, numbers)
        return Mark(identity.decode(), opened, rows, folded)
    except (OSError, ValueError):
        return None


def moved_aside(path: Path) -> list[Path]:
    """Databases that stood here before, oldest first; of one that a cut parted, each part."""
    found = path.parent.glob(path.name + ".aside-*")
    others = ("-shm", ".spill", _REFUSED)
    parts = {part.name.removesuffix("-wal") for part in found if not part.name.endswith(others)}
    return [path.with_name(name) for name in sorted(parts)]


def aside_before(path: Path, moment: datetime) -> list[Path]:
    """Databases that were moved aside before then, where the file itself is there."""
    begin = beside(path, f".aside-{moment:%Y%m%dT%H%M%SZ}").name
    return [aside for aside in moved_aside(path) if aside.name < begin and aside.exists()]


def was_refused(aside: Path) -> bool:
    """Whether it is another kiosk's: its payments are not this one's."""
    return beside(aside, _REFUSED).exists()


def begin_init(path: Path) -> None:
    """From now on nobody sells with this journal, until everything was taken over."""
    beside(path, ".init").touch(mode=0o600)
    sync_folder(path)


def end_init(path: Path) -> None:
    """Everything was taken over, durably."""
    beside(path, ".init").unlink()
    sync_folder(path)


def is_init_unfinished(path: Path) -> bool:
    """Whether staff began to put a journal in force, and a cut came between."""
    return beside(path, ".init").exists()


def mark_made(path: Path, mark: Mark) -> None:
    """Leave the mark, in one step and durably."""
    new = beside(path, ".made.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{mark.identity} {mark.opened} {mark.rows} {mark.folded}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(beside(path, ".made"))
    sync_folder(path)


def size_of(path: Path) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def keep_reserve(path: Path) -> None:
    """Hold back some space, so that an outcome can be written on a full disk.

    Raises:
        JournalWriteError: The disk has no such space left; what can be sold now may not be
            recordable.
    """
    reserve = beside(path, ".reserve")
    if size_of(reserve) >= RESERVE_BYTES:
        return
    try:
        fd = os.open(reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        finally:
            os.close(fd)
    except OSError as error:
        release_reserve(path)  # a part of it may have been taken
        if error.errno in _FULL:
            raise JournalWriteError(
                f"{path.parent}: this disk is full; free some space on it"
            ) from error
        # Some file systems cannot reserve; rows can be written all the same.


def release_reserve(path: Path) -> None:
    """Give the space held back to the row that needs it now."""
    with contextlib.suppress(OSError):
        beside(path, ".reserve").unlink(missing_ok=True)


def append_spill(path: Path, line: bytes) -> None:
    """Write an outcome beside the journal, durably; behind a line that was torn, if need be.

    Raises:
        OSError: Not even that was possible.
    """
    spill = beside(path, ".spill")
    fd = os.open(spill, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(b"\n" + line + b"\n")
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path)


def read_spill(path: Path) -> list[bytes]:
    """The whole lines of the spill; a torn last line was never promised to anybody.

    Raises:
        JournalWriteError: It is there and cannot be read; what it holds must not be forgotten.
    """
    spill = beside(path, ".spill")
    try:
        content = spill.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalWriteError(
            f"{spill} holds outcomes and cannot be read: {error.strerror}; mend owner and mode, or "
            "the disk"
        ) from error
    return [line for line in content.split(b"\n")[:-1] if line]


def clear_spill(path: Path) -> None:
    """Everything in it is durable in the journal now.

    Raises:
        JournalWriteError: The disk does not let it go.
    """
    spill = beside(path, ".spill")
    try:
        if spill.exists():
            spill.unlink()
            sync_folder(path)
    except OSError as error:
        raise JournalWriteError(f"{spill}: {error.strerror}") from error
