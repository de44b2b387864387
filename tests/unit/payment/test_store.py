"""The journal as the deciding thread holds it: lost, kept beside, and won back."""

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.cues import Reason
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.errors import (
    JournalBusyError,
    JournalDamagedError,
    JournalMissingError,
    JournalNewerError,
    JournalWriteError,
)
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal
from kiosk.payment.store import Store

INTENT = Intent("intent-1", Offer(1000, "Payment"), PaymeCode("50502044301381396427"))
APPROVED = Answer(
    Outcome.APPROVED,
    payment_id="696e0246c9a128176d5934d8",
    facts={"amount": 1000, "phone": None},
    flags=("echo_differs",),
    phone="998712565009",
    raw=b"\x00\xff{}",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "journal.db")
    yield opened
    opened.close()
    opened.close()


def fail(store: Store) -> None:
    store.fail(JournalWriteError("the disk is full"))


def kinds(store: Store, intent_id: str = INTENT.id) -> list[str]:
    return [row.kind.value for row in store.usable().rows(intent_id)]


def test_a_store_that_can_be_used(store: Store):
    assert store.trouble is None
    assert store.usable() is store.journal
    assert files.beside(store.path, ".reserve").stat().st_size == files.RESERVE_BYTES


def test_a_journal_that_failed_is_not_used_until_it_was_opened_anew(store: Store):
    first = store.usable()
    fail(store)

    assert store.trouble == (Reason.JOURNAL_UNWRITABLE, "the disk is full")
    assert not store.is_hopeless()
    with pytest.raises(JournalWriteError, match="the disk is full"):
        store.usable()

    assert store.try_again() == []
    assert store.usable() is not first


def test_a_closed_store_is_not_usable(store: Store):
    store.close()
    with pytest.raises(JournalWriteError, match="not open"):
        store.usable()


def test_an_outcome_that_could_not_be_written_is_written_later(store: Store):
    store.usable().record_sending(INTENT)
    fail(store)

    store.keep(INTENT.id, APPROVED, late=True)

    assert not files.beside(store.path, ".reserve").exists()
    assert len(files.read_spill(store.path)) == 1
    assert files.beside(store.path, ".spill").stat().st_mode & 0o077 == 0
    assert store.try_again() == [INTENT.id]
    assert kinds(store) == ["sending", "approved"]
    row = store.usable().rows(INTENT.id)[-1]
    assert row.payment_id == APPROVED.payment_id
    assert row.body["late"] is True
    assert row.body["facts"] == {"amount": 1000, "phone": None}
    assert not files.beside(store.path, ".spill").exists()
    assert files.beside(store.path, ".reserve").exists()
    assert store.try_again() == []
    assert kinds(store) == ["sending", "approved"]


def test_an_outcome_survives_a_restart_beside_the_journal(store: Store):
    store.usable().record_sending(INTENT)
    fail(store)
    store.keep(INTENT.id, APPROVED, late=False)
    store.close()

    again = Store(store.path)
    again.try_again()

    assert kinds(again) == ["sending", "approved"]
    secret = again.usable()._db.execute("SELECT phone, answer FROM secret").fetchone()
    assert secret == (APPROVED.phone, APPROVED.raw)
    again.close()


def test_an_outcome_that_can_be_written_nowhere_stays_in_memory_and_is_shouted(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    store.usable().record_sending(INTENT)
    fail(store)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(files, "append_spill", full)
        store.keep(INTENT.id, APPROVED, late=False)

    (record,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert record.payment_id == APPROVED.payment_id
    assert "998712565009" not in str(vars(record))
    assert store.try_again() == [INTENT.id]
    assert kinds(store) == ["sending", "approved"]


def test_a_journal_that_still_fails_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.usable().record_sending(INTENT)
    fail(store)
    store.keep(INTENT.id, APPROVED, late=False)

    def refuse(*_: object, **__: object) -> None:
        raise JournalWriteError("still full")

    with monkeypatch.context() as disk:
        disk.setattr(Journal, "record_outcome", refuse)
        for _ in range(3):
            assert store.try_again() == []
            assert store.trouble == (Reason.JOURNAL_UNWRITABLE, "still full")
    with monkeypatch.context() as disk:
        disk.setattr(Journal, "open", refuse)
        assert store.try_again() == []

    assert store.try_again() == [INTENT.id]
    assert kinds(store) == ["sending", "approved"]


def test_a_staff_command_that_is_quicker_is_waited_for(store: Store):
    store.usable().record_sending(INTENT)
    fail(store)
    store.keep(INTENT.id, APPROVED, late=False)
    store._let_go()
    other = Journal.open(store.path)

    assert store.try_again() == []
    assert store.trouble is not None
    assert not store.is_hopeless()

    other.close()
    assert store.try_again() == [INTENT.id]


def test_a_row_that_surfaced_although_its_commit_failed_is_disowned(store: Store):
    store.usable().record_sending(INTENT)
    fail(store)
    store.not_submitted(INTENT)
    never = Intent("intent-2", INTENT.offer, PaymeCode("50502044301381396428"))
    store.not_submitted(never)

    assert store.try_again() == []

    assert kinds(store) == ["sending", "not_sent"]
    assert store.usable().spent(INTENT.code) is None
    assert kinds(store, never.id) == []
    fail(store)
    store.try_again()
    assert kinds(store) == ["sending", "not_sent"]


def test_a_second_process_is_told_at_its_start(store: Store):
    with pytest.raises(JournalBusyError):
        Store(store.path)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (JournalDamagedError, Reason.JOURNAL_DAMAGED),
        (JournalNewerError, Reason.JOURNAL_NEWER),
        (JournalMissingError, Reason.JOURNAL_MISSING),
    ],
)
def test_what_only_staff_can_mend_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], reason: Reason
):
    def refuse(*_: object) -> None:
        raise error("as found")

    monkeypatch.setattr(Journal, "open", refuse)
    store = Store(tmp_path / "journal.db")

    assert store.trouble == (reason, "as found")
    assert store.journal is None
    assert store.is_hopeless()


def test_a_disk_without_room_for_the_next_outcome_sells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        store = Store(tmp_path / "journal.db")
        for _ in range(5):
            assert store.try_again() == []
        assert store.trouble is not None
        assert "free some space" in store.trouble[1]
        assert len(caplog.records) == 1  # the log does not fill the rest of it

    store.try_again()
    assert store.trouble is None
    store.close()


def test_damage_that_shows_while_selling_is_for_staff(store: Store):
    store.usable()._db.execute("DROP TABLE spent")
    with pytest.raises(JournalDamagedError) as caught:
        store.usable().record_sending(INTENT)
    store.fail(caught.value)

    assert store.is_hopeless()
    store.keep(INTENT.id, APPROVED, late=False)
    assert len(files.read_spill(store.path)) == 1
    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_asking_a_journal_that_failed_does_not_change_why(store: Store):
    store.fail(JournalDamagedError("page 7"))
    with pytest.raises(JournalDamagedError, match="page 7") as caught:
        store.usable()

    store.fail(caught.value)

    assert store.trouble == (Reason.JOURNAL_DAMAGED, "page 7")
    assert store.is_hopeless()
