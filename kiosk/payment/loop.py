"""The deciding thread: an event in, the session's wishes out, strictly in order.

Session, journal and panel belong to this thread alone; other threads post to the mailbox.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

import msgspec

from hardware.errors import HardwareError
from kiosk import messages
from kiosk.core import effects, events
from kiosk.core.cues import Cue, Reason
from kiosk.core.effects import Effect
from kiosk.core.intent import Intent, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.session import begin, step
from kiosk.core.states import (
    Concluded,
    OutOfService,
    Ready,
    State,
    next_deadline_s,
    wants_codes,
)
from kiosk.core.transitions import told_late
from kiosk.errors import CodeSpentError, JournalError, JournalWriteError
from kiosk.payment.clock import WallClock
from kiosk.payment.control import Control
from kiosk.payment.disk import LOOK_EVERY_S, Disk
from kiosk.payment.gateway_thread import Attempts, Readiness
from kiosk.payment.indicator import Indicator
from kiosk.payment.informant import Informant
from kiosk.payment.mailbox import BoxTold, CommandCame, Mailbox, Post, ScannerSaid, ThreadDied
from kiosk.payment.recovery import recover
from kiosk.payment.scanner_link import ScannerLink
from kiosk.payment.store import Store
from kiosk.payment.view import view
from kiosk.watchdog import Watchdog

log = logging.getLogger(__name__)

MOST_WAIT_S = 1.0
RETRY_JOURNAL_S = 2.0
CHECK_CLOCK_EVERY_S = 1.0
TIDY_AFTER_S = 10.0
TIDY_EVERY_S = 3600.0
HELD_S = 0.1
"""How long a simulated press lasts."""

_STARTING = (
    (Reason.SCANNER_DOWN, "the scanner is starting"),
    (Reason.CAMERA_DOWN, "the camera is being opened"),
    (Reason.GATEWAY_UNREACHABLE, "the gateway has not been asked yet"),
)


class Hands(Protocol):
    """Presses the simulated button."""

    def down(self) -> None:
        """Push it."""

    def up(self) -> None:
        """Let it go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything the deciding thread reaches. Owned by the process, closed by wiring."""

    mailbox: Mailbox
    store: Store
    attempts: Attempts
    readiness: Readiness
    link: ScannerLink
    indicator: Indicator
    control: Control
    watchdog: Watchdog
    informant: Informant
    hands: Hands | None
    press_after_s: float | None
    keep_days: int
    wall_clock: WallClock = field(default_factory=WallClock)


class Loop:
    """Runs on the main thread until the session quits."""

    def __init__(
        self, outside: Outside, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out = outside
        self._policy = policy
        self._clock = clock
        self._state: State = OutOfService(Memory(troubles=_STARTING))
        self._cue = Cue.OUT_OF_SERVICE
        self._has_begun = False
        self._has_scanner = False
        self._is_announced = False
        self._is_done = False
        self._failure: BaseException | None = None
        self._due: deque[events.Event] = deque()
        self._shown = messages.State(state="")
        self._retry_at_s = float("-inf")
        self._tidy_at_s = clock() + TIDY_AFTER_S
        self._check_clock_at_s = float("-inf")
        self._disk = Disk(outside.store.path, clock())
        self._look_at_s = float("-inf")
        self._press_at_s = float("inf")
        self._release_at_s = float("inf")

    def run(self) -> None:
        """Decide until told to stop; waits for a running request.

        Raises:
            Exception: What ended a helper thread or the panel, after that wait; or a mistake
                of ours.
        """
        self._begin()
        while not self._is_done:
            self._keep_time()
            item = self._out.mailbox.take(self._wait_s())
            if item is not None:
                self._handle(item)
            deadline_s = next_deadline_s(self._state, self._clock(), self._policy)
            if deadline_s is not None and self._clock() >= deadline_s:
                self._step(events.Tick())
        if self._failure is not None:
            raise self._failure

    def _end_by(self, error: BaseException) -> None:
        """What failed cannot be gone on with; a request that runs still gets its outcome."""
        if self._failure is None:
            self._failure = error
            self._step(events.StopRequested())

    # Time

    def _wait_s(self) -> float:
        now_s = self._clock()
        times = [
            now_s + min(MOST_WAIT_S, self._out.watchdog.interval_s),
            self._out.indicator.next_change_s(),
            self._press_at_s,
            self._release_at_s,
        ]
        if (deadline_s := next_deadline_s(self._state, now_s, self._policy)) is not None:
            times.append(deadline_s)
        return max(0.0, min(times) - now_s)

    def _keep_time(self) -> None:
        """What is due besides the session's own deadline."""
        now_s = self._clock()
        out = self._out
        self._play(lambda: out.indicator.advance(now_s))
        out.watchdog.kick(now_s)
        out.attempts.hang_up_overdue(now_s)
        if out.hands is not None and now_s >= self._press_at_s:
            self._press(out.hands)
        if out.hands is not None and now_s >= self._release_at_s:
            self._release_at_s = float("inf")
            out.hands.up()
        # Trying takes a slow card seconds, in which lamp and buzzer would stand still.
        is_telling = isinstance(self._state, Concluded) and not self._state.memory.unsaved
        if out.store.trouble is not None and now_s >= self._retry_at_s and not is_telling:
            self._retry_at_s = now_s + RETRY_JOURNAL_S
            self._retry_journal()
        if now_s >= self._check_clock_at_s:
            self._check_clock()
        if now_s >= self._look_at_s and isinstance(self._state, Ready | OutOfService | Concluded):
            self._look_at_disk()
        if now_s >= self._tidy_at_s and isinstance(self._state, Ready | OutOfService):
            self._tidy_at_s = now_s + TIDY_EVERY_S
            self._tidy()

    def _check_clock(self) -> None:
        """No sale before the clock can be believed, and none once it was stepped out of sense."""
        self._check_clock_at_s = self._clock() + CHECK_CLOCK_EVERY_S
        journal, wall_clock = self._out.store.journal, self._out.wall_clock
        try:
            said = wall_clock.trouble(lambda: journal.newest_at() if journal is not None else None)
        except JournalError as error:
            self._journal_failed(error)
            return
        if journal is not None:
            journal.is_clock_confirmed = wall_clock.is_confirmed
        known = any(r is Reason.CLOCK_IMPLAUSIBLE for r, _ in self._state.memory.troubles)
        if said is not None and not known:
            log.warning("the clock cannot be believed", extra={"detail": said})
            self._step(events.TroubleBegan(Reason.CLOCK_IMPLAUSIBLE, said))
        elif said is None and known:
            log.info("the clock can be believed")
            self._step(events.TroubleEnded(Reason.CLOCK_IMPLAUSIBLE))

    def _look_at_disk(self) -> None:
        """Before a customer is invited, not when one has pressed."""
        now_s, journal = self._clock(), self._out.store.journal
        self._look_at_s = now_s + LOOK_EVERY_S
        if journal is None or self._out.store.trouble is not None:
            return
        try:
            may_write = isinstance(self._state, Ready | OutOfService)
            self._disk.look(journal, now_s, may_write=may_write)
        except JournalError as error:
            self._journal_failed(error)

    def _tidy(self) -> None:
        journal = self._out.store.journal
        if journal is not None:
            try:
                keeps = self._out.keep_days if self._out.wall_clock.may_erase else None
                journal.tidy(keeps)
            except JournalError as error:
                self._journal_failed(error)

    # The journal's troubles

    def _begin(self) -> None:
        """Start the session from what the journal holds, once it can be used."""
        store, now_s = self._out.store, self._clock()
        memory, doubtful = Memory(), None
        if store.journal is not None and store.trouble is None:
            try:
                recovered = recover(store.journal, now_s, self._policy)
            except JournalError as error:
                store.fail(error)
            else:
                memory, doubtful = recovered.memory, recovered.doubtful
                self._has_begun = True
        memory = replace(memory, troubles=self._state.memory.troubles)
        if store.trouble is not None:
            memory = memory.began(*store.trouble)
        else:
            memory = memory.ended(Reason.JOURNAL_UNWRITABLE)
        self._state, wishes = begin(memory, doubtful, now_s, self._policy)
        self._carry_out(wishes)
        self._tell()

    def _retry_journal(self) -> None:
        store = self._out.store
        if store.is_hopeless():
            return
        saved = self._try_journal_again()
        if not self._has_begun:
            # Nothing was sold without a journal, so there is no session to preserve.
            self._begin()
            return
        for intent_id in saved:
            self._step(events.RowSaved(intent_id))
        if store.trouble is None:
            self._step(events.TroubleEnded(Reason.JOURNAL_UNWRITABLE))
            self._count_unresolved()
        else:
            self._step(events.TroubleBegan(*store.trouble))

    def _try_journal_again(self) -> list[str]:
        """Open it anew, unless that would only write in vain."""
        store = self._out.store
        if not self._state.memory.unsaved:
            try:
                self._disk.check()
            except JournalWriteError as error:
                store.fail(error)
                return []
        saved = store.try_again()
        if store.journal is not None and store.trouble is None:
            try:
                self._disk.prove(store.journal, self._clock())
            except JournalError as error:
                store.fail(error)
        return saved

    def _journal_failed(self, error: JournalError) -> None:
        self._out.store.fail(error)
        self._retry_at_s = self._clock() + RETRY_JOURNAL_S
        assert self._out.store.trouble is not None
        self._step(events.TroubleBegan(*self._out.store.trouble))

    def _count_unresolved(self) -> None:
        journal = self._out.store.journal
        if journal is not None:
            try:
                self._step(events.UnresolvedCounted(tuple(journal.unresolved())))
            except JournalError as error:
                self._journal_failed(error)

    # Events

    def _handle(self, item: Post) -> None:
        match item:
            case ScannerSaid(message):
                self._hear_scanner(message)
            case CommandCame(request, command):
                self._obey(request, command)
            case BoxTold(current_time):
                self._out.wall_clock.hear_box(current_time)
                self._check_clock()
                self._tell()
            case ThreadDied(thread, error):
                log.critical("a thread died", extra={"helper": thread})
                self._end_by(error)
            case events.TroubleBegan(Reason.SCANNER_DOWN):
                self._has_scanner = False
                # The next one has to open it first; nobody is invited before it has.
                self._step(events.TroubleBegan(Reason.CAMERA_DOWN, "the scanner is down"))
                self._step(item)
            case events.TroubleBegan(
                Reason.GATEWAY_UNREACHABLE | Reason.GATEWAY_NOT_READY as reason
            ):
                if all(known is not reason for known, _ in self._state.memory.troubles):
                    self._out.readiness.ask_now()  # an attempt found it out first
                self._step(item)
            case events.OutcomeKnown():
                self._step(self._out.informant.complete(item))
            case _:
                self._step(item)

    def _hear_scanner(self, message: messages.FromScanner) -> None:
        match message:
            case messages.Sighting():
                if not wants_codes(self._state, self._policy):
                    return
                if self._out.store.trouble is not None:
                    # Nothing can start, and asking in vain would put off the next try for as
                    # long as a phone is held up.
                    return
                try:
                    seen = self._out.informant.look(message, self._clock())
                except JournalError as error:
                    self._journal_failed(error)
                else:
                    if seen is not None:
                        self._step(seen)
            case messages.CameraState(ok=ok, detail=detail):
                log.info("camera", extra={"ok": ok, "detail": detail})
                if ok:
                    self._step(events.TroubleEnded(Reason.CAMERA_DOWN))
                else:
                    self._step(events.TroubleBegan(Reason.CAMERA_DOWN, detail))
            case messages.Hello(engines=engines, camera=camera):
                log.info("scanner ready", extra={"engines": engines, "camera": camera})
                self._has_scanner = True
                self._announce()
                self._tell()
            case messages.Pulse():
                pass
            case _:
                assert_never(message)

    def _announce(self) -> None:
        if not self._is_announced:
            self._is_announced = True
            log.info("ready")
            self._out.watchdog.tell("READY=1")

    def _obey(self, request: int, command: messages.Command) -> None:
        out = self._out
        match command:
            case messages.Press():
                if out.hands is None:
                    error = "the button is real: press it"
                    out.control.reply(request, error)
                else:
                    self._press(out.hands)
                    out.control.reply(request, None)
            case messages.Acknowledge():
                self._step(events.Acknowledged(request))
            case messages.Cancel():
                self._step(events.OfferCancelled(request))
            case messages.Resolve():
                self._step_asking(request, lambda: out.informant.resolving(request, command))
            case messages.Offer():
                self._step_asking(request, lambda: out.informant.offered(request, command))
            case _:
                assert_never(command)

    def _step_asking(self, request: int, ask: Callable[[], events.Event]) -> None:
        try:
            event = ask()
        except JournalError as error:
            self._out.control.reply(request, str(error))
        else:
            self._step(event)

    def _press(self, hands: Hands) -> None:
        self._press_at_s = float("inf")
        hands.up()
        hands.down()
        self._release_at_s = self._clock() + HELD_S

    # Wishes

    def _step(self, event: events.Event) -> None:
        """Take one event to its end, and what follows from it, before anybody is told."""
        self._due.append(event)
        if len(self._due) > 1:
            return  # called while wishes are being carried out; they come first
        while self._due:
            now_s = self._clock()
            was_telling = isinstance(self._state, Concluded)
            self._state, wishes = step(self._state, self._due[0], now_s, self._policy)
            self._carry_out(wishes)
            if isinstance(self._state, Concluded) and not was_telling:
                self._state = told_late(self._state, self._clock() - now_s)
            self._due.popleft()
        self._tell()

    def _carry_out(self, wishes: tuple[Effect, ...]) -> None:
        """Do them in order. After a row that failed, the rest is not done."""
        out = self._out
        for wish in wishes:
            match wish:
                case effects.Show(cue):
                    self._show(cue)
                case effects.WarmUp(intent_id):
                    out.attempts.warm_up(intent_id)
                case effects.Connect(intent_id):
                    out.attempts.connect(intent_id)
                case effects.Abandon(intent_id):
                    out.attempts.abandon(intent_id)
                case effects.Submit(intent, send_before_s):
                    out.attempts.submit(intent, send_before_s)
                case effects.Reply(request, error):
                    out.control.reply(request, error)
                case effects.Quit():
                    # An outcome that is in memory and nowhere else is worth waiting for.
                    self._is_done = not out.store.holds_outcome
                case effects.RecordResolution():
                    self._record_resolution(wish)
                case effects.RecordSending() | effects.RecordOutcome() | effects.RecordNotSent():
                    if (failed := self._record(wish)) is not None:
                        self._step(failed)
                        return
                case _:
                    assert_never(wish)

    def _show(self, cue: Cue) -> None:
        self._cue = cue
        now_s = self._clock()
        self._play(lambda: self._out.indicator.show(cue, now_s))
        if self._out.press_after_s is not None and cue is not Cue.PRESS_SOON:
            waits = cue is Cue.PRESS_TO_PAY
            self._press_at_s = now_s + self._out.press_after_s if waits else float("inf")

    def _play(self, act: Callable[[], None]) -> None:
        """Lamp and buzzer; one that does not obey must not cost a payment its outcome."""
        try:
            act()
        except HardwareError as error:
            if self._failure is None:
                log.critical("the panel fails", extra={"detail": str(error)})
            self._end_by(error)

    def _record(
        self, wish: effects.RecordSending | effects.RecordOutcome | effects.RecordNotSent
    ) -> events.RowFailed | None:
        store = self._out.store
        began_s = time.monotonic()
        try:
            journal = store.usable()
            match wish:
                case effects.RecordSending(intent):
                    journal.record_sending(intent)
                    log.info("sending", extra=_about(intent))
                case effects.RecordNotSent(intent, detail):
                    journal.record_not_sent(intent, detail)
                    log.info("not sent", extra={**_about(intent), "detail": detail})
                case effects.RecordOutcome(intent_id, answer, late):
                    journal.record_outcome(intent_id, answer, late=late)
                    log.info(
                        "outcome",
                        extra={
                            "intent": intent_id,
                            "outcome": answer.outcome.value,
                            "detail": answer.detail,
                            "flags": list(answer.flags),
                            "late": late,
                        },
                    )
                    if late or answer.outcome is Outcome.UNKNOWN:
                        self._count_unresolved()
                    self._tidy_at_s = min(self._tidy_at_s, self._clock() + TIDY_AFTER_S)
            self._disk.wrote(time.monotonic() - began_s, self._clock())
            self._look_at_s = float("-inf")  # before the next one is invited
        except CodeSpentError as error:
            assert isinstance(wish, effects.RecordSending)
            return events.RowFailed(wish.intent.id, "spent", str(error))
        except JournalError as error:
            store.fail(error)
            self._retry_at_s = self._clock() + RETRY_JOURNAL_S
            match wish:
                case effects.RecordSending(intent):
                    store.not_submitted(intent)
                    return events.RowFailed(intent.id, "sending", str(error))
                case effects.RecordNotSent(intent):
                    return events.RowFailed(intent.id, "not_sent", str(error))
                case effects.RecordOutcome(intent_id, answer, late):
                    store.keep(intent_id, answer, late=late)
                    return events.RowFailed(intent_id, "outcome", str(error))
        return None

    def _record_resolution(self, wish: effects.RecordResolution) -> None:
        try:
            self._out.store.usable().record_resolution(
                wish.intent_id, wish.outcome, wish.by, wish.why, wish.payment_id
            )
        except JournalError as error:
            self._out.control.reply(wish.request, str(error))
            self._journal_failed(error)
        else:
            log.info("resolved", extra={"intent": wish.intent_id, "by": wish.by})
            self._out.control.reply(wish.request, None)
            self._count_unresolved()

    def _tell(self) -> None:
        """What others must know of the state as it is now."""
        out, state = self._out, self._state
        out.link.want(wants_codes(state, self._policy))
        out.readiness.allow(isinstance(state, Ready | OutOfService | Concluded))
        shown = view(
            state,
            self._cue,
            self._policy,
            self._clock(),
            scanner=self._has_scanner,
            started_by_box_s=out.wall_clock.started_by_box_s,
        )
        if timeless(shown) != timeless(self._shown):
            if (shown.state, shown.reasons) != (self._shown.state, self._shown.reasons):
                log.info("state", extra={"state": shown.state, "reasons": shown.reasons})
                out.watchdog.tell(f"STATUS={shown.state} {' '.join(shown.reasons)}".strip())
            self._shown = shown
            out.control.publish(shown)


def timeless(shown: messages.State) -> messages.State:
    """Without the seconds left: they alone are no change."""
    return msgspec.structs.replace(shown, ends_in_s=None)


def _about(intent: Intent) -> dict[str, object]:
    return {
        "intent": intent.id,
        "amount_sum": intent.offer.amount_sum,
        "code": intent.code.masked,
    }
