"""The promises about money hold for any script of events, times, failing rows and restarts."""

from hypothesis import given

from . import rules
from .scripts import play, scripts


@given(scripts())
def test_any_script_is_taken_without_an_error(script):
    play(script)


@given(scripts())
def test_money_never_moves_without_a_durable_row(script):
    rules.a_row_stands_before_each_request(play(script))


@given(scripts())
def test_an_intent_is_submitted_at_most_once(script):
    rules.one_request_an_intent(play(script))


@given(scripts())
def test_a_code_that_was_submitted_is_never_submitted_again(script):
    rules.a_code_is_charged_once(play(script, guards_codes=False))


@given(scripts())
def test_nobody_pays_without_a_press_of_their_own(script):
    rules.only_a_press_of_that_customer_pays(play(script))


@given(scripts())
def test_approved_is_told_only_after_the_approved_row(script):
    rules.approved_is_told_after_its_row(play(script))


@given(scripts())
def test_unknown_is_never_told_as_declined_or_not_sent(script):
    rules.unknown_is_told_as_nothing_else(play(script, guards_codes=False))


@given(scripts())
def test_a_late_answer_shows_nothing_to_whoever_stands_there(script):
    rules.a_late_answer_is_nobody_elses(play(script))


@given(scripts())
def test_the_amount_is_that_of_the_offer_when_the_code_was_read(script):
    rules.amounts_are_those_of_the_offer(play(script))


@given(scripts())
def test_unknown_outcomes_in_a_row_pause_the_kiosk(script):
    rules.a_row_of_unknowns_pauses(play(script))


@given(scripts())
def test_nothing_is_sold_while_an_outcome_is_unsaved(script):
    rules.nothing_is_sold_while_an_outcome_is_unsaved(play(script))


@given(scripts())
def test_a_hosts_reference_is_paid_at_most_once(script):
    rules.a_reference_is_paid_once(play(script))


@given(scripts())
def test_a_tick_consumes_its_deadline(script):
    rules.deadlines_are_consumed(play(script))


@given(scripts())
def test_a_kiosk_is_never_stuck(script):
    rules.nobody_waits_forever(play(script))


@given(scripts())
def test_it_quits_only_while_no_request_is_running(script):
    rules.it_quits_when_nothing_is_running(play(script))


@given(scripts())
def test_no_answer_of_the_gateway_is_lost(script):
    rules.no_answer_is_lost(play(script))


@given(scripts())
def test_every_command_is_answered_exactly_once(script):
    rules.each_command_is_answered_once(play(script))


@given(scripts())
def test_what_is_shown_is_what_is_true(script):
    rules.what_is_shown_agrees_with_the_state(play(script))
