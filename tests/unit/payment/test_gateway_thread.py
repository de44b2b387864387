"""Wishes of the deciding thread in, events out; nothing sent that nobody waits for."""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kiosk.core import events
from kiosk.core.code import PaymeCode
from kiosk.core.cues import Reason
from kiosk.core.intent import Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment import gateway as gateway_module
from kiosk.payment import gateway_thread
from kiosk.payment.gateway import Call, Gateway
from kiosk.payment.gateway_thread import MOST_WARM, Attempts, Readiness
from kiosk.payment.mailbox import BoxTold, ThreadDied
from kiosk.sandbox.faults import Pace
from kiosk.sandbox.gateway import SandboxGateway
from kiosk.settings import GatewaySettings

PATIENCE_S = 20.0
SLOW = Pace(stall_s=PATIENCE_S, drip_s=0.01, late_s=0.2)
INTENT = Intent("intent-1", Offer(1000, "Payment"), PaymeCode("50502044301381396427"))
E = TypeVar("E")


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.002)


def helpers() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if thread.name.startswith(("gateway-", "readi"))
    ]


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    yield
    wait_for(lambda: not helpers())
    wait_for(lambda: open_files() <= before)


class Desk:
    """The deciding thread's side."""

    def __init__(self, url: str, ca_file: Path | None = None, **changes: Any) -> None:
        self.gateway = Gateway.from_settings(
            GatewaySettings(
                url=url,
                ca_file=None if ca_file is None else str(ca_file),
                **{"connect_timeout_s": 10.0, "read_timeout_s": 10.0, **changes},
            )
        )
        self.posted: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.told_times: list[str] = []
        self.attempts = Attempts(self.gateway, self.posted.put)

    def next(self, kind: type[E]) -> E:
        """What is posted next beside the box's time, which must be of this kind."""
        while isinstance(item := self.posted.get(timeout=PATIENCE_S), BoxTold):
            self.told_times.append(item.current_time)
        assert isinstance(item, kind), item
        return item

    def connect(self) -> None:
        self.attempts.connect(INTENT.id)
        assert self.next(events.Connected) == events.Connected(INTENT.id)

    def submit(self) -> None:
        self.attempts.submit(INTENT, time.monotonic() + PATIENCE_S)

    def pay(self) -> Outcome:
        self.connect()
        self.submit()
        return self.next(events.OutcomeKnown).answer.outcome


def desk_at(sandbox: SandboxGateway, **changes: Any) -> Desk:
    return Desk(sandbox.url, sandbox.ca_file, **changes)


def asked(sandbox: SandboxGateway) -> list[int]:
    """Requests of any kind, by connection."""
    return [connection.requests for connection in sandbox.ledger.connections]


def warm(desk: Desk, sandbox: SandboxGateway) -> None:
    """Warm up, and wait until the box was asked and the thread has read it."""
    desk.attempts.warm_up(INTENT.id)
    attempt = desk.attempts._attempts[INTENT.id]
    wait_for(lambda: attempt.call.info_took_s is not None)


# --- one connection --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_request_goes_on_the_connection_that_was_warmed(version: ssl.TLSVersion | None):
    with SandboxGateway(tls=None if version is None else "valid") as sandbox:
        desk = desk_at(sandbox)
        if version is not None:
            assert desk.gateway.tls is not None
            desk.gateway.tls.maximum_version = version
        warm(desk, sandbox)

        assert desk.pay() is Outcome.APPROVED

        assert asked(sandbox) == [2]
        (request,) = sandbox.ledger.requests
        assert request.connection == 1


def test_a_press_without_a_warm_up_connects_by_itself():
    with SandboxGateway() as sandbox:
        assert desk_at(sandbox).pay() is Outcome.APPROVED
        assert asked(sandbox) == [2]


def test_a_connection_that_the_box_closed_meanwhile_is_replaced_before_the_row(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_S", 60.0)
    with SandboxGateway(idle_s=0.1) as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox)
        wait_for(lambda: not sandbox._serving)

        assert desk.pay() is Outcome.APPROVED

        assert asked(sandbox) == [1, 2]
        assert len(sandbox.ledger.requests) == 1


