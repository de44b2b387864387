"""Customers who pay at the real deciding loop with its real journal; only the edges are played.

What leaves the kiosk is said to `mark` at the very moment it leaves: `sent` when a request goes
out, `told` when lamp and buzzer show an outcome, `kept` when an outcome that the journal could
not take is promised to be durable beside it, `folded` when the WAL was folded in. Whoever cuts
the power keeps the marks.

Run as a script: JOURNAL MARKS LIFE COUNT [WORSE].
"""

import itertools
import json
import os
import sqlite3
import sys
from pathlib import Path

from worse_kiosks import MISBEHAVIOURS

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.intent import Answer, Outcome
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.states import Ready
from kiosk.errors import JournalWriteError
from kiosk.messages import CameraState, Hello, Sighting, Symbol
from kiosk.payment import journal as journal_module
from kiosk.payment.clock import WallClock
from kiosk.payment.informant import Informant
from kiosk.payment.journal import Journal
from kiosk.payment.journal_files import beside, size_of
from kiosk.payment.loop import Loop, Outside
from kiosk.payment.mailbox import Mailbox, ScannerSaid
from kiosk.payment.store import Store
from kiosk.watchdog import Watchdog

POLICY = Policy(
    offers=(Offer(1000, "Coffee"),),
    confirm_automatic=True,
    # Unknown outcomes are part of the trial; none may end it.
    max_consecutive_unknown=1000,
    unknown_pause_s=0.0,
    max_unresolved=10**6,
)
FATES = ("approved", "spilled", "declined", "approved", "lost", "approved", *4 * ["approved"])
"""How payments end, in turn: an answer that is lost, an outcome that the journal refuses."""
SPILL_EVERY = 40
"""A spill reopens the journal, which folds the WAL in; most of the time it must grow instead."""


def code_of(life, number):
    """Twenty digits that no other payment of a trial has."""
    return f"5050{life:06}{number:010}"


def fate_of(number):
    fate = FATES[number % len(FATES)]
    return "approved" if fate == "spilled" and number % SPILL_EVERY > len(FATES) else fate


class RefusedError(Exception):
    """The kiosk found its journal and stays out of service."""


class _Nobody:
    """Listens to nothing and says nothing."""

    def __getattr__(self, name):
        return lambda *args: None


class _Box:
    """Answers each request at once, as the customer's fate says, and notes that it came."""

    def __init__(self, till):
        self._till = till

    def connect(self, intent_id):
        self._till.mailbox.post(events.Connected(intent_id))

    def submit(self, intent, send_before_s):
        till, code = self._till, intent.code.digits
        payment_id = "69" + code + "00"
        charge = {"payment_id": payment_id, "amount_sum": intent.offer.amount_sum}
        till.mark(sent=code, charge=None if till.fate == "declined" else charge)
        match till.fate:
            case "lost":
                word = events.AnswerLost(intent.id, "the line broke")
            case "declined":
                word = events.OutcomeKnown(intent.id, Answer(Outcome.DECLINED, "no money"))
            case _:
                answer = Answer(
                    Outcome.APPROVED,
                    payment_id=payment_id,
                    phone="998000000000",
                    raw=b"{}" * 200,  # about what a box answers
                )
                word = events.OutcomeKnown(intent.id, answer)
        till.mailbox.post(word)

    def __getattr__(self, name):
        return lambda *args: None


class _Lamp:
    """Tells the customer."""

    def __init__(self, till):
        self._till = till

    def show(self, cue, now_s):
        if self._till.code is not None and cue.value in ("approved", "declined", "unknown"):
            self._till.mark(told=self._till.code, cue=cue.value)

    def advance(self, now_s):
        pass

    def next_change_s(self):
        return float("inf")


