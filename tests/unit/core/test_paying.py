"""From the press on: one row, one request, one outcome, and what the customer is told."""

from dataclasses import replace

import pytest

from kiosk.core import effects, events
from kiosk.core.cues import Cue, Reason
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.memory import Memory
from kiosk.core.states import (
    AwaitingConfirm,
    Concluded,
    Connecting,
    OutOfService,
    Ready,
    Submitting,
    next_deadline_s,
    wants_codes,
)

from .kiosk_at import (
    APPROVED,
    COFFEE,
    DECLINED,
    FIXED,
    HOST,
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

INTENT = Intent("i1", COFFEE, A)


def host_submitting():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=0).look(A, at_s=0)
    return kiosk.press(at_s=1).connected("i1", at_s=1)


# Connect, row, request


def test_the_row_comes_before_the_request():
    kiosk = submitting()

    assert kiosk.wishes == (effects.RecordSending(INTENT), effects.Submit(INTENT, 6.0))
    assert not wants_codes(kiosk.state, FIXED)


def test_a_second_connected_sends_nothing():
    assert submitting().connected("i1", at_s=1.1).wishes == ()


def test_no_connection_is_told_as_nothing_sent_even_if_its_row_fails():
    kiosk = connecting().take(events.NotSent("i1", "refused"), at_s=2)
    assert kiosk.wishes == (
        effects.Abandon("i1"),
        effects.Show(Cue.NOT_SENT),
        effects.RecordNotSent(INTENT, "refused"),
    )

    kiosk.take(events.RowFailed("i1", "not_sent", "disk full"), at_s=2).tick(at_s=10)
    assert isinstance(kiosk.state, OutOfService)


def test_no_connection_in_time_is_nothing_sent():
    kiosk = connecting()

    assert next_deadline_s(kiosk.state, 1, FIXED) == 10
    assert kiosk.tick(at_s=9.9).wishes == ()
    assert kiosk.tick(at_s=10).shown == (Cue.NOT_SENT,)


def test_a_connection_that_comes_too_late_sends_nothing():
    assert connecting().connected("i1", at_s=10).wishes == ()
    assert connecting().tick(at_s=10).connected("i1", at_s=11).wishes == (effects.Abandon("i1"),)


def test_while_an_outcome_is_unsaved_a_connection_sends_nothing():
    kiosk = given_up().look(B, at_s=80).press(at_s=81)
    kiosk.take(events.RowFailed("i1", "outcome", "disk full"), at_s=81.1)

    kiosk.connected("i2", at_s=81.2)

    assert kiosk.shown == (Cue.NOT_SENT,)
    assert not kiosk.wished(effects.Submit)


def test_a_failed_sending_row_ends_as_not_sent_and_out_of_service():
    kiosk = submitting().take(events.RowFailed("i1", "sending", "disk full"), at_s=1)
    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.NOT_SENT))

    kiosk.tick(at_s=10)
    assert kiosk.state.memory.troubles == ((Reason.JOURNAL_UNWRITABLE, "disk full"),)
    assert kiosk.shown == (Cue.OUT_OF_SERVICE,)


def test_a_code_that_the_journal_knows_as_spent_is_not_accepted():
    kiosk = submitting().take(events.RowFailed("i1", "spent", "used"), at_s=1)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.NOT_ACCEPTED))
    assert isinstance(kiosk.state, Ready)


def test_a_row_of_another_intent_that_failed_is_not_about_this_request():
    kiosk = submitting().take(events.RowFailed("i0", "outcome", "disk full"), at_s=2)

    assert isinstance(kiosk.state, Submitting)


# Outcomes


@pytest.mark.parametrize(
    ("answer", "cue"),
    [(APPROVED, Cue.APPROVED), (DECLINED, Cue.DECLINED), (UNKNOWN, Cue.UNKNOWN)],
)
def test_an_outcome_is_written_and_then_told(answer, cue):
    kiosk = concluded(answer)

    assert kiosk.wishes == (effects.RecordOutcome("i1", answer), effects.Show(cue))
    assert wants_codes(kiosk.state, FIXED)