def test_a_connection_that_stood_idle_too_long_is_replaced_before_the_row(
    monkeypatch: pytest.MonkeyPatch,
):
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox)
        attempt = desk.attempts._attempts[INTENT.id]
        attempt.call._used_at_s -= gateway_module.WARM_FOR_S

        assert desk.pay() is Outcome.APPROVED

        assert asked(sandbox) == [1, 2]


def test_a_box_that_closes_between_row_and_request_was_sent_nothing():
    with SandboxGateway(idle_s=0.1) as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        wait_for(lambda: not sandbox._serving)

        desk.submit()

        assert "before the request" in desk.next(events.NotSent).detail
        assert sandbox.ledger.requests == ()


def test_a_request_that_comes_too_late_is_not_sent():
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.connect()

        desk.attempts.submit(INTENT, time.monotonic() - 0.001)

        assert "too long" in desk.next(events.NotSent).detail
        assert sandbox.ledger.requests == ()


def test_asking_twice_for_a_connection_gives_one_request():
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.connect()

        assert desk.pay() is Outcome.APPROVED

        assert len(sandbox.ledger.requests) == 1
        assert desk.posted.empty()


def test_submitting_without_an_attempt_sends_nothing():
    desk = Desk("http://127.0.0.1:1")

    desk.submit()

    assert desk.next(events.NotSent) == events.NotSent(INTENT.id, "its connection is gone")


# --- readiness on the way --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "no-info",
        "info-405",
        "info-500",
        "info-garbage",
        "info-oversized",
        "info-redirect",
        "info-closes-politely",
        "info-poisons",
    ],
)
def test_a_box_without_readiness_sells(fault: str):
    with SandboxGateway(info_fault=fault) as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox) if fault != "info-oversized" else desk.attempts.warm_up(INTENT.id)

        assert desk.pay() is Outcome.APPROVED
        assert len(sandbox.ledger.requests) == 1
        assert sandbox.ledger.canary_hits == 0


def test_a_box_that_closes_after_each_answer_sells_on_a_bare_connection():
    with SandboxGateway(info_fault="info-closes") as sandbox:
        desk = desk_at(sandbox)
        desk.attempts.warm_up(INTENT.id)
        attempt = desk.attempts._attempts[INTENT.id]
        wait_for(lambda: attempt.call.info_took_s is not None)
        wait_for(lambda: not sandbox._serving)
        desk.attempts.connect(INTENT.id)
        if isinstance(desk.posted.get(timeout=PATIENCE_S), events.Connected):
            desk.submit()
            word = desk.posted.get(timeout=PATIENCE_S)
            # Its hang-up may still be on the way: then it is proved that nothing was sent.
            assert isinstance(word, events.OutcomeKnown | events.NotSent)
        assert len(sandbox.ledger.requests) <= 1


@pytest.mark.parametrize(
    ("fault", "code"), [("not-initialised", "102"), ("subscription-expired", "333")]
)
def test_a_box_that_is_not_ready_is_asked_once_more_and_gets_no_payment(fault: str, code: str):
    with SandboxGateway(info_fault=fault) as sandbox:
        desk = desk_at(sandbox)
        desk.attempts.warm_up(INTENT.id)
        trouble = desk.next(events.TroubleBegan)
        assert trouble.reason is Reason.GATEWAY_NOT_READY
        assert code in trouble.detail

        desk.attempts.connect(INTENT.id)

        assert desk.next(events.TroubleBegan) == trouble
        assert desk.next(events.NotSent).intent_id == INTENT.id
        assert sandbox.ledger.requests == ()


def test_a_box_that_became_ready_meanwhile_gets_the_payment():
    with SandboxGateway() as sandbox:
        sandbox.set_fault("not-initialised")
        desk = desk_at(sandbox)
        desk.attempts.warm_up(INTENT.id)
        desk.next(events.TroubleBegan)
        sandbox.set_fault(None)

        assert desk.pay() is Outcome.APPROVED


def test_a_box_that_is_gone_is_reported_as_trouble_and_as_not_sent():
    with SandboxGateway() as sandbox:
        sandbox.set_fault("down")
        desk = desk_at(sandbox)
        desk.attempts.connect(INTENT.id)

        for _ in range(2):  # warming up, and again because the customer pressed all the same
            trouble = desk.next(events.TroubleBegan)
            assert trouble.reason is Reason.GATEWAY_UNREACHABLE
        assert desk.next(events.NotSent) == events.NotSent(INTENT.id, trouble.detail)
        assert "refused" in trouble.detail


