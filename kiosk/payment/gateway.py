"""One connection to the merchant's fiscal box, and the one request that moves money.

Used directly, without a pool: a pool retries, reconnects and follows redirects, and each of
these could charge twice. What proves whether the request left is a flag set at the moment
the connection hands it to its socket, never the class of an exception.
"""

import contextlib
import json
import logging
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader, ProtocolError, SystemTimeWarning
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from kiosk.core.intent import Answer
from kiosk.core.money import amount_for_gateway
from kiosk.errors import NoAnswerError, NotSentError
from kiosk.payment.answer import MAX_BODY_BYTES, read_answer
from kiosk.payment.bounded import BoundedResponse
from kiosk.payment.gateway_trouble import (
    NotReadyError,
    UnreachableError,
    UnreadableError,
    explain,
    kind_of,
)
from kiosk.payment.request import PATH, request_body
from kiosk.payment.tls import tls_context
from kiosk.settings import GatewaySettings

WARM_FOR_S = 2.0
"""An idle connection is trusted no longer; the box may be about to close it."""
INFO_TIMEOUT_S = 3.0
_ASK_WITHIN_S = 15.0
"""A time-out bounds each read, not the whole answer; this bounds the question for readiness."""
_NOT_READY_CODES = {102: "the fiscal module is not initialised", 333: "the subscription expired"}
_BROKEN = (HTTPError, HTTPException, OSError, ValueError)
# It logs broken headers whole, and a box may echo the code in them.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)
# The kiosk tells of a wrong clock itself, and its log is one JSON object a line.
warnings.filterwarnings("ignore", category=SystemTimeWarning)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the box is and how to talk to it. Shared by threads; holds no connection.

    Attributes:
        tls: None for plain HTTP. Made once: loading the CAs takes milliseconds.
    """

    settings: GatewaySettings = field(repr=False)
    scheme: str
    host: str
    port: int
    base_path: str
    tls: ssl.SSLContext | None
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def from_settings(cls, settings: GatewaySettings) -> "Gateway":
        """Check and load what the `gateway:` section names.

        Raises:
            SettingsError: A certificate or key file cannot be used.
        """
        url = parse_url(settings.url)
        scheme = url.scheme or "http"
        return cls(
            settings=settings,
            scheme=scheme,
            host=url.host or "",
            port=url.port or (443 if scheme == "https" else 80),
            base_path=(url.path or "").rstrip("/"),
            tls=tls_context(settings) if scheme == "https" else None,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "payme-kiosk",
                **settings.headers,
            },
        )

    @property
    def where(self) -> str:
        """The box as messages name it."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def call(self) -> "Call":
        """A call that is not connected yet."""
        return Call(self)


