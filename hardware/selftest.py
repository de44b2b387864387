"""Tries lamp, buzzer and button, with a technician watching; needs no kiosk.

    python -m hardware.selftest --led 17 --buzzer 18 --button 27

Exit codes: 0 all as expected; 1 not as expected; 2 wrong arguments; 3 the pins or the pin factory
cannot be had.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import queue
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, cast, get_args

from hardware.errors import HardwareError, PinsError
from hardware.panel import Panel, PanelPins
from hardware.pins import PinFactory, PinFactoryName, open_pin_factory

PRESS_WITHIN_S: Final = 15.0
_RELEASE_WITHIN_S: Final = 5.0
_BLINKS: Final = 5
_BLINK_S: Final = 0.25  # on as long as off: 2 flashes a second
_BREATH_S: Final = 3.0
_SOUNDS_S: Final = (0.1, 0.1, 0.5)
_PAUSE_S: Final = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: Which check: `pins`, `lamp`, `buzzer` or `button`.
        ok: Whether it is as expected.
        detail: What was found, one sentence.
        advice: What to do if a person finds it otherwise, or if it is not ok; may be empty.
    """

    check: str
    ok: bool
    detail: str
    advice: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Edge:
    pressed: bool
    at_s: float


@dataclasses.dataclass(slots=True)
class OpenPanel:
    """A panel whose edges and errors are kept for the checks.

    Attributes:
        panel: Open until the block of `open_panel` ends.
        pin_factory: What it was opened on.
        edges: Presses and releases in order.
        errors: What went wrong in gpiozero's thread.
    """

    panel: Panel
    pin_factory: PinFactory
    edges: queue.SimpleQueue[_Edge]
    errors: list[Exception]


@contextlib.contextmanager
def open_panel(
    pins: PanelPins, factory: PinFactoryName, chip: int | None = None
) -> Iterator[OpenPanel]:
    """Open a panel for checks; closed, and lamp and buzzer off, when the block ends.

    Raises:
        PinsError: The pins or the factory cannot be had.
    """
    edges: queue.SimpleQueue[_Edge] = queue.SimpleQueue()
    errors: list[Exception] = []
    pin_factory = open_pin_factory(factory, chip)
    try:
        with Panel(
            pins,
            pin_factory=pin_factory,
            on_edge=lambda pressed, at_s: edges.put(_Edge(pressed, at_s)),
            on_error=errors.append,
        ) as panel:
            yield OpenPanel(panel, pin_factory, edges, errors)
    finally:
        pin_factory.close()


def check_pins(pins: PanelPins, factory: PinFactoryName, chip: int | None = None) -> list[Finding]:
    """Claim the pins and release them; nobody need be there, and nothing lights or sounds.

    Not beside a running kiosk: the pins are its own then.

    Returns:
        One finding for the pins, and, if they could be had, one for the resting button.
    """
    try:
        with open_panel(pins, factory, chip) as opened:
            resting = not opened.panel.pressed
    except PinsError as error:
        return [Finding("pins", ok=False, detail=error.detail, advice=error.advice)]
    numbers = [pins.led_pin, pins.buzzer_pin, pins.button_pin]
    names = ", ".join(f"GPIO{number}" for number in numbers if number is not None)
    return [
        Finding("pins", ok=True, detail=f"{names} can be had through {factory}."),
        _judge_resting(pins) if not resting else Finding("button", ok=True, detail="It is up."),
    ]


def check_panel(
    opened: OpenPanel,
    *,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
    press: Callable[[], None] | None = None,
    press_within_s: float = PRESS_WITHIN_S,
) -> Iterator[Finding]:
    """Let the lamp blink and the buzzer sound, and wait for a press of the button.

    Whether lamp and buzzer were seen and heard only the person there can tell: their findings are
    ok when the pins obeyed, and their advice is for the person who saw or heard nothing.

    Args:
        opened: From `open_panel`.
        say: Told, in plain sentences, what is about to happen.
        pause: Waits for so many seconds.
        press: Called when the button is waited for; simulated hands press it here.
        press_within_s: How long the button is waited for.

    Yields:
        A finding for the lamp, the buzzer (if there is one) and the button, each as it is found.

    Raises:
        PinsError: A pin stopped obeying.
    """
    pins = opened.panel.pins
    yield _check_lamp(opened.panel, say, pause)
    if pins.buzzer_pin is not None:
        yield _check_buzzer(opened.panel, say, pause)
    yield _check_button(opened, say, press, press_within_s)


def _check_lamp(
    panel: Panel, say: Callable[[str], None], pause: Callable[[float], None]
) -> Finding:
    say(f"Look at the lamp: it blinks {_BLINKS} times, then swells and fades once.")
    for _ in range(_BLINKS):
        panel.lamp(on=True)
        pause(_BLINK_S)
        panel.lamp(on=False)
        pause(_BLINK_S)
    panel.breathe(_BREATH_S)
    pause(_BREATH_S)
    panel.lamp(on=False)
    return Finding(
        "lamp",
        ok=True,
        detail=f"GPIO{panel.pins.led_pin} was switched {_BLINKS} times and then breathed.",
        advice="If it stayed dark: turn the LED round (long leg towards the pin), and look for the "
        "resistor of 330 ohm and the wire to ground.",
    )


