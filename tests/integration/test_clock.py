"""No sale before the clock is plausible; a clock that is stepped loses, doubles and delays nothing.

The wall clock of the running process is really stepped: by Debian's faketime, which reads the
time from a file and leaves the monotonic clock alone.
"""

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from audit import faults_of
from kiosk_process import a_code
from tools import figure, need

from kiosk.sandbox.gateway import SandboxGateway

# A process whose files seem to be of another day does not find its coverage again.
pytestmark = pytest.mark.usefixtures("unmeasured")
SHARED = Path("/dev/shm")


class Wall:
    """The wall clock of processes started from now on, as an offset that can be changed."""

    def __init__(self, folder, monkeypatch):
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        need(bool(found), "needs libfaketime: sudo apt install faketime")
        self._file = folder / "offset"
        self.step(timedelta(0))
        monkeypatch.setenv("LD_PRELOAD", str(found[0]))
        monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(self._file))
        monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
        monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        # Else what waits for a condition, by the wall clock inside glibc, waits wrong.
        monkeypatch.setenv("FAKETIME_DONT_RESET", "1")

    def step(self, offset):
        seconds = int(offset.total_seconds())
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.replace(self._file)


def left_by_faketime():
    """What libfaketime shares between a process and its children, by the number of the first."""
    names = (*SHARED.glob("faketime_shm_*"), *SHARED.glob("sem.faketime_sem_*"))
    return {path: path.name.rpartition("_")[2] for path in names}


@pytest.fixture
def wall(tmp_path, monkeypatch):
    before = left_by_faketime()
    yield Wall(tmp_path, monkeypatch)
    # A process that is killed leaves it for ever; the kiosks of the test have ended by now.
    for path, pid in left_by_faketime().items():
        if path not in before and not Path(f"/proc/{pid}").exists():
            path.unlink(missing_ok=True)


def out_for_the_clock(state):
    return state.state == "out_of_service" and "clock_implausible" in state.reasons


def rows_in(path):
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT seq, at, boot, boot_s, kind, body FROM row ORDER BY seq")
        rows = found.fetchall()
    db.close()
    return rows


def test_no_sale_before_the_clock_is_plausible(wall, kiosk_at, gateway):
    wall.step(timedelta(days=-365 * 50))
    kiosk = kiosk_at(gateway.url).start()
    state = kiosk.control.wait(out_for_the_clock)
    assert "the clock is not set" in state.details["clock_implausible"]
    assert "set-time" in state.details["clock_implausible"]
    kiosk.scanner.show(a_code())

    wall.step(timedelta(0))

    kiosk.ready()
    assert len(gateway.ledger.requests) == 0
    kiosk.pay(a_code())
    assert kiosk.as_json("journal", "list")[0]["outcome"] == "approved"


def test_clock_stepped_back_and_forth(wall, kiosk_at):
    """Stepped within a payment: it neither extends nor cuts a deadline, nor doubles."""
    steps = [timedelta(days=400), timedelta(days=-400), timedelta(hours=-2), timedelta(hours=3)]
    with SandboxGateway(latency_s=0.3) as gateway:
        kiosk = kiosk_at(gateway.url).start()
        told = []
        for step in steps:
            code = a_code()
            wall.step(timedelta(0))
            kiosk.ready()
            kiosk.show(code, "awaiting_confirm")
            kiosk.press_without_waiting()
            kiosk.control.wait("submitting")
            wall.step(step)
            assert kiosk.control.wait("concluded").outcome == "approved"
            told.append((code, ["approved"]))
        rows = rows_in(kiosk.journal_path)
        # By their wall time the rows are out of order; by boot and time since boot they are not.
        assert [row[1] for row in rows] != sorted(row[1] for row in rows)
        assert [row[3] for row in rows] == sorted(row[3] for row in rows)
        assert len({row[2] for row in rows}) == 1
        listed = kiosk.as_json("journal", "list")
        assert [entry["outcome"] for entry in listed] == ["approved"] * len(steps)
        assert len(gateway.ledger.requests) == len(gateway.ledger.charges) == len(steps)
        assert faults_of(kiosk.journal_path, gateway.ledger, told) == []
    figure(f"clock stepped within a payment: {len(steps)} times, each approved and charged once")


def test_a_customer_who_was_invited_hears_that_nothing_was_sent(wall, kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.ready()
    kiosk.show(a_code(), "awaiting_confirm")

    wall.step(timedelta(days=-365 * 40))

    assert kiosk.control.wait("concluded").outcome == "not_sent"
    kiosk.control.wait(out_for_the_clock)
    wall.step(timedelta(0))
    kiosk.pay(a_code())
    assert len(gateway.ledger.requests) == 1


def test_a_clock_stepped_out_of_sense_stops_the_next_invitation(wall, kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.ready()

    wall.step(timedelta(days=-365 * 40))

    kiosk.control.wait(out_for_the_clock)
    kiosk.scanner.show(a_code())
    wall.step(timedelta(0))
    kiosk.ready()
    assert len(gateway.ledger.requests) == 0


def test_doctor_names_the_clock(wall, kiosk_at, gateway):
    wall.step(timedelta(days=-365 * 30))
    kiosk = kiosk_at(gateway.url)

    ended = kiosk.run("doctor", "--json")

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    (clock,) = [line for line in lines if line["check"] == "clock"]
    assert not clock["ok"]
    assert "the clock is not set" in clock["detail"]
    assert ended.returncode == 1


def test_a_certificate_that_is_not_valid_yet_is_the_clocks_fault(wall, kiosk_at):
    with SandboxGateway(tls="valid") as gateway:
        wall.step(timedelta(days=-365 * 40))
        kiosk = kiosk_at(gateway.url, gateway={"ca_file": str(gateway.ca_file)}).start()

        state = kiosk.control.wait(
            lambda s: "not yet valid" in s.details.get("gateway_unreachable", "")
        )

        assert state.reasons[0] == "clock_implausible"
        assert "check the clock of this kiosk" in state.details["gateway_unreachable"]
        wall.step(timedelta(0))
        assert kiosk.pay(a_code()).outcome == "approved"
