"""The one program of root that stays: it keeps the status, the clock, and the good system.

It listens to what the kiosk says and never tells it anything. It restarts the machine for two
reasons only: to try a system that was installed, and to go back from one that does not serve;
neither while a customer is being served.
"""

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from appliance import card, clock, console, control, programs, slots, status
from appliance.card import CardError
from appliance.control import Kiosk, Listener
from appliance.programs import ProgramError
from appliance.slots import SlotError, Standing
from appliance.verdict import Proof, why_not_good
from kiosk.payment.clock import EARLIEST, LATEST
from kiosk.watchdog import Watchdog

LOOK_EVERY_S = 2.0
LOOK_AROUND_EVERY_S = 10.0
"""At what changes seldom: addresses, space, slots."""
TRIAL_S = 600.0
"""Since the start of the machine; a system that is not good by then is given up."""
MOST_PAYING_S = 600.0
"""A trial that is over waits so long for customers; a state that never ends must not keep it."""
IDLE_S = 30.0
TRY_AGAIN_S = 600.0
WRITE_EVERY_S = 60.0
SETTLED_S = 100.0
"""A start goes through many states; the card is told of the one that lasts."""
KEEP_TIME_EVERY_S = 3600.0
BOX_IS_OFF_S = 60.0
STEP_EVERY_S = 3600.0
STOP_S = 150.0
"""The kiosk waits for a running request when it is stopped; see TimeoutStopSec= of its unit."""


