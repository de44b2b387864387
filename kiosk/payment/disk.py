"""The card under the journal, looked at while nobody pays.

A customer should not be the one who finds out that it is full, read-only, failing or slow.
"""

import errno
import os
import time
from pathlib import Path

from kiosk.core.paying import SEND_WITHIN_S
from kiosk.errors import JournalWriteError
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal

LOOK_EVERY_S = 5.0
"""Costs no write: the kernel knows all of it."""
PROBE_EVERY_S = 300.0
"""Since the last row. Only a write shows a card that fails or is slow; each wears it a little,
see kiosk/README.md."""
NEEDED_BYTES = 512 * 1024
"""A dozen payments and their folding into the database, beside what is held in reserve."""
NEEDED_FILES = 4
_OF_THE_CARD = (errno.EROFS, errno.EIO, errno.ENXIO, errno.ENODEV)


class Disk:
    """Main thread only."""

    def __init__(self, path: Path, now_s: float) -> None:
        """`now_s`: opening the journal has just written to it."""
        self._path = path
        self._wrote_at_s = now_s
        self._took_s = 0.0

    def wrote(self, took_s: float, now_s: float) -> None:
        """A row became durable, in this time."""
        self._wrote_at_s, self._took_s = now_s, took_s

    def check(self) -> None:
        """What can be known without writing.

        Raises:
            JournalWriteError: The disk is full, or read-only.
        """
        folder = self._path.parent
        try:
            # Newer kernels tell of an ext4 that had errors to nobody else. Never the database:
            # closing a second descriptor of it would end SQLite's locks.
            os.close(os.open(files.beside(self._path, ".lock"), os.O_RDWR | os.O_CLOEXEC))
            disk = os.statvfs(folder)
        except OSError as error:
            if error.errno not in _OF_THE_CARD:
                return  # owner, mode or a folder that is gone: opening anew tells better
            advice = "restart, and if it comes again replace the card"
            raise JournalWriteError(f"{folder}: {error.strerror}; {advice}") from error
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < NEEDED_BYTES or (disk.f_files and disk.f_favail < NEEDED_FILES):
            raise JournalWriteError(f"{folder}: this disk is full; free some space on it")

    def look(self, journal: Journal, now_s: float, *, may_write: bool) -> None:
        """Check, and write where nothing was written for long.

        Args:
            journal: To write to.
            now_s: Monotonic.
            may_write: Nobody is waiting: lamp and buzzer stand still while a card takes its time.

        Raises:
            JournalError: A row could not be made durable now, or only too late.
        """
        self.check()
        journal.refuse_moved()
        self._refuse_slow()
        if may_write and now_s - self._wrote_at_s >= PROBE_EVERY_S:
            self.prove(journal, now_s)

    def prove(self, journal: Journal, now_s: float) -> None:
        """Write, and see how long it takes.

        Raises:
            JournalError: See `look`.
        """
        self.check()
        began_s = time.monotonic()
        journal.probe()
        self.wrote(time.monotonic() - began_s, now_s)
        self._refuse_slow()

    def _refuse_slow(self) -> None:
        if self._took_s >= SEND_WITHIN_S:
            raise JournalWriteError(
                f"{self._path.parent}: this disk took {self._took_s:.0f} s for a row; replace the "
                "card"
            )
