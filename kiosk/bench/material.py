"""What the engines are given to read: recorded frames, and scenes drawn from a seed."""

import dataclasses
from pathlib import Path

import numpy as np

import kiosk
from hardware.frame import Luma
from hardware.recordings import load_luma
from kiosk.bench.engines import Kiosk, load_rivals
from kiosk.sandbox import recorded
from kiosk.sandbox.corpus import random_scene
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene

SMALL, LARGE = "640x480", "1280x720"
SIZES = (SMALL, LARGE)
_COMMITTED = Path(kiosk.__file__).parents[1] / "tests" / "data" / "frames"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A frame of which is known what is in it.

    Attributes:
        name: Which one; its beginning tells the difficulty.
        luma: uint8, shape (height, width).
        payloads: What may be read; empty for nothing.
    """

    name: str
    luma: Luma
    payloads: tuple[str, ...]


def committed_frames(size: str = SMALL) -> list[Known]:
    """The frames under `tests/data/frames`.

    An installed kiosk has no tests: then, and for another size, the same scenes are drawn anew.
    """
    if size == SMALL and _COMMITTED.is_dir():
        return [
            Known(
                file.stem,
                load_luma(file),
                tuple(file.with_suffix(".txt").read_text(encoding="utf-8").splitlines()),
            )
            for file in sorted(_COMMITTED.glob("*.png"))
        ]
    return [
        Known(frame.name, render(resized(frame.scene, size), frame.seed), frame.payloads)
        for frame in recorded.frames()
    ]


def resized(scene: Scene, size: str) -> Scene:
    """The same scene before a camera with more pixels: what is so high in the frame stays so."""
    width, height = (int(part) for part in size.split("x"))
    factor = height / scene.height_px
    return dataclasses.replace(
        scene,
        width_px=width,
        height_px=height,
        phones=tuple(
            dataclasses.replace(phone, module_px=phone.module_px * factor) for phone in scene.phones
        ),
        defocus_px=scene.defocus_px * factor,
        motion_px=scene.motion_px * factor,
        banding_period_px=scene.banding_period_px * factor,
    )


def corpus_scene(seed: int, number: int, size: str = SMALL) -> tuple[float, Scene]:
    """Scene `number` of a corpus: its severity, uniform from 0 to 1, and what is to be seen.

    Each is drawn by itself, so that several processes may share a corpus.
    """
    rng = np.random.default_rng([seed, number])
    severity = float(rng.random())
    return severity, resized(random_scene(rng, severity), size)


def unreadable_frames(seed: int, count: int, size: str) -> list[Luma]:
    """Draw hard scenes until so many are found that no engine reads, nor the kiosk."""
    rivals, ours = load_rivals(), Kiosk()
    found: list[Luma] = []
    number = 0
    while len(found) < count:
        rng = np.random.default_rng([seed, 1, number])
        luma = render(resized(random_scene(rng, 1.0), size), number)
        number += 1
        if ours.read_still(luma) or any(one.read(one.prepare(luma)) for one in rivals):
            continue
        found.append(luma)
    return found
