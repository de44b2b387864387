"""Each system call of a payment is the last one (KILL), or fails (EIO, ENOSPC), one by one.

The calls are made to fail by strace in the real payment process. What must hold is read from
the calls themselves (nothing is sent before the row's fdatasync has succeeded), and from the
journal and the gateway's ledger after a restart.
"""

import itertools
import time
from collections import Counter

import pytest
from audit import faults_of, intent_of, rows_of, without_outcome
from calls_of_payments import FAULTS, JOURNAL, OTHERS, SPILL, WITHOUT_EFFECT, in_words, open_to
from injection import can_attach
from kiosk_process import a_code
from tools import figure, need
from traced_kiosk import TracedKiosk

from kiosk.messages import Acknowledge, Ok

ENDS = ("approved", "declined", "not_sent", "unknown")
IN_MEMORY_ONLY = "an outcome is in memory only; do not switch off"
OUTCOME_FAILS = "fdatasync:error=EIO:when=2"


@pytest.fixture
def traced(zygote, tmp_path, gateway):
    need(can_attach(), "strace must be installed and allowed: it makes single calls fail")
    kiosk = TracedKiosk(zygote, tmp_path, gateway.url, confirm={"mode": "automatic"})
    yield kiosk
    kiosk.close()


def is_request(call):
    return call.name == "sendto" and '"POST /' in call.arguments


def says(life, text):
    """Whether it tried to log it; the log may be what fails."""
    return any(call.name == "write" and text in call.arguments for call in life.calls)


def faults_of_order(calls):
    """A request or a cue that did not wait for what must be durable before it."""
    commits, is_clean = 0, True
    for call in calls:
        if "/journal.db-wal" in call.arguments and call.name in ("pwrite64", "fdatasync"):
            is_clean = is_clean and not call.failed
            if call.name == "fdatasync":
                commits, is_clean = commits + is_clean, True
        elif is_request(call) and commits < 1:
            yield "a request left before its row was durable"
        elif call.name == "write" and '"approved\\n"' in call.arguments and commits < 2:
            yield "a customer was told approved before the row was durable"


def faults_of_life(life, kinds, *, may_end):
    """What a payment with a failing call may not do; `kinds` are its rows after the restart."""
    yield from faults_of_order(life.calls)
    refused = [
        call
        for call in life.calls
        if call.injected and call.name in ("pwrite64", "fdatasync") and "-wal>" in call.arguments
    ]
    if not refused or (life.ended and may_end):
        return
    if life.ended:
        yield "it ended because of it"
    if not says(life, "journal out of use"):
        yield "the journal failed, and nobody was told"
    if not any(map(is_request, life.calls)):
        if life.cues[-1:] != ["not_sent"]:
            yield "nothing was sent, and it told otherwise"
    elif kinds[-1:] != ["approved"] and not says(life, IN_MEMORY_ONLY):
        yield "the outcome was not kept"


class Series:
    """Payments one after the other at one kiosk; in each, one call later is hit."""

    def __init__(self, kiosk, ledger):
        self.kiosk, self.ledger = kiosk, ledger
        self.told, self.hits = [], Counter()

    def run(self, call, fault, *, besides=(), nths=None, **hooks):
        """Until a payment no longer makes so many of these calls; returns what was wrong."""
        found = []
        for nth in nths or itertools.count(1):
            if hooks or self.kiosk.process is None:
                self.kiosk.serves(**hooks)
            code = a_code()
            life = self.kiosk.pays(code, [*besides, f"{call}:{FAULTS[fault]}:when={nth}"], ENDS)
            self.told.append((code, life.cues))
            self.kiosk.serves()  # the next customer pays in this life
            may_end = fault == "KILL" or call not in JOURNAL
            faults = [*faults_of_life(life, self.kinds_of(code), may_end=may_end)]
            faults += self.faults_of_record()
            found += [f"{call} {nth} {fault}: {what}" for what in faults]
            if hooks:
                self.kiosk.kill()
            if not life.was_hit(call):
                break
            self.hits[call] += 1
        return found

    def kinds_of(self, code):
        path = self.kiosk.journal_path
        return [kind for kind, _ in rows_of(path).get(intent_of(path, code), ())]

    def faults_of_record(self):
        path = self.kiosk.journal_path
        faults = faults_of(path, self.ledger, self.told)
        return faults + (["an outcome is missing"] if without_outcome(path) else [])


