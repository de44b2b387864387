"""The deciding thread with its real loop, journal and informant, and hostile peers around it.

Nothing waits and no time passes: whoever feeds it does so in one thread. What it would reach
outside (gateway, lamp, scanner) is noted.
"""

import json
import tempfile
from pathlib import Path

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.states import Ready
from kiosk.messages import CameraState, Hello
from kiosk.payment.indicator import Indicator
from kiosk.payment.informant import Informant
from kiosk.payment.loop import Loop, Outside
from kiosk.payment.mailbox import Mailbox, ScannerSaid
from kiosk.payment.store import Store
from kiosk.watchdog import Watchdog

NOW_S = 1000.0
PATTERN = "[0-9]{20}"
TEA = (Offer(1000, "Tea"),)


class Noted:
    """Stands for what is not tried here; everything may be asked of it."""

    def __getattr__(self, name):
        return lambda *_args: None


class Started:
    """Where the gateway's thread would be: notes for which code anything was asked of it."""

    def __init__(self, desk):
        self._desk = desk
        self.codes = []
        self.submitted = 0

    def warm_up(self, _intent_id):
        self.codes.append(self._desk.loop._state.intent.code.digits)

    connect = warm_up

    def submit(self, _intent, _send_before_s):
        self.submitted += 1

    def abandon(self, _intent_id):
        pass

    def hang_up_overdue(self, _now_s):
        pass


class Button:
    """A press reaches the session at once, as a pin's edge does."""

    def __init__(self, desk):
        self._desk = desk

    def down(self):
        self._desk.loop._step(events.ButtonPressed(NOW_S))

    def up(self):
        self._desk.loop._step(events.ButtonReleased(NOW_S))


class Desk:
    """Ready for customers, with an empty journal.

    Attributes:
        started: What was asked of the gateway since `begin`.
    """

    def __init__(self, *, confirm_automatic=False, offers=TEA, control=None):
        self.store = Store(Path(tempfile.mkdtemp(prefix="kiosk-fuzz-")) / "journal.db")
        self.started = Started(self)
        self.loop = Loop(
            Outside(
                mailbox=Mailbox(),
                store=self.store,
                attempts=self.started,
                readiness=Noted(),
                link=Noted(),
                indicator=Indicator(Noted()),
                control=control or Noted(),
                watchdog=Watchdog(),
                informant=Informant(self.store, PATTERN),
                hands=Button(self),
                press_after_s=None,
                keep_days=30,
            ),
            Policy(offers=offers, confirm_automatic=confirm_automatic),
            lambda: NOW_S,
        )
        self.loop._begin()
        self.loop._handle(ScannerSaid(Hello(version="1", engines=["test"], camera="test")))
        self.loop._handle(ScannerSaid(CameraState(ok=True)))
        for reason in (Reason.SCANNER_DOWN, Reason.GATEWAY_UNREACHABLE):
            self.loop._handle(events.TroubleEnded(reason))
        assert isinstance(self.loop._state, Ready)
        self._ready = self.loop._state

    def begin(self):
        """As if nobody had come yet."""
        self.loop._state = self._ready
        self.loop._tell()
        self.started.codes.clear()

    def handle(self, items):
        for item in items:
            self.loop._handle(item)

    def rows(self):
        """Number of rows of each kind, counted without the product's code."""
        query = "SELECT kind, count(*) FROM row GROUP BY kind"
        return dict(self.store.journal._db.execute(query).fetchall())


def objects_in(data):
    """Whole lines that are JSON objects, up to the first that is too long, read leniently.

    More may be in here than the kiosk accepts, never less: what it does must stand in one.
    """
    found = []
    for line in data.split(b"\n")[:-1]:
        if len(line) > 64 * 1024:
            break
        try:
            # Latin-1: of what it skips msgspec does not ask whether it is UTF-8.
            text = line.decode("latin-1")
            pairs = json.loads(text, object_pairs_hook=Pairs, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(pairs, Pairs):
            found.append(pairs)
    return found


def types_in(objects):
    """Everything that any of these objects calls itself."""
    return {kind for found in objects for kind in found.every("type") if isinstance(kind, str)}


class Pairs(list):
    """A JSON object with its keys as often as they stand in it."""

    def every(self, key):
        return [value for name, value in self if name == key]
