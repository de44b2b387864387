"""A world around the session: carries out its wishes as the real loop does, and writes a trace.

The journal is a fake that fails on demand and survives restarts; the gateway is whatever the
script says. A request is on its way exactly when its Submit was carried out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from kiosk.core import effects, events
from kiosk.core.code import PaymeCode
from kiosk.core.cues import Reason
from kiosk.core.effects import Effect
from kiosk.core.events import Event
from kiosk.core.intent import Answer, Intent, Outcome, RowKind, Standing, standing_of
from kiosk.core.memory import Memory, Policy
from kiosk.core.offer import Offer
from kiosk.core.session import begin, step
from kiosk.core.states import State, next_deadline_s

STILL_THERE_S = 120.0
_MOST_TICKS = 12  # more within one move is a busy loop, which a rule of its own finds
CODES = tuple(PaymeCode(f"5050204430138139642{n}") for n in range(6))
STICKERS = (b"https://example.uz/menu", b"5050204430138139642")
# Steps of time around every limit that the rules know.
STEPS_S = (0.0, 0.01, 0.04, 0.05, 0.3, 0.7, 0.71, 1.0, 1.5, 2.9, 3.0, 5.0, 10.0, 25.0, 66.0, 600.0)
AGES_S = (0.0, 0.0, 0.0, 0.2, 0.69, 1.0, 1.01, 5.0)
OUTCOMES = (Outcome.APPROVED, Outcome.APPROVED, Outcome.DECLINED, Outcome.UNKNOWN)
REASONS = tuple(Reason)[:9]  # those that come as events; the others the session finds itself


@dataclass(frozen=True)
class Move:
    """One line of a script. `which` and `detail` mean what the operation makes of them."""

    op: str
    after_s: float = 0.0
    which: int = 0
    detail: int = 0


@dataclass(frozen=True)
class Stepped:
    """The session took an event."""

    at_s: float
    before: State
    event: Event
    after: State
    wishes: tuple[Effect, ...]


@dataclass(frozen=True)
class Done:
    """A wish was carried out; `state` is the session's at that moment."""

    at_s: float
    effect: Effect
    state: State


@dataclass(frozen=True)
class Written:
    """A row is durable now."""

    at_s: float
    intent_id: str
    kind: RowKind


@dataclass(frozen=True)
class Kept:
    """An outcome's row failed; the outcome is kept and waits."""

    at_s: float
    intent_id: str


@dataclass(frozen=True)
class Saved:
    """Nothing kept waits any more."""

    at_s: float


@dataclass(frozen=True)
class Restarted:
    """The process ended, by itself or not, and began again."""

    at_s: float


@dataclass(frozen=True)
class Rested:
    """A move is over; nothing is under way on the deciding thread."""

    at_s: float
    state: State


class RowLostError(Exception):
    """The fake journal could not make a row durable."""


class CodeSpentError(Exception):
    """The fake journal has this code already."""


