"""In the guest, as root: does what the test on the host asks over a virtio port.

Debian's Python, standard library only, so that it takes little of the memory that a test
measures. A request is one line of JSON with `do`; the answer carries its number.
"""

import contextlib
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

PORT = "/dev/virtio-ports/trial"
TRACING = Path("/sys/kernel/tracing")
CONTROL = "/run/kiosk/control.sock"
VENV = "/opt/kiosk/.venv/bin/python"
_VALUE = re.compile(rb" (\d+\.\d+): gpio_value: (\d+) set ([01])")


# struct v4l2_dv_timings of <linux/videodev2.h>: 640x480 at 59.94 Hz, as in tests/vm/vivid.py.
_TIMINGS = struct.pack("=5IQ6I", 0, 640, 480, 0, 0, 25_175_000, 16, 96, 48, 10, 2, 33)
_S_DV_TIMINGS = 0xC0845657


class Lines:
    """The header's lines as the kernel sees them driven: its own trace, with its own stamps."""

    def __init__(self):
        self._edges, self._levels = [], {}
        self._lock = threading.Lock()
        self._first = None

    def watch(self):
        """Begin to note each change of a line; a second call does nothing."""
        if self._first is not None:
            return
        [chip] = (header().parent / "gpio").glob("gpiochip*")
        self._first = int(chip.name.removeprefix("gpiochip"))
        if not (TRACING / "events").exists():
            subprocess.run(["mount", "-t", "tracefs", "none", str(TRACING)], check=True)
        (TRACING / "trace_clock").write_text("mono")
        (TRACING / "events/gpio/gpio_value/enable").write_text("1")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with (TRACING / "trace_pipe").open("rb", buffering=0) as pipe:
            rest = b""
            while True:
                *lines, rest = (rest + pipe.read(1 << 16)).split(b"\n")
                for line in lines:
                    if found := _VALUE.search(line):
                        self._note(float(found[1]), int(found[2]) - self._first, int(found[3]))

    def _note(self, at_s, line, level):
        with self._lock:
            # Software PWM says again what holds already.
            if self._levels.get(line) != level:
                self._levels[line] = level
                self._edges.append((at_s, line, level))

    def edges(self, since):
        """(seconds on the monotonic clock, line, level) from the `since`-th on."""
        with self._lock:
            return self._edges[since:]


class History:
    """Every state that the kiosk told on its control socket, with the moment it was heard."""

    def __init__(self):
        self.told = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as sock:
                sock.connect(CONTROL)
                for line in sock.makefile():
                    self.told.append((time.monotonic(), json.loads(line)))
            time.sleep(0.1)


def header():
    """The folder in which the header's lines can be pushed and pulled."""
    for path in Path("/sys/devices/platform").glob("*/gpiochip*/sim_gpio0"):
        return path.parent
    raise FileNotFoundError("no gpio-sim")


def set_camera_up():
    """Give vivid's input and output the size of the frames.

    Before the kiosk opens the camera: afterwards the driver says that it is busy.
    """
    for name in Path("/sys/class/video4linux").glob("video*/name"):
        with Path(f"/dev/{name.parent.name}").open("rb+", buffering=0) as device:
            fcntl.ioctl(device, _S_DV_TIMINGS, bytearray(_TIMINGS.ljust(132, b"\0")))


def tell_systemd(words):
    """What sd_notify does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(os.environ["NOTIFY_SOCKET"])
        sock.sendall(words)


class Agent:
    def __init__(self):
        self.lines = Lines()
        self._history = History()
        self.screen = None

    def hello(self):
        return "here"

    def sh(self, script):
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")[-200_000:]

    def state(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            try:
                sock.connect(CONTROL)
                return json.loads(sock.makefile().readline())
            except (OSError, ValueError):
                return None

    def history(self):
        return list(self._history.told)

    def watch(self):
        self.lines.watch()

    def edges(self, since=0):
        return self.lines.edges(since)

    def level(self, line):
        return int((header() / f"sim_gpio{line}/value").read_text())

    def press(self, line, for_s):
        """A button between the line and ground."""
        pull = header() / f"sim_gpio{line}/pull"
        pull.write_text("pull-down")
        time.sleep(for_s)
        pull.write_text("pull-up")

    def show(self, name):
        """Hold a recorded frame before the camera; it stays."""
        if self.screen is None:
            self.screen = subprocess.Popen(
                [VENV, "/run/trial/screen.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={
                    **os.environ,
                    "PYTHONPATH": "/opt/kiosk:/run/trial",
                    "OPENCV_LOG_LEVEL": "OFF",
                },
            )
        self.screen.stdin.write(f"/run/trial/{name}.png\n")
        self.screen.stdin.flush()
        told = self.screen.stdout.readline().strip()
        if told != "shown":
            raise RuntimeError(f"the screen says {told} {self.screen.stdout.read()}")

    def put(self, path, text, mode=0o644):
        Path(path).write_text(text)
        Path(path).chmod(mode)


def main():
    with contextlib.suppress(OSError):  # a machine without a camera is a test too
        set_camera_up()
    tell_systemd(b"READY=1")
    agent = Agent()
    port = os.open(PORT, os.O_RDWR)
    rest = b""
    while True:
        try:
            data = os.read(port, 1 << 16)
        except OSError:
            data = b""
        if not data:  # nobody on the host has opened its end yet
            time.sleep(0.2)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(OSError):
                reply(agent, port, line)


def reply(agent, port, line):
    number = -1
    try:
        request = json.loads(line)
        number = request.pop("number")
        answer = {"answer": getattr(agent, request.pop("do"))(**request)}
    except Exception as error:  # noqa: BLE001 - the host reads it
        answer = {"error": f"{type(error).__name__}: {error}"}
    data = json.dumps({"number": number, **answer}).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


if __name__ == "__main__":
    main()
