"""A running kiosk as a test has it: a process, its control socket, and whoever stands before it.

Nothing of the kiosk is replaced. What is played is what stands outside: the scanner's end of
`scanner.socket` (so that hundreds of payments need no frames) and the gateway (the sandbox).
"""

import base64
import contextlib
import itertools
import json
import os
import re
import secrets
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from kiosk.messages import (
    CameraState,
    Error,
    Hello,
    LineReader,
    Ok,
    Press,
    Pulse,
    Sighting,
    State,
    Symbol,
    encode,
)

WAIT_S = 60
"""Generous: tests wait for conditions, and only a broken kiosk uses it up."""
CANARY_TOKEN = "canary-token-7Qw4Zx9Lm2"
CANARY_PHONES = re.compile(r"99800\d{7}")
_PRESS_GUARD_S = 0.75
_codes = itertools.count(secrets.randbelow(10**8) * 10**8)
_given: set[str] = set()


def a_code():
    """A code that nobody has had before."""
    code = f"5050{next(_codes) % 10**16:016d}"
    keep_secret(code)
    return code


def keep_secret(text):
    """Neither it nor a line of it may stand where `leaks_in` looks, as it is or in base64."""
    for line in text.splitlines():
        # The frame of a key is the same for all, and a short last line may stand anywhere.
        if len(line) >= 16 and not line.startswith("-----"):
            _given.update((line, base64.b64encode(line.encode()).decode()))


def leaks_in(text):
    """What stands in it that no log, no process list and no message may hold."""
    found = [secret for secret in _given if secret in text]
    found += [CANARY_TOKEN] if CANARY_TOKEN in text else []
    found += CANARY_PHONES.findall(text)
    found += ["Traceback"] if "Traceback" in text else []
    return found


class ScannerPeer:
    """Serves `scanner.socket` as the scanner does, and reports what the test holds up."""

    def __init__(self, path, *, camera_ok=True):
        self.path = path
        self._camera = CameraState(ok=camera_ok, detail="" if camera_ok else "no camera there")
        self._view = ()
        self._held = False
        self._sequence = itertools.count()
        self._lock = threading.Lock()
        self._peer = None
        self._wanted = False
        self._mute = False
        self._stop_r, self._stop_w = os.pipe()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._run, name="scanner-peer")
        self._thread.start()

    @property
    def wanted(self):
        return self._wanted

    def show(self, *payloads, kind="qr"):
        """One frame with these symbols in it."""
        symbols = [
            Symbol(payload=p if isinstance(p, bytes) else p.encode(), kind=kind, stage="test")
            for p in payloads
        ]
        self.send(
            Sighting(sequence=next(self._sequence), captured_at_s=time.monotonic(), symbols=symbols)
        )

    def hold_up(self, *payloads):
        """Keep these in view, in frame after frame, until other ones are held up."""
        self._view = payloads

    def next_camera(self, *, ok, detail=""):
        """What the next connection is told."""
        self._camera = CameraState(ok=ok, detail=detail)

    def camera(self, *, ok, detail=""):
        self.next_camera(ok=ok, detail=detail)
        self.send(self._camera)

    def mute(self):
        """Say nothing any more, as a hung scanner; the next connection speaks again."""
        self._mute = True

    def send(self, message):
        self.send_bytes(encode(message))

    def send_bytes(self, data):
        with self._lock:
            if self._peer is not None and not self._mute:
                with contextlib.suppress(OSError):
                    self._peer.sendall(data)

    def hang_up(self):
        with self._lock:
            if self._peer is not None:
                self._peer.shutdown(socket.SHUT_RDWR)

    def close(self):
        os.write(self._stop_w, b"!")
        self._thread.join()
        self._listener.close()
        os.close(self._stop_r)
        os.close(self._stop_w)
        self.path.unlink(missing_ok=True)

    def _run(self):
        lines, pulse_at_s = LineReader(), 0.0
        while True:
            sources = [self._stop_r, self._listener] + ([self._peer] if self._peer else [])
            ready, _, _ = select.select(sources, [], [], 0.05 if self._view else 0.2)
            if self._stop_r in ready:
                self._leave()
                return
            if self._peer in ready:
                self._read(lines)
            if self._listener in ready:
                self._leave()
                peer, _ = self._listener.accept()
                lines, self._mute = LineReader(), False
                with self._lock:
                    self._peer = peer
                self.send(Hello(version="test", engines=["test"], camera="test"))
                self.send(self._camera)
            if self._view and self._wanted:
                self.show(*self._view)
            if time.monotonic() >= pulse_at_s:
                pulse_at_s = time.monotonic() + 0.4
                self.send(Pulse(frames=0, decoded=0))

    def _read(self, lines):
        try:
            data = self._peer.recv(65_536)
        except OSError:
            data = b""
        for line in lines.feed(data):
            self._wanted = json.loads(line)["wanted"]
        if not data:
            self._leave()

    def _leave(self):
        with self._lock:
            if self._peer is not None:
                self._peer.close()
                self._peer = None
        self._wanted = False