# --- staying warm ----------------------------------------------------------------------------


def test_a_customer_who_hesitates_keeps_the_connection(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_S", 0.02)
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_BELOW_S", PATIENCE_S)
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.attempts.warm_up(INTENT.id)
        wait_for(lambda: asked(sandbox)[:1] > [4])

        assert desk.pay() is Outcome.APPROVED

        assert len(sandbox.ledger.connections) == 1


def test_a_slow_box_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_S", 0.01)
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_BELOW_S", 0.0)
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox)
        time.sleep(0.1)

        assert asked(sandbox) == [1]
        desk.attempts.abandon(INTENT.id)


@pytest.mark.parametrize("fault", ["info-hang-up", "not-initialised"])
def test_a_box_that_fails_while_the_customer_hesitates(fault: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_S", 0.02)
    monkeypatch.setattr(gateway_thread, "KEEP_WARM_BELOW_S", PATIENCE_S)
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox)
        attempt = desk.attempts._attempts[INTENT.id]

        sandbox.set_fault(fault)
        wait_for(lambda: attempt.call._line is None)
        sandbox.set_fault(None)

        if fault == "not-initialised":
            assert desk.next(events.TroubleBegan).reason is Reason.GATEWAY_NOT_READY
        assert desk.pay() is Outcome.APPROVED
        assert len(sandbox.ledger.requests) == 1


# --- giving up -------------------------------------------------------------------------------


def test_a_customer_who_leaves_costs_a_connection_and_no_more():
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        warm(desk, sandbox)

        desk.attempts.abandon(INTENT.id)
        desk.attempts.abandon(INTENT.id)

        wait_for(lambda: not helpers())
        wait_for(lambda: not sandbox._serving)
        assert desk.posted.empty()
        assert sandbox.ledger.requests == ()


@pytest.mark.parametrize("tls", [None, "valid"])
def test_giving_up_wakes_who_waits_for_readiness(tls: str | None):
    with SandboxGateway(tls=tls, pace=SLOW, info_fault="info-stall") as sandbox:
        desk = desk_at(sandbox)
        desk.attempts.connect(INTENT.id)
        wait_for(lambda: asked(sandbox) == [1])

        desk.attempts.abandon(INTENT.id)

        wait_for(lambda: not helpers())
        # Nobody is told of trouble that we made ourselves.
        while not desk.posted.empty():
            assert isinstance(desk.posted.get(), events.NotSent)
        assert sandbox.ledger.requests == ()


@pytest.mark.parametrize("place", ["name", "tcp"])
def test_a_connection_that_comes_after_giving_up_carries_nothing(
    place: str, monkeypatch: pytest.MonkeyPatch
):
    """The POST that would leave after the intent was given up."""
    arrived, go_on = threading.Event(), threading.Event()
    real = {"name": socket.getaddrinfo, "tcp": socket.create_connection}[place]

    def slow(*args: Any, **kwargs: Any) -> Any:
        arrived.set()
        assert go_on.wait(PATIENCE_S)
        return real(*args, **kwargs)

    if place == "name":
        monkeypatch.setattr(socket, "getaddrinfo", slow)
    else:
        whole = gateway_module.HTTPConnection._new_conn

        def slow_connect(line: Any) -> socket.socket:
            sock = whole(line)
            arrived.set()
            assert go_on.wait(PATIENCE_S)
            return sock

        monkeypatch.setattr(gateway_module.HTTPConnection, "_new_conn", slow_connect)
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.attempts.connect(INTENT.id)
        assert arrived.wait(PATIENCE_S)

        desk.attempts.abandon(INTENT.id)
        go_on.set()

        wait_for(lambda: not helpers())
        wait_for(lambda: not sandbox._serving)
        assert sum(asked(sandbox)) == 0
        assert desk.attempts._attempts == {}


