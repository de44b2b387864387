"""`kiosk journal init`: killed at any point, over any damage, with outcomes in a spill."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tools import figure

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome, RowKind
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.errors import JournalDamagedError, JournalError
from kiosk.payment import journal_files as files
from kiosk.payment import journal_replace as replace
from kiosk.payment.journal import Journal
from kiosk.payment.journal_import import salvage
from kiosk.payment.journal_scan import is_row
from kiosk.payment.recovery import recover
from kiosk.payment.store import Store

PAGE_BYTES = 2048
EARLIER = ".aside-20260101T000000Z"
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SPILLED = b'{"intent":"intent-3","answer":{"outcome":"approved","payment_id":"p3"}}'


def an_intent(number: int) -> Intent:
    return Intent(f"intent-{number}", Offer(1000, "x"), PaymeCode(f"50502{number:015d}"))


def pay(journal: Journal, number: int) -> None:
    journal.record_sending(an_intent(number))
    answer = Answer(Outcome.APPROVED, payment_id=f"p{number}", raw=b"{}")
    journal.record_outcome(f"intent-{number}", answer)


def damage(path: Path, old: bytes, new: bytes) -> None:
    """In place, once."""
    content = path.read_bytes()
    assert content.count(old) >= 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def damage_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(number * PAGE_BYTES)
        file.write(b"\xa5" * 100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kiosk" / "journal.db"


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Power was cut: one payment in the database, one in the `-wal`, one in the spill."""
    folder = tmp_path_factory.mktemp("cut")
    journal = Journal.open(folder / "before" / "journal.db")
    pay(journal, 1)
    journal.close()
    shutil.copyfile(journal.path, folder / "backup.db")
    journal = Journal.open(journal.path)
    pay(journal, 2)
    journal.record_sending(an_intent(3))
    (folder / "cut").mkdir()
    for suffix in ("", "-wal", ".made"):
        shutil.copyfile(files.beside(journal.path, suffix), folder / "cut" / f"journal.db{suffix}")
    journal.close()
    files.append_spill(folder / "cut" / "journal.db", SPILLED)
    return folder / "cut" / "journal.db"


# --- killed ----------------------------------------------------------------------------------


def is_killed_at(line: int, act: Callable[[], object]) -> bool:
    """Whether the process was killed there, before any `finally`; else it came to its end."""
    if (pid := os.fork()) == 0:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            file = frame.f_code.co_filename
            if "/kiosk/payment/journal" not in file or file.endswith(("_scan.py", "_wal.py")):
                return None
            left -= event == "line"
            if left == 0:
                os._exit(9)
            return trace

        sys.settrace(trace)
        try:
            act()
        except BaseException:  # noqa: BLE001 - nothing may go on in this process
            os._exit(1)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, 9)
    return ended == 9


