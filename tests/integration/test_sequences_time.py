"""Sequences that hurt over time: an update in the middle, and a kiosk that nobody can reach.

The clock that is stepped back and forth is in `test_clock.py`.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit import faults_of
from kiosk_process import WAIT_S, Kiosk, a_code
from tools import figure

from kiosk.sandbox.gateway import SandboxGateway

ROOT = Path(__file__).parents[2]
PAUSE_S = 2.0
BRIEF_UNKNOWN = """
import kiosk.core.transitions as transitions
from kiosk.core.intent import Outcome
transitions.CONCLUDED_S[Outcome.UNKNOWN] = 0.5
"""
"""The customer is told for half a second, not for a minute."""
NEVER_PAUSES = "import kiosk.core.memory as m; m.Memory.is_paused = lambda self, policy: False\n"
NEVER_COMES_BACK = """
import kiosk.core.memory as memory
def began(self, intent_id, now_s, policy, end=memory.Memory.ended_unknown):
    ended = end(self, intent_id, now_s, policy)
    return memory.replace(ended, paused_until_s=now_s + 10**9)
memory.Memory.ended_unknown = began
"""
A_LATER_MINOR_VERSION = """
import kiosk.payment.journal_schema as schema
schema.MINOR += 1
schema.VERSION += 1
schema._ADDITIONS = {
    **schema._ADDITIONS,
    schema.MINOR: "ALTER TABLE row ADD COLUMN note TEXT NOT NULL DEFAULT 'new';\\n"
    "CREATE TABLE later (x INTEGER);\\n",
}
"""
LOADS_LATE = """
_recorded = Journal.record_outcome
def _record_outcome(self, *args, **kwargs):
    import kiosk.demo
    return _recorded(self, *args, **kwargs)