@dataclass
class FakeJournal:
    """What outlives a restart.

    Attributes:
        rows_left: Rows until the disk fails; None while it is sound.
        ghosts: Sending rows that failed and surface all the same once it is opened anew.
    """

    rows: list[tuple[str, RowKind, float]] = field(default_factory=list)
    intents: dict[str, Intent] = field(default_factory=dict)
    spent_by: dict[str, str] = field(default_factory=dict)
    payment_ids: set[tuple[str, str]] = field(default_factory=set)
    unsaved: list[tuple[str, Answer]] = field(default_factory=list)
    ghosts: list[Intent] = field(default_factory=list)
    disowned: list[str] = field(default_factory=list)
    rows_left: int | None = None
    guards_codes: bool = True

    @property
    def is_broken(self) -> bool:
        return self.rows_left == 0

    def write(self, intent_id: str, kind: RowKind, now_s: float) -> None:
        if self.is_broken:
            raise RowLostError
        if self.rows_left is not None:
            self.rows_left -= 1
            if self.rows_left == 0:
                raise RowLostError
        self.rows.append((intent_id, kind, now_s))

    def write_sending(self, intent: Intent, now_s: float) -> None:
        if self.guards_codes and not self.is_broken and intent.code.digits in self.spent_by:
            raise CodeSpentError
        self.write(intent.id, RowKind.SENDING, now_s)
        self.intents[intent.id] = intent
        self.spent_by[intent.code.digits] = intent.id

    def write_outcome(self, intent_id: str, answer: Answer, now_s: float) -> None:
        kind = RowKind(answer.outcome.value)
        known = answer.payment_id is None or (answer.payment_id, intent_id) in self.payment_ids
        if known and kind in self.kinds(intent_id) and not self.is_broken:
            return  # the same statement twice is one row
        self.write(intent_id, kind, now_s)
        if answer.payment_id is not None:
            self.payment_ids.add((answer.payment_id, intent_id))
        if kind is RowKind.NOT_SENT and intent_id in self.intents:
            digits = self.intents[intent_id].code.digits
            if self.spent_by.get(digits) == intent_id:
                del self.spent_by[digits]

    def kinds(self, intent_id: str) -> list[RowKind]:
        return [kind for i, kind, _ in self.rows if i == intent_id]

    def standing(self, intent_id: str) -> Standing | None:
        kinds = self.kinds(intent_id)
        return standing_of(kinds) if kinds else None

    def outcome(self, intent_id: str) -> Outcome | None:
        standing = self.standing(intent_id)
        return standing.outcome if standing else None

    def spent(self, code: PaymeCode) -> Outcome | None:
        intent_id = self.spent_by.get(code.digits)
        return None if intent_id is None else (self.outcome(intent_id) or Outcome.UNKNOWN)

    def knows_payment(self, payment_id: str | None, intent_id: str) -> bool:
        return any(p == payment_id and i != intent_id for p, i in self.payment_ids)

    def consumed(self, reference: str | None) -> bool:
        return reference is not None and any(
            intent.offer.reference == reference
            and self.outcome(i) not in (Outcome.DECLINED, Outcome.NOT_SENT)
            for i, intent in self.intents.items()
        )

    def in_order(self) -> list[str]:
        return list(dict.fromkeys(i for i, _, _ in self.rows))

    def unresolved(self) -> tuple[str, ...]:
        stated = {i for i, kind, _ in self.rows if kind is not RowKind.SENDING}
        standings = ((i, self.standing(i)) for i in self.in_order() if i in stated)
        return tuple(i for i, standing in standings if standing and standing.is_open)

    def open_anew(self, now_s: float) -> list[str]:
        """The disk is sound again: ghosts surface, what waited is written."""
        self.rows_left = None
        for ghost in self.ghosts:
            self.write_sending(ghost, now_s)
        self.ghosts = []
        saved = [intent_id for intent_id, _ in self.unsaved]
        for intent_id, answer in self.unsaved:
            self.write_outcome(intent_id, answer, now_s)
        self.unsaved = []
        return saved


