"""The card under the journal, looked at while nobody pays.

A customer should not be the one who finds out that it is full, read-only, failing or slow.
"""

import os
import time
from pathlib import Path

from kiosk.core.paying import SEND_WITHIN_S
from kiosk.errors import JournalMissingError, JournalReplacedError, JournalWriteError
from kiosk.payment.journal import Journal

LOOK_EVERY_S = 5.0
"""Costs no write: the kernel knows all of it."""
PROBE_EVERY_S = 300.0
"""Since the last row. Only a write shows a card that fails or is slow; each wears it a little,
see kiosk/README.md."""
NEEDED_BYTES = 512 * 1024
"""A dozen payments and their folding into the database, beside what is held in reserve."""
NEEDED_FILES = 4


class Disk:
    """Main thread only."""

    def __init__(self, path: Path, now_s: float) -> None:
        """`now_s`: opening the journal has just written to it."""
        self._path = path
        self._file: tuple[int, int] | None = None
        self._wrote_at_s = now_s
        self._took_s = 0.0

    def wrote(self, took_s: float, now_s: float) -> None:
        """A row became durable, in this time."""
        self._wrote_at_s, self._took_s = now_s, took_s

    def opened_anew(self) -> None:
        """What stands in the journal's place now is the one in use."""
        self._file = None

    def check(self) -> None:
        """What can be known without writing.

        Raises:
            JournalWriteError: The disk is full, or read-only.
            JournalMissingError, JournalReplacedError: The file that is open has left its place.
        """
        folder = self._path.parent
        try:
            disk = os.statvfs(folder)
        except OSError as error:
            raise JournalWriteError(f"{folder}: {error.strerror}; replace the card") from error
        if disk.f_flag & os.ST_RDONLY:
            raise JournalWriteError(
                f"{folder}: this disk is read-only; restart, and if it comes again replace the card"
            )
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < NEEDED_BYTES or (disk.f_files and disk.f_favail < NEEDED_FILES):
            raise JournalWriteError(f"{folder}: this disk is full; free some space on it")
        self._check_place()

    def _check_place(self) -> None:
        try:
            about = self._path.stat()
        except FileNotFoundError as error:
            raise JournalMissingError(
                f"{self._path} was taken away while the kiosk runs; put it back, then restart"
            ) from error
        except OSError as error:
            raise JournalWriteError(f"{self._path}: {error.strerror}") from error
        found = (about.st_dev, about.st_ino)
        if self._file not in (None, found):
            raise JournalReplacedError(
                f"{self._path} was replaced while the kiosk runs; what is charged now would not be "
                "in it: put the right one there, then restart"
            )
        self._file = found

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
