"""A journal that a later or an earlier kiosk wrote."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.errors import JournalError
from kiosk.payment import journal_schema as schema
from kiosk.payment.journal import Journal

ADDITION = """
ALTER TABLE row ADD COLUMN tip_sum INTEGER DEFAULT 0;
CREATE TABLE receipt (intent TEXT PRIMARY KEY, url TEXT);
CREATE TRIGGER receipt_stays BEFORE DELETE ON receipt
    BEGIN SELECT RAISE(ABORT, 'receipts stay'); END;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def sell(path: Path, number: int) -> None:
    with contextlib.closing(Journal.open(path)) as journal:
        intent = Intent(f"intent-{number}", Offer(1000, "x"), PaymeCode(f"50502{number:015d}"))
        journal.record_sending(intent)
        journal.record_outcome(intent.id, Answer(Outcome.APPROVED, payment_id=f"p{number}"))


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_addition_is_made_once_and_the_version_before_still_sells(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    sell(path, 1)
    assert version(path) == schema.VERSION

    with monkeypatch.context() as later:
        later.setitem(schema._ADDITIONS, schema.MINOR + 1, ADDITION)
        sell(path, 2)
        sell(path, 3)
    assert version(path) == schema.VERSION + 1

    sell(path, 4)  # the update was taken back

    assert version(path) == schema.VERSION + 1
    with contextlib.closing(Journal.open_to_read(path)) as db:
        tips = db.execute("SELECT tip_sum FROM row WHERE kind = 'sending'").fetchall()
        assert tips == [(0,)] * 4


def test_an_addition_that_fails_leaves_the_journal_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    sell(path, 1)
    with monkeypatch.context() as later:
        later.setitem(schema._ADDITIONS, schema.MINOR + 1, ADDITION + "CREATE TABLE row (x);")
        with pytest.raises(JournalError):
            Journal.open(path)

    assert version(path) == schema.VERSION
    sell(path, 2)


def test_the_tables_come_into_being_all_at_once(path: Path):
    class Full(sqlite3.Connection):
        left = 5

        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            self.left -= 1
            if not self.left:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *rest)

    with contextlib.closing(sqlite3.connect(path, isolation_level=None, factory=Full)) as db:
        with pytest.raises(sqlite3.OperationalError):
            schema.create(db, b"key", "now")

    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