class Call:
    """One connection with at most one payment request on it; used by one thread.

    `hang_up` alone may be called from another thread: it wakes whoever reads, and nothing is
    connected or sent any more.

    Attributes:
        received: What came of the last answer's body, whole or not, at most MAX_BODY_BYTES.
        box_time: The box's `current_time` in its own words, once `ask_info` heard it.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._line: _PlainLine | _TlsLine | None = None
        self._sock: socket.socket | None = None
        self._is_hung_up = False
        self._used_at_s = 0.0
        self.info_took_s: float | None = None
        self.received = b""
        self.box_time: str | None = None

    @property
    def began_to_send(self) -> bool:
        """Whether a byte of the payment request may have left."""
        return self._line is not None and self._line.began_to_send

    def connect(self) -> None:
        """Connect, TLS included; no request.

        Raises:
            UnreachableError: With what to do about it.
        """
        self.close()
        gateway, timeout_s = self._gateway, self._gateway.settings.connect_timeout_s
        assert not self.began_to_send, "one request a call"
        try:
            if gateway.tls is not None:
                self._line = _TlsLine(
                    gateway.host, gateway.port, timeout=timeout_s, ssl_context=gateway.tls
                )
            else:
                self._line = _PlainLine(gateway.host, gateway.port, timeout=timeout_s)
            self._line.auto_open = 0  # nothing of ours reconnects in silence
            self._line.connect()
        except _BROKEN as error:
            self.close()
            raise UnreachableError(explain(error, gateway.where)) from error
        # Of our own: http.client forgets the socket as soon as an answer says that it is the last.
        self._sock = self._line.sock
        if self._is_hung_up:
            self.close()
            raise UnreachableError(f"{gateway.where}: it took too long")
        self._used_at_s = time.monotonic()

    def ask_info(self) -> str:
        """`GET /info/` on this connection: is the box ready?

        Returns:
            What it said in one sentence; also where it offers no such answer.

        Raises:
            NotReadyError: It says that it is not.
            UnreachableError: The connection broke.
        """
        line, started_s = self._line, time.monotonic()
        if line is None or line.sock is None:
            raise UnreachableError("not connected")
        # urllib3 sets this on the socket anew with every request and every answer.
        line.timeout = min(INFO_TIMEOUT_S, self._gateway.settings.read_timeout_s)
        try:
            status, body = self._exchange(line, "GET", "/info/", None)
            said, self.box_time = _readiness(status, body)
        except UnreadableError as error:
            if self._is_hung_up:
                raise UnreachableError(self._no_info("it took too long")) from error
            # The answer is of no use, nor is what may follow it; the payment needs neither.
            self.close()
            return _unavailable(str(error))
        except NotReadyError:
            # The next question shall be asked anew, not skipped because this one went well.
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            kind = "it took too long" if self._is_hung_up else kind_of(error)
            raise UnreachableError(self._no_info(kind)) from error
        self._used_at_s = time.monotonic()
        self.info_took_s = self._used_at_s - started_s
        return said

    def _no_info(self, why: str) -> str:
        return f"{self._gateway.where}: no answer to GET /info/: {why}"

    def stands(self) -> bool:
        """Whether a row may announce a request on it: fresh, open, and nothing unasked on it."""
        return time.monotonic() - self._used_at_s <= WARM_FOR_S and self._is_open()

    def _is_open(self) -> bool:
        line = self._line
        if line is None or line.sock is None or self._is_hung_up:
            return False
        try:
            line.sock.settimeout(0)
            # Under TLS 1.3 an idle socket is readable for its session tickets: only a read tells.
            line.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def submit(self, amount_sum: int, code: str, send_before_s: float) -> Answer:
        """Send the payment request, once, and wait for the answer. Never connects.

        Args:
            amount_sum: Whole sums.
            code: The whole code.
            send_before_s: Monotonic; later nothing is sent any more.

        Returns:
            What the answer proves, which may be nothing.

        Raises:
            NotSentError: Nothing left the kiosk.
            NoAnswerError: It may have arrived. Never send it again.
        """
        settings = self._gateway.settings
        amount = amount_for_gateway(amount_sum, settings.amount_unit)
        line = self._line
        # Not `stands`: how long the row took is bounded by `send_before_s`.
        if line is None or not self._is_open():
            raise NotSentError("the box closed the connection before the request")
        if time.monotonic() >= send_before_s:
            raise NotSentError("it took too long to get to the request")
        line.timeout = settings.read_timeout_s
        line.is_payment = True
        try:
            status, body = self._exchange(line, "POST", PATH, request_body(amount, code))
        except _BROKEN as error:
            # The class of the error does not tell; the connection noted whether it began to send.
            if line.began_to_send:
                raise NoAnswerError(f"no usable answer: {kind_of(error)}") from error
            raise NotSentError(f"nothing was sent: {kind_of(error)}") from error
        finally:
            self._hang_up_line()
        return read_answer(
            status, body, amount=amount, code=code, trust_refusals=settings.trust_refusals
        )

    def _exchange(
        self, line: "_PlainLine | _TlsLine", method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes]:
        self.received = b""
        headers = dict(self._gateway.headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        line.request(
            method,
            self._gateway.base_path + path,
            body=body,
            headers=headers,
            preload_content=False,
            decode_content=False,
        )
        try:
            response = line.getresponse()
        except InvalidHeader as error:
            raise UnreadableError("Content-Length is doubled") from error
        received = bytearray()
        try:
            for piece in _body(response):
                received += piece
                if len(received) > MAX_BODY_BYTES:
                    raise UnreadableError("the body is too large")
            if self._is_hung_up:
                # Ours, though it looks like the end of a body without a length.
                raise UnreadableError("it did not end in time")
            return response.status, bytes(received)
        finally:
            self.received = bytes(received[:MAX_BODY_BYTES])
            response.close()

    def hang_up(self) -> None:
        """Wake whoever waits on this connection; it then reports what it can prove."""
        self._is_hung_up = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):  # closed already, which is what is wanted
                # The plain method: SSLSocket's own forgets the TLS state first, and what another
                # thread sends in that moment would leave in clear.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection; the note of what was sent on it stays."""
        self._hang_up_line()
        if self._line is not None and not self._line.began_to_send:
            self._line = None

    def _hang_up_line(self) -> None:
        if self._line is not None:
            self._line.close()


