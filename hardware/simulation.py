"""Hands and eyes for a panel without hardware, on gpiozero's own mock pins.

The panel does not know: lamp, buzzer and button are the same gpiozero devices as on a Pi. Only this
module reaches below them, to the pins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, cast

from gpiozero.pins.mock import MockFactory, MockPWMPin

from hardware.panel import PanelPins
from hardware.pins import PinFactory

Observer = Callable[[Literal["lamp", "buzzer"], bool, float], None]

# A Pi 3B, gpiozero's own default; given so that no environment variable can say otherwise.
_BOARD_REVISION: Final = "a02082"

# Counted as on. Breathing then reads as half on, half off, as it looks on a lamp without PWM, and
# a passive buzzer, which gets a square wave, as on.
_ON_LEVEL: Final = 0.5


class ObservedPin(MockPWMPin):  # type: ignore[misc]  # gpiozero has no types
    """A mock pin that tells its level, 0.0 to 1.0, whenever it changes."""

    def __init__(self, factory: Any, info: Any) -> None:
        """Start without observers."""
        self.observers: list[Callable[[float, float], None]] = []
        super().__init__(factory, info)

    def _change_state(self, value: float) -> bool:
        changed = bool(super()._change_state(value))
        if changed:
            at_s = time.monotonic()
            for observer in tuple(self.observers):
                observer(float(value), at_s)
        return changed


def open_simulated_factory() -> PinFactory:
    """Open a factory of mock pins that know PWM and can be observed."""
    return cast("PinFactory", MockFactory(revision=_BOARD_REVISION, pin_class=ObservedPin))


class SimulatedHands:
    """Presses the button of a simulated panel, and watches its lamp and its buzzer.

    May be made before or after the panel, on the same factory and pins. A press reaches the
    panel's `on_edge` within the call, in the calling thread.
    """

    def __init__(self, pin_factory: PinFactory, pins: PanelPins) -> None:
        """Take hold of the pins.

        Args:
            pin_factory: From `open_pin_factory("simulated")`.
            pins: The same as the panel's.

        Raises:
            TypeError: The factory's pins are not simulated.
        """
        if not isinstance(pin_factory, MockFactory):
            message = "only simulated pins can be pressed"
            raise TypeError(message)
        self._button: Any = pin_factory.pin(pins.button_pin)
        self._watched: dict[Literal["lamp", "buzzer"], Any] = {
            "lamp": pin_factory.pin(pins.led_pin)
        }
        if pins.buzzer_pin is not None:
            self._watched["buzzer"] = pin_factory.pin(pins.buzzer_pin)

    def down(self) -> None:
        """Push the button and hold it; nothing happens if it is down already."""
        self._button.drive_low()

    def up(self) -> None:
        """Let go of the button; nothing happens if it is up already."""
        self._button.drive_high()

    def press(self, held_s: float = 0.1) -> None:
        """Push the button, hold it for so long (the caller waits), and let go."""
        self.down()
        time.sleep(held_s)
        self.up()

    def observe(self, observer: Observer) -> None:
        """Tell an observer each time that lamp or buzzer goes on or off.

        Args:
            observer: Given the device, whether it is on now (at half brightness or more), and the
                time in seconds on the monotonic clock. Called in the thread that moves the pin:
                the panel's, or gpiozero's while the lamp breathes. Must return at once and not
                raise.
        """
        for device, pin in self._watched.items():
            pin.observers.append(_Threshold(device, observer, float(pin.state)))


class _Threshold:
    """Makes on and off of levels, and passes on only the changes."""

    def __init__(self, device: Literal["lamp", "buzzer"], observer: Observer, level: float) -> None:
        self._device = device
        self._observer = observer
        self._on = level >= _ON_LEVEL

    def __call__(self, level: float, at_s: float) -> None:
        on = level >= _ON_LEVEL
        if on != self._on:
            self._on = on
            self._observer(self._device, on, at_s)
