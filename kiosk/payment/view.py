"""The session as other processes may see it: no code, no phone number."""

import re

from kiosk import messages
from kiosk.core.cues import Cue
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.states import (
    AwaitingConfirm,
    Concluded,
    Connecting,
    OutOfService,
    State,
    Submitting,
    next_deadline_s,
)


def state_name(state: State) -> str:
    """`AwaitingConfirm` as `awaiting_confirm`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(state).__name__).lower()


def view(
    state: State,
    cue: Cue,
    policy: Policy,
    now_s: float,
    *,
    scanner: bool,
    started_by_box_s: float | None = None,
) -> messages.State:
    """What the control socket publishes."""
    intent, outcome = None, None
    offer = state.memory.offer(policy)
    ends_s = next_deadline_s(state, now_s, policy)
    match state:
        case AwaitingConfirm():
            intent, offer, ends_s = state.intent.id, state.intent.offer, state.ends_s
        case Connecting() | Submitting():
            intent, offer, ends_s = state.intent.id, state.intent.offer, state.give_up_at_s
        case Concluded():
            intent, outcome = state.intent_id, state.outcome.value
        case _:
            pass
    reasons = state.memory.reasons(now_s, policy) if isinstance(state, OutOfService) else ()
    return messages.State(
        state=state_name(state),
        reasons=[reason.value for reason, _ in reasons],
        details={reason.value: detail for reason, detail in reasons},
        offer=_offer_view(offer),
        intent=intent,
        outcome=outcome,
        cue=cue.value,
        ends_in_s=round(max(0.0, ends_s - now_s), 1) if ends_s is not None else None,
        unresolved=state.memory.unresolved,
        scanner=scanner,
        started_by_box_s=started_by_box_s,
    )


def _offer_view(offer: Offer | None) -> messages.OfferView | None:
    if offer is None:
        return None
    return messages.OfferView(
        amount_sum=offer.amount_sum, label=offer.label, reference=offer.reference
    )
