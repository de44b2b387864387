"""The sandbox's door: accepts connections, and can be closed and opened on the same port."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable


class Listener:
    """A TCP listener, on loopback unless another address is named.

    Threads: `accept_all` on one thread, everything else from any.

    Attributes:
        port: Fixed from the start, also where 0 was asked for.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Open the port; 0 takes a free one.

        Raises:
            OSError: The port is taken.
        """
        self._host = host
        self._sock = _bind(host, port)
        self._lock = threading.Lock()
        self._wake, self._waker = socket.socketpair()
        self._reopen_at_s: float | None = None
        self._listening = True
        self._stopped = False
        self.port: int = self._sock.getsockname()[1]
        self._sock.listen(128)

    def accept_all(self, take: Callable[[socket.socket], None]) -> None:
        """Hand each connection to `take` until `close`."""
        while True:
            with self._lock:
                if self._stopped:
                    return
                watched = [self._wake, self._sock] if self._listening else [self._wake]
                wait_s = self._reopen_in_s()
            with contextlib.suppress(OSError, ValueError):
                select.select(watched, [], [], wait_s)
            with self._lock:
                self._drain_wakes()
                if self._reopen_at_s is not None and time.monotonic() >= self._reopen_at_s:
                    self._open()
                accepted = self._accept() if self._listening and not self._stopped else None
            if accepted is not None:
                take(accepted)

    def shut(self, for_s: float | None = None) -> None:
        """Refuse connections until `open`, or for so long."""
        with self._lock:
            if self._listening and not self._stopped:
                self._listening = False
                # A `select` under way keeps a closed socket listening until it wakes.
                self._sock.shutdown(socket.SHUT_RDWR)
                self._sock.close()
                # Bound but not listening: the kernel refuses, and nobody else takes the port.
                self._sock = _bind(self._host, self.port)
            self._reopen_at_s = None if for_s is None else time.monotonic() + for_s
        self._nudge()

    def open(self) -> None:
        """Accept connections again; back at once."""
        with self._lock:
            self._open()
        self._nudge()

    def close(self) -> None:
        """End `accept_all` and give the port back."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._sock.close()
        self._nudge()

    def release(self) -> None:
        """Free the rest, once `accept_all` has returned."""
        self._wake.close()
        self._waker.close()

    def _open(self) -> None:
        self._reopen_at_s = None
        if not self._listening and not self._stopped:
            self._sock.listen(128)
            self._listening = True

    def _accept(self) -> socket.socket | None:
        try:
            accepted = self._sock.accept()[0]
            # Else the first answer after a TLS handshake waits 40 ms for the client's ACK.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            return None
        return accepted

    def _reopen_in_s(self) -> float | None:
        if self._reopen_at_s is None:
            return None
        return max(0.0, self._reopen_at_s - time.monotonic())

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(1024, socket.MSG_DONTWAIT)


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
