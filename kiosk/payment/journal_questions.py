"""What the deciding thread asks the journal; see `Journal`, which writes it."""

import hashlib
import hmac
import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Outcome, Standing, standing_of
from kiosk.errors import JournalDamagedError
from kiosk.payment.journal_rows import Row, rows_where, unresolved_in
from kiosk.payment.journal_sqlite import mac_key, translated

MAC_BYTES = 16

P = ParamSpec("P")
S = TypeVar("S", bound="Questions")
T = TypeVar("T")


def asks(question: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A question to the database; its errors come as JournalError."""

    @wraps(question)
    def asked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with translated(self.path):
            try:
                return question(self, *args, **kwargs)
            except (ValueError, TypeError) as error:
                # A value that this program never wrote: quick_check looks at pages, not at texts.
                raise JournalDamagedError(f"{self.path} is damaged: {error}") from error

    return asked


def mac_under(key: bytes, digits: str) -> bytes:
    """What is kept of a spent code forever; the key lives and dies with the rows."""
    return hmac.digest(key, digits.encode(), hashlib.sha256)[:MAC_BYTES]


def other_keys(db: sqlite3.Connection) -> list[bytes]:
    """Of earlier journals whose spent codes were taken over; hardly ever any."""
    return [key for (key,) in db.execute("SELECT DISTINCT mac_key FROM imported")]


class Questions:
    """An open journal, asked. Owned by whoever owns the connection.

    Attributes:
        path: Of the database.
    """

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._mac_key = mac_key(db)
        self._other_keys = other_keys(db)

    @asks
    def rows(self, intent_id: str) -> list[Row]:
        """All rows of one intent, oldest first."""
        return rows_where(self._db, "intent = ?", intent_id)

    @asks
    def standing(self, intent_id: str) -> Standing | None:
        """How an intent stands; None where there is no such intent."""
        rows = self.rows(intent_id)
        return standing_of(row.kind for row in rows) if rows else None

    @asks
    def spent(self, code: PaymeCode) -> Outcome | None:
        """How the earlier intent with this code stands, None for a code never submitted."""
        mac = self.mac_of(code)
        found = self._db.execute("SELECT intent FROM spent WHERE mac = ?", (mac,)).fetchone()
        if found is None:
            return self._spent_earlier(code)
        standing = self.standing(found[0])
        return (standing and standing.outcome) or Outcome.UNKNOWN

    @asks
    def knows_payment(self, payment_id: str | None, intent_id: str) -> bool:
        """Whether another intent has this payment_id."""
        if payment_id is None:
            return False
        query = "SELECT 1 FROM row WHERE payment_id = ? AND intent <> ?"
        return self._db.execute(query, (payment_id, intent_id)).fetchone() is not None

    @asks
    def consumed(self, reference: str) -> bool:
        """Whether an intent for a host's reference was approved, is unknown or still open."""
        query = "SELECT DISTINCT intent FROM row WHERE reference = ?"
        for (intent_id,) in self._db.execute(query, (reference,)).fetchall():
            standing = self.standing(intent_id)
            if standing and standing.outcome not in (Outcome.DECLINED, Outcome.NOT_SENT):
                return True
        return False

    @asks
    def unresolved(self) -> list[str]:
        """Intents that wait for staff: unknown, or in conflict with what staff stated."""
        return unresolved_in(self._db)

    @asks
    def announced_without_outcome(self) -> list[Row]:
        """The sending rows whose request had no word yet when the process ended."""
        query = "SELECT intent FROM row GROUP BY intent HAVING SUM(kind <> 'sending') = 0"
        found = [self.rows(i)[0] for (i,) in self._db.execute(query).fetchall()]
        return sorted(found, key=lambda row: row.seq)

    @asks
    def newest_at(self) -> str | None:
        """When the last row was written, by the clock of then (ISO 8601, UTC)."""
        found = self._db.execute("SELECT at FROM row ORDER BY seq DESC LIMIT 1").fetchone()
        if found is None:
            return None
        datetime.fromisoformat(found[0])  # whoever asks counts with it
        return str(found[0])

    @asks
    def last_outcomes(self, count: int) -> list[tuple[Row, Standing]]:
        """The newest intents, newest first: last row and standing."""
        # Backwards from the end: to group all of them takes longer with each payment ever made.
        query = (
            "SELECT intent FROM row AS first WHERE NOT EXISTS (SELECT 1 FROM row"
            " WHERE intent = first.intent AND seq < first.seq) ORDER BY seq DESC LIMIT ?"
        )
        found = []
        for (intent_id,) in self._db.execute(query, (count,)).fetchall():
            rows = self.rows(intent_id)
            found.append((rows[-1], standing_of(row.kind for row in rows)))
        return found

    def mac_of(self, code: PaymeCode) -> bytes:
        """What is kept of a spent code forever; the key lives and dies with the rows."""
        return mac_under(self._mac_key, code.digits)

    def _spent_earlier(self, code: PaymeCode) -> Outcome | None:
        for key in self._other_keys:
            mac = mac_under(key, code.digits)
            found = self._db.execute(
                "SELECT intent, outcome FROM imported WHERE mac_key = ? AND mac = ?", (key, mac)
            ).fetchone()
            if found is not None:
                # Staff may have resolved it since.
                standing = self.standing(found[0])
                return (standing and standing.outcome) or Outcome(found[1])
        return None
