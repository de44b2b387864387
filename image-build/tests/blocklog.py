"""What QEMU's blklogwrites noted of a card, and the card as of any flush.

The format is that of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes):
a super block, then for each write or flush one sector that describes it, and its data.
"""

import struct
from dataclasses import dataclass

from card import SECTOR

MAGIC = 0x6A736677736872
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One write, flush or discard.

    Attributes:
        offset: Bytes on the card.
        size: Bytes; a flush has none.
        flags: See above.
        noted_at: Where it stands in the log; what happened earlier was noted before.
        data_at: Where its data stands in the log.
        ends_at: Where the log goes on; what happened later was noted behind it.
    """

    offset: int
    size: int
    flags: int
    noted_at: int
    data_at: int
    ends_at: int

    @property
    def is_flush(self):
        return bool(self.flags & FLUSH)


def entries_of(path):
    """Every entry whose end the log has, in the order in which they were done."""
    found, size = [], path.stat().st_size
    with path.open("rb") as log:
        magic, _, _, sector = _SUPER.unpack(log.read(_SUPER.size))
        assert magic == MAGIC, "no log of blklogwrites"
        at = sector
        while at + sector <= size:
            log.seek(at)
            where, sectors, flags, _ = _ENTRY.unpack(log.read(_ENTRY.size))
            length = 0 if flags & DISCARD else sectors * sector
            ends_at = at + sector + length
            if ends_at > size:
                break
            found.append(Entry(where * SECTOR, sectors * sector, flags, at, at + sector, ends_at))
            at = ends_at
    return found


class Rebuilt:
    """A card that is brought forward from flush to flush; `path` is a copy from before."""

    def __init__(self, path, log):
        self.path, self._log_path = path, log
        self.entries = entries_of(log)
        self._done = 0

    def flushes(self):
        """Goes through the log: at each flush, what was durable since the one before.

        Yields:
            (number of the flush, entries written since the last one, where the log stood when
            the next flush came): what had been seen outside by then, while the card need not have
            more than this. What is seen once the next flush is noted, that flush has answered for.
        """
        at_flush = [index for index, entry in enumerate(self.entries) if entry.is_flush]
        with self.path.open("r+b") as card, self._log_path.open("rb") as log:
            for number, index in enumerate(at_flush):
                new = self.entries[self._done : index]
                for entry in new:
                    self._apply(entry, card, log)
                card.flush()
                self._done = index + 1
                later = at_flush[number + 1] if number + 1 < len(at_flush) else None
                end = self.entries[-1].ends_at if later is None else self.entries[later].noted_at
                yield number, new, end

    @staticmethod
    def _apply(entry, card, log):
        if entry.size == 0:
            return
        card.seek(entry.offset)
        if entry.flags & DISCARD:
            card.write(bytes(entry.size))  # Cards may give anything back; zeros, as QEMU does.
            return
        log.seek(entry.data_at)
        card.write(log.read(entry.size))


def touches(entries, partition):
    """Whether any of these wrote into a partition."""
    end = partition.offset + partition.size
    return any(
        entry.size and entry.offset < end and entry.offset + entry.size > partition.offset
        for entry in entries
    )
