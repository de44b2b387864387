"""One payment asked for, how it ended, and what its rows say together."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kiosk.core.code import PaymeCode
from kiosk.core.offer import Offer


class Outcome(enum.Enum):
    """How an intent ended, as far as the kiosk can prove.

    UNKNOWN is a state of knowledge, not a kind of failure: money may have moved.
    NOT_SENT is proved: no byte of the request left the kiosk.
    """

    APPROVED = "approved"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Intent:
    """One payment asked for: this offer, with this code."""

    id: str
    offer: Offer
    code: PaymeCode


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an intent's end, and from what.

    Attributes:
        detail: One sentence for staff; no code, no phone number.
        payment_id: The provider's id; never lost, never invented.
        flags: What staff should look at, by name.
        phone, raw: Personal data; they go to the erasable side table only. `raw` is at
            most 64 KiB of the body as received.
    """

    outcome: Outcome
    detail: str = ""
    payment_id: str | None = None
    transaction_id: str | None = None
    facts: dict[str, str | int | None] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    phone: str | None = field(default=None, repr=False)
    raw: bytes | None = field(default=None, repr=False)

    def doubted(self, flag: str, detail: str) -> "Answer":
        """The same facts, but not believed."""
        return replace(self, outcome=Outcome.UNKNOWN, flags=(*self.flags, flag), detail=detail)


class RowKind(enum.Enum):
    """What a row of the journal announces or states."""

    SENDING = "sending"
    APPROVED = "approved"
    DECLINED = "declined"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    RESOLVED_APPROVED = "resolved_approved"
    RESOLVED_DECLINED = "resolved_declined"


_STATED = {
    RowKind.APPROVED: Outcome.APPROVED,
    RowKind.DECLINED: Outcome.DECLINED,
    RowKind.NOT_SENT: Outcome.NOT_SENT,
    RowKind.UNKNOWN: Outcome.UNKNOWN,
    RowKind.RESOLVED_APPROVED: Outcome.APPROVED,
    RowKind.RESOLVED_DECLINED: Outcome.DECLINED,
}
_RESOLUTIONS = (RowKind.RESOLVED_APPROVED, RowKind.RESOLVED_DECLINED)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an intent's rows say together.

    Attributes:
        outcome: None while the request may still be running.
        resolved: Staff stated it; the gateway did not.
        conflict: The gateway's late answer contradicts staff. Counts as approved until staff
            look again.
    """

    outcome: Outcome | None = None
    resolved: bool = False
    conflict: bool = False

    @property
    def is_open(self) -> bool:
        """Staff or the gateway still have to say how it ended."""
        return self.outcome in (None, Outcome.UNKNOWN) or self.conflict

    def after(self, kind: RowKind) -> "Standing":
        """The standing once one more row is there; every row is accepted in every order."""
        if kind is RowKind.SENDING:
            return self
        stated = _STATED[kind]
        if kind in _RESOLUTIONS:
            return Standing(stated, resolved=True)
        if stated is Outcome.UNKNOWN:
            # Doubt takes nothing back that somebody has already stated.
            return self if self.outcome is not None else Standing(stated)
        if self.resolved and stated is not self.outcome:
            # A late "not sent" agrees with "declined" as far as money goes.
            if {stated, self.outcome} == {Outcome.NOT_SENT, Outcome.DECLINED}:
                return self
            return Standing(Outcome.APPROVED, resolved=True, conflict=True)
        if self.conflict or self.outcome is Outcome.APPROVED:
            return self
        return Standing(stated)


def standing_of(kinds: Iterable[RowKind]) -> Standing:
    """Fold the rows of one intent, oldest first."""
    standing = Standing()
    for kind in kinds:
        standing = standing.after(kind)
    return standing
