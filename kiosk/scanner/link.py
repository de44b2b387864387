"""The scanner's end of the link to the payment process.

Sightings are worth something now or never: where the peer does not read, they are dropped,
and nothing here waits for it.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from kiosk.errors import UsageError
from kiosk.messages import MAX_LINE_BYTES, CameraState, Hello, LineReader, Message, Want, encode

log = logging.getLogger(__name__)

SEND_BUFFER_BYTES = 16 * 1024
"""Small, so that a peer that wakes up does not find a minute of old sightings."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_KEPT = (Hello, CameraState)
_want_decoder = msgspec.json.Decoder(Want)


def die_with_parent() -> None:
    """Have the kernel kill this process as soon as the one that started it is gone.

    A parent that is killed cannot end its child, and a decoder that hangs does not notice that
    nobody is there any more: it would keep the camera from the next scanner.
    """
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        log.warning("the kernel does not end this process with its parent")


class Link(Protocol):
    """Where the loop's messages go and its wishes come from."""

    def sources(self) -> Sequence[int]:
        """Descriptors that are readable when `receive` has something to do."""

    def receive(self) -> list[Want]:
        """Take what has arrived. A peer that left is a wish to rest."""

    def send(self, message: Message) -> None:
        """Send without waiting; a message that finds no room is dropped or kept for later."""

    @property
    def joined(self) -> int:
        """How many peers have come so far; who comes new is told everything again."""

    @property
    def ended(self) -> bool:
        """Nobody will ever come again."""

    def close(self) -> None:
        """Hang up."""


class Peer:
    """A connected stream socket that speaks `messages`, one JSON object a line."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the socket over."""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._socket = connection
        self._lines = LineReader()
        self._unsent = bytearray()
        self.gone = False

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def receive(self) -> list[Want]:
        """Take what has arrived; sets `gone` when the peer left or speaks in endless lines."""
        try:
            data = self._socket.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.gone = True
            return []
        wants = []
        try:
            for line in self._lines.feed(data):
                try:
                    wants.append(_want_decoder.decode(line))
                except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
                    log.warning("message not understood", extra={"why": str(error)})
        except ValueError as error:
            log.warning("peer dropped", extra={"why": str(error)})
            self.gone = True
        return wants

    def send(self, message: Message) -> None:
        """Send a message, or drop it while an earlier one is still on its way out."""
        self._flush()
        line = encode(message)
        if len(line) > MAX_LINE_BYTES:
            log.error("message too long, dropped", extra={"bytes": len(line)})
        elif not self._unsent or (
            isinstance(message, _KEPT) and len(self._unsent) + len(line) <= 2 * MAX_LINE_BYTES
        ):
            self._unsent += line
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # `receive` notices that the peer is gone

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class ParentLink:
    """The socket pair that `kiosk run` gave to its child. Its end is the scanner's end."""

    def __init__(self, connection: socket.socket) -> None:
        """Take the socket over."""
        self._peer = Peer(connection)
        self.joined = 1

    def sources(self) -> Sequence[int]:
        """The one socket."""
        return [self._peer.fileno()]

    def receive(self) -> list[Want]:
        """Take what has arrived; a parent that left is a wish to rest."""
        wants = self._peer.receive()
        return [*wants, Want(wanted=False)] if self._peer.gone else wants

    def send(self, message: Message) -> None:
        """Send without waiting."""
        self._peer.send(message)

    @property
    def ended(self) -> bool:
        """The parent hung up."""
        return self._peer.gone

    def close(self) -> None:
        """Hang up."""
        self._peer.close()


class ServingLink:
    """A Unix socket, mode 0660, that serves one payment process at a time."""

    ended = False

    def __init__(self, path: Path) -> None:
        """Start to listen.

        Raises:
            UsageError: Another scanner serves this socket, or it cannot be made there.
        """
        self._path = path
        self._peer: Peer | None = None
        self.joined = 0
        self._listener = _listen(path)
        self._inode = path.stat().st_ino

    def sources(self) -> Sequence[int]:
        """The listening socket, and that of the peer."""
        listener = self._listener.fileno()
        return [listener] if self._peer is None else [listener, self._peer.fileno()]

    def receive(self) -> list[Want]:
        """Let a peer in, and take what the one inside says."""
        wants = []
        if self._peer is not None:
            wants = self._peer.receive()
            if self._peer.gone:
                log.info("payment process left")
                self._peer.close()
                self._peer = None
                wants = [Want(wanted=False)]
        with contextlib.suppress(OSError):
            newcomer, _ = self._listener.accept()
            if self._peer is None:
                log.info("payment process came")
                self._peer = Peer(newcomer)
                self.joined += 1
            else:
                log.warning("second peer refused")
                newcomer.close()
        return wants

    def send(self, message: Message) -> None:
        """Send without waiting, if anybody is there."""
        if self._peer is not None:
            self._peer.send(message)

    def close(self) -> None:
        """Hang up and take the socket's name away, if it still is ours."""
        if self._peer is not None:
            self._peer.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


def _listen(path: Path) -> socket.socket:
    """Bind under another name, set the mode, then rename: nobody sees it half made."""
    if _is_served(path):
        raise UsageError(f"Another scanner serves {path}. Stop it, or set scanner.socket.")
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(os.fspath(fresh))
        fresh.chmod(0o660)
        listener.listen(4)
        listener.setblocking(False)
        fresh.rename(path)
    except OSError as error:
        listener.close()
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise UsageError(
            f"scanner.socket {path} cannot be made: {error}. Its folder must exist and be writable."
        ) from error
    return listener


def _is_served(path: Path) -> bool:
    """Tell a socket that somebody serves from one that a dead scanner left behind."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise UsageError(f"scanner.socket {path} is there and is no socket. Set another path.")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"scanner.socket {path}: {error.strerror}.") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return path.exists()
    return True
