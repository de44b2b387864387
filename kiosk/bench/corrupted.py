"""False reads: frames in which nothing is payable, and codes that were damaged or spliced.

A damaged code may be read as what it was, or not at all. Anything else is a false read: money
would be asked of a code that nobody showed.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hardware.frame import Luma
from kiosk.bench.engines import KIOSK, RIVALS, Kiosk, load_rivals, payable
from kiosk.bench.figures import Figure, Measured, compared
from kiosk.bench.material import committed_frames
from kiosk.bench.spread import spread
from kiosk.sandbox.corpus import random_payload
from kiosk.sandbox.symbols import Kind, draw_modules
from kiosk.scanner.rescues import RescueStage
from kiosk.settings import ScanSettings

RIVALS_EVERY = 5
"""Of so many damaged codes, the usual engines and each rescue by itself get one."""
ALONE = "rescues alone"
"""What single rescues read before anything agreed to it."""

Modules = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A damaged symbol as a camera sees it.

    Attributes:
        luma: uint8, small.
        drawn: The payloads of the whole symbols that it was made of.
        how: What was done to it.
    """

    luma: Luma
    drawn: frozenset[str]
    how: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who read a damaged code as one of those that were drawn, and who as something else."""

    read: frozenset[str]
    false: frozenset[str]


def draw_damaged(seed: int, number: int) -> Damaged:
    """Draw symbol `number`, damage it and take its picture."""
    rng = np.random.default_rng([seed, 2, number])
    # Twenty digits, or an address: symbols of 21 and of 29 modules.
    long = bool(rng.random() < 0.25)
    level = str(rng.choice(["L", "M", "Q", "H"]))
    first, second = (
        f"https://example.com/pay?id={random_payload(rng)}" if long else random_payload(rng)
        for _ in range(2)
    )
    one, other = (draw_modules(Kind.QR, payload, level) for payload in (first, second))
    how = str(rng.choice(["flip", "splice", "stripes", "blocks", "blank", "repeat"]))
    drawn = {first}
    match how:
        case "flip":
            modules = _flip(one, rng)
        case "splice" | "stripes" | "blocks" if one.shape == other.shape:
            modules = np.where(_pattern(how, one.shape[0], rng), one, other)
            drawn.add(second)
        case "repeat":
            modules = _repeat(one, rng)
        case _:
            modules = _blank(one, rng)
    return Damaged(_take(modules, rng), frozenset(drawn), how)


def _flip(modules: Modules, rng: np.random.Generator) -> Modules:
    """Flip 5 to 50 percent of the modules; in half of the symbols the finder patterns stay."""
    flipped = rng.random(modules.shape) < rng.uniform(0.05, 0.5)
    if rng.random() < 0.5:
        for rows, columns in ((slice(8), slice(8)), (slice(8), slice(-8, None))):
            flipped[rows, columns] = False
            flipped[columns, rows] = False
    return modules ^ flipped


def _pattern(how: str, side: int, rng: np.random.Generator) -> Modules:
    """Where the first of two symbols is seen."""
    row, column = np.mgrid[0:side, 0:side]
    match how:
        case "splice":  # halves, at any angle
            angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.3) * side
            middle = (side - 1) / 2
            across = (row - middle) * np.sin(angle) + (column - middle) * np.cos(angle)
            seen = across > offset
        case "stripes":
            width, along = int(rng.integers(1, 5)), (row, column)[int(rng.integers(2))]
            seen = along // width % 2 == 0
        case _:
            size = int(rng.integers(2, 8))
            cells = rng.random((side // size + 1, side // size + 1)) < rng.uniform(0.2, 0.8)
            seen = cells[row // size, column // size]
    return np.asarray(seen, dtype=np.bool_)


def _block(side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    height, width = rng.integers(3, max(4, side // 2), 2)
    top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
    return slice(top, top + int(height)), slice(left, left + int(width))


def _blank(modules: Modules, rng: np.random.Generator) -> Modules:
    """Make one to four blocks light, dark or random."""
    damaged = modules.copy()
    for _ in range(int(rng.integers(1, 5))):
        block = _block(modules.shape[0], rng)
        fill = int(rng.integers(3))
        damaged[block] = rng.random(damaged[block].shape) < 0.5 if fill == 2 else bool(fill)
    return damaged


def _repeat(modules: Modules, rng: np.random.Generator) -> Modules:
    """Copy one to four blocks to other places."""
    damaged = modules.copy()
    for _ in range(int(rng.integers(1, 5))):
        rows, columns = _block(modules.shape[0], rng)
        part = modules[rows, columns]
        top = int(rng.integers(0, modules.shape[0] - part.shape[0] + 1))
        left = int(rng.integers(0, modules.shape[0] - part.shape[1] + 1))
        damaged[top : top + part.shape[0], left : left + part.shape[1]] = part
    return damaged


def _take(modules: Modules, rng: np.random.Generator) -> Luma:
    """Take the picture: a little turned, blurred, noisy, 96 to 176 pixels wide."""
    page = np.pad(np.where(modules, 0, 255).astype(np.uint8), 4, constant_values=255)
    side = int(rng.integers(96, 177))
    count = page.shape[0]
    fine: Any = np.kron(page, np.ones((8, 8), dtype=np.uint8))
    reach = side * rng.uniform(0.02, 0.09)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float32)
    seen = square * np.float32(side) + rng.uniform(-reach, reach, (4, 2)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(square * np.float32(count * 8), seen)
    taken: Any = cv2.warpPerspective(
        fine, matrix, (side, side), flags=cv2.INTER_AREA, borderValue=(200,)
    )
    dark, light = rng.uniform(0, 90), rng.uniform(130, 255)
    luma = taken.astype(np.float32) * ((light - dark) / 255) + dark
    luma = cv2.GaussianBlur(luma, (0, 0), float(rng.uniform(0.3, 1.6)))
    luma = luma + rng.normal(0, rng.uniform(0.5, 10), luma.shape)
    result: Luma = np.clip(np.rint(luma), 0, 255).astype(np.uint8)
    return 255 - result if rng.random() < 0.1 else result


def judge_damaged(seed: int, count: int, *, workers: int = 1) -> list[Verdict]:
    """Let the kiosk read damaged codes, and the usual engines each fifth of them.

    Args:
        seed: Decides everything.
        count: How many codes.
        workers: Processes.
    """
    return spread(functools.partial(_judge, seed), count, workers)


def _judge(seed: int, numbers: Iterable[int]) -> list[Verdict]:
    ours, rivals = Kiosk(), load_rivals()
    rescues = [RescueStage(name) for name in ScanSettings().rescues]
    verdicts = []
    for number in numbers:
        damaged = draw_damaged(seed, number)
        texts: dict[str, Iterable[str]] = {KIOSK: ours.read_still(damaged.luma)}
        if number % RIVALS_EVERY == 0:
            texts |= {one.name: one.read(one.prepare(damaged.luma)) for one in rivals}
            texts[ALONE] = [
                text for stage in rescues for text in payable(stage.decode(damaged.luma))
            ]
        verdicts.append(judge(texts, damaged.drawn))
    return verdicts


def judge(texts: dict[str, Iterable[str]], drawn: frozenset[str]) -> Verdict:
    """Compare what each read with what was drawn."""
    found = {name: set(several) for name, several in texts.items()}
    return Verdict(
        read=frozenset(name for name, several in found.items() if several & drawn),
        false=frozenset(name for name, several in found.items() if several - drawn),
    )


def damaged_figures(verdicts: Sequence[Verdict], seed: int) -> list[Figure]:
    """The figures of damaged codes."""
    names = (KIOSK, *RIVALS, ALONE)
    fifth = verdicts[::RIVALS_EVERY]
    read: dict[str, Measured] = {name: sum(name in one.read for one in fifth) for name in names}
    false: dict[str, Measured] = {name: sum(name in one.false for one in fifth) for name in names}
    label = f"damaged or spliced codes, of {len(fifth)}"
    return [
        *compared(f"{label}: read as drawn", read),
        *compared(f"{label}: false reads", false),
        Figure(
            figure=f"kiosk, false reads on {len(verdicts)} damaged or spliced codes",
            measured=sum(KIOSK in one.false for one in verdicts),
            bar="= 0",
            detail={"read": sum(KIOSK in one.read for one in verdicts), "seed": seed},
        ),
    ]


def read_negatives(read: Callable[[Luma], Iterable[str]] | None = None) -> list[Figure]:
    """Let all read the committed frames in which nothing is payable.

    Other symbologies and parts of a structured append are among them: a usual loop reports
    these, and does not tell them from a code.

    Args:
        read: Stands in for the kiosk.
    """
    frames = [frame for frame in committed_frames() if not frame.payloads]
    read = read or Kiosk().read_still
    counts: dict[str, Measured] = {KIOSK: sum(bool(list(read(frame.luma))) for frame in frames)}
    for one in load_rivals():
        counts[one.name] = sum(bool(one.read(one.prepare(frame.luma))) for frame in frames)
    return [
        *compared(f"committed frames with nothing payable, read, of {len(frames)}", counts),
        Figure(
            figure=f"kiosk, false reads on {len(frames)} committed frames with nothing payable",
            measured=counts[KIOSK],
            bar="= 0",
        ),
    ]
