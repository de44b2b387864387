"""From the press on: connect, row, request, outcome, and telling the customer."""

from dataclasses import replace

from kiosk.core import effects, events
from kiosk.core.cues import Cue
from kiosk.core.events import Event
from kiosk.core.intent import Answer, Outcome
from kiosk.core.memory import Policy
from kiosk.core.states import STILL_SUBMITTING_AFTER_S, Concluded, Connecting, Step, Submitting
from kiosk.core.transitions import busy, conclude, invite, refuse, take_offer

SEND_WITHIN_S = 5.0
"""From the connection to the first byte; a card that takes longer to sync sells nothing."""


def connecting(state: Connecting, event: Event, now_s: float, policy: Policy) -> Step:
    """Confirmed: wait for the connection, then row and request in one go."""
    memory, intent = state.memory, state.intent
    match event:
        case events.Connected(intent_id) if intent_id == intent.id and memory.unsaved:
            return nothing_sent(state, "an earlier outcome could not be written", now_s)
        case events.Connected(intent_id) if intent_id == intent.id and now_s < state.give_up_at_s:
            memory = replace(memory, running=memory.running | {intent.id})
            return (
                Submitting(memory, intent, now_s, now_s + policy.deadline_s),
                (
                    effects.RecordSending(intent),
                    effects.Submit(intent, now_s + SEND_WITHIN_S),
                ),
            )
        case events.NotSent(intent_id, detail) if intent_id == intent.id:
            return nothing_sent(state, detail, now_s)
        case events.Tick() if now_s >= state.give_up_at_s:
            return nothing_sent(state, "no connection in time", now_s)
        case events.StopRequested():
            return nothing_sent(state, "the kiosk is being stopped", now_s)
        case _:
            return state, busy(event)


def nothing_sent(state: Connecting, detail: str, now_s: float) -> Step:
    """Confirmed, and given up before anything was announced."""
    memory = state.memory.dealt_with((state.intent.code.mark,), now_s)
    concluded, shown = conclude(memory, Outcome.NOT_SENT, state.intent.id, now_s)
    # Told first: that nothing was sent is true, whether its row can be written or not.
    return concluded, (
        effects.Abandon(state.intent.id),
        *shown,
        effects.RecordNotSent(state.intent, detail),
    )


def submitting(state: Submitting, event: Event, now_s: float, policy: Policy) -> Step:
    """Wait for the word on the request, until the deadline."""
    intent = state.intent
    match event:
        case events.OutcomeKnown() if event.intent_id == intent.id:
            return _outcome(state, believed(event), now_s, policy)
        case events.NotSent(intent_id, detail) if intent_id == intent.id:
            return _outcome(state, Answer(Outcome.NOT_SENT, detail), now_s, policy)
        case events.AnswerLost(intent_id, detail, raw) if intent_id == intent.id:
            answer = Answer(Outcome.UNKNOWN, detail, raw=raw)
            return _outcome(state, answer, now_s, policy)
        case events.Tick() if now_s >= state.give_up_at_s:
            # A socket timeout bounds each read, not the whole answer; this does.
            answer = Answer(Outcome.UNKNOWN, f"no answer within {policy.deadline_s:g} s")
            return _outcome(state, answer, now_s, policy)
        case events.Tick() if (
            not state.ticked and now_s >= state.since_s + STILL_SUBMITTING_AFTER_S
        ):
            return replace(state, ticked=True), (effects.Show(Cue.STILL_SUBMITTING),)
        case events.RowFailed(intent_id, "sending" | "spent" as row) if intent_id == intent.id:
            memory = replace(state.memory, running=state.memory.running - {intent.id})
            memory = memory.dealt_with((intent.code.mark,), now_s)
            abandon = effects.Abandon(intent.id)
            if row == "spent":
                refused, shown = refuse(memory, now_s)
                return refused, (abandon, *shown)
            concluded, shown = conclude(memory, Outcome.NOT_SENT, intent.id, now_s)
            return concluded, (abandon, *shown)
        case _:
            return state, busy(event)


def _outcome(state: Submitting, answer: Answer, now_s: float, policy: Policy) -> Step:
    memory, intent = state.memory, state.intent
    if answer.outcome is Outcome.UNKNOWN:
        memory = memory.ended_unknown(intent.id, now_s, policy)
    elif answer.outcome is not Outcome.NOT_SENT:
        memory = memory.ended_known()
    if intent.offer == memory.host_offer and answer.outcome in (
        Outcome.APPROVED,
        Outcome.UNKNOWN,
    ):
        memory = replace(memory, host_offer=None)
    memory = memory.dealt_with((intent.code.mark,), now_s)
    concluded, shown = conclude(memory, answer.outcome, intent.id, now_s)
    return concluded, (effects.RecordOutcome(intent.id, answer), *shown)


def concluded(state: Concluded, event: Event, now_s: float, policy: Policy) -> Step:
    """Tell how it ended, for as long as that takes."""
    memory = state.memory
    match event:
        case events.Tick() if now_s >= state.ends_s:
            return invite(memory, policy)
        case events.Acknowledged():
            reply = effects.Reply(event.request)
            if state.outcome is not Outcome.UNKNOWN:
                return state, (reply,)
            ready, shown = invite(memory, policy)
            return ready, (reply, *shown)
        case events.RowFailed(intent_id, "outcome") if intent_id == state.intent_id:
            # What the customer is told must agree with what is on disk.
            return conclude(memory, Outcome.UNKNOWN, intent_id, now_s)
        case events.OfferMade() | events.OfferCancelled():
            memory, error = take_offer(memory, event, policy)
            return replace(state, memory=memory), (effects.Reply(event.request, error),)
        case _:
            return state, ()


def believed(event: events.OutcomeKnown) -> Answer:
    """The answer as far as it can be true: a payment_id belongs to one payment."""
    if event.answer.outcome is Outcome.APPROVED and event.payment_id_known:
        return event.answer.doubted(
            "payment_id_known",
            "the answer carries the payment_id of an earlier payment",
        )
    return event.answer
