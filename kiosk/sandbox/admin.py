"""The sandbox's own endpoints, under `/_sandbox/`."""

from typing import Annotated, Protocol

import msgspec

from kiosk.sandbox.faults import FAULTS
from kiosk.sandbox.http1 import JSON_TYPE, Head, format_answer
from kiosk.sandbox.ledger import Ledger

PREFIX = "/_sandbox/"


class _Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `PUT /_sandbox/fault`."""

    fault: str | None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    for_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class SetFault(Protocol):
    """What turns a fault on; see `SandboxGateway.set_fault`."""

    def __call__(self, name: str | None, times: int | None, for_s: float | None) -> None:
        """Raise ValueError for what cannot be done."""


def answer(ledger: Ledger, set_fault: SetFault, head: Head, body: bytes) -> bytes:
    """Answer one request to `/_sandbox/...`; the connection may be kept."""
    match (head.method, head.path):
        case ("GET", "/_sandbox/ledger"):
            return _json(200, ledger.snapshot())
        case ("GET", "/_sandbox/faults"):
            return _json(200, [fault.row() for fault in FAULTS.values()])
        case ("PUT", "/_sandbox/fault"):
            return _put_fault(set_fault, body)
        case (_, "/_sandbox/canary"):
            ledger.saw_canary()
            return _json(200, {"canary": "a redirect was followed"})
        case (_, "/_sandbox/ledger" | "/_sandbox/faults" | "/_sandbox/fault"):
            return _json(405, {"message": f"{head.method} is not understood here"})
        case _:
            return _json(404, {"message": "the sandbox has ledger, fault, faults and canary"})


def _put_fault(set_fault: SetFault, body: bytes) -> bytes:
    try:
        order = msgspec.json.decode(body, type=_Order)
        fault = FAULTS.get(order.fault or "")
        locks_out = fault is not None and fault.place in ("connection", "tls", "listener")
        if locks_out and order.times is None and order.for_s is None:
            message = f"{order.fault} would lock this endpoint out as well: give for_s"
            return _json(400, {"message": message})
        set_fault(order.fault, order.times, order.for_s)
    except ValueError as error:
        return _json(400, {"message": str(error)})
    return _json(200, {"fault": order.fault, "times": order.times, "for_s": order.for_s})


def _json(status: int, answer: object) -> bytes:
    return format_answer(status, msgspec.json.encode(answer), [JSON_TYPE], close=False)
