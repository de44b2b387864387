"""Sequences that hurt: a connection that comes too late, or that goes too early."""

from types import SimpleNamespace

import judge
import lan
import pytest
import tools
from kiosk_process import a_code
from till import Till

from kiosk.sandbox.gateway import SandboxGateway

SYN = "tcp flags syn / syn,ack"


def _giving_up_soon(road, folder):
    return road.kiosk(folder, by_name=True, connect_timeout_s=0.5)


def gives_up(kiosk, code):
    """Its customer presses, and is told that nothing was sent."""
    assert kiosk.read(code).state == "awaiting_confirm"
    kiosk.press()
    assert kiosk.control.wait("concluded").outcome == "not_sent"


def test_a_name_that_comes_after_the_intent_was_given_up_sends_nothing(tmp_path):
    """The POST that would leave after the intent was given up: DNS returns late."""
    with lan.lay() as road:
        kiosk, box, first = _giving_up_soon(road, tmp_path), road.box, a_code()
        before, asked = len(box.ledger().connections), box.wait("asked", 2)
        box.ask(do="keep names back")
        gives_up(kiosk, first)
        assert box.wait("asked", asked + 2) > box.wait("told", 0)

        box.ask(do="tell names")
        # What waited for the name connects, and finds that nobody wants it any more.
        box.wait("connections", before + 1)
        assert kiosk.pay(a_code()).outcome == "approved"

        ledger = box.ledger()
        assert lan.faults_of(kiosk, road, [(first, ["not_sent"])]) == []
    check(ledger, before, first, "a name")


def test_a_connection_that_comes_after_the_intent_was_given_up_sends_nothing(tmp_path):
    """The POST that would leave after the intent was given up: connect returns late."""
    with lan.lay() as road:
        # Each address is tried for connect_timeout_s: together longer than anybody waits.
        others = [f"10.77.0.{n}" for n in range(3, 14)]
        for ip in others:
            road.also_at(ip)
        road.box.ask(do="addresses", addresses=[lan.BOX_IP, *others])
        kiosk, box, first = _giving_up_soon(road, tmp_path), road.box, a_code()
        before = len(box.ledger().connections)
        road.filter("kiosk", f"{SYN} drop")
        gives_up(kiosk, first)

        road.clear()
        box.wait("connections", before + 1)
        assert kiosk.pay(a_code()).outcome == "approved"

        ledger = box.ledger()
        assert lan.faults_of(kiosk, road, [(first, ["not_sent"])]) == []
    check(ledger, before, first, "a connection")


def check(ledger, before, first, what):
    assert first not in [request.code for request in ledger.requests]
    assert len(ledger.requests) == 1
    late = ledger.connections[before]
    assert late.requests == 0
    tools.figure(
        f"{what} that comes after the intent was given up: told not_sent, then connected, "
        f"{late.requests} requests on it; the next customer was served"
    )


@pytest.mark.parametrize(("client", "is_caught"), [("ours", False), ("hasty", True)])
def test_a_client_that_sends_when_nobody_waits_is_caught(client, is_caught):
    """A first packet is lost; the kernel sends the next after a second."""
    with lan.lay() as road:
        place = SimpleNamespace(url=f"http://{lan.BOX_IP}:{road.box.port}", ca_file=None)
        within = road.within("kiosk")
        till = Till(place, client=client, connect_s=0.2, read_s=0.2, within=within)
        try:
            road.filter("kiosk", f"{SYN} quota 100 bytes drop")
            code = a_code()
            faults = [*judge.faults_of(till.pay(code), code, till, road.box.ledger())]
        finally:
            till.close()
    assert ("told that nothing was sent, and a request arrived" in faults) == is_caught
    if is_caught:
        tools.figure(f"control, {client} when connect returns late: {'; '.join(faults)}")


def test_the_box_closes_the_warmed_connection_while_the_customer_hesitates(kiosk_at):
    """A new connection before the row, and one POST."""
    with SandboxGateway(idle_s=0.2) as sandbox:
        kiosk, code = kiosk_at(sandbox.url).start(), a_code()
        kiosk.ready()
        assert kiosk.read(code).state == "awaiting_confirm"
        warmed = len(sandbox.ledger.connections)
        kiosk.press(after_s=1.0)  # the box has hung up by now, and it is not asked again yet
        assert kiosk.control.wait("concluded").outcome == "approved"

        (request,) = sandbox.ledger.requests
        assert request.connection > warmed
        assert kiosk.kinds() == ["sending", "approved"]
    tools.figure(
        f"a warmed connection that the box closed: {len(sandbox.ledger.connections)} connections, "
        f"{len(sandbox.ledger.requests)} request, approved"
    )
