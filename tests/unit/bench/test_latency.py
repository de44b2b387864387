"""From the sensor to the payment process's event, with a real scanner process."""

import contextlib

import pytest

from kiosk import messages
from kiosk.bench import latency
from kiosk.bench.latency import Latency, latency_figures, measure_latency
from kiosk.bench.material import LARGE, SMALL
from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.payment.mailbox import Mailbox, ScannerSaid, ThreadDied


def test_a_real_scanner_reads_and_each_sighting_becomes_an_event():
    measured = measure_latency(SMALL, 1, sightings=3, starts=2)

    assert len(measured.to_event_ms) == 3
    assert all(0 <= one < 1000 for one in measured.to_event_ms)  # else it would be no event
    assert len(measured.ready_s) == 2
    assert measured.peak_mb >= measured.rss_mb > 1


def test_the_figures_have_bars_at_one_size():
    def figures(size, starts):
        return latency_figures(Latency(size, [1.0] * 99 + [50.0], [0.5] * starts, 80.0, 85.0))

    bars = {one.figure: one.reached for one in figures(SMALL, 2) if one.bar}
    assert bars == {
        "sensor to event, p99": False,
        "scanner process, memory (RSS), all engines at work": True,
        "scanner process, exec to hello, median": True,
    }
    assert not any(one.bar for one in figures(LARGE, 1))


def test_a_scanner_that_does_not_start_is_said(monkeypatch):
    monkeypatch.setattr(latency, "_HELLO_WITHIN_S", 0.0)
    with pytest.raises(TimeoutError, match="does not start"):
        latency._await_hello(Mailbox())


def test_a_scanner_that_reads_nothing_is_said(monkeypatch):
    monkeypatch.setattr(latency, "_SIGHTING_WITHIN_S", 0.0)
    mailbox = Mailbox()
    mailbox.post(events.TroubleEnded(Reason.SCANNER_DOWN))
    with pytest.raises(TimeoutError, match="reads nothing"):
        latency._listen(mailbox, None, Latency(SMALL), 1)


def test_a_sighting_without_a_code_is_no_measurement():
    class Blind:
        def look(self, sighting, now_s):
            return None

    mailbox = Mailbox()
    mailbox.post(ScannerSaid(messages.Sighting(sequence=1, captured_at_s=0.0, symbols=[])))
    with pytest.raises(TimeoutError, match="no code"):
        latency._listen(mailbox, Blind(), Latency(SMALL), 1)


def test_what_ends_the_link_surfaces():
    mailbox = Mailbox()
    mailbox.post(ThreadDied("scanner-link", ZeroDivisionError("planted")))
    with contextlib.suppress(TimeoutError), pytest.raises(ZeroDivisionError):
        latency._await_hello(mailbox)
