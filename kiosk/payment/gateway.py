"""One connection to the merchant's fiscal box, and the one request that moves money.

Used directly, without a pool: a pool retries, reconnects and follows redirects, and each of
these could charge twice. What proves whether the request left is a flag set at the moment
the connection hands it to its socket, never the class of an exception.
"""

import json
import socket
import ssl
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from kiosk.core.cues import Reason
from kiosk.core.intent import Answer
from kiosk.core.money import amount_for_gateway
from kiosk.errors import GatewayError, NoAnswerError, NotSentError, SettingsError
from kiosk.payment.answer import MAX_BODY_BYTES, read_answer
from kiosk.payment.request import PATH, request_body
from kiosk.settings import GatewaySettings

WARM_FOR_S = 2.0
"""An idle connection is trusted no longer; the box may be about to close it."""
INFO_TIMEOUT_S = 3.0
_NOT_READY_CODES = {102: "the fiscal module is not initialised", 333: "the subscription expired"}
_BROKEN = (HTTPError, HTTPException, OSError, ValueError)


class NotReadyError(GatewayError):
    """The box answers, and says that it cannot register payments now."""


class UnreachableError(GatewayError):
    """The box does not answer; nothing of a payment has left."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the box is and how to talk to it. Shared by threads; holds no connection.

    Attributes:
        tls: None for plain HTTP. Made once: loading the CAs takes milliseconds.
    """

    settings: GatewaySettings
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
            tls=_context(settings) if scheme == "https" else None,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "payme-kiosk",
                **settings.headers,
            },
        )

    def call(self) -> "Call":
        """A call that is not connected yet."""
        return Call(self)