def test_a_request_that_never_left_may_be_tried_again():
    kiosk = submitting().take(events.NotSent("i1", "too late"), at_s=7)

    assert kiosk.wishes == (
        effects.RecordOutcome("i1", Answer(Outcome.NOT_SENT, "too late")),
        effects.Show(Cue.NOT_SENT),
    )


def test_a_lost_answer_is_unknown_with_what_came_of_it():
    kiosk = submitting().take(events.AnswerLost("i1", "hung up", b"HTTP"), at_s=2)

    assert kiosk.wishes == (
        effects.RecordOutcome("i1", Answer(Outcome.UNKNOWN, "hung up", raw=b"HTTP")),
        effects.Show(Cue.UNKNOWN),
    )


def test_without_an_answer_the_deadline_ends_it_as_unknown():
    kiosk = submitting()

    assert kiosk.tick(at_s=65.9).shown == (Cue.STILL_SUBMITTING,)
    assert next_deadline_s(kiosk.state, 65.9, FIXED) == 66
    assert kiosk.tick(at_s=66).shown == (Cue.UNKNOWN,)
    assert kiosk.wishes[0].answer.outcome is Outcome.UNKNOWN


def test_a_long_wait_is_told_once():
    kiosk = submitting()

    assert next_deadline_s(kiosk.state, 1, FIXED) == 11
    assert kiosk.tick(at_s=10.9).wishes == ()
    assert kiosk.tick(at_s=11).shown == (Cue.STILL_SUBMITTING,)
    assert kiosk.tick(at_s=12).wishes == ()


def test_a_payment_id_of_an_earlier_payment_is_unknown_and_flagged():
    kiosk = submitting().answer("i1", APPROVED, at_s=2, payment_id_known=True)

    record, _ = kiosk.wishes
    assert kiosk.shown == (Cue.UNKNOWN,)
    assert record.answer.outcome is Outcome.UNKNOWN
    assert record.answer.payment_id == APPROVED.payment_id
    assert record.answer.flags == ("payment_id_known",)


def test_the_cue_ends_and_the_next_customer_is_invited():
    kiosk = concluded(APPROVED)
    due_s = next_deadline_s(kiosk.state, 2, FIXED)

    assert kiosk.tick(at_s=due_s - 0.01).wishes == ()
    assert kiosk.tick(at_s=due_s).shown == (Cue.READY,)
    assert next_deadline_s(kiosk.state, due_s, FIXED) is None


def test_codes_and_presses_while_an_outcome_is_told_start_nothing():
    assert concluded(APPROVED).look(B, at_s=3).press(at_s=4).wishes == ()


def test_staff_end_the_unknown_cue_and_no_other():
    assert concluded(UNKNOWN).take(events.Acknowledged(3), at_s=3).wishes == (
        effects.Reply(3),
        effects.Show(Cue.READY),
    )
    assert concluded(APPROVED).take(events.Acknowledged(3), at_s=3).wishes == (effects.Reply(3),)


# An outcome that cannot be saved


def test_an_unsaved_outcome_is_told_as_unknown_and_blocks_the_sale():
    kiosk = concluded(APPROVED).take(events.RowFailed("i1", "outcome", "disk full"), at_s=2)
    assert kiosk.shown == (Cue.UNKNOWN,)

    kiosk.tick(at_s=62)
    assert kiosk.state.memory.reasons(62, FIXED)[0][0] is Reason.OUTCOME_UNSAVED

    assert kiosk.take(events.RowSaved("i1"), at_s=63).shown == (Cue.READY,)


def test_another_intents_unsaved_outcome_changes_no_cue():
    kiosk = concluded(APPROVED).take(events.RowFailed("i0", "outcome", "disk full"), at_s=2)

    assert kiosk.shown == ()


# Late words


