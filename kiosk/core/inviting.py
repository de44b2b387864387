"""Before the press: a code is looked for, read, and its owner asked to confirm."""

from dataclasses import replace

from kiosk.core import effects, events
from kiosk.core.cues import Cue, Reason
from kiosk.core.effects import Effect
from kiosk.core.events import Event
from kiosk.core.intent import Intent, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.offer import Offer
from kiosk.core.states import AwaitingConfirm, Ready, Step
from kiosk.core.transitions import conclude, connect, idle_cue, invite, refuse, take_offer

PRESS_GUARD_S = 0.7
"""A press that began earlier after the cue belongs to whoever pressed before it."""
SHORT_PRESS_S = 1.0
FLIP_BACK_S = 1.0
"""A code that comes back within this time of being replaced was in view all along."""
# With one of these the code that is already read can still be paid; the camera is not needed.
_HARMLESS_WHILE_CONFIRMING = (Reason.SCANNER_DOWN, Reason.CAMERA_DOWN)


def ready(state: Ready, event: Event, now_s: float, policy: Policy, *, is_clean: bool) -> Step:
    """Waiting for a code; `is_clean`: the button's edge is no bounce and not stale."""
    memory = state.memory
    match event:
        case events.SymbolsSeen():
            return _look(state, event, now_s, policy)
        case events.ButtonPressed(at_s) if is_clean:
            return replace(state, memory=replace(memory, walking_since_s=at_s)), ()
        case events.ButtonReleased(at_s) if is_clean:
            since_s = memory.walking_since_s
            memory = replace(memory, walking_since_s=None)
            if since_s is not None and at_s - since_s < SHORT_PRESS_S and len(policy.offers) > 1:
                item = (memory.item + 1) % len(policy.offers)
                memory = replace(memory, item=item, walked_at_s=now_s)
            return replace(state, memory=memory), ()
        case events.Tick():
            return _time_in_ready(state, now_s, policy)
        case events.OfferMade() | events.OfferCancelled():
            memory, error = take_offer(memory, event, policy)
            state = Ready(memory, state.notice_ends_s)
            wishes: tuple[Effect, ...] = (effects.Reply(event.request, error),)
            if error is None and state.notice_ends_s is None:
                wishes = (*wishes, effects.Show(idle_cue(memory, policy)))
            return state, wishes
        case events.Acknowledged():
            return state, (effects.Reply(event.request),)
        case _:
            return state, ()


def _time_in_ready(state: Ready, now_s: float, policy: Policy) -> Step:
    wishes: tuple[Effect, ...] = ()
    if state.notice_ends_s is not None and now_s >= state.notice_ends_s:
        state = Ready(state.memory)
        wishes = (effects.Show(idle_cue(state.memory, policy)),)
    memory = state.memory
    if memory.item and now_s >= memory.walked_at_s + policy.confirm_timeout_s:
        # Whoever walked the menu has left; the next customer starts at its first item.
        state = replace(state, memory=replace(memory, item=0))
    return state, wishes


def _look(state: Ready, event: events.SymbolsSeen, now_s: float, policy: Policy) -> Step:
    """What a frame with symbols starts, if anything."""
    memory = state.memory
    offer = memory.offer(policy)
    marks = (*(seen.code.mark for seen in event.codes), *event.refused)
    fresh = [mark for mark in marks if not memory.is_in_view(mark, event.seen_at_s, policy)]
    if offer is None or not fresh:
        return state, ()
    if len(event.codes) == 1 and event.codes[0].code.mark in fresh:
        seen = event.codes[0]
        if seen.spent is None:
            return _offer_to_confirm(memory, offer, event, None, now_s, policy)
        if seen.spent is Outcome.UNKNOWN:
            memory = memory.dealt_with(marks, event.seen_at_s)
            return conclude(memory, Outcome.UNKNOWN, None, now_s)
    memory = memory.dealt_with(marks, event.seen_at_s)
    if event.codes and event.codes[0].code.mark not in fresh and len(event.codes) == 1:
        return Ready(memory, state.notice_ends_s), ()  # a code still in view beside some sticker
    return refuse(memory, now_s)


