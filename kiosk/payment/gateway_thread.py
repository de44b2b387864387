"""The gateway from the deciding thread's point of view: wishes in, events out.

Each intent has a thread and a connection of its own. So a request that nobody waits for any
more can still bring its answer, while the next customer is served on another connection.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.intent import Intent
from kiosk.errors import NoAnswerError, NotSentError
from kiosk.payment.gateway import Call, Gateway, ask_ready
from kiosk.payment.gateway_trouble import NotReadyError, UnreachableError, trouble_of
from kiosk.payment.mailbox import BoxTold, Post, ThreadDied

log = logging.getLogger(__name__)

KEEP_WARM_S = 1.5
"""Shorter than the time for which an idle connection is trusted."""
KEEP_WARM_BELOW_S = 0.5
"""A box that takes longer for /info/ is not asked again and again; connecting anew is no slower."""
LISTEN_AFTER_DEADLINE_S = 300.0
MOST_WARM = 2
POLL_READY_S = 30.0
POLL_TROUBLE_S = 2.0


@dataclass(frozen=True, slots=True)
class _Connect:
    pass


@dataclass(frozen=True, slots=True)
class _Submit:
    intent: Intent
    send_before_s: float


@dataclass(frozen=True, slots=True)
class _Abandon:
    pass


_Wish = _Connect | _Submit | _Abandon


class Attempts:
    """Connections of intents, by intent id. All methods from the main thread only."""

    def __init__(self, gateway: Gateway, post: Callable[[Post], None]) -> None:
        self._gateway = gateway
        self._post = post
        self._attempts: dict[str, Attempt] = {}
        self._leaving: list[Attempt] = []

    def warm_up(self, intent_id: str) -> None:
        """Connect early, unless earlier ones still try: strangers must not open many."""
        self._forget_ended()
        # Those that were abandoned count until they have let go: a name or a connection that
        # does not come holds a thread for seconds.
        open_ones = sum(not attempt.is_submitted for attempt in self._attempts.values())
        if open_ones + len(self._leaving) < MOST_WARM and intent_id not in self._attempts:
            self._attempts[intent_id] = Attempt(self._gateway, intent_id, self._post)

    def connect(self, intent_id: str) -> None:
        """Report Connected, or NotSent."""
        attempt = self._attempts.get(intent_id)
        if attempt is None or not attempt.is_alive():
            self._forget_ended()
            attempt = Attempt(self._gateway, intent_id, self._post)
            self._attempts[intent_id] = attempt
        attempt.wish(_Connect())

    def submit(self, intent: Intent, send_before_s: float) -> None:
        """Send the request on the connection that was reported; the word comes as an event."""
        attempt = self._attempts.get(intent.id)
        if attempt is None or not attempt.is_alive():
            # Only a mistake of ours ends it before; its ThreadDied is on the way.
            self._post(events.NotSent(intent.id, "its connection is gone"))
            return
        attempt.is_submitted = True
        attempt.listen_until_s = (
            time.monotonic() + self._gateway.settings.deadline_s + LISTEN_AFTER_DEADLINE_S
        )
        attempt.wish(_Submit(intent, send_before_s))

    def abandon(self, intent_id: str) -> None:
        """Nobody wants this intent any more; a request that was submitted stays."""
        attempt = self._attempts.get(intent_id)
        if attempt is not None and not attempt.is_submitted:
            attempt.abandon()
            self._leaving.append(self._attempts.pop(intent_id))

    def hang_up_overdue(self, now_s: float) -> None:
        """End requests whose answer never ends (endless headers, one byte a second)."""
        for attempt in self._attempts.values():
            if attempt.is_submitted and now_s >= attempt.listen_until_s:
                attempt.call.hang_up()
        self._forget_ended()

    def _forget_ended(self) -> None:
        self._attempts = {i: a for i, a in self._attempts.items() if a.is_alive()}
        self._leaving = [attempt for attempt in self._leaving if attempt.is_alive()]


class Attempt:
    """One intent's thread and connection. It says one final word about a submitted request."""

    def __init__(self, gateway: Gateway, intent_id: str, post: Callable[[Post], None]) -> None:
        self.is_submitted = False
        self.listen_until_s = float("inf")
        self.call: Call = gateway.call()
        self._intent_id = intent_id
        self._is_abandoned = False
        self._post = post
        self._wishes: queue.SimpleQueue[_Wish] = queue.SimpleQueue()
        # Daemon: a box that never answers must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name=f"gateway-{intent_id[:4]}", daemon=True
        )
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it still works or waits."""
        return self._thread.is_alive()

    def wish(self, wish: _Wish) -> None:
        """From the main thread."""
        self._wishes.put(wish)

    def abandon(self) -> None:
        """From the main thread, and only before a submit: wake it, wherever it is."""
        self._is_abandoned = True
        self._wishes.put(_Abandon())
        self.call.hang_up()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - nothing dies quietly
            # Even a mistake of ours ends in a word on the request, then surfaces.
            if self.call.began_to_send:
                raw = self.call.received or None
                self._post(events.AnswerLost(self._intent_id, "an internal error", raw))
            else:
                self._post(events.NotSent(self._intent_id, "an internal error"))
            self._post(ThreadDied(self._thread.name, error))
        finally:
            self.call.close()

    def _follow(self) -> None:
        self._warm_up()
        while True:
            match self._next_wish():
                case None:
                    self._stay_warm()
                case _Abandon():
                    return
                case _Connect():
                    if not self._ensure_connected():
                        return
                    self._post(events.Connected(self._intent_id))
                case _Submit(intent, send_before_s):
                    self._submit(intent, send_before_s)
                    return

    def _next_wish(self) -> _Wish | None:
        try:
            return self._wishes.get(timeout=KEEP_WARM_S)
        except queue.Empty:
            return None

    def _warm_up(self) -> None:
        try:
            self.call.connect()
            self.call.ask_info()
        except (UnreachableError, NotReadyError) as error:
            # If its customer presses all the same, _ensure_connected tries once more.
            self._report(error)

    def _stay_warm(self) -> None:
        took_s = self.call.info_took_s
        if took_s is None or took_s > KEEP_WARM_BELOW_S or not self.call.stands():
            return
        try:
            self.call.ask_info()
        except UnreachableError as error:
            log.info("connection no longer warm", extra={"detail": str(error)})
        except NotReadyError as error:
            self._report(error)

    def _ensure_connected(self) -> bool:
        try:
            if not self.call.stands():
                self.call.connect()
                self.call.ask_info()
            if not self.call.stands():
                # A box that hangs up after /info/: the request goes on a bare connection.
                self.call.connect()
        except (UnreachableError, NotReadyError) as error:
            self._report(error)
            self._post(events.NotSent(self._intent_id, str(error)))
            return False
        return True

    def _report(self, error: UnreachableError | NotReadyError) -> None:
        reason, detail = trouble_of(error)
        if not self._is_abandoned:  # hanging up on purpose is no trouble of the gateway
            self._post(events.TroubleBegan(reason, detail))

    def _submit(self, intent: Intent, send_before_s: float) -> None:
        try:
            answer = self.call.submit(intent.offer.amount_sum, intent.code.digits, send_before_s)
        except NotSentError as error:
            self._post(events.NotSent(intent.id, str(error)))
        except NoAnswerError as error:
            # What came of the answer may hold the payment_id: staff will want to see it.
            self._post(events.AnswerLost(intent.id, str(error), self.call.received or None))
        else:
            self._post(events.OutcomeKnown(intent.id, answer))


class Readiness:
    """Asks `GET /info/` in quiet moments, so that nobody is invited in vain.

    Threads: `start`, `allow`, `ask_now` and `stop` from the main thread; it posts TroubleBegan
    and TroubleEnded after every question, not at changes only, because an attempt may have
    reported a trouble in between.
    """

    def __init__(self, gateway: Gateway, post: Callable[[Post], None]) -> None:
        self._gateway = gateway
        self._post = post
        self._quiet = threading.Event()
        self._now = threading.Event()
        self._stopping = threading.Event()
        self._quiet.set()
        self._last = ""
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def allow(self, quiet: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Nobody is being served now, or somebody is: then the box is left alone."""
        if quiet:
            self._quiet.set()
        else:
            self._quiet.clear()

    def ask_now(self) -> None:
        """Do not wait for the next regular question."""
        self._now.set()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._now.set()
        self._quiet.set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._now.clear()
                ready = self._ask()
                self._now.wait(POLL_READY_S if ready else POLL_TROUBLE_S)
                self._quiet.wait()
        except BaseException as error:  # noqa: BLE001 - nothing dies quietly
            self._post(ThreadDied(self._thread.name, error))

    def _ask(self) -> bool:
        both: list[Reason] = [Reason.GATEWAY_UNREACHABLE, Reason.GATEWAY_NOT_READY]
        try:
            said = ask_ready(self._gateway, lambda told: self._post(BoxTold(told)))
        except (UnreachableError, NotReadyError) as error:
            trouble, said = trouble_of(error)
            self._post(events.TroubleBegan(trouble, said))
            both.remove(trouble)
        for reason in both:
            self._post(events.TroubleEnded(reason))
        if said != self._last:
            self._last = said
            log.info("gateway readiness", extra={"detail": said})
        return len(both) == 2
