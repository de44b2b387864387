"""A property that cannot fail promises nothing: each finds the mistake that is planted here."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample

from kiosk.core import effects, events, inviting
from kiosk.core.cues import Cue
from kiosk.core.intent import Outcome
from kiosk.core.session import step
from kiosk.core.states import AwaitingConfirm, Concluded, OutOfService, Ready, Submitting

from . import rules
from .scripts import COFFEE, play, scripts

SEARCH = settings(
    max_examples=1500, phases=(Phase.generate,), database=None, derandomize=True, deadline=None
)


def reordered(wishes, first, then):
    """Every `first` behind every `then`."""
    early = [wish for wish in wishes if not isinstance(wish, first | then)]
    thens = [wish for wish in wishes if isinstance(wish, then)]
    firsts = [wish for wish in wishes if isinstance(wish, first)]
    return (*early, *thens, *firsts)


def fails_on_a_release(state, event, now_s, policy):
    if isinstance(state, Submitting) and isinstance(event, events.ButtonReleased):
        raise NotImplementedError
    return step(state, event, now_s, policy)


def sends_before_the_row(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    return state, reordered(wishes, effects.RecordSending, effects.Submit)


def sends_again_when_no_answer_comes(state, event, now_s, policy):
    after, wishes = step(state, event, now_s, policy)
    if isinstance(state, Submitting) and isinstance(event, events.AnswerLost):
        wishes = (*wishes, effects.Submit(state.intent, now_s + 5))
    return after, wishes


def forgets_spent_codes(state, event, now_s, policy):
    if isinstance(event, events.SymbolsSeen):
        event = replace(event, codes=tuple(replace(seen, spent=None) for seen in event.codes))
    return step(state, event, now_s, policy)


def takes_unknown_for_unspent(state, event, now_s, policy):
    if isinstance(event, events.SymbolsSeen):
        codes = tuple(
            replace(seen, spent=None) if seen.spent is Outcome.UNKNOWN else seen
            for seen in event.codes
        )
        event = replace(event, codes=codes)
    return step(state, event, now_s, policy)


def has_no_guard(state, event, now_s, policy):
    if isinstance(state, AwaitingConfirm) and isinstance(event, events.ButtonPressed):
        state = replace(state, since_s=state.since_s - inviting.PRESS_GUARD_S)
    return step(state, event, now_s, policy)


def obeys_old_presses(state, event, now_s, policy):
    if isinstance(event, events.ButtonPressed):
        return step(state, event, event.at_s, policy)
    return step(state, event, now_s, policy)


def confirms_by_itself(state, event, now_s, policy):
    return step(state, event, now_s, replace(policy, confirm_automatic=True))


def tells_before_the_row(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    return state, reordered(wishes, effects.RecordOutcome, effects.Show)


def tells_unknown_as_declined(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    declined = effects.Show(Cue.DECLINED)
    return state, tuple(declined if w == effects.Show(Cue.UNKNOWN) else w for w in wishes)


def takes_silence_for_not_sent(state, event, now_s, policy):
    if isinstance(event, events.AnswerLost) and isinstance(state, Submitting):
        after, wishes = step(state, event, now_s, policy)
        not_sent = effects.Show(Cue.NOT_SENT)
        return after, tuple(not_sent if isinstance(w, effects.Show) else w for w in wishes)
    return step(state, event, now_s, policy)


def tells_late_answers(state, event, now_s, policy):
    after, wishes = step(state, event, now_s, policy)
    if any(isinstance(wish, effects.RecordOutcome) and wish.late for wish in wishes):
        wishes = (*wishes, effects.Show(Cue.APPROVED))
    return after, wishes


def ends_any_offer_when_something_was_not_sent(state, event, now_s, policy):
    after, wishes = step(state, event, now_s, policy)
    if isinstance(after, AwaitingConfirm) and isinstance(event, events.NotSent):
        shown = effects.Show(Cue.NOT_SENT)
        return Concluded(after.memory, Outcome.NOT_SENT, None, now_s + 3), (*wishes, shown)
    return after, wishes


def charges_a_sum_more(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    return state, tuple(
        replace(
            wish,
            intent=replace(
                wish.intent,
                offer=replace(wish.intent.offer, amount_sum=wish.intent.offer.amount_sum + 1),
            ),
        )
        if isinstance(wish, effects.Submit)
        else wish
        for wish in wishes
    )


def charges_what_is_on_sale_at_the_press(state, event, now_s, policy):
    if isinstance(state, AwaitingConfirm) and isinstance(event, events.ButtonPressed):
        state = replace(state, intent=replace(state.intent, offer=COFFEE))
    return step(state, event, now_s, policy)


def never_pauses(state, event, now_s, policy):
    return step(state, event, now_s, replace(policy, max_consecutive_unknown=10**6))


def forgets_the_pause_at_staff_commands(state, event, now_s, policy):
    if isinstance(event, events.Acknowledged):
        state = replace(state, memory=replace(state.memory, unknown_in_row=()))
    return step(state, event, now_s, policy)


def sells_while_an_outcome_is_unsaved(state, event, now_s, policy):
    state = replace(state, memory=replace(state.memory, unsaved=frozenset()))
    return step(state, event, now_s, policy)


def sells_a_reference_again(state, event, now_s, policy):
    if isinstance(event, events.OfferMade):
        event = replace(event, consumed=False)
    return step(state, event, now_s, policy)


def keeps_the_offer_after_doubt(state, event, now_s, policy):
    after, wishes = step(state, event, now_s, policy)
    if isinstance(after, Concluded) and after.outcome is Outcome.UNKNOWN:
        after = replace(after, memory=replace(after.memory, host_offer=state.memory.host_offer))
    return after, wishes


def ignores_ticks(kind):
    def ignoring(state, event, now_s, policy):
        if isinstance(state, kind) and isinstance(event, events.Tick):
            return state, ()
        return step(state, event, now_s, policy)

    ignoring.__name__ = f"ignores_ticks_in_{kind.__name__}"
    return ignoring


def stays_out_of_service(state, event, now_s, policy):
    after, wishes = step(state, event, now_s, policy)
    if isinstance(state, OutOfService) and isinstance(after, Ready):
        return replace(state, memory=after.memory), ()
    return after, wishes


def quits_at_once(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    if isinstance(event, events.StopRequested):
        wishes = (*wishes, effects.Quit())
    return state, wishes


def drops_late_answers(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    return state, tuple(w for w in wishes if not (isinstance(w, effects.RecordOutcome) and w.late))


def answers_no_staff_while_busy(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    if isinstance(state, Submitting):
        wishes = tuple(wish for wish in wishes if not isinstance(wish, effects.Reply))
    return state, wishes


def tells_not_sent_after_its_row(state, event, now_s, policy):
    state, wishes = step(state, event, now_s, policy)
    return state, reordered(wishes, effects.Show, effects.RecordNotSent)


def taken(_world) -> None:
    """Playing the script was all."""


MISTAKES: tuple[tuple[Callable, Callable], ...] = (
    (fails_on_a_release, taken),
    (sends_before_the_row, rules.a_row_stands_before_each_request),
    (sends_again_when_no_answer_comes, rules.one_request_an_intent),
    (sends_again_when_no_answer_comes, rules.a_code_is_charged_once),
    (forgets_spent_codes, rules.a_code_is_charged_once),
    (takes_unknown_for_unspent, rules.unknown_is_told_as_nothing_else),
    (has_no_guard, rules.only_a_press_of_that_customer_pays),
    (obeys_old_presses, rules.only_a_press_of_that_customer_pays),
    (confirms_by_itself, rules.only_a_press_of_that_customer_pays),
    (tells_before_the_row, rules.approved_is_told_after_its_row),
    (tells_unknown_as_declined, rules.unknown_is_told_as_nothing_else),
    (takes_silence_for_not_sent, rules.unknown_is_told_as_nothing_else),
    (tells_late_answers, rules.a_late_answer_is_nobody_elses),
    (ends_any_offer_when_something_was_not_sent, rules.a_late_answer_is_nobody_elses),
    (charges_a_sum_more, rules.amounts_are_those_of_the_offer),
    (charges_what_is_on_sale_at_the_press, rules.amounts_are_those_of_the_offer),
    (never_pauses, rules.a_row_of_unknowns_pauses),
    (forgets_the_pause_at_staff_commands, rules.a_row_of_unknowns_pauses),
    (sells_while_an_outcome_is_unsaved, rules.nothing_is_sold_while_an_outcome_is_unsaved),
    (sells_a_reference_again, rules.a_reference_is_paid_once),
    (keeps_the_offer_after_doubt, rules.a_reference_is_paid_once),
    (ignores_ticks(Ready), rules.deadlines_are_consumed),
    (ignores_ticks(AwaitingConfirm), rules.deadlines_are_consumed),
    (ignores_ticks(Concluded), rules.deadlines_are_consumed),
    (ignores_ticks(Submitting), rules.nobody_waits_forever),
    (stays_out_of_service, rules.nobody_waits_forever),
    (quits_at_once, rules.it_quits_when_nothing_is_running),
    (drops_late_answers, rules.no_answer_is_lost),
    (answers_no_staff_while_busy, rules.each_command_is_answered_once),
    (tells_not_sent_after_its_row, rules.what_is_shown_agrees_with_the_state),
)


@pytest.mark.parametrize(
    ("mistake", "rule"), MISTAKES, ids=[f"{m.__name__}-{r.__name__}" for m, r in MISTAKES]
)
def test_a_planted_mistake_is_found(mistake, rule):
    def breaks_the_rule(script) -> bool:
        try:
            rule(play(script, step=mistake, guards_codes=False))
        except (AssertionError, NotImplementedError):
            return True
        return False

    try:
        find(scripts(), breaks_the_rule, settings=SEARCH)
    except NoSuchExample:
        pytest.fail("no script shows the mistake")


def test_a_forgotten_sending_row_is_found_across_a_restart(monkeypatch):
    """The journal's doubt after a restart is what keeps the code spent."""
    monkeypatch.setattr("tests.unit.core.world.FakeJournal.spent", lambda _self, _code: None)

    def breaks_the_rule(script) -> bool:
        try:
            rules.a_code_is_charged_once(play(script, guards_codes=False))
        except AssertionError:
            return any(move.op == "kill" for move in script.moves)
        return False

    assert find(scripts(), breaks_the_rule, settings=SEARCH)
