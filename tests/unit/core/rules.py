"""The promises about money, each read off a World's trace. They share no code with the core."""

from collections import defaultdict

from kiosk.core import effects, events
from kiosk.core.cues import Cue
from kiosk.core.intent import Outcome, RowKind, standing_of
from kiosk.core.states import (
    AwaitingConfirm,
    Concluded,
    Connecting,
    OutOfService,
    Ready,
    State,
    Submitting,
    next_deadline_s,
)

from .world import Done, Kept, Restarted, Rested, Saved, Stepped, World, Written

GUARD_S, STALE_S, BOUNCE_S, CUE_S = 0.7, 1.0, 0.05, 60.0
SLACK_S = 1e-9
WORDS = (events.Connected, events.NotSent, events.OutcomeKnown, events.AnswerLost)
COMMANDS = (
    events.OfferMade,
    events.OfferCancelled,
    events.Acknowledged,
    events.ResolutionAsked,
)
IDLE = (Cue.READY, Cue.WAITING, Cue.OUT_OF_SERVICE)
CUE_OF = {
    Outcome.APPROVED: Cue.APPROVED,
    Outcome.DECLINED: Cue.DECLINED,
    Outcome.NOT_SENT: Cue.NOT_SENT,
    Outcome.UNKNOWN: Cue.UNKNOWN,
}


def intent_of(state: State) -> str | None:
    if isinstance(state, AwaitingConfirm | Connecting | Submitting):
        return state.intent.id
    return state.intent_id if isinstance(state, Concluded) else None


def submits(world: World):
    """Each request that left, and the rows that were durable by then."""
    rows: dict[str, list[RowKind]] = defaultdict(list)
    for entry in world.trace:
        match entry:
            case Written(_, intent_id, kind):
                rows[intent_id].append(kind)
            case Done(at_s, effects.Submit(intent)):
                yield at_s, intent, rows


def a_row_stands_before_each_request(world: World) -> None:
    for _, intent, rows in submits(world):
        assert RowKind.SENDING in rows[intent.id]


def one_request_an_intent(world: World) -> None:
    ids = [intent.id for _, intent, _ in submits(world)]
    assert len(ids) == len(set(ids))


def a_code_is_charged_once(world: World) -> None:
    """Across restarts; and the session does not rely on the journal's own guard."""
    rows: dict[str, list[RowKind]] = defaultdict(list)
    spent_by: dict[str, list[str]] = defaultdict(list)
    for entry in world.trace:
        match entry:
            case Written(_, intent_id, kind):
                rows[intent_id].append(kind)
            case Done(effect=effects.Submit(intent)):
                for earlier in spent_by[intent.code.digits]:
                    assert standing_of(rows[earlier]).outcome is Outcome.NOT_SENT
                spent_by[intent.code.digits].append(intent.id)


def only_a_press_of_that_customer_pays(world: World) -> None:
    if world.policy.confirm_automatic:
        return
    cue_at_s: dict[str, float] = {}
    pressed: set[str] = set()
    last_edge_s = float("-inf")
    for entry in world.trace:
        match entry:
            case Restarted():
                last_edge_s = float("-inf")
            case Done(at_s, effects.Show(Cue.PRESS_TO_PAY), AwaitingConfirm() as state):
                cue_at_s[state.intent.id] = at_s
            case Stepped(at_s, before, events.ButtonPressed(pressed_s)):
                if isinstance(before, AwaitingConfirm):
                    since_s = cue_at_s[before.intent.id]
                    is_valid = (
                        since_s + GUARD_S - SLACK_S <= pressed_s
                        and pressed_s < since_s + world.policy.confirm_timeout_s
                        and at_s - pressed_s <= STALE_S + SLACK_S
                        and pressed_s - last_edge_s >= BOUNCE_S - SLACK_S
                    )
                    pressed |= {before.intent.id} if is_valid else set()
                last_edge_s = pressed_s
            case Stepped(event=events.ButtonReleased(released_s)):
                last_edge_s = released_s
            case Done(effect=effects.Submit(intent)):
                assert intent.id in pressed


def approved_is_told_after_its_row(world: World) -> None:
    rows: dict[str, list[RowKind]] = defaultdict(list)
    serving = None
    for entry in world.trace:
        match entry:
            case Written(_, intent_id, kind):
                rows[intent_id].append(kind)
            case Stepped(before=Submitting(intent=intent)):
                serving = intent.id
            case Done(effect=effects.Show(Cue.APPROVED), state=state):
                assert isinstance(state, Concluded)
                assert state.intent_id == serving
                assert rows[serving][-1] is RowKind.APPROVED


