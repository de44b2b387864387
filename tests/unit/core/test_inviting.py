"""Before the press: what a frame, a press or a host starts, and what it does not."""

from dataclasses import replace

import pytest

from kiosk.core import effects, events
from kiosk.core.cues import Cue, Reason
from kiosk.core.intent import Outcome
from kiosk.core.memory import Policy
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
    AUTOMATIC,
    COFFEE,
    FIXED,
    HOST,
    MENU,
    ORDER,
    TEA,
    WATER,
    A,
    B,
    C,
    Kiosk,
    awaiting,
    given_up,
    submitting,
)

STICKER = b"https://example.uz"


def offer_of(kiosk):
    return kiosk.state.memory.offer(kiosk.policy)


def tap(kiosk, *, at_s):
    return kiosk.press(at_s=at_s).release(at_s=at_s + 0.2)


# The menu


def test_short_presses_walk_the_menu_around():
    kiosk = Kiosk(MENU)

    walked = [offer_of(tap(kiosk, at_s=second)) for second in (1, 2, 3)]

    assert walked == [TEA, WATER, COFFEE]


def test_a_held_press_walks_nothing():
    kiosk = Kiosk(MENU).press(at_s=1).release(at_s=2.5)

    assert offer_of(kiosk) == COFFEE


def test_a_held_press_that_bounces_at_first_touch_walks_nothing():
    kiosk = Kiosk(MENU).press(at_s=1).release(at_s=1.01).press(at_s=1.02).release(at_s=5)

    assert offer_of(kiosk) == COFFEE


def test_a_bouncing_press_walks_one_item():
    kiosk = Kiosk(MENU).press(at_s=1).release(at_s=1.2).press(at_s=1.21).release(at_s=1.22)

    assert offer_of(kiosk) == TEA


def test_a_press_with_one_fixed_offer_walks_nothing():
    assert offer_of(tap(Kiosk(FIXED), at_s=1)) == COFFEE


def test_a_scan_fixes_the_item():
    kiosk = tap(Kiosk(MENU), at_s=1).look(A, at_s=2)

    assert kiosk.state.intent.offer == TEA
    assert tap(kiosk, at_s=2.1).state.intent.offer == TEA


def test_a_press_held_over_the_scan_neither_walks_nor_pays():
    kiosk = Kiosk(MENU).press(at_s=1).look(A, at_s=1.1).release(at_s=1.3)

    assert kiosk.state.intent.offer == COFFEE
    assert isinstance(kiosk.state, AwaitingConfirm)


def test_a_walked_menu_returns_to_its_first_item_when_nobody_scans():
    kiosk = tap(Kiosk(MENU), at_s=1)

    due_s = next_deadline_s(kiosk.state, 1.2, MENU)
    assert offer_of(kiosk.tick(at_s=due_s - 0.1)) == TEA
    assert offer_of(kiosk.tick(at_s=due_s)) == COFFEE


def test_after_a_payment_the_menu_stands_at_its_first_item():
    kiosk = tap(Kiosk(MENU), at_s=1).look(A, at_s=2).tick(at_s=32)

    assert offer_of(kiosk) == COFFEE


# The press


def test_a_code_invites_its_owner_to_press():
    kiosk = awaiting()

    assert kiosk.wishes == (effects.Show(Cue.PRESS_TO_PAY), effects.WarmUp("i1"))
    assert wants_codes(kiosk.state, FIXED)


@pytest.mark.parametrize("at_s", [0.0, 0.3, 0.69, -0.1])
def test_a_press_soon_after_the_cue_pays_for_nobody(at_s):
    assert isinstance(awaiting().press(at_s=at_s).state, AwaitingConfirm)


def test_a_press_from_the_guards_end_on_confirms():
    kiosk = awaiting().press(at_s=0.7)

    assert isinstance(kiosk.state, Connecting)
    assert kiosk.wishes == (effects.Connect("i1"), effects.Show(Cue.SUBMITTING))


def test_the_presss_own_time_counts_not_when_it_was_heard():
    assert isinstance(awaiting().press(at_s=0.6, waited_s=0.9).state, AwaitingConfirm)
    assert isinstance(awaiting().press(at_s=0.7, waited_s=1.0).state, Connecting)


def test_a_press_that_waited_long_means_nothing():
    assert isinstance(awaiting().press(at_s=1, waited_s=1.01).state, AwaitingConfirm)


def test_a_bounce_is_no_second_press():
    kiosk = awaiting().press(at_s=0.68).press(at_s=0.71)

    assert isinstance(kiosk.state, AwaitingConfirm)


