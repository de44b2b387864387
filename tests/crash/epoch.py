"""One journal from its first moment on, one ledger, and many short lives between them."""

import contextlib
import time

from audit import ends_in_doubt, faults_of, faults_of_restart, rows_of, without_outcome
from brief_kiosk import BUTTON, HASTY, BriefKiosk
from kiosk_process import a_code
from marks import cues_of, phase_of

from kiosk.sandbox.faults import Pace
from kiosk.sandbox.gateway import SandboxGateway

KINDS = {
    # what happens in a life, and how often of a hundred
    "a fresh code": 50,
    "the code of an earlier life": 17,
    "killed while it starts": 13,
    "told to stop, then killed": 10,
    "killed before the press": 5,
    "an answer after the deadline": 5,
}
ANSWERS = {
    # the fault of the gateway, and how often of a hundred
    None: 56,
    "declined": 6,
    "status-failed": 5,
    "hang-up-uncharged": 5,
    "hang-up-charged": 6,
    "reset-charged": 4,
    "truncated-body": 4,
    "stall-charged": 4,
    "late": 5,
    "drip-whole": 5,
}
ANCHORS = (
    *("code-read", "connecting", "writing-sending", "sending-written", "request"),
    *("answer", "writing-outcome", "outcome-written", "told"),
)
TOLD = ("approved", "declined", "not_sent", "unknown", "not_accepted")
LATENCIES_S = (0.0, 0.002, 0.006)
PACE = Pace(late_s=0.04, drip_s=0.002)
ANY_MOMENT = 0.3
"""The share of lives that end at any moment of a payment; the others shortly after a step."""
AFTER_ANCHOR_S = (-0.0005, 0.002)
"""So long after that step; below zero: at once."""
STOPPING_S = 0.05


