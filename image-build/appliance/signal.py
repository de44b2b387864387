"""A rhythm of lamp and buzzer at the start, where the card itself is in trouble.

No cue of a payment looks like it: a cue is all short flashes, a breath, or one steady light for
three seconds; these have flashes of three quarters of a second between short ones. As in every
cue the lamp comes on at most three times a second.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.intake import RESULT
from hardware.errors import HardwareError
from hardware.panel import Panel, PanelPins
from hardware.pins import open_pin_factory
from kiosk.settings import PanelSettings
from kiosk.watchdog import Watchdog

if TYPE_CHECKING:
    from hardware.pins import PinFactory

SHOWN_S = 20.0
"""So long where the kiosk may start after it; else for ever."""

Steps = tuple[tuple[bool, float], ...]
_LONG, _SHORT = (True, 0.75), (True, 0.15)
_GAP, _PAUSE = (False, 0.35), (False, 1.5)
RHYTHMS: dict[str, tuple[str, Steps]] = {
    # trouble: what it looks like, (light, seconds) again and again
    "config": ("long, short, long, short, without a pause", (_LONG, _GAP, _SHORT, _GAP)),
    "data": ("long, long, short, and a pause", (_LONG, _GAP, _LONG, _GAP, _SHORT, _PAUSE)),
}
TICKS: Steps = ((True, 0.03), (False, 0.22)) * 5
"""Five even ticks at the beginning, whatever the trouble; no cue has more than three sounds."""

Wait = Callable[[float], bool]
"""Waits so many seconds; True where it was told to end before."""


def trouble_of(result: dict[str, Any] | None) -> str | None:
    """Which rhythm to show for what intake left; None where it left nothing at all."""
    if result is None:
        return "data"
    trouble: str | None = result.get("trouble")
    return trouble


def play(panel: Panel, trouble: str, wait: Wait, *, for_s: float | None) -> None:
    """Show a rhythm, with lamp and buzzer off at the end.

    Args:
        panel: Open.
        trouble: One of `RHYTHMS`.
        wait: See `Wait`.
        for_s: How long; whole rounds. None for as long as nobody says otherwise.
    """
    try:
        if any(_step(panel.sound, step, wait) for step in TICKS):
            return
        left_s = float("inf") if for_s is None else for_s
        for on, seconds in cycle(RHYTHMS[trouble][1]):
            if _step(panel.lamp, (on, seconds), wait):
                return
            left_s -= seconds
            if left_s <= 0 and not on:
                return
    finally:
        panel.sound(False)
        panel.lamp(False)


def _step(switch: Callable[[bool], None], step: tuple[bool, float], wait: Wait) -> bool:
    on, seconds = step
    switch(on)
    return wait(seconds)


def main(run: Path = Path("/run")) -> int:
    """Run it on the card; ends at once where there is no trouble."""
    result: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError):
        result = json.loads((run / RESULT).read_text(encoding="utf-8"))
    trouble = trouble_of(result)
    ready = Watchdog()
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    # Where intake left nothing, the kiosk may start all the same, and must get its pins.
    is_short = result is None or (
        bool(result["in_force"]) and not result.get("is_journal_lost", False)
    )
    if trouble is not None:
        if not is_short:
            # The start of the machine goes on; this goes on beside it.
            ready.tell("READY=1")
        try:
            with _panel(result) as panel:
                play(panel, trouble, told.wait, for_s=SHOWN_S if is_short else None)
        except HardwareError as error:
            sys.stderr.write(f"no lamp to show it with: {error}\n")
    ready.tell("READY=1")
    return 0


@contextlib.contextmanager
def _panel(result: dict[str, Any] | None) -> Iterator[Panel]:
    settings = PanelSettings()
    with contextlib.suppress(msgspec.ValidationError):
        settings = msgspec.convert((result or {}).get("panel", {}), PanelSettings)
    pins = PanelPins(
        led_pin=settings.led_pin,
        led_pwm=False,  # on and off is all there is to show
        buzzer_pin=settings.buzzer_pin,
        buzzer=settings.buzzer,
        button_pin=settings.button_pin,
    )
    factory: PinFactory = open_pin_factory(
        "simulated" if settings.backend == "simulated" else settings.pin_factory, settings.chip
    )
    try:
        with Panel(pins, pin_factory=factory, on_edge=_ignore, on_error=_ignore) as panel:
            yield panel
    finally:
        factory.close()


def _ignore(*_: object) -> None:
    """Nobody is asked to press here."""


if __name__ == "__main__":
    sys.exit(main())
