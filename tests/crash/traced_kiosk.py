"""A forked kiosk in whose life strace makes one system call fail, or the last one."""

import os
import select
from dataclasses import dataclass

from injection import Strace
from kiosk_process import WAIT_S
from lives import MortalKiosk

from kiosk.messages import Acknowledge, Ok

JOURNAL_FILES = ("", "-wal", "-shm", "-journal", ".lock", ".made", ".reserve", ".spill")
WATCHED = ("pwrite64", "fdatasync", "sendto", "write")


@dataclass(frozen=True, slots=True)
class Life:
    """One life that was interfered with.

    Attributes:
        ended: It died by the call, or ended because of it.
        cues: What lamp and buzzer told.
    """

    ended: bool
    cues: list
    calls: list

    def was_hit(self, call):
        return self.ended or any(c.injected for c in self.calls if c.name == call)


class TracedKiosk(MortalKiosk):
    """The kiosk of the crash runs, before it and during it."""

    def serves(self, **hooks):
        """Start it untouched, and wait until the next customer may come."""
        self.start(**hooks)
        state = self.control.wait(lambda s: s.state != "out_of_service")
        if state.state == "concluded":
            assert isinstance(self.control.command(Acknowledge()), Ok)
            self.control.wait("ready")

    def pays(self, code, injections, ends, *, watched=WATCHED):
        """From the code in view until one of `ends` is told, or it died; then it is killed."""
        # A client of the control socket would only add calls that are no part of a payment.
        self.control.close()
        self.control = None
        with self.strace(self.process.pid, injections, watched=watched) as strace:
            self._forget_cues()
            self.scanner.show(code)
            self.scanner.hold_up(code)
            told, has_ended = self._told_until(ends)
            self.scanner.hold_up()
            self.kill()
        return Life(has_ended, [*told, *self.last_cues()], strace.calls())

    def begins(self, injections, **hooks):
        """From its first call until it tells anything at all, or died; then it is killed."""
        paths = [self.journal_path.with_name(self.journal_path.name + s) for s in JOURNAL_FILES]
        paths.append(self.journal_path.parent)
        with self.strace(self._zygote._process.pid, injections, paths=paths) as strace:
            self.start(follow=False, **hooks)
            told, has_ended = self._told_until(())
            self.kill()
        return Life(has_ended, [*told, *self.last_cues()], strace.calls())

    def strace(self, pid, injections, *, watched=WATCHED, paths=()):
        return Strace(pid, self.folder / "calls", injections, watched=watched, paths=paths)

    def _forget_cues(self):
        """Those before this customer came."""
        while select.select([self._cue_r], [], [], 0)[0]:
            os.read(self._cue_r, 65_536)

    def _told_until(self, ends):
        """What it told, and whether it ended by itself."""
        told = ""
        while not (set(ends) & set(told.split()) if ends else told):
            ready, _, _ = select.select([self._cue_r], [], [], WAIT_S)
            assert ready, f"it told nothing more than {told.split()}\n{self.stderr}"
            if not (data := os.read(self._cue_r, 65_536)):
                return told.split(), True
            told += data.decode()
        return told.split(), False
