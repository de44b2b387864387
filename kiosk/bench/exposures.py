"""What the scanner's exposure control is worth: simulated visits, read under each control.

    python -m kiosk.bench.exposures [--visits N] [--seed S] [--plain]

The same visits happen before each camera: phone, hand, place, light and noise are those of the
seed. Only the exposure differs. The first frame that is read ends a visit.
"""

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from hardware.frame import Luma
from kiosk.sandbox.corpus import Situation, relight, visit
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.simulated_camera import SUITS_A_SCREEN, SimulatedCamera
from kiosk.scanner.decoder import build_decoder
from kiosk.scanner.exposure import Exposure, Setting
from kiosk.settings import ENGINES, RESCUES, RescueName

FPS = 30
WITHIN_FRAMES = 60  # two seconds
EMPTY_FRAMES = 25  # before the customer comes; a camera's own control has settled by then
SEVERITY = 0.4  # as `random_scene` has it, but for the light

OWN, CENTRE, FIXED, SCREEN = "auto", "auto, centre-weighted", "fixed", "screen"
CONTROLS = (OWN, CENTRE, FIXED, SCREEN)

Reader = Callable[[Luma, float], bool]


class _Reading(TypedDict, total=False):
    engines: Sequence[str]
    rescues: Sequence[RescueName]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the visits of one situation went under one control.

    Attributes:
        situation: Where.
        control: The camera's own (plain mean, or its middle counting four times); a fixed
            exposure that suits a bright screen; the scanner's own, without experience.
        first_read: For each visit, how many frames from the phone's coming to the first one
            that was read; None if there was none within two seconds.
    """

    situation: Situation
    control: str
    first_read: tuple[int | None, ...]

    @property
    def share_read(self) -> float:
        """How many of the visits were read within two seconds, 0 to 1."""
        return sum(first is not None for first in self.first_read) / len(self.first_read)

    @property
    def median_frames(self) -> float:
        """Frames to the first read; a visit that was not read counts as two seconds."""
        return statistics.median(
            WITHIN_FRAMES if first is None else first for first in self.first_read
        )


def compare(
    seed: int,
    visits: int,
    *,
    situations: tuple[Situation, ...] = tuple(Situation),
    controls: tuple[str, ...] = CONTROLS,
    engines: Sequence[str] = ENGINES,
    rescues: Sequence[RescueName] = RESCUES,
) -> list[Outcome]:
    """Let the same visits happen under each control.

    Args:
        seed: Decides everything.
        visits: How many for each situation; each takes about a second.
        situations: Where.
        controls: Of `CONTROLS`.
        engines: As `scan.engines`.
        rescues: As `scan.rescues`.

    Returns:
        An outcome for each situation and control, in this order.
    """
    outcomes = []
    for situation in situations:
        firsts: dict[str, list[int | None]] = {control: [] for control in controls}
        for number in range(visits):
            scenes = list(_scenes(seed, number, situation))
            kiosks = {
                control: _Kiosk(control, scenes, number, _reader(engines, rescues))
                for control in controls
            }
            # Frame by frame side by side: what is before the cameras is drawn once for all.
            for _ in scenes:
                for kiosk in kiosks.values():
                    kiosk.step()
            for control, kiosk in kiosks.items():
                firsts[control].append(kiosk.first_read)
        outcomes += [Outcome(situation, name, tuple(first)) for name, first in firsts.items()]
    return outcomes


def _scenes(seed: int, number: int, situation: Situation) -> Iterator[Scene]:
    """An empty place, then a visit."""
    rng = np.random.default_rng([seed, number, list(Situation).index(situation)])
    coming = relight(visit(rng, SEVERITY, frames=WITHIN_FRAMES, fps=FPS), situation, rng)
    empty = dataclasses.replace(coming[0], phones=(), motion_px=0.0, defocus_px=0.0)
    yield from [empty] * EMPTY_FRAMES
    yield from coming


class _Kiosk:
    """A camera, a decoder, and what sets the exposure."""

    def __init__(self, control: str, scenes: list[Scene], seed: int, read: Reader) -> None:
        self._camera = SimulatedCamera(
            scenes,
            seed=seed,
            fps=FPS,
            exposure=SUITS_A_SCREEN if control == FIXED else None,
            centre_weight=4.0 if control == CENTRE else 1.0,
        )
        self._camera.open()
        self._control = Exposure(fps=FPS) if control == SCREEN else None
        self._read = read
        self._since_s = -1.0
        self.first_read: int | None = None

    def step(self) -> None:
        """Take a frame, try to read it, and let the control judge it."""
        if self.first_read is not None:
            return
        frame = self._camera.read(0.0)
        read = frame.sequence >= EMPTY_FRAMES and self._read(frame.luma, frame.captured_at_s)
        if read:
            self.first_read = frame.sequence - EMPTY_FRAMES
        if self._control is not None:
            found = self._camera.exposure_range()
            setting = Setting(found.lowest, found.highest, found.now, self._since_s)
            now_s = frame.captured_at_s
            wish = self._control.look(frame.luma, setting, read=read, now_s=now_s)
            if wish is not None:
                self._camera.expose(wish)
                self._since_s = now_s


def _reader(engines: Sequence[str], rescues: Sequence[RescueName]) -> Reader:
    """The scanner's decoder as something that reads a frame or does not."""
    decoder = build_decoder(engines, rescues)

    def read(luma: Luma, now_s: float) -> bool:
        look = decoder.decode(luma, now_s)
        return bool(look.symbols or look.waiting)

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison as a table."""
    parser = argparse.ArgumentParser(description="Compare controls of the exposure.")
    parser.add_argument("--visits", type=int, default=20, help="of each situation (20)")
    parser.add_argument("--seed", type=int, default=1, help="decides all visits (1)")
    parser.add_argument("--plain", action="store_true", help="read with zxing-cpp alone")
    chosen = parser.parse_args(arguments)
    how: _Reading = {"engines": ("zxing",), "rescues": ()} if chosen.plain else {}
    lines = [f"{'':<8}{'control':<24}{'read in 2 s':>12}{'frames, median':>16}\n"]
    for outcome in compare(chosen.seed, chosen.visits, **how):
        share, frames = f"{outcome.share_read:.0%}", f"{outcome.median_frames:g}"
        lines.append(f"{outcome.situation:<8}{outcome.control:<24}{share:>12}{frames:>16}\n")
    sys.stdout.writelines(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
