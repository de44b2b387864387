"""The payment process's end of the scanner link, and the supervision of the scanner.

A scanner that crashes costs one restart, one that stops answering is killed; a payment never
notices. One thread owns the socket and the child.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.messages import FromScanner, Hello, LineReader, Want, encode
from kiosk.payment.mailbox import Post, ScannerSaid, ThreadDied

log = logging.getLogger(__name__)

HELLO_WITHIN_S = 30.0
"""A Pi Zero 2 W with a cold card takes seconds to load the decoders."""
SILENT_FOR_S = 5.0
"""The scanner sends a pulse every half second; one slow decode on a small Pi delays it."""
STOP_WITHIN_S = 1.0
FIRST_BACK_OFF_S = 0.5
MOST_BACK_OFF_S = 30.0
HEALTHY_AFTER_S = 60.0
RECEIVE_BYTES = 65_536
MOST_MESSAGES_A_S = 500
"""The fastest camera has 120 frames. A scanner that a hostile picture took over must not fill
the mailbox of the thread that decides."""

_decoder: msgspec.json.Decoder[FromScanner] = msgspec.json.Decoder(FromScanner)


class Source(Protocol):
    """Where a connected scanner comes from.

    Attributes:
        most_back_off_s: The longest pause before it is opened again.
    """

    most_back_off_s: float

    def open(self) -> socket.socket:
        """A connected stream socket.

        Raises:
            OSError: There is none now; ask again later.
        """

    def end(self) -> str:
        """Let go of what `open` made; one sentence on how it ended."""


class Child:
    """Starts the scanner as a child with one end of a socket pair."""

    most_back_off_s = MOST_BACK_OFF_S

    def __init__(self, command: Sequence[str]) -> None:
        """`command` takes the descriptor's number as one more argument."""
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> socket.socket:
        """See `Source`."""
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [*self._command, str(fd)], pass_fds=(fd,), stdin=subprocess.DEVNULL
                )
            except OSError:
                ours.close()
                raise
        log.info("scanner started", extra={"pid": self._process.pid})
        return ours

    def end(self) -> str:
        """See `Source`. Asks, then kills: a hung decoder does not listen."""
        process, self._process = self._process, None
        if process is None:
            return "it was not running"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
        if process.returncode is None:
            process.terminate()
            try:
                process.wait(timeout=STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        code = process.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Served:
    """Connects to a scanner that runs by itself and serves `scanner.socket`."""

    most_back_off_s = 2.0  # others restart it: knocking costs nothing, waiting costs sales

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> socket.socket:
        """See `Source`."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A hung scanner's queue of connections fills up; then connecting would wait forever.
        sock.settimeout(STOP_WITHIN_S)
        try:
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            raise OSError(f"no scanner at {self._path}: {error.strerror}") from error
        return sock

    def end(self) -> str:
        """See `Source`."""
        return "the connection ended"


class ScannerLink:
    """Threads: `start`, `want` and `stop` from the main thread; it posts to the mailbox."""

    def __init__(self, source: Source, post: Callable[[Post], None]) -> None:
        self._source = source
        self._post = post
        self._wanted = False
        self._stopping = False
        self._early: socket.socket | None = None
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="scanner-link", daemon=True)

    def open_early(self) -> None:
        """Start a child already; its imports take longest, and other things can load meanwhile."""
        with contextlib.suppress(OSError):
            self._early = self._source.open()

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def want(self, wanted: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Tell the scanner to read, or to rest; remembered across its restarts."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake()

    def stop(self) -> None:
        """End the link, and the child with it. Waits until it is gone."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * STOP_WITHIN_S + 1)
        elif self._early is not None:
            self._early.close()
            self._source.end()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"!")

    def _run(self) -> None:
        back_off_s = FIRST_BACK_OFF_S
        try:
            while not self._stopping:
                started_s = time.monotonic()
                detail = self._one_life()
                if self._stopping:
                    break
                if time.monotonic() - started_s > HEALTHY_AFTER_S:
                    back_off_s = FIRST_BACK_OFF_S
                log.warning("scanner gone", extra={"detail": detail, "again_in_s": back_off_s})
                self._post(events.TroubleBegan(Reason.SCANNER_DOWN, f"scanner: {detail}"))
                self._pause(back_off_s)
                back_off_s = min(back_off_s * 2, self._source.most_back_off_s)
        except BaseException as error:  # noqa: BLE001 - nothing dies quietly
            self._post(ThreadDied(self._thread.name, error))
        finally:
            self._source.end()

    def _pause(self, for_s: float) -> None:
        until_s = time.monotonic() + for_s
        while not self._stopping and (left_s := until_s - time.monotonic()) > 0:
            select.select([self._wake_r], [], [], left_s)
            self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_r, 4096)

    def _one_life(self) -> str:
        """From one connection to its end; returns why it ended."""
        try:
            sock, self._early = self._early or self._source.open(), None
        except OSError as error:
            return str(error)
        with sock:
            detail = self._listen(sock)
        return f"{detail} ({self._source.end()})"

    def _listen(self, sock: socket.socket) -> str:
        lines, told = LineReader(), False
        second_s, heard = time.monotonic(), 0
        sock.setblocking(False)
        silent_until_s = time.monotonic() + HELLO_WITHIN_S
        while True:
            left_s = silent_until_s - time.monotonic()
            if left_s <= 0:
                return "it does not answer"
            readable, _, _ = select.select([sock.fileno(), self._wake_r], [], [], left_s)
            if self._wake_r in readable:
                self._drain()
                if self._stopping:
                    return "stopping"
            wanted = self._wanted
            if wanted != told:
                try:
                    sock.send(encode(Want(wanted=wanted)))
                except OSError as error:
                    return f"it does not listen: {error.strerror}"
                told = wanted
            if sock.fileno() not in readable:
                continue
            try:
                data = sock.recv(RECEIVE_BYTES)
                if not data:
                    return "it ended"
                if time.monotonic() - second_s >= 1:
                    second_s, heard = time.monotonic(), 0
                for line in lines.feed(data):
                    heard += 1
                    if heard > MOST_MESSAGES_A_S:
                        return "it sends too much"
                    silent_until_s = time.monotonic() + SILENT_FOR_S
                    self._hear(_decoder.decode(line))
            except (OSError, ValueError, RecursionError) as error:
                return f"it sent what is no message: {type(error).__name__}"

    def _hear(self, message: FromScanner) -> None:
        if isinstance(message, Hello):
            self._post(events.TroubleEnded(Reason.SCANNER_DOWN))
        self._post(ScannerSaid(message))
