"""What is known of a card without writing to it, and what a write shows."""

import os
from types import SimpleNamespace

import pytest

from kiosk.core.paying import SEND_WITHIN_S
from kiosk.errors import JournalWriteError
from kiosk.payment.disk import NEEDED_BYTES, PROBE_EVERY_S, Disk
from kiosk.payment.journal import Journal


@pytest.fixture
def journal(tmp_path):
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


@pytest.fixture
def disk(journal):
    return Disk(journal.path, now_s=0.0)


def probes(journal):
    with Journal.open_to_read(journal.path) as db:
        found = db.execute("SELECT probed FROM device").fetchone()[0]
    db.close()
    return found


def test_a_good_card_is_written_to_once_in_five_minutes(disk, journal):
    before = probes(journal)
    for now_s in range(0, int(PROBE_EVERY_S * 3), 5):
        disk.look(journal, float(now_s), may_write=True)

    assert probes(journal) == before + 2


def test_a_row_is_as_good_as_a_probe(disk, journal):
    before = probes(journal)
    disk.wrote(0.01, PROBE_EVERY_S - 1)
    disk.look(journal, PROBE_EVERY_S, may_write=True)

    assert probes(journal) == before


def test_while_somebody_is_told_nothing_is_written(disk, journal):
    before = probes(journal)
    disk.look(journal, PROBE_EVERY_S * 10, may_write=False)

    assert probes(journal) == before


@pytest.mark.parametrize(
    ("free", "files_left", "all_files", "is_full"),
    [
        (NEEDED_BYTES - 4096, 1000, 5000, True),
        (NEEDED_BYTES * 2, 0, 5000, True),
        (NEEDED_BYTES * 2, 0, 0, False),  # vfat and btrfs count no files
        (NEEDED_BYTES * 2, 1000, 5000, False),
    ],
)
def test_a_full_card(disk, journal, monkeypatch, free, files_left, all_files, is_full):
    told = SimpleNamespace(
        f_bavail=free // 4096, f_frsize=4096, f_files=all_files, f_favail=files_left
    )
    monkeypatch.setattr(os, "statvfs", lambda _: told)
    if is_full:
        with pytest.raises(JournalWriteError, match="free some space"):
            disk.look(journal, 1.0, may_write=True)
    else:
        disk.look(journal, 1.0, may_write=True)


def test_a_card_that_was_too_slow_must_show_that_it_is_not(disk, journal):
    disk.wrote(SEND_WITHIN_S, 1.0)
    for _ in range(2):
        with pytest.raises(JournalWriteError, match="took 5 s for a row"):
            disk.look(journal, 2.0, may_write=True)

    disk.prove(journal, 3.0)
    disk.look(journal, 4.0, may_write=True)


def test_what_is_wrong_with_owner_or_folder_is_left_to_the_opening(tmp_path):
    Disk(tmp_path / "gone" / "journal.db", now_s=0.0).check()
