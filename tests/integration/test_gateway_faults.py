"""Every fault of the sandbox, met by the real deciding thread, gateway client and journal.

For each: the outcome that the fault permits, one request at most, nobody contacted who must not
be, told in time and in little memory, and the journal agrees with what the sandbox charged.
"""

import itertools
import json
import os
from collections import Counter

import judge
import pytest
import tools
from till import Till

from kiosk.sandbox.faults import FAULTS, Pace
from kiosk.sandbox.faults.hangups import HANGUPS
from kiosk.sandbox.gateway import SandboxGateway

RUNS = int(os.environ.get("KIOSK_FAULT_RUNS", "1"))
PACE = Pace(stall_s=2.5, drip_s=0.02, late_s=0.6)
CODES = (f"50502{number:015d}" for number in itertools.count())

everywhere = [fault for fault in FAULTS.values() if fault.place != "tls"]
# Whether refusals are trusted says something about answers that came whole, and in time.
answered = [fault for fault in everywhere if fault not in HANGUPS and "dripping" not in fault.name]
at_handshake = [fault for fault in FAULTS.values() if fault.place == "tls"]


class Shop:
    """A sandbox, a till, and what came of its payments."""

    def __init__(self, tls, **till):
        self.sandbox = SandboxGateway(tls=tls, pace=PACE)
        self.till = Till(self.sandbox, **till)
        self.runs = 0
        self.met = set()
        self.outcomes = Counter()
        self.grown_kb = 0
        self.late_s = 0.0

    def meet(self, fault, *, trusting=True):
        """One payment under a fault; what is wrong with it, in words."""
        code, before = next(CODES), len(self.sandbox.ledger.requests)
        self.sandbox.set_fault(fault.name)
        try:
            payment = self.till.pay(code, trusting=trusting)
        finally:
            self.sandbox.set_fault(None)
        self.runs += 1
        self.met.add(fault.name)
        self.outcomes[payment.outcome] += 1
        self.grown_kb = max(self.grown_kb, payment.grown_kb)
        self.late_s = max(self.late_s, payment.waited_s - payment.promised_s)
        faults = [*judge.faults_of(payment, code, self.till, self.sandbox.ledger)]
        if len(self.sandbox.ledger.requests) > before + 1:
            faults.append("more than one request")
        return [*faults, *self._faults_of_outcome(payment, code, fault, trusting=trusting)]

    def _faults_of_outcome(self, payment, code, fault, *, trusting):
        permitted = {fault.outcome if trusting else fault.distrusted, fault.also}
        if fault.name.startswith("info-closes"):
            # The hang-up may come after the row, or while the request leaves.
            permitted |= {"not_sent", "unknown"}
        _, payment_id, body = self.till.rows(payment.intent)[-1]
        if payment.outcome not in permitted:
            yield f"told {payment.outcome}: {body}"
        if fault.flagged and payment.outcome == fault.outcome and "flags" not in json.loads(body):
            yield "staff are not told"
        charge = self.sandbox.ledger.charge_of(code)
        expects = payment.outcome == "approved" and not fault.name.startswith("payment-id")
        if expects and charge is not None and charge.payment_id != payment_id:
            yield "approved under another payment_id"
        if fault.unread and self.sandbox.ledger.requests[-1].fault != fault.name:
            yield "the fault did not strike"

    def close(self):
        self.till.close()
        self.sandbox.close()


@pytest.fixture(scope="module", params=["plain", "tls"])
def shop(request):
    """With one ordinary payment behind it, whose payment_id a fault may repeat."""
    shop = Shop("valid" if request.param == "tls" else None)
    assert shop.till.pay(next(CODES)).outcome == "approved"
    yield shop
    tools.figure(
        f"faults of the gateway, {request.param}: {len(shop.met)} faults in {shop.runs} payments, "
        f"{dict(shop.outcomes)}, "
        f"at most {shop.late_s:.3f} s after the deadline, {shop.grown_kb / 1024:.1f} MB"
    )
    shop.close()


@pytest.mark.parametrize("fault", everywhere, ids=lambda fault: fault.name)
def test_a_fault_costs_no_money_no_time_and_no_memory(shop, fault):
    assert [text for _ in range(RUNS) for text in shop.meet(fault)] == []


@pytest.mark.parametrize("fault", answered, ids=lambda fault: fault.name)
def test_who_trusts_no_refusal_is_no_worse_off(shop, fault):
    assert [text for _ in range(RUNS) for text in shop.meet(fault, trusting=False)] == []


@pytest.mark.parametrize("fault", at_handshake, ids=lambda fault: fault.name)
@pytest.mark.parametrize("shop", ["tls"], indirect=True)
def test_a_handshake_that_fails_sends_nothing(shop, fault):
    assert shop.meet(fault) == []


@pytest.mark.parametrize(
    ("breaks", "fault", "found"),
    [
        ({"client": "pool"}, "redirect-308-loop", "requests"),
        ({"client": "pool"}, "redirect-307-elsewhere", "somebody went where a redirect pointed"),
        ({"client": "pool without retries"}, "reset-charged", "nothing was sent, and a request"),
        ({"client": "doubter"}, "truncated-body", "told declined, and money moved"),
        ({"client": "doubter"}, "json-nan", "told declined, and money moved"),
        ({"client": "glutton"}, "until-close-huge", "needed"),
        ({"deadline_s": 600.0, "within_s": 0.6}, "slow-headers", "told after"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_who_breaks_the_rules_is_caught(breaks, fault, found):
    shop = Shop(None, **breaks)
    try:
        faults = shop.meet(FAULTS[fault])
    finally:
        shop.close()
    assert any(found in text for text in faults), faults
    tools.figure(f"control, {next(iter(breaks.values()))} at {fault}: {'; '.join(faults)}")