def test_a_held_button_does_not_confirm_when_it_comes_up():
    kiosk = Kiosk().press(at_s=-1).look(A, at_s=0).release(at_s=2)

    assert isinstance(kiosk.state, AwaitingConfirm)


def test_a_press_without_a_code_does_nothing():
    assert Kiosk().press(at_s=1).wishes == ()


def test_a_press_during_submitting_does_nothing():
    kiosk = submitting().press(at_s=3)

    assert kiosk.wishes == ()
    assert isinstance(kiosk.state, Submitting)


def test_a_press_after_the_offers_end_does_nothing_even_before_the_tick():
    assert isinstance(awaiting().press(at_s=30).state, AwaitingConfirm)


def test_a_press_just_before_the_end_counts_although_it_is_heard_after_it():
    assert isinstance(awaiting().press(at_s=29.9, waited_s=0.3).state, Connecting)


# Time


def test_five_seconds_before_the_end_the_customer_is_warned_once():
    kiosk = awaiting()

    assert next_deadline_s(kiosk.state, 0, FIXED) == 25
    assert kiosk.tick(at_s=24.9).shown == ()
    assert kiosk.tick(at_s=25).shown == (Cue.PRESS_SOON,)
    assert kiosk.tick(at_s=25.1).shown == ()
    assert next_deadline_s(kiosk.state, 26, FIXED) == 30


def test_without_a_press_it_ends_without_a_charge():
    kiosk = awaiting().tick(at_s=30)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.READY))
    assert isinstance(kiosk.look(A, at_s=31).state, Ready)


# Other codes


def test_another_customers_code_replaces_the_one_that_waits():
    kiosk = awaiting().look(B, at_s=5)

    assert kiosk.wishes == (
        effects.Abandon("i1"),
        effects.Show(Cue.PRESS_TO_PAY),
        effects.WarmUp("i2"),
    )
    assert isinstance(kiosk.press(at_s=5.5).state, AwaitingConfirm)
    assert kiosk.press(at_s=5.7).state.intent.code == B


def test_the_same_code_again_changes_nothing():
    kiosk = awaiting()

    assert kiosk.look(A, at_s=5).wishes == ()
    assert kiosk.state.since_s == 0


def test_a_code_that_flips_back_was_in_view_all_along():
    kiosk = awaiting().look(B, at_s=5).look(A, at_s=5.9)

    assert kiosk.wishes == (effects.Abandon("i2"), effects.Show(Cue.NOT_ACCEPTED))
    assert isinstance(kiosk.state, Ready)


def test_a_customer_who_comes_back_later_may_pay():
    kiosk = awaiting().look(B, at_s=5).look(A, at_s=6)

    assert kiosk.state.intent.code == A


def test_two_codes_at_once_start_nothing_and_say_so():
    kiosk = Kiosk().look(A, B, at_s=0)

    assert kiosk.shown == (Cue.NOT_ACCEPTED,)
    assert kiosk.look(A, at_s=0.5).wishes == ()


def test_two_codes_at_once_end_the_offer_to_confirm():
    kiosk = awaiting().look(A, B, at_s=1)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.NOT_ACCEPTED))
    assert isinstance(kiosk.press(at_s=2).state, Ready)


def test_a_code_left_in_view_alone_ends_anothers_offer():
    """Its owner could press, and somebody else's code would pay."""
    kiosk = awaiting().tick(at_s=30).look(B, at_s=31).look(A, at_s=31.5)

    assert kiosk.shown == (Cue.NOT_ACCEPTED,)


def test_a_used_code_ends_anothers_offer():
    kiosk = awaiting().look(B, at_s=5, spent=Outcome.APPROVED)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.NOT_ACCEPTED))


def test_an_unknown_payments_code_ends_anothers_offer_in_the_unknown_cue():
    kiosk = awaiting().look(B, at_s=5, spent=Outcome.UNKNOWN)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.UNKNOWN))
    assert kiosk.state.intent_id is None


def test_a_sticker_beside_the_waiting_code_changes_nothing():
    assert awaiting().look(at_s=1, refused=[STICKER]).wishes == ()


def test_a_sticker_beside_a_code_does_not_spoil_it():
    assert isinstance(Kiosk().look(A, at_s=0, refused=[STICKER]).state, AwaitingConfirm)


def test_what_is_no_code_is_refused_once_until_it_was_out_of_sight():
    kiosk = Kiosk().look(at_s=0, refused=[STICKER])

    assert kiosk.shown == (Cue.NOT_ACCEPTED,)
    assert kiosk.look(at_s=2.9, refused=[STICKER]).wishes == ()
    assert kiosk.look(at_s=5.8, refused=[STICKER]).wishes == ()
    assert kiosk.look(at_s=8.8, refused=[STICKER]).shown == (Cue.NOT_ACCEPTED,)


