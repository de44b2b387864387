"""SQLite stops at the first damage in a `-wal` and is silent; the kiosk is not."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tools import figure

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.errors import JournalDamagedError
from kiosk.payment.journal import Journal
from kiosk.payment.journal_wal import is_broken

PAGE_BYTES, HEAD_BYTES, FRAME_BYTES = 2048, 32, 2048 + 24
PAYMENTS = 6


def pay(journal: Journal, number: int) -> None:
    intent = Intent(f"intent-{number}", Offer(1000, "x"), PaymeCode(f"50502{number:015d}"))
    journal.record_sending(intent)
    journal.record_outcome(intent.id, Answer(Outcome.APPROVED, payment_id=f"p{number}"))


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal as a cut of the power leaves it: six payments, all of them in its `-wal`."""
    folder = tmp_path_factory.mktemp("cut")
    journal = Journal.open(folder / "before" / "journal.db")
    for number in range(PAYMENTS):
        pay(journal, number)
    for part in (folder / "before").glob("journal.db*"):
        shutil.copyfile(part, folder / part.name)
    journal.close()
    return folder / "journal.db"


@pytest.fixture
def path(cut: Path, tmp_path: Path) -> Path:
    for suffix in ("", "-wal", ".made"):
        shutil.copyfile(cut.with_name(cut.name + suffix), tmp_path / (cut.name + suffix))
    return tmp_path / cut.name


def wal_of(path: Path) -> bytes:
    return path.with_name(path.name + "-wal").read_bytes()


def commits_of(wal: bytes) -> list[int]:
    """The frames that end a commit."""
    count = (len(wal) - HEAD_BYTES) // FRAME_BYTES
    places = (HEAD_BYTES + number * FRAME_BYTES for number in range(count))
    return [n for n, place in enumerate(places) if any(wal[place + 4 : place + 8])]


def damaged(wal: bytes, place: int) -> bytes:
    return wal[:place] + bytes([wal[place] ^ 0x10]) + wal[place + 1 :]


def test_a_whole_one_is_not_broken(cut: Path):
    wal = wal_of(cut)
    assert not is_broken(wal)
    assert len(commits_of(wal)) > 2 * PAYMENTS


def test_whatever_a_power_cut_leaves_of_it_is_not_broken(cut: Path):
    """A shorter one, and a last commit of which any sectors are missing."""
    wal = wal_of(cut)
    assert not any(is_broken(wal[:size]) for size in range(0, len(wal), 61))
    last = HEAD_BYTES + (commits_of(wal)[-2] + 1) * FRAME_BYTES
    chance = random.Random(1)
    for _ in range(300):
        torn = bytearray(wal)
        for place in range(last, len(wal), 512):
            if chance.random() < 0.5:
                torn[place : place + 512] = bytes(len(torn[place : place + 512]))
        assert not is_broken(bytes(torn))


def test_commits_behind_damage_are_noticed_wherever_it_is(cut: Path):
    wal = wal_of(cut)
    second_last = HEAD_BYTES + (commits_of(wal)[-3]) * FRAME_BYTES
    chance = random.Random(2)
    places = [chance.randrange(second_last) for _ in range(1500)]

    unnoticed = [place for place in places if not is_broken(damaged(wal, place))]

    assert unnoticed == []
    figure(
        f"-wal: {len(places)} single bits of it damaged before its last two commits, all noticed"
    )


@pytest.mark.parametrize("place", [HEAD_BYTES + 4 * FRAME_BYTES + 1000, 20, 3])
def test_a_kiosk_does_not_sell_with_it_and_leaves_it_as_it_is(path: Path, place: int):
    wal = damaged(wal_of(path), place)
    path.with_name(path.name + "-wal").write_bytes(wal)
    before = path.read_bytes()

    with pytest.raises(JournalDamagedError, match="cannot be read"):
        Journal.open(path)

    assert (path.read_bytes(), wal_of(path)) == (before, wal)


def test_control_sqlite_alone_forgets_payments_and_says_nothing(path: Path):
    wal = damaged(wal_of(path), HEAD_BYTES + commits_of(wal_of(path))[6] * FRAME_BYTES + 500)
    path.with_name(path.name + "-wal").write_bytes(wal)

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (rows,) = db.execute("SELECT count(*) FROM row").fetchone()

    assert 0 < rows < 2 * PAYMENTS
    figure(f"-wal, control: one bit, and SQLite says ok with {rows} of {2 * PAYMENTS} rows")