def _check_buzzer(
    panel: Panel, say: Callable[[str], None], pause: Callable[[float], None]
) -> Finding:
    say("Listen: two short sounds and a long one.")
    for length_s in _SOUNDS_S:
        panel.sound(on=True)
        pause(length_s)
        panel.sound(on=False)
        pause(_PAUSE_S)
    return Finding(
        "buzzer",
        ok=True,
        detail=f"GPIO{panel.pins.buzzer_pin} was switched {len(_SOUNDS_S)} times "
        f"({panel.pins.buzzer}).",
        advice="If it only clicked, it is a passive one; if it stayed silent, turn it round (plus "
        "towards the supply) and look at the transistor.",
    )


def _check_button(
    opened: OpenPanel,
    say: Callable[[str], None],
    press: Callable[[], None] | None,
    press_within_s: float,
) -> Finding:
    pins = opened.panel.pins
    where = f"GPIO{pins.button_pin}"
    if opened.panel.pressed:
        return _judge_resting(pins)
    _drain(opened.edges)
    say(f"Press the button once, within {press_within_s:.0f} seconds.")
    if press is not None:
        press()
    down = _wait_for(opened.edges, pressed=True, timeout_s=press_within_s)
    up = (
        None
        if down is None
        else _wait_for(opened.edges, pressed=False, timeout_s=_RELEASE_WITHIN_S)
    )
    if opened.errors:
        return Finding("button", ok=False, detail=f"The edge was lost: {opened.errors[0]!r}.")
    if down is None:
        return Finding(
            "button",
            ok=False,
            detail=f"No press came in on {where} within {press_within_s:.0f} seconds.",
            advice="Look for the wires: one to the pin, one to ground. Touch both ends with a bare "
            "wire: if that counts as a press, the button is broken.",
        )
    if up is None:
        return Finding(
            "button",
            ok=False,
            detail=f"The button on {where} went down and did not come up again.",
            advice="Does it stick, or does it latch? A push button is needed, not a switch.",
        )
    return Finding(
        "button", ok=True, detail=f"It was pressed for {up.at_s - down.at_s:.2f} seconds ({where})."
    )


def _judge_resting(pins: PanelPins) -> Finding:
    return Finding(
        "button",
        ok=False,
        detail=f"The button on GPIO{pins.button_pin} is down although nobody pressed it.",
        advice="It must connect its pin to ground only while pressed: look for a short, for a "
        "contact that opens instead of closing, and for the pair of legs that are always joined.",
    )


def _drain(edges: queue.SimpleQueue[_Edge]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            edges.get_nowait()


def _wait_for(edges: queue.SimpleQueue[_Edge], *, pressed: bool, timeout_s: float) -> _Edge | None:
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        try:
            edge = edges.get(timeout=max(0.0, give_up_at_s - time.monotonic()))
        except queue.Empty:
            return None
        if edge.pressed == pressed:
            return edge


def main(argv: Sequence[str] | None = None, *, pause: Callable[[float], None] = time.sleep) -> int:
    """Run the checks for the command line.

    Args:
        argv: The arguments; None for those of the process.
        pause: Waits for so many seconds while something lights or sounds.

    Returns:
        The exit code, see the module's first lines.
    """
    options = _parse(argv)
    pins = PanelPins(
        led_pin=options.led,
        led_pwm=options.pwm,
        buzzer_pin=None if options.no_buzzer else options.buzzer,
        buzzer="passive" if options.passive else "active",
        button_pin=options.button,
    )
    factory = cast("PinFactoryName", options.factory)
    tell = _print_json if options.json else _print_plain
    # With --json the sentences go where they do not disturb the lines.
    instructions = sys.stderr if options.json else sys.stdout

    def say(sentence: str) -> None:
        instructions.write(f"{sentence}\n")
        instructions.flush()

    all_ok = True
    try:
        with open_panel(pins, factory, options.chip) as opened:
            press = _simulate_press(opened) if factory == "simulated" else None
            for finding in check_panel(opened, say=say, pause=pause, press=press):
                tell(finding)
                all_ok = all_ok and finding.ok
    except HardwareError as error:
        tell(Finding("pins", ok=False, detail=error.detail, advice=error.advice))
        return 3
    except KeyboardInterrupt:
        say("Stopped; lamp and buzzer are off.")
        return 1
    return 0 if all_ok else 1


def _simulate_press(opened: OpenPanel) -> Callable[[], None]:
    from hardware.simulation import SimulatedHands

    return SimulatedHands(opened.pin_factory, opened.panel.pins).press


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hardware.selftest",
        description="Tries lamp, buzzer and button. Pins are BCM numbers: GPIO17 is 17.",
    )
    parser.add_argument("--led", type=int, default=17, metavar="PIN")
    parser.add_argument("--buzzer", type=int, default=18, metavar="PIN")
    parser.add_argument("--no-buzzer", action="store_true", help="there is none")
    parser.add_argument("--button", type=int, default=27, metavar="PIN")
    parser.add_argument("--pwm", action="store_true", help="dim the lamp when it breathes")
    parser.add_argument(
        "--passive", action="store_true", help="the buzzer needs to be given a tone"
    )
    parser.add_argument("--factory", choices=get_args(PinFactoryName), default="lgpio")
    parser.add_argument("--chip", type=int, metavar="N", help="/dev/gpiochipN; found if left out")
    parser.add_argument("--json", action="store_true", help="one object a line")
    return parser.parse_args(argv)


def _print_json(finding: Finding) -> None:
    sys.stdout.write(json.dumps(dataclasses.asdict(finding)) + "\n")
    sys.stdout.flush()


def _print_plain(finding: Finding) -> None:
    verdict: Literal["ok", "NOT OK"] = "ok" if finding.ok else "NOT OK"
    sys.stdout.write(
        f"{finding.check}: {verdict}. {finding.detail} {finding.advice}".rstrip() + "\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