def test_strangers_who_flip_codes_open_few_connections(monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()
    monkeypatch.setattr(Call, "connect", lambda _: go_on.wait(PATIENCE_S))
    monkeypatch.setattr(Call, "ask_info", lambda _: "ready")
    desk = Desk("http://127.0.0.1:1")

    for number in range(50):
        desk.attempts.warm_up(f"intent-{number}")
        desk.attempts.warm_up(f"intent-{number}")
        assert len(helpers()) <= MOST_WARM
        desk.attempts.abandon(f"intent-{number}")

    leaving = list(desk.attempts._leaving)
    go_on.set()
    wait_for(lambda: not any(attempt.is_alive() for attempt in leaving))
    desk.attempts.warm_up("intent-50")
    assert len(helpers()) == 1
    desk.attempts.abandon("intent-50")


def test_a_press_is_served_whatever_strangers_did(monkeypatch: pytest.MonkeyPatch):
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        for number in range(5):
            desk.attempts.warm_up(f"other-{number}")
        assert len(helpers()) == MOST_WARM

        assert desk.pay() is Outcome.APPROVED

        for number in range(5):
            desk.attempts.abandon(f"other-{number}")


def test_a_request_under_way_is_not_given_up():
    with SandboxGateway(latency_s=0.2) as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        desk.submit()

        desk.attempts.abandon(INTENT.id)

        assert desk.next(events.OutcomeKnown).answer.outcome is Outcome.APPROVED
        assert len(sandbox.ledger.requests) == 1


# --- the word on a request -------------------------------------------------------------------


def test_an_answer_after_the_deadline_still_arrives():
    with SandboxGateway(pace=SLOW) as sandbox:
        sandbox.set_fault("late", times=1)
        desk = desk_at(sandbox, deadline_s=0.05)
        desk.connect()
        desk.submit()
        time.sleep(0.06)

        # The session gave up; the next customer is served meanwhile, on another connection.
        desk.attempts.hang_up_overdue(time.monotonic())
        other = Intent("intent-2", INTENT.offer, PaymeCode("50502044301381396428"))
        desk.attempts.warm_up(other.id)

        late = desk.next(events.OutcomeKnown)
        assert (late.intent_id, late.answer.outcome) == (INTENT.id, Outcome.APPROVED)
        desk.attempts.abandon(other.id)


@pytest.mark.parametrize("tls", [None, "valid"])
@pytest.mark.parametrize(
    "fault",
    ["stall-charged", "slow-headers", "dripping-continues", "dripping-trailers", "stall-in-body"],
)
def test_an_answer_that_never_ends_is_ended(fault: str, tls: str | None):
    with SandboxGateway(tls=tls, pace=SLOW) as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        sandbox.set_fault(fault, times=1)
        desk.submit()
        wait_for(lambda: len(sandbox.ledger.requests) == 1)
        desk.attempts.hang_up_overdue(time.monotonic())
        assert desk.posted.empty()
        attempt = desk.attempts._attempts[INTENT.id]

        late_s = desk.gateway.settings.deadline_s + gateway_thread.LISTEN_AFTER_DEADLINE_S
        desk.attempts.hang_up_overdue(time.monotonic() + late_s)

        assert desk.next(events.AnswerLost).intent_id == INTENT.id
        wait_for(lambda: not attempt.is_alive())
        desk.attempts.hang_up_overdue(time.monotonic() + late_s)
        assert desk.attempts._attempts == {}
        assert len(sandbox.ledger.requests) == 1


@pytest.mark.parametrize("tls", [None, "valid"])
@pytest.mark.parametrize(
    "fault", ["endless-continues", "endless-continue", "endless-trailers", "chunked-endless"]
)
def test_an_answer_that_floods_is_ended_without_being_told(fault: str, tls: str | None):
    """Before its deadline, and long before anybody hangs up."""
    with SandboxGateway(tls=tls, pace=SLOW) as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        attempt = desk.attempts._attempts[INTENT.id]
        sandbox.set_fault(fault, times=1)
        desk.submit()

        assert desk.next(events.AnswerLost).intent_id == INTENT.id

        wait_for(lambda: not attempt.is_alive())
        assert len(sandbox.ledger.requests) == 1


def test_what_came_of_a_lost_answer_is_handed_on():
    with SandboxGateway() as sandbox:
        sandbox.set_fault("truncated-body")
        desk = desk_at(sandbox)
        desk.connect()
        desk.submit()

        lost = desk.next(events.AnswerLost)

        charge = sandbox.ledger.charge_of(INTENT.code.digits)
        assert charge is not None
        assert charge.payment_id.encode() in (lost.raw or b"")


def test_a_mistake_of_ours_before_the_request_says_not_sent_and_surfaces(
    monkeypatch: pytest.MonkeyPatch,
):
    def explode(*_: object) -> None:
        raise ZeroDivisionError

    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        monkeypatch.setattr(Call, "submit", explode)
        attempt = desk.attempts._attempts[INTENT.id]
        desk.submit()

        assert desk.next(events.NotSent).intent_id == INTENT.id
        died = desk.next(ThreadDied)
        assert isinstance(died.error, ZeroDivisionError)
        assert died.thread.startswith("gateway-")

        wait_for(lambda: not attempt.is_alive())
        desk.submit()  # to whom that thread is gone
        assert desk.next(events.NotSent).detail == "its connection is gone"


def test_a_mistake_of_ours_after_the_request_is_a_lost_answer_and_surfaces(
    monkeypatch: pytest.MonkeyPatch,
):
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway_module, "read_answer", explode)
    with SandboxGateway() as sandbox:
        desk = desk_at(sandbox)
        desk.connect()
        desk.submit()

        lost = desk.next(events.AnswerLost)
        charge = sandbox.ledger.charge_of(INTENT.code.digits)
        assert charge is not None
        assert charge.payment_id.encode() in (lost.raw or b"")
        assert isinstance(desk.next(ThreadDied).error, ZeroDivisionError)


