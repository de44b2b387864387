"""The day's totals: each payment in one day and under one heading, in any time zone."""

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment import journal as journal_module
from kiosk.payment.journal import Journal
from kiosk.payment.journal_report import entries, entries_of, paid_in, together, totals
from kiosk.payment.journal_rows import unresolved_in

# Berlin has a day of 25 and one of 23 hours; in Cairo a day begins at 01:00; the rest is far off.
ZONES = [
    *("Asia/Tashkent", "Europe/Berlin", "Africa/Cairo", "Asia/Kathmandu"),
    *("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"),
]
DAYS = [date(2026, 3, 29), date(2026, 4, 24), date(2026, 10, 25), date(2026, 11, 24)]
HEADINGS = ["approved", "declined", "not_sent", "unknown", "resolved", "conflict", "open"]


def pay(journal: Journal, number: int, heading: str) -> None:
    intent = Intent(f"intent-{number}", Offer(number + 1, "x"), PaymeCode(f"50502{number:015d}"))
    if heading == "not_sent":
        journal.record_not_sent(intent, "refused")
        return
    journal.record_sending(intent)
    if heading in ("unknown", "resolved", "conflict"):
        journal.record_outcome(intent.id, Answer(Outcome.UNKNOWN))
    if heading in ("resolved", "conflict"):
        journal.record_resolution(intent.id, Outcome.DECLINED, "A", "b", None)
    if heading in ("approved", "conflict"):
        journal.record_outcome(intent.id, Answer(Outcome.APPROVED, payment_id=f"p{number}"))
    if heading == "declined":
        journal.record_outcome(intent.id, Answer(Outcome.DECLINED))


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Payments every 40 minutes around days that are cut in strange places."""
    path = tmp_path_factory.mktemp("year") / "journal.db"
    with pytest.MonkeyPatch.context() as patch, closing(Journal.open(path)) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")
        number = 0
        for day in DAYS:
            at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=20)
            for _ in range(100):
                text = at.isoformat(timespec="milliseconds")
                patch.setattr(journal_module, "_now", lambda text=text: text)
                pay(journal, number, HEADINGS[number % len(HEADINGS)])
                at += timedelta(minutes=40)
                number += 1
    return path


@pytest.fixture
def db(year: Path):
    with closing(Journal.open_to_read(year)) as db:
        yield db


@pytest.mark.parametrize("zone", ZONES)
def test_every_payment_is_in_one_day_and_under_one_heading(db: sqlite3.Connection, zone: str):
    every, where = list(entries(db)), ZoneInfo(zone)
    days = {datetime.fromisoformat(entry.at).astimezone(where).date() for entry in every}

    sums = [totals(entries_of(db, day, where), day, where) for day in days]

    assert sum(together(one)["count"] for one in sums) == len(every)
    assert sum(together(one)["amount_sum"] for one in sums) == sum(e.amount_sum for e in every)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", DAYS)
def test_a_day_asked_for_alone_is_that_day_of_all(db: sqlite3.Connection, day: date, zone: str):
    where = ZoneInfo(zone)
    alone = entries_of(db, day, where)

    assert totals(alone, day, where) == totals(entries(db), day, where)
    assert together(totals(alone, day, where))["count"] == len(alone)
    hours = (
        datetime.combine(day + timedelta(days=1), datetime.min.time(), where).astimezone(UTC)
        - datetime.combine(day, datetime.min.time(), where).astimezone(UTC)
    ) / timedelta(hours=1)
    assert abs(len(alone) - hours * 60 / 40) <= 1


def test_paid_is_what_should_stand_in_the_cabinet(db: sqlite3.Connection):
    every = list(entries(db))
    day = DAYS[-1]
    sums = totals(every, day, UTC)

    assert paid_in(sums)["count"] == sum(
        entry.outcome == "approved" for entry in entries_of(db, day, UTC)
    )
    assert sums["conflict"]["count"] > 0
    assert sums["resolved_declined"]["count"] > 0


def test_what_waits_for_staff_is_found_without_reading_the_rest(db: sqlite3.Connection):
    waiting = [e.intent for e in entries(db) if e.counted_as in ("unknown", "conflict")]
    assert unresolved_in(db) == waiting
    assert [entry.intent for entry in entries(db, waiting)] == waiting


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(HEADINGS)), max_size=12))
def test_rows_of_many_payments_mixed_are_one_line_each(script: list[tuple[int, str]]):
    with tempfile.TemporaryDirectory() as folder:
        with closing(Journal.open(Path(folder) / "journal.db")) as journal:
            journal._db.execute("PRAGMA synchronous = OFF")
            for number, (_, heading) in enumerate(script):
                pay(journal, number, heading)
            for late, _ in script:
                if late < len(script) and journal.rows(f"intent-{late}"):
                    journal.record_outcome(f"intent-{late}", Answer(Outcome.UNKNOWN, "late"))
            found = list(entries(journal._db))

        assert [entry.intent for entry in found] == [f"intent-{n}" for n in range(len(script))]
        assert [entry.amount_sum for entry in found] == [n + 1 for n in range(len(script))]
