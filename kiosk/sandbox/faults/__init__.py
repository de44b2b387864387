"""Every way in which the sandbox can go wrong, by name.

A fault is a row of a table: name, what a careful client must come to, one line, a function.
To add one, add its row; nothing else knows the names.
"""

import difflib

from kiosk.sandbox.faults.bodies import BODIES
from kiosk.sandbox.faults.envelopes import ENVELOPES
from kiosk.sandbox.faults.fault import Exchange, Fault, Outcome, Pace, Place
from kiosk.sandbox.faults.framing import FRAMING
from kiosk.sandbox.faults.handshakes import HANDSHAKES
from kiosk.sandbox.faults.hangups import HANGUPS
from kiosk.sandbox.faults.payments import PAYMENTS
from kiosk.sandbox.faults.readiness import READINESS
from kiosk.sandbox.faults.statuses import STATUSES

__all__ = ["FAULTS", "Exchange", "Fault", "Outcome", "Pace", "Place", "UnknownFaultError", "find"]

_TABLES = (HANGUPS, STATUSES, FRAMING, BODIES, ENVELOPES, PAYMENTS, READINESS, HANDSHAKES)

FAULTS: dict[str, Fault] = {fault.name: fault for table in _TABLES for fault in table}
if len(FAULTS) != sum(map(len, _TABLES)):
    raise AssertionError("two faults share a name")


class UnknownFaultError(ValueError):
    """There is no fault of that name; the message lists the nearest."""


def find(name: str) -> Fault:
    """The fault of a name.

    Raises:
        UnknownFaultError: There is none.
    """
    if name in FAULTS:
        return FAULTS[name]
    nearest = difflib.get_close_matches(name, FAULTS, n=5, cutoff=0.4)
    near = ", ".join(nearest) if nearest else "GET /_sandbox/faults lists them all"
    raise UnknownFaultError(f"no fault is called {name!r}; nearest: {near}")
