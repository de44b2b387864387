"""The states of a session, what each needs from outside, and until when it lasts."""

from dataclasses import dataclass
from typing import assert_never

from kiosk.core.effects import Effect
from kiosk.core.intent import Intent, Outcome
from kiosk.core.memory import Memory, Policy

STILL_SUBMITTING_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Ready:
    """Waiting for a code.

    Attributes:
        notice_ends_s: While a refusal is being told; then the ready cue comes back.
    """

    memory: Memory
    notice_ends_s: float | None = None


@dataclass(frozen=True, slots=True)
class AwaitingConfirm:
    """A code was read; its owner may press.

    Attributes:
        since_s: When the cue to press was given.
        displaced: The code that this one replaced, and when.
    """

    memory: Memory
    intent: Intent
    since_s: float
    ends_s: float
    warned: bool = False
    displaced: tuple[bytes, float] | None = None


@dataclass(frozen=True, slots=True)
class Connecting:
    """Confirmed; no row and no request yet."""

    memory: Memory
    intent: Intent
    give_up_at_s: float


@dataclass(frozen=True, slots=True)
class Submitting:
    """The row is durable and the request is on its way."""

    memory: Memory
    intent: Intent
    since_s: float
    give_up_at_s: float
    ticked: bool = False


@dataclass(frozen=True, slots=True)
class Concluded:
    """The customer is being told how it ended.

    Attributes:
        intent_id: None where no intent was confirmed.
    """

    memory: Memory
    outcome: Outcome
    intent_id: str | None
    ends_s: float


@dataclass(frozen=True, slots=True)
class OutOfService:
    """Nobody is invited; `memory.reasons` says why."""

    memory: Memory


State = Ready | AwaitingConfirm | Connecting | Submitting | Concluded | OutOfService
Step = tuple[State, tuple[Effect, ...]]


def wants_codes(state: State, policy: Policy) -> bool:
    """Whether the scanner should read.

    While an outcome is told it reads too: a code that stays in view must not count as new.
    """
    match state:
        case Ready():
            return state.memory.offer(policy) is not None
        case AwaitingConfirm() | Concluded():
            return True
        case Connecting() | Submitting() | OutOfService():
            return False
        case _:
            assert_never(state)


def next_deadline_s(state: State, now_s: float, policy: Policy) -> float | None:
    """When the state wants a Tick, at the latest; None where it waits for events alone."""
    memory = state.memory
    match state:
        case Ready():
            times = [state.notice_ends_s]
            if memory.item:
                times.append(memory.walked_at_s + policy.confirm_timeout_s)
            return min((t for t in times if t is not None), default=None)
        case AwaitingConfirm():
            return state.ends_s if state.warned else state.ends_s - policy.warn_before_end_s
        case Connecting():
            return state.give_up_at_s
        case Submitting():
            still_s = state.since_s + STILL_SUBMITTING_AFTER_S
            return state.give_up_at_s if state.ticked else min(still_s, state.give_up_at_s)
        case Concluded():
            return state.ends_s
        case OutOfService():
            # A reason that outlasts the pause ends by an event of its own.
            outlasting = memory.reasons(memory.paused_until_s, policy)
            return None if outlasting else max(now_s, memory.paused_until_s)
        case _:
            assert_never(state)
