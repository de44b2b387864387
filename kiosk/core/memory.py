"""What the session remembers whatever state it is in."""

from dataclasses import dataclass, replace

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.core.money import is_payable
from kiosk.core.offer import Offer

DEBOUNCE_S = 0.05
"""Edges closer than this are the contact bouncing (gpiozero's mock pins ignore bounce_time)."""
PRESS_STALE_S = 1.0
"""A press that waited longer for the deciding thread means nothing any more."""
_MOST_IN_VIEW = 16


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that the rules of a payment need. Amounts in sums, times in seconds."""

    offers: tuple[Offer, ...]  # one: fixed; several: menu; none: a host makes them
    max_amount_sum: int = 5_000_000
    confirm_automatic: bool = False
    confirm_timeout_s: float = 30.0
    rearm_s: float = 3.0
    connecting_s: float = 9.0
    deadline_s: float = 65.0
    max_consecutive_unknown: int = 2
    unknown_pause_s: float = 600.0
    max_unresolved: int = 10

    @property
    def warn_before_end_s(self) -> float:
        """The customer is warned 5 s before the end; half-way where there is less time."""
        return min(5.0, self.confirm_timeout_s / 2)


@dataclass(frozen=True, slots=True)
class Memory:
    """Carried from state to state.

    Attributes:
        troubles: Reasons against selling, each with a sentence for staff.
        item: Where a menu stands.
        walked_at_s: When somebody last walked the menu.
        in_view: Marks that were dealt with, and when each was last seen; one starts nothing
            until it was out of sight for `rearm_s`.
        last_edge_at_s: The button's last change, in order to tell a bounce.
        walking_since_s: Begin of a press that may turn out short and walk the menu.
        unknown_in_row: Intents that ended unknown since the last one that did not.
        paused_until_s: After too many of them.
        running: Requests without a final word from their thread, given up or not.
        unsaved: Intents whose outcome is not durable yet.
        stopping: Leave as soon as no request is running.
    """

    troubles: tuple[tuple[Reason, str], ...] = ()
    item: int = 0
    walked_at_s: float = 0.0
    host_offer: Offer | None = None
    in_view: tuple[tuple[bytes, float], ...] = ()
    last_edge_at_s: float = float("-inf")
    walking_since_s: float | None = None
    unknown_in_row: tuple[str, ...] = ()
    paused_until_s: float = float("-inf")
    unresolved: int = 0
    running: frozenset[str] = frozenset()
    unsaved: frozenset[str] = frozenset()
    stopping: bool = False

    def offer(self, policy: Policy) -> Offer | None:
        """What is for sale now; None where a host has made no offer."""
        if not policy.offers:
            offer = self.host_offer
        else:
            offer = policy.offers[self.item % len(policy.offers)]
        if offer is None or not is_payable(offer.amount_sum, policy.max_amount_sum):
            return None
        return offer

    def reasons(self, now_s: float, policy: Policy) -> tuple[tuple[Reason, str], ...]:
        """Everything that stands against inviting a customer now."""
        found = list(self.troubles)
        if self.unsaved:
            found.append((Reason.OUTCOME_UNSAVED, "an outcome could not be written; retrying"))
        if self.is_paused(policy) and now_s < self.paused_until_s:
            found.append(
                (
                    Reason.UNKNOWN_PAUSE,
                    f"{len(self.unknown_in_row)} payments in a row ended unknown; pausing",
                )
            )
        if self.unresolved > policy.max_unresolved:
            found.append(
                (
                    Reason.UNRESOLVED_LIMIT,
                    f"{self.unresolved} unknown payments wait for staff: kiosk journal unresolved",
                )
            )
        return tuple(found)

    def is_paused(self, policy: Policy) -> bool:
        """Whether the last outcomes in a row were unknown too often."""
        return len(self.unknown_in_row) >= policy.max_consecutive_unknown

    def began(self, reason: Reason, detail: str) -> "Memory":
        """With this reason, its detail replaced where it was there already."""
        others = tuple(pair for pair in self.troubles if pair[0] is not reason)
        return replace(self, troubles=(*others, (reason, detail)))

    def ended(self, reason: Reason) -> "Memory":
        """Without this reason."""
        return replace(self, troubles=tuple(p for p in self.troubles if p[0] is not reason))

    def is_in_view(self, mark: bytes, at_s: float, policy: Policy) -> bool:
        """Whether this mark was dealt with and not yet out of sight for `rearm_s`."""
        return any(m == mark and at_s - seen_s < policy.rearm_s for m, seen_s in self.in_view)

    def dealt_with(self, marks: tuple[bytes, ...], at_s: float) -> "Memory":
        """These marks start nothing until they were out of sight."""
        last_seen = dict(self.in_view)
        for mark in marks:
            # A frame may have been captured before the moment at which its code was dealt with.
            last_seen[mark] = max(at_s, last_seen.pop(mark, at_s))
        return replace(self, in_view=tuple(last_seen.items())[-_MOST_IN_VIEW:])

    def still_sees(self, event: events.SymbolsSeen, policy: Policy) -> "Memory":
        """Those dealt with that this frame shows again stay in view."""
        shown = (*(seen.code.mark for seen in event.codes), *event.refused)
        again = tuple(m for m in shown if self.is_in_view(m, event.seen_at_s, policy))
        return self.dealt_with(again, event.seen_at_s) if again else self

    def ended_unknown(self, intent_id: str, now_s: float, policy: Policy) -> "Memory":
        """One more unknown outcome in a row."""
        memory = replace(self, unknown_in_row=(*self.unknown_in_row, intent_id))
        if memory.is_paused(policy):
            memory = replace(memory, paused_until_s=now_s + policy.unknown_pause_s)
        return memory

    def no_longer_unknown(self, intent_id: str) -> "Memory":
        """Somebody learned how it ended, late."""
        row = tuple(other for other in self.unknown_in_row if other != intent_id)
        return replace(self, unknown_in_row=row)

    def ended_known(self) -> "Memory":
        """The row of unknown outcomes is broken."""
        return replace(self, unknown_in_row=())
