"""What can be wrong with the gateway, told so that a technician knows what to do."""

import socket
import ssl
from http.client import BadStatusLine
from typing import Literal

from urllib3.exceptions import NameResolutionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from kiosk.core.cues import Reason
from kiosk.errors import GatewayError


class NotReadyError(GatewayError):
    """The box answers, and says that it cannot register payments now."""


class UnreachableError(GatewayError):
    """The box does not answer; nothing of a payment has left."""


class UnreadableError(ValueError):
    """An answer came, and its body is not to be trusted; the text is ours, not the box's."""


_CERTIFICATE_ADVICE: dict[int, str] = {
    9: "the certificate is not yet valid: check the clock of this kiosk",
    10: "the certificate has expired: check the clock of this kiosk, then renew the certificate",
    18: "the certificate is self-signed: name the certificate itself in gateway.ca_file",
    19: "an unknown CA signed the certificate: name it in gateway.ca_file",
    20: "an unknown CA signed the certificate: name it in gateway.ca_file",
    21: "an unknown CA signed the certificate: name it in gateway.ca_file",
    62: "the certificate is for another host: use the name in the certificate in gateway.url",
    64: "the certificate is for another address: use the name in the certificate in gateway.url",
}


def explain(error: BaseException, where: str) -> str:
    """One sentence with what to do about a connection to `where` that did not come about."""
    cause: BaseException | None = error
    reason = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = _CERTIFICATE_ADVICE.get(cause.verify_code, cause.verify_message)
            return f"{where}: {advice}"
        if isinstance(cause, (NameResolutionError, socket.gaierror)):
            return f"{where}: this name is unknown: check gateway.url and the network's DNS"
        if isinstance(cause, ConnectionRefusedError):
            return f"{where}: refused: is the box on, and is the port in gateway.url right?"
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(reason, TimeoutError | HTTPTimeoutError):
        return f"{where}: no answer: is the box on, and on this network?"
    text = str(reason)
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        return f"{where}: it does not speak TLS: should gateway.url begin with http:// ?"
    if "PROTOCOL_VERSION" in text or "UNSUPPORTED_PROTOCOL" in text:
        return f"{where}: it speaks no TLS from 1.2 on: update the box"
    return f"{where}: {kind_of(reason)}"


def kind_of(error: BaseException) -> str:
    """What kind of failure, without the text of requests or answers in it."""
    if isinstance(error, UnreadableError):
        return str(error)
    if isinstance(error, TimeoutError | HTTPTimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(error):
        return "it wants a client certificate: name it in gateway.client_cert_file"
    if isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it hung up"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, BadStatusLine):
        return "what came is no HTTP: check the port, or should gateway.url begin with https:// ?"
    return type(error).__name__


Trouble = tuple[Literal[Reason.GATEWAY_UNREACHABLE, Reason.GATEWAY_NOT_READY], str]


def trouble_of(error: UnreachableError | NotReadyError) -> Trouble:
    """The reason against selling that this error is."""
    if isinstance(error, NotReadyError):
        return Reason.GATEWAY_NOT_READY, str(error)
    return Reason.GATEWAY_UNREACHABLE, str(error)
