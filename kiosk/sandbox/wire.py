"""A connection: requests are read strictly, answers are written byte for byte.

The standard library's server hides the socket, and faults live below HTTP: they reset, drip
and lie about lengths.
"""

import contextlib
import select
import socket
import ssl
import struct

from kiosk.sandbox.http1 import BadRequestError, Head, parse_head

_MAX_HEAD_BYTES = 32 * 1024
_MAX_BODY_BYTES = 1024 * 1024


class ConnectionLostError(Exception):
    """The client left, or the sandbox closes; the exchange is over."""


class _AcceptedSocket(ssl.SSLSocket):
    def getpeername(self) -> object:
        # An accepted socket had a peer. Where it left already, the handshake says so; the
        # constructor, which asks this first, would raise and leave its descriptor open.
        with contextlib.suppress(OSError):
            return super().getpeername()
        return None


class Connection:
    """One accepted connection.

    Threads: all methods from the thread that serves it, but `abort` from any thread.

    Attributes:
        number: From 1, in the order of accepting.
    """

    def __init__(self, sock: socket.socket, stop: socket.socket, number: int) -> None:
        """Take over `sock`; `stop` becomes readable when the sandbox closes."""
        self.number = number
        self._sock = sock
        self._stop = stop
        self._unread = bytearray()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether this side has hung up."""
        return self._closed

    def wrap(self, context: ssl.SSLContext) -> None:
        """Do the server's half of the TLS handshake.

        Raises:
            ConnectionLostError: The client refused the certificate, or broke off.
        """
        context.sslsocket_class = _AcceptedSocket
        try:
            # In two steps, so that `abort` finds the socket that the handshake waits on.
            sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = sock
            if select.select([self._stop], [], [], 0)[0]:
                raise ConnectionLostError
            sock.do_handshake()
        except OSError as error:
            raise ConnectionLostError(str(error)) from error

    def await_bytes(self) -> None:
        """Read what comes first and forget it.

        Raises:
            ConnectionLostError: Nothing came.
        """
        if not self._receive():
            raise ConnectionLostError
        self._unread.clear()

    def allow_idle(self, seconds: float) -> None:
        """Bound each wait for the client."""
        self._sock.settimeout(seconds)

    def read_head(self) -> Head | None:
        """The next request's head; None where the client closed between requests.

        Raises:
            ConnectionLostError: The client left in the middle.
            BadRequestError: It is no HTTP.
        """
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if len(self._unread) > _MAX_HEAD_BYTES:
                raise BadRequestError(431, "the headers are too large")
            if not self._receive():
                if self._unread.strip():
                    raise ConnectionLostError
                return None
        raw = bytes(self._unread[:end])
        del self._unread[: end + 4]
        return parse_head(raw.lstrip(b"\r\n"), received_bytes=end + 4)

    def read_body(self, head: Head) -> bytes:
        """The body that belongs to a head.

        Raises:
            ConnectionLostError: The client left in the middle.
            BadRequestError: Its length is missing, malformed or too large.
        """
        if "transfer-encoding" in head.headers:
            raise BadRequestError(501, "only bodies with a Content-Length are read")
        length = head.headers.get("content-length", "0" if head.method == "GET" else "")
        if not length:
            raise BadRequestError(411, "Content-Length is missing")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            raise BadRequestError(400, "Content-Length is not a number")
        if int(length) > _MAX_BODY_BYTES:
            raise BadRequestError(413, "the body is too large")
        if head.headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._unread) < int(length):
            if not self._receive():
                raise ConnectionLostError
        body = bytes(self._unread[: int(length)])
        del self._unread[: int(length)]
        return body

    def send(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            ConnectionLostError: The client or the sandbox closed first.
        """
        try:
            self._sock.sendall(data)
        except (OSError, ValueError) as error:
            raise ConnectionLostError(str(error)) from error

    def pause(self, seconds: float) -> None:
        """Do nothing for a while.

        Raises:
            ConnectionLostError: The client hung up, or the sandbox closed, meanwhile.
        """
        if seconds <= 0:
            return
        poll = select.poll()
        # Not POLLIN: bytes that nobody reads would end the pause at once.
        poll.register(self._sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        poll.register(self._stop, select.POLLIN | select.POLLHUP)
        try:
            happened = poll.poll(seconds * 1000)
        except (OSError, ValueError) as error:
            raise ConnectionLostError(str(error)) from error
        if happened:
            raise ConnectionLostError

    def hang_up(self) -> None:
        """Close as a server should: what was written still arrives."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self._sock, ssl.SSLSocket):
                # Without blocking: our close_notify goes out, the client's is not waited for.
                self._sock.settimeout(0)
                with contextlib.suppress(OSError):
                    self._sock.unwrap()
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            self._sock.close()

    def drain(self, seconds: float) -> None:
        """Read away what the client still sends; unread bytes would reset the answer."""
        with contextlib.suppress(OSError, ConnectionLostError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            self._sock.settimeout(seconds)
            for _ in range(256):
                self._unread.clear()
                if not self._receive():
                    break

    def reset(self) -> None:
        """Close with RST: what was written may be lost on the way."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self._sock.close()

    def abort(self) -> None:
        """Wake the serving thread, which finds the connection dead."""
        with contextlib.suppress(OSError):
            # The plain method: SSLSocket's own would drop the TLS state under a running read.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _receive(self) -> bool:
        try:
            data = self._sock.recv(64 * 1024)
        except TimeoutError:
            return False
        except (OSError, ValueError) as error:
            raise ConnectionLostError(str(error)) from error
        self._unread += data
        return bool(data)
