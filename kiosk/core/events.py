"""What can happen to the session. Facts that need a clock, a lot or the journal come inside."""

from dataclasses import dataclass
from typing import Literal

from kiosk.core.code import PaymeCode
from kiosk.core.cues import Reason
from kiosk.core.intent import Answer, Outcome, Standing
from kiosk.core.offer import Offer


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; nothing else happened."""


@dataclass(frozen=True, slots=True)
class SeenCode:
    """A code in view.

    Attributes:
        spent: How its earlier intent stands, None for a code never submitted. An open
            earlier intent counts as UNKNOWN.
    """

    code: PaymeCode
    spent: Outcome | None = None


@dataclass(frozen=True, slots=True)
class SymbolsSeen:
    """One frame with at least one symbol in it.

    Attributes:
        seen_at_s: When the frame was captured, monotonic.
        codes: Different codes in this frame.
        refused: Marks of the symbols in it that are no codes.
        fresh_id: An intent id never used before, in case one is needed.
    """

    seen_at_s: float
    codes: tuple[SeenCode, ...]
    refused: tuple[bytes, ...]
    fresh_id: str


@dataclass(frozen=True, slots=True)
class ButtonPressed:
    """The button went down at this time (monotonic)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class ButtonReleased:
    """The button came up at this time (monotonic)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection stands for this intent and nothing was asked on it yet."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """Proved: no byte of this intent's request left, and none will."""

    intent_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class OutcomeKnown:
    """The gateway answered.

    Attributes:
        payment_id_known: The journal already has this payment_id, for another intent.
    """

    intent_id: str
    answer: Answer
    payment_id_known: bool = False


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The request may have arrived and no believable answer came; none will."""

    intent_id: str
    detail: str
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class RowFailed:
    """A row could not be made durable; what was to follow it was not done."""

    intent_id: str
    row: Literal["sending", "outcome", "not_sent", "spent"]
    detail: str


@dataclass(frozen=True, slots=True)
class RowSaved:
    """An outcome that could not be written before is durable now."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class TroubleBegan:
    """The kiosk cannot sell, and why; repeated with a new detail when that changes."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class TroubleEnded:
    """This reason is gone."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class UnresolvedCounted:
    """These intents wait for staff; all others do not, or no longer."""

    intents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferMade:
    """A host sets what is for sale.

    Attributes:
        consumed: The journal has this reference as paid, unknown or open.
        request: Whom to answer.
    """

    offer: Offer
    consumed: bool
    request: int


@dataclass(frozen=True, slots=True)
class OfferCancelled:
    """A host takes its offer back."""

    request: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Staff have seen the unknown outcome."""

    request: int


@dataclass(frozen=True, slots=True)
class ResolutionAsked:
    """Staff state how an intent ended.

    Attributes:
        standing: What the journal says of the intent; None where it has no such intent.
    """

    intent_id: str
    outcome: Literal[Outcome.APPROVED, Outcome.DECLINED]
    by: str
    why: str
    payment_id: str | None
    standing: Standing | None
    payment_id_known: bool
    request: int


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Leave as soon as no request is running."""


Event = (
    Tick
    | SymbolsSeen
    | ButtonPressed
    | ButtonReleased
    | Connected
    | NotSent
    | OutcomeKnown
    | AnswerLost
    | RowFailed
    | RowSaved
    | TroubleBegan
    | TroubleEnded
    | UnresolvedCounted
    | OfferMade
    | OfferCancelled
    | Acknowledged
    | ResolutionAsked
    | StopRequested
)
