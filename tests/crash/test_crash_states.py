"""Every content of the card that a power cut may leave, opened by the real journal code.

Real payments are recorded call by call; `states.py` says what a power cut at any moment may
leave of them. CRASH_STATES_RANDOM sets how many random mixtures are tried at each moment (2),
CRASH_STATES_RECORDINGS how many recordings are made (1), each with other mixtures.
"""

import hashlib
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from recorded_customers import Customers, a_full_card, everything, one_payment
from recorded_kiosk import RecordedKiosk
from recording import Resolved, Sent, Told
from reopened import Known, faults_in
from states import SECTOR_BYTES, Names, Resize, Sync, Write, contents_after_each
from tools import figure, need

from kiosk.sandbox.faults import Pace
from kiosk.sandbox.gateway import SandboxGateway

RANDOM_ONES = int(os.environ.get("CRASH_STATES_RANDOM", "2"))
RECORDINGS = int(os.environ.get("CRASH_STATES_RECORDINGS", "1"))
IN_MEMORY = Path("/dev/shm")  # nothing there must survive; a real disk would be slower


@pytest.fixture
def gateway():
    with SandboxGateway(pace=Pace(late_s=1.0)) as running:
        yield running


@pytest.fixture
def recorded(tmp_path, gateway):
    """Record what some customers do; returns what was done, and what must come of it."""
    need("strace", "install strace: it records what is written and synced")
    made = []

    def record(customers_do, worse=""):
        made.append(RecordedKiosk(tmp_path, gateway.url, worse=worse))
        customers = Customers(made[-1].start(), gateway)
        customers_do(customers)
        return made[-1].read_logs(), customers.ends, gateway.ledger.charges

    yield record
    for kiosk in made:
        kiosk.close()


@pytest.fixture
def scratch():
    folder = Path(
        tempfile.mkdtemp(prefix="kiosk-states-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
    )
    yield folder / "record"
    shutil.rmtree(folder)


def open_all(recording, scratch, random_ones, seed=0):
    """Open every content that differs, or that came later when more was known outside.

    Returns:
        How many, in how many something was wrong, and what, with its count.
    """
    done, ends, charges = recording
    known, heard, tried, faults, failed = Known(), 0, set(), Counter(), 0
    chance = random.Random(seed)
    for count, content in contents_after_each(done, chance, random_ones):
        for mark in done[heard:count]:
            if isinstance(mark, Sent | Told | Resolved):
                known.hear(mark)
        heard = count
        seen = (digest_of(content), known.count)
        if seen not in tried:
            tried.add(seen)
            found = faults_in(content, known, charges, ends, scratch)
            failed += bool(found)
            faults.update(set(found))
    return len(tried), failed, faults


def digest_of(content):
    found = hashlib.blake2b()
    for name, data in content.items():
        found.update(f"{name} {len(data)} ".encode())
        found.update(data)
    return found.digest()


@pytest.mark.parametrize("seed", range(RECORDINGS))
def test_nothing_is_lost_in_any_state(seed, recorded, scratch):
    recording = recorded(everything)
    count, failed, faults = open_all(recording, scratch, RANDOM_ONES, seed)

    payments = len(recording[1])
    figure(f"crash states: {payments} payments, {count} contents of the card opened, {failed} bad")
    assert faults == {}
    # Otherwise it proved less than it says.
    done = recording[0]
    gone = {n for o in done if isinstance(o, Names) for n, file in o.changes if file is None}
    assert {"journal.db-journal", "journal.db-wal", "journal.db.spill"} <= gone
    assert any(isinstance(o, Resize) and o.size == 0 for o in done)
    assert any(isinstance(o, Resolved) for o in done)
    assert count > 1000


# Controls: worse journals, and a kiosk that does not wait for its journal.

NO_ROW, NO_END = "a request has no row", "a customer was told approved, and no row says so"
CONTROLS = {
    # what is worse: (what is done with it, what must be found)
    "synchronous=NORMAL": (one_payment, {NO_ROW, NO_END}),
    "synchronous=OFF": (one_payment, {NO_ROW, NO_END}),
    "journal_mode=DELETE": (one_payment, {NO_ROW, NO_END}),
    "request-before-row": (one_payment, {NO_ROW}),
    "cue-before-row": (one_payment, {NO_END}),
    "no sync of the folder": (
        a_full_card,
        {"customers were told their end, and a row is missing that says approved"},
    ),
}


@pytest.mark.parametrize("worse", CONTROLS)
def test_control_a_worse_journal_is_caught(worse, recorded, scratch):
    customers_do, expected = CONTROLS[worse]

    count, failed, faults = open_all(recorded(customers_do, worse), scratch, random_ones=0)

    figure(f"crash states, control {worse}: {count} opened, {failed} caught")
    assert expected <= faults.keys()


# The model itself.


def contents(*operations):
    found = contents_after_each(operations, random.Random(0), random_ones=3)
    return [content for count, content in found if count == len(operations)]


def test_what_was_synced_is_in_every_state_and_a_name_needs_its_folder():
    born = Names((("f", 1),))

    assert {} in contents(born, Write(1, 0, b"a"), Sync(1))
    synced = contents(born, Sync(0), Write(1, 0, b"a"), Sync(1), Write(1, 1, b"b"))
    assert {content["f"] for content in synced} == {b"a", b"ab"}


def test_writes_that_were_not_synced_come_in_any_order_and_torn():
    first, second = b"1" * SECTOR_BYTES, b"2" * SECTOR_BYTES
    born = (Names((("f", 1),)), Sync(0))

    torn = {content["f"] for content in contents(*born, Write(1, 0, first + second))}
    assert torn == {b"", first, bytes(SECTOR_BYTES) + second, first + second}
    mixed = contents(*born, Write(1, 0, first), Write(1, SECTOR_BYTES, second))
    assert {"f": bytes(SECTOR_BYTES) + second} in mixed
