"""The control socket of a running kiosk: state out, commands in, and clients of every kind."""

import contextlib
import json
import socket
import stat
import time
from pathlib import Path

import pytest
from kiosk_process import WAIT_S, ControlClient, a_code

from kiosk.messages import Acknowledge, Cancel, Error, Offer, Ok, Press, Resolve, encode
from kiosk.sandbox.gateway import SandboxGateway


@contextlib.contextmanager
def another_client(kiosk):
    client = ControlClient(kiosk.folder / "control.sock")
    try:
        yield client
    finally:
        client.close()


def raw_client(kiosk):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(WAIT_S)
    sock.connect(str(kiosk.folder / "control.sock"))
    return sock


# State


def test_whoever_connects_is_told_the_state_at_once(kiosk):
    kiosk.ready()
    with another_client(kiosk) as client:
        state = client.wait("ready")
        assert state.cue == "ready"
        assert (state.offer.amount_sum, state.offer.label) == (1000, "Test")
        assert state.scanner
        assert client.raw[0].startswith('{"type":"state","state":"ready","reasons":[]')
        told = json.loads(client.raw[0])
        assert {"state", "reasons", "offer", "intent", "cue", "receipt_url"} <= told.keys()
    path = kiosk.folder / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_everybody_sees_the_same_payment(kiosk):
    kiosk.ready()
    with another_client(kiosk) as one, another_client(kiosk) as two:
        kiosk.pay(a_code())
        for client in (one, two):
            client.wait("awaiting_confirm")
            client.wait("submitting")
            assert client.wait("concluded").outcome == "approved"


def test_a_declined_payment(kiosk_at):
    code = a_code()
    with SandboxGateway(decline=frozenset({code})) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        told = kiosk.pay(code)
        assert (told.outcome, told.cue) == ("declined", "declined")
        assert kiosk.kinds() == ["sending", "declined"]
        assert gateway.ledger.charges == ()


# Commands


def test_acknowledge_ends_the_unknown_cue(kiosk, gateway):
    kiosk.ready()
    gateway.set_fault("hang-up-charged", times=1)
    assert kiosk.pay(a_code()).cue == "unknown"
    assert kiosk.control.command(Acknowledge()) == Ok()
    kiosk.ready()


def test_resolve_from_a_client(kiosk, gateway):
    kiosk.ready()
    gateway.set_fault("hang-up-charged", times=1)
    intent = kiosk.pay(a_code()).intent
    payment_id = gateway.ledger.charges[0].payment_id
    assert kiosk.control.wait(lambda s: s.unresolved == 1)

    def resolve(**changes):
        told = {"intent": intent, "outcome": "approved", "by": "Dilnoza", "why": "cabinet"}
        return kiosk.control.command(Resolve(**{**told, **changes}))

    assert "there is no intent" in resolve(intent="XXXX").message
    assert "both needed" in resolve(by=" ").message
    assert resolve(payment_id=payment_id) == Ok()
    assert "only an unknown payment" in resolve().message
    kiosk.control.wait(lambda s: s.unresolved == 0)
    assert kiosk.rows()[-1] == (intent, "resolved_approved", payment_id)


def test_an_intent_whose_request_is_running_cannot_be_resolved(kiosk_at):
    with SandboxGateway(latency_s=2.0) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        kiosk.read(a_code())
        kiosk.press()
        intent = kiosk.control.wait("submitting").intent
        command = Resolve(intent=intent, outcome="declined", by="A", why="b")
        assert "still running" in kiosk.control.command(command).message
        done = kiosk.run(
            *("journal", "resolve", intent, "--outcome", "declined", "--by", "A", "--why", "b")
        )
        assert done.returncode == 1
        assert "still running" in done.stderr
        assert kiosk.control.wait("concluded").outcome == "approved"


