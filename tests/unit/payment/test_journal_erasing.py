"""Codes and phone numbers go when they are old by a clock that can tell: not sooner, not never."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment.journal import Journal
from kiosk.payment.journal_import import salvage


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


def lies_aside(journal, *, days_ago):
    """A copy of the journal, moved aside so long ago, with its `-wal`."""
    moment = datetime.now(UTC) - timedelta(days=days_ago)
    aside = journal.path.with_name(f"journal.db.aside-{moment:%Y%m%dT%H%M%SZ}")
    for suffix in ("", "-wal"):
        part = journal.path.with_name(journal.path.name + suffix)
        aside.with_name(aside.name + suffix).write_bytes(part.read_bytes())
    return aside


def bytes_of(aside):
    return b"".join(part.read_bytes() for part in aside.parent.glob(aside.name + "*"))


def test_what_lies_aside_keeps_no_personal_data_for_longer_and_loses_nothing_else(journal):
    paid(journal, "long-ago", days_ago=31)
    code = journal._db.execute("SELECT code FROM secret").fetchone()[0].encode()
    old, young = (lies_aside(journal, days_ago=days) for days in (31, 29))
    assert code in bytes_of(old)

    for _ in range(2):
        journal.tidy(30)

    assert code not in bytes_of(old)
    assert code in bytes_of(young)
    assert b"long-ago" in bytes_of(old)
    names = {part.name for part in old.parent.glob(old.name + "*")}
    assert names == {old.name}
    found = salvage(old, journal.key)
    assert found.is_whole
    assert (len(found.rows), len(found.spent)) == (2, 1)


def test_what_is_damaged_too_far_for_that_is_named_and_stays(journal, caplog):
    paid(journal, "long-ago", days_ago=31)
    old = lies_aside(journal, days_ago=31)
    old.with_name(old.name + "-wal").unlink()
    old.write_bytes(b"\xa5" * 4096)
    orphan = lies_aside(journal, days_ago=40)
    orphan.unlink()
    wal = bytes_of(orphan)

    journal.tidy(30)

    (said,) = [r for r in caplog.records if "personal data" in r.message]
    assert said.file == old.name
    assert old.exists()
    assert bytes_of(orphan) == wal  # opened by itself it would be emptied