class World:
    """Plays moves. Time is a number; nothing waits.

    Attributes:
        is_prompt: Ticks come when they are due, as the loop gives them; else only when the
            script says so.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        is_prompt: bool = True,
        step: Callable[[State, Event, float, Policy], tuple[State, tuple[Effect, ...]]] = step,
        guards_codes: bool = True,
    ) -> None:
        self.policy = policy
        self.now_s = 0.0
        self.trace: list[object] = []
        self.journal = FakeJournal(guards_codes=guards_codes)
        self.state: State
        self._is_prompt = is_prompt
        self._inner_step = step
        self._ids: list[str] = []
        self._payments = 0
        self._requests = 0
        self._has_quit = False
        self._begin(Memory(), None)

    # Moves

    def play(self, moves: "tuple[Move, ...] | list[Move]") -> "World":
        for move in moves:
            if self._has_quit:
                self._restart()
            self._pass_time(move.after_s)
            getattr(self, f"_{move.op}")(move.which, move.detail)
            if self._is_prompt and not self._has_quit:
                self._tick_if_due()
            self.trace.append(Rested(self.now_s, self.state))
        return self

    def _pass_time(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        for _ in range(_MOST_TICKS if self._is_prompt else 0):
            if self._has_quit:
                break
            due_s = next_deadline_s(self.state, self.now_s, self.policy)
            if due_s is None or due_s >= until_s:
                break
            self.now_s = max(self.now_s, due_s)
            if not self._tick_if_due():
                break
        self.now_s = max(self.now_s, until_s)

    def _tick_if_due(self) -> bool:
        due_s = next_deadline_s(self.state, self.now_s, self.policy)
        if due_s is None or self.now_s < due_s:
            return False
        self.step(events.Tick())
        return True

    def _tick(self, _which: int, _detail: int) -> None:
        self.step(events.Tick())

    def _look(self, which: int, detail: int) -> None:
        self._see((CODES[which % len(CODES)],), (), AGES_S[detail % 4])

    def _look_at_two(self, which: int, detail: int) -> None:
        codes = (CODES[which % len(CODES)], CODES[(which + 1 + detail) % len(CODES)])
        self._see(tuple(dict.fromkeys(codes)), (), 0.0)

    def _look_beside_sticker(self, which: int, detail: int) -> None:
        codes = () if which % 3 == 0 else (CODES[which % len(CODES)],)
        self._see(codes, (STICKERS[detail % len(STICKERS)],), 0.0)

    def _see(self, codes: tuple[PaymeCode, ...], refused: tuple[bytes, ...], age_s: float) -> None:
        if self.journal.is_broken:
            return  # the informant cannot ask, and the frame is dropped
        seen = tuple(events.SeenCode(code, self.journal.spent(code)) for code in codes)
        self.step(events.SymbolsSeen(self.now_s - age_s, seen, refused, self._new_id()))

    def _press(self, which: int, _detail: int) -> None:
        self.step(events.ButtonPressed(self.now_s - AGES_S[which % len(AGES_S)]))

    def _release(self, which: int, _detail: int) -> None:
        self.step(events.ButtonReleased(self.now_s - AGES_S[which % len(AGES_S)]))

    def _connected(self, which: int, _detail: int) -> None:
        self.step(events.Connected(self._some_id(which)))

    def _not_sent(self, which: int, _detail: int) -> None:
        self.step(events.NotSent(self._some_id(which), "refused"))

    def _lost(self, which: int, _detail: int) -> None:
        self.step(events.AnswerLost(self._some_id(which), "hung up", b"raw"))

    def _answer(self, which: int, detail: int) -> None:
        intent_id = self._some_id(which)
        outcome = OUTCOMES[detail % 4]
        payment_id = None
        if outcome is Outcome.APPROVED:
            self._payments += detail < 4  # else the provider's last id once more
            payment_id = f"p{self._payments}"
        known = not self.journal.is_broken and self.journal.knows_payment(payment_id, intent_id)
        answer = Answer(outcome, "said", payment_id=payment_id)
        self.step(events.OutcomeKnown(intent_id, answer, payment_id_known=known))

    def _trouble(self, which: int, _detail: int) -> None:
        self.step(events.TroubleBegan(REASONS[which % len(REASONS)], "trouble"))

    def _trouble_over(self, which: int, _detail: int) -> None:
        self.step(events.TroubleEnded(REASONS[which % len(REASONS)]))

    def _offer(self, which: int, detail: int) -> None:
        if self.journal.is_broken:
            return
        offer = Offer((1000, 1, 0, -5, 10**9)[detail % 5], "coffee", f"ref-{which % 3}")
        consumed = self.journal.consumed(offer.reference)
        self.step(events.OfferMade(offer, consumed, self._new_request()))

    def _cancel(self, _which: int, _detail: int) -> None:
        self.step(events.OfferCancelled(self._new_request()))

    def _acknowledge(self, _which: int, _detail: int) -> None:
        self.step(events.Acknowledged(self._new_request()))

    def _resolve(self, which: int, detail: int) -> None:
        if self.journal.is_broken:
            return
        intent_id = self._some_id(which)
        self.step(
            events.ResolutionAsked(
                intent_id,
                (Outcome.APPROVED, Outcome.DECLINED)[detail % 2],
                by="" if detail == 6 else "Aziza",
                why="bank statement",
                payment_id=None,
                standing=self.journal.standing(intent_id),
                payment_id_known=detail == 7,
                request=self._new_request(),
            )
        )

    def _stop(self, _which: int, _detail: int) -> None:
        self.step(events.StopRequested())

    def _disk_fails(self, which: int, _detail: int) -> None:
        """So many rows from now on; the failing one may be a ghost, see `_carry_out`."""
        if self.journal.rows_left is None:
            self.journal.rows_left = 1 + which % 4

    def _disk_mended(self, _which: int, _detail: int) -> None:
        if not self.journal.is_broken:
            self.journal.rows_left = None
            return
        saved = self._open_anew()
        for intent_id in self.journal.disowned:
            if self.journal.standing(intent_id) is not None:
                answer = Answer(Outcome.NOT_SENT, "its row failed")
                self.journal.write_outcome(intent_id, answer, self.now_s)
                self.trace.append(Written(self.now_s, intent_id, RowKind.NOT_SENT))
        self.journal.disowned = []
        for intent_id in saved:
            self.step(events.RowSaved(intent_id))
        self.step(events.TroubleEnded(Reason.JOURNAL_UNWRITABLE))
        self._count()

    def _kill(self, _which: int, _detail: int) -> None:
        self._restart()

    # The session and its wishes

    def step(self, event: Event) -> None:
        if self._has_quit:
            return
        before = self.state
        self.state, wishes = self._inner_step(before, event, self.now_s, self.policy)
        self.trace.append(Stepped(self.now_s, before, event, self.state, wishes))
        self._carry_out(wishes)

    def try_step(self, state: State, event: Event, now_s: float) -> State:
        """What the session would become; nothing is carried out."""
        return self._inner_step(state, event, now_s, self.policy)[0]

    def _carry_out(self, wishes: tuple[Effect, ...]) -> None:
        """As the loop: in order, and after a row that failed the rest is not done."""
        for wish in wishes:
            failed = self._record(wish)
            if failed is not None:
                self.step(failed)
                return
            self.trace.append(Done(self.now_s, wish, self.state))
            if isinstance(wish, effects.Quit):
                self._has_quit = True
            if isinstance(wish, effects.RecordResolution) or (
                isinstance(wish, effects.RecordOutcome)
                and (wish.late or wish.answer.outcome is Outcome.UNKNOWN)
            ):
                self._count()

    def _record(self, wish: Effect) -> events.RowFailed | None:
        journal, now_s = self.journal, self.now_s
        try:
            match wish:
                case effects.RecordSending(intent):
                    journal.write_sending(intent, now_s)
                    self.trace.append(Written(now_s, intent.id, RowKind.SENDING))
                case effects.RecordOutcome(intent_id, answer):
                    journal.write_outcome(intent_id, answer, now_s)
                    kind = RowKind(answer.outcome.value)
                    self.trace.append(Written(now_s, intent_id, kind))
                case effects.RecordNotSent(intent):
                    journal.write(intent.id, RowKind.NOT_SENT, now_s)
                    journal.intents[intent.id] = intent
                    self.trace.append(Written(now_s, intent.id, RowKind.NOT_SENT))
                case effects.RecordResolution(intent_id, outcome):
                    kind = RowKind(f"resolved_{outcome.value}")
                    journal.write(intent_id, kind, now_s)
                    self.trace.append(Written(now_s, intent_id, kind))
                case _:
                    pass
        except CodeSpentError:
            return events.RowFailed(wish.intent.id, "spent", "used")
        except RowLostError:
            return self._row_lost(wish)
        return None

    def _row_lost(self, wish: Effect) -> events.RowFailed | None:
        match wish:
            case effects.RecordSending(intent):
                self.journal.disowned.append(intent.id)
                if len(self.journal.rows) % 2:  # a failed commit may surface all the same
                    self.journal.ghosts.append(intent)
                return events.RowFailed(intent.id, "sending", "disk")
            case effects.RecordNotSent(intent):
                return events.RowFailed(intent.id, "not_sent", "disk")
            case effects.RecordOutcome(intent_id, answer):
                self.journal.unsaved.append((intent_id, answer))
                self.trace.append(Kept(self.now_s, intent_id))
                return events.RowFailed(intent_id, "outcome", "disk")
            case _:
                self.step(events.TroubleBegan(Reason.JOURNAL_UNWRITABLE, "disk"))
                return None

    def _open_anew(self) -> list[str]:
        """What surfaces and what is written late are rows like others in the trace."""
        before = len(self.journal.rows)
        saved = self.journal.open_anew(self.now_s)
        for intent_id, kind, _ in self.journal.rows[before:]:
            self.trace.append(Written(self.now_s, intent_id, kind))
        self.trace.append(Saved(self.now_s))
        return saved

    def _count(self) -> None:
        if not self.journal.is_broken:
            self.step(events.UnresolvedCounted(self.journal.unresolved()))

    # Starts

    def _restart(self) -> None:
        """Everything but the journal and what lies beside it is gone; as `recover` does."""
        journal = self.journal
        self._has_quit = False
        journal.disowned = []
        self._open_anew()
        self.trace.append(Restarted(self.now_s))
        doubtful = None
        for intent_id in journal.in_order():
            if set(journal.kinds(intent_id)) == {RowKind.SENDING}:
                written_s = next(t for i, _, t in journal.rows if i == intent_id)
                journal.write(intent_id, RowKind.UNKNOWN, self.now_s)
                self.trace.append(Written(self.now_s, intent_id, RowKind.UNKNOWN))
                if self.now_s - written_s < STILL_THERE_S:
                    doubtful = intent_id
        in_row, last_s = self._unknown_in_row()
        pause_s = max(0.0, self.policy.unknown_pause_s - (self.now_s - last_s))
        memory = Memory(
            unknown_in_row=in_row,
            paused_until_s=self.now_s + pause_s,
            unresolved=len(journal.unresolved()),
        )
        self._begin(memory, doubtful)

    def _unknown_in_row(self) -> tuple[tuple[str, ...], float]:
        found: list[str] = []
        last_s = float("-inf")
        for intent_id in reversed(self.journal.in_order()):
            outcome = self.journal.outcome(intent_id)
            if outcome is Outcome.NOT_SENT:
                continue
            if outcome is not Outcome.UNKNOWN:
                break
            found.append(intent_id)
            last_s = max(last_s, *(t for i, _, t in self.journal.rows if i == intent_id))
        return tuple(found[::-1]), last_s

    def _begin(self, memory: Memory, doubtful: str | None) -> None:
        self.state, wishes = begin(memory, doubtful, self.now_s, self.policy)
        self._carry_out(wishes)

    # Names

    def _new_id(self) -> str:
        self._ids.append(f"i{len(self._ids)}")
        return self._ids[-1]

    def _new_request(self) -> int:
        self._requests += 1
        return self._requests

    def _some_id(self, which: int) -> str:
        """0: the one that is being served; else one of the last, or one that never was."""
        intent = getattr(self.state, "intent", None)
        if which == 0 and intent is not None:
            return str(intent.id)
        announced = [i for i, kind, _ in self.journal.rows if kind is RowKind.SENDING]
        names = [*announced[:-4:-1], *self._ids[-2:], "stranger"]
        return names[max(0, which - 1) % len(names)]

    # The end of a script

    def end_troubles(self) -> None:
        """Everything outside is well again, and staff have resolved what waited too long."""
        if self._has_quit or self.state.memory.stopping:
            self._restart()
        self._disk_mended(0, 0)
        for reason in REASONS:
            self.step(events.TroubleEnded(reason))
        waiting = self.state.memory.unknown_in_row[: self.policy.max_unresolved]
        self.step(events.UnresolvedCounted(waiting))

    def wait_until_next_deadline(self) -> bool:
        """As the loop: sleep until the deadline, look again whether it is due, then Tick."""
        due_s = next_deadline_s(self.state, self.now_s, self.policy)
        if due_s is None:
            return False
        self.now_s = max(self.now_s, due_s)
        return self._tick_if_due()
