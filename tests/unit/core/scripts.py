"""Scripts for the World: customers who behave, customers who do not, and noise between them."""

from dataclasses import dataclass

from hypothesis import strategies as st

from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.core.session import step

from .world import STEPS_S, Move, World

COFFEE, TEA, WATER = Offer(15_000, "coffee"), Offer(8_000, "tea"), Offer(3_000, "water")
POLICIES = tuple(
    Policy(
        offers=offers,
        max_amount_sum=1_000_000,
        confirm_automatic=automatic,
        max_consecutive_unknown=row,
        max_unresolved=unresolved,
    )
    for offers in ((COFFEE,), (COFFEE, TEA, WATER), ())
    for automatic in (False, True)
    for row, unresolved in ((1, 10), (2, 1), (2, 10))
)
_NOISE = (
    *("look", "look", "look_at_two", "look_beside_sticker", "press", "press", "release"),
    *("connected", "connected", "not_sent", "lost", "answer", "answer", "tick", "tick"),
    *("trouble", "trouble_over", "offer", "offer", "cancel", "acknowledge", "resolve"),
    *("stop", "disk_fails", "disk_mended", "kill"),
)
_SHARP = (
    *("disk_fails", "disk_fails", "disk_fails", "disk_mended", "kill", "stop", "tick"),
    *("look", "look_at_two", "look_beside_sticker", "press", "trouble", "trouble_over"),
    *("answer", "answer", "not_sent", "connected", "acknowledge", "resolve", "offer", "cancel"),
)
_SMALL = st.integers(0, 7)
noise = st.builds(Move, st.sampled_from(_NOISE), st.sampled_from(STEPS_S), _SMALL, _SMALL)
_disturbances = st.builds(
    Move, st.sampled_from(_SHARP), st.sampled_from((0.0, 0.0, 0.05, 0.8)), _SMALL, _SMALL
)


@dataclass(frozen=True)
class Script:
    """A policy, how Ticks come, and what happens."""

    policy: Policy
    is_prompt: bool
    moves: tuple[Move, ...]


def play(script: Script, *, step=step, guards_codes: bool = True) -> World:
    world = World(script.policy, is_prompt=script.is_prompt, step=step, guards_codes=guards_codes)
    return world.play(script.moves)


_PRESSES = (
    *(Move("press", 0.69), Move("press", 0.7), Move("press", 0.71), Move("press", 3.0)),
    *(Move("press", 1.5, 4), Move("press", 3.0, 6)),
)
_CONNECTING = (
    *(Move("connected", 0.01), Move("connected", 0.3), Move("connected", 0.3)),
    *(Move("connected", 8.9), Move("not_sent", 0.3), Move("tick", 9.0)),
)
_ENDING = (
    *(Move("answer", 0.3, 0, 0), Move("answer", 12.0, 0, 1), Move("answer", 0.3, 0, 2)),
    *(Move("answer", 0.3, 0, 3), Move("answer", 0.3, 0, 4), Move("lost", 3.0)),
    *(Move("not_sent", 3.0), Move("kill", 0.3), Move("tick", 66.0)),
)


@st.composite
def customers(draw) -> list[Move]:
    """Somebody who wants to pay, how far that comes, and what comes between."""
    moves = [
        Move("offer", 0.0, draw(st.integers(0, 2))),
        Move("look", draw(st.sampled_from((3.1, 4.6, 61.0))), draw(_SMALL)),
        draw(st.sampled_from(_PRESSES)),
        Move("release", 0.2),
        draw(st.sampled_from(_CONNECTING)),
        draw(st.sampled_from(_ENDING)),
    ]
    if draw(st.booleans()):
        moves.insert(draw(st.integers(0, 6)), draw(_disturbances))
    return moves


@st.composite
def late_answers(draw) -> list[Move]:
    """Nobody waits for it any more, and the next customer may stand there; the disk may fail."""
    moves = [
        *(Move("look", 3.1, draw(_SMALL)), Move("press", 1.0), Move("release", 0.2)),
        *(Move("connected", 0.1), Move("tick", 66.0), Move("acknowledge", 1.0)),
        *draw(customers()),
    ]
    at = draw(st.integers(5, len(moves)))
    word = draw(st.sampled_from(("answer", "answer", "not_sent", "lost")))
    moves.insert(at, Move(word, 0.05, 1, draw(_SMALL)))
    if draw(st.booleans()):
        moves.insert(at, Move("disk_fails"))
    return moves


_chapters = st.one_of(
    customers(), customers(), late_answers(), st.lists(noise, min_size=1, max_size=6)
)


@st.composite
def scripts(draw) -> Script:
    chapters = draw(st.lists(_chapters, min_size=1, max_size=8))
    moves = [move for chapter in chapters for move in chapter]
    return Script(
        draw(st.sampled_from(POLICIES)), draw(st.sampled_from((True, True, False))), tuple(moves)
    )
