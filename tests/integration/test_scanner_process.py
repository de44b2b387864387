"""The real scanner process, over a real socket, with frames held up in a folder."""

import json
import os
import signal
import socket
import subprocess
import sys

import cv2
import msgspec
import numpy as np
import pytest
import segno

from kiosk.messages import CameraState, FromScanner, Hello, Pulse, Sighting, Want, encode

CODE, OTHER = "50501234567890123456", "50509876543210987654"
WAIT_S = 30

PROGRAM = """
import json, logging, sys
import msgspec
from kiosk.settings import Settings
from kiosk.wiring import build_scanner
logging.basicConfig()
settings = msgspec.convert(json.loads(sys.argv[1]), Settings)
sys.exit(build_scanner(settings, int(sys.argv[2]) if len(sys.argv) > 2 else None))
"""


def a_frame(*payloads):
    luma = np.full((480, 640), 210, np.uint8)
    left = 20
    for payload in payloads:
        symbol = segno.make(payload, micro=False)
        rows = [[0 if dark else 255 for dark in row] for row in symbol.matrix_iter(6, 4)]
        luma[30 : 30 + len(rows), left : left + len(rows[0])] = rows
        left += len(rows[0]) + 20
    return luma


class Booth:
    """A folder in front of the camera."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.hold_up()

    def hold_up(self, *payloads):
        """Exchange what is seen, in one step."""
        fresh = self.folder / ".next.png"
        assert cv2.imwrite(str(fresh), a_frame(*payloads))
        fresh.rename(self.folder / "now.png")


class Scanner:
    """A running scanner process and our end of its socket."""

    def __init__(self, process, connection):
        self.process = process
        self.connection = connection
        connection.settimeout(WAIT_S)
        self.lines = connection.makefile("rb")

    def want(self, *, wanted):
        self.connection.sendall(encode(Want(wanted=wanted)))

    def next(self):
        return msgspec.json.decode(self.lines.readline(), type=FromScanner)

    def until(self, condition):
        """The first message that fits, of at most some hundreds."""
        for _ in range(1000):
            if condition(message := self.next()):
                return message
        raise AssertionError("it never came")

    def sees(self, *payloads):
        expected = sorted(payload.encode() for payload in payloads)
        return self.until(
            lambda message: (
                isinstance(message, Sighting)
                and sorted(symbol.payload for symbol in message.symbols) == expected
            )
        )

    def end(self):
        self.lines.close()
        self.connection.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)


def configuration(booth, **scanner):
    return {
        "gateway": {"url": "http://127.0.0.1:1"},
        "offer": {"amount_sum": 1000},
        "camera": {"backend": "replay", "path": str(booth.folder), "fps": 60, "stall_s": 0.5},
        "scan": {"engines": ["zxing", "opencv"]},
        "scanner": scanner,
    }


@pytest.fixture
def booth(tmp_path):
    return Booth(tmp_path / "frames")


@pytest.fixture
def start(booth):
    started = []

    def child(**changes):
        ours, theirs = socket.socketpair()
        settings = configuration(booth)
        settings["camera"].update(changes)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(settings), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        started.append(Scanner(process, ours))
        return started[-1]

    yield child
    for scanner in started:
        scanner.end()


def test_hello_then_codes_as_they_are_held_up(start, booth):
    scanner = start()
    hello = scanner.next()
    assert isinstance(hello, Hello)
    assert hello.engines == ["zxing", "opencv"]
    assert hello.camera == f"replay {booth.folder}"
    scanner.want(wanted=True)
    assert scanner.until(lambda message: isinstance(message, CameraState)).ok

    booth.hold_up(CODE)
    sighting = scanner.sees(CODE)
    assert sighting.symbols[0].kind == "qr"
    booth.hold_up(CODE, OTHER)
    scanner.sees(CODE, OTHER)
    booth.hold_up(OTHER)
    scanner.sees(OTHER)


def test_while_nothing_is_wanted_it_rests_but_lives(start, booth):
    booth.hold_up(CODE)
    scanner = start()
    pulses = [scanner.until(lambda message: isinstance(message, Pulse)) for _ in range(3)]
    assert [pulse.decoded for pulse in pulses] == [0, 0, 0]
    assert pulses[-1].frames > 0

    scanner.want(wanted=True)
    scanner.sees(CODE)
    scanner.want(wanted=False)
    counts = [scanner.until(lambda message: isinstance(message, Pulse)).decoded for _ in range(4)]
    assert counts[-1] == counts[-2]


def test_a_camera_taken_away_is_told_and_comes_back_by_itself(start, booth):
    booth.hold_up(CODE)
    scanner = start()
    scanner.want(wanted=True)
    scanner.sees(CODE)

    away = booth.folder.with_name("away")
    booth.folder.rename(away)
    state = scanner.until(lambda message: isinstance(message, CameraState) and not message.ok)
    assert str(booth.folder) in state.detail

    away.rename(booth.folder)
    assert scanner.until(lambda message: isinstance(message, CameraState) and message.ok)
    scanner.sees(CODE)


def test_a_missing_camera_keeps_hello_and_pulses_coming(start, tmp_path):
    scanner = start(path=str(tmp_path / "none"))
    assert isinstance(scanner.next(), Hello)
    state = scanner.until(lambda message: isinstance(message, CameraState))
    assert not state.ok
    assert "none" in state.detail
    assert scanner.until(lambda message: isinstance(message, Pulse))


@pytest.mark.parametrize("backend", ["csi", "v4l2"])
def test_a_backend_without_camera_is_a_reason_not_an_end(start, backend, tmp_path):
    scanner = start(backend=backend, device=str(tmp_path / "video0"))
    state = scanner.until(lambda message: isinstance(message, CameraState))
    assert not state.ok
    assert state.detail
    assert scanner.until(lambda message: isinstance(message, Pulse))


def test_a_camera_without_frames_is_told(start, booth):
    scanner = start()
    assert scanner.until(lambda message: isinstance(message, CameraState)).ok
    (booth.folder / "now.png").unlink()
    state = scanner.until(lambda message: isinstance(message, CameraState) and not message.ok)
    assert "No frame" in state.detail


def test_hostile_files_are_skipped_and_codes_still_read(start, booth):
    save = booth.folder.joinpath
    save("a.png").write_bytes(b"garbage")
    np.save(save("b.npy"), np.zeros((0, 0), np.uint8))
    np.save(save("c.npy"), np.zeros((480, 640)))
    np.save(save("d.npy"), np.zeros((3, 3), np.uint8))
    np.save(save("e.npy"), np.zeros((1, 640), np.uint8))
    cv2.imwrite(str(save("f.png")), np.zeros((480, 640, 3), np.uint8))
    cv2.imwrite(str(save("g.png")), np.zeros((480, 640), np.uint16))
    np.save(save("h.npy"), np.full((5000, 5000), 200, np.uint8))
    save("i.jpg").write_bytes(save("f.png").read_bytes()[:100])
    save("j.mp4").write_bytes(b"garbage")
    scanner = start()
    scanner.want(wanted=True)
    booth.hold_up(CODE)
    scanner.sees(CODE)
    scanner.sees(CODE)
    assert scanner.process.poll() is None


def test_a_parent_that_hangs_up_ends_the_child(start):
    scanner = start()
    assert isinstance(scanner.next(), Hello)
    scanner.lines.close()
    scanner.connection.close()
    assert scanner.process.wait(WAIT_S) == 0


def test_terminate_ends_it_in_order_and_ctrl_c_is_the_parents_business(start):
    scanner = start()
    assert isinstance(scanner.next(), Hello)
    scanner.process.send_signal(signal.SIGINT)
    assert scanner.until(lambda message: isinstance(message, Pulse))
    scanner.process.terminate()
    assert scanner.process.wait(WAIT_S) == 0


def test_alone_it_serves_a_socket_to_one_client_after_another(booth, tmp_path):
    path = tmp_path / "scanner.sock"
    settings = configuration(booth, socket=str(path))
    booth.hold_up(CODE)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)], stderr=subprocess.PIPE
    ) as process:
        try:
            for _ in range(2):
                client = Scanner(process, _connect(path, process))
                assert isinstance(client.next(), Hello)
                client.want(wanted=True)
                client.sees(CODE)
                client.lines.close()
                client.connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
    assert not path.exists()


def _connect(path, process):
    """Connect as soon as the socket is there."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            assert process.poll() is None, process.stderr.read()
        else:
            return connection
