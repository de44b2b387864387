"""Every state takes every event, whenever it comes."""

import itertools

import pytest

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.intent import Outcome, Standing
from kiosk.core.memory import Memory
from kiosk.core.session import step
from kiosk.core.states import OutOfService, next_deadline_s, wants_codes

from .kiosk_at import (
    APPROVED,
    AUTOMATIC,
    DECLINED,
    FIXED,
    HOST,
    MENU,
    ORDER,
    UNKNOWN,
    A,
    B,
    Kiosk,
    awaiting,
    concluded,
    connecting,
    given_up,
    submitting,
)

STATES = [
    Kiosk().state,
    Kiosk().look(A, B, at_s=0).state,
    awaiting().state,
    awaiting().look(B, at_s=1).state,
    connecting().state,
    submitting().state,
    concluded(APPROVED).state,
    concluded(UNKNOWN).state,
    given_up().state,
    OutOfService(Memory(troubles=((Reason.CAMERA_DOWN, ""),))),
    OutOfService(Memory()),
    submitting().take(events.StopRequested(), at_s=2).state,
]
EVENTS = [
    events.Tick(),
    *(
        events.SymbolsSeen(1.0, tuple(events.SeenCode(c, s) for c in codes), refused, "new")
        for codes in ((), (A,), (B,), (A, B))
        for s in (None, *Outcome)
        for refused in ((), (b"sticker",))
    ),
    events.ButtonPressed(1.0),
    events.ButtonReleased(1.0),
    *(
        word
        for i in ("i1", "i2", "stranger")
        for word in (
            events.Connected(i),
            events.NotSent(i, ""),
            events.AnswerLost(i, ""),
            *(
                events.OutcomeKnown(i, answer, known)
                for answer in (APPROVED, DECLINED, UNKNOWN)
                for known in (False, True)
            ),
            *(events.RowFailed(i, row, "") for row in ("sending", "outcome", "not_sent", "spent")),
            events.RowSaved(i),
            *(
                events.ResolutionAsked(i, Outcome.APPROVED, "who", "why", None, standing, False, 1)
                for standing in (None, Standing(), Standing(Outcome.UNKNOWN))
            ),
        )
    ),
    *(
        event
        for reason in Reason
        for event in (events.TroubleBegan(reason, ""), events.TroubleEnded(reason))
    ),
    events.UnresolvedCounted(()),
    events.UnresolvedCounted(tuple("abcdefghijkl")),
    events.OfferMade(ORDER, False, 1),
    events.OfferMade(ORDER, True, 1),
    events.OfferCancelled(1),
    events.Acknowledged(1),
    events.StopRequested(),
]


@pytest.mark.parametrize("policy", [FIXED, MENU, HOST, AUTOMATIC])
def test_every_state_takes_every_event_twice(policy):
    for state, event, now_s in itertools.product(STATES, EVENTS, (0.0, 1.0, 31.0, 1e9)):
        after, _ = step(*step(state, event, now_s, policy)[:1], event, now_s, policy)
        wants_codes(after, policy)
        next_deadline_s(after, now_s, policy)


def test_these_are_all_the_events():
    assert {type(event) for event in EVENTS} == set(events.Event.__args__)