@pytest.mark.parametrize("answer", [APPROVED, DECLINED])
def test_a_late_answer_is_written_and_shown_to_nobody(answer):
    kiosk = given_up().look(B, at_s=80).answer("i1", answer, at_s=81)

    assert kiosk.wishes == (effects.RecordOutcome("i1", answer, late=True),)
    assert isinstance(kiosk.state, AwaitingConfirm)
    assert kiosk.state.memory.unknown_in_row == ()


def test_a_late_not_sent_is_written_too():
    kiosk = given_up().take(events.NotSent("i1", "queued"), at_s=81)

    answer = Answer(Outcome.NOT_SENT, "queued")
    assert kiosk.wishes == (effects.RecordOutcome("i1", answer, late=True),)


def test_a_late_unknown_answer_keeps_its_payment_id_and_stays_unknown():
    kiosk = given_up().answer("i1", APPROVED, at_s=81, payment_id_known=True)

    assert kiosk.wishes[0].answer.payment_id == APPROVED.payment_id
    assert kiosk.state.memory.unknown_in_row == ("i1",)


def test_a_late_lost_answer_adds_nothing():
    assert given_up().take(events.AnswerLost("i1", "hung up"), at_s=81).wishes == ()


def test_a_second_word_on_the_same_request_is_not_believed():
    kiosk = given_up().answer("i1", DECLINED, at_s=81).answer("i1", APPROVED, at_s=82)

    assert kiosk.wishes == ()


def test_a_word_on_a_request_that_never_left_is_not_believed():
    assert Kiosk().answer("i9", APPROVED, at_s=1).wishes == ()


# A host's reference


@pytest.mark.parametrize("answer", [APPROVED, UNKNOWN])
def test_a_reference_that_was_paid_or_is_unknown_is_consumed(answer):
    kiosk = host_submitting().answer("i1", answer, at_s=2).tick(at_s=100)

    assert kiosk.shown == (Cue.WAITING,)


def test_a_declined_offer_stays_for_sale():
    assert host_submitting().answer("i1", DECLINED, at_s=2).tick(at_s=100).shown == (Cue.READY,)


def test_an_offer_that_was_not_sent_stays_for_sale():
    kiosk = host_submitting().take(events.NotSent("i1", "refused"), at_s=2).tick(at_s=100)

    assert kiosk.shown == (Cue.READY,)


def test_while_a_payment_runs_offers_are_refused():
    kiosk = host_submitting().offer(ORDER, at_s=2)

    assert kiosk.error == "a payment is running"
    assert kiosk.take(events.OfferCancelled(8), at_s=2).error == "a payment is running"
    assert kiosk.take(events.Acknowledged(8), at_s=2).wishes == (effects.Reply(8),)


def test_the_next_offer_may_come_while_an_outcome_is_told():
    other = replace(ORDER, reference="ref-18")
    kiosk = host_submitting().answer("i1", APPROVED, at_s=2).offer(other, at_s=3)

    assert kiosk.wishes == (effects.Reply(7),)
    assert kiosk.tick(at_s=10).shown == (Cue.READY,)


# Unknown in a row


def unknown_twice():
    kiosk = concluded(UNKNOWN).take(events.Acknowledged(1), at_s=3)
    kiosk.look(B, at_s=4).press(at_s=5).connected("i2", at_s=5).answer("i2", UNKNOWN, at_s=6)
    return kiosk.take(events.Acknowledged(1), at_s=7)


def test_unknown_outcomes_in_a_row_pause_the_kiosk():
    kiosk = unknown_twice()

    assert kiosk.state.memory.reasons(7, FIXED)[0][0] is Reason.UNKNOWN_PAUSE
    assert kiosk.shown == (Cue.OUT_OF_SERVICE,)


def test_the_pause_ends_by_itself():
    kiosk = unknown_twice()

    assert next_deadline_s(kiosk.state, 7, FIXED) == 606
    assert kiosk.tick(at_s=605.9).wishes == ()
    assert next_deadline_s(kiosk.state, 606.1, FIXED) == 606.1  # a loop that wakes late
    assert kiosk.tick(at_s=606.1).shown == (Cue.READY,)