class ControlClient:
    """A client of the control socket that follows the state."""

    def __init__(self, path, alive=lambda: True):
        self.states = []
        self.raw = []
        self._answers = []
        self._changed = threading.Condition()
        self._at = 0
        self._ended = False
        until_s = time.monotonic() + WAIT_S
        while True:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._socket.close()
                assert alive(), "it ended before its control socket answered"
                assert time.monotonic() < until_s, "its control socket never answered"
                time.sleep(0.005)
        self._thread = threading.Thread(target=self._listen, name="control-client")
        self._thread.start()

    def _listen(self):
        decoder = msgspec.json.Decoder(State | Ok | Error)
        lines = LineReader()
        while True:
            try:
                data = self._socket.recv(65_536)
            except OSError:
                data = b""
            with self._changed:
                if not data:
                    self._ended = True
                    self._changed.notify_all()
                    return
                for line in lines.feed(data):
                    message = decoder.decode(line)
                    if isinstance(message, State):
                        self.states.append(message)
                        self.raw.append(line.decode())
                    else:
                        self._answers.append(message)
                self._changed.notify_all()

    @property
    def state(self):
        """The newest."""
        with self._changed:
            return self.states[-1]

    def wait(self, wanted, within_s=WAIT_S):
        """The next state that fits, counted from the one that was waited for last."""
        if isinstance(wanted, str):
            name = wanted

            def wanted(state):
                return state.state == name

        found = None

        def came():
            nonlocal found
            for place in range(self._at, len(self.states)):
                if wanted(self.states[place]):
                    self._at, found = place, self.states[place]
                    return True
            return self._ended

        with self._changed:
            self._changed.wait_for(came, within_s)
            if found is None:
                trail = [(s.state, s.cue, s.reasons) for s in self.states[self._at :]]
                raise AssertionError(f"it did not come (ended: {self._ended}); since: {trail}")
        return found

    def wait_for_end(self):
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, WAIT_S)

    def cues(self, since=0):
        """Cues in order, each change once."""
        with self._changed:
            return [cue for cue, _ in itertools.groupby(s.cue for s in self.states[since:])]

    def command(self, command):
        """Send it and wait for its answer."""
        with self._changed:
            count = len(self._answers)
        self.send(encode(command) if not isinstance(command, bytes) else command)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._answers) > count or self._ended, WAIT_S)
            assert len(self._answers) > count, "it ended without an answer"
            return self._answers[count]

    def send(self, data):
        self._socket.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


def configuration(folder, url, **sections):
    """Sections of a fast kiosk without hardware; given ones are merged key by key."""
    base = {
        "gateway": {"url": url, "headers": {"X-Api-Key": CANARY_TOKEN}, "connect_timeout_s": 2},
        "offer": {"amount_sum": 1000, "label": "Test"},
        "camera": {"backend": "replay", "path": str(folder / "stage")},
        "scan": {"rearm_s": 0.5},
        "panel": {"backend": "simulated"},
        "scanner": {"socket": str(folder / "scanner.sock")},
        "control": {"socket": str(folder / "control.sock")},
        "journal": {"path": str(folder / "journal.db")},
        "locale": {"language": "en"},
    }
    for name, section in sections.items():
        base[name] = {**base.get(name, {}), **section}
        base[name] = {key: value for key, value in base[name].items() if value is not None}
    return base


