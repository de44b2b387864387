"""Sequences that hurt, each by name, with real processes; journal and ledger are compared.

| sequence | test |
| --- | --- |
| the POST that would leave after the intent was given up | `network/test_sequences.py` |
| the box closes the warmed connection while the customer hesitates | `network/test_sequences.py` |
| another customer's code or press in between | here |
| the outcome row that cannot be written | `test_failing_disk.py` |
| crash while submitting, then the same customer with a fresh code | here |
| a late answer while the next customer stands there | here |
| resolved by staff as declined, then a late approval | here |
| an answer with the payment_id of an earlier row | here |
| the journal moved aside, restored, on a replaced card | `test_restored_journal.py` |
| a used code after an approved and after an unknown payment | here |
| SIGTERM and update in the middle | `test_sequences_time.py`, `test_stopping.py` |
| clock stepped back and forth | `test_clock.py` |
| a kiosk with two unknowns and nobody who can reach it | `test_sequences_time.py` |
| a host's offer posted again after a restart | here |
"""

import pytest
from audit import faults_of
from kiosk_process import WAIT_S, a_code

from kiosk.core.intent import Answer, Outcome
from kiosk.messages import Acknowledge, Offer, Ok, Resolve
from kiosk.payment.recovery import Spilled, spill
from kiosk.sandbox.faults.fault import Pace
from kiosk.sandbox.gateway import SandboxGateway

HOST = {"source": "host", "amount_sum": None, "label": None}
UNHURRIED = {"unknown_pause_s": 0, "max_consecutive_unknown": 100}


def test_another_customers_code_or_press_in_between(kiosk, gateway):
    """Another customer's code or press in between."""
    mine, theirs, third = a_code(), a_code(), a_code()
    first = kiosk.read(mine).intent

    # The other's code takes the place, and the hand that was on its way pays for nobody.
    kiosk.show(theirs, lambda s: s.state == "awaiting_confirm" and s.intent != first)
    kiosk.press(after_s=0)
    assert kiosk.control.state.state == "awaiting_confirm"
    assert gateway.ledger.requests == ()
    kiosk.press()
    assert kiosk.control.wait("concluded").outcome == "approved"
    assert [request.code for request in gateway.ledger.requests] == [theirs]

    # Both at once: nobody may pay with the code of somebody else.
    kiosk.ready()
    kiosk.read(third)
    kiosk.scanner.hold_up(third, mine)
    kiosk.control.wait(lambda s: s.cue == "not_accepted")
    kiosk.press()
    kiosk.scanner.hold_up()
    assert kiosk.control.state.state == "ready"
    assert [request.code for request in gateway.ledger.requests] == [theirs]
    told = [(theirs, kiosk.control.cues())]
    assert faults_of(kiosk.journal_path, gateway.ledger, told) == []


def test_crash_while_submitting_then_the_same_customer_with_a_fresh_code(kiosk_at):
    """Crash while submitting, then the same customer with a fresh code."""
    with SandboxGateway(latency_s=0.5) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        first, fresh = a_code(), a_code()
        kiosk.read(first)
        kiosk.press()
        assert gateway.ledger.wait_until(lambda ledger: ledger.charges, WAIT_S)
        kiosk.kill()

        kiosk.start()
        # The customer still stands there: told first that the payment is in doubt.
        state = kiosk.control.wait(lambda s: s.state != "out_of_service")
        assert (state.state, state.cue) == ("concluded", "unknown")
        assert kiosk.show(first, lambda s: s.cue == "unknown").outcome == "unknown"
        assert kiosk.control.command(Acknowledge()) == Ok()
        # A fresh code is a new payment, of a customer who decided so after that.
        assert kiosk.pay(fresh).outcome == "approved"

        assert [request.code for request in gateway.ledger.requests] == [first, fresh]
        assert len(kiosk.as_json("journal", "unresolved")) == 1
        assert faults_of(kiosk.journal_path, gateway.ledger) == []


def unknown_and_acknowledged(kiosk, code):
    assert kiosk.pay(code).outcome == "unknown"
    assert kiosk.control.command(Acknowledge()) == Ok()
    kiosk.ready()


@pytest.fixture
def hasty(kiosk_at):
    """Gives up after a second, while this box answers the first request a while later."""
    with SandboxGateway(pace=Pace(late_s=4.0)) as gateway:
        gateway.set_fault("late", times=1)
        limits = {"deadline_s": 2, "read_timeout_s": 30}
        kiosk = kiosk_at(gateway.url, gateway=limits, limits=UNHURRIED).start()
        kiosk.gateway = gateway
        yield kiosk


def test_a_late_answer_while_the_next_customer_stands_there(hasty):
    """A late answer while the next customer stands there."""
    late, here = a_code(), a_code()
    unknown_and_acknowledged(hasty, late)
    intent = hasty.as_json("journal", "unresolved")[0]["intent"]
    hasty.read(here)  # who waits for the cue to press

    hasty.logged("outcome", intent=intent, late=True)

    # No cue of approval, no payment for the one who stands there.
    assert hasty.control.states[-1].state == "awaiting_confirm"
    entries = {entry["intent"]: entry for entry in hasty.as_json("journal", "list")}
    assert entries[intent]["outcome"] == "approved"
    assert entries[intent]["late"]
    hasty.press()
    assert hasty.control.wait("concluded").outcome == "approved"
    assert [request.code for request in hasty.gateway.ledger.requests] == [late, here]
    assert faults_of(hasty.journal_path, hasty.gateway.ledger) == []


