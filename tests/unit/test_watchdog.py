"""sd_notify(3), as far as the kiosk speaks it."""

import os
import socket

import pytest

from kiosk.watchdog import Watchdog


@pytest.fixture
def heard(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def all_of(sock):
    found = []
    try:
        while True:
            found.append(sock.recv(1000).decode())
    except BlockingIOError:
        return found


def test_kicks_no_more_often_than_needed(heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    watchdog = Watchdog()
    assert watchdog.interval_s == 1.0
    assert "NOTIFY_SOCKET" not in os.environ  # children do not speak for us
    for now_s in (0.0, 0.2, 0.9, 1.0, 1.5, 2.0):
        watchdog.kick(now_s)
    watchdog.tell("READY=1")
    assert all_of(heard) == ["WATCHDOG=1"] * 3 + ["READY=1"]
    watchdog._socket.close()


@pytest.mark.parametrize("limit", ["", "soon", "-5"])
def test_without_a_limit_nobody_waits_for_kicks(limit, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    watchdog = Watchdog()
    assert watchdog.interval_s == float("inf")
    watchdog._socket.close()


def test_an_abstract_socket(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"kiosk-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        watchdog = Watchdog()
        watchdog.tell("READY=1")
        assert sock.recv(100) == b"READY=1"
        watchdog._socket.close()


def test_without_systemd_and_with_one_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Watchdog().tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    watchdog = Watchdog()
    watchdog.tell("READY=1")
    watchdog._socket.close()


def test_a_service_manager_that_does_not_listen_keeps_nobody_waiting(heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    watchdog = Watchdog()
    kicks = 0
    while not watchdog._unsent:  # until its queue is full
        watchdog.kick(float(kicks := kicks + 1))
        assert kicks < 100_000
    watchdog.tell("READY=1")
    watchdog.tell("STATUS=ready")
    watchdog.tell("STATUS=out_of_service")

    first = all_of(heard)
    watchdog.kick(float(kicks + 1))

    assert set(first) == {"WATCHDOG=1"}
    assert sorted(all_of(heard)) == ["READY=1", "STATUS=out_of_service", "WATCHDOG=1"]
    watchdog._socket.close()