def test_presses_that_mean_nothing(kiosk, gateway):
    kiosk.ready()
    for _ in range(5):
        assert kiosk.control.command(Press()) == Ok()
    kiosk.show(a_code(), "awaiting_confirm")
    assert kiosk.control.command(Press()) == Ok()  # too early: it belongs to somebody before
    kiosk.press()
    kiosk.control.wait("submitting")
    for _ in range(5):
        assert kiosk.control.command(Press()) == Ok()
    assert kiosk.control.wait("concluded").outcome == "approved"
    assert len(gateway.ledger.requests) == 1


# Offers of a host


@pytest.fixture
def host_kiosk(kiosk_at, gateway):
    return kiosk_at(
        gateway.url, offer={"source": "host", "amount_sum": None, "label": None}
    ).start()


def an_offer(reference, amount_sum=2500):
    return Offer(amount_sum=amount_sum, label="Order", reference=reference)


def test_an_offer_of_a_host_is_sold_once(host_kiosk, gateway):
    kiosk = host_kiosk
    assert kiosk.control.wait("ready").cue == "waiting"
    kiosk.scanner.show(a_code())  # nobody was invited

    assert kiosk.control.command(an_offer("A-1")) == Ok()
    assert kiosk.control.wait(lambda s: s.cue == "ready").offer.reference == "A-1"
    assert kiosk.pay(a_code()).outcome == "approved"
    assert gateway.ledger.charges[0].amount == 2500
    assert kiosk.control.wait("ready").cue == "waiting"
    assert "not sold again" in kiosk.control.command(an_offer("A-1")).message

    kiosk.kill()
    kiosk.start()
    kiosk.ready()
    assert "not sold again" in kiosk.control.command(an_offer("A-1")).message
    assert kiosk.control.command(an_offer("A-2")) == Ok()
    assert len(gateway.ledger.charges) == 1


def test_an_unknown_payment_consumes_its_offer_too(host_kiosk, gateway):
    kiosk = host_kiosk
    kiosk.ready()
    assert kiosk.control.command(an_offer("B-1")) == Ok()
    gateway.set_fault("hang-up-charged", times=1)
    assert kiosk.pay(a_code()).outcome == "unknown"
    assert kiosk.control.command(Acknowledge()) == Ok()
    assert "not sold again" in kiosk.control.command(an_offer("B-1")).message
    kiosk.kill()
    kiosk.start()
    assert "not sold again" in kiosk.control.command(an_offer("B-1")).message


def test_an_offer_can_be_taken_back_until_the_press(kiosk_at):
    with SandboxGateway(latency_s=1.0) as gateway:
        offer = {"source": "host", "amount_sum": None, "label": None}
        kiosk = kiosk_at(gateway.url, offer=offer).start()
        kiosk.ready()
        assert "no offer" in kiosk.control.command(Cancel()).message
        assert kiosk.control.command(an_offer("C-1")) == Ok()
        assert kiosk.control.command(Cancel()) == Ok()
        kiosk.control.wait(lambda s: s.cue == "waiting")

        assert kiosk.control.command(an_offer("C-2")) == Ok()
        kiosk.read(a_code())
        assert kiosk.control.command(an_offer("C-3", 9000)) == Ok()  # another price: show it again
        kiosk.control.wait(lambda s: s.state == "ready" and s.offer.amount_sum == 9000)
        kiosk.read(a_code())
        kiosk.press()
        kiosk.control.wait("submitting")
        assert "a payment is running" in kiosk.control.command(Cancel()).message
        assert "a payment is running" in kiosk.control.command(an_offer("C-4")).message
        assert kiosk.control.wait("concluded").outcome == "approved"
        assert [charge.amount for charge in gateway.ledger.charges] == [9000]


@pytest.mark.parametrize("amount_sum", [0, -5, 5_000_001])
def test_an_amount_that_cannot_be_is_refused(amount_sum, host_kiosk):
    host_kiosk.ready()
    assert "amount_sum" in host_kiosk.control.command(an_offer("D", amount_sum)).message