class Hands(Protocol):
    """What the keeper does to the machine; played in tests."""

    def standing(self) -> Standing | None:
        """Which slot runs and what is to do; None where nobody can say."""

    def mark_good(self) -> bool:
        """The running slot stays; whether that was a change. Raises SlotError, CardError."""

    def give_up(self, why: str) -> None:
        """The running slot is not tried again. Raises SlotError, CardError, OSError."""

    def stop_kiosk(self) -> None:
        """Wait for a running request, and end it. Raises ProgramError."""

    def start_kiosk(self) -> None:
        """It was stopped for nothing. Raises ProgramError."""

    def restart(self) -> None:
        """Into the permanent slot. Raises ProgramError."""

    def restart_into_new(self) -> None:
        """Into the slot that waits for its trial. Raises ProgramError."""

    def is_set_by_server(self) -> bool:
        """A time server has set the clock since the start."""

    def step_clock(self, to_s: float) -> None:
        """Set the wall clock. Raises OSError."""

    def keep_time(self) -> None:
        """Leave the time for the next start. Raises OSError."""

    def ready_after_s(self) -> float | None:
        """From the kernel's start to the kiosk's readiness. Raises ProgramError."""

    def unit(self) -> str:
        """Why the kiosk does not run; see `status.Facts`. Raises ProgramError."""

    def failed(self) -> tuple[str, ...]:
        """Units that failed. Raises ProgramError."""

    def show(self, text: str) -> None:
        """On the screen."""

    def write(self, text: str) -> bool:
        """On the card, if it says something new; whether it did. Raises CardError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is looked at now and then.

    Attributes:
        links: Network cards.
        free_bytes: Of the data partition; None where it is not there.
        is_journal_lost: See `status.Facts`.
        update: What the last look for an update came to.
    """

    links: tuple[status.Link, ...] = ()
    free_bytes: int | None = None
    is_journal_lost: bool = False
    update: str = ""

    @property
    def has_address(self) -> bool:
        """This machine has an address on some network."""
        return any(link.addresses for link in self.links)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the keeper looks; other than these in tests only."""

    version: Path = Path("/usr/lib/kiosk/version.json")
    intake: Path = Path("/run/kiosk-intake/result.json")
    update: Path = Path("/run/kiosk-update/said")
    floor: Path = Path("/run/kiosk-clock/floor")
    data: Path = Path("/data")
    sys_net: Path = Path("/sys/class/net")
    device_tree: Path = Path("/proc/device-tree")

    def surroundings(self) -> Surroundings:
        """Look at all of it."""
        update = ""
        with suppress(OSError):
            update = control.plain(self.update.read_text(encoding="utf-8", errors="replace"))
        return Surroundings(
            status.links(self.sys_net),
            status.free_bytes(self.data),
            status.is_journal_lost(self.data),
            update,
        )

    def floor_s(self) -> float:
        """No time before this is plausible."""
        try:
            return float(self.floor.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return EARLIEST.timestamp()


def up_s() -> float:
    """Seconds since the start of the machine, as far as its rows count them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Keeper:
    """Decides at each `look`; everything it does goes through `hands`."""

    hands: Hands
    places: Places = field(default_factory=Places)
    up_s: Callable[[], float] = up_s
    wall_s: Callable[[], float] = time.time
    is_leaving: bool = field(default=False, init=False)
    _proof: Proof = field(default_factory=Proof, init=False)
    _around: Surroundings = field(default_factory=Surroundings, init=False)
    _standing: Standing | None = field(default=None, init=False)
    _is_marked: bool = field(default=False, init=False)
    _idle_since_s: float | None = field(default=None, init=False)
    _look_around_at_s: float = field(default=float("-inf"), init=False)
    _try_at_s: float = field(default=float("-inf"), init=False)
    _keep_time_at_s: float = field(default=KEEP_TIME_EVERY_S, init=False)
    _step_at_s: float = field(default=float("-inf"), init=False)
    _write_at_s: float = field(default=float("-inf"), init=False)
    _ready_after_s: float | None = field(default=None, init=False)
    _trial: str = field(default="", init=False)
    _unit: str = field(default="", init=False)
    _failed: tuple[str, ...] = field(default=(), init=False)
    _shown: str = field(default="", init=False)
    _wrote: str = field(default="", init=False)

    def look(self, kiosk: Kiosk | None) -> None:
        """Once every few seconds, and when the kiosk says something."""
        now_s = self.up_s()
        if now_s >= self._look_around_at_s:
            self._look_around_at_s = now_s + LOOK_AROUND_EVERY_S
            self._around = self.places.surroundings()
            self._standing = self.hands.standing()
            self._ask_systemd(kiosk)
        if kiosk is not None and kiosk.is_paying:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        self._note_readiness(kiosk)
        self._judge(kiosk, now_s)
        self._try_new(now_s)
        self._keep_clock(kiosk, now_s)
        self._tell(kiosk, now_s)

    # Which system is the good one

    def _judge(self, kiosk: Kiosk | None, now_s: float) -> None:
        why = why_not_good(kiosk, has_address=self._around.has_address)
        is_proven = self._proof.look(why, now_s)
        if self._standing is None or self.is_leaving or self._is_marked:
            return
        if is_proven:
            self._mark_good()
        elif self._standing.on_trial:
            self._trial = f"not good yet: {why}" if why else ""
            if now_s >= TRIAL_S and (self._is_idle(now_s) or now_s >= TRIAL_S + MOST_PAYING_S):
                self._go_back(why or "it was not good for a whole minute")

    def _mark_good(self) -> None:
        try:
            is_change = self.hands.mark_good()
        except (SlotError, CardError, OSError) as error:
            self._trial = f"good, but it cannot be made permanent: {error}"
            return  # at the next look again
        self._is_marked, self._trial = True, ""
        self._standing = self.hands.standing()
        _say("this system is good" + (" and is now the permanent one" if is_change else ""))

    def _go_back(self, why: str) -> None:
        _say(f"this system is given up after its trial: {why}")
        self.is_leaving = True
        with suppress(SlotError, CardError, OSError):
            # Where that fails the permanent slot comes all the same: nothing names this one.
            self.hands.give_up(why)
        with suppress(ProgramError):
            self.hands.stop_kiosk()
        self._restart_by(self.hands.restart)

    def _try_new(self, now_s: float) -> None:
        waiting = self._standing is not None and self._standing.to_try is not None
        if not waiting or self.is_leaving or now_s < self._try_at_s or not self._is_idle(now_s):
            return
        self._try_at_s = now_s + TRY_AGAIN_S
        try:
            # It ends after a request that began meanwhile, so nothing is cut.
            self.hands.stop_kiosk()
        except ProgramError as error:
            _say(f"the new system is not tried yet: {error}")
        else:
            _say("restarting into the system that was installed")
            self.is_leaving = True
            if self._restart_by(self.hands.restart_into_new):
                return
        with suppress(ProgramError):
            self.hands.start_kiosk()

    def _restart_by(self, restart: Callable[[], None]) -> bool:
        try:
            restart()
        except ProgramError as error:
            self.is_leaving = False
            _say(f"the machine does not restart: {error}")
            return False
        return True

    def _is_idle(self, now_s: float) -> bool:
        return self._idle_since_s is not None and now_s - self._idle_since_s >= IDLE_S

    # The clock

    def _keep_clock(self, kiosk: Kiosk | None, now_s: float) -> None:
        by_box_s = None
        if kiosk is not None and kiosk.started_by_box_s is not None:
            by_box_s = kiosk.started_by_box_s + now_s
        if by_box_s is not None and kiosk is not None and not kiosk.is_paying:
            self._believe_box(by_box_s, now_s)
        if now_s >= self._keep_time_at_s:
            self._keep_time_at_s = now_s + KEEP_TIME_EVERY_S
            with suppress(OSError):
                self.hands.keep_time()

    def _believe_box(self, by_box_s: float, now_s: float) -> None:
        """Where no time server has answered, the box's time is the best there is."""
        is_off = abs(by_box_s - self.wall_s()) > BOX_IS_OFF_S
        is_plausible = self.places.floor_s() <= by_box_s <= LATEST.timestamp()
        if not is_off or not is_plausible or now_s < self._step_at_s:
            return
        if self.hands.is_set_by_server():
            return
        self._step_at_s = now_s + STEP_EVERY_S
        try:
            self.hands.step_clock(by_box_s)
        except OSError as error:
            _say(f"the clock cannot be set: {error.strerror}")
        else:
            _say("the clock was set by the box, as no time server has answered")

    def _vouches(self, kiosk: Kiosk | None) -> str:
        if self.hands.is_set_by_server():
            return "server"
        if kiosk is not None and kiosk.started_by_box_s is not None:
            off_s = kiosk.started_by_box_s + self.up_s() - self.wall_s()
            return "box" if abs(off_s) <= BOX_IS_OFF_S else ""
        return ""

    # What people read

    def _ask_systemd(self, kiosk: Kiosk | None) -> None:
        self._unit, self._failed = "", ()
        with suppress(ProgramError):
            if kiosk is None:
                self._unit = self.hands.unit()
            if kiosk is None or not kiosk.is_open:
                self._failed = self.hands.failed()

    def _note_readiness(self, kiosk: Kiosk | None) -> None:
        if self._ready_after_s is None and kiosk is not None and kiosk.scanner:
            with suppress(ProgramError):
                self._ready_after_s = self.hands.ready_after_s()
            if self._ready_after_s is not None:
                _say(f"the kiosk was ready {self._ready_after_s:.1f} s after the kernel began")

    def _tell(self, kiosk: Kiosk | None, now_s: float) -> None:
        facts = self._facts(kiosk)
        text = status.text_of(facts)
        said = "\n".join(status.stable(text))
        if said != self._shown:
            self._shown = said
            self.hands.show(text)
        is_lasting = now_s >= SETTLED_S or (kiosk is not None and kiosk.is_open)
        is_urgent = (
            facts.free_bytes is None or facts.is_journal_lost or not (facts.intake or {}).get("ok")
        )
        if said == self._wrote or now_s < self._write_at_s or not (is_lasting or is_urgent):
            return
        self._write_at_s = now_s + WRITE_EVERY_S
        try:
            self.hands.write(text)
        except CardError as error:
            _say(f"the status was not written: {error}")
        else:
            self._wrote = said

    def _facts(self, kiosk: Kiosk | None) -> status.Facts:
        board, serial = status.board(self.places.device_tree)
        return status.Facts(
            version=status.json_in(self.places.version) or {},
            standing=self._standing,
            trial=self._trial,
            kiosk=kiosk,
            intake=status.json_in(self.places.intake),
            host_name=os.uname().nodename,
            links=self._around.links,
            vouches=self._vouches(kiosk),
            free_bytes=self._around.free_bytes,
            is_journal_lost=self._around.is_journal_lost,
            update=self._around.update,
            board=board,
            serial=serial,
            ready_after_s=self._ready_after_s,
            unit=self._unit if kiosk is None else "",
            failed=self._failed,
            now_s=self.wall_s(),
        )