class Till:
    """The deciding loop, its time and its edges in one hand.

    Attributes:
        code, fate: The customer's who is served.
    """

    def __init__(self, path, mark):
        """Open, and recover, as `kiosk run` does.

        Raises:
            RefusedError: The journal cannot be used.
        """
        self.mark = mark
        self.mailbox = Mailbox()
        self.code = self.fate = None
        self._now_s = 1000.0
        self.store = Store(path)
        self._must_be_in_service()
        self._loop = Loop(
            Outside(
                mailbox=self.mailbox,
                store=self.store,
                attempts=_Box(self),
                readiness=_Nobody(),
                link=_Nobody(),
                indicator=_Lamp(self),
                control=_Nobody(),
                watchdog=Watchdog(),
                informant=Informant(self.store, "[0-9]{20}"),
                hands=None,
                press_after_s=None,
                keep_days=30,
                # A machine that has just started waits for it, and this is not about clocks.
                wall_clock=WallClock(is_set=lambda: True),
            ),
            POLICY,
            lambda: self._now_s,
        )
        self._loop._begin()
        self._must_be_in_service()
        self._handle(
            ScannerSaid(Hello(version="1", engines=["test"], camera="test")),
            events.TroubleEnded(Reason.SCANNER_DOWN),
            ScannerSaid(CameraState(ok=True)),
            events.TroubleEnded(Reason.GATEWAY_UNREACHABLE),
        )

    def pay(self, code, fate="approved"):
        """One customer, from the code in view until the kiosk is ready for the next."""
        self._wait_until_ready()
        self.code, self.fate = code, fate
        symbol = Symbol(payload=code.encode(), kind="qr", stage="test")
        self._handle(ScannerSaid(Sighting(1, self._now_s, [symbol])))
        self._wait_until_ready()
        self.code = None
        # A quiet moment: what was erased and what has grown is seen to.
        self._wait(20.0)

    def close(self):
        self.store.close()

    def _handle(self, *items):
        for item in items:
            self.mailbox.post(item)
        while (item := self.mailbox.take(0)) is not None:
            self._loop._handle(item)

    def _must_be_in_service(self):
        if self.store.trouble is not None:
            reason, detail = self.store.trouble
            self.close()
            raise RefusedError(f"{reason.value}: {detail}")

    def _wait_until_ready(self):
        while not (self.store.trouble is None and isinstance(self._loop._state, Ready)):
            self._wait(5.0)

    def _wait(self, seconds):
        self._now_s += seconds
        self._loop._keep_time()
        self._handle(events.Tick())


def sell(path, mark, life, *, worse=None, count=None):
    """Payments at a till, `count` of them or without end; yields it once open, and after each."""
    if worse is not None:
        WORSE[worse]()
    till = Till(path, mark)
    _plant(till)
    yield till
    for number in itertools.count() if count is None else range(count):
        till.pay(code_of(life, number), fate_of(number))
        yield till
    till.close()


def _plant(till):
    """The outcome row of a customer with that fate fails, once, as on a disk without room.

    And what only the journal knows is marked.
    """
    record, keep, tidy = Journal.record_outcome, Store.keep, Journal.tidy
    refused = set()

    def record_outcome(self, intent_id, answer, *, late=False):
        if till.fate == "spilled" and till.code is not None and till.code not in refused:
            refused.add(till.code)
            raise JournalWriteError("planted")
        record(self, intent_id, answer, late=late)

    def kept(self, intent_id, answer, *, late):
        keep(self, intent_id, answer, late=late)
        till.mark(kept=till.code)

    def tidied(self, keep_days):
        was = size_of(beside(self.path, "-wal"))
        tidy(self, keep_days)
        if size_of(beside(self.path, "-wal")) < was:
            till.mark(folded=was)

    Journal.record_outcome, Store.keep, Journal.tidy = record_outcome, kept, tidied


# What a worse kiosk would do. Each must be caught by the checks that the real one passes.


def _pragmas(*statements):
    def arrange():
        set_up = journal_module.set_up

        def worse(db, path, at):
            set_up(db, path, at)
            for statement in statements:
                db.execute(statement).fetchall()

        journal_module.set_up = worse

    return arrange


def _rollback_journal():
    # A second connection that has read the database would keep it in WAL mode.
    journal_module.open_to_look = sqlite3.connect
    _pragmas("PRAGMA journal_mode = DELETE")()


def _spill_without_sync():
    os.fsync = lambda fd: None  # SQLite has its own


WORSE = {
    "synchronous=NORMAL": _pragmas("PRAGMA synchronous = NORMAL"),
    "synchronous=OFF": _pragmas("PRAGMA synchronous = OFF"),
    "rollback journal with FULL": _rollback_journal,
    "request before row": MISBEHAVIOURS["request-before-row"],
    "cue before commit": MISBEHAVIOURS["cue-before-row"],
    "spill without sync": _spill_without_sync,
}


def main(path, marks, life, count, worse=None):
    fd = os.open(marks, os.O_WRONLY)

    def mark(**what):
        os.write(fd, json.dumps(what).encode())

    for _ in sell(Path(path), mark, int(life), worse=worse, count=int(count)):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