def test_after_a_refusal_the_kiosk_is_ready_again():
    kiosk = Kiosk().look(at_s=0, refused=[STICKER])
    due_s = next_deadline_s(kiosk.state, 0, FIXED)

    assert kiosk.tick(at_s=due_s / 2).shown == ()
    assert kiosk.tick(at_s=due_s).shown == (Cue.READY,)


@pytest.mark.parametrize("outcome", [Outcome.APPROVED, Outcome.DECLINED])
def test_a_used_code_is_not_accepted(outcome):
    kiosk = Kiosk().look(A, at_s=0, spent=outcome)

    assert kiosk.shown == (Cue.NOT_ACCEPTED,)
    assert isinstance(kiosk.state, Ready)


def test_the_code_of_an_unknown_payment_gets_the_unknown_cue():
    kiosk = Kiosk().look(A, at_s=0, spent=Outcome.UNKNOWN)

    assert kiosk.shown == (Cue.UNKNOWN,)
    assert isinstance(kiosk.state, Concluded)


@pytest.mark.parametrize("outcome", [None, Outcome.UNKNOWN, Outcome.APPROVED])
def test_a_code_left_in_view_starts_nothing_until_it_was_out_of_sight(outcome):
    kiosk = awaiting().tick(at_s=30)

    assert kiosk.look(A, at_s=32.9, spent=outcome).wishes == ()
    assert kiosk.look(A, at_s=35.8, spent=outcome).wishes == ()
    assert kiosk.look(A, at_s=38.9, spent=outcome).wishes != ()


def test_a_code_left_in_view_beside_a_new_sticker_starts_nothing():
    kiosk = awaiting().tick(at_s=30).look(A, at_s=31, refused=[STICKER])

    assert kiosk.wishes == ()


def test_an_older_frame_does_not_shorten_the_time_out_of_sight():
    kiosk = awaiting().tick(at_s=30)
    old = events.SymbolsSeen(29.1, (events.SeenCode(A),), (), "i9")

    kiosk.take(old, at_s=30.1)

    assert kiosk.look(A, at_s=32.5).wishes == ()


def test_many_strangers_symbols_fill_no_memory():
    kiosk = Kiosk().look(at_s=0, refused=[str(n).encode() for n in range(1000)])

    assert len(kiosk.state.memory.in_view) == 16


# Automatic


def test_in_automatic_mode_a_code_is_charged_without_a_press():
    kiosk = Kiosk(AUTOMATIC).look(A, at_s=0)

    assert kiosk.wishes == (effects.Connect("i1"), effects.Show(Cue.SUBMITTING))


# A host's offers


def test_without_an_offer_nobody_is_invited():
    kiosk = Kiosk(HOST)

    assert kiosk.shown == (Cue.WAITING,)
    assert not wants_codes(kiosk.state, HOST)
    assert kiosk.look(A, at_s=1).wishes == ()


def test_a_hosts_offer_invites():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=1)

    assert kiosk.wishes == (effects.Reply(7), effects.Show(Cue.READY))
    assert kiosk.look(A, at_s=2).state.intent.offer == ORDER


def test_during_a_refusal_an_offer_waits_with_its_cue():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=1).look(at_s=2, refused=[STICKER])

    assert kiosk.offer(ORDER, at_s=2.1).shown == ()


def test_an_offer_taken_back_invites_nobody():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=1).take(events.OfferCancelled(8), at_s=2)

    assert kiosk.wishes == (effects.Reply(8), effects.Show(Cue.WAITING))
    assert kiosk.take(events.OfferCancelled(9), at_s=3).error == "there is no offer to take back"


@pytest.mark.parametrize("amount_sum", [0, -1, 5_000_001])
def test_a_wrong_amount_is_refused(amount_sum):
    kiosk = Kiosk(HOST).offer(replace(ORDER, amount_sum=amount_sum), at_s=1)

    assert "1 to 5000000" in kiosk.error
    assert kiosk.state.memory.host_offer is None


def test_a_consumed_reference_is_refused():
    assert "not sold again" in Kiosk(HOST).offer(ORDER, at_s=1, consumed=True).error


def test_a_fixed_price_takes_no_offers():
    kiosk = Kiosk(FIXED).offer(ORDER, at_s=1)

    assert "not host" in kiosk.error
    assert kiosk.shown == ()


