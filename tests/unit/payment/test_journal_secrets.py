"""What is personal leaves the disk in time, and stands nowhere else before."""

import contextlib
import os
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tools import figure

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment import journal as journal_module
from kiosk.payment import journal_files as files
from kiosk.payment.journal import WAL_KEPT_BYTES, WAL_KEPT_S, Journal
from kiosk.payment.recovery import Spilled, empty_spill, spill

OUTCOMES = [Outcome.APPROVED, Outcome.DECLINED, Outcome.UNKNOWN, Outcome.NOT_SENT]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


def sell(journal: Journal, number: int, outcome: Outcome | None, padding: int = 0) -> list[bytes]:
    """One payment; returns what is secret about it."""
    code, phone = f"50502{number:015d}", f"9987{number:08d}"
    journal.record_sending(Intent(f"i-{number}", Offer(1000, "x"), PaymeCode(code)))
    if outcome is not None:
        raw = f'{{"qr_code": "{code}", "phone": "{phone}"}}'.encode().ljust(padding)
        answer = Answer(
            outcome, payment_id=f"p{number}" if outcome is Outcome.APPROVED else None, raw=raw
        )
        if outcome is Outcome.APPROVED:
            answer = Answer(outcome, payment_id=f"p{number}", phone=phone, raw=raw)
        journal.record_outcome(f"i-{number}", answer)
    return [code.encode(), phone.encode()]


def residue(journal: Journal, secrets: list[bytes]) -> set[str]:
    """The files in which any of these bytes stand."""
    return {
        entry.name
        for entry in journal.path.parent.iterdir()
        if any(secret in entry.read_bytes() for secret in secrets)
    }


def age(journal: Journal, days: float) -> None:
    """As if all of it had been written so long ago."""
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
    journal._db.execute("UPDATE secret SET at = ?", (at,))


def test_secrets_stand_in_the_side_table_alone(journal: Journal):
    secrets = [secret for n in range(20) for secret in sell(journal, n, OUTCOMES[n % 4])]

    found = journal._db.execute("SELECT body, payment_id, reference, intent FROM row").fetchall()

    assert not [secret for secret in secrets if secret in str(found).encode()]
    journal._db.execute("DELETE FROM secret")
    dump = "\n".join(journal._db.iterdump()).encode()
    assert not [secret for secret in secrets if secret in dump]


def sell_many(journal: Journal, count: int) -> list[bytes]:
    chance = random.Random(4)
    secrets: list[bytes] = []
    for number in range(count):
        outcome = chance.choice([*OUTCOMES, None])
        secrets += sell(journal, number, outcome, chance.choice([0, 900, 3000, 60_000]))
    return secrets


def test_what_was_kept_too_long_is_gone_from_the_disk(journal: Journal):
    secrets = sell_many(journal, 200)
    assert residue(journal, secrets)
    age(journal, 31)

    journal.tidy(30)

    assert residue(journal, secrets) == set()
    assert len(journal.unresolved()) > 0
    journal.close()
    assert residue(journal, secrets) == set()
    figure(
        "secrets: of 200 payments kept too long no code and no phone number is left in any byte "
        "of the journal, its WAL or a file beside them"
    )


def test_an_erasure_that_leaves_the_bytes_would_be_noticed(journal: Journal):
    journal._db.execute("PRAGMA secure_delete = OFF")
    secrets = sell_many(journal, 200)
    age(journal, 31)

    journal.tidy(30)

    assert journal._db.execute("SELECT count(*) FROM secret").fetchone() == (0,)
    left = [secret for secret in secrets if residue(journal, [secret])]
    assert left
    figure(f"secrets, control: without secure_delete {len(left)} of 400 are still in the file")


def test_an_erasure_that_is_not_folded_in_would_be_noticed(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    secrets = sell_many(journal, 20)
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal._db.execute("DELETE FROM secret")

    assert residue(journal, secrets) == {"journal.db"}

    journal._folded_at_s = float("-inf")
    journal.tidy(30)
    assert residue(journal, secrets) == set()


def test_an_outcome_that_waited_beside_the_journal_leaves_no_trace_either(journal: Journal):
    secrets = sell(journal, 1, None)
    answer = Answer(Outcome.APPROVED, payment_id="p1", phone="998712345678", raw=b"998712345678")
    spill(journal.path, Spilled(intent="i-1", answer=answer))
    secrets.append(b"998712345678")
    assert residue(journal, secrets[2:]) == {"journal.db.spill"}

    empty_spill(journal)

    assert not journal.path.with_name("journal.db.spill").exists()
    assert residue(journal, secrets) == {"journal.db-wal"}
    age(journal, 31)
    journal.tidy(30)
    assert residue(journal, secrets) == set()


def test_no_file_of_the_journal_is_open_to_others(tmp_path: Path):
    old = os.umask(0)
    try:
        with contextlib.closing(Journal.open(tmp_path / "journal.db")) as journal:
            sell(journal, 1, Outcome.APPROVED)
            spill(journal.path, Spilled(intent="i-1", answer=Answer(Outcome.UNKNOWN)))
            files.keep_reserve(journal.path)
            modes = {entry.name: entry.stat().st_mode & 0o077 for entry in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert {"journal.db", "journal.db-wal", "journal.db.spill"} <= modes.keys()
    assert {name for name, mode in modes.items() if mode} == set()


def test_what_may_still_be_kept_is_kept(journal: Journal):
    old = sell(journal, 1, Outcome.UNKNOWN)
    age(journal, 30.1)
    young = sell(journal, 2, Outcome.UNKNOWN)

    journal.tidy(30)

    assert residue(journal, old) == set()
    assert residue(journal, young)
    assert journal._db.execute("SELECT intent FROM secret").fetchall() == [("i-2",)]


@pytest.mark.parametrize("outcome", [Outcome.DECLINED, Outcome.NOT_SENT])
def test_what_ended_without_money_is_erased_at_once_and_off_the_disk_within_a_day(
    journal: Journal, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
):
    secrets = sell(journal, 1, outcome)
    assert journal._db.execute("SELECT count(*) FROM secret").fetchone() == (0,)
    journal.tidy(30)
    assert residue(journal, secrets) == {"journal.db-wal"}

    now_s = journal_module._boot_s()
    monkeypatch.setattr(journal_module, "_boot_s", lambda: now_s + WAL_KEPT_S + 1)
    journal.tidy(30)

    assert residue(journal, secrets) == set()


def test_a_wal_that_has_grown_is_folded_in_and_not_before(journal: Journal):
    wal = journal.path.with_name("journal.db-wal")
    sell(journal, 1, Outcome.APPROVED)
    before = wal.stat().st_size
    journal.tidy(30)
    assert wal.stat().st_size == before

    for number in range(2, 7):
        sell(journal, number, Outcome.APPROVED, padding=60_000)
    assert wal.stat().st_size > WAL_KEPT_BYTES
    journal.tidy(30)

    assert wal.stat().st_size < 4096  # that it was folded in is all that is in it
    assert len(journal.rows("i-1")) == 2


def test_a_reader_in_the_way_delays_the_folding_and_breaks_nothing(journal: Journal):
    db = sqlite3.connect(journal.path, isolation_level=None)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM row").fetchall()
    secrets = sell(journal, 1, Outcome.APPROVED)
    journal._db.execute("PRAGMA busy_timeout = 1")

    age(journal, 31)
    journal.tidy(30)
    assert residue(journal, secrets)
    db.close()
    sell(journal, 2, Outcome.APPROVED)
    journal.tidy(30)

    assert residue(journal, secrets) == set()
