"""The rules of a payment as one total function: state, event, time -> state, wishes.

    Ready -> AwaitingConfirm -> Connecting -> Submitting -> Concluded -> Ready
      ^-> OutOfService

Order of wishes matters: RecordSending stands before Submit, RecordOutcome before Show; when a
row fails, what follows it is not done and RowFailed comes back instead.
"""

from dataclasses import replace
from typing import assert_never

from kiosk.core import effects, events
from kiosk.core.cues import Cue, Reason
from kiosk.core.effects import Effect
from kiosk.core.events import Event
from kiosk.core.intent import Answer, Outcome
from kiosk.core.inviting import awaiting_confirm, ready
from kiosk.core.memory import DEBOUNCE_S, PRESS_STALE_S, Memory, Policy
from kiosk.core.paying import believed, concluded, connecting, submitting
from kiosk.core.staff import resolve
from kiosk.core.states import (
    AwaitingConfirm,
    Concluded,
    Connecting,
    OutOfService,
    Ready,
    State,
    Step,
    Submitting,
)
from kiosk.core.transitions import CONCLUDED_S, invite, take_offer

STOPPING_CUE_S = 3.0
"""How long a kiosk that is to stop still tells an outcome."""
Word = events.Connected | events.NotSent | events.OutcomeKnown | events.AnswerLost


def begin(memory: Memory, doubtful: str | None, now_s: float, policy: Policy) -> Step:
    """The first state after a start.

    Args:
        memory: What the journal and the reasons against selling make of it.
        doubtful: An intent whose request was announced shortly before the restart: its
            customer still stands there and must not pay again.
        now_s: Monotonic.
        policy: The settings.
    """
    if doubtful is not None:
        shown: tuple[Effect, ...] = (effects.Show(Cue.UNKNOWN),)
        ends_s = now_s + CONCLUDED_S[Outcome.UNKNOWN]
        return Concluded(memory, Outcome.UNKNOWN, doubtful, ends_s), shown
    return _settle(*invite(memory, policy), now_s, policy)


def step(state: State, event: Event, now_s: float, policy: Policy) -> Step:
    """What follows from one event. Total: every state takes every event."""
    is_clean = _is_clean(state.memory, event, now_s)
    memory = _noted(state.memory, event, policy)
    wishes: tuple[Effect, ...] = ()
    if isinstance(event, Word) and event.intent_id != _current(state):
        memory, wishes = _late(memory, event, announced=event.intent_id in state.memory.running)
    elif isinstance(event, events.ResolutionAsked):
        wishes = resolve(memory, event)
    state = replace(state, memory=memory)
    match state:
        case Ready():
            state, more = ready(state, event, now_s, policy, is_clean=is_clean)
        case AwaitingConfirm():
            state, more = awaiting_confirm(state, event, now_s, policy, is_clean=is_clean)
        case Connecting():
            state, more = connecting(state, event, now_s, policy)
        case Submitting():
            state, more = submitting(state, event, now_s, policy)
        case Concluded():
            state, more = concluded(state, event, now_s, policy)
        case OutOfService():
            state, more = _out_of_service(state, event, policy)
        case _:
            assert_never(state)
    return _settle(state, (*wishes, *more), now_s, policy)


def _current(state: State) -> str | None:
    if isinstance(state, AwaitingConfirm | Connecting | Submitting):
        return state.intent.id
    return None


def _is_clean(memory: Memory, event: Event, now_s: float) -> bool:
    """An edge of the button that is no bounce and did not wait long for the deciding thread."""
    if not isinstance(event, events.ButtonPressed | events.ButtonReleased):
        return False
    bounced = event.at_s - memory.last_edge_at_s < DEBOUNCE_S
    return not bounced and now_s - event.at_s <= PRESS_STALE_S


