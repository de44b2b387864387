"""The truth about the sandbox's money: what was charged, whatever was answered.

Tests compare the kiosk's journal with it. It holds whole codes, because the comparison needs
them, and prints and logs nothing.
"""

import itertools
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of money.

    Attributes:
        payment_id: The provider's id: 24 hexadecimal digits.
        transaction_id: A UUID.
        amount: As the request gave it, in the sandbox's `amount_unit`.
        amount_sum: The same in sums.
        qr_code: The customer's code, whole.
        at: When, ISO 8601 in UTC.
        answered: Whether a true, approving answer was written whole to the connection.
        client_phone_number: Of the customer who does not exist.
    """

    payment_id: str
    transaction_id: str
    amount: int
    amount_sum: int
    qr_code: str
    at: str
    answered: bool
    client_phone_number: str


class SeenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One `POST /payment/payme`, valid or not.

    Attributes:
        at: When its head had arrived, ISO 8601 in UTC.
        connection: The number of the connection, from 1.
        headers: Names in lower case.
        received_bytes: Head and body, as far as they were read.
        code: `qr_code` where the body had one.
        amount: `amount` where the body had one.
        charged: Whether this request moved money.
        fault: The fault that met it.
    """

    at: str
    connection: int
    headers: dict[str, str]
    received_bytes: int
    code: str | None = None
    amount: int | None = None
    charged: bool = False
    fault: str | None = None


class SeenConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted TCP connection; `requests` counts what was asked on it, of any kind."""

    number: int
    at: str
    requests: int = 0


class AlreadyChargedError(Exception):
    """The code has paid before; nothing was charged now."""


class Ledger:
    """Charges, requests and connections, in the order in which they happened.

    Threads: every method from any thread. Properties are snapshots.
    """

    def __init__(self) -> None:
        """An empty ledger."""
        self._changed = threading.Condition(threading.RLock())
        self._charges: dict[str, Charge] = {}
        self._requests: list[SeenRequest] = []
        self._connections: dict[int, SeenConnection] = {}
        self._canary_hits = 0
        self._counter = itertools.count(secrets.randbelow(1 << 20))

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge, oldest first."""
        with self._changed:
            return tuple(self._charges.values())

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every `POST /payment/payme`, oldest first."""
        with self._changed:
            return tuple(self._requests)

    @property
    def connections(self) -> tuple[SeenConnection, ...]:
        """Every accepted connection, oldest first."""
        with self._changed:
            return tuple(self._connections.values())

    @property
    def canary_hits(self) -> int:
        """How often someone followed a redirect that must not be followed."""
        with self._changed:
            return self._canary_hits

    def charge_of(self, code: str) -> Charge | None:
        """The charge of a code, or None where it was never charged."""
        with self._changed:
            return self._charges.get(code)

    def snapshot(self) -> dict[str, object]:
        """Everything, as `GET /_sandbox/ledger` gives it."""
        with self._changed:
            parts = {
                "charges": self.charges,
                "requests": self.requests,
                "connections": self.connections,
                "canary_hits": self._canary_hits,
            }
            return {name: msgspec.to_builtins(part) for name, part in parts.items()}

    def wait_until(self, condition: Callable[["Ledger"], bool], timeout_s: float) -> bool:
        """Wait until something is true of the ledger; False if it did not become so in time."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    def charge(self, code: str, amount: int, amount_sum: int) -> Charge:
        """Move the money.

        Raises:
            AlreadyChargedError: The code was charged before.
        """
        with self._changed:
            if code in self._charges:
                raise AlreadyChargedError
            charge = self.imagine(code, amount, amount_sum)
            self._charges[code] = charge
            self._changed.notify_all()
            return charge

    def imagine(self, code: str, amount: int, amount_sum: int) -> Charge:
        """What a charge would look like; moves no money and is not kept."""
        number = next(self._counter)
        return Charge(
            # The look of the real ones: seconds, five random bytes, a counter.
            payment_id=f"{int(time.time()):08x}{secrets.token_hex(5)}{number & 0xFFFFFF:06x}",
            transaction_id=str(uuid.uuid4()),
            amount=amount,
            amount_sum=amount_sum,
            qr_code=code,
            at=_now(),
            answered=False,
            client_phone_number=f"99800{number % 10_000_000:07d}",
        )

    def mark_answered(self, charge: Charge, *, answered: bool) -> None:
        """Note whether the answer to a charge went out; an imagined charge is passed over."""
        with self._changed:
            kept = self._charges.get(charge.qr_code)
            if kept is not None and kept.payment_id == charge.payment_id:
                self._charges[charge.qr_code] = msgspec.structs.replace(kept, answered=answered)
                self._changed.notify_all()

    def saw_connection(self, number: int) -> None:
        """A connection was accepted."""
        with self._changed:
            self._connections[number] = SeenConnection(number=number, at=_now())
            self._changed.notify_all()

    def saw_asking(self, connection: int) -> None:
        """A request of any kind arrived on a connection."""
        with self._changed:
            seen = self._connections[connection]
            self._connections[connection] = msgspec.structs.replace(
                seen, requests=seen.requests + 1
            )
            self._changed.notify_all()

    def saw_request(
        self, connection: int, headers: Mapping[str, str], received_bytes: int, fault: str | None
    ) -> int:
        """The head of a payment request arrived; returns its place in `requests`."""
        with self._changed:
            self._requests.append(
                SeenRequest(
                    at=_now(),
                    connection=connection,
                    headers=dict(headers),
                    received_bytes=received_bytes,
                    fault=fault,
                )
            )
            self._changed.notify_all()
            return len(self._requests) - 1

    def amend_request(self, place: int, **known: object) -> None:
        """More is known about the request at a place: `code`, `charged`, ..."""
        with self._changed:
            self._requests[place] = msgspec.structs.replace(self._requests[place], **known)
            self._changed.notify_all()

    def saw_canary(self) -> None:
        """Someone asked for the canary."""
        with self._changed:
            self._canary_hits += 1
            self._changed.notify_all()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