def _offer_to_confirm(
    memory: Memory,
    offer: Offer,
    event: events.SymbolsSeen,
    displaced: tuple[bytes, float] | None,
    now_s: float,
    policy: Policy,
) -> Step:
    intent = Intent(event.fresh_id, offer, event.codes[0].code)
    memory = replace(memory, walking_since_s=None)
    if policy.confirm_automatic:
        return connect(memory, intent, now_s, policy)
    ends_s = now_s + policy.confirm_timeout_s
    state = AwaitingConfirm(memory, intent, now_s, ends_s, displaced=displaced)
    return state, (effects.Show(Cue.PRESS_TO_PAY), effects.WarmUp(intent.id))


def awaiting_confirm(
    state: AwaitingConfirm, event: Event, now_s: float, policy: Policy, *, is_clean: bool
) -> Step:
    """A code waits for its press; `is_clean`: the button's edge is no bounce and not stale."""
    memory, intent = state.memory, state.intent
    abandon = effects.Abandon(intent.id)
    match event:
        case _ if any(
            reason not in _HARMLESS_WHILE_CONFIRMING for reason, _ in memory.reasons(now_s, policy)
        ):
            # Better said now than after the press: nothing was charged.
            memory = memory.dealt_with((intent.code.mark,), now_s)
            concluded, shown = conclude(memory, Outcome.NOT_SENT, None, now_s)
            return concluded, (abandon, *shown)
        case events.ButtonPressed(at_s) if (
            is_clean and state.since_s + PRESS_GUARD_S <= at_s < state.ends_s
        ):
            return connect(memory, intent, now_s, policy)
        case events.SymbolsSeen():
            return _look_while_confirming(state, event, now_s, policy)
        case events.Tick() if now_s >= state.ends_s:
            memory = memory.dealt_with((intent.code.mark,), now_s)
            ready, shown = invite(memory, policy)
            return ready, (abandon, *shown)
        case events.Tick() if not state.warned and now_s >= state.ends_s - policy.warn_before_end_s:
            return replace(state, warned=True), (effects.Show(Cue.PRESS_SOON),)
        case events.OfferMade() | events.OfferCancelled():
            memory, error = take_offer(memory, event, policy)
            reply = effects.Reply(event.request, error)
            if error is not None:
                return state, (reply,)
            # The price on the screen is another one now: the customer shows the code again.
            ready, shown = invite(memory, policy)
            return ready, (reply, abandon, *shown)
        case events.Acknowledged():
            return state, (effects.Reply(event.request),)
        case _:
            return state, ()


def _look_while_confirming(
    state: AwaitingConfirm, event: events.SymbolsSeen, now_s: float, policy: Policy
) -> Step:
    """Another customer's code replaces the one that waits; two at once end the offer."""
    memory, abandon = state.memory, effects.Abandon(state.intent.id)
    marks = tuple(seen.code.mark for seen in event.codes)
    if len(marks) == 1:
        seen, mark = event.codes[0], marks[0]
        if mark == state.intent.code.mark:
            return state, ()
        in_view = memory.is_in_view(mark, event.seen_at_s, policy)
        flips = state.displaced is not None and (
            mark == state.displaced[0] and event.seen_at_s - state.displaced[1] < FLIP_BACK_S
        )
        if seen.spent is None and not flips and not in_view:
            displaced = (state.intent.code.mark, event.seen_at_s)
            awaiting, shown = _offer_to_confirm(
                memory, state.intent.offer, event, displaced, now_s, policy
            )
            return awaiting, (abandon, *shown)
    elif not marks:
        return state, ()
    # Whoever presses now could pay with somebody else's code.
    memory = memory.dealt_with((state.intent.code.mark, *marks), event.seen_at_s)
    if len(marks) == 1 and event.codes[0].spent is Outcome.UNKNOWN and not in_view:
        ended, shown = conclude(memory, Outcome.UNKNOWN, None, now_s)
    else:
        ended, shown = refuse(memory, now_s)
    return ended, (abandon, *shown)
