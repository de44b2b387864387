"""The deciding loop: who is told what, and that nothing a stranger draws ends it."""

import os

import numpy as np
import pytest

from hardware.frame import Frame
from kiosk.messages import CameraState, Hello, Pulse, Sighting, Symbol, Want, encode
from kiosk.scanner.capture import CameraReport
from kiosk.scanner.decoder import Look
from kiosk.scanner.loop import ScanLoop

HELLO = Hello(version="1", engines=["zxing"], camera="fake")
CODE = Symbol(payload=b"50501234567890123456", kind="qr", stage="zxing")


class Script:
    """Capture, decoder and link in one: a list of steps, one for each turn of the loop.

    A step is a Frame, a CameraReport, a Want, an exception, or None (nothing but time).
    """

    def __init__(self, *steps, symbols=()):
        self.steps = list(steps)
        self.symbols = list(symbols)
        self.sent = []
        self.wanted = []
        self.stopped = self.closed = False
        self.frames = 0
        self.joined = 1
        self.ended = False
        self.now_s = 0.0
        self._report = None
        self._wish = None
        self._wake = os.eventfd(1, os.EFD_NONBLOCK)
        self._wishes = os.eventfd(1, os.EFD_NONBLOCK)

    # capture

    def fileno(self):
        return self._wake

    def wake(self):
        pass

    def take(self):
        self.now_s += 0.1
        step = self.steps.pop(0) if self.steps else self._end()
        match step:
            case Frame():
                self.frames += 1
                return step
            case CameraReport():
                self._report = step
            case Want():
                self._wish = step
            case Exception():
                raise step
        return None

    def report(self):
        return self._report

    def want(self, *, wanted):
        self.wanted.append(wanted)

    def stop(self):
        self.stopped = True
        os.close(self._wake)
        os.close(self._wishes)

    # decoder

    def decode(self, luma, now_s):
        match self.symbols.pop(0):
            case Exception() as error:
                raise error
            case symbols:
                return Look(symbols)

    # link

    def sources(self):
        return [self._wishes]

    def receive(self):
        wish, self._wish = self._wish, None
        return [wish] if wish else []

    def send(self, message):
        self.sent.append(message)

    def close(self):
        self.closed = True

    def _end(self):
        self.ended = True

    def run(self):
        loop = ScanLoop(self, self, self, HELLO, clock=lambda: self.now_s)
        code = loop.run()
        assert self.stopped
        assert self.closed
        return code

    def told(self, kind):
        return [message for message in self.sent if isinstance(message, kind)]


def a_frame(returned=None, sequence=7):
    back = (lambda: returned.append(sequence)) if returned is not None else (lambda: None)
    return Frame(np.zeros((4, 4), np.uint8), 12.5, sequence, back)


def test_hello_comes_first_and_does_not_wait_for_the_camera():
    script = Script(None)
    assert script.run() == 0
    assert script.sent[0] == HELLO
    assert script.told(CameraState) == []


def test_a_read_becomes_a_sighting_and_the_frame_is_given_back():
    returned = []
    script = Script(a_frame(returned), symbols=[[CODE]])
    script.run()
    assert script.told(Sighting) == [Sighting(sequence=7, captured_at_s=12.5, symbols=[CODE])]
    assert returned == [7]


def test_a_frame_without_symbols_is_not_worth_a_message():
    script = Script(a_frame(), symbols=[[]])
    script.run()
    assert script.told(Sighting) == []


def test_a_decoder_that_fails_costs_that_frame_only(caplog):
    returned = []
    script = Script(a_frame(returned), a_frame(returned, 8), symbols=[RuntimeError("x"), [CODE]])
    script.run()
    assert [sighting.sequence for sighting in script.told(Sighting)] == [8]
    assert returned == [7, 8]
    assert "frame dropped" in caplog.text


def test_a_damage_that_stays_is_said_once(caplog):
    damage = ValueError("no frame")
    frames = [a_frame() for _ in range(3)]
    Script(*frames, symbols=[damage, damage, ValueError("worse")]).run()
    assert [record.getMessage() for record in caplog.records] == ["frame dropped"] * 2


class Metered(Script):
    """Also a capture whose exposure can be set, and the control that wishes."""

    exposed = ()
    judged = ()

    def setting(self):
        return "the setting"

    def expose(self, value):
        self.exposed += (value,)

    def look(self, luma, setting, *, read, now_s):
        assert setting == "the setting"
        self.judged += (read,)
        return None if read else 40

    def run(self):
        return ScanLoop(self, self, self, HELLO, exposure=self, clock=lambda: self.now_s).run()


def test_the_exposure_control_sees_each_frame_and_its_wishes_reach_the_camera():
    script = Metered(a_frame(), a_frame(), a_frame(), symbols=[[], [CODE], []])
    script.run()
    assert script.judged == (False, True, False)
    assert script.exposed == (40, 40)


def test_wishes_reach_the_capture():
    script = Script(Want(wanted=True), Want(wanted=False), None)
    script.run()
    assert script.wanted == [True, False]


def test_the_camera_is_reported_at_each_change_once():
    good, bad = CameraReport(ok=True), CameraReport(ok=False, detail="gone")
    script = Script(good, None, None, bad, bad, good)
    script.run()
    assert script.told(CameraState) == [
        CameraState(ok=True),
        CameraState(ok=False, detail="gone"),
        CameraState(ok=True),
    ]


def test_a_pulse_at_least_every_half_second():
    script = Script(*[None] * 20)
    script.run()  # 2.1 s
    assert len(script.told(Pulse)) >= 4


def test_a_pulse_counts_frames():
    script = Script(a_frame(), a_frame(), *[None] * 5, symbols=[[], []])
    script.run()
    assert script.told(Pulse)[-1] == Pulse(frames=2, decoded=2)


def test_who_comes_new_is_told_everything():
    class Returning(Script):
        def take(self):
            if len(self.steps) == 1:
                self.joined = 2
            return super().take()

    script = Returning(CameraReport(ok=True), None, None)
    script.run()
    assert script.told(Hello) == [HELLO, HELLO]
    assert script.told(CameraState) == [CameraState(ok=True)] * 2


def test_what_ended_the_capture_ends_the_loop_in_order():
    script = Script(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        script.run()
    assert script.closed


def test_a_wall_of_symbols_fits_into_a_message():
    many = [Symbol(payload=b"\0" * size, kind="aztec", stage="kinds") for size in (5000, 4096) * 20]
    script = Script(a_frame(), symbols=[many])
    script.run()
    [sighting] = script.told(Sighting)
    assert len(sighting.symbols) == 8
    assert len(encode(sighting)) < 64 * 1024


def test_stop_ends_the_loop():
    script = Script(*[None] * 5)
    loop = ScanLoop(script, script, script, HELLO, clock=lambda: 0.0)
    loop.stop()
    assert loop.run() == 0
    assert len(script.steps) == 5
