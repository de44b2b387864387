"""The append-only record of every payment: SQLite, WAL, synchronous=FULL, one writer.

A method that returns has made its row durable; one that raises JournalWriteError has not, and
the row may or may not surface after a restart. After such an error the journal is used no
more until it was opened anew.
"""

import contextlib
import hashlib
import hmac
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiosk.core.intent import Answer, Intent, Outcome, RowKind, standing_of
from kiosk.errors import (
    CodeSpentError,
    JournalError,
    JournalReplacedError,
    JournalWriteError,
)
from kiosk.payment import journal_files as files
from kiosk.payment import journal_schema as schema
from kiosk.payment.journal_place import Place
from kiosk.payment.journal_questions import Questions, asks, other_keys
from kiosk.payment.journal_rows import Row
from kiosk.payment.journal_sqlite import (
    forget_personal_data,
    open_file,
    open_to_look,
    opened_without_wal,
    refuse_damage,
    set_up,
    translated,
)
from kiosk.payment.journal_wal import refuse_broken_wal

if TYPE_CHECKING:
    from kiosk.payment.journal_import import Salvage

log = logging.getLogger(__name__)

WAL_KEPT_BYTES = 256 * 1024
"""About a dozen payments. Folding the WAL in more often writes the same pages more often."""
WAL_KEPT_S = 24 * 3600.0
"""Only folding it in removes what was erased from the disk as well."""
_OUTCOME_ROW = {outcome: RowKind(outcome.value) for outcome in Outcome}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Journal(Questions):
    """Owned by the payment process's main thread, or by one staff command at a time.

    Attributes:
        is_clock_confirmed: Whether a time server or the box vouches for the wall clock; a row
            written while nobody does says so.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, lock: files.Lock) -> None:
        super().__init__(path, db)
        self._lock = lock
        self._boot = _boot_id()
        self._folded_at_s = _boot_s()
        self._folded = 0
        self._place = Place(path)
        self._has_failed = False
        self.is_clock_confirmed = True

    @classmethod
    def open(cls, path: Path, *, new: bool = False) -> "Journal":
        """Open for writing, or create where nothing tells of an earlier one.

        Args:
            path: The database file.
            new: Staff decided: to begin anew although traces of an earlier one exist, or to go
                on with what stands there now.

        Raises:
            JournalBusyError, JournalMissingError, JournalDamagedError, JournalNewerError,
                JournalReplacedError: As they say.
            JournalWriteError: It can be read perhaps, but no row can be written.
        """
        lock = files.Lock(path)
        db = looking = None
        try:
            # A file without content is what a failing card leaves of one.
            if not path.exists() or path.stat().st_size == 0:
                if new:
                    files.move_aside(path, datetime.now(UTC))
                else:
                    files.refuse_silent_beginning(path)
            refuse_broken_wal(path)
            left = files.read_mark(path)
            folded = opened_without_wal(path, left.folded if left else 0) if path.exists() else 0
            with translated(path):
                db = open_file(path)
                looking = open_to_look(path)
                set_up(db, path, _now())
                journal = cls(path, db, lock)
                journal._folded = folded
                if not new:
                    journal._refuse_replaced()
                journal.probe()
                journal._place.has_begun()
                looking.close()
            files.mark_made(path, journal._mark())
        except BaseException as error:
            # In this order: what is refused stays as it is, and the last to leave would fold the
            # WAL in, if it might write.
            for connection in (db, looking):
                if connection is not None:
                    connection.close()
            lock.close()
            if isinstance(error, OSError):
                raise JournalWriteError(f"{path}: {error.strerror}") from error
            raise
        return journal

    @classmethod
    def open_to_read(cls, path: Path) -> sqlite3.Connection:
        """A connection that sees what is durable and can change nothing.

        Raises:
            JournalError: There is none, or it cannot be read.
        """
        if not path.exists():
            files.refuse_silent_beginning(path)
            raise JournalError(f"there is no journal at {path} yet")
        with translated(path):
            uri = path.absolute().as_uri() + "?mode=ro"
            db = sqlite3.connect(uri, uri=True, isolation_level=None)
            try:
                db.execute("PRAGMA busy_timeout = 2000").fetchall()
                schema.check(db)
            except BaseException:
                db.close()
                raise
        return db

    def close(self) -> None:
        """Let go of the file and the lock. Safe to call twice."""
        mark = None
        with contextlib.suppress(sqlite3.Error):
            if not self._has_failed and not self._db.in_transaction:
                mark = self._mark()  # else nobody knows which rows are on the disk
        with contextlib.suppress(sqlite3.Error):
            self._db.close()  # nothing is lost: every row was durable when its method returned
        if mark is not None and self._place.has_database:
            with contextlib.suppress(OSError):
                folded = opened_without_wal(self.path, mark.folded)
                files.mark_made(self.path, replace(mark, folded=folded))
        self._lock.close()

    # Rows

    def record_sending(self, intent: Intent) -> None:
        """Announce the request, and spend the code.

        Raises:
            CodeSpentError: The code was submitted before.
            JournalWriteError: Not durable; the request must not be sent.
        """
        mac = self.mac_of(intent.code)
        with self._durable():
            if self._db.execute("SELECT 1 FROM spent WHERE mac = ?", (mac,)).fetchone():
                raise CodeSpentError("this code was submitted before")
            if self._spent_earlier(intent.code) is not None:
                raise CodeSpentError("an earlier journal knows this code")
            self._append(intent, RowKind.SENDING, {"code": intent.code.masked})
            self._db.execute("INSERT INTO spent (mac, intent) VALUES (?, ?)", (mac, intent.id))
            self._db.execute(
                "INSERT INTO secret (intent, at, code) VALUES (?, ?, ?)",
                (intent.id, _now(), intent.code.digits),
            )

    def record_outcome(self, intent_id: str, answer: Answer, *, late: bool = False) -> None:
        """State how an announced request ended. The same statement twice is one row.

        Raises:
            JournalWriteError: Not durable; tell nobody.
        """
        kind = _OUTCOME_ROW[answer.outcome]
        body: dict[str, Any] = {"detail": answer.detail, "facts": answer.facts}
        if answer.transaction_id is not None:
            body["transaction_id"] = answer.transaction_id
        if answer.flags:
            body["flags"] = list(answer.flags)
        if late:
            body["late"] = True
        with self._durable():
            rows = self.rows(intent_id)
            if not any(r.kind is kind and r.payment_id == answer.payment_id for r in rows):
                self._append_to(intent_id, kind, body, answer.payment_id)
            # Not what this answer says: what all rows say. Staff may have stated otherwise, and
            # then the code stays spent, and what was kept for a dispute stays.
            stands = standing_of(row.kind for row in self.rows(intent_id))
            if stands.outcome is Outcome.NOT_SENT:
                self._db.execute("DELETE FROM spent WHERE intent = ?", (intent_id,))
            if stands.outcome in (Outcome.NOT_SENT, Outcome.DECLINED):
                self._db.execute("DELETE FROM secret WHERE intent = ?", (intent_id,))
            elif answer.phone is not None or answer.raw is not None:
                # A late answer adds to what is there, or stands alone where that was erased.
                self._db.execute(
                    "INSERT INTO secret (intent, at, phone, answer) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (intent) DO UPDATE SET phone = coalesce(excluded.phone, phone),"
                    " answer = coalesce(excluded.answer, answer)",
                    (intent_id, _now(), answer.phone, answer.raw),
                )

    def record_not_sent(self, intent: Intent, detail: str) -> None:
        """An intent that was confirmed and never announced; its code is not spent.

        Raises:
            JournalWriteError: Not durable.
        """
        with self._durable():
            self._append(intent, RowKind.NOT_SENT, {"code": intent.code.masked, "detail": detail})

    def record_resolution(
        self, intent_id: str, outcome: Outcome, by: str, why: str, payment_id: str | None
    ) -> None:
        """Staff state how an unknown intent ended: a row of its own, never an edit.

        Raises:
            JournalWriteError: Not durable.
        """
        kind = RowKind(f"resolved_{outcome.value}")
        with self._durable():
            self._append_to(intent_id, kind, {"by": by, "why": why}, payment_id)

    def probe(self) -> None:
        """Show that a row could be made durable now.

        Raises:
            JournalWriteError: It could not.
        """
        with self._durable():
            self._db.execute("UPDATE device SET probed = probed + 1")

    def tidy(self, keep_days: int | None) -> None:
        """Erase what was kept too long; fold a WAL that has grown into the database.

        For quiet moments: a checkpoint takes its time, and none may stand between a press and
        its request.

        Args:
            keep_days: None while the clock cannot tell what is old.

        Raises:
            JournalWriteError: It could not.
        """
        if keep_days is not None and self._erase(keep_days):
            self._folded_at_s = float("-inf")
        is_long = files.size_of(files.beside(self.path, "-wal")) > WAL_KEPT_BYTES
        if is_long or _boot_s() - self._folded_at_s > WAL_KEPT_S:
            with translated(self.path):
                is_busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if is_busy:
                return  # a reader stands in the way: next time
            self._folded_at_s = _boot_s()
            self._folded = self._mark().opened
            # The new WAL begins with what the mark knows: whoever loses it is found out.
            self.probe()
            try:
                files.mark_made(self.path, self._mark())
            except OSError as error:
                raise JournalWriteError(f"{self.path}: {error.strerror}") from error

    def _erase(self, keep_days: int) -> bool:
        """Whether there was something that is older than it may be."""
        now = datetime.now(UTC)
        oldest = (now - timedelta(days=keep_days)).isoformat(timespec="seconds")
        # Written while the clock was ahead: kept from now on, neither for ever nor too short.
        newest = (now + timedelta(days=1)).isoformat(timespec="seconds")
        with translated(self.path):
            query = "SELECT SUM(at < ?), SUM(at > ?) FROM secret"
            old, ahead = self._db.execute(query, (oldest, newest)).fetchone()
        if old or ahead:
            with self._durable():
                self._db.execute("DELETE FROM secret WHERE at < ?", (oldest,))
                self._db.execute("UPDATE secret SET at = ? WHERE at > ?", (_now(), newest))
        self._forget_aside(now - timedelta(days=keep_days))
        return bool(old)

    def _forget_aside(self, before: datetime) -> None:
        for aside in files.aside_before(self.path, before):
            try:
                forget_personal_data(aside)
            except sqlite3.Error as error:
                # Deleting it whole would also delete what somebody may still read out of it.
                about = {"file": aside.name, "detail": str(error)}
                log.warning("a damaged journal keeps personal data; delete it", extra=about)

    # Questions about time, and staff's

    @asks
    def age_s(self, row: Row) -> float:
        """Seconds since a row was written; 0 where the clock was set back since."""
        if row.boot == self._boot:
            return max(0.0, _boot_s() - row.boot_s)
        written = datetime.fromisoformat(row.at)
        return max(0.0, (datetime.now(UTC) - written).total_seconds())

    def refuse_damage(self) -> None:
        """Raises JournalDamagedError where anything in it cannot be read."""
        refuse_damage(self._db, self.path)

    def take_over(self, found: "Salvage", *, rows: bool) -> tuple[int, int]:
        """Know what an earlier journal knows as well.

        Args:
            found: What could be read of it.
            rows: Its payments too, not only which codes are spent.

        Returns:
            How many spent codes, and how many rows, were not known yet.

        Raises:
            JournalWriteError: Not durable; take them over again.
        """
        from kiosk.payment.journal_import import put_rows, put_spent  # staff's, not a start's

        with self._durable():
            codes = put_spent(self._db, self._mac_key, found)
            count = put_rows(self._db, found) if rows else 0
        self._other_keys = other_keys(self._db)
        return codes, count

    @property
    def key(self) -> bytes:
        """The device's key for spent codes. Secret."""
        return self._mac_key

    # Inside

    def _mark(self) -> files.Mark:
        identity = hmac.digest(self._mac_key, b"which journal this is", hashlib.sha256)[:8].hex()
        (opened,) = self._db.execute("SELECT probed FROM device").fetchone()
        (rows,) = self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM row").fetchone()
        return files.Mark(identity, opened, rows, self._folded)

    def _refuse_replaced(self) -> None:
        """What was charged since a copy was made is not in it: staff decide.

        Raises:
            JournalReplacedError: The mark beside it tells of another one, or of a later state.
        """
        if files.is_init_unfinished(self.path):
            raise JournalReplacedError(
                f"{self.path} was to be put in force, and what earlier ones know was not taken "
                "over to the end: run `kiosk journal init` again"
            )
        left, here = files.read_mark(self.path), self._mark()
        if left is None:
            return
        is_same = left.identity == here.identity
        is_later = (
            left.opened <= here.opened and left.rows <= here.rows and left.folded <= here.folded
        )
        if is_same and is_later:
            return
        what = "an older copy" if is_same else "another journal"
        error = JournalReplacedError(
            f"{self.path} is {what}, not the journal that was last in use here: what was charged "
            "since is not in it. Put the right one back; or go on with this one: "
            "`kiosk journal init`"
        )
        error.is_anothers = not is_same
        raise error

    def _append(self, intent: Intent, kind: RowKind, body: dict[str, Any]) -> None:
        body = {"offer": intent.offer.label, **body}
        self._insert(intent.id, kind, body, None, intent.offer.amount_sum, intent.offer.reference)

    def _append_to(
        self, intent_id: str, kind: RowKind, body: dict[str, Any], payment_id: str | None
    ) -> None:
        self._insert(intent_id, kind, body, payment_id, None, None)

    def _insert(
        self,
        intent_id: str,
        kind: RowKind,
        body: dict[str, Any],
        payment_id: str | None,
        amount_sum: int | None,
        reference: str | None,
    ) -> None:
        if not self.is_clock_confirmed:
            body = {**body, "clock": "unconfirmed"}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        # What staff type may hold bytes that are no text.
        text = text.encode("utf-8", "replace").decode()
        self._db.execute(
            "INSERT INTO row (intent, kind, at, boot, boot_s, amount_sum, reference, payment_id,"
            " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                intent_id,
                kind.value,
                _now(),
                self._boot,
                round(_boot_s(), 3),
                amount_sum,
                reference,
                payment_id,
                text,
            ),
        )

    def refuse_moved(self) -> None:
        """A row in a file that has lost its name is a row that nobody ever reads.

        Raises:
            JournalReplacedError: Another database stands there; what was in this one lies aside.
            JournalWriteError: The `-wal` is gone; opening anew puts its rows into the database.
        """
        try:
            if self._place.has_database and self._place.has_wal:
                return
            if self._place.has_database:
                raise JournalWriteError(f"{self.path}-wal was taken away while it was in use")
            with translated(self.path):
                aside = files.keep_aside(self.path, self._db, datetime.now(UTC))
        except OSError as error:
            raise JournalWriteError(f"{self.path}: {error.strerror}") from error
        raise JournalReplacedError(
            f"{self.path} was taken away or exchanged while it was in use. What it held is kept: "
            f"{aside}. Put it back with `kiosk journal init --from`, or go on with what stands "
            "there: `kiosk journal init`"
        )

    @contextmanager
    def _durable(self) -> Iterator[None]:
        self.refuse_moved()
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._has_failed = True
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()[:8]
    except OSError:
        return "unknown"
