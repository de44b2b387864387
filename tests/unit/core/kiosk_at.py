"""A session with a clock in the hand of the test: `kiosk.look(A, at_s=0)`."""

from kiosk.core import effects, events
from kiosk.core.code import PaymeCode
from kiosk.core.cues import Cue
from kiosk.core.intent import Answer, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.offer import Offer
from kiosk.core.session import begin, step

A, B, C = (PaymeCode(f"5050204430138139642{n}") for n in (7, 8, 9))
COFFEE, TEA, WATER = Offer(15_000, "coffee"), Offer(8_000, "tea"), Offer(3_000, "water")
ORDER = Offer(20_000, "order 17", "ref-17")
FIXED = Policy(offers=(COFFEE,))
MENU = Policy(offers=(COFFEE, TEA, WATER))
HOST = Policy(offers=())
AUTOMATIC = Policy(offers=(COFFEE,), confirm_automatic=True)
APPROVED = Answer(Outcome.APPROVED, payment_id="696e0246c9a128176d5934d8")
DECLINED = Answer(Outcome.DECLINED, "no money")
UNKNOWN = Answer(Outcome.UNKNOWN, "no status")


class Kiosk:
    """The state, and what the last event wished."""

    def __init__(self, policy=FIXED, memory=None, doubtful=None, *, at_s=0.0):
        self.policy = policy
        self.state, self.wishes = begin(memory or Memory(), doubtful, at_s, policy)
        self._looks = 0

    def take(self, event, *, at_s):
        self.state, self.wishes = step(self.state, event, at_s, self.policy)
        return self

    def look(self, *codes, at_s, spent=None, refused=()):
        """A frame; the intent that it may start is called i1, i2, ..."""
        self._looks += 1
        seen = tuple(events.SeenCode(code, spent) for code in codes)
        return self.take(
            events.SymbolsSeen(at_s, seen, tuple(refused), f"i{self._looks}"), at_s=at_s
        )

    def press(self, *, at_s, waited_s=0.0):
        return self.take(events.ButtonPressed(at_s), at_s=at_s + waited_s)

    def release(self, *, at_s):
        return self.take(events.ButtonReleased(at_s), at_s=at_s)

    def tick(self, *, at_s):
        return self.take(events.Tick(), at_s=at_s)

    def connected(self, intent_id, *, at_s):
        return self.take(events.Connected(intent_id), at_s=at_s)

    def answer(self, intent_id, answer, *, at_s, payment_id_known=False):
        return self.take(events.OutcomeKnown(intent_id, answer, payment_id_known), at_s=at_s)

    def offer(self, offer, *, at_s, consumed=False):
        return self.take(events.OfferMade(offer, consumed, 7), at_s=at_s)

    def trouble(self, reason, *, at_s):
        return self.take(events.TroubleBegan(reason, "as it says"), at_s=at_s)

    @property
    def shown(self) -> tuple[Cue, ...]:
        return tuple(wish.cue for wish in self.wishes if isinstance(wish, effects.Show))

    @property
    def error(self) -> str | None:
        (reply,) = (wish for wish in self.wishes if isinstance(wish, effects.Reply))
        return reply.error

    def wished(self, kind) -> bool:
        return any(isinstance(wish, kind) for wish in self.wishes)


def awaiting(policy=FIXED, *, code=A) -> Kiosk:
    """A code was read at 0 s, as intent i1."""
    return Kiosk(policy).look(code, at_s=0)


def connecting(policy=FIXED) -> Kiosk:
    """Its owner pressed at 1 s."""
    return awaiting(policy).press(at_s=1)


def submitting(policy=FIXED) -> Kiosk:
    """Its request left at 1 s."""
    return connecting(policy).connected("i1", at_s=1)


def concluded(answer, policy=FIXED) -> Kiosk:
    """The answer came at 2 s."""
    return submitting(policy).answer("i1", answer, at_s=2)


def given_up(policy=FIXED) -> Kiosk:
    """No answer came by 66 s; the staff saw it, and the kiosk is ready again."""
    kiosk = submitting(policy).tick(at_s=66)
    return kiosk.take(events.Acknowledged(1), at_s=67)