class _Noting:
    """Notes the moment at which the payment request is handed to the socket."""

    is_payment = False
    began_to_send = False

    def send(self, data: Any) -> None:
        if self.is_payment:
            self.began_to_send = True
        super().send(data)  # type: ignore[misc]  # the connection class beside it has it


class _PlainLine(_Noting, HTTPConnection):
    response_class = BoundedResponse


class _TlsLine(_Noting, HTTPSConnection):
    response_class = BoundedResponse


def ask_ready(gateway: Gateway, hear_time: Callable[[str], None] = lambda _: None) -> str:
    """Connect, ask `GET /info/`, hang up.

    Args:
        gateway: The box.
        hear_time: Given the box's `current_time` where it tells one.

    Raises:
        UnreachableError, NotReadyError: As they say.
    """
    call = gateway.call()
    # For a box that drips or repeats itself: each of its bytes is in time.
    patience = threading.Timer(_ASK_WITHIN_S, call.hang_up)
    patience.daemon = True
    patience.start()
    try:
        call.connect()
        said = call.ask_info()
        if call.box_time is not None:
            hear_time(call.box_time)
        return said
    finally:
        patience.cancel()
        call.close()


def _body(response: BaseHTTPResponse) -> Iterator[bytes]:
    """The body in pieces, as they come.

    Raises:
        UnreadableError: Its length or encoding is not to be trusted, or it ended early.
        HTTPError, OSError: The connection broke.
    """
    lengths = response.headers.getlist("Content-Length")
    if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
        raise UnreadableError("Content-Length is doubled or no number")
    if lengths and response.headers.getlist("Transfer-Encoding"):
        raise UnreadableError("two lengths contradict each other")
    if lengths and int(lengths[0][:12]) > MAX_BODY_BYTES:
        raise UnreadableError("the body is too large")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnreadableError("the body is encoded although identity was asked for")
    try:
        # read1, not read: what came before a hang-up may hold a payment_id.
        while piece := response.read1(16 * 1024):
            yield piece
    except ProtocolError as error:
        raise UnreadableError("it broke off or breaks the rules of HTTP") from error


def _readiness(status: int, body: bytes) -> tuple[str, str | None]:
    """What it said in one sentence, and the time by its clock."""
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return _unavailable(f"HTTP {status}"), None
    if not isinstance(envelope, dict):
        return _unavailable(f"HTTP {status}"), None
    error = envelope.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if type(code) is int and code in _NOT_READY_CODES:
        raise NotReadyError(f"error {code}: {_NOT_READY_CODES[code]}")
    if status == 200 and envelope.get("is_success") is True:
        data = envelope.get("data")
        told = data.get("current_time") if isinstance(data, dict) else None
        return "ready", told if isinstance(told, str) else None
    return _unavailable(f"HTTP {status}"), None


def _unavailable(why: str) -> str:
    return f"readiness not available (/info/: {why}); it sells all the same"
