"""A second server, where no careful client ever comes: the other end of a redirect."""

import contextlib
import socket
import threading
from collections.abc import Callable

from kiosk.sandbox.listener import Listener

_JOIN_S = 5.0


class Elsewhere:
    """Counts whoever connects, and hangs up. Opens its port when it is first asked for.

    Threads: any.
    """

    def __init__(self, saw_somebody: Callable[[], None]) -> None:
        """`saw_somebody` is called for each connection."""
        self._saw_somebody = saw_somebody
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None

    def url(self) -> str:
        """Its base URL, plain HTTP on loopback.

        Raises:
            OSError: There is no free port.
        """
        with self._lock:
            if self._listener is None:
                self._listener = Listener(0)
                self._thread = threading.Thread(
                    target=self._listener.accept_all, args=(self._meet,), name="sandbox-elsewhere"
                )
                self._thread.start()
            return f"http://127.0.0.1:{self._listener.port}"

    def close(self) -> None:
        """Give the port back; a second call does nothing."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None and self._thread is not None:
            listener.close()
            self._thread.join(_JOIN_S)
            listener.release()

    def _meet(self, sock: socket.socket) -> None:
        self._saw_somebody()
        with contextlib.suppress(OSError):
            sock.close()