def test_resolved_by_staff_as_declined_then_a_late_approval(kiosk_at, gateway):
    """Resolved by staff as declined, then a late approval: a conflict, counted as approved."""
    kiosk = kiosk_at(gateway.url, limits=UNHURRIED).start()
    gateway.set_fault("hang-up-charged", times=1)
    unknown_and_acknowledged(kiosk, a_code())
    intent = kiosk.as_json("journal", "unresolved")[0]["intent"]
    stated = Resolve(intent=intent, outcome="declined", by="Staff", why="not in the cabinet")
    assert kiosk.control.command(stated) == Ok()
    kiosk.stop()

    # An outcome that could not be written comes up again, after staff had their say.
    payment_id = gateway.ledger.charges[0].payment_id
    answer = Answer(Outcome.APPROVED, payment_id=payment_id)
    spill(kiosk.journal_path, Spilled(intent=intent, answer=answer, late=True))
    kiosk.start()
    kiosk.ready()

    (waiting,) = kiosk.as_json("journal", "unresolved")
    assert (waiting["intent"], waiting["payment_id"]) == (intent, payment_id)
    assert waiting["outcome"] == "approved"
    assert "conflict" in waiting["flags"]
    (day,) = kiosk.as_json("journal", "totals")
    assert (day["conflict"]["count"], day["paid"]["count"]) == (1, 1)
    assert (
        kiosk.control.command(
            Resolve(
                intent=intent, outcome="approved", by="Staff", why="found", payment_id=payment_id
            )
        )
        == Ok()
    )
    assert kiosk.as_json("journal", "unresolved") == []
    assert [kind for _, kind, _ in kiosk.rows()] == [
        *("sending", "unknown", "resolved_declined", "approved", "resolved_approved")
    ]
    assert faults_of(kiosk.journal_path, gateway.ledger) == []


def test_an_answer_with_the_payment_id_of_an_earlier_row(kiosk_at, gateway):
    """An answer with the payment_id of an earlier row."""
    kiosk = kiosk_at(gateway.url, limits=UNHURRIED).start()
    assert kiosk.pay(a_code()).outcome == "approved"
    gateway.set_fault("payment-id-repeated", times=1)
    kiosk.ready()

    assert kiosk.pay(a_code()).outcome == "unknown"

    (waiting,) = kiosk.as_json("journal", "unresolved")
    assert "payment_id_known" in waiting["flags"]
    assert len(gateway.ledger.charges) == len(gateway.ledger.requests) == 2
    # The row keeps what the answer said, and that is all that is wrong.
    (repeated,) = faults_of(kiosk.journal_path, gateway.ledger)
    assert "has the payment_id of" in repeated


def test_a_used_code_after_an_approved_and_after_an_unknown_payment(kiosk_at, gateway):
    """A used code after an approved and after an unknown payment."""
    kiosk = kiosk_at(gateway.url, limits=UNHURRIED).start()
    paid, doubtful = a_code(), a_code()
    assert kiosk.pay(paid).outcome == "approved"
    kiosk.ready()
    gateway.set_fault("hang-up-charged", times=1)
    unknown_and_acknowledged(kiosk, doubtful)

    for _ in range(2):
        kiosk.show(paid, lambda s: s.cue == "not_accepted")
        kiosk.control.wait(lambda s: s.cue == "ready")
        kiosk.show(doubtful, lambda s: s.cue == "unknown")
        assert kiosk.control.command(Acknowledge()) == Ok()
        kiosk.kill()  # and what it remembers must not be in memory only
        kiosk.start()
        state = kiosk.control.wait(lambda s: s.state != "out_of_service")
        if state.state == "concluded":
            assert kiosk.control.command(Acknowledge()) == Ok()
        kiosk.ready()

    assert [request.code for request in gateway.ledger.requests] == [paid, doubtful]
    assert faults_of(kiosk.journal_path, gateway.ledger) == []


@pytest.mark.parametrize("fault", [None, "hang-up-charged"])
def test_a_hosts_offer_posted_again_after_a_restart(fault, kiosk_at, gateway):
    """A host's offer posted again after a restart."""
    kiosk = kiosk_at(gateway.url, offer=HOST, limits=UNHURRIED).start()
    offer = Offer(amount_sum=2500, label="Tea", reference="ORDER-7")
    kiosk.control.wait(lambda s: s.cue == "waiting")
    assert kiosk.control.command(offer) == Ok()
    gateway.set_fault(fault, times=1)
    expected = "approved" if fault is None else "unknown"
    assert kiosk.pay(a_code()).outcome == expected
    kiosk.kill()

    kiosk.start()
    state = kiosk.control.wait(lambda s: s.state != "out_of_service")
    if state.state == "concluded":
        assert kiosk.control.command(Acknowledge()) == Ok()
    refused = kiosk.control.command(offer)

    assert "not sold again" in refused.message
    assert len(gateway.ledger.requests) == 1
    assert faults_of(kiosk.journal_path, gateway.ledger) == []
