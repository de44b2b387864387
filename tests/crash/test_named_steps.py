"""kill -9 of the payment process at each step of a payment, then a restart on the same journal."""

import pytest
from audit import faults_of, faults_of_restart, rows_of, without_outcome
from hooks import POINTS
from kiosk_process import a_code
from tally import gathered
from tools import figure

from kiosk.messages import Acknowledge, Ok

NOTHING, IN_DOUBT, APPROVED = [], ["sending", "unknown"], ["sending", "approved"]
STEPS = {
    # step: (whether money moved, the rows after the restart)
    "code-read": (False, NOTHING),
    "warm-up": (False, NOTHING),
    "cue-press_to_pay": (False, NOTHING),
    "pressed": (False, NOTHING),
    "cue-submitting": (False, NOTHING),
    "connected": (False, NOTHING),
    "sending-before-commit": (False, NOTHING),
    "sending-after-commit": (False, IN_DOUBT),
    "sending-row-written": (False, IN_DOUBT),
    "before-submit": (False, IN_DOUBT),
    "before-send": (False, IN_DOUBT),
    "half-sent": (False, IN_DOUBT),
    "sent": (True, IN_DOUBT),
    "answered": (True, IN_DOUBT),
    "outcome-known": (True, IN_DOUBT),
    "outcome-before-commit": (True, IN_DOUBT),
    "outcome-after-commit": (True, APPROVED),
    "before-cue-approved": (True, APPROVED),
    "cue-approved": (True, APPROVED),
}


def test_every_step_has_its_test():
    assert POINTS.keys() <= STEPS.keys()


def dies_while_paying(kiosk, code, **hooks):
    kiosk.start(**hooks)
    kiosk.ready()
    if hooks["kill"] in ("code-read", "warm-up", "cue-press_to_pay"):
        kiosk.scanner.hold_up(code)
    else:
        kiosk.show(code, "awaiting_confirm")
        kiosk.press_without_waiting()
    cues = kiosk.dies()
    kiosk.scanner.hold_up()
    return cues


def kinds_in(kiosk):
    return [[kind for kind, _ in rows] for rows in rows_of(kiosk.journal_path).values()]


def opens_as_it_should(kiosk, in_doubt):
    """The first thing that is told after a restart; a customer may still stand there."""
    state = kiosk.control.wait(lambda s: s.state != "out_of_service")
    if in_doubt:
        assert (state.state, state.outcome, state.cue) == ("concluded", "unknown", "unknown")
        assert isinstance(kiosk.control.command(Acknowledge()), Ok)
    kiosk.ready()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at(step, mortal_at, gateway, shared_folder):
    money_moved, rows = STEPS[step]
    kiosk, code = mortal_at(gateway.url), a_code()

    told = [(code, dies_while_paying(kiosk, code, kill=step))]
    if money_moved:
        assert gateway.ledger.wait_until(lambda ledger: ledger.charges, 30)
    in_doubt = without_outcome(kiosk.journal_path)
    assert bool(in_doubt) == (rows is IN_DOUBT)

    kiosk.start()
    opens_as_it_should(kiosk, in_doubt=rows is IN_DOUBT)
    assert list(faults_of_restart(kiosk.journal_path, in_doubt)) == []
    assert kinds_in(kiosk) == ([rows] if rows else [])
    assert len(gateway.ledger.charges) == money_moved
    assert faults_of(kiosk.journal_path, gateway.ledger, told) == []

    # The same customer, with the same code: never a second request.
    if rows is NOTHING:
        kiosk.show(code, "awaiting_confirm")
        kiosk.press()
        assert kiosk.control.wait("concluded").outcome == "approved"
    else:
        expected = "unknown" if rows is IN_DOUBT else "not_accepted"
        kiosk.show(code, lambda s: s.cue == expected)
    kiosk.kill()
    told.append((code, kiosk.last_cues()))
    assert len(gateway.ledger.requests) <= 1
    assert faults_of(kiosk.journal_path, gateway.ledger, told) == []
    if ends := gathered(shared_folder, "named-steps", step, len(STEPS), len(in_doubt)):
        figure(
            f"kill -9 at {len(ends)} named steps: {sum(ends)} in doubt, which became unknown and"
            " were not sent again; nothing lost, doubled or told wrongly"
        )


@pytest.mark.parametrize("step", ["outcome-before-commit", "outcome-after-commit"])
def test_killed_again_while_recovering(step, mortal_at, gateway):
    kiosk, code = mortal_at(gateway.url), a_code()
    dies_while_paying(kiosk, code, kill="sent")
    assert gateway.ledger.wait_until(lambda ledger: ledger.charges, 30)

    kiosk.start(kill=step, follow=False)
    kiosk.dies()

    kiosk.start()
    # Which life wrote the row of doubt makes no difference to the customer who stands there.
    opens_as_it_should(kiosk, in_doubt=True)
    assert kinds_in(kiosk) == [IN_DOUBT]
    assert len(gateway.ledger.requests) == 1
    assert faults_of(kiosk.journal_path, gateway.ledger, [(code, [])]) == []


# Controls: a worse kiosk must be caught by the very same checks.


def test_control_a_kiosk_that_resends_is_caught(mortal_at, gateway):
    kiosk, code = mortal_at(gateway.url), a_code()
    told = [(code, dies_while_paying(kiosk, code, kill="sent"))]
    assert gateway.ledger.wait_until(lambda ledger: ledger.charges, 30)

    kiosk.start(misbehave="resend-after-restart")
    kiosk.control.wait(lambda s: s.state != "out_of_service")

    assert "a code was sent 2 times" in faults_of(kiosk.journal_path, gateway.ledger, told)


def test_control_a_request_before_its_row_is_caught(mortal_at, gateway):
    kiosk, code = mortal_at(gateway.url), a_code()

    step = "sending-before-commit"
    told = [(code, dies_while_paying(kiosk, code, kill=step, misbehave="request-before-row"))]

    assert gateway.ledger.wait_until(lambda ledger: ledger.charges, 30)
    assert "a charge has no row" in faults_of(kiosk.journal_path, gateway.ledger, told)


def test_control_a_cue_before_its_row_is_caught(mortal_at, gateway):
    kiosk, code = mortal_at(gateway.url), a_code()

    step = "outcome-before-commit"
    told = [(code, dies_while_paying(kiosk, code, kill=step, misbehave="cue-before-row"))]

    faults = faults_of(kiosk.journal_path, gateway.ledger, told)
    assert faults == ["a customer was told approved, and no row says so"]