def unknown_is_told_as_nothing_else(world: World) -> None:
    """What may have left the kiosk ends as declined or not sent only by the gateway's word."""
    rows: dict[str, list[RowKind]] = defaultdict(list)
    left: set[str] = set()
    told_by: State | None = None
    for entry in world.trace:
        match entry:
            case Written(_, intent_id, kind):
                rows[intent_id].append(kind)
            case Stepped(before=before):
                told_by = before
            case Done(effect=effects.Submit(intent)):
                left.add(intent.id)
                for _, other, _ in submits(world):
                    if other.code == intent.code and other.id != intent.id and other.id in left:
                        assert standing_of(rows[other.id]).outcome is not Outcome.UNKNOWN
            case Done(effect=effects.Show(Cue.DECLINED)):
                assert standing_of(rows[intent_of(told_by) or ""]).outcome is Outcome.DECLINED
            case Done(effect=effects.Show(Cue.NOT_SENT)):
                served = intent_of(told_by) or ""
                is_proved = standing_of(rows[served]).outcome is Outcome.NOT_SENT
                assert served not in left or is_proved


def a_late_answer_is_nobody_elses(world: World) -> None:
    for entry in world.trace:
        match entry:
            case Stepped(before=before, event=event, after=after, wishes=wishes):
                served = intent_of(before)
                if not isinstance(event, WORDS):
                    continue
                if event.intent_id == served and not isinstance(before, Concluded):
                    continue
                shown = [wish.cue for wish in wishes if isinstance(wish, effects.Show)]
                if isinstance(before, Ready | OutOfService):
                    assert set(shown) <= set(IDLE)
                else:
                    assert not shown
                    assert type(after) is type(before)
                    assert intent_of(after) == served


def amounts_are_those_of_the_offer(world: World) -> None:
    """The one that was for sale when the code was read; whole sums within the limit."""
    fixed: dict[str, object] = {}
    asked = None
    for entry in world.trace:
        match entry:
            case Restarted():
                asked = None
            case Stepped(event=events.OfferMade(offer), wishes=wishes):
                if any(isinstance(w, effects.Reply) and w.error is None for w in wishes):
                    asked = offer
            case Stepped(before=before, event=events.SymbolsSeen(fresh_id=fresh), after=after):
                if intent_of(after) == fresh:
                    if isinstance(before, AwaitingConfirm):
                        fixed[fresh] = before.intent.offer
                    elif world.policy.offers:
                        fixed[fresh] = world.policy.offers[before.memory.item]
                    else:
                        fixed[fresh] = asked
            case Done(effect=effects.Submit(intent)):
                assert intent.offer == fixed[intent.id]
                assert type(intent.offer.amount_sum) is int
                assert 1 <= intent.offer.amount_sum <= world.policy.max_amount_sum


def a_row_of_unknowns_pauses(world: World) -> None:
    """Counted on the journal's rows, newest intent first, as staff would."""
    rows: dict[str, list[RowKind]] = defaultdict(list)
    doubt_s: dict[str, float] = {}
    for entry in world.trace:
        match entry:
            case Written(at_s, intent_id, kind):
                rows[intent_id].append(kind)
                if kind is RowKind.UNKNOWN:
                    doubt_s.setdefault(intent_id, at_s)
            case Done(at_s, effects.RecordSending(intent)):
                in_row = []
                for intent_id in reversed(list(rows)):
                    outcome = standing_of(rows[intent_id]).outcome
                    if intent_id == intent.id or outcome is Outcome.NOT_SENT:
                        continue
                    if outcome is not Outcome.UNKNOWN:
                        break
                    in_row.append(intent_id)
                if len(in_row) >= world.policy.max_consecutive_unknown:
                    since_s = max(doubt_s[i] for i in in_row)
                    # A row that was kept and written later counts from when it was concluded.
                    kept = [e.at_s for e in world.trace if isinstance(e, Kept)]
                    since_s = min([since_s, *(k for k in kept if k <= since_s)], default=since_s)
                    assert at_s >= since_s + world.policy.unknown_pause_s - SLACK_S


def nothing_is_sold_while_an_outcome_is_unsaved(world: World) -> None:
    is_unsaved = False
    for entry in world.trace:
        match entry:
            case Kept():
                is_unsaved = True
            case Saved():
                is_unsaved = False
            case Stepped(wishes=wishes):
                announces = any(isinstance(wish, effects.RecordSending) for wish in wishes)
                assert not (is_unsaved and announces)


