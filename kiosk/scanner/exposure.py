"""The scanner's own exposure control: for a screen, by what was read.

A camera's own control holds the mean of the frame. In a dark booth that burns out the one
bright thing, the screen; before a sunny street it blackens the one dark thing, the screen. But
a screen lights itself: what read one phone reads the next, whatever the hour. So this control
stays where it last read, and only while something moves and nothing is read does it try
shorter and longer exposures in turn.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hardware.frame import Luma

RUNG = 4
"""Factor from one exposure to the next: decoders bear more than its two stops."""

SETTLE_FRAMES = 2.5
"""Until a webcam shows what it was told: most do so in the second or third frame."""

PATIENCE_FRAMES = 3
TRUST_FRAMES = 8
"""Settled frames without a read until the next exposure is tried: anywhere, and at the one that
read last, where it is likely that the phone is not yet where it should be."""

HOLD_S = 1.0
"""So long after a read nothing is tried."""

ACTIVE_S = 3.0
"""So long after the last movement the place counts as empty."""

_UNANSWERED_S = 1.0  # a wish that the camera has not taken by then is given up
_SAMPLE_EVERY = 16  # rows and columns
_MOVED_LEVELS = 24  # far beyond noise
_MOVED_SHARE = 0.02
_MIDDLE = 90  # cameras hold the mean a little above this level
_DARKEST, _BRIGHTEST, _CLIPPED = 50, 250, 255


@dataclass(frozen=True, slots=True)
class Setting:
    """What a camera's exposure may be, and what it is.

    Attributes:
        lowest: In the driver's own unit, linear in time.
        highest: The same.
        now: As the camera took it last, or what its own control is at.
        since_s: When it was set or the camera opened, seconds on the monotonic clock.
    """

    lowest: int
    highest: int
    now: int
    since_s: float

    def nearest(self, value: float) -> int:
        """The value, or the end of the range that is nearer to it."""
        return min(max(round(value), self.lowest), self.highest)


class Exposure:
    """Tells which exposure the next frames should have. It has no clock and no camera.

    The camera's own control goes on until it fails for the first time.
    """

    def __init__(self, *, fps: float) -> None:
        """Begin without experience.

        Args:
            fps: Frames a second, for how long a camera takes to obey.
        """
        self._settle_s = SETTLE_FRAMES / fps
        self._doubt_s = (SETTLE_FRAMES + PATIENCE_FRAMES) / fps
        self._home: int | None = None  # where it read last, or failing that where it began
        self._trusted = False  # it did read there
        self._read_at_s = self._moved_at_s = self._asked_at_s = -math.inf
        self._asked: int | None = None
        self._setting = Setting(0, 0, 0, math.nan)
        self._before = 0  # the exposure before the one of the setting
        self._looks = 0
        self._ladder: Iterator[int] | None = None
        self._sample: Luma | None = None
        self._light = _Light(0, 0, 0)

    def look(self, luma: Luma, setting: Setting | None, *, read: bool, now_s: float) -> int | None:
        """Judge a frame.

        Args:
            luma: uint8, shape (height, width); not kept.
            setting: How the camera is set now; None while that is not known.
            read: A symbol was read in this frame.
            now_s: When the frame was captured, on the clock of `setting.since_s`.

        Returns:
            The exposure to ask the camera for, within its range; None to leave it.
        """
        if setting is None:
            return None
        settled = self._follow(setting, now_s)
        if read:
            self._read_at_s = now_s
            if self._asked is not None:
                self._home = setting.nearest(setting.now if settled else self._before)
                self._trusted = True
        if now_s - self._read_at_s < HOLD_S:
            # A camera that obeys early reads with the new one: see before going back.
            doubted = now_s - setting.since_s < self._doubt_s
            return None if doubted else self._go_home(now_s)
        if not settled:
            return None
        self._measure(luma, now_s)
        if now_s - self._moved_at_s > ACTIVE_S:
            return self._go_home(now_s)
        self._looks += 1
        at_home = self._trusted and setting.now == self._home
        if self._looks < (TRUST_FRAMES if at_home else PATIENCE_FRAMES) and self._light.useful(1):
            return None
        if self._home is None:
            self._home = setting.nearest(setting.now)
        if self._ladder is None:
            self._ladder = self._climb(self._home)
        rung = next(self._ladder, None)
        return self._go_home(now_s) if rung is None else self._ask(rung, now_s)

    def _follow(self, setting: Setting, now_s: float) -> bool:
        """Note what the camera took; tell whether this frame shows it."""
        known, self._setting = self._setting, setting
        if setting.since_s != known.since_s:
            self._before = setting.now if math.isnan(known.since_s) else known.now
            self._asked_at_s = -math.inf
            if self._asked is not None:
                self._asked = setting.now  # a camera has steps of its own
            self._sample = None
            self._looks = 0
        if now_s - self._asked_at_s < _UNANSWERED_S:
            return False
        return now_s - setting.since_s >= self._settle_s

    def _measure(self, luma: Luma, now_s: float) -> None:
        """Take a sample, see whether something moved, and note how the light is spread."""
        sample = luma[::_SAMPLE_EVERY, ::_SAMPLE_EVERY].copy()
        before, self._sample = self._sample, sample
        if before is not None and before.shape == sample.shape:
            change = np.maximum(sample, before) - np.minimum(sample, before)
            if np.count_nonzero(change > _MOVED_LEVELS) > _MOVED_SHARE * sample.size:
                self._moved_at_s = now_s
        ordered = np.sort(sample, axis=None)
        dark, middle, bright = (int(ordered[ordered.size * part // 100]) for part in (10, 50, 98))
        self._light = _Light(dark, middle, bright)

    def _climb(self, home: int) -> Iterator[int]:
        """The exposures worth trying, the likely ones first, as the light of later frames tells."""
        # Among the dark a screen is what is too bright, among the bright what is too dark.
        longer = self._light.middle > _MIDDLE or self._light.bright < _MIDDLE
        for step in range(1, 32):
            pair = (max(home, 1) * RUNG**step, home / RUNG**step)
            for value in pair if longer else reversed(pair):
                # The last one out of the range stands for the end of the range.
                inside = self._setting.lowest / RUNG < value < self._setting.highest * RUNG
                rung = self._setting.nearest(value)
                if inside and self._light.useful(rung / max(self._setting.now, 1)):
                    yield rung

    def _go_home(self, now_s: float) -> int | None:
        self._ladder = None
        return None if self._home is None else self._ask(self._home, now_s)

    def _ask(self, value: int, now_s: float) -> int | None:
        self._looks = 0
        if value == self._asked:
            return None
        self._asked = value
        self._asked_at_s = now_s
        return value


@dataclass(frozen=True, slots=True)
class _Light:
    """The levels below which a tenth, half, and 98 of a hundred pixels of a frame are."""

    dark: int
    middle: int
    bright: int

    def useful(self, factor: float) -> bool:
        """Whether at so many times the exposure a frame could be more than black or white.

        Nobody knows how bright is what is clipped; then it is worth trying.
        """
        shows = self.bright >= _CLIPPED or _light(self.bright) * factor >= _light(_DARKEST)
        return shows and _light(self.dark) * factor <= _light(_BRIGHTEST)


def _light(level: int) -> float:
    """Light of a level of a luma plane with gamma, near enough."""
    return math.pow((level + 1) / 256, 2.2)
