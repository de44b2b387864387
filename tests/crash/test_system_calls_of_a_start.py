"""Each system call on the journal's files while a kiosk starts is the last one, or fails.

Once where there is no journal yet, and once where the last start left an open request and an
outcome beside the journal. The next start, untouched, must find all of it. With CRASH_CALLS_ALL
the calls that read are hit too, and each is the last one (in the ordinary run the random kills
stand for that).
"""

import itertools
import shutil
from collections import Counter

import pytest
from audit import faults_of, rows_of
from calls_of_payments import ALL, FAULTS, START, START_AND_READS, in_words, open_to
from injection import can_attach
from kiosk_process import WAIT_S, a_code
from tools import figure, need
from traced_kiosk import TracedKiosk

from kiosk.core.intent import Answer, Outcome
from kiosk.payment.recovery import Spilled, spill


@pytest.fixture
def traced(zygote, tmp_path, gateway):
    need(can_attach(), "strace must be installed and allowed: it makes single calls fail")
    kiosk = TracedKiosk(
        zygote,
        tmp_path,
        gateway.url,
        confirm={"mode": "automatic"},
        journal={"path": str(tmp_path / "record" / "journal.db")},
    )
    kiosk.journal_path.parent.mkdir()
    yield kiosk
    kiosk.close()


def nothing(kiosk, ledger):
    """No journal was ever made."""
    return []


def doubt(kiosk, ledger):
    """Two requests whose answers never came into the journal; that of the first is beside it."""
    for code in (a_code(), a_code()):
        kiosk.serves(kill="sent")
        kiosk.scanner.show(code)
        kiosk.dies()
        assert ledger.wait_until(lambda ledger, code=code: ledger.charge_of(code), WAIT_S)
    first, _ = rows_of(kiosk.journal_path)
    answer = Answer(Outcome.APPROVED, payment_id=ledger.charges[0].payment_id)
    spill(kiosk.journal_path, Spilled(intent=first, answer=answer, late=True))
    return [["sending", "unknown", "approved"], ["sending", "unknown"]]


class Starts:
    """Start after start from the same beginning; in each, one call later is hit.

    Attributes:
        hits: Call -> how many of them were hit.
    """

    def __init__(self, kiosk, ledger, aside, before):
        self._kiosk, self._ledger, self._aside = kiosk, ledger, aside
        self._expected = before(kiosk, ledger)
        self._folder = kiosk.journal_path.parent
        shutil.copytree(self._folder, aside)
        self.hits = Counter()

    def run(self, call, fault, **hooks):
        """Until a start no longer makes so many of these calls; returns what was wrong."""
        found = []
        for nth in itertools.count(1):
            shutil.rmtree(self._folder)
            shutil.copytree(self._aside, self._folder)
            life = self._kiosk.begins([f"{call}:{FAULTS[fault]}:when={nth}"], **hooks)
            found += [f"{call} {nth} {fault}: {what}" for what in self._faults()]
            if not life.was_hit(call):
                break
            self.hits[call] += 1
        return found

    def _faults(self):
        """What the next start, which nothing hits, does not find as it was."""
        self._kiosk.serves()
        self._kiosk.kill()
        yield from faults_of(self._kiosk.journal_path, self._ledger)
        rows = rows_of(self._kiosk.journal_path).values()
        kinds = [[kind for kind, _ in found] for found in rows]
        if kinds != self._expected:
            yield f"the rows are {kinds}"


@pytest.fixture
def starts_from(traced, gateway, tmp_path):
    return lambda before: Starts(traced, gateway.ledger, tmp_path / "before", before)


@pytest.mark.parametrize("fault", FAULTS if ALL else ["EIO"])
@pytest.mark.parametrize("before", [nothing, doubt])
def test_a_start_is_hit_at_each_call(before, fault, starts_from):
    starts = starts_from(before)
    for call in open_to(fault, START_AND_READS if ALL else START):
        assert starts.run(call, fault) == []
    assert {"openat", "pwrite64", "fdatasync", "fsync", "unlink"} & {*open_to(fault, START)} <= {
        call for call, count in starts.hits.items() if count
    }
    words = in_words(starts.hits)
    figure(f"system calls of a start ({before.__name__}): {fault} at {words}")


def test_control_a_start_that_empties_the_spill_too_early_is_caught(starts_from):
    starts = starts_from(doubt)

    faults = starts.run("pwrite64", "EIO", misbehave="spill-emptied-first")
    lost = [fault for fault in faults if "['sending', 'unknown'], ['sending', 'unknown']" in fault]
    hits = starts.hits["pwrite64"]
    figure(f"system calls of a start, control spill-emptied-first: {len(lost)} of {hits} caught")
    assert lost
