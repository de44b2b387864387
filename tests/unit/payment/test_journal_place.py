"""Files that are taken away or exchanged under a running kiosk, and copies put in their place."""

import shutil
from pathlib import Path

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.cues import Reason
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.errors import (
    JournalDamagedError,
    JournalError,
    JournalReplacedError,
    JournalWriteError,
)
from kiosk.payment import journal as journal_module
from kiosk.payment import journal_files as files
from kiosk.payment import journal_replace as replace
from kiosk.payment.journal import Journal
from kiosk.payment.journal_sqlite import opened_without_wal
from kiosk.payment.store import Store

UNFOLDED = ("", "-wal", ".made")


def an_intent(number: int) -> Intent:
    return Intent(f"intent-{number}", Offer(1000, "x"), PaymeCode(f"50502{number:015d}"))


def pay(journal: Journal, number: int) -> None:
    journal.record_sending(an_intent(number))
    journal.record_outcome(
        f"intent-{number}", Answer(Outcome.APPROVED, payment_id=f"p{number}", raw=b"{}")
    )


def fold(journal: Journal, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as later:
        later.setattr(journal_module, "WAL_KEPT_S", -1.0)
        journal.tidy(30)


def copy(path: Path, folder: Path, suffixes: tuple[str, ...] = UNFOLDED) -> Path:
    folder.mkdir(exist_ok=True)
    for suffix in suffixes:
        if files.beside(path, suffix).exists():
            shutil.copyfile(files.beside(path, suffix), folder / (path.name + suffix))
    return folder / path.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kiosk" / "journal.db"


# --- under a running kiosk -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "exchanged"])
def test_a_wal_that_is_taken_away_stops_the_sale_and_loses_nothing(path: Path, how: str):
    store = Store(path)
    pay(store.usable(), 1)
    wal = files.beside(path, "-wal")
    if how == "deleted":
        wal.unlink()
    else:
        wal.with_name("other").write_bytes(b"x")
        wal.with_name("other").rename(wal)

    with pytest.raises(JournalWriteError, match="taken away") as caught:
        store.usable().record_sending(an_intent(2))
    store.fail(caught.value)
    if how == "exchanged":
        wal.unlink(missing_ok=True)
    store.try_again()

    assert store.trouble is None
    assert [row.kind.value for row in store.usable().rows("intent-1")] == ["sending", "approved"]
    assert store.usable().rows("intent-2") == []
    pay(store.usable(), 2)
    store.close()


@pytest.mark.parametrize("how", ["deleted", "exchanged"])
def test_a_database_that_is_taken_away_is_kept_aside_and_staff_decide(
    path: Path, tmp_path: Path, how: str
):
    Journal.open(path).close()
    old = copy(path, tmp_path / "old")
    Journal.open(path).close()
    store = Store(path)
    pay(store.usable(), 1)
    if how == "deleted":
        path.unlink()
    else:
        old.rename(path)

    with pytest.raises(JournalReplacedError, match="it held is kept") as caught:
        store.usable().record_sending(an_intent(2))
    store.fail(caught.value)

    assert store.is_hopeless()
    assert store.trouble is not None
    assert store.trouble[0] is Reason.JOURNAL_REPLACED
    store.close()
    with pytest.raises(JournalError):
        Journal.open(path)
    replace.put_in_force(path, None)
    again = Journal.open(path)
    assert again.spent(an_intent(1).code) is Outcome.APPROVED
    assert again.spent(an_intent(2).code) is None
    again.close()


# --- while it is closed ----------------------------------------------------------------------


def refused(path: Path) -> str:
    before = {part.name: part.read_bytes() for part in path.parent.glob("journal.db*")}
    with pytest.raises(JournalReplacedError) as caught:
        Journal.open(path)
    after = {part.name: part.read_bytes() for part in path.parent.glob("journal.db*")}
    before.pop("journal.db-shm", None)
    after.pop("journal.db-shm", None)
    assert {n: c for n, c in after.items() if c} == {n: c for n, c in before.items() if c}
    return str(caught.value)


def test_a_copy_from_before_the_last_start_is_noticed(path: Path, tmp_path: Path):
    Journal.open(path).close()
    old = copy(path, tmp_path / "old")
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    shutil.copyfile(old, path)

    assert "an older copy" in refused(path)


def test_a_copy_made_while_it_ran_is_noticed_once_it_was_stopped(path: Path, tmp_path: Path):
    journal = Journal.open(path)
    pay(journal, 1)
    hot = copy(path, tmp_path / "hot")
    pay(journal, 2)
    journal.close()
    for suffix in ("", "-wal"):
        shutil.copyfile(files.beside(hot, suffix), files.beside(path, suffix))

    assert "an older copy" in refused(path)


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_a_wal_that_was_lost_after_a_folding_is_noticed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
):
    journal = Journal.open(path)
    pay(journal, 1)
    fold(journal, monkeypatch)
    pay(journal, 2)
    cut = copy(path, tmp_path / "cut")
    journal.close()
    files.beside(cut, "-wal").unlink()
    if left != "nothing":
        files.beside(cut, "-wal").touch()

    assert "an older copy" in refused(cut)


@pytest.mark.parametrize("payments", [3, 200])
def test_an_older_database_under_a_later_wal_is_noticed_although_sqlite_takes_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payments: int
):
    """Pages of two states: what SQLite makes of them can look sound, and forget spent codes."""
    journal = Journal.open(path)
    for number in range(payments):
        pay(journal, number)
    fold(journal, monkeypatch)
    old = copy(path, tmp_path / "old")
    for number in range(payments, payments + 30):
        pay(journal, number)
    fold(journal, monkeypatch)
    pay(journal, 1000)
    cut = copy(path, tmp_path / "cut")
    journal.close()
    shutil.copyfile(old, cut)

    with pytest.raises((JournalReplacedError, JournalDamagedError)):
        Journal.open(cut)
    # By the mark alone, whatever SQLite and the numbers of the rows say.
    mark = files.read_mark(cut)
    assert mark is not None
    assert opened_without_wal(cut, 0) < mark.folded


def test_another_journal_is_noticed_and_its_payments_are_not_ours(path: Path, tmp_path: Path):
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    good = copy(path, tmp_path / "good")
    other = Journal.open(tmp_path / "other" / "journal.db")
    pay(other, 2)
    other.close()
    shutil.copyfile(other.path, path)
    assert "another journal" in refused(path)

    told = replace.put_in_force(path, good)

    assert told is not None
    assert any("never was in force here" in line for line in told)
    journal = Journal.open(path)
    assert journal.rows("intent-2") == []
    assert journal.spent(an_intent(2).code) is Outcome.APPROVED  # but it is no good here either
    assert len(journal.rows("intent-1")) == 2
    journal.close()


def test_what_is_right_is_not_refused(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a stop, after a kill at any time, and in another folder that was copied whole."""
    for number in range(4):
        journal = Journal.open(path)
        pay(journal, number)
        if number % 2:
            fold(journal, monkeypatch)
        path = copy(path, tmp_path / f"after-kill-{number}")
        journal.close()
    Journal.open(path).close()
    Journal.open(copy(path, tmp_path / "moved")).close()


def test_a_journal_that_failed_leaves_no_mark_of_rows_that_are_not_there(path: Path):
    journal = Journal.open(path)
    marked = files.read_mark(path)
    journal._db.execute("BEGIN IMMEDIATE")  # a commit that failed, and whose rollback failed
    journal._db.execute("INSERT INTO spent VALUES (x'00', 'x')")
    journal.close()

    assert files.read_mark(path) == marked
    Journal.open(path).close()
