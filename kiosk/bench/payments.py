"""The payment path, measured with the real loop, journal, gateway client and TLS.

Only three things differ from `kiosk run`: codes come from here instead of the scanner, the
clock jumps over the time in which people hesitate and cues are shown, and the gateway is the
sandbox in a process of its own.
"""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hardware.panel import Panel
from hardware.pins import open_pin_factory
from kiosk import messages
from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.payment import gateway as gateway_module
from kiosk.payment.control import Control
from kiosk.payment.gateway import Gateway
from kiosk.payment.gateway_thread import Attempts, Readiness
from kiosk.payment.indicator import Indicator
from kiosk.payment.informant import Informant
from kiosk.payment.loop import Loop, Outside
from kiosk.payment.mailbox import Mailbox, ScannerSaid
from kiosk.payment.scanner_link import ScannerLink, Served
from kiosk.payment.store import Store
from kiosk.settings import (
    ConfirmSettings,
    GatewaySettings,
    OfferSettings,
    PanelSettings,
    Settings,
)
from kiosk.watchdog import Watchdog
from kiosk.wiring import panel_pins, policy_of

GIVE_UP_S = 20.0


class SkippingClock:
    """The monotonic clock, which the bench may set forward, never back."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead_s


@dataclass(slots=True)
class Paid:
    """What was measured.

    Attributes:
        to_request_ms: From the press to the first byte of the request, each payment.
        to_cue_ms: From the press to the outcome's cue, each payment.
        written_bytes: What this process had the kernel write to the device, for all of them.
    """

    to_request_ms: list[float] = field(default_factory=list)
    to_cue_ms: list[float] = field(default_factory=list)
    written_bytes: int = 0


@contextlib.contextmanager
def sandbox(*, tls: bool) -> Iterator[tuple[str, str | None]]:
    """A sandbox gateway in its own process: URL and CA file."""
    command = [sys.executable, "-m", "kiosk", "sandbox", *(["--tls"] if tls else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stdout is not None
            where = msgspec.json.decode(
                process.stdout.readline() or "{}", type=dict[str, str | None]
            )
            yield where["url"] or "", where["ca_file"]
        finally:
            process.terminate()


def pay(folder: Path, count: int, *, tls: bool, warm: bool) -> Paid:
    """Make `count` payments, one after the other.

    Args:
        folder: For journal and socket; on the disk that is to be measured.
        count: How many.
        tls: HTTPS, TLS 1.3.
        warm: As the kiosk does it; False for the usual way, which connects after the press.
    """
    paid = Paid()
    with sandbox(tls=tls) as (url, ca_file), contextlib.ExitStack() as closing:
        settings = Settings(
            gateway=GatewaySettings(url=url, ca_file=ca_file),
            offer=OfferSettings(amount_sum=1000, label="bench"),
            panel=PanelSettings(backend="simulated"),
            confirm=ConfirmSettings(timeout_s=300.0),
        )
        closing.enter_context(_noting_first_bytes())
        bench = _Bench(settings, folder, closing, _Patient if warm else _Cold)
        begin = _written_bytes()
        for number in range(count):
            bench.pay_once(f"{number:020d}", paid)
        paid.written_bytes = _written_bytes() - begin
        bench.stop()
    return paid


_sent_at_s: list[float] = []


@contextlib.contextmanager
def _noting_first_bytes() -> Iterator[None]:
    """Note when each payment request is handed to its socket, at the place that decides it."""
    noting = gateway_module._Noting  # noqa: SLF001 - the product needs no such clock
    send = noting.send

    def timed(self: object, data: object) -> None:
        if self.is_payment and not self.began_to_send:  # type: ignore[attr-defined]  # _Noting's
            _sent_at_s.append(time.monotonic())
        send(self, data)  # type: ignore[arg-type]  # self is a _Noting

    noting.send = timed  # type: ignore[method-assign]  # only here, put back below
    try:
        yield
    finally:
        noting.send = send  # type: ignore[method-assign]  # as it was


class _Patient(Attempts):
    """Does not look for overdue requests: the loop's clock jumps, that of the requests does not."""

    def hang_up_overdue(self, now_s: float) -> None:
        """See above."""


