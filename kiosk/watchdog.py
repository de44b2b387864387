"""What systemd is told: ready, alive, stopping. Nothing where it does not listen.

The protocol is sd_notify(3): a datagram to the socket named by NOTIFY_SOCKET.
"""

import os
import socket


class Watchdog:
    """Kicked by the deciding thread only: a watchdog that another thread feeds guards nothing."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # children must not speak for us
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._unsent: dict[str, str] = {}
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A service manager that is busy must not make the thread that decides wait.
            self._socket.setblocking(False)
        limit_us = os.environ.get("WATCHDOG_USEC", "")
        pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
        is_ours = limit_us.isdigit() and pid == str(os.getpid())
        self.interval_s = int(limit_us) / 1e6 / 3 if is_ours else float("inf")
        self._kicked_at_s = float("-inf")

    def tell(self, message: str) -> None:
        """Send a line such as `READY=1`; what finds no room now goes out with a later kick."""
        if self._socket is None:
            return
        self._unsent[message.partition("=")[0]] = message
        for name, waiting in list(self._unsent.items()):
            try:
                self._socket.sendto(waiting.encode(), self._address)
            except BlockingIOError:
                return
            except OSError:
                pass  # nobody listens there
            del self._unsent[name]

    def kick(self, now_s: float) -> None:
        """The deciding thread is alive; sends no more often than needed."""
        if now_s - self._kicked_at_s >= self.interval_s:
            self._kicked_at_s = now_s
            self.tell("WATCHDOG=1")
