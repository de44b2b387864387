"""Completes what happened with what the journal knows, before the session hears of it."""

import re
import secrets
from collections.abc import Callable
from dataclasses import replace

from kiosk import messages
from kiosk.core import events
from kiosk.core.code import PaymeCode, check_payload, mark_of
from kiosk.core.intent import Outcome
from kiosk.core.offer import Offer
from kiosk.errors import JournalError
from kiosk.payment.store import Store

SIGHTING_STALE_S = 1.0
"""Older than that it waited for the deciding thread, and the customer has moved."""
_CLOCK_SLACK_S = 0.1
_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_intent_id() -> str:
    """Never used before: 58 random bits, without letters that are misread: K7Q2-9FDM-4RTA."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(12))
    return f"{letters[:4]}-{letters[4:8]}-{letters[8:]}"


class Informant:
    """Asks the journal on behalf of the session. Main thread only."""

    def __init__(
        self,
        store: Store,
        code_pattern: str,
        new_id: Callable[[], str] = new_intent_id,
    ) -> None:
        self._store = store
        self._pattern = re.compile(code_pattern.encode("ascii"))
        self._new_id = new_id

    def look(self, sighting: messages.Sighting, now_s: float) -> events.SymbolsSeen | None:
        """The codes in a frame and how each stands; None where the frame is too old.

        Raises:
            JournalError: The journal cannot be asked.
        """
        age_s = now_s - sighting.captured_at_s
        if not -_CLOCK_SLACK_S <= age_s <= SIGHTING_STALE_S:
            return None
        codes: dict[PaymeCode, None] = {}
        refused: dict[bytes, None] = {}
        for symbol in sighting.symbols:
            checked = check_payload(symbol.payload, symbol.kind, self._pattern)
            if isinstance(checked, PaymeCode):
                codes[checked] = None
            else:
                refused[mark_of(symbol.payload)] = None
        journal = self._store.usable()
        return events.SymbolsSeen(
            seen_at_s=sighting.captured_at_s,
            codes=tuple(events.SeenCode(code, journal.spent(code)) for code in codes),
            refused=tuple(refused),
            fresh_id=self._new_id(),
        )

    def complete(self, known: events.OutcomeKnown) -> events.OutcomeKnown:
        """With whether another payment has this payment_id."""
        try:
            journal = self._store.usable()
            is_known = journal.knows_payment(known.answer.payment_id, known.intent_id)
        except JournalError:
            # Its row will fail too, and then nobody is told "approved".
            return known
        return replace(known, payment_id_known=is_known)

    def offered(self, request: int, command: messages.Offer) -> events.OfferMade:
        """A host's offer, with whether its reference was sold already.

        Raises:
            JournalError: The journal cannot be asked.
        """
        offer = Offer(command.amount_sum, command.label, command.reference)
        consumed = self._store.usable().consumed(command.reference)
        return events.OfferMade(offer, consumed, request)

    def resolving(self, request: int, command: messages.Resolve) -> events.ResolutionAsked:
        """What staff state, with how the intent stands.

        Raises:
            JournalError: The journal cannot be asked.
        """
        journal = self._store.usable()
        return events.ResolutionAsked(
            intent_id=command.intent,
            outcome=Outcome.APPROVED if command.outcome == "approved" else Outcome.DECLINED,
            by=command.by,
            why=command.why,
            payment_id=command.payment_id,
            standing=journal.standing(command.intent),
            payment_id_known=journal.knows_payment(command.payment_id, command.intent),
            request=request,
        )
