"""A camera before which a rendered visit happens, under the exposure that it was set to.

It follows the sensor of a webcam: what it is told shows two frames later; a longer exposure
collects more light, more of the phone's motion, and more of the pulses of a dimmed screen; on
its own, it holds the mean of the frame at a target and amplifies when time does not suffice.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from hardware.camera import CameraLostError, ExposureRange
from hardware.frame import Frame, Luma
from kiosk.sandbox.renderer import see, take
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.surroundings import View

LATENCY_FRAMES = 2
UNIT_S = 1e-4  # that of V4L2_CID_EXPOSURE_ABSOLUTE
SUITS_A_SCREEN = 111
"""The exposure that a scene calls 1: a third of a frame's time, at 30 frames a second."""

_MEAN_TARGET = 110.0  # a middle gray: 18 % of the light
_AUTO_SPEED = 0.35  # of the way to the target, each frame; it arrives after about ten
_MAX_GAIN = 8.0
_MAX_MOTION_PX = 40.0
_MAX_BANDING = 0.9


class SimulatedCamera:
    """Shows scenes, one a frame, and then the last one again and again.

    Threads: as the port says. Its time is that of its frames: `read` does not wait.
    """

    name = "simulated"

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        seed: int,
        fps: float = 30.0,
        exposure: int | None = None,
        centre_weight: float = 1.0,
    ) -> None:
        """Take the scenes; their own `exposure` and `gain` are replaced by the camera's.

        Args:
            scenes: At least one.
            seed: Of the noise.
            fps: Frames a second; the longest exposure is the time between two.
            exposure: In units of 100 us; None for the camera's own control.
            centre_weight: How much more the middle of the frame counts for the camera's own
                control; 1 for the plain mean.
        """
        self._scenes = list(scenes)
        self._seed = seed
        self._fps = fps
        self._lowest, self._highest = 1, max(1, int(1 / fps / UNIT_S))
        self._weight = centre_weight
        self._auto = exposure is None
        self._light = float(self._highest)  # exposure times gain, as the automatic wishes it
        self._next = [self._clip(exposure if exposure is not None else self._highest)]
        self._next *= LATENCY_FRAMES + 1
        self._gains = [1.0] * (LATENCY_FRAMES + 1)
        self._number = 0
        self._open = False

    @property
    def number(self) -> int:
        """How many frames it has delivered."""
        return self._number

    @property
    def in_effect(self) -> tuple[int, float]:
        """The exposure and the gain of the next frame."""
        return self._next[0], self._gains[0]

    def open(self) -> None:
        """Begin, or go on."""
        self._open = True

    def close(self) -> None:
        """Pause."""
        self._open = False

    def exposure_range(self) -> ExposureRange:
        """What may be set, and what was set last."""
        return ExposureRange(self._lowest, self._highest, self._next[-1])

    def expose(self, value: int) -> int:
        """Set the exposure of the frame after the next two; ends the camera's own control."""
        if not self._open:
            raise CameraLostError(f"{self.name} is not open.")
        self._auto = False
        self._next[-1], self._gains[-1] = self._clip(value), 1.0
        return self._next[-1]

    def read(self, timeout_s: float) -> Frame:  # noqa: ARG002 - the port has it
        """Take the next frame."""
        if not self._open:
            raise CameraLostError(f"{self.name} is not open.")
        scene = self._scenes[min(self._number, len(self._scenes) - 1)]
        exposure, gain = self._next.pop(0), self._gains.pop(0)
        taken = exposed(scene, exposure, gain)
        # The view depends on nothing of the exposure but the bands.
        view = _seen(dataclasses.replace(scene, banding=taken.banding))
        luma = take(view, taken, self._seed + self._number)
        self._next.append(self._next[-1])
        self._gains.append(self._gains[-1])
        if self._auto:
            self._adapt(luma, exposure * gain)
        frame = Frame(luma, self._number / self._fps, self._number)
        self._number += 1
        return frame

    def _clip(self, value: float) -> int:
        return int(min(max(round(value), self._lowest), self._highest))

    def _adapt(self, luma: Luma, light: float) -> None:
        """Go a part of the way to the exposure that this frame should have had."""
        wished = light * _linear(_MEAN_TARGET) / max(_linear(self._mean(luma)), 1e-4)
        self._light *= (wished / self._light) ** _AUTO_SPEED
        self._light = min(max(self._light, self._lowest), self._highest * _MAX_GAIN)
        self._next[-1] = self._clip(self._light)
        self._gains[-1] = max(1.0, self._light / self._highest)

    def _mean(self, luma: Luma) -> float:
        coarse = luma[::8, ::8].astype(np.float32)
        height, width = coarse.shape
        weights = np.ones_like(coarse)
        weights[height // 4 : height - height // 4, width // 4 : width - width // 4] = self._weight
        return float(np.average(coarse, weights=weights))


def exposed(scene: Scene, exposure: int, gain: float = 1.0) -> Scene:
    """The scene as a camera takes it that exposes for so many units of 100 us.

    The scene itself is as at `SUITS_A_SCREEN`. The longer, the more pulses of a dimmed screen
    fall into each row, and the less they differ.
    """
    times = exposure / SUITS_A_SCREEN
    return dataclasses.replace(
        scene,
        exposure=times,
        gain=gain,
        motion_px=min(scene.motion_px * times, _MAX_MOTION_PX),
        banding=min(scene.banding / max(times, 1e-3), _MAX_BANDING),
    )


def _linear(level: float) -> float:
    """Light of a level of sRGB, near enough for a control."""
    return math.pow(level / 255, 2.2)


@functools.lru_cache(maxsize=2)
def _seen(scene: Scene) -> View:
    """Several cameras that look at the same moment share the work of drawing it."""
    return see(scene)