def test_after_the_pause_another_reason_stands_without_a_deadline():
    kiosk = unknown_twice().trouble(Reason.GATEWAY_UNREACHABLE, at_s=8)

    assert next_deadline_s(kiosk.state, 8, FIXED) is None
    assert kiosk.tick(at_s=700).wishes == ()
    kiosk.take(events.TroubleEnded(Reason.GATEWAY_UNREACHABLE), at_s=701)
    assert kiosk.shown == (Cue.READY,)


def test_a_known_outcome_breaks_the_row():
    kiosk = concluded(UNKNOWN).take(events.Acknowledged(1), at_s=3)
    kiosk.look(B, at_s=4).press(at_s=5).connected("i2", at_s=5).answer("i2", DECLINED, at_s=6)

    assert kiosk.state.memory.unknown_in_row == ()


def test_staff_who_resolve_end_the_pause():
    kiosk = unknown_twice().take(events.UnresolvedCounted(("i2",)), at_s=8)

    assert kiosk.shown == (Cue.READY,)


def test_a_start_does_not_end_the_pause():
    memory = Memory(unknown_in_row=("x", "y"), paused_until_s=500)
    kiosk = Kiosk(FIXED, memory)

    assert kiosk.shown == (Cue.OUT_OF_SERVICE,)
    assert kiosk.tick(at_s=500).shown == (Cue.READY,)


def test_too_many_unresolved_payments_wait_for_staff():
    names = tuple(f"u{n}" for n in range(11))
    kiosk = Kiosk().take(events.UnresolvedCounted(names), at_s=1)
    assert kiosk.state.memory.reasons(1, FIXED)[0][0] is Reason.UNRESOLVED_LIMIT

    assert kiosk.take(events.UnresolvedCounted(names[1:]), at_s=2).shown == (Cue.READY,)


# Starts and stops


def test_a_start_soon_after_a_request_opens_in_the_unknown_cue():
    kiosk = Kiosk(FIXED, Memory(), "i0", at_s=5)

    assert kiosk.wishes == (effects.Show(Cue.UNKNOWN),)
    assert next_deadline_s(kiosk.state, 5, FIXED) == 65
    assert kiosk.tick(at_s=65).shown == (Cue.READY,)


def test_stop_without_a_customer_quits_at_once():
    assert Kiosk().take(events.StopRequested(), at_s=1).wishes == (effects.Quit(),)
    out = Kiosk().trouble(Reason.CAMERA_DOWN, at_s=1)
    assert out.take(events.StopRequested(), at_s=2).wishes == (effects.Quit(),)


def test_stop_before_the_press_drops_the_offer():
    kiosk = awaiting().take(events.StopRequested(), at_s=1)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Quit())


def test_stop_before_the_row_sends_nothing():
    kiosk = connecting().take(events.StopRequested(), at_s=2)

    assert kiosk.shown == (Cue.NOT_SENT,)
    assert isinstance(kiosk.state, Concluded)
    assert kiosk.connected("i1", at_s=2.1).wishes == (effects.Abandon("i1"),)


def test_stop_during_a_request_waits_for_its_outcome():
    kiosk = submitting().take(events.StopRequested(), at_s=2)
    assert kiosk.wishes == ()

    kiosk.answer("i1", UNKNOWN, at_s=5)
    assert next_deadline_s(kiosk.state, 5, FIXED) == 8
    assert kiosk.tick(at_s=8).wishes[-1] == effects.Quit()


def test_stop_while_an_outcome_is_told_shortens_the_cue_once():
    kiosk = concluded(UNKNOWN).take(events.StopRequested(), at_s=4)
    assert not kiosk.wished(effects.Quit)

    kiosk.tick(at_s=6)
    assert next_deadline_s(kiosk.state, 6, FIXED) == 7
    assert kiosk.tick(at_s=7).wished(effects.Quit)


def test_connecting_answers_commands_and_forgets_nothing():
    kiosk = connecting().offer(ORDER, at_s=2)

    assert kiosk.error == "a payment is running"
    assert isinstance(kiosk.state, Connecting)