class _Cold(_Patient):
    """The usual way: connect after the press."""

    def warm_up(self, intent_id: str) -> None:
        """See above."""


class _Bench:
    """The deciding thread and what it reaches; this thread plays customer."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        closing: contextlib.ExitStack,
        attempts: type[Attempts],
    ) -> None:
        self.clock = SkippingClock()
        self.mailbox = Mailbox()
        gateway = Gateway.from_settings(settings.gateway)
        self.attempts = attempts(gateway, self.mailbox.post)
        store = Store(folder / "journal.db")
        closing.callback(store.close)
        factory = open_pin_factory("simulated")
        panel = Panel(
            panel_pins(settings),
            pin_factory=factory,
            on_edge=lambda _pressed, _at_s: None,
            on_error=lambda _error: None,
        )
        closing.callback(panel.close)
        self.control = _Listener(folder / "control.sock", self.mailbox)
        closing.callback(self.control.stop)
        readiness = Readiness(gateway, self.mailbox.post)
        store.close()
        self._settings, self._folder = settings, folder
        outside = Outside(
            mailbox=self.mailbox,
            store=store,
            attempts=self.attempts,
            readiness=readiness,
            link=ScannerLink(Served(folder / "none.sock"), self.mailbox.post),
            indicator=Indicator(panel),
            control=self.control,
            watchdog=Watchdog(),
            informant=Informant(store, settings.scan.code_pattern),
            hands=None,
            press_after_s=None,
            keep_days=30,
        )
        self.loop = Loop(outside, policy_of(settings), self.clock)
        self._thread = threading.Thread(target=self._run, args=(store,), name="deciding")
        self._thread.start()
        for reason in (Reason.SCANNER_DOWN, Reason.CAMERA_DOWN, Reason.GATEWAY_UNREACHABLE):
            self.mailbox.post(events.TroubleEnded(reason))
        self._until("ready")

    def _run(self, store: Store) -> None:
        store.reopen()  # SQLite's connection belongs to the thread that opened it
        self.loop.run()
        store.close()

    def pay_once(self, code: str, paid: Paid) -> None:
        """One customer, from the phone to the cue."""
        symbol = messages.Symbol(payload=code.encode(), kind="qr", stage="bench")
        sighting = messages.Sighting(sequence=0, captured_at_s=self.clock(), symbols=[symbol])
        self.mailbox.post(ScannerSaid(sighting))
        self._until("awaiting_confirm")
        time.sleep(0.1)  # people hesitate longer; the connection stands by then
        self.clock.ahead_s += 1.0
        pressed_s, at_s = time.monotonic(), self.clock()
        self.mailbox.post(events.ButtonPressed(at_s))
        self._until("concluded")
        paid.to_cue_ms.append((self.control.changed_at_s - pressed_s) * 1e3)
        paid.to_request_ms.append((_sent_at_s[-1] - pressed_s) * 1e3)
        self.mailbox.post(events.ButtonReleased(self.clock()))
        self.clock.ahead_s += 61.0
        self.mailbox.post(events.Tick())
        self._until("ready")

    def _until(self, state: str) -> None:
        if not self.control.wait_for(state, GIVE_UP_S):
            raise TimeoutError(f"the kiosk did not come to {state}")

    def stop(self) -> None:
        """End the deciding thread."""
        self.mailbox.post(events.StopRequested())
        self._thread.join(timeout=10)


class _Listener(Control):
    """The control socket, whose states this process reads too."""

    def __init__(self, path: Path, mailbox: Mailbox) -> None:
        self._changed = threading.Condition()
        self._now = ""
        self.changed_at_s = 0.0
        super().__init__(path, mailbox.post)

    def publish(self, state: messages.State) -> None:
        """Note the state, then send it."""
        with self._changed:
            self._now, self.changed_at_s = state.state, time.monotonic()
            self._changed.notify_all()
        super().publish(state)

    def wait_for(self, state: str, timeout_s: float) -> bool:
        """Wait until the kiosk is in this state."""
        with self._changed:
            return self._changed.wait_for(lambda: self._now == state, timeout_s)


def _written_bytes() -> int:
    for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(": ")
        if name == "write_bytes":
            return int(value)
    return 0