def known(journal: Journal) -> list[tuple[Outcome | None, bool]]:
    return [
        (journal.spent(an_intent(n).code), journal.knows_payment(f"p{n}", "another"))
        for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("state", ["damaged", "parted", "gone", "a copy is put in force"])
def test_killed_at_any_line_it_is_done_again_and_nothing_is_sold_between(
    cut: Path, tmp_path: Path, state: str
):
    source = cut.parent.parent / "backup.db" if state.startswith("a copy") else None
    cuts = 0
    for line in range(1, 2000, 13):
        path = shutil.copytree(cut.parent, tmp_path / str(line)) / cut.name
        if state == "damaged":
            damage_page(path, 5)
        if state in ("parted", "gone"):
            path.rename(files.beside(path, EARLIER))
        if state == "gone":
            files.beside(path, "-wal").rename(files.beside(path, EARLIER + "-wal"))

        was_killed = is_killed_at(line, lambda p=path: replace.put_in_force(p, source))
        between = shutil.copytree(path.parent, tmp_path / f"{line}-between") / path.name
        try:
            journal = Journal.open(between)
        except JournalError:
            pass  # out of service
        else:
            assert None not in [outcome for outcome, _ in known(journal)], line
            journal.close()
        replace.put_in_force(path, source)

        journal = Journal.open(path)
        recover(journal, 0.0, Policy(offers=()))
        assert known(journal) == [(Outcome.APPROVED, True)] * 3, line
        journal.close()
        if not was_killed:
            break
        cuts += 1
    assert cuts > 10
    figure(f"journal init, {state}: killed at {cuts} points and run again, no code was lost")


def test_until_all_was_taken_over_the_kiosk_is_out_of_service(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    damage_page(path, 0)
    with monkeypatch.context() as patch:
        patch.setattr(replace, "salvage", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replace.put_in_force(path, None)

    store = Store(path)
    assert store.is_hopeless()
    assert store.trouble is not None
    assert "`kiosk journal init` again" in store.trouble[1]
    store.close()
    replace.put_in_force(path, None)

    assert replace.put_in_force(path, None) is None
    journal = Journal.open(path)
    assert journal.spent(an_intent(1).code) is Outcome.APPROVED
    journal.close()


# --- what lies aside -------------------------------------------------------------------------


def test_what_lies_aside_is_never_written_over(path: Path):
    path.parent.mkdir()
    for content in (b"one", b"two", b"three"):
        path.write_bytes(content)
        files.move_aside(path, NOW)

    assert {part.read_bytes() for part in files.moved_aside(path)} == {b"one", b"two", b"three"}


def test_another_kiosks_journal_is_known_by_name_also_where_the_clock_is_behind(
    path: Path, tmp_path: Path
):
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    ours = shutil.copyfile(path, tmp_path / "ours.db")
    later = files.beside(path, ".aside-20991231T235959Z")
    shutil.copyfile(path, later)
    other = Journal.open(tmp_path / "other" / "journal.db")
    pay(other, 2)
    other.close()
    shutil.copyfile(other.path, path)

    replace.put_in_force(path, ours)

    assert not files.was_refused(later)
    journal = Journal.open(path)
    assert journal.rows("intent-2") == []
    journal.close()


@pytest.mark.parametrize("where", ["beside a damaged one", "beside the copy"])
def test_outcomes_in_a_spill_come_along(cut: Path, tmp_path: Path, path: Path, where: str):
    if where == "beside the copy":
        source = cut
    else:
        source = None
        shutil.copytree(cut.parent, path.parent)
        damage_page(path, 0)

    replace.put_in_force(path, source)

    journal = Journal.open(path)
    recover(journal, 0.0, Policy(offers=()))
    assert [row.payment_id for row in journal.rows("intent-3")] == [None, "p3"]
    journal.close()
    spills = [part.name for part in path.parent.iterdir() if ".spill" in part.name]
    assert spills == []  # it holds phone numbers


# --- damaged values --------------------------------------------------------------------------

VALUES = {
    "text": (b'{"offer":"x","code"', b'{"offer":"x","code\xa5'),
    "no JSON": (b'{"detail"', b'x"detail"'),
    "kind": (b"intent-1approved", b"intent-1approvee"),
    "no day": (b"T", b"x"),
}


@pytest.mark.parametrize("value", VALUES)
def test_a_damaged_value_is_damage_that_init_ends(path: Path, value: str):
    """SQLite says "ok", and the kiosk only finds it when it needs that row."""
    journal = Journal.open(path)
    pay(journal, 1)
    pay(journal, 2)
    journal.close()
    if value == "no day":
        (at,) = sqlite3.connect(path).execute("SELECT at FROM row WHERE seq = 4").fetchone()
        damage(path, at.encode(), at.replace("T", "x").encode())
    else:
        damage(path, *VALUES[value])

    told = replace.put_in_force(path, None)

    assert told is not None
    assert any("could not be read whole" in line for line in told)
    assert replace.put_in_force(path, None) is None
    journal = Journal.open(path)
    recover(journal, 0.0, Policy(offers=()))
    journal.newest_at()
    for number in (1, 2):
        assert journal.spent(an_intent(number).code) in (Outcome.APPROVED, Outcome.UNKNOWN)
    if value == "no JSON":  # its payment_id does not go with its text
        assert journal.knows_payment("p1", "another")
        assert journal.knows_payment("p2", "another")
    journal.close()


@pytest.mark.parametrize("at", ["2026-13-45T10:00:00.000+00:00", b"2026", 7])
def test_a_time_that_is_none_is_damage_and_not_the_end_of_the_process(path: Path, at: object):
    journal = Journal.open(path)
    columns = "intent, kind, at, boot, boot_s, body"
    journal._db.execute(
        f"INSERT INTO row ({columns}) VALUES ('i', 'unknown', ?, 'b', 0, '{{}}')", (at,)
    )

    with pytest.raises(JournalDamagedError):
        journal.newest_at()
    (row,) = journal.rows("i")
    with pytest.raises(JournalDamagedError):
        journal.age_s(row)
    journal.close()


def test_words_of_sqlite_that_are_no_text_are_damage(path: Path):
    """A damaged schema is told of with its own bytes; Python cannot decode them."""
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    damage(path, b"indexrow_of_intentrow", b"index" + b"\xac" * 13 + b"row")
    damage(path, b"CREATE INDEX row_of_intent", b"CREATE?INDEX row_of_intent")

    store = Store(path)
    assert store.is_hopeless()
    store.close()
    assert replace.put_in_force(path, None) is not None
    journal = Journal.open(path)
    assert journal.spent(an_intent(1).code) is not None
    journal.close()


def test_a_code_that_damage_made_another_does_not_take_the_place_of_the_spent_one(path: Path):
    journal = Journal.open(path)
    pay(journal, 1)
    journal.close()
    damage(path, an_intent(1).code.digits.encode(), an_intent(9).code.digits.encode())
    damage_page(path, 0)

    replace.put_in_force(path, None)

    journal = Journal.open(path)
    assert journal.spent(an_intent(1).code) is Outcome.APPROVED
    journal.close()


def test_a_damaged_key_is_not_taken_for_whole(path: Path):
    journal = Journal.open(path)
    pay(journal, 1)
    key = journal.key
    journal.close()
    damage(path, key, bytes([key[0] ^ 1]) + key[1:])

    assert not salvage(path, bytes(32)).is_whole


def test_spent_codes_that_damage_made_others_are_not_taken_for_whole(path: Path):
    journal = Journal.open(path)
    for number in range(20):
        pay(journal, number)
    macs = [journal.mac_of(an_intent(number).code) for number in range(20)]
    journal.close()
    for mac in macs[3:9]:
        damage(path, mac, bytes(len(mac)))

    assert not salvage(path, bytes(32)).is_whole


@pytest.mark.parametrize("boot_s", [float("nan"), float("inf"), "1", None])
def test_what_is_no_number_is_no_row(boot_s: object):
    at = "2026-11-24T10:00:00.000+00:00"
    row = (1, "i", RowKind.UNKNOWN.value, at, "boot", 1.5, None, None, None, "{}")
    assert is_row(row)
    assert not is_row((*row[:5], boot_s, *row[6:]))