class Epoch:
    """Use it as a context; `live` as often as wanted.

    Attributes:
        faults: Everything that was wrong so far; the audit is the whole one, after each restart.
    """

    def __init__(self, zygote, folder, chance, tally, *, misbehave=None):
        folder.mkdir()
        self.faults = []
        self._chance, self._tally, self._misbehave = chance, tally, misbehave
        self._told, self._in_doubt, self._ends_in_doubt = [], [], False
        self._usual_s = {"start": 0.05, "payment": 0.02}
        with contextlib.ExitStack() as opened:
            gateway = SandboxGateway(latency_s=chance.choice(LATENCIES_S), pace=PACE)
            self._gateway = opened.enter_context(gateway)
            self._kiosk = BriefKiosk(zygote, folder, gateway.url)
            opened.callback(self._kiosk.close)
            self._opened = opened.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._opened.close()

    def live(self):
        """One life and its death."""
        kind = _drawn(self._chance, KINDS)
        config = {"killed before the press": BUTTON, "an answer after the deadline": HASTY}
        self._kiosk.begin(config.get(kind), misbehave=self._misbehave)
        code = None
        if kind == "killed while it starts":
            self._kiosk.live_on(self._chance.uniform(0, 1.2 * self._usual_s["start"]))
        elif self._serves():
            code = self._code_for(kind)
            self._pay(kind, code)
        self._bury(kind, code)

    def last_restart(self):
        """What the last death left must stand up to the audit as well, with all requests in."""
        self._kiosk.begin(misbehave=self._misbehave)
        if self._serves():
            self._kiosk.end()
        self._gateway.close()
        self._audit()
        self._tally.requests += len(self._gateway.ledger.requests)
        self._tally.charges += len(self._gateway.ledger.charges)
        for rows in rows_of(self._kiosk.journal_path).values():
            *earlier, last = [kind for kind, _ in rows]
            self._tally.outcomes[f"{last} late" if "unknown" in earlier else last] += 1

    # One life

    def _serves(self):
        """It comes to where it invites a customer; the audit of the life before."""
        kiosk, began_s = self._kiosk, time.monotonic()
        serves = kiosk.hear_until("ready", "unknown")
        self._note("start", time.monotonic() - began_s)
        first = next((cue for cue in cues_of(kiosk.heard) if cue != "out_of_service"), "nothing")
        if first != ("unknown" if self._ends_in_doubt else "ready"):
            was = "in doubt" if self._ends_in_doubt else "clear"
            self.faults.append(f"the last payment was {was}, and after the restart it told {first}")
        if not serves or (first == "unknown" and not kiosk.acknowledge()):
            self.faults.append(f"it never invited: {kiosk.heard}")
            return False
        self._tally.restarts += 1
        self.faults += faults_of_restart(kiosk.journal_path, self._in_doubt)
        self._audit()
        return True

    def _note(self, what, took_s):
        """What is usual, on this machine and now: moments are drawn from it."""
        self._usual_s[what] += 0.1 * (took_s - self._usual_s[what])

    def _code_for(self, kind):
        if kind == "the code of an earlier life" and self._told:
            earlier = self._told[-1] if self._chance.random() < 0.7 else None
            return (earlier or self._chance.choice(self._told))[0]
        return a_code()

    def _pay(self, kind, code):
        chance, kiosk = self._chance, self._kiosk
        late = kind == "an answer after the deadline"
        self._gateway.set_fault("late" if late else _drawn(chance, ANSWERS))
        kiosk.scanner.show(code)
        if kind == "killed before the press":
            kiosk.hear_until("press_to_pay", within_s=3 * self._usual_s["payment"])
            kiosk.live_on(chance.uniform(0, 0.02))
            return
        if late:
            kiosk.live_on(chance.uniform(0, 2 * PACE.late_s))
        else:
            self._live_to_a_moment()
        if kind == "told to stop, then killed":
            kiosk.terminate()
            kiosk.live_on(chance.uniform(0, STOPPING_S))

    def _live_to_a_moment(self):
        """Any moment of a payment; or one shortly after a step, so that short steps are hit."""
        chance, kiosk = self._chance, self._kiosk
        if chance.random() < ANY_MOMENT:
            kiosk.live_on(chance.uniform(0, 1.2 * self._usual_s["payment"]))
            return
        anchor, began_s, heard = chance.choice(ANCHORS), time.monotonic(), len(kiosk.heard)
        within_s = 3 * self._usual_s["payment"]
        if kiosk.hear_until(anchor, *TOLD, after=heard, within_s=within_s) and anchor == "told":
            self._note("payment", time.monotonic() - began_s)
        kiosk.live_on(max(0.0, chance.uniform(*AFTER_ANCHOR_S)))

    def _bury(self, kind, code):
        kiosk, tally = self._kiosk, self._tally
        exit_code = kiosk.end()
        tally.kinds[kind] += 1
        if exit_code == -9:
            tally.kills += 1
            tally.phases[phase_of(kiosk.heard)] += 1
        else:
            tally.ended += 1
            if exit_code != 0 or kind != "told to stop, then killed":
                self.faults.append(f"it ended by itself, with {exit_code}: {kiosk.said}")
        self.faults += [f"in its log: {found}" for found in kiosk.leaks()]
        if code is not None:
            self._told.append((code, cues_of(kiosk.heard)[self._cues_of_start() :]))
        if self._is_born():
            self._in_doubt = without_outcome(kiosk.journal_path)
            self._ends_in_doubt = ends_in_doubt(kiosk.journal_path)

    def _cues_of_start(self):
        """How many cues came before the kiosk invited: they are not about this code."""
        return cues_of(self._kiosk.heard).index("ready") + 1

    # The record

    def _is_born(self):
        """Before this mark the journal may be half made; nothing was sold with it."""
        path = self._kiosk.journal_path
        return path.with_name(path.name + ".made").exists()

    def _audit(self):
        self.faults += faults_of(self._kiosk.journal_path, self._gateway.ledger, self._told)


def _drawn(chance, weights):
    (found,) = chance.choices(list(weights), weights.values())
    return found
