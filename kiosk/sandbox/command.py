"""`kiosk sandbox`: the gateway alone, for a terminal or another process."""

import json
import signal
import sys

from kiosk.sandbox import faults
from kiosk.sandbox.box import AmountUnit
from kiosk.sandbox.certificates import MissingTrustmeError
from kiosk.sandbox.faults import Pace, UnknownFaultError
from kiosk.sandbox.gateway import SandboxGateway

_DONE, _USAGE = 0, 2
_ENDS = (signal.SIGINT, signal.SIGTERM)


def run_sandbox(
    port: int,
    tls: str | None,
    fault: str | None,
    *,
    amount_unit: AmountUnit = "sum",
    decline: frozenset[str] = frozenset(),
    latency_s: float = 0.0,
    pace: Pace | None = None,
) -> int:
    """Serve until SIGINT or SIGTERM; the first line on stdout says where.

    The line is `{"url": ..., "ca_file": ...}`, with `client_cert_file` and `client_key_file`
    beside them for `tls="mutual"`.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        tls: None, `valid`, `mutual`, or the name of a TLS fault.
        fault: The fault to begin with; a TLS fault turns TLS on.
        amount_unit: Of `amount` on the wire.
        decline: Codes of customers without money.
        latency_s: Between a charge and its answer.
        pace: Durations of the slow faults.

    Returns:
        0 when told to end, 2 for an unknown fault, a port that is taken or missing trustme.
    """
    # Blocked before any thread starts, so that all of them leave the signals to sigwait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        if fault is not None and faults.find(fault).place == "tls" and tls is None:
            tls = "valid"
        with SandboxGateway(port, tls, amount_unit, decline, latency_s, pace=pace) as gateway:
            if fault is not None:
                gateway.set_fault(fault)
            _announce(gateway)
            signal.sigwait(_ENDS)
    except (UnknownFaultError, MissingTrustmeError, OSError) as error:
        sys.stderr.write(f"kiosk sandbox: {error}\n")
        return _USAGE
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _DONE


def _announce(gateway: SandboxGateway) -> None:
    places = {"url": gateway.url, "ca_file": gateway.ca_file}
    if gateway.client_cert_file is not None:
        places |= {
            "client_cert_file": gateway.client_cert_file,
            "client_key_file": gateway.client_key_file,
        }
    line = {name: None if place is None else str(place) for name, place in places.items()}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
