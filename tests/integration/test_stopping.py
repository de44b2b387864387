"""SIGTERM and SIGINT: a running request gets its outcome, its row and its cue; then the end."""

import signal

import pytest
from kiosk_process import WAIT_S, a_code

from kiosk.sandbox.gateway import SandboxGateway

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def ended_well(kiosk):
    assert kiosk.wait_for_exit() == 0
    kiosk.control.wait_for_end()
    assert not (kiosk.folder / "control.sock").exists()


@SIGNALS
def test_while_ready(number, kiosk):
    kiosk.ready()
    kiosk.send_signal(number)
    ended_well(kiosk)


@SIGNALS
def test_while_out_of_service(number, kiosk_at):
    kiosk = kiosk_at("http://127.0.0.1:9").start()
    kiosk.control.wait(lambda s: s.reasons == ["gateway_unreachable"])
    kiosk.send_signal(number)
    ended_well(kiosk)


@SIGNALS
def test_while_it_still_starts(number, kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.send_signal(number)
    ended_well(kiosk)


@SIGNALS
def test_while_a_code_waits_for_its_press(number, kiosk, gateway):
    assert kiosk.read(a_code()).state == "awaiting_confirm"
    kiosk.send_signal(number)
    ended_well(kiosk)
    assert gateway.ledger.requests == ()
    assert kiosk.rows() == []


@SIGNALS
def test_while_connecting_nothing_is_sent_and_that_is_told(number, kiosk, gateway):
    kiosk.ready()
    gateway.set_fault("info-stall")
    kiosk.read(a_code())
    kiosk.press()
    kiosk.control.wait("connecting")
    kiosk.send_signal(number)
    ended_well(kiosk)
    assert kiosk.control.cues()[-2:] in (["submitting", "not_sent"], ["not_sent", "ready"])
    assert kiosk.kinds() == ["not_sent"]
    assert gateway.ledger.requests == ()


@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGTERM, 1), (signal.SIGTERM, 3), (signal.SIGINT, 2)]
)
def test_in_the_middle_of_a_request(number, times, kiosk_at):
    with SandboxGateway(latency_s=1.0) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        kiosk.read(a_code())
        kiosk.press()
        assert gateway.ledger.wait_until(lambda ledger: ledger.charges, WAIT_S)
        for _ in range(times):
            kiosk.send_signal(number)
        ended_well(kiosk)
        assert "approved" in kiosk.control.cues()
        assert kiosk.kinds() == ["sending", "approved"]
        assert kiosk.rows()[1][2] == gateway.ledger.charges[0].payment_id


def test_in_the_middle_of_a_request_whose_answer_never_comes(kiosk_at, gateway):
    limits = {"connect_timeout_s": 1, "read_timeout_s": 2, "deadline_s": 3}
    kiosk = kiosk_at(gateway.url, gateway=limits).start()
    kiosk.ready()
    gateway.set_fault("stall-charged")
    kiosk.read(a_code())
    kiosk.press()
    kiosk.control.wait("submitting")
    kiosk.send_signal(signal.SIGTERM)
    ended_well(kiosk)
    assert "unknown" in kiosk.control.cues()
    assert kiosk.kinds() == ["sending", "unknown"]


@SIGNALS
def test_while_an_outcome_is_told(number, kiosk):
    assert kiosk.pay(a_code()).outcome == "approved"
    kiosk.send_signal(number)
    ended_well(kiosk)
    assert kiosk.kinds() == ["sending", "approved"]


def test_a_doubtful_outcome_is_told_a_moment_longer(kiosk, gateway):
    kiosk.ready()
    gateway.set_fault("hang-up-charged")
    assert kiosk.pay(a_code()).outcome == "unknown"
    kiosk.send_signal(signal.SIGTERM)
    ended_well(kiosk)
    assert kiosk.kinds() == ["sending", "unknown"]


def test_a_stopped_kiosk_can_be_started_again_at_once(kiosk, gateway):
    kiosk.ready()
    assert kiosk.stop() == 0
    kiosk.start()
    assert kiosk.pay(a_code()).outcome == "approved"
