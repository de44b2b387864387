"""What the session wishes to be done, in this order; what follows a failed row is not done."""

from dataclasses import dataclass
from typing import Literal

from kiosk.core.cues import Cue
from kiosk.core.intent import Answer, Intent, Outcome


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Connect early and ask whether the gateway is ready; nothing of the payment leaves."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Report Connected or NotSent for this intent."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """Nobody wants this intent any more; nothing may be sent for it."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class RecordSending:
    """The durable row that announces the request."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the request, once, before `send_before_s` (monotonic), or report NotSent."""

    intent: Intent
    send_before_s: float


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """The durable row that states how an announced request ended; `late` after doubt."""

    intent_id: str
    answer: Answer
    late: bool = False


@dataclass(frozen=True, slots=True)
class RecordNotSent:
    """The row of an intent that was confirmed and never announced: nothing was sent."""

    intent: Intent
    detail: str


@dataclass(frozen=True, slots=True)
class RecordResolution:
    """The row in which staff state how an intent ended."""

    intent_id: str
    outcome: Literal[Outcome.APPROVED, Outcome.DECLINED]
    by: str
    why: str
    payment_id: str | None
    request: int


@dataclass(frozen=True, slots=True)
class Show:
    """Tell the customer, from the beginning of this cue's pattern."""

    cue: Cue


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a command of the control socket."""

    request: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Quit:
    """No request is running; the process may end."""


Effect = (
    WarmUp
    | Connect
    | Abandon
    | RecordSending
    | Submit
    | RecordOutcome
    | RecordNotSent
    | RecordResolution
    | Show
    | Reply
    | Quit
)
