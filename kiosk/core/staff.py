"""What staff may state about an intent, and when."""

from kiosk.core import effects, events
from kiosk.core.effects import Effect
from kiosk.core.memory import Memory


def resolve(memory: Memory, event: events.ResolutionAsked) -> tuple[Effect, ...]:
    """The row that states how an unknown intent ended, or why it is refused."""
    if event.standing is None:
        error = f"there is no intent {event.intent_id}"
    elif event.intent_id in memory.running:
        error = "its request is still running; wait for the answer or the deadline"
    elif event.intent_id in memory.unsaved:
        error = "its outcome is known and waits to be written; see the disk"
    elif not event.standing.is_open or event.standing.outcome is None:
        ended = event.standing.outcome.value if event.standing.outcome else "nothing yet"
        error = f"only an unknown payment can be resolved; this one ended: {ended}"
    elif event.payment_id_known:
        error = "another payment in the journal has this payment_id"
    elif not event.by.strip() or not event.why.strip():
        error = "who states it and why are both needed"
    else:
        return (
            effects.RecordResolution(
                event.intent_id,
                event.outcome,
                event.by,
                event.why,
                event.payment_id,
                event.request,
            ),
        )
    return (effects.Reply(event.request, error),)
