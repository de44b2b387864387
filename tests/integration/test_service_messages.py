"""What systemd hears from a running kiosk."""

import socket
import time

import pytest
from kiosk_process import WAIT_S, ScannerPeer

WATCHDOG_US = 300_000


@pytest.fixture
def notified(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify.sock"))
        sock.settimeout(WAIT_S)
        yield sock


def hear(sock, until):
    heard = []
    while not heard or not until(heard[-1]):
        heard.append(sock.recv(4096).decode())
    return heard


def test_ready_after_hello_then_alive_then_stopping(kiosk_at, gateway, notified, tmp_path):
    kiosk = kiosk_at(gateway.url)
    kiosk.scanner.close()
    env = {
        "NOTIFY_SOCKET": str(tmp_path / "notify.sock"),
        "WATCHDOG_USEC": str(WATCHDOG_US),
    }
    kiosk.start(env=env)
    early = hear(notified, lambda line: line == "WATCHDOG=1")
    early += hear(notified, lambda line: line == "WATCHDOG=1")
    assert "READY=1" not in early

    kiosk.scanner = ScannerPeer(kiosk.folder / "scanner.sock")
    hear(notified, lambda line: line == "READY=1")
    hear(notified, lambda line: line == "STATUS=ready")
    for _ in range(3):
        hear(notified, lambda line: line == "WATCHDOG=1")
    assert kiosk.stop() == 0
    rest = hear(notified, lambda line: line == "STOPPING=1")
    assert rest[-1] == "STOPPING=1"


def test_another_process_watchdog_is_none_of_ours(kiosk_at, gateway, notified, tmp_path):
    kiosk = kiosk_at(gateway.url)
    env = {
        "NOTIFY_SOCKET": str(tmp_path / "notify.sock"),
        "WATCHDOG_USEC": str(WATCHDOG_US),
        "WATCHDOG_PID": "1",
    }
    kiosk.start(env=env)
    hear(notified, lambda line: line == "READY=1")
    kiosk.ready()
    time.sleep(3 * WATCHDOG_US / 1e6)
    assert kiosk.stop() == 0
    rest = hear(notified, lambda line: line == "STOPPING=1")
    assert rest.count("WATCHDOG=1") == 0
