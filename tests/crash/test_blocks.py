"""Power cuts as the card sees them: ext4 with the real journal on a disk that records.

Every write and flush of the device is recorded, with the moments at which a request left and a
customer was told between them. Each state that a cut may leave is rebuilt, mounted (ext4
recovers its own log) and opened by the real kiosk, which then serves the next customer.
BLOCK_STATES sets how many (500).
"""

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import customers
import pytest
from blocks import MARK, Disk, Replay, mounted, own_mounts, sample, states_of
from customers import POLICY
from promises import faults_of, faults_of_refused
from tools import figure, need

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Intent
from kiosk.payment.loop import Loop

STATES = int(os.environ.get("BLOCK_STATES", "500"))
PARTS = 4
PAYMENTS = 22
STATES_OF_A_CONTROL = 60
NEXT_CODE = customers.code_of(999_999, 0)
NO_ROW = "a request has no row"
CONTROLS = {
    # what is worse: what must be said of it
    "synchronous=NORMAL": NO_ROW,
    "synchronous=OFF": NO_ROW,
    "rollback journal with FULL": NO_ROW,
    "request before row": NO_ROW,
    "cue before commit": "a customer was told approved, and no row says so",
    "spill without sync": "an outcome that was kept beside the journal is lost",
}


@pytest.fixture
def folder():
    need(os.geteuid() == 0, "needs root, for mounts and loop devices")
    need(Path("/dev/fuse").exists(), "needs /dev/fuse")
    need(Path("/dev/loop-control").exists(), "needs loop devices")
    need("mkfs.ext4", "needs e2fsprogs")
    need("fusermount3", "needs fuse3")
    need(find_spec("mfusepy") is not None, "needs mfusepy")
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="kiosk-blocks-", dir=memory if memory.is_dir() else None)
    with own_mounts():
        yield Path(made)
    shutil.rmtree(made)


def recorded(folder, life, payments, worse=None):
    """The disk, after customers paid on it, and its log."""
    disk = Disk(folder)
    script = [sys.executable, customers.__file__]
    with disk.recording():
        argv = [*script, disk.root / "journal.db", disk.marks, str(life), str(payments)]
        subprocess.run([*argv, *([worse] if worse else [])], check=True, capture_output=True)
    return disk, disk.entries()


def faults_after(image, folder, before):
    """What is wrong once the kiosk has started on this disk and served two customers."""
    marks = list(before)
    with mounted(image, folder) as root:
        journal = root / "journal.db"
        try:
            till = customers.Till(journal, lambda **mark: marks.append(mark))
        except customers.RefusedError as error:
            return faults_of_refused(journal, marks, error)
        with contextlib.closing(till):
            if faults := faults_of(journal, marks):
                return faults
            # Whoever stood there shows the same code once more, and then somebody else pays.
            for mark in [mark for mark in before if "sent" in mark][-1:]:
                till.pay(mark["sent"])
            till.pay(NEXT_CODE)
            if marks[-1] != {"told": NEXT_CODE, "cue": "approved"}:
                return ["the next customer cannot pay"]
            return faults_of(journal, marks)


def first_faults(folder, disk, states, entries):
    """The number of the first state that breaks a promise, that state, and what is wrong."""
    replay = Replay(disk.base, entries)
    for number, state in enumerate(states, 1):
        # A new name each time: `mount` may take over the loop device that still held this file
        # a moment ago, and with it what was on the disk before.
        image = folder / f"cut-{number}.img"
        replay.build(state, image)
        faults = faults_after(image, folder / "cut", state.marks)
        image.unlink()
        if faults:
            return number, state.what, faults
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_no_state_of_the_disk_breaks_a_promise(part, folder):
    left, tried, payments, marks = STATES // PARTS, 0, 0, Counter()
    for life in itertools.count(part, PARTS):
        chance = random.Random(life)
        once = folder / f"{life}"
        once.mkdir()
        disk, entries = recorded(once, life, PAYMENTS)
        found = Counter(next(iter(data)) for kind, _, data in entries if kind == MARK)
        # Without these nothing was tried.
        assert found["sent"] == PAYMENTS
        assert found["kept"]
        assert found["folded"]
        states = sample(states_of(entries, chance), chance, left)

        assert first_faults(once, disk, states, entries) is None

        shutil.rmtree(once)
        marks += found
        payments, tried, left = payments + PAYMENTS, tried + len(states), left - len(states)
        if left <= 0:
            break
    figure(
        f"blocks {part}: {tried} states of an ext4 after {payments} payments, {marks['told']} "
        f"outcomes told, {marks['kept']} spilled, WAL folded {marks['folded']} times: all kept"
    )


# Controls: a worse kiosk must be caught by the very same checks.


@pytest.mark.parametrize("worse", CONTROLS)
def test_control_a_worse_kiosk_is_caught(worse, folder):
    chance = random.Random(worse)
    disk, entries = recorded(folder, 0, 6, worse)
    states = [state for state in states_of(entries, chance) if state.marks]
    states = sample(states, chance, STATES_OF_A_CONTROL)

    number, where, faults = first_faults(folder, disk, states, entries)

    assert CONTROLS[worse] in faults
    figure(f"blocks, control {worse}: caught in state {number} ({where}): {faults[0]}")


def test_each_worse_kiosk_has_its_control():
    assert CONTROLS.keys() == customers.WORSE.keys()


def test_control_a_kiosk_that_resends_is_caught(folder, monkeypatch):
    begin = Loop._begin

    def resending(self):
        journal = self._out.store.journal
        open_ones = journal.announced_without_outcome()
        begin(self)
        for row in open_ones:
            query = "SELECT code FROM secret WHERE intent = ?"
            ((code,),) = journal._db.execute(query, (row.intent,))
            self._out.attempts.submit(Intent(row.intent, POLICY.offers[0], PaymeCode(code)), 0.0)

    monkeypatch.setattr(Loop, "_begin", resending)
    chance = random.Random(0)
    disk, entries = recorded(folder, 0, 6)
    states = [state for state in states_of(entries, chance) if state.marks]
    states = sample(states, chance, STATES_OF_A_CONTROL)

    number, where, faults = first_faults(folder, disk, states, entries)

    assert "a code was sent 2 times" in faults
    what = "resend after restart"
    figure(f"blocks, control {what}: caught in state {number} ({where}): {faults[0]}")
