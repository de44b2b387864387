"""What other processes see of each state: enough, and never a code."""

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.cues import Cue, Reason
from kiosk.core.intent import Intent, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.offer import Offer
from kiosk.core.states import (
    AwaitingConfirm,
    Concluded,
    Connecting,
    OutOfService,
    Ready,
    Submitting,
)
from kiosk.messages import encode
from kiosk.payment.view import state_name, view

CODE = PaymeCode("50501234567890123456")
INTENT = Intent("ID-1", Offer(1000, "Tea"), CODE)
MEMORY = Memory(unresolved=3)
POLICY = Policy(offers=(Offer(1000, "Tea"), Offer(2000, "Cake")))


@pytest.mark.parametrize(
    ("state", "name", "ends_in_s"),
    [
        (Ready(MEMORY), "ready", None),
        (AwaitingConfirm(MEMORY, INTENT, 0.0, 30.0), "awaiting_confirm", 20.0),
        (Connecting(MEMORY, INTENT, 15.0), "connecting", 5.0),
        (Submitting(MEMORY, INTENT, 0.0, 75.0), "submitting", 65.0),
        (Concluded(MEMORY, Outcome.UNKNOWN, "ID-1", 9.0), "concluded", 0.0),
        (OutOfService(MEMORY), "out_of_service", 10.0),
    ],
)
def test_each_state(state, name, ends_in_s):
    shown = view(state, Cue.READY, POLICY, 10.0, scanner=True)
    assert shown.state == state_name(state) == name
    if name != "out_of_service":
        assert shown.ends_in_s == ends_in_s
    assert shown.unresolved == 3
    assert shown.offer.amount_sum == 1000
    assert (shown.intent == "ID-1") == hasattr(state, "intent") or name == "concluded"
    assert CODE.digits.encode() not in encode(shown)


def test_reasons_have_a_sentence_each():
    memory = MEMORY.began(Reason.CAMERA_DOWN, "unplugged")
    shown = view(OutOfService(memory), Cue.OUT_OF_SERVICE, POLICY, 0.0, scanner=False)
    assert shown.reasons == ["camera_down"]
    assert shown.details == {"camera_down": "unplugged"}


def test_without_an_offer():
    shown = view(Ready(Memory()), Cue.WAITING, Policy(offers=()), 0.0, scanner=True)
    assert shown.offer is None


def test_the_boxs_time_goes_along_as_it_is():
    told = {"scanner": True, "started_by_box_s": 1_800_000_000.5}
    shown = view(Ready(Memory()), Cue.READY, POLICY, 0.0, **told)
    assert shown.started_by_box_s == 1_800_000_000.5
