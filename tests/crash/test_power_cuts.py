"""Power cuts of a real kernel: the real kiosk sells in a guest that is killed at random.

On every start the guest's kernel recovers the ext4, the kiosk recovers its journal, and all that
ever left the kiosk on this disk is compared with it. POWER_CUTS sets the number of cuts (24).
"""

import os
import platform
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from blocks import make_file_system
from power import KERNEL, Guest
from promises import faults_of, faults_of_refused
from tools import figure, need

CUTS = int(os.environ.get("POWER_CUTS", "24"))
PARTS = 4
CUTS_OF_A_DISK = 12
MOST_CUTS_OF_A_CONTROL = 20
LONGEST_SALE_S = 0.15
LONGEST_RECOVERY_S = 0.1
LONGEST_MOUNT_S = 0.01


@pytest.fixture
def folder():
    need(os.geteuid() == 0, "needs root, for a process tree of its own")
    need(platform.machine() == "x86_64", "user-mode-linux is for x86-64")
    need(KERNEL, "needs the package user-mode-linux")
    need("unshare", "needs util-linux")
    need("mkfs.ext4", "needs e2fsprogs")
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="kiosk-power-", dir=memory if memory.is_dir() else None)
    yield Path(made)
    shutil.rmtree(made)


class Machine:
    """Lives of a kiosk on one disk, and everything that ever left it.

    Attributes:
        ends: In what each cut fell.
    """

    def __init__(self, folder, *, options=""):
        self._folder, self._options = folder, options
        self._disk = folder / "disk.img"
        make_file_system(self._disk)
        self._lives = 0
        self.marks, self.ends = [], Counter()

    def live(self, cut, worse=None):
        """One life, from the start on what the last cut left to the next cut.

        Args:
            cut: Called with the guest; returns when the power goes.
            worse: See `customers.WORSE`.

        Returns:
            What is wrong with what was found, in words; None where the cut came too early
            to look.
        """
        self._lives += 1
        guest = Guest(
            self._folder,
            self._disk,
            life=self._lives,
            # Whoever stood there when the power went shows the same code once more.
            again=next((mark["sent"] for mark in self.marks[::-1] if "sent" in mark), None),
            worse=worse,
            options=self._options,
        )
        try:
            cut(guest)
        finally:
            guest.cut()
        left_before = list(self.marks)
        self.marks += [line for line in guest.said if {"sent", "told", "kept"} & line.keys()]
        last = next(iter(guest.said[-1]), "boot") if guest.said else "boot"
        self.ends[last] += 1
        copy = self._folder / "out" / f"{self._lives}.db"
        try:
            for line in guest.said:
                if "refused" in line:
                    return faults_of_refused(copy, left_before, line["refused"])
                if "recovered" in line:
                    return faults_of(copy, left_before)
        finally:
            # With what SQLite left beside it: the next disk has a life of this number too.
            shutil.rmtree(copy.parent)
        return None


def while_selling(chance):
    def cut(guest):
        guest.listen_until("recovered")
        guest.listen(chance.uniform(0, LONGEST_SALE_S))

    return cut


def at_random(chance):
    """Most while it sells, some while ext4 or the kiosk recovers."""
    moment, longest_s = chance.choices(
        [
            ("sent", 0.0),
            ("recovered", LONGEST_SALE_S),
            ("mounted", LONGEST_RECOVERY_S),
            ("mounting", LONGEST_MOUNT_S),
        ],
        [3, 5, 3, 1],
    )[0]

    def cut(guest):
        guest.listen_until(moment)
        guest.listen(chance.uniform(0, longest_s))

    return cut


@pytest.mark.parametrize("part", range(PARTS))
def test_no_power_cut_loses_or_doubles_a_payment(part, folder):
    chance = random.Random(part)
    left, ends, marks = CUTS // PARTS, Counter(), Counter()
    while left > 0:
        machine = Machine(folder)
        cuts = min(left, CUTS_OF_A_DISK)
        for _ in range(cuts):
            assert not machine.live(at_random(chance))
        # What the last cut left.
        assert machine.live(while_selling(chance)) == []
        left -= cuts
        ends += machine.ends
        marks += Counter(next(iter(mark)) for mark in machine.marks)
    assert marks["told"]
    if CUTS >= 100:
        # A run whose cuts all fall between two payments proves nothing.
        assert ends["sent"]
        assert ends["told"]
    figure(
        f"power cuts {part}: {sum(ends.values())} of a guest (last heard: {dict(ends)}), "
        f"{marks['sent']} requests, {marks['told']} outcomes told, {marks['kept']} spilled: "
        "all kept"
    )


# Controls: a worse kiosk must be caught by the very same checks.


NO_ROW, NO_END = "a request has no row", "a customer was told approved, and no row says so"
CONTROLS = {
    # what is worse: of what one must be said
    "synchronous=NORMAL": {NO_ROW, NO_END},
    "synchronous=OFF": {NO_ROW, NO_END},
    "rollback journal with FULL": {NO_ROW, NO_END},
    "request before row": {NO_ROW},
    "cue before commit": {NO_END},
}


@pytest.mark.parametrize("worse", CONTROLS)
def test_control_a_worse_kiosk_is_caught(worse, folder):
    chance = random.Random(worse)
    lost, cuts = [], 0
    while not lost and cuts < MOST_CUTS_OF_A_CONTROL:
        # What a kernel writes by itself every few seconds would hide a missing sync by chance.
        machine = Machine(folder, options="commit=300")
        assert machine.live(while_selling(chance)) == []
        assert machine.live(while_selling(chance), worse) == []
        # That the real kiosk notices the loss and sells nothing is not enough here.
        lost = [fault for fault in machine.live(while_selling(chance)) if fault in CONTROLS[worse]]
        cuts += 1

    assert lost
    figure(f"power cuts, control {worse}: caught by cut {cuts}: {lost[0]} ({len(lost)} in all)")
