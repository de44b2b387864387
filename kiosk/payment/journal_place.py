"""Whether the files of an open journal still stand under their names.

A file that is moved, deleted or exchanged under a running kiosk goes on taking rows, and nobody
ever sees them again.
"""

from pathlib import Path

from kiosk.payment import journal_files as files

_Inode = tuple[int, int]


class Place:
    """The names and files of one open journal.

    Attributes:
        path: Of the database.
    """

    def __init__(self, path: Path) -> None:
        """Remember what stands there now. Raises OSError where nothing does."""
        self.path = path
        self._database = _inode_of(path)
        self._wal: _Inode | None = None

    @property
    def has_database(self) -> bool:
        """The database is the one that was opened."""
        return _is(self.path, self._database)

    @property
    def has_wal(self) -> bool:
        """So is its `-wal`, once `has_begun` was told that there is one."""
        return self._wal is None or _is(files.beside(self.path, "-wal"), self._wal)

    def has_begun(self) -> None:
        """A row was written, so there is a `-wal` now; it stays the same while this is open."""
        wal = files.beside(self.path, "-wal")
        self._wal = _inode_of(wal) if wal.exists() else None


def _is(path: Path, inode: _Inode) -> bool:
    try:
        return _inode_of(path) == inode
    except FileNotFoundError:
        return False


def _inode_of(path: Path) -> _Inode:
    found = path.stat()
    return found.st_dev, found.st_ino
