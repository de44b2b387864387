"""What a fault is, and what it may do to an exchange."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kiosk.sandbox import answers
from kiosk.sandbox.answers import Json
from kiosk.sandbox.http1 import JSON_TYPE, Header, format_answer
from kiosk.sandbox.ledger import Charge
from kiosk.sandbox.wire import Connection

Outcome = Literal["approved", "declined", "not_sent", "unknown"]
Place = Literal["payment", "info", "connection", "tls", "listener"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the slow faults take; all of them end at once when a side hangs up.

    Attributes:
        stall_s: How long a stall lasts, and how long an endless fault goes on.
        drip_s: Between two pieces of something that drips.
        late_s: Before the answer of `late`.
    """

    stall_s: float = 120.0
    drip_s: float = 0.05
    late_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request that a fault answers instead of the box.

    Attributes:
        charge: What the answer speaks of: a real charge where the fault charges, else an
            imagined one.
        earlier: The first charge of the ledger, if there was one before this request.
        base_url: Of the sandbox, for redirects.
        elsewhere: Opens another server, where nobody may come, and gives its base URL.
        info: Makes the true answer of `GET /info/`.
        mark_answered: Notes that the approving answer went out.
    """

    connection: Connection
    charge: Charge
    earlier: Charge | None
    pace: Pace
    base_url: str
    elsewhere: Callable[[], str]
    info: Callable[[], Json]
    mark_answered: Callable[[], None]

    def envelope(self, **changes: object) -> Json:
        """The true, approving envelope, with some fields of `data` changed."""
        return answers.success({**answers.payment_data(self.charge), **changes})

    def body(self, **changes: object) -> bytes:
        """The envelope as bytes."""
        return answers.encode(self.envelope(**changes))

    def send(self, data: bytes) -> None:
        """Put bytes on the wire as they are."""
        self.connection.send(data)

    def answer(
        self, body: bytes, status: int = 200, headers: Iterable[Header] = (JSON_TYPE,)
    ) -> None:
        """A well-formed answer around any body, the last on its connection."""
        self.send(format_answer(status, body, headers))


Action = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way of going wrong.

    Attributes:
        name: As `kiosk sandbox --fault NAME` takes it.
        description: One line.
        outcome: What a careful client must come to.
        charges: Whether money moves. A code that was charged before is refused instead.
        also: A second outcome that is right as well, where the contract leaves it open or
            where it depends on what the client had already proved.
        flagged: Whether staff must get to see it.
        distrusted: The outcome with `gateway.trust_refusals: false`.
        place: What it meets: a `POST /payment/payme`, a `GET /info/`, an accepted connection,
            a TLS handshake, or the listener itself.
        box_error: Code and message of a box that is not ready: payments are refused with it.
        unread: Whether it strikes before the body has been read.
        run: What it does; None where the server itself does it. The connection is closed
            afterwards unless it already is.
    """

    name: str
    description: str
    outcome: Outcome
    charges: bool = False
    also: Outcome | None = None
    flagged: bool = False
    distrusted: Outcome
    place: Place = "payment"
    box_error: tuple[int, str] | None = None
    unread: bool = False
    run: Action | None = field(default=None, repr=False)

    def permits(self, outcome: str) -> bool:
        """Whether a client that came to this outcome was careful."""
        return outcome in (self.outcome, self.also)

    def row(self) -> Mapping[str, object]:
        """The fault as `GET /_sandbox/faults` lists it."""
        return {
            "name": self.name,
            "description": self.description,
            "place": self.place,
            "charges": self.charges,
            "outcome": self.outcome,
            "also": self.also,
            "flagged": self.flagged,
            "distrusted": self.distrusted,
        }


def fault(
    name: str,
    outcome: Outcome,
    description: str,
    run: Action | None = None,
    *,
    charges: bool = False,
    also: Outcome | None = None,
    flagged: bool = False,
    distrusted: Outcome | None = None,
    place: Place = "payment",
    box_error: tuple[int, str] | None = None,
    unread: bool = False,
) -> Fault:
    """A row of a fault table, short enough to be read as one.

    A refusal that does not say otherwise is not believed by a client that trusts no refusals.
    """
    if distrusted is None:
        distrusted = "unknown" if outcome == "declined" else outcome
    return Fault(
        name=name,
        description=description,
        outcome=outcome,
        charges=charges,
        also=also,
        flagged=flagged,
        distrusted=distrusted,
        place=place,
        box_error=box_error,
        unread=unread,
        run=run,
    )
