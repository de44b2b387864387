"""Who reads how much: the committed frames, and a corpus drawn from a seed."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from hardware.frame import Luma
from kiosk.bench.engines import KIOSK, RIVALS, Kiosk, load_rivals, plain_zxing
from kiosk.bench.figures import Figure, Measured, compared
from kiosk.bench.material import SMALL, committed_frames, corpus_scene
from kiosk.bench.spread import spread
from kiosk.sandbox.renderer import corners, see, take

HELD = "kiosk, held"
"""The phone is held still before a sensor, whose noise differs from frame to frame."""
CEILING = "true corners"
HELD_FRAMES = 30


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one scene.

    Attributes:
        severity: How difficult the scene was meant to be, 0 to 1.
        read: Who read what is there.
        wrong: Who read something that is not there.
    """

    severity: float
    read: frozenset[str]
    wrong: frozenset[str]


def read_corpus(seed: int, count: int, size: str, *, workers: int = 1) -> list[Reading]:
    """Let all read the same rendered scenes, one symbol in each.

    Args:
        seed: Decides everything.
        count: How many scenes.
        size: Of the frames.
        workers: Processes.
    """
    return spread(functools.partial(_read_scenes, seed, size), count, workers)


def _read_scenes(seed: int, size: str, numbers: Iterable[int]) -> list[Reading]:
    rivals, ours, held = load_rivals(), Kiosk(), Kiosk()
    readings = []
    for number in numbers:
        severity, scene = corpus_scene(seed, number, size)
        view = see(scene)
        luma = take(view, scene, 0)
        expected = scene.phones[0].payload
        texts = {one.name: one.read(one.prepare(luma)) for one in rivals}
        texts[KIOSK] = ours.read_still(luma)
        if size == SMALL:
            texts[HELD] = _hold(held, (take(view, scene, noise) for noise in range(HELD_FRAMES)))
            texts[CEILING] = read_at(luma, corners(scene))
        readings.append(
            Reading(
                severity,
                frozenset(name for name, found in texts.items() if expected in found),
                frozenset(name for name, found in texts.items() if set(found) - {expected}),
            )
        )
    return readings


def _hold(ours: Kiosk, frames: Iterable[Luma]) -> list[str]:
    """What is read in the first frame that gives anything."""
    ours.decoder.forget()
    return next((texts for frame in frames if (texts := ours.read_next(frame))), [])


def read_at(luma: Luma, true_corners: Any) -> list[str]:
    """Read a symbol of which is known where it is: what a perfect detector would leave to do.

    Args:
        luma: The frame.
        true_corners: float32, shape (4, 2), as from `renderer.corners`.
    """
    side, margin = 200, 40
    low, high = margin, margin + side
    page = side + 2 * margin
    square = np.array([(low, low), (high, low), (high, high), (low, high)], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(true_corners, square)
    straight: Any = cv2.warpPerspective(luma, matrix, (page, page), borderMode=cv2.BORDER_REPLICATE)
    texts = plain_zxing(straight)
    smooth = cv2.GaussianBlur(straight, (5, 5), 0)
    for side in (31, 51):
        texts += plain_zxing(
            cv2.adaptiveThreshold(
                smooth, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, side, 0
            )
        )
    for side in (17, 33):
        mean = cv2.boxFilter(straight, -1, (side, side))
        texts += plain_zxing(cv2.addWeighted(straight, 3.0, mean, -2.0, 0))
    return sorted(set(texts))


def corpus_figures(readings: Sequence[Reading], seed: int, size: str) -> list[Figure]:
    """The figures of a corpus; the bars are for 640x480."""
    names = (KIOSK, *RIVALS, *((HELD, CEILING) if size == SMALL else ()))
    read = {name: sum(name in one.read for one in readings) for name in names}
    wrong: dict[str, Measured] = {
        name: sum(name in one.wrong for one in readings) for name in names
    }
    label = f"rendered scenes read, of {len(readings)} (seed {seed})"
    figures = compared(label, dict(read), size=size)
    figures += compared("rendered scenes read wrongly", wrong, size=size)
    best = max(RIVALS, key=lambda name: read[name])
    figures.append(
        Figure(
            figure=f"rendered scenes: kiosk / best single engine ({best})",
            measured=_ratio(read[KIOSK], read[best]),
            bar=">= 1.13" if size == SMALL else "",
            size=size,
        )
    )
    if size == SMALL:
        figures.append(
            Figure(
                figure="rendered scenes: kiosk / what the true corners allow",
                measured=_ratio(read[KIOSK], read[CEILING]),
                bar=">= 0.9",
                size=size,
            )
        )
    return figures


def read_committed() -> list[Figure]:
    """Let all read the committed frames that hold one code."""
    frames = [frame for frame in committed_frames() if len(frame.payloads) == 1]
    rivals, ours = load_rivals(), Kiosk()
    read: dict[str, Measured] = dict.fromkeys((KIOSK, *RIVALS), 0)
    wrong: dict[str, Measured] = dict.fromkeys((KIOSK, *RIVALS), 0)
    for frame in frames:
        texts = {one.name: one.read(one.prepare(frame.luma)) for one in rivals}
        texts[KIOSK] = ours.read_still(frame.luma)
        for name, found in texts.items():
            read[name] = _count(read[name], frame.payloads[0] in found)
            wrong[name] = _count(wrong[name], bool(set(found) - set(frame.payloads)))
    label = f"committed frames read, of {len(frames)}"
    return compared(label, read, size=SMALL) + compared(
        "committed frames read wrongly", wrong, size=SMALL
    )


def recall_by_severity(
    readings: Sequence[Reading], name: str, steps: int = 10
) -> list[tuple[float, float]]:
    """The share read in each step of severity: its middle, and 0 to 1; empty steps are left out."""
    points = []
    for step in range(steps):
        here = [one for one in readings if min(int(one.severity * steps), steps - 1) == step]
        if here:
            share = sum(name in one.read for one in here) / len(here)
            points.append(((step + 0.5) / steps, share))
    return points


def _ratio(ours: int, theirs: int) -> float | None:
    return round(ours / theirs, 3) if theirs else None


def _count(so_far: Measured, one: bool) -> int:  # noqa: FBT001 - what is counted
    assert isinstance(so_far, int)
    return so_far + one
