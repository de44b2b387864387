"""Codes and phone numbers go when they are old by a clock that can tell: not sooner, not never."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment.journal import Journal


@pytest.fixture
def journal(tmp_path):
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def paid(journal, name, *, days_ago):
    """An approved payment whose secrets were written so many days ago, by the clock of then."""
    intent = Intent(name, Offer(1000, "Test"), PaymeCode(f"5050{abs(hash(name)) % 10**16:016d}"))
    journal.record_sending(intent)
    journal.record_outcome(name, Answer(Outcome.APPROVED, payment_id=f"{name}-paid", raw=b"{}"))
    at = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat(timespec="milliseconds")
    with sqlite3.connect(journal.path) as db:
        db.execute("UPDATE secret SET at = ? WHERE intent = ?", (at, name))
    db.close()


def kept(journal):
    with sqlite3.connect(journal.path) as db:
        found = dict(db.execute("SELECT intent, at FROM secret").fetchall())
    db.close()
    return found


def test_by_a_clock_that_cannot_tell_nothing_is_erased(journal):
    paid(journal, "OLD", days_ago=40)

    journal.tidy(None)
    assert kept(journal).keys() == {"OLD"}

    journal.tidy(30)
    assert kept(journal) == {}


def test_what_was_written_while_the_clock_was_ahead_is_kept_from_now_on(journal):
    paid(journal, "AHEAD", days_ago=-3650)
    paid(journal, "NOW", days_ago=0)

    journal.tidy(30)

    found = kept(journal)
    assert found.keys() == {"AHEAD", "NOW"}
    age = datetime.now(UTC) - datetime.fromisoformat(found["AHEAD"])
    assert timedelta(0) <= age < timedelta(hours=1)
    assert len(journal.rows("AHEAD")) == 2  # rows stay for ever, as they are