# --- readiness in quiet moments --------------------------------------------------------------


@contextlib.contextmanager
def readiness(sandbox: SandboxGateway) -> Iterator[tuple[Readiness, Desk]]:
    desk = desk_at(sandbox)
    asking = Readiness(desk.gateway, desk.posted.put)
    asking.start()
    try:
        yield asking, desk
    finally:
        asking.stop()


def ended(desk: Desk) -> set[Reason]:
    return {desk.next(events.TroubleEnded).reason for _ in range(2)}


BOTH = {Reason.GATEWAY_UNREACHABLE, Reason.GATEWAY_NOT_READY}


def test_readiness_tells_what_began_and_what_ended():
    with SandboxGateway() as sandbox, readiness(sandbox) as (asking, desk):
        assert ended(desk) == BOTH

        sandbox.set_fault("down")
        asking.ask_now()
        assert desk.next(events.TroubleBegan).reason is Reason.GATEWAY_UNREACHABLE
        assert desk.next(events.TroubleEnded).reason is Reason.GATEWAY_NOT_READY

        sandbox.set_fault("not-initialised")
        asking.ask_now()
        assert desk.next(events.TroubleBegan).reason is Reason.GATEWAY_NOT_READY
        assert desk.next(events.TroubleEnded).reason is Reason.GATEWAY_UNREACHABLE

        sandbox.set_fault(None)
        asking.ask_now()
        assert ended(desk) == BOTH
        assert desk.posted.empty()


def test_a_trouble_is_asked_about_again_soon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway_thread, "POLL_TROUBLE_S", 0.01)
    with SandboxGateway() as sandbox:
        sandbox.set_fault("down", for_s=0.05)
        with readiness(sandbox) as (_, desk):
            item = desk.posted.get(timeout=PATIENCE_S)
            while item != events.TroubleEnded(Reason.GATEWAY_UNREACHABLE):
                item = desk.posted.get(timeout=PATIENCE_S)


def test_readiness_leaves_the_box_alone_while_somebody_is_served():
    with SandboxGateway() as sandbox, readiness(sandbox) as (asking, desk):
        assert ended(desk) == BOTH
        asking.allow(False)
        asking.ask_now()
        time.sleep(0.1)
        assert len(sandbox.ledger.connections) == 1

        asking.allow(True)

        assert ended(desk) == BOTH
        assert len(sandbox.ledger.connections) == 2


def test_a_mistake_in_readiness_surfaces(monkeypatch: pytest.MonkeyPatch):
    def explode(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway_thread, "ask_ready", explode)
    with SandboxGateway() as sandbox, readiness(sandbox) as (_, desk):
        died = desk.next(ThreadDied)
        assert (died.thread, type(died.error)) == ("readiness", ZeroDivisionError)
