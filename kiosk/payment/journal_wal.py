"""What SQLite does not tell of a `-wal`: that it stops reading at a page that was damaged.

At a start it takes the commits up to the first frame whose checksum is wrong, and is silent about
all that follow. After a power cut that is right: what follows was never promised. After damage in
the middle it would forget payments, so what follows is looked at before SQLite is let near it.
"""

import struct
from pathlib import Path

from kiosk.errors import JournalDamagedError
from kiosk.payment import journal_files as files

_HEAD = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log; by the order of bytes."""
_WORD = 0xFFFFFFFF
_LEAST_PAGE_BYTES = 512

Sums = tuple[int, int]


def refuse_broken_wal(path: Path) -> None:
    """Where commits stand behind damage, they were promised; nobody may go on without them.

    Every commit was on the disk before the next one began, so a cut of the power leaves at most
    one that is not whole, at the end.

    Args:
        path: The database; its `-wal` may be missing.

    Raises:
        JournalDamagedError: Commits stand behind a frame that SQLite would stop at.
        OSError: It cannot be read.
    """
    wal = files.beside(path, "-wal")
    if wal.exists() and is_broken(wal.read_bytes()):
        raise JournalDamagedError(
            f"{wal} is damaged: payments stand behind a part that cannot be read"
        )


def is_broken(wal: bytes) -> bool:
    """Whether a commit is followed by another one, and SQLite would read neither."""
    if len(wal) < _HEAD.size:
        return False  # nothing was ever committed in it
    magic, _, page_bytes, _, *salts, _, _ = _HEAD.unpack_from(wal)
    step = _FRAME.size + page_bytes
    order = _MAGIC.get(magic, "<")
    sums = _sums(wal[: _HEAD.size - 8], (0, 0), order)
    is_head = magic in _MAGIC and page_bytes >= _LEAST_PAGE_BYTES
    if not is_head or sums != _HEAD.unpack_from(wal)[6:]:
        # The head is synced before anything follows it.
        return any(wal[_HEAD.size :])
    place, is_read = _HEAD.size, True
    was_commit = False
    while place + step <= len(wal):
        _, size_after, *found, first, second = _FRAME.unpack_from(wal, place)
        follows = found == salts and (
            _sums(wal[place + 24 : place + step], _sums(wal[place : place + 8], sums, order), order)
            == (first, second)
        )
        if not is_read and follows and was_commit:
            return True
        is_read = is_read and follows
        # Each checksum goes on from the one before, so what stands behind damage still proves
        # that it was written after it.
        sums, was_commit = (first, second), found == salts and size_after != 0
        place += step
    return False


def _sums(data: bytes, start: Sums, order: str) -> Sums:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
