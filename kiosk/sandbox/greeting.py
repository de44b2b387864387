"""How a new connection is met: the faults of connections first, then TLS."""

from kiosk.sandbox.active_fault import ActiveFault
from kiosk.sandbox.certificates import Certificates
from kiosk.sandbox.faults import Pace
from kiosk.sandbox.faults.handshakes import CERTIFICATES, PREFIX
from kiosk.sandbox.http1 import format_answer
from kiosk.sandbox.wire import Connection, ConnectionLostError

_HANDSHAKE_S = 10.0


def greet(
    connection: Connection, active: ActiveFault, certificates: Certificates | None, pace: Pace
) -> None:
    """Make a connection ready for its first request; without certificates it stays plain.

    Raises:
        ConnectionLostError: A fault or the client ended it.
    """
    fault = active.take("connection")
    if fault is not None:
        if fault.name == "blackhole":
            connection.pause(pace.stall_s)
        raise ConnectionLostError(fault.name)
    if certificates is None:
        return
    connection.allow_idle(_HANDSHAKE_S)
    fault = active.take("tls")
    if fault is None:
        connection.wrap(certificates.context())
    elif fault in CERTIFICATES:
        connection.wrap(certificates.context(fault.name.removeprefix(PREFIX)))
    else:
        connection.await_bytes()
        if fault.name == "tls-stall":
            connection.pause(pace.stall_s)
        if fault.name == "tls-plain":
            connection.send(format_answer(400, b"this is no TLS"))
        raise ConnectionLostError(fault.name)
