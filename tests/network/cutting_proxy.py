"""A proxy that passes every byte on, and cuts both sides after a chosen one.

It knows no HTTP and no TLS: what is cut is what stands on the wire, handshake and ciphertext
included. It counts what came from the client even where it passed nothing on, so that whether a
request began to leave is known without asking the client.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Cut:
    """Where and how each connection is cut.

    Attributes:
        side: Whose bytes are counted: `client` or `server`.
        after: So many are passed on.
        by: `fin` or `rst`.
        from_payment: Count the server's bytes from the first byte of the payment request on.
        at_once: Cut as soon as they are passed on, instead of in place of the next byte.
    """

    side: str
    after: int
    by: str
    from_payment: bool = False
    at_once: bool = False

    def __str__(self):
        part = " of the payment's answer" if self.from_payment else ""
        moment = "at once" if self.at_once else "then"
        return f"{self.after} bytes of the {self.side}{part}, {moment} {self.by}"


@dataclass
class Passage:
    """One connection through the proxy.

    Attributes:
        number: From 1, since the proxy was armed.
        sent: What the client sent, passed on or not.
        passed: Bytes that were passed on, by side; `withheld` those that came with them and
            were not.
        answered: Bytes of the server that were passed on after the payment request had begun.
        is_cut: Whether it came to that.
    """

    number: int
    sent: bytearray = field(default_factory=bytearray)
    passed: dict = field(default_factory=lambda: {"client": 0, "server": 0})
    withheld: dict = field(default_factory=lambda: {"client": 0, "server": 0})
    answered: int = 0
    is_cut: bool = False


class CuttingProxy:
    """Between one client and one server, both on loopback.

    Attributes:
        url: Where the client goes.
        payment_at: Offset of the payment request in what the client sends on a connection;
            None to find it by its first word, which only plain HTTP shows.
        bare_at: The same on a connection that begins with it.
    """

    def __init__(self, target_url):
        scheme, _, place = target_url.partition("://")
        host, _, port = place.partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._port = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self._port}"
        self.payment_at = self.bare_at = None
        self._cut = None
        self._passages = []
        self._running = []
        self._thread = threading.Thread(target=self._accept, name="cutting-proxy", daemon=True)
        self._thread.start()

    def arm(self, cut):
        """From now on cut so; None passes everything on."""
        self._cut, self._passages = cut, []

    def passages(self):
        """The connections since it was armed, once they are over."""
        for thread in self._running:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a connection does not end"
        self._running = []
        return list(self._passages)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            passage, cut = Passage(len(self._passages) + 1), self._cut
            self._passages.append(passage)
            thread = threading.Thread(target=self._serve, args=(client, passage, cut))
            self._running.append(thread)
            thread.start()

    def _serve(self, client, passage, cut):
        with client, socket.create_connection(self._target) as server:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if cut is not None and cut.after == 0 and cut.at_once:
                passage.is_cut = True
            until_s = time.monotonic() + PATIENCE_S
            sides = {client: ("client", server), server: ("server", client)}
            while not passage.is_cut and time.monotonic() < until_s:
                for sock in select.select([*sides], [], [], 1.0)[0]:
                    side, other = sides[sock]
                    try:
                        data = sock.recv(65_536)
                        if not data:
                            # Whoever closes first ends both; an answer is never half-closed here.
                            return
                        self._pass_on(data, side, other, passage, cut)
                    except OSError:
                        return
                    if passage.is_cut:
                        break
            if cut is not None and cut.by == "rst":
                for sock in (client, server):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            _close_in_order(client, server, passage)

    def _pass_on(self, data, side, other, passage, cut):
        if side == "client":
            passage.sent += data
        count = len(data)
        if cut is not None and cut.side == side:
            so_far = passage.answered if cut.from_payment else passage.passed[side]
            counts = not cut.from_payment or self._has_begun(passage)
            if counts and so_far + count > cut.after - cut.at_once:
                passage.is_cut = True
                count = min(count, cut.after - so_far)
        passage.withheld[side] += len(data) - count
        if count:
            other.sendall(data[:count])
            passage.passed[side] += count
            if side == "server" and self._has_begun(passage):
                passage.answered += count

    def _has_begun(self, passage):
        return len(passage.sent) > self._payment_at(passage)

    def _payment_at(self, passage):
        if self.payment_at is not None:
            # Two connections at most are asked on; if both fail, the third carries the payment.
            return self.bare_at if passage.number > 2 else self.payment_at
        found = passage.sent.find(b"POST ")
        return found if found >= 0 else len(passage.sent)

    def payment_bytes(self):
        """For each connection: how much of a payment request the client sent on it."""
        return [
            max(0, len(passage.sent) - self._payment_at(passage)) for passage in self.passages()
        ]


def _close_in_order(client, server, passage):
    """FIN to both sides; what they still send is read away, or the kernel would reset them."""
    for sock in (client, server):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    left, until_s = [client, server], time.monotonic() + PATIENCE_S
    while left and time.monotonic() < until_s:
        for sock in select.select(left, [], [], 1.0)[0]:
            try:
                data = sock.recv(65_536)
            except OSError:
                data = b""
            if not data:
                left.remove(sock)
            elif sock is client:
                passage.sent += data
