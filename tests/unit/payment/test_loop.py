"""The deciding thread with a real journal; what it reaches outside is played."""

import itertools
import threading
import time

import pytest

from hardware.errors import PinsError
from kiosk.core import events
from kiosk.core.cues import Cue, Reason
from kiosk.core.intent import Answer, Outcome
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.states import Concluded
from kiosk.core.transitions import CONCLUDED_S
from kiosk.errors import JournalWriteError
from kiosk.messages import CameraState, Hello, Pulse, Sighting, Symbol
from kiosk.payment import loop as loop_module
from kiosk.payment import store as store_module
from kiosk.payment.indicator import Indicator
from kiosk.payment.informant import Informant
from kiosk.payment.loop import Loop, Outside
from kiosk.payment.mailbox import BoxTold, CommandCame, Mailbox, ScannerSaid, ThreadDied
from kiosk.payment.store import Store
from kiosk.watchdog import Watchdog

CODE = b"50501234567890123456"
SPEED = 30
APPROVED = Answer(Outcome.APPROVED, payment_id="696e0246c9a128176d5934d8")


def fast_clock():
    """So that cues of seconds take a tenth."""
    return time.monotonic() * SPEED


class Played:
    """Everything outside: notes what was asked of it."""

    def __init__(self):
        self.done = []
        self.broken_lamp = False
        self.stuck = threading.Event()
        self.stuck.set()

    def __getattr__(self, name):
        def note(*args):
            self.done.append((name, *args))

        return note

    def lamp(self, on):
        self.stuck.wait()
        if self.broken_lamp:
            raise PinsError("The lamp does not obey.", advice="Check the wiring.")

    def sound(self, on):
        self.lamp(on)

    def breathe(self, period_s):
        self.lamp(on=True)

    def names(self):
        return [name for name, *_ in self.done]


class Desk:
    def __init__(self, path, policy, *, clock=fast_clock, press_after_s=None, hands=None):
        self.mailbox = Mailbox()
        self.played = Played()
        self.store = Store(path)
        self.clock = clock
        counter = itertools.count(1)
        self.loop = Loop(
            Outside(
                mailbox=self.mailbox,
                store=self.store,
                attempts=self.played,
                readiness=self.played,
                link=self.played,
                indicator=Indicator(self.played),
                control=self.played,
                watchdog=Watchdog(),
                informant=Informant(self.store, "[0-9]{20}", new_id=lambda: f"ID-{next(counter)}"),
                hands=hands,
                press_after_s=press_after_s,
                keep_days=30,
            ),
            policy,
            clock,
        )

    def post(self, *items):
        for item in items:
            self.mailbox.post(item)

    def open(self):
        """What must be well before a customer is invited."""
        self.post(
            ScannerSaid(Hello(version="1", engines=["test"], camera="test")),
            events.TroubleEnded(Reason.SCANNER_DOWN),
            ScannerSaid(CameraState(ok=True)),
            ScannerSaid(Pulse(frames=1, decoded=1)),
            events.TroubleEnded(Reason.GATEWAY_UNREACHABLE),
        )

    def sees(self, payload=CODE, kind="qr"):
        symbol = Symbol(payload=payload, kind=kind, stage="test")
        self.post(ScannerSaid(Sighting(sequence=1, captured_at_s=self.clock(), symbols=[symbol])))

    def submits(self):
        self.open()
        self.sees()
        self.post(events.Connected("ID-1"))

    def kinds(self):
        return [row.kind.value for row in self.store.usable().rows("ID-1")]


@pytest.fixture
def policy():
    return Policy(offers=(Offer(1000, "Test"),), confirm_automatic=True)


@pytest.fixture
def desk(tmp_path, policy):
    desk = Desk(tmp_path / "journal.db", policy)
    yield desk
    desk.store.close()


def test_row_before_request_and_outcome_before_the_end(desk):
    desk.submits()
    desk.post(events.StopRequested(), events.OutcomeKnown("ID-1", APPROVED))
    desk.loop.run()
    assert desk.kinds() == ["sending", "approved"]
    assert desk.played.names().index("connect") < desk.played.names().index("submit")


def test_a_helper_that_dies_does_not_cost_a_running_request_its_outcome(desk):
    desk.submits()
    desk.post(
        ThreadDied("control", RuntimeError("helper")),
        ThreadDied("readiness", RuntimeError("another")),
        events.OutcomeKnown("ID-1", APPROVED),
    )
    with pytest.raises(RuntimeError, match="helper"):
        desk.loop.run()
    assert desk.kinds() == ["sending", "approved"]


def test_a_helper_that_dies_while_nobody_pays_ends_it_at_once(desk):
    desk.open()
    desk.post(ThreadDied("control", RuntimeError("helper")))
    with pytest.raises(RuntimeError, match="helper"):
        desk.loop.run()


def test_a_panel_that_fails_does_not_cost_a_running_request_its_outcome(desk):
    desk.submits()
    desk.loop._begin()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)
    desk.played.broken_lamp = True
    desk.loop._keep_time()
    desk.post(events.OutcomeKnown("ID-1", APPROVED))
    desk.loop._begin = lambda: None
    with pytest.raises(PinsError):
        desk.loop.run()
    assert desk.kinds() == ["sending", "approved"]


def test_a_panel_that_fails_from_the_start(desk):
    desk.played.broken_lamp = True
    with pytest.raises(PinsError):
        desk.loop.run()


def test_an_outcome_in_memory_only_keeps_the_process_until_it_is_written(desk, monkeypatch):
    def fails(*args, **kwargs):
        raise JournalWriteError("the disk is full")

    def fails_too(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "spill", fails_too)
    desk.submits()
    desk.store.journal.record_outcome = fails
    monkeypatch.setattr(loop_module, "RETRY_JOURNAL_S", 0.0)
    desk.post(events.OutcomeKnown("ID-1", APPROVED), events.StopRequested())

    desk.loop.run()

    assert desk.kinds() == ["sending", "approved"]


