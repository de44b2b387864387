"""How each cue looks and sounds. Told apart by rhythm, never by colour or pitch.

The table is the kiosk's promise to customers; the README repeats it for technicians.
"""

from dataclasses import dataclass
from typing import Protocol

from kiosk.core.cues import Cue

FLASH_INTERVAL_S = 1 / 3
"""Never more than three flashes a second (WCAG 2.3.1): a lamp comes on no sooner again."""

Steps = tuple[tuple[bool, float], ...]


class Lamp(Protocol):
    """What the indicator needs of the panel."""

    def lamp(self, on: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Light or no light."""

    def breathe(self, period_s: float) -> None:
        """Fade up and down by itself until told otherwise."""

    def sound(self, on: bool) -> None:  # noqa: FBT001 - the one thing that it is told
        """Sound or silence."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What lamp and buzzer do.

    Attributes:
        lamp: (on, seconds), repeated; afterwards the lamp is off.
        repeats: How often; None for as long as the cue lasts.
        sound: (on, seconds), once. Empty leaves a sound that is still running alone.
        breathe_s: Instead of `lamp`, fade up and down with this period.
        keeps_lamp: Only a sound; the lamp goes on as before.
        words: What a person standing there sees and hears.
    """

    words: str
    lamp: Steps = ()
    repeats: int | None = None
    sound: Steps = ()
    breathe_s: float | None = None
    keeps_lamp: bool = False


def _blinks(count: int, on_s: float, off_s: float, pause_s: float) -> Steps:
    blink: Steps = ((True, on_s), (False, off_s))
    return (*(blink * count)[:-1], (False, off_s + pause_s))


def _beeps(count: int, on_s: float, off_s: float) -> Steps:
    beep: Steps = ((True, on_s), (False, off_s))
    return beep * count


PATTERNS: dict[Cue, Pattern] = {
    Cue.READY: Pattern("the lamp breathes slowly", breathe_s=3.0),
    Cue.WAITING: Pattern("the lamp is off"),
    Cue.PRESS_TO_PAY: Pattern(
        "the lamp blinks twice a second; one short beep",
        lamp=((True, 0.25), (False, 0.25)),
        sound=_beeps(1, 0.08, 0.0),
    ),
    Cue.PRESS_SOON: Pattern(
        "the lamp blinks faster; two ticks",
        lamp=((True, 0.167), (False, 0.167)),
        sound=_beeps(2, 0.03, 0.12),
    ),
    Cue.SUBMITTING: Pattern("a short flash every second", lamp=((True, 0.1), (False, 0.9))),
    Cue.STILL_SUBMITTING: Pattern("one tick", sound=_beeps(1, 0.03, 0.0), keeps_lamp=True),
    Cue.APPROVED: Pattern(
        "the lamp is on, steadily, for three seconds; one long beep",
        lamp=((True, 3.0),),
        repeats=1,
        sound=_beeps(1, 0.5, 0.0),
    ),
    Cue.DECLINED: Pattern(
        "two blinks and a pause, three times; two even beeps",
        lamp=_blinks(2, 0.17, 0.17, 0.5),
        repeats=3,
        sound=_beeps(2, 0.2, 0.2),
    ),
    Cue.NOT_SENT: Pattern(
        "four short blinks and a pause, twice; two short beeps",
        lamp=_blinks(4, 0.1, 0.24, 0.6),
        repeats=2,
        sound=_beeps(2, 0.1, 0.1),
    ),
    Cue.UNKNOWN: Pattern(
        "three blinks and a pause, again and again; three long beeps",
        lamp=_blinks(3, 0.25, 0.25, 1.0),
        sound=_beeps(3, 0.4, 0.3),
    ),
    Cue.NOT_ACCEPTED: Pattern(
        "the lamp goes out for a moment; two very short beeps", sound=_beeps(2, 0.06, 0.08)
    ),
    Cue.OUT_OF_SERVICE: Pattern(
        "dark, with a tiny flash every five seconds", lamp=((True, 0.05), (False, 4.95))
    ),
}


class Indicator:
    """Plays patterns on a panel. Main thread only; it waits for nothing, see `next_change_s`."""

    def __init__(self, panel: Lamp) -> None:
        self._panel = panel
        self._lamp = _Track()
        self._sound = _Track()
        self._is_lit = False
        self._lit_at_s = float("-inf")
        self._breath_s = 0.0
        self._breathe_at_s = float("inf")
        self._is_breathing = False

    def show(self, cue: Cue, now_s: float) -> None:
        """Begin this cue's pattern."""
        pattern = PATTERNS[cue]
        if pattern.sound:
            self._sound = _Track(pattern.sound, 1, now_s)
        if pattern.breathe_s is not None:
            self._breathe(pattern.breathe_s, now_s)
        elif not pattern.keeps_lamp:
            if self._is_breathing:
                self._lit_at_s = now_s  # wherever its breath was, the lamp may have been light
            self._is_breathing, self._breathe_at_s = False, float("inf")
            self._lamp = _Track(pattern.lamp, pattern.repeats, now_s)
            self._is_lit = False
            self._panel.lamp(False)
        self.advance(now_s)

    def _breathe(self, period_s: float, now_s: float) -> None:
        self._breath_s = period_s
        if self._is_breathing:
            self._panel.breathe(period_s)  # it goes on with the breath that it is in
            return
        self._lamp, self._is_lit = _Track(), False
        self._panel.lamp(False)
        # A lamp that cannot be dimmed begins its breath with light.
        self._breathe_at_s = max(now_s, self._lit_at_s + FLASH_INTERVAL_S)

    def advance(self, now_s: float) -> None:
        """Bring lamp and buzzer to where they should be now."""
        for level in self._sound.due(now_s):
            self._panel.sound(level)
        if now_s >= self._breathe_at_s:
            self._is_breathing, self._breathe_at_s = True, float("inf")
            self._lit_at_s = now_s
            self._panel.breathe(self._breath_s)
        too_soon_s = self._lit_at_s + FLASH_INTERVAL_S - now_s
        if self._lamp.level_next() and self._lamp.is_due(now_s) and too_soon_s > 0:
            self._lamp.delay(too_soon_s)
        for level in self._lamp.due(now_s):
            if level and not self._is_lit:
                self._lit_at_s = now_s
            self._is_lit = level
            self._panel.lamp(level)

    def next_change_s(self) -> float:
        """When `advance` is wanted next; infinity where nothing changes by itself."""
        return min(self._lamp.next_s, self._sound.next_s, self._breathe_at_s)


class _Track:
    """One device's way through its steps."""

    def __init__(self, steps: Steps = (), repeats: int | None = 1, now_s: float = 0.0) -> None:
        self._steps = steps
        self._left = (None if repeats is None else repeats * len(steps)) if steps else 0
        self._at = 0
        self.next_s = now_s if steps else float("inf")

    def is_due(self, now_s: float) -> bool:
        return now_s >= self.next_s

    def level_next(self) -> bool:
        """The level that comes next."""
        return self._left != 0 and self._steps[self._at][0]

    def delay(self, by_s: float) -> None:
        self.next_s += by_s

    def due(self, now_s: float) -> list[bool]:
        """The level to set now, if any; a late caller skips what is over."""
        if now_s < self.next_s:
            return []
        if self._left == 0:
            self.next_s = float("inf")
            return [False]
        level, for_s = self._steps[self._at]
        self._at = (self._at + 1) % len(self._steps)
        if self._left is not None:
            self._left -= 1
        self.next_s = now_s + for_s
        return [level]