def test_a_new_offer_ends_the_old_ones_invitation():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=0).look(A, at_s=1)
    other = replace(ORDER, amount_sum=999, reference="ref-18")

    kiosk.offer(other, at_s=2)

    assert kiosk.wishes == (effects.Reply(7), effects.Abandon("i1"), effects.Show(Cue.READY))
    assert kiosk.look(A, at_s=2.1).state.intent.offer == other


def test_a_refused_offer_leaves_the_waiting_customer_alone():
    kiosk = Kiosk(HOST).offer(ORDER, at_s=0).look(A, at_s=1).offer(ORDER, at_s=2, consumed=True)

    assert isinstance(kiosk.state, AwaitingConfirm)
    assert "not sold again" in kiosk.error


def test_an_offer_out_of_service_is_for_sale_once_the_trouble_is_over():
    kiosk = Kiosk(HOST).trouble(Reason.CAMERA_DOWN, at_s=0).offer(ORDER, at_s=1)

    assert kiosk.wishes == (effects.Reply(7),)
    assert kiosk.take(events.TroubleEnded(Reason.CAMERA_DOWN), at_s=2).shown == (Cue.READY,)


def test_a_price_above_the_limit_is_not_for_sale():
    kiosk = Kiosk(Policy(offers=(COFFEE,), max_amount_sum=14_999))

    assert kiosk.shown == (Cue.WAITING,)


# Troubles


def test_reasons_come_and_go_and_the_last_one_opens():
    kiosk = Kiosk().trouble(Reason.CAMERA_DOWN, at_s=0)
    assert kiosk.shown == (Cue.OUT_OF_SERVICE,)

    kiosk.trouble(Reason.GATEWAY_UNREACHABLE, at_s=1).take(
        events.TroubleEnded(Reason.CAMERA_DOWN), at_s=2
    )
    assert isinstance(kiosk.state, OutOfService)
    assert not wants_codes(kiosk.state, FIXED)
    assert next_deadline_s(kiosk.state, 2, FIXED) is None

    kiosk.take(events.TroubleEnded(Reason.GATEWAY_UNREACHABLE), at_s=3)
    assert kiosk.shown == (Cue.READY,)


def test_a_repeated_trouble_keeps_one_reason_with_its_last_words():
    kiosk = Kiosk().trouble(Reason.CAMERA_DOWN, at_s=0)
    kiosk.take(events.TroubleBegan(Reason.CAMERA_DOWN, "unplugged"), at_s=1)

    assert kiosk.state.memory.reasons(1, FIXED) == ((Reason.CAMERA_DOWN, "unplugged"),)


def test_out_of_service_codes_and_presses_start_nothing():
    kiosk = Kiosk().trouble(Reason.CAMERA_DOWN, at_s=0)

    assert kiosk.look(A, at_s=1).press(at_s=2).wishes == ()


def test_a_trouble_before_the_press_is_told_as_nothing_charged():
    kiosk = awaiting().trouble(Reason.GATEWAY_UNREACHABLE, at_s=1)

    assert kiosk.wishes == (effects.Abandon("i1"), effects.Show(Cue.NOT_SENT))
    assert isinstance(kiosk.state, Concluded)


@pytest.mark.parametrize("reason", [Reason.CAMERA_DOWN, Reason.SCANNER_DOWN])
def test_a_code_that_was_read_needs_no_camera_any_more(reason):
    kiosk = awaiting().trouble(reason, at_s=1)

    assert isinstance(kiosk.state, AwaitingConfirm)
    assert isinstance(kiosk.press(at_s=2).state, Connecting)


def test_an_outcome_that_cannot_be_saved_ends_the_next_customers_offer():
    kiosk = given_up().look(B, at_s=80)

    kiosk.take(events.RowFailed("i1", "outcome", "disk full"), at_s=81)

    assert kiosk.shown == (Cue.NOT_SENT,)


def test_a_late_not_sent_leaves_the_next_customer_alone():
    kiosk = given_up().look(B, at_s=80).take(events.NotSent("i1", "reset"), at_s=81)

    assert isinstance(kiosk.state, AwaitingConfirm)
    assert kiosk.shown == ()


def test_the_ordinary_commands_are_answered_while_a_code_waits():
    assert awaiting().take(events.Acknowledged(3), at_s=1).wishes == (effects.Reply(3),)
    assert Kiosk().take(events.Acknowledged(3), at_s=1).wishes == (effects.Reply(3),)


def test_a_third_code_after_a_flip_is_one_more_customer():
    kiosk = awaiting().look(B, at_s=5).look(C, at_s=5.5)

    assert kiosk.state.intent.code == C