Journal.record_outcome = _record_outcome
"""


# Two unknowns, and nobody who can reach it


def after_two_unknowns(kiosk, gateway, *, within_s):
    """What a kiosk does by itself; its reasons as they follow each other, and the codes told."""
    told = []
    gateway.set_fault("hang-up-charged", times=2)
    for _ in range(2):
        code = a_code()
        assert kiosk.pay(code).outcome == "unknown"
        told.append((code, ["unknown"]))
    since = len(kiosk.control.states)
    kiosk.control.wait(lambda s: s.state in ("ready", "out_of_service"))
    if kiosk.control.state.state == "out_of_service":
        try:
            kiosk.control.wait("ready", within_s=within_s)
        except AssertionError:
            return "paused for ever", told
    states = kiosk.control.states[since:]
    return "paused" if any(s.reasons == ["unknown_pause"] for s in states) else "sold on", told


def unreachable(kiosk_at, gateway):
    return kiosk_at(gateway.url, limits={"unknown_pause_s": PAUSE_S, "max_unresolved": 3})


def test_two_unknowns_and_nobody_who_can_reach_it(kiosk_at, gateway, plant):
    kiosk = unreachable(kiosk_at, gateway).start(env=plant(BRIEF_UNKNOWN))

    followed, told = after_two_unknowns(kiosk, gateway, within_s=WAIT_S)
    assert followed == "paused"

    # Nobody came; it sells again. One more that ends unknown is one more pause, not the end.
    gateway.set_fault("hang-up-charged", times=1)
    code = a_code()
    assert kiosk.pay(code).outcome == "unknown"
    told.append((code, ["unknown"]))
    kiosk.control.wait(lambda s: s.reasons == ["unknown_pause"])
    kiosk.ready()
    code = a_code()
    assert kiosk.pay(code).outcome == "approved"
    told.append((code, ["approved"]))

    assert len(kiosk.as_json("journal", "unresolved")) == 3  # they wait for whoever comes
    assert faults_of(kiosk.journal_path, gateway.ledger, told) == []
    figure("two unknowns and nobody there: paused, sold again, paused again, sold again")


def test_the_pause_outlives_a_restart_and_ends_all_the_same(kiosk_at, gateway, plant):
    env = plant(BRIEF_UNKNOWN)
    kiosk = unreachable(kiosk_at, gateway).start(env=env)
    gateway.set_fault("hang-up-charged", times=2)
    for _ in range(2):
        assert kiosk.pay(a_code()).outcome == "unknown"
    kiosk.control.wait(lambda s: s.reasons == ["unknown_pause"])
    kiosk.kill()

    kiosk.start(env=env)

    kiosk.control.wait(lambda s: "unknown_pause" in s.reasons or s.cue == "unknown")
    kiosk.ready()
    assert kiosk.pay(a_code()).outcome == "approved"


@pytest.mark.parametrize(
    ("fault", "shows"), [(NEVER_PAUSES, "sold on"), (NEVER_COMES_BACK, "paused for ever")]
)
def test_control_kiosks_that_do_not_pause_or_stay_dead_are_noticed(
    kiosk_at, gateway, plant, fault, shows
):
    kiosk = unreachable(kiosk_at, gateway).start(env=plant(BRIEF_UNKNOWN + fault))

    assert after_two_unknowns(kiosk, gateway, within_s=2 * PAUSE_S)[0] == shows


# SIGTERM and an update in the middle


def pays_until_charged(kiosk, gateway, code):
    kiosk.read(code)
    kiosk.press()
    assert gateway.ledger.wait_until(lambda ledger: ledger.charges, WAIT_S)


def test_sigterm_and_update_in_the_middle(kiosk_at, plant):
    """The new version finds the old one still waiting for an answer, and then its journal."""
    codes = [a_code() for _ in range(3)]
    with SandboxGateway(latency_s=1.5) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        pays_until_charged(kiosk, gateway, codes[0])
        kiosk.send_signal(signal.SIGTERM)

        # Started too early it does not push in: one process writes the journal.
        early = kiosk.run("run", "--no-scanner", env=plant(A_LATER_MINOR_VERSION))
        assert early.returncode == 4
        assert kiosk.wait_for_exit() == 0
        assert kiosk.kinds() == ["sending", "approved"]

        gateway.latency_s = 0.0
        kiosk.start(env=plant(A_LATER_MINOR_VERSION))
        assert kiosk.pay(codes[1]).outcome == "approved"
        assert kiosk.stop() == 0
        assert kiosk.rows("SELECT DISTINCT note FROM row") == [("new",)]

        # The update is taken back: the old version goes on with what the new one made.
        kiosk.start()
        assert kiosk.pay(codes[2]).outcome == "approved"
        kiosk.ready()
        time.sleep(0.8)
        kiosk.show(codes[1], lambda s: s.cue == "not_accepted")  # spent under the new version
        listed = kiosk.as_json("journal", "list")
        assert [entry["outcome"] for entry in listed] == ["approved"] * 3
        told = [(code, ["approved"]) for code in codes]
        assert faults_of(kiosk.journal_path, gateway.ledger, told) == []
        assert len(gateway.ledger.requests) == 3
    figure("SIGTERM and update in the middle: old, new and old version again, 3 paid, 3 charged")


def in_the_format_of(kiosk, majors):
    """Mark the journal as made by so many major versions later."""
    with contextlib.closing(sqlite3.connect(kiosk.journal_path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute(f"PRAGMA user_version = {version + 1000 * majors}")


def test_a_version_too_new_is_taken_back_and_nothing_is_lost(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    code = a_code()
    assert kiosk.pay(code).outcome == "approved"
    assert kiosk.stop() == 0
    in_the_format_of(kiosk, 1)

    kiosk.start()
    kiosk.control.wait(lambda s: s.reasons == ["journal_newer"])
    kiosk.scanner.show(a_code())
    assert kiosk.stop() == 0

    in_the_format_of(kiosk, -1)
    kiosk.start()
    kiosk.ready()
    assert kiosk.kinds() == ["sending", "approved"]
    kiosk.show(code, lambda s: s.cue == "not_accepted")
    assert len(gateway.ledger.requests) == 1


class Installed(Kiosk):
    """A kiosk whose program can be exchanged while it runs."""

    def install(self, besides=""):
        self.program = self.folder / "program"
        for package in ("kiosk", "hardware"):
            unneeded = shutil.ignore_patterns("__pycache__", "*.md", "figures*", "frames")
            shutil.copytree(ROOT / package, self.program / package, ignore=unneeded)
        with (self.program / "kiosk/payment/journal.py").open("a") as module:
            module.write(besides)
        self.env = {"PYTHONPATH": str(self.program), "PYTHONSAFEPATH": "1"}
        return self

    def exchange(self):
        """An update has put other files there; whatever was not loaded yet would be of those."""
        for path in self.program.rglob("*.py"):
            path.write_text("raise ImportError('a file of the next version')\n")
        for folder in list(self.program.rglob("__pycache__")):
            shutil.rmtree(folder)
        begun = subprocess.run(
            [sys.executable, "-m", "kiosk", "--help"],
            env={**os.environ, **self.env},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert "a file of the next version" in begun.stderr  # it is this program that runs


@pytest.fixture
def exchanged_while_it_asks(tmp_path):
    """How a kiosk ends whose program is exchanged, and which is stopped, while a request runs."""
    made = []

    def live(besides=""):
        with SandboxGateway(latency_s=1.5) as gateway:
            kiosk = Installed(tmp_path, gateway.url).install(besides)
            made.append(kiosk)
            kiosk.start(env=kiosk.env)
            pays_until_charged(kiosk, gateway, a_code())
            kiosk.exchange()
            kiosk.send_signal(signal.SIGTERM)
            code = kiosk.wait_for_exit()
            return code, kiosk.kinds(), kiosk.control.cues()

    yield live
    for kiosk in made:
        kiosk.close()


def test_the_programs_files_are_exchanged_while_a_request_runs(exchanged_while_it_asks):
    code, kinds, cues = exchanged_while_it_asks()

    assert (code, kinds) == (0, ["sending", "approved"])
    assert "approved" in cues


def test_control_a_kiosk_that_loads_a_module_late_is_noticed(exchanged_while_it_asks):
    code, kinds, _ = exchanged_while_it_asks(LOADS_LATE)

    assert code != 0
    assert kinds == ["sending"]
