"""How soon a phone that comes, shakes and turns is read: simulated visits."""

import functools
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kiosk.bench.engines import FRAME_S, KIOSK, USUAL, ZXING, Kiosk, load_rivals
from kiosk.bench.figures import Figure, Measured, compared, percentile
from kiosk.bench.spread import spread
from kiosk.sandbox.corpus import visit
from kiosk.sandbox.renderer import render

FRAMES = 60
"""Two seconds."""
NAMES = (KIOSK, ZXING, USUAL)


@dataclass(frozen=True, slots=True)
class First:
    """The first read of a visit.

    Attributes:
        frames: How many frames it took; 1 is the first one.
        milliseconds: From the first frame of the phone to the read, decoding included.
        right: It was what the phone showed.
    """

    frames: int
    milliseconds: float
    right: bool


Visit = dict[str, First]
"""For each engine that read within two seconds."""


def simulate_visits(seed: int, count: int, *, workers: int = 1) -> list[Visit]:
    """Let visits happen, their severities spread evenly from 0 to 1.

    Args:
        seed: Decides everything.
        count: How many.
        workers: Processes.
    """
    return spread(functools.partial(_simulate, seed, count), count, workers)


def _simulate(seed: int, count: int, numbers: Iterable[int]) -> list[Visit]:
    rivals = {one.name: one for one in load_rivals() if one.name in NAMES}
    visits = []
    for number in numbers:
        rng = np.random.default_rng([seed, 3, number])
        scenes = visit(rng, (number + 0.5) / count, frames=FRAMES, fps=1 / FRAME_S)
        ours = Kiosk()
        first: Visit = {}
        for frame, scene in enumerate(scenes):
            luma = render(scene, frame)
            for name in [name for name in NAMES if name not in first]:
                given = luma if name == KIOSK else rivals[name].prepare(luma)
                began_s = time.perf_counter()
                texts = ours.read_next(luma) if name == KIOSK else rivals[name].read(given)
                took_ms = (time.perf_counter() - began_s) * 1e3
                if texts:
                    right = scene.phones[0].payload in texts
                    first[name] = First(frame + 1, frame * FRAME_S * 1e3 + took_ms, right)
            if len(first) == len(NAMES):
                break
        visits.append(first)
    return visits


def visit_figures(visits: Sequence[Visit], seed: int) -> list[Figure]:
    """The figures; a visit that was not read counts as one of more than two seconds."""
    label = f"visits, of {len(visits)} (seed {seed})"
    read: dict[str, Measured] = {}
    wrong: dict[str, Measured] = {}
    rows: dict[str, dict[str, Measured]] = {}
    for name in NAMES:
        firsts = [one.get(name) for one in visits]
        read[name] = sum(one is not None and one.right for one in firsts)
        wrong[name] = sum(one is not None and not one.right for one in firsts)
        frames = [float("inf") if one is None else one.frames for one in firsts]
        took = [float("inf") if one is None else one.milliseconds for one in firsts]
        for what, values, digits in (("frames", frames, 0), ("ms", took, 1)):
            points = {"median": statistics.median(values), "p90": percentile(values, 90)}
            for point, value in points.items():
                row = rows.setdefault(f"{what} until the first read, {point}", {})
                row[name] = round(value, digits) if value < float("inf") else None
    figures = compared(f"{label}: read within {FRAMES} frames", read)
    figures += compared(f"{label}: first read is wrong", wrong)
    for row_name, row in rows.items():
        figures += compared(f"{label}: {row_name}", row)
    return figures