class Kiosk:
    """`kiosk run` in a folder of its own. `close` leaves nothing behind."""

    def __init__(self, folder, url, *, own_scanner=False, command=(), **sections):
        self.folder = folder
        self.own_scanner = own_scanner
        self.command = list(command)
        self.config = folder / "kiosk.yaml"
        self.journal_path = Path(configuration(folder, url, **sections)["journal"]["path"])
        self.url, self.sections = url, sections
        self.scanner = None if own_scanner else ScannerPeer(folder / "scanner.sock")
        self.process = None
        self.control = None
        self.stderr = ""
        self._reader = None
        self.write_config()

    def write_config(self, **sections):
        self.sections = {**self.sections, **sections}
        found = configuration(self.folder, self.url, **self.sections)
        self.config.write_text(json.dumps(found, indent=1), encoding="utf-8")
        if key := found["gateway"].get("client_key_file"):
            with contextlib.suppress(OSError):  # some starts are bad on purpose
                keep_secret(Path(key).read_text(encoding="utf-8"))

    # Life

    def start(self, *, env=(), follow=True, stdin=subprocess.DEVNULL):
        self.process = self._spawn(env, stdin)
        self._reader = threading.Thread(target=self._read_stderr, args=(self.process,))
        self._reader.start()
        if follow:
            self.follow()
        return self

    def arguments(self):
        scanner = [] if self.own_scanner else ["--no-scanner"]
        return ["run", "--config", str(self.config), *scanner]

    def _spawn(self, env, stdin):
        return subprocess.Popen(
            [*self.command, sys.executable, "-m", "kiosk", *self.arguments()],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **dict(env)},
        )

    def follow(self):
        if self.control is not None:
            self.control.close()
        process = self.process
        path = self.folder / "control.sock"
        try:
            self.control = ControlClient(path, lambda: process.poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.stderr}") from None
        return self.control

    def _read_stderr(self, process):
        for line in process.stderr:
            self.stderr += line.decode("utf-8", "replace")
        process.stderr.close()

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait_for_exit(self):
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def stop(self, number=signal.SIGTERM):
        """As systemd does; returns the exit code."""
        self.send_signal(number)
        return self.wait_for_exit()

    def kill(self):
        """Power off, as far as a process can feel it."""
        self.send_signal(signal.SIGKILL)
        code = self.process.wait(WAIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reader.join(WAIT_S)
        return code

    def close(self):
        """End everything; a secret or a traceback in what it said is an error of its own."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(WAIT_S)
            self._reader.join(WAIT_S)
        if self.control is not None:
            self.control.close()
        if self.scanner is not None:
            self.scanner.close()
        said = self.stderr + "".join(self.control.raw if self.control else ())
        assert leaks_in(said) == []
        for line in self.stderr.splitlines():
            assert line.startswith(("{", "kiosk: ")), line
            if line.startswith("{"):
                assert {"at", "level", "log", "message"} <= json.loads(line).keys()

    def logged(self, message, within_s=WAIT_S, **fields):
        """Wait for a line of the log."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            for line in self.stderr.splitlines():
                if line.startswith("{") and line.endswith("}"):
                    entry = json.loads(line)
                    if entry["message"] == message and fields.items() <= entry.items():
                        return entry
            time.sleep(0.02)
        raise AssertionError(f"never logged: {message}\n{self.stderr}")

    # What people do

    def press(self, after_s=_PRESS_GUARD_S):
        time.sleep(after_s)
        answer = self.control.command(Press())
        assert isinstance(answer, Ok), answer

    def press_without_waiting(self):
        """Where the press may be the last thing that it does."""
        time.sleep(_PRESS_GUARD_S)
        self.control.send(encode(Press()))

    def ready(self):
        return self.control.wait("ready")

    def show(self, payload, until):
        """Hold it before the camera, frame after frame, until a state comes."""
        self.scanner.hold_up(payload)
        try:
            return self.control.wait(until)
        finally:
            self.scanner.hold_up()

    def read(self, code):
        """A customer holds up a code, and the kiosk takes it."""
        self.ready()
        taken = ("awaiting_confirm", "connecting", "submitting")
        return self.show(code, lambda s: s.state in taken)

    def pay(self, code):
        """Read, pressed and concluded; returns the last state."""
        if self.read(code).state == "awaiting_confirm":
            self.press()
        return self.control.wait("concluded")

    # What the record says

    def rows(self, query="SELECT intent, kind, payment_id FROM row ORDER BY seq"):
        with contextlib.closing(
            sqlite3.connect(f"file:{self.journal_path}?mode=ro", uri=True)
        ) as db:
            return db.execute(query).fetchall()

    def kinds(self, intent=None):
        return [kind for i, kind, _ in self.rows() if intent in (None, i)]

    def run(self, *args, config=True, env=()):
        """Another `kiosk` command beside it."""
        done = subprocess.run(
            [sys.executable, "-m", "kiosk", *args]
            + (["--config", str(self.config)] if config else []),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=WAIT_S,
            check=False,
            env={**os.environ, **dict(env)},
        )
        if not dict(env).get("KIOSK_DEBUG"):
            assert "Traceback" not in done.stderr
        return done

    def as_json(self, *args):
        done = self.run(*args, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