@pytest.fixture
def series(traced, gateway):
    return Series(traced, gateway.ledger)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", [JOURNAL, OTHERS], ids=["journal", "others"])
def test_a_payment_is_hit_at_each_call(part, fault, series):
    for call in open_to(fault, part):
        assert series.run(call, fault) == []
        assert series.hits[call]
    figure(f"system calls of a payment: {fault} at {in_words(series.hits)}")


@pytest.mark.parametrize("fault", FAULTS)
def test_hit_again_while_the_outcome_is_kept_beside_the_journal(fault, series):
    for call in open_to(fault, SPILL):
        assert series.run(call, fault, besides=[OUTCOME_FAILS]) == []
        assert series.hits[call]
    figure(f"system calls of a spill: {fault} at {in_words(series.hits)}")


def test_every_call_of_a_payment_has_its_test(traced):
    traced.serves()
    life = traced.pays(a_code(), [], ENDS, watched=("all",))

    assert life.cues[-1:] == ["approved"]
    assert {call.name for call in life.calls} <= {*JOURNAL, *OTHERS, *WITHOUT_EFFECT}
    assert {*JOURNAL, *OTHERS} <= {call.name for call in life.calls}


@pytest.mark.parametrize("injection", ["fdatasync:error=EIO", "pwrite64:error=ENOSPC"])
def test_a_card_that_fails_from_now_on(injection, traced, gateway):
    traced.serves()
    with traced.strace(traced.process.pid, [injection]) as strace:
        traced.scanner.show(code := a_code())
        told = traced.control.wait("concluded")
        assert (told.outcome, told.cue) == ("not_sent", "not_sent")
        assert isinstance(traced.control.command(Acknowledge()), Ok)
        traced.control.wait(
            lambda s: s.state == "out_of_service" and "journal_unwritable" in s.reasons
        )
        traced.scanner.show(a_code())
        time.sleep(0.5)  # until it has seen that one; afterwards it might serve it

    traced.ready()
    assert traced.pay(last := a_code()).outcome == "approved"
    assert list(faults_of_order(strace.calls())) == []
    assert [request.code for request in gateway.ledger.requests] == [last]
    assert faults_of(traced.journal_path, gateway.ledger, [(code, ["not_sent"])]) == []


# Controls: a worse kiosk must be caught by the very same checks.

BEFORE_ITS_ROW = "a request left before its row was durable"
TOLD_BEFORE = "a customer was told approved before the row was durable"
FIRST, LATER = range(1, 5), range(9, 14)
"""Which of the calls: those of the row, or those of the outcome."""
CONTROLS = [
    ("failed-row-ignored", "fdatasync", "EIO", FIRST, {BEFORE_ITS_ROW, TOLD_BEFORE}),
    ("failed-row-ignored", "pwrite64", "ENOSPC", FIRST, {BEFORE_ITS_ROW, TOLD_BEFORE}),
    ("request-before-row", "fdatasync", "EIO", FIRST, {BEFORE_ITS_ROW}),
    ("request-before-row", "pwrite64", "KILL", FIRST, {BEFORE_ITS_ROW, "a charge has no row"}),
    ("cue-before-row", "fdatasync", "EIO", FIRST, {TOLD_BEFORE}),
    ("outcome-not-kept", "pwrite64", "EIO", LATER, {"the outcome was not kept"}),
]


@pytest.mark.parametrize(("worse", "call", "fault", "nths", "expected"), CONTROLS)
def test_control_a_worse_kiosk_is_caught(worse, call, fault, nths, expected, series):
    faults = series.run(call, fault, nths=nths, misbehave=worse)

    found = Counter(what.partition(": ")[2] for what in faults)
    words = "; ".join(f"{found[what]} times {what}" for what in sorted(expected))
    figure(f"system calls, control {worse}, {fault} at each {call}: {words}")
    assert expected <= found.keys()
