"""kill -9 at random moments, always restarted on the same journal, against one ledger.

After each restart the whole record is audited: see `audit` for what must hold, `epoch` for what
happens in a life. CRASH_KILLS sets the number of kills in all (2000), for example
`CRASH_KILLS=100000 pytest tests/crash/test_random_kills.py`; CRASH_SEED draws other moments.

What no kill can show: whether a row reached the disk. The kernel survives a SIGKILL and writes
what it was given, so `synchronous=NORMAL` and even `OFF` pass here; the crash states, the block
device and the power cuts of a real kernel are there for that.
"""

import itertools
import os
import random

import pytest
from epoch import Epoch
from marks import PHASES
from tally import Tally, gathered
from tools import figure

KILLS = int(os.environ.get("CRASH_KILLS", "2000"))
SEED = os.environ.get("CRASH_SEED", "0")
PARTS = 8
ENOUGH_FOR_EACH_PHASE = 2000
SHORT, LONG = 150, 2000
"""Lives of one journal. The audit reads all of it, so that most have to be short."""
MOST_UNTIL_CAUGHT = 400
CONTROLS = {
    # what a worse kiosk does: what the audit must say of it
    "request-just-before-row": ("a request has no row", "a charge has no row"),
    "resend-after-restart": ("a code was sent 2 times",),
    "spent-codes-forgotten": ("a code was sent 2 times",),
    "cue-just-before-row": ("a customer was told approved, and no row says so",),
    "silence-is-declined": ("was charged, and the journal says",),
    "doubt-forgotten": ("after a restart nobody wrote how they ended",),
    "payment-id-lost": ("is approved without a payment_id",),
}


@pytest.fixture
def an_epoch(zygote, quick_folder, tmp_path):
    """Makes epochs, each in a folder of its own."""
    numbers = itertools.count(1)

    def make(*args, on_disk=False, **options):
        folder = tmp_path if on_disk else quick_folder
        return Epoch(zygote, folder / str(next(numbers)), *args, **options)

    return make


@pytest.mark.parametrize("part", range(PARTS))
def test_no_payment_is_lost_or_doubled(part, an_epoch, shared_folder):
    chance, tally = random.Random(f"{SEED}-{part}"), Tally()
    # One part on a real disk and with long journals; its fsyncs only make it slower.
    is_long = part == 0
    while tally.kills < KILLS / PARTS:
        with an_epoch(chance, tally, on_disk=is_long) as epoch:
            for _ in range(LONG if is_long else SHORT):
                if tally.kills < KILLS / PARTS:
                    epoch.live()
                assert epoch.faults == [], f"CRASH_SEED={SEED}, part {part}, kill {tally.kills}"
            epoch.last_restart()
            assert epoch.faults == []
    print(tally)
    if parts := gathered(shared_folder, "random-kills", part, PARTS, vars(tally)):
        whole = Tally()
        for counts in parts:
            whole.add(counts)
        figure(f"kill -9 at random: {whole}; nothing lost, doubled or told wrongly")
        # A run that never dies in the middle of a payment proves nothing.
        if KILLS >= ENOUGH_FOR_EACH_PHASE:
            assert set(PHASES.values()) <= whole.phases.keys()


# Controls: a worse kiosk must be caught by the very same lives and audit.


@pytest.mark.parametrize("worse", CONTROLS)
def test_control_a_worse_kiosk_is_caught(worse, an_epoch):
    chance, tally = random.Random(f"{SEED}-{worse}"), Tally()
    while tally.kills < MOST_UNTIL_CAUGHT:
        with an_epoch(chance, tally, misbehave=worse) as epoch:
            for _ in range(SHORT):
                epoch.live()
                if any(said in fault for fault in epoch.faults for said in CONTROLS[worse]):
                    figure(f"kill -9 at random, control {worse}: caught after {tally.kills} kills")
                    return
    pytest.fail(f"{worse} was not caught in {tally.kills} kills")