class Machine:
    """The hands that reach the real one."""

    def __init__(
        self,
        file: Path = Path("/boot/firmware/kiosk-status.txt"),
        kept: str = clock.HERE.kept,
    ) -> None:
        self._file = file
        self._kept = kept

    def standing(self) -> Standing | None:
        """See Hands."""
        try:
            return slots.standing()
        except (SlotError, CardError, OSError):
            return None

    def mark_good(self) -> bool:
        """See Hands."""
        return slots.mark_good()

    def give_up(self, why: str) -> None:
        """See Hands."""
        slots.give_up(why)

    def stop_kiosk(self) -> None:
        """See Hands."""
        programs.run(["systemctl", "stop", "kiosk.service"], STOP_S)

    def start_kiosk(self) -> None:
        """See Hands."""
        programs.run(["systemctl", "start", "--no-block", "kiosk.service"])

    def restart(self) -> None:
        """See Hands."""
        programs.run(["systemctl", "reboot"])

    def restart_into_new(self) -> None:
        """In a process of its own, whose memory goes with it. See Hands."""
        programs.run([sys.executable, "-m", "appliance.update", "try"], STOP_S)

    def is_set_by_server(self) -> bool:
        """See Hands."""
        # Of systemd-timesyncd; the kernel's own word would need ctypes, and its memory.
        return os.path.exists("/run/systemd/timesync/synchronized")  # noqa: PTH110 - one call

    def step_clock(self, to_s: float) -> None:
        """See Hands."""
        clock.set_clock(to_s)

    def keep_time(self) -> None:
        """See Hands."""
        clock.keep(self._kept)

    def ready_after_s(self) -> float | None:
        """See Hands."""
        show = ["systemctl", "show", "--value", "-p", "ActiveEnterTimestampMonotonic"]
        said = programs.run([*show, "kiosk.service"]).strip()
        return int(said) / 1e6 if said.isdigit() and int(said) else None

    def unit(self) -> str:
        """See Hands."""
        names = ("ActiveState", "ConditionResult", "ConditionTimestampMonotonic")
        said = programs.run(["systemctl", "show", *(f"-p{n}" for n in names), "kiosk.service"])
        about = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        if about.get("ActiveState") != "inactive":
            return ""
        # Before anything it needs has come, nothing was asked, and that counts as no as well.
        was_asked = about.get("ConditionTimestampMonotonic", "0") != "0"
        is_held_back = was_asked and about.get("ConditionResult") == "no"
        return "condition" if is_held_back else "inactive"

    def failed(self) -> tuple[str, ...]:
        """See Hands."""
        said = programs.run(["systemctl", "list-units", "--failed", "--plain", "--no-legend"])
        return tuple(line.split()[0] for line in said.splitlines() if line.strip())

    def show(self, text: str) -> None:
        """See Hands."""
        console.show(text)

    def write(self, text: str) -> bool:
        """See Hands."""
        try:
            present = self._file.read_bytes().decode("utf-8", "replace")
        except OSError as error:
            raise CardError(f"{self._file}: {error.strerror}") from error
        if status.stable(present) == status.stable(text):
            return False
        return card.write_if_changed(self._file, status.file_of(text))


def run(
    keeper: Keeper, listener: Listener, watchdog: Watchdog, is_over: Callable[[], bool]
) -> None:
    """Look, and wait for the kiosk to say something or for the next look."""
    watchdog.tell("READY=1")
    while not is_over():
        listener.listen()
        keeper.look(listener.kiosk)
        watchdog.kick(time.monotonic())
        number = listener.fileno()
        select.select([number] if number is not None else [], [], [], LOOK_EVERY_S)


def main() -> int:
    """Run it on the card until it is killed."""
    run(Keeper(Machine()), Listener(), Watchdog(), lambda: False)
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
