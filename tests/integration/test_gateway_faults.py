"""Every fault of the sandbox, met by the real gateway client and the real journal.

For each: the outcome is one that the fault permits, one request at most left, and the journal
agrees with what the sandbox really charged.
"""

import itertools
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk.core import events
from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.core.paying import believed
from kiosk.payment import gateway as gateway_module
from kiosk.payment.gateway import Gateway
from kiosk.payment.gateway_thread import Attempts
from kiosk.payment.journal import Journal
from kiosk.payment.mailbox import ThreadDied
from kiosk.sandbox.faults import FAULTS, Fault, Pace
from kiosk.sandbox.gateway import SandboxGateway
from kiosk.settings import GatewaySettings

PACE = Pace(stall_s=2.0, drip_s=0.02, late_s=0.6)
AMOUNT = 1000
PATIENCE_S = 20.0
READ_S = 0.25
"""The client's time-out for one read; the late answer comes after it."""
DEADLINE_S = 0.6
"""When the session would stop waiting for a word."""
NUMBERS = itertools.count()

everywhere = [fault for fault in FAULTS.values() if fault.place != "tls"]
at_handshake = [fault for fault in FAULTS.values() if fault.place == "tls"]


class Kiosk:
    """One sandbox, one journal and the client between them, asked as the session asks."""

    def __init__(self, folder: Path, sandbox: SandboxGateway) -> None:
        self.sandbox = sandbox
        self.journal = Journal.open(folder / "journal.db")
        self.words: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.gateways = {
            trusting: Gateway.from_settings(
                GatewaySettings(
                    url=sandbox.url,
                    ca_file=None if sandbox.ca_file is None else str(sandbox.ca_file),
                    connect_timeout_s=0.5,
                    read_timeout_s=READ_S,
                    trust_refusals=trusting,
                )
            )
            for trusting in (True, False)
        }

    def word(self, intent: Intent, timeout_s: float) -> object | None:
        """The next word on this intent; None when the time is over."""
        until_s = time.monotonic() + timeout_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                item = self.words.get(timeout=left_s)
            except queue.Empty:
                return None
            assert not isinstance(item, ThreadDied), repr(item.error)
            if getattr(item, "intent_id", None) == intent.id:
                return item
        return None

    def pay(self, intent: Intent, *, trusting: bool = True) -> Answer:
        """From the code to the outcome's row, in the order of the session."""
        attempts = Attempts(self.gateways[trusting], self.words.put)
        attempts.warm_up(intent.id)
        attempts.connect(intent.id)
        word = self.word(intent, PATIENCE_S)
        if isinstance(word, events.NotSent):
            self.journal.record_not_sent(intent, word.detail)
            return Answer(Outcome.NOT_SENT, word.detail)
        assert isinstance(word, events.Connected)
        self.journal.record_sending(intent)
        attempts.submit(intent, time.monotonic() + 5.0)
        match self.word(intent, DEADLINE_S):
            case events.OutcomeKnown() as known:
                seen = self.journal.knows_payment(known.answer.payment_id, intent.id)
                answer = believed(events.OutcomeKnown(intent.id, known.answer, seen))
            case events.NotSent(detail=detail):
                answer = Answer(Outcome.NOT_SENT, detail)
            case events.AnswerLost(detail=detail, raw=raw):
                answer = Answer(Outcome.UNKNOWN, detail, raw=raw)
            case _:
                answer = Answer(Outcome.UNKNOWN, "no answer in time")
        self.journal.record_outcome(intent.id, answer)
        attempts.hang_up_overdue(time.monotonic() + 1e6)
        return answer

    def close(self) -> None:
        self.journal.close()


@pytest.fixture(scope="module", params=["plain", "tls"])
def kiosk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kiosk]:
    """With one ordinary payment behind it, whose payment_id a fault may repeat."""
    with (
        pytest.MonkeyPatch.context() as patch,
        SandboxGateway(tls="valid" if request.param == "tls" else None, pace=PACE) as sandbox,
    ):
        patch.setattr(gateway_module, "INFO_TIMEOUT_S", READ_S)
        kiosk = Kiosk(tmp_path_factory.mktemp("journal"), sandbox)
        assert kiosk.pay(new_intent()).outcome is Outcome.APPROVED
        yield kiosk
        kiosk.close()


def new_intent() -> Intent:
    number = next(NUMBERS)
    return Intent(f"intent-{number}", Offer(AMOUNT, "Payment"), PaymeCode(f"50502{number:015d}"))


def check(kiosk: Kiosk, intent: Intent, fault: Fault, answer: Answer, *, trusting: bool) -> None:
    """What must hold whatever the box did."""
    ledger, journal = kiosk.sandbox.ledger, kiosk.journal
    requests = [request for request in ledger.requests if request.code == intent.code.digits]
    unread = [request for request in ledger.requests if request.code is None]
    charge = ledger.charge_of(intent.code.digits)

    permitted = {fault.outcome if trusting else fault.distrusted, fault.also}
    if fault.name.startswith("info-closes"):
        permitted.add("not_sent")  # the hang-up may come after the row: proved, and no request
    assert answer.outcome.value in permitted, (answer.detail, answer.flags)
    assert len(requests) <= 1
    if fault.flagged and answer.outcome.value == fault.outcome:
        assert answer.flags

    rows = journal.rows(intent.id)
    approved = [row.payment_id for row in rows if row.kind.value == "approved"]
    standing = journal.standing(intent.id)
    assert standing is not None
    assert standing.outcome is answer.outcome
    if answer.outcome is Outcome.APPROVED:
        assert charge is not None
        assert len(approved) == 1
        if not fault.name.startswith("payment-id"):
            assert approved == [charge.payment_id]
    if charge is not None:
        assert answer.outcome in (Outcome.APPROVED, Outcome.UNKNOWN)
    if answer.outcome is Outcome.NOT_SENT:
        assert requests == []
        assert journal.spent(intent.code) is None
    if fault.unread:
        assert len([request for request in unread if request.fault == fault.name]) >= 1
    assert intent.code.digits not in f"{answer.detail}{answer.facts}{answer.transaction_id}"
    assert ledger.canary_hits == 0


def met(kiosk: Kiosk, fault: Fault, *, trusting: bool) -> None:
    intent, before = new_intent(), len(kiosk.sandbox.ledger.requests)
    kiosk.sandbox.set_fault(fault.name)
    try:
        answer = kiosk.pay(intent, trusting=trusting)
    finally:
        kiosk.sandbox.set_fault(None)

    assert len(kiosk.sandbox.ledger.requests) <= before + 1
    check(kiosk, intent, fault, answer, trusting=trusting)


@pytest.mark.parametrize("trusting", [True, False], ids=["trusting", "distrusting"])
@pytest.mark.parametrize("fault", everywhere, ids=lambda fault: fault.name)
def test_a_fault_leaves_journal_and_ledger_in_agreement(kiosk: Kiosk, fault: Fault, trusting: bool):
    met(kiosk, fault, trusting=trusting)


@pytest.mark.parametrize("fault", at_handshake, ids=lambda fault: fault.name)
@pytest.mark.parametrize("kiosk", ["tls"], indirect=True)
def test_a_handshake_that_fails_sends_nothing(kiosk: Kiosk, fault: Fault):
    met(kiosk, fault, trusting=True)
