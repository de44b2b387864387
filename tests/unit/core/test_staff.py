"""What staff may state, and what the rows of an intent say together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk.core import effects, events
from kiosk.core.cues import Reason
from kiosk.core.intent import Outcome, RowKind, Standing, standing_of

from .kiosk_at import APPROVED, Kiosk, concluded, given_up, submitting

UNKNOWN = Standing(Outcome.UNKNOWN)
CONFLICT = Standing(Outcome.APPROVED, resolved=True, conflict=True)


def asked(intent_id="i1", *, standing=UNKNOWN, by="Aziza", why="bank statement", known=False):
    return events.ResolutionAsked(
        intent_id, Outcome.DECLINED, by, why, "p1", standing, known, request=5
    )


def answer(kiosk, event):
    return kiosk.take(event, at_s=100).wishes


@pytest.mark.parametrize("standing", [UNKNOWN, CONFLICT])
def test_staff_state_how_an_unknown_payment_ended(standing):
    assert answer(Kiosk(), asked(standing=standing)) == (
        effects.RecordResolution("i1", Outcome.DECLINED, "Aziza", "bank statement", "p1", 5),
    )


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (asked(standing=None), "no intent i1"),
        (asked(standing=Standing()), "nothing yet"),
        (asked(standing=Standing(Outcome.APPROVED)), "ended: approved"),
        (asked(standing=Standing(Outcome.DECLINED, resolved=True)), "ended: declined"),
        (asked(known=True), "another payment"),
        (asked(by=" "), "who states it"),
        (asked(why=""), "who states it"),
    ],
)
def test_a_resolution_is_refused_with_its_reason(event, says):
    (reply,) = answer(Kiosk(), event)

    assert says in reply.error


def test_a_running_request_cannot_be_resolved_even_after_its_deadline():
    for kiosk in (submitting(), given_up()):
        (reply,) = answer(kiosk, asked())
        assert "still running" in reply.error


def test_an_outcome_that_waits_to_be_written_cannot_be_resolved():
    kiosk = concluded(APPROVED).take(events.RowFailed("i1", "outcome", "disk full"), at_s=3)

    (reply,) = answer(kiosk, asked())

    assert "waits to be written" in reply.error


def test_a_resolution_is_taken_in_every_state_and_out_of_service_too():
    kiosk = Kiosk().trouble(Reason.CAMERA_DOWN, at_s=0)

    assert isinstance(answer(kiosk, asked())[0], effects.RecordResolution)
    assert answer(kiosk, events.Acknowledged(6)) == (effects.Reply(6),)


K = RowKind


@pytest.mark.parametrize(
    ("kinds", "standing"),
    [
        ([], Standing()),
        ([K.SENDING], Standing()),
        ([K.SENDING, K.APPROVED], Standing(Outcome.APPROVED)),
        ([K.SENDING, K.UNKNOWN], UNKNOWN),
        ([K.SENDING, K.UNKNOWN, K.APPROVED], Standing(Outcome.APPROVED)),
        ([K.SENDING, K.UNKNOWN, K.NOT_SENT], Standing(Outcome.NOT_SENT)),
        ([K.SENDING, K.APPROVED, K.UNKNOWN], Standing(Outcome.APPROVED)),
        ([K.SENDING, K.APPROVED, K.DECLINED], Standing(Outcome.APPROVED)),
        ([K.UNKNOWN, K.RESOLVED_DECLINED], Standing(Outcome.DECLINED, resolved=True)),
        ([K.UNKNOWN, K.RESOLVED_APPROVED, K.APPROVED], Standing(Outcome.APPROVED, resolved=True)),
        ([K.UNKNOWN, K.RESOLVED_DECLINED, K.APPROVED], CONFLICT),
        ([K.UNKNOWN, K.RESOLVED_APPROVED, K.DECLINED], CONFLICT),
        (
            [K.UNKNOWN, K.RESOLVED_DECLINED, K.NOT_SENT],
            Standing(Outcome.DECLINED, resolved=True),
        ),
        ([K.UNKNOWN, K.RESOLVED_DECLINED, K.APPROVED, K.APPROVED], CONFLICT),
        (
            [K.UNKNOWN, K.RESOLVED_DECLINED, K.APPROVED, K.RESOLVED_DECLINED],
            Standing(Outcome.DECLINED, resolved=True),
        ),
    ],
)
def test_rows_say_together(kinds, standing):
    assert standing_of(kinds) == standing


@given(st.lists(st.sampled_from(RowKind)))
def test_every_order_of_rows_has_a_standing(kinds):
    standing = standing_of(kinds)

    assert standing.outcome is not None or set(kinds) <= {K.SENDING}
    assert not standing.conflict or standing == CONFLICT


@given(st.lists(st.sampled_from(RowKind)))
def test_doubt_takes_nothing_back(kinds):
    before = standing_of(kinds)

    after = before.after(K.UNKNOWN)

    assert after == before or before.outcome is None


@given(st.lists(st.sampled_from(RowKind)))
def test_an_approval_of_the_gateway_counts_until_staff_say_otherwise(kinds):
    standing = standing_of([*kinds, K.APPROVED])

    assert standing.outcome is Outcome.APPROVED
    for later in (K.SENDING, K.UNKNOWN, K.DECLINED, K.NOT_SENT):
        assert standing.after(later).outcome is Outcome.APPROVED