def a_reference_is_paid_once(world: World) -> None:
    sold: dict[str, list[str]] = defaultdict(list)
    for _, intent, rows in submits(world):
        reference = intent.offer.reference
        if reference is not None:
            for earlier in sold[reference]:
                ended = standing_of(rows[earlier]).outcome
                assert ended in (Outcome.DECLINED, Outcome.NOT_SENT)
            sold[reference].append(intent.id)


def deadlines_are_consumed(world: World) -> None:
    """No busy loop: a Tick at its time leaves nothing due at that time."""
    for entry in world.trace:
        if not isinstance(entry, Rested):
            continue
        state, now_s = entry.state, entry.at_s
        for _ in range(4):
            due_s = next_deadline_s(state, now_s, world.policy)
            if due_s is None or due_s > now_s:
                break
            state = world.try_step(state, events.Tick(), now_s)
        else:
            raise AssertionError(f"still due at {now_s}: {state}")


def nobody_waits_forever(world: World) -> None:
    """With Ticks alone and all troubles ended, it invites again or says why it does not."""
    world.end_troubles()
    policy = world.policy
    patience_s = (
        policy.confirm_timeout_s
        + policy.connecting_s
        + policy.deadline_s
        + CUE_S
        + policy.unknown_pause_s
    )
    until_s = world.now_s + patience_s
    for _ in range(12):
        if isinstance(world.state, Ready) and world.state.notice_ends_s is None:
            break
        if world.state.memory.unresolved > policy.max_unresolved:
            world.end_troubles()  # one more ended unknown meanwhile: staff come again
        else:
            assert world.wait_until_next_deadline(), f"nothing will ever wake {world.state}"
    assert isinstance(world.state, Ready)
    assert world.now_s <= until_s + SLACK_S


def it_quits_when_nothing_is_running(world: World) -> None:
    running: set[str] = set()
    for entry in world.trace:
        match entry:
            case Restarted():
                running = set()
            case Done(effect=effects.Submit(intent)):
                running.add(intent.id)
            case Stepped(wishes=wishes):
                said = [w.intent_id for w in wishes if isinstance(w, effects.RecordOutcome)]
                running -= set(said)
            case Done(effect=effects.Quit(), state=state):
                assert not running
                assert not isinstance(state, Connecting | Submitting | Concluded)


def no_answer_is_lost(world: World) -> None:
    """The gateway's first word on a request that left becomes a row, whenever it comes."""
    running: set[str] = set()
    for entry in world.trace:
        match entry:
            case Restarted():
                running = set()
            case Done(effect=effects.Submit(intent)):
                running.add(intent.id)
            case Stepped(event=events.OutcomeKnown(intent_id, answer), wishes=wishes):
                written = [
                    wish.answer.payment_id
                    for wish in wishes
                    if isinstance(wish, effects.RecordOutcome) and wish.intent_id == intent_id
                ]
                assert written == ([answer.payment_id] if intent_id in running else [])
                running.discard(intent_id)
            case Stepped(event=events.NotSent(intent_id) | events.AnswerLost(intent_id)):
                running.discard(intent_id)
            case _:
                pass


def each_command_is_answered_once(world: World) -> None:
    for entry in world.trace:
        if isinstance(entry, Stepped):
            answered = [
                wish.request
                for wish in entry.wishes
                if isinstance(wish, effects.Reply | effects.RecordResolution)
            ]
            asked = [entry.event.request] if isinstance(entry.event, COMMANDS) else []
            assert answered == asked


def what_is_shown_agrees_with_the_state(world: World) -> None:
    """Whenever the deciding thread rests, the last cue tells what the state is."""
    cue = None
    for entry in world.trace:
        match entry:
            case Done(effect=effects.Show(shown)):
                cue = shown
            case Rested(state=state):
                assert cue in _true_cues(state, world)


def _true_cues(state: State, world: World) -> tuple[Cue, ...]:
    match state:
        case Ready(notice_ends_s=None):
            return (Cue.WAITING if state.memory.offer(world.policy) is None else Cue.READY,)
        case Ready():
            return (Cue.NOT_ACCEPTED,)
        case AwaitingConfirm(warned=warned):
            return (Cue.PRESS_SOON,) if warned else (Cue.PRESS_TO_PAY,)
        case Connecting() | Submitting(ticked=False):
            return (Cue.SUBMITTING,)
        case Submitting():
            return (Cue.STILL_SUBMITTING,)
        case Concluded(outcome=outcome):
            return (CUE_OF[outcome],)
        case _:
            return (Cue.OUT_OF_SERVICE,)