def test_a_scanner_that_goes_takes_its_camera_with_it(desk):
    desk.open()
    desk.post(
        events.TroubleBegan(Reason.SCANNER_DOWN, "killed"),
        events.TroubleEnded(Reason.SCANNER_DOWN),
        ScannerSaid(Hello(version="1", engines=[], camera="")),
    )
    desk.loop._begin()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)
    reasons = [reason for reason, _ in desk.loop._state.memory.troubles]
    assert reasons == [Reason.CAMERA_DOWN]


def test_a_press_by_itself_outlives_the_warning(tmp_path, policy):
    class Hands:
        def down(self):
            pass

        def up(self):
            pass

    desk = Desk(tmp_path / "journal.db", policy, press_after_s=27.0, hands=Hands())
    desk.loop._show(Cue.PRESS_TO_PAY)
    due_s = desk.loop._press_at_s
    desk.loop._show(Cue.PRESS_SOON)
    assert desk.loop._press_at_s == due_s < float("inf")
    desk.loop._show(Cue.READY)
    assert desk.loop._press_at_s == float("inf")
    desk.store.close()


def test_a_sighting_that_waited_too_long_means_nothing(desk):
    desk.open()
    old = Sighting(
        sequence=1,
        captured_at_s=desk.clock() - 5,
        symbols=[Symbol(payload=CODE, kind="qr", stage="test")],
    )
    desk.post(ScannerSaid(old), events.StopRequested())
    desk.loop.run()
    assert "connect" not in desk.played.names()


def test_a_press_command_at_a_real_panel_is_refused(desk):
    from kiosk.messages import Press

    desk.post(CommandCame(7, Press()), events.StopRequested())
    desk.loop.run()
    assert ("reply", 7, "the button is real: press it") in desk.played.done


def test_a_journal_that_cannot_be_asked_sells_nothing(desk):
    from kiosk.messages import Offer as MakeOffer
    from kiosk.messages import Resolve

    desk.open()
    desk.loop._begin()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)

    def fails(*args, **kwargs):
        raise JournalWriteError("cannot be asked")

    journal = desk.store.journal
    journal.spent = journal.consumed = journal.standing = fails
    desk.post(
        CommandCame(1, MakeOffer(amount_sum=1, label="a", reference="r")),
        CommandCame(2, Resolve(intent="I", outcome="declined", by="a", why="b")),
    )
    desk.sees()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)
    assert ("reply", 1, "cannot be asked") in desk.played.done
    assert ("reply", 2, "cannot be asked") in desk.played.done
    assert Reason.JOURNAL_UNWRITABLE in [r for r, _ in desk.loop._state.memory.troubles]
    desk.loop._retry_journal()
    assert desk.loop._state.memory.troubles == ()


def test_the_watchdog_hears_from_the_deciding_thread_only(tmp_path, policy, monkeypatch):
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        desks = []

        def live():
            desk = Desk(tmp_path / "journal.db", policy, clock=time.monotonic)
            desks.append(desk)
            desk.loop.run()
            desk.store.close()
            desk.loop._out.watchdog._socket.close()

        thread = threading.Thread(target=live)
        thread.start()
        for _ in range(3):
            while heard.recv(100) != b"WATCHDOG=1":
                pass
        (desk,) = desks
        desk.played.stuck.clear()  # the deciding thread hangs in its panel, all others live
        desk.post(events.TroubleBegan(Reason.CAMERA_DOWN, "x"))
        desk.open()
        heard.settimeout(0.5)
        silence = False
        for _ in range(100):
            try:
                heard.recv(100)
            except TimeoutError:
                silence = True
                break
        desk.played.stuck.set()
        desk.post(events.StopRequested())
        thread.join(30)
        assert silence


def test_a_phone_held_up_does_not_put_off_the_outcome_that_waits(desk):
    desk.submits()
    desk.store.journal.record_outcome = lambda *_, **__: (_ for _ in ()).throw(
        JournalWriteError("the disk is full")
    )
    desk.post(events.OutcomeKnown("ID-1", APPROVED))
    desk.loop._begin()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)
    due_s = desk.loop._retry_at_s
    assert isinstance(desk.loop._state, Concluded)

    for _ in range(30):
        desk.sees()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)

    assert desk.loop._retry_at_s == due_s < float("inf")


def test_however_long_its_row_takes_the_customer_is_told_for_as_long_as_ever(tmp_path, policy):
    now_s = [1000.0]
    desk = Desk(tmp_path / "journal.db", policy, clock=lambda: now_s[0])
    desk.submits()
    desk.loop._begin()
    while (item := desk.mailbox.take(0)) is not None:
        desk.loop._handle(item)
    write = desk.store.journal.record_outcome

    def takes_long(*args, **kwargs):
        now_s[0] += 20
        write(*args, **kwargs)

    desk.store.journal.record_outcome = takes_long
    desk.loop._handle(events.OutcomeKnown("ID-1", APPROVED))

    assert isinstance(desk.loop._state, Concluded)
    assert desk.loop._state.ends_s == now_s[0] + CONCLUDED_S[Outcome.APPROVED]
    desk.store.close()


def test_what_time_the_box_tells_is_told_on_at_once(desk):
    desk.open()
    desk.post(BoxTold("2027-06-01 12:00:00"), events.StopRequested())

    desk.loop.run()

    (told,) = {
        state.started_by_box_s
        for name, state in desk.played.done
        if name == "publish" and state.started_by_box_s is not None
    }
    assert told == desk.loop._out.wall_clock.started_by_box_s
