"""What systemd hears while the thread that decides hangs, and all others live.

The sockets are systemd's own kind (sd_notify); strace holds the fsync of a payment's row.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from kiosk_process import WAIT_S, ControlClient, Kiosk, a_code
from tools import figure, need

from kiosk.messages import Pulse
from tests.integration.test_planted_decoder import PLANT, trigger
from tests.integration.test_scanner_and_payment import NOBODY, Stage
from tests.integration.test_scanner_process import Scanner, _connect

KICK_EVERY_S = 0.1
HANG_S = 3
MOST_STRAY = 12
"""Kicks before the hang began and after it ended; the hang itself has room for thirty."""
HUNG = "(lambda: (open({marker!r}, 'w').close(), time.sleep(1000)))()"
FED_BY_A_HELPER = """
import os, socket, threading, time
where = os.environ.get("NOTIFY_SOCKET")
def feed():
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    while True:
        time.sleep(0.1)
        try:
            sock.sendto(b"WATCHDOG=1", where)
        except OSError:
            pass
if where:
    threading.Thread(target=feed, daemon=True).start()
"""

__all__ = ["trigger"]


class Notified:
    """systemd's end: hears everything at once, since the kernel keeps ten messages only."""

    def __init__(self, path):
        self.env = {
            "NOTIFY_SOCKET": str(path),
            "WATCHDOG_USEC": str(int(3e6 * KICK_EVERY_S)),
        }
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._heard = []
        self._at = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, name="notified")
        self._thread.start()

    def _listen(self):
        while (message := self._socket.recv(4096)) != b"end of the test":
            with self._changed:
                self._heard.append(message.decode())
                self._changed.notify_all()

    def wait(self, message, times=1):
        """Until it came so often since the start."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._heard.count(message) >= times, WAIT_S)

    def kicks(self):
        """Those that came since the last look."""
        with self._changed:
            fresh, self._at = self._heard[self._at :], len(self._heard)
        return fresh.count("WATCHDOG=1")

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"end of the test", self.env["NOTIFY_SOCKET"])
        self._thread.join()
        self._socket.close()


@pytest.fixture
def notified(tmp_path):
    told = Notified(tmp_path / "notify.sock")
    yield told
    told.close()


def kicks_while_the_disk_hangs(kiosk, notified, gateway):
    """From the press on, whose row the disk takes three seconds for."""
    kiosk.ready()
    kiosk.read(a_code())
    hold = subprocess.Popen(
        [
            *("strace", "-f", "-p", str(kiosk.process.pid), "-o", os.devnull),
            *("-e", "trace=fdatasync,fsync"),
            *("-e", f"inject=fdatasync,fsync:delay_enter={HANG_S}s:when=1"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "attached" in hold.stderr.readline()
        kiosk.press_without_waiting()
        notified.kicks()
        # The thread of the control socket answers whoever comes meanwhile.
        visitor = ControlClient(kiosk.folder / "control.sock")
        visitor.wait(lambda _: True)
        visitor.close()
        assert len(gateway.ledger.requests) == 0
        kiosk.control.wait(lambda state: state.state in ("submitting", "concluded"))
        kicks = notified.kicks()
    finally:
        hold.send_signal(signal.SIGINT)
        hold.stderr.read()
        hold.stderr.close()
        hold.wait(WAIT_S)
    kiosk.control.wait(lambda state: state.outcome == "approved")
    assert len(gateway.ledger.requests) == 1
    return kicks


def test_a_hung_disk_is_not_covered_up_by_threads_that_live(kiosk_at, gateway, notified):
    need("strace", "strace is not here: sudo apt install strace")
    kiosk = kiosk_at(gateway.url).start(env=notified.env)

    kicks = kicks_while_the_disk_hangs(kiosk, notified, gateway)

    assert kicks <= MOST_STRAY
    figure(f"watchdog: {kicks} kicks while the row's fsync hung for {HANG_S} s")


def test_control_a_watchdog_fed_by_a_helper_thread_is_noticed(kiosk_at, gateway, notified, plant):
    need("strace", "strace is not here: sudo apt install strace")
    kiosk = kiosk_at(gateway.url).start(env={**notified.env, **plant(FED_BY_A_HELPER)})

    kicks = kicks_while_the_disk_hangs(kiosk, notified, gateway)

    assert kicks > MOST_STRAY
    figure(f"watchdog, control fed by a helper thread: {kicks} kicks in those {HANG_S} s")


class ServedScanner:
    """`kiosk scanner` as its unit starts it, with a stage before its camera."""

    def __init__(self, folder, env):
        self.stage = Stage(folder / "stage")
        kiosk = Kiosk(folder, "http://127.0.0.1:9", own_scanner=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kiosk", "scanner", "--config", str(kiosk.config)],
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
        )
        self.path = folder / "scanner.sock"

    def close(self):
        self.process.kill()
        self.process.wait(WAIT_S)
        self.process.stderr.close()


@pytest.fixture
def served(tmp_path):
    started = []

    def start(env):
        started.append(ServedScanner(tmp_path, env))
        return started[-1]

    yield start
    for scanner in started:
        scanner.close()


@pytest.fixture
def kicks_while_the_decoder_hangs(served, notified, plant, trigger, tmp_path):
    """Over ten times the interval, once a frame has hung the decoder."""

    def count(*, besides=""):
        marker = tmp_path / "hung"
        act = HUNG.format(marker=str(marker))
        env = plant(PLANT.format(act=act, module="reader", name="read") + besides)
        scanner = served({**notified.env, **env})
        notified.wait("READY=1")
        notified.wait("WATCHDOG=1", times=3)
        client = Scanner(scanner.process, _connect(scanner.path, scanner.process))
        client.want(wanted=True)
        client.until(lambda message: isinstance(message, Pulse) and message.decoded)
        scanner.stage.hold_up(trigger)
        until_s = time.monotonic() + WAIT_S
        while not marker.exists():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        notified.kicks()
        time.sleep(10 * KICK_EVERY_S)
        kicks = notified.kicks()
        client.end()
        return kicks

    return count


def test_a_hung_decoder_is_not_kicked_for(kicks_while_the_decoder_hangs):
    assert kicks_while_the_decoder_hangs() <= 1  # one may have been on its way


def test_control_a_scanner_fed_by_a_helper_thread_is_noticed(kicks_while_the_decoder_hangs):
    assert kicks_while_the_decoder_hangs(besides=FED_BY_A_HELPER) > 1


def test_a_scanner_that_ends_says_so(served, notified):
    scanner = served(notified.env)
    notified.wait("READY=1")
    scanner.process.terminate()

    notified.wait("STOPPING=1")
    assert scanner.process.wait(WAIT_S) == 0


def test_a_child_does_not_speak_for_its_parent(kiosk_at, gateway, notified):
    kiosk = kiosk_at(gateway.url, own_scanner=True)
    stage = Stage(kiosk.folder / "stage")
    kiosk.start(env=notified.env).ready()
    stage.hold_up(NOBODY)

    kiosk.kill()
    notified.kicks()
    time.sleep(5 * KICK_EVERY_S)
    assert notified.kicks() == 0
