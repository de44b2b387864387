"""A payment process that pays hundreds of times a minute. Run as a script by `till.py`.

The real deciding thread, gateway client and journal; what is played is what stands outside of a
payment: scanner, lamp, control socket. For each payment it tells what the customer was told,
how long that took, what the machine itself cost of that time, and how much memory it needed.
"""

import contextlib
import json
import sys
import threading
import time
from pathlib import Path

import other_clients

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.paying import SEND_WITHIN_S
from kiosk.messages import CameraState, Hello, Sighting, Symbol
from kiosk.payment.gateway import Gateway
from kiosk.payment.indicator import Indicator
from kiosk.payment.informant import Informant
from kiosk.payment.loop import Loop, Outside
from kiosk.payment.mailbox import Mailbox, ScannerSaid
from kiosk.payment.store import Store
from kiosk.settings import GatewaySettings
from kiosk.watchdog import Watchdog

PATIENCE_S = 20.0


class Nobody:
    """Does whatever it is asked, which is nothing."""

    def __getattr__(self, name):
        return lambda *_args, **_more: None


class Watched(Indicator):
    """Notes each cue and when it was given."""

    def __init__(self):
        super().__init__(Nobody())
        self.told = []

    def show(self, cue, now_s):
        self.told.append((cue, time.monotonic()))
        super().show(cue, now_s)


class Till:
    """One journal and one gateway; each payment has a session of its own."""

    def __init__(self, *, url, ca_file, client, connect_s, read_s, deadline_s, within_s):
        self._store = None
        self._client = other_clients.CLIENTS[client]
        self._gateways = {
            trusting: Gateway.from_settings(
                GatewaySettings(
                    url=url,
                    ca_file=ca_file,
                    connect_timeout_s=connect_s,
                    read_timeout_s=read_s,
                    deadline_s=deadline_s,
                    trust_refusals=trusting,
                )
            )
            for trusting in (True, False)
        }
        self._promise_s = within_s
        self._policy = Policy(
            offers=(Offer(1000, "Payment"),),
            confirm_automatic=True,
            connecting_s=2 * connect_s + read_s,
            deadline_s=deadline_s,
            max_consecutive_unknown=10**6,
            unknown_pause_s=0.0,
            max_unresolved=10**6,
        )

    def open(self, journal):
        """Go on with another journal."""
        self.close()
        self._store = Store(Path(journal))

    def pay(self, code, trusting):
        """One customer, from the code in view to the outcome that is told."""
        mailbox, indicator = Mailbox(), Watched()
        attempts = self._client(self._gateways[trusting], mailbox.post)
        attempts.code = code  # ours does not look at it
        submitted_at_s, submit = [], attempts.submit

        def noted(intent, send_before_s):
            submitted_at_s.append(send_before_s - SEND_WITHIN_S)
            submit(intent, send_before_s)

        attempts.submit = noted
        outside = Outside(
            mailbox=mailbox,
            store=self._store,
            attempts=attempts,
            readiness=Nobody(),
            link=Nobody(),
            indicator=indicator,
            control=(control := Control()),
            watchdog=Watchdog(),
            informant=Informant(self._store, "[0-9]{20}"),
            hands=None,
            press_after_s=None,
            keep_days=30,
        )
        control.loop = loop = Loop(outside, self._policy)
        symbol = Symbol(payload=code.encode(), kind="qr", stage="test")
        begun_at_s, delays, rss_kb = time.monotonic(), run_delays_s(), fresh_peak_kb()
        for item in (
            # A session begins by telling that the customer before ended unknown, if so.
            events.Acknowledged(0),
            ScannerSaid(Hello(version="test", engines=["test"], camera="test")),
            events.TroubleEnded(Reason.SCANNER_DOWN),
            ScannerSaid(CameraState(ok=True)),
            events.TroubleEnded(Reason.GATEWAY_UNREACHABLE),
            ScannerSaid(Sighting(sequence=1, captured_at_s=begun_at_s, symbols=[symbol])),
        ):
            mailbox.post(item)
        loop.run()
        cue, told_at_s = indicator.told[-1]
        delayed_s = sum(
            max(0.0, delay_s - delays.get(thread, 0.0))
            for thread, delay_s in run_delays_s().items()
        )
        is_listening = any(attempt.is_alive() for attempt in attempts._attempts.values())
        began = any(attempt.call.began_to_send for attempt in attempts._attempts.values())
        attempts.hang_up_overdue(time.monotonic() + 1e6)
        is_left = self._wait_for_threads()
        if submitted_at_s:
            waited_s, promised_s = told_at_s - submitted_at_s[0], self._promise_s
        else:
            waited_s, promised_s = told_at_s - begun_at_s, self._policy.connecting_s
        return {
            "intent": control.intent,
            "outcome": cue.value,
            "cues": [cue.value for cue, _ in indicator.told],
            "waited_s": waited_s,
            "promised_s": promised_s,
            "delayed_s": delayed_s,
            "grown_kb": status_kb("VmHWM") - rss_kb,
            "is_listening": is_listening,
            "is_left": is_left,
            "began": began,
        }

    def _wait_for_threads(self):
        until_s = time.monotonic() + PATIENCE_S
        while threading.active_count() > 1 and time.monotonic() < until_s:
            for thread in threading.enumerate():
                if thread is not threading.current_thread():
                    thread.join(PATIENCE_S)
        return threading.active_count() > 1

    def close(self):
        if self._store is not None:
            self._store.close()


class Control(Nobody):
    """Where the control socket would be: ends the session once an outcome was told."""

    def __init__(self):
        self.loop = None
        self.intent = None

    def publish(self, state):
        if state.state in ("connecting", "submitting"):
            self.intent = state.intent
        if state.state == "concluded" and self.intent is not None:
            self.loop._is_done = True


def run_delays_s():
    """For each thread: how long the kernel had it ready to run and ran others."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
    return found


def fresh_peak_kb():
    """Forget the peak of before; what is resident now."""
    with contextlib.suppress(OSError):  # a kernel without it: the peak of all payments, then
        Path("/proc/self/clear_refs").write_text("5")
    return status_kb("VmRSS")


def status_kb(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise AssertionError(name)


def main():
    till = Till(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        order = json.loads(line)
        if "journal" in order:
            till.open(**order)
        else:
            print(json.dumps(till.pay(**order)), flush=True)
    till.close()


if __name__ == "__main__":
    main()
