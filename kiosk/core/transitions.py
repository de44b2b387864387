"""Moves that several states share."""

from dataclasses import replace
from typing import assert_never

from kiosk.core import effects, events
from kiosk.core.cues import Cue
from kiosk.core.effects import Effect
from kiosk.core.events import Event
from kiosk.core.intent import Intent, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.money import is_payable
from kiosk.core.states import Concluded, Connecting, Ready, Step

NOTICE_S = 0.6
CONCLUDED_S = {
    Outcome.APPROVED: 3.0,
    Outcome.DECLINED: 3.0,
    Outcome.NOT_SENT: 3.2,
    Outcome.UNKNOWN: 60.0,
}
CUE_OF = {
    Outcome.APPROVED: Cue.APPROVED,
    Outcome.DECLINED: Cue.DECLINED,
    Outcome.NOT_SENT: Cue.NOT_SENT,
    Outcome.UNKNOWN: Cue.UNKNOWN,
}


def invite(memory: Memory, policy: Policy) -> Step:
    """Ready, and nothing of the customer before is left."""
    memory = replace(memory, item=0, walking_since_s=None)
    return Ready(memory), (effects.Show(idle_cue(memory, policy)),)


def idle_cue(memory: Memory, policy: Policy) -> Cue:
    """What is shown while nobody is served."""
    return Cue.WAITING if memory.offer(policy) is None else Cue.READY


def refuse(memory: Memory, now_s: float) -> Step:
    """Say that what was shown is no code to pay with."""
    return Ready(memory, now_s + NOTICE_S), (effects.Show(Cue.NOT_ACCEPTED),)


def connect(memory: Memory, intent: Intent, now_s: float, policy: Policy) -> Step:
    """Confirmed: a connection is wanted."""
    state = Connecting(memory, intent, now_s + policy.connecting_s)
    return state, (effects.Connect(intent.id), effects.Show(Cue.SUBMITTING))


def conclude(memory: Memory, outcome: Outcome, intent_id: str | None, now_s: float) -> Step:
    """Tell an outcome."""
    state = Concluded(memory, outcome, intent_id, now_s + CONCLUDED_S[outcome])
    return state, (effects.Show(CUE_OF[outcome]),)


def told_late(state: Concluded, late_s: float) -> Concluded:
    """The row before the cue took its time; the customer is told for as long as ever."""
    return replace(state, ends_s=state.ends_s + late_s)


def busy(event: Event) -> tuple[Effect, ...]:
    """Answers to commands that a running payment refuses."""
    match event:
        case events.OfferMade() | events.OfferCancelled():
            return (effects.Reply(event.request, "a payment is running"),)
        case events.Acknowledged():
            return (effects.Reply(event.request),)
        case _:
            return ()


def take_offer(
    memory: Memory, event: events.OfferMade | events.OfferCancelled, policy: Policy
) -> tuple[Memory, str | None]:
    """The memory with a host's wish done, or why it is refused."""
    if policy.offers:
        return (
            memory,
            "offer.source is not host: the kiosk's own configuration sets the price",
        )
    match event:
        case events.OfferCancelled():
            if memory.host_offer is None:
                return memory, "there is no offer to take back"
            return replace(memory, host_offer=None), None
        case events.OfferMade(consumed=True):
            return memory, "this reference was paid or is unknown; it is not sold again"
        case events.OfferMade(offer) if not is_payable(offer.amount_sum, policy.max_amount_sum):
            return memory, f"amount_sum must be 1 to {policy.max_amount_sum}"
        case events.OfferMade(offer):
            return replace(memory, host_offer=offer), None
        case _:
            assert_never(event)