def _noted(memory: Memory, event: Event, policy: Policy) -> Memory:
    """What is remembered of an event in every state."""
    match event:
        case events.ButtonPressed(at_s) | events.ButtonReleased(at_s):
            return replace(memory, last_edge_at_s=at_s)
        case events.SymbolsSeen():
            return memory.still_sees(event, policy)
        case events.TroubleBegan(reason, detail):
            return memory.began(reason, detail)
        case events.TroubleEnded(reason):
            return memory.ended(reason)
        case events.RowFailed(intent_id, "outcome"):
            return replace(memory, unsaved=memory.unsaved | {intent_id})
        case events.RowFailed(row="sending" | "not_sent", detail=detail):
            return memory.began(Reason.JOURNAL_UNWRITABLE, detail)
        case events.RowSaved(intent_id):
            return replace(memory, unsaved=memory.unsaved - {intent_id})
        case events.UnresolvedCounted(intents):
            in_row = tuple(i for i in memory.unknown_in_row if i in intents)
            return replace(memory, unresolved=len(intents), unknown_in_row=in_row)
        case events.StopRequested():
            return replace(memory, stopping=True)
        case events.NotSent() | events.OutcomeKnown() | events.AnswerLost():
            return replace(memory, running=memory.running - {event.intent_id})
        case _:
            return memory


def _late(memory: Memory, event: Word, *, announced: bool) -> tuple[Memory, tuple[Effect, ...]]:
    """A word on an intent that nobody waits for: a row perhaps, never a cue."""
    match event:
        case events.Connected():
            return memory, (effects.Abandon(event.intent_id),)
        case events.AnswerLost(detail=detail, raw=raw):
            if raw is None:
                return memory, ()  # its row says unknown already
            # What came of the answer may hold the payment_id.
            answer = Answer(Outcome.UNKNOWN, detail, raw=raw)
        case events.NotSent():
            answer = Answer(Outcome.NOT_SENT, event.detail)
        case events.OutcomeKnown():
            answer = believed(event)
        case _:
            assert_never(event)
    if not announced:
        return memory, ()
    if answer.outcome is not Outcome.UNKNOWN:
        memory = memory.no_longer_unknown(event.intent_id)
    return memory, (effects.RecordOutcome(event.intent_id, answer, late=True),)


def _out_of_service(state: OutOfService, event: Event, policy: Policy) -> Step:
    match event:
        case events.OfferMade() | events.OfferCancelled():
            memory, error = take_offer(state.memory, event, policy)
            return OutOfService(memory), (effects.Reply(event.request, error),)
        case events.Acknowledged():
            return state, (effects.Reply(event.request),)
        case _:
            return state, ()


def _settle(state: State, wishes: tuple[Effect, ...], now_s: float, policy: Policy) -> Step:
    """Out of service exactly while there is a reason, once no customer is being served."""
    memory = state.memory
    reasons = memory.reasons(now_s, policy)
    if isinstance(state, Ready) and reasons:
        state = OutOfService(replace(memory, item=0, walking_since_s=None))
        wishes = (*_without_idle(wishes), effects.Show(Cue.OUT_OF_SERVICE))
    elif isinstance(state, OutOfService) and not reasons:
        # Nobody looked meanwhile: a phone may have been held up all the time.
        marks = tuple(mark for mark, _ in memory.in_view)
        state, shown = invite(memory.dealt_with(marks, now_s), policy)
        wishes = (*wishes, *shown)
    if memory.stopping:
        if isinstance(state, Concluded):
            state = replace(state, ends_s=min(state.ends_s, now_s + STOPPING_CUE_S))
        if isinstance(state, AwaitingConfirm):
            wishes = (*wishes, effects.Abandon(state.intent.id))
        if isinstance(state, Ready | AwaitingConfirm | OutOfService):
            wishes = (*wishes, effects.Quit())
    return state, wishes


def _without_idle(wishes: tuple[Effect, ...]) -> tuple[Effect, ...]:
    idle = (effects.Show(Cue.READY), effects.Show(Cue.WAITING))
    return tuple(wish for wish in wishes if wish not in idle)