class Call:
    """One connection with at most one payment request on it; used by one thread.

    `hang_up` alone may be called from another thread: it wakes whoever reads.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._line: _PlainLine | _TlsLine | None = None
        self._used_at_s = 0.0
        self.info_took_s: float | None = None

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
            raise UnreachableError(explain(error, gateway)) from error
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
        try:
            line.sock.settimeout(min(INFO_TIMEOUT_S, self._gateway.settings.read_timeout_s))
            status, body = self._exchange(line, "GET", "/info/", None)
        except _BROKEN as error:
            self.close()
            raise UnreachableError(f"no answer to GET /info/: {_kind(error)}") from error
        self._used_at_s = time.monotonic()
        self.info_took_s = self._used_at_s - started_s
        return _readiness(status, body)

    def stands(self) -> bool:
        """Whether the connection may carry the request: fresh, open, and nothing unasked on it."""
        line = self._line
        if line is None or line.sock is None:
            return False
        if time.monotonic() - self._used_at_s > WARM_FOR_S:
            return False
        line.sock.setblocking(False)
        try:
            # Under TLS 1.3 an idle socket is readable for its session tickets: only a read tells.
            line.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            line.sock.settimeout(self._gateway.settings.read_timeout_s)
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
        if not self.stands():
            raise NotSentError("the box closed the connection before the request")
        if time.monotonic() >= send_before_s:
            raise NotSentError("it took too long to get to the request")
        line = self._line
        assert line is not None
        line.is_payment = True
        try:
            status, body = self._exchange(line, "POST", PATH, request_body(amount, code))
        except _BROKEN as error:
            # The class of the error does not tell; the connection noted whether it began to send.
            if line.began_to_send:
                raise NoAnswerError(f"the answer was lost: {_kind(error)}") from error
            raise NotSentError(f"nothing was sent: {_kind(error)}") from error
        finally:
            self._hang_up_line()
        return read_answer(
            status, body, amount=amount, code=code, trust_refusals=settings.trust_refusals
        )

    def _exchange(
        self, line: "_PlainLine | _TlsLine", method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes]:
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
        response = line.getresponse()
        try:
            return response.status, _read_body(response)
        finally:
            response.close()

    def hang_up(self) -> None:
        """Wake whoever waits on this connection; it then reports what it can prove."""
        line = self._line
        sock = line.sock if line is not None else None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already, which is what is wanted

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
    pass


class _TlsLine(_Noting, HTTPSConnection):
    pass


def ask_ready(gateway: Gateway) -> str:
    """Connect, ask `GET /info/`, hang up.

    Raises:
        UnreachableError, NotReadyError: As they say.
    """
    call = gateway.call()
    try:
        call.connect()
        return call.ask_info()
    finally:
        call.close()


def _read_body(response: BaseHTTPResponse) -> bytes:
    """The whole body, at most MAX_BODY_BYTES.

    Raises:
        ValueError: Its length or encoding is not to be trusted.
        HTTPError: It ended early.
    """
    lengths = response.headers.getlist("Content-Length")
    if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
        raise ValueError("Content-Length is doubled or no number")
    if lengths and response.headers.getlist("Transfer-Encoding"):
        raise ValueError("two lengths contradict each other")
    if lengths and int(lengths[0][:12]) > MAX_BODY_BYTES:
        raise ValueError("the body is too large")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ValueError("the body is encoded although identity was asked for")
    body = bytearray()
    while chunk := response.read(16 * 1024):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("the body is too large")
    return bytes(body)


def _readiness(status: int, body: bytes) -> str:
    unavailable = f"readiness not available (HTTP {status} for /info/); it sells all the same"
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        return unavailable
    if not isinstance(envelope, dict):
        return unavailable
    error = envelope.get("error")
    if isinstance(error, dict) and error.get("code") in _NOT_READY_CODES:
        raise NotReadyError(f"error {error['code']}: {_NOT_READY_CODES[error['code']]}")
    if status == 200 and envelope.get("is_success") is True:
        return "ready"
    return unavailable


def _context(settings: GatewaySettings) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    try:
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError([f"gateway.ca_file: {settings.ca_file}: {_kind(error)}"]) from error
    if settings.client_cert_file is not None:
        try:
            context.load_cert_chain(
                settings.client_cert_file, settings.client_key_file, _no_password
            )
        except (OSError, ssl.SSLError) as error:
            files = f"{settings.client_cert_file}, {settings.client_key_file}"
            raise SettingsError([f"gateway.client_cert_file: {files}: {_kind(error)}"]) from error
    return context


def _no_password() -> str:
    raise OSError("the key is protected by a password; store it without one, mode 0600")


_CERTIFICATE_ADVICE: dict[int, str] = {
    9: "the certificate is not yet valid: check the clock of this kiosk",
    10: "the certificate has expired: check the clock of this kiosk, then renew the certificate",
    18: "the certificate is self-signed: name its CA in gateway.ca_file",
    19: "an unknown CA signed the certificate: name it in gateway.ca_file",
    20: "an unknown CA signed the certificate: name it in gateway.ca_file",
    62: "the certificate is for another host: use the name in the certificate in gateway.url",
    64: "the certificate is for another address: use the name in the certificate in gateway.url",
}


def explain(error: BaseException, gateway: Gateway) -> str:
    """One sentence with what to do."""
    where = f"{gateway.scheme}://{gateway.host}:{gateway.port}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = _CERTIFICATE_ADVICE.get(cause.verify_code, cause.verify_message)
            return f"{where}: {advice}"
        if isinstance(cause, (NameResolutionError, socket.gaierror)):
            return f"{where}: this name is unknown: check gateway.url and the network's DNS"
        if isinstance(cause, ConnectionRefusedError):
            return f"{where}: refused: is the box on, and is the port in gateway.url right?"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimeoutError) or "timed out" in str(error).lower():
        return f"{where}: no answer: is the box on, and on this network?"
    if "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error).lower():
        return f"{where}: it does not speak TLS: should gateway.url begin with http:// ?"
    return f"{where}: {_kind(error)}"


def _kind(error: BaseException) -> str:
    """What kind of failure, without the text of requests or answers in it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and not isinstance(error, HTTPError):
        return str(error)[:100]
    return type(error).__name__


Trouble = tuple[Literal[Reason.GATEWAY_UNREACHABLE, Reason.GATEWAY_NOT_READY], str]


def trouble_of(error: UnreachableError | NotReadyError) -> Trouble:
    """The reason against selling that this error is."""
    if isinstance(error, NotReadyError):
        return Reason.GATEWAY_NOT_READY, str(error)
    return Reason.GATEWAY_UNREACHABLE, str(error)
