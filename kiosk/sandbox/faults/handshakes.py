"""TLS that does not come about. No request can have left."""

from kiosk.sandbox.faults.fault import Fault, fault

PREFIX = "tls-"


def _handshake(name: str, description: str) -> Fault:
    return fault(PREFIX + name, "not_sent", description, place="tls")


# The server shows the certificate that is named behind the prefix.
CERTIFICATES: tuple[Fault, ...] = (
    _handshake("expired", "a certificate that expired yesterday"),
    _handshake("not-yet-valid", "a certificate that is valid in 60 days, as for a wrong clock"),
    _handshake("wrong-host", "a certificate for another host"),
    _handshake("unknown-ca", "a certificate of a CA that nobody knows"),
)

HANDSHAKES: tuple[Fault, ...] = (
    *CERTIFICATES,
    _handshake("hang-up", "hangs up in the middle of the handshake"),
    _handshake("stall", "goes silent in the middle of the handshake"),
    _handshake("plain", "answers the handshake with plain HTTP"),
)