def test_a_price_of_the_configuration_is_not_overridden(kiosk):
    kiosk.ready()
    assert "offer.source is not host" in kiosk.control.command(an_offer("E")).message
    assert "offer.source is not host" in kiosk.control.command(Cancel()).message


# Bad clients


GARBAGE = [
    b"garbage\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b'{"type":"pay","amount":1}\n',
    b'{"type":"resolve"}\n',
    b'{"type":"offer","amount_sum":"1","label":"a","reference":"b"}\n',
    b'{"type":"offer","amount_sum":1e400,"label":"a","reference":"b"}\n',
    b'{"type":"resolve","intent":"a","outcome":"maybe","by":"c","why":"d"}\n',
    b"\xff\xfe\x00\n",
    b"[" * 30_000 + b"\n",
]


def test_garbage_is_answered_and_disturbs_nobody(kiosk):
    kiosk.ready()
    with another_client(kiosk) as client:
        for line in GARBAGE:
            assert isinstance(client.command(line), Error), line
        client.send(b"\n\n  \n")
        assert client.command(Press()) == Ok()
    assert kiosk.pay(a_code()).outcome == "approved"


def test_a_line_without_end_is_cut_off(kiosk):
    kiosk.ready()
    with raw_client(kiosk) as sock:
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"x" * 10_000)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(65_536):
                heard += data
        assert b"\n" not in heard or b"line too long" in heard or b'"state"' in heard
    assert kiosk.pay(a_code()).outcome == "approved"


def test_half_a_line_and_a_line_in_pieces(kiosk):
    kiosk.ready()
    with raw_client(kiosk) as sock:
        sock.sendall(b'{"type":"acknow')  # and never the rest
        with another_client(kiosk) as client:
            line = encode(Acknowledge())
            for at in range(len(line) - 1):
                client.send(line[at : at + 1])
            assert client.command(line[-1:]) == Ok()
        assert kiosk.pay(a_code()).outcome == "approved"


def test_forty_clients_are_a_few_too_many_and_harm_nobody(kiosk):
    kiosk.ready()
    with contextlib.ExitStack() as open_ones:
        served = 0
        for _ in range(40):
            sock = open_ones.enter_context(raw_client(kiosk))
            with contextlib.suppress(ConnectionResetError):
                served += sock.recv(65_536) != b""
        assert 20 <= served <= 32
        assert kiosk.pay(a_code()).outcome == "approved"
    # Their places are free again.
    until_s = time.monotonic() + WAIT_S
    with contextlib.ExitStack() as open_ones:
        while time.monotonic() < until_s:
            sock = open_ones.enter_context(raw_client(kiosk))
            if sock.recv(65_536):
                return
            time.sleep(0.05)
    raise AssertionError("no place became free")


def test_a_client_that_never_reads_is_dropped(kiosk):
    kiosk.ready()
    with raw_client(kiosk) as deaf:
        with contextlib.suppress(OSError):
            for _ in range(20_000):
                deaf.sendall(b'{"type":"acknowledge"}\n')
        kiosk.logged("a client of the control socket does not read; dropped")
    assert kiosk.pay(a_code()).outcome == "approved"


def test_clients_that_come_and_go_leave_no_descriptor_behind(kiosk):
    kiosk.ready()

    def descriptors():
        return len(list(Path(f"/proc/{kiosk.process.pid}/fd").iterdir()))

    def settled(limit):
        until_s = time.monotonic() + WAIT_S
        while descriptors() > limit and time.monotonic() < until_s:
            time.sleep(0.05)
        return descriptors() <= limit

    kiosk.pay(a_code())
    kiosk.ready()
    before = descriptors()
    for _ in range(100):
        with raw_client(kiosk) as sock:
            assert sock.recv(65_536)
            sock.sendall(b'{"type":"acknowledge"}\n{"ty')
    kiosk.pay(a_code())
    kiosk.ready()
    assert settled(before + 1)
