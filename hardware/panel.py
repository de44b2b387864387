"""What the customer sees, hears and presses: one lamp, one buzzer, one button, through gpiozero."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from hardware.errors import PinsError
from hardware.pins import PinFactory

# Contacts of cheap push buttons settle within about 10 ms; 20 ms leaves room, and no finger presses
# twice within 40 ms. Mock pins of gpiozero ignore it: whoever counts presses debounces as well.
BOUNCE_S: Final = 0.02

# Magnetic buzzers are loudest near 2,048 Hz. Higher pitches (piezo discs like 2.7 to 4 kHz) cost
# lgpio, which makes PWM in software, more wake-ups than a tone is worth.
PITCH_NOTE: Final = "C7"

# An edge is told within milliseconds. Where gpiozero's clock seems to say otherwise, that clock is
# not the monotonic one.
_MAX_EDGE_AGE_S: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelPins:
    """Which pins the panel is wired to, in BCM numbers (GPIO17 is 17, not header pin 11).

    The button stands between its pin and ground and needs no resistor: the pin's pull-up holds it
    high, a press pulls it low. Lamp and buzzer are on when their pin is high.

    Attributes:
        led_pin: The lamp, through a resistor.
        led_pwm: Whether the lamp may be dimmed; without it, breathing is half on, half off.
        buzzer_pin: The buzzer; None without one.
        buzzer: `active` makes its tone by itself, `passive` must be given one.
        button_pin: The confirm button.
    """

    led_pin: int
    led_pwm: bool = True
    buzzer_pin: int | None = None
    buzzer: Literal["active", "passive"] = "active"
    button_pin: int


class Panel:
    """The lamp, the buzzer and the button of one kiosk, open from construction to `close`.

    Threads: everything from one thread, except the two callables. `on_edge` and `on_error` are
    called from gpiozero's thread (with simulated pins: from the thread that moves the pin); they
    must return at once, and `on_error` must not raise. Breathing runs in a thread of gpiozero,
    which `lamp`, `breathe` and `close` end before they return.

    Attributes:
        pins: What it was opened with.
    """

    def __init__(
        self,
        pins: PanelPins,
        *,
        pin_factory: PinFactory,
        on_edge: Callable[[bool, float], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Claim the pins; lamp and buzzer are off.

        Args:
            pins: Where things are wired.
            pin_factory: From `open_pin_factory`; stays the caller's, who closes it after the panel.
            on_edge: Told each press (True) and release (False) with its time in seconds on the
                monotonic clock. The time is the pin's own where gpiozero knows it; on real pins it
                is that of the settled contact, so up to BOUNCE_S after the first touch. A button
                that is held down when the panel opens is told with its release only.
            on_error: Told what `on_edge` raised, which would otherwise end the thread of all edges
                unseen.

        Raises:
            PinsError: A pin cannot be had. What had been opened is off and closed again.
        """
        import gpiozero

        self.pins = pins
        self._on_edge = on_edge
        self._on_error = on_error
        self._closed = False
        self._breath_s: float | None = None
        with contextlib.ExitStack() as opened:
            with _explained("lamp", pins.led_pin):
                lamp = gpiozero.PWMLED if pins.led_pwm else gpiozero.LED
                self._lamp: Any = lamp(pins.led_pin, pin_factory=pin_factory)
                opened.callback(self._lamp.close)
                opened.callback(self._lamp.off)
            self._buzzer: Any = None
            if pins.buzzer_pin is not None:
                with _explained("buzzer", pins.buzzer_pin):
                    if pins.buzzer == "passive":
                        self._buzzer = gpiozero.TonalBuzzer(
                            pins.buzzer_pin, mid_tone=PITCH_NOTE, pin_factory=pin_factory
                        )
                    else:
                        self._buzzer = gpiozero.Buzzer(pins.buzzer_pin, pin_factory=pin_factory)
                    opened.callback(self._buzzer.close)
                    opened.callback(self._silence)
            with _explained("button", pins.button_pin):
                # Not gpiozero.Button: it runs a thread that wakes ten times a second to tell
                # long presses, which the session tells by the times of the edges.
                self._button: Any = gpiozero.DigitalInputDevice(
                    pins.button_pin, pull_up=True, bounce_time=BOUNCE_S, pin_factory=pin_factory
                )
                opened.callback(self._button.close)
                opened.callback(self._deafen)
                self._button.when_activated = self._tell_press
                self._button.when_deactivated = self._tell_release
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        """Enter a block at whose end the panel is closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the panel, whatever ended the block."""
        self.close()

    @property
    def pressed(self) -> bool:
        """Whether the button is down now."""
        self._require_open()
        with _explained("button", self.pins.button_pin):
            return bool(self._button.is_active)

    def lamp(self, on: bool) -> None:  # noqa: FBT001 - a port names it so; call it with on=
        """Put the lamp fully on, or off; ends breathing.

        Raises:
            PinsError: The pin does not obey, or the panel is closed.
        """
        self._require_open()
        self._breath_s = None
        with _explained("lamp", self.pins.led_pin):
            if on:
                self._lamp.on()
            else:
                self._lamp.off()

    def breathe(self, period_s: float) -> None:
        """Let the lamp swell and fade until the next `lamp` or `close`.

        A second call with the same period goes on with the breath it finds.

        Args:
            period_s: From dark to dark, in seconds.

        Raises:
            PinsError: The pin does not obey, or the panel is closed.
        """
        self._require_open()
        if period_s == self._breath_s:
            return
        with _explained("lamp", self.pins.led_pin):
            if self.pins.led_pwm:
                self._lamp.pulse(fade_in_time=period_s / 2, fade_out_time=period_s / 2)
            else:
                self._lamp.blink(on_time=period_s / 2, off_time=period_s / 2)
        self._breath_s = period_s

    def sound(self, on: bool) -> None:  # noqa: FBT001 - as lamp
        """Let the buzzer sound, or silence it; does nothing without a buzzer.

        Raises:
            PinsError: The pin does not obey, or the panel is closed.
        """
        self._require_open()
        if self._buzzer is None:
            return
        with _explained("buzzer", self.pins.buzzer_pin):
            if not on:
                self._silence()
            elif self.pins.buzzer == "passive":
                self._buzzer.play(PITCH_NOTE)
            else:
                self._buzzer.on()

    def close(self) -> None:
        """Put lamp and buzzer off and release the pins; a second call does nothing.

        Raises:
            PinsError: A pin did not obey. The others are off and released all the same.
        """
        if self._closed:
            return
        self._closed = True
        with _explained("panel", None):
            self._opened.close()

    def _require_open(self) -> None:
        if self._closed:
            raise PinsError("The panel is closed.")

    def _silence(self) -> None:
        if self.pins.buzzer == "passive":
            self._buzzer.stop()
            # lgpio ends PWM wherever the wave stands: half the time the pin would stay high, with
            # a direct current through the coil.
            self._buzzer.pwm_device.off()
        else:
            self._buzzer.off()

    def _deafen(self) -> None:
        # lgpio's pins keep the handler of a closed device and then take no new one: a panel opened
        # again on the same factory would never hear its button.
        self._button.pin.when_changed = None

    def _tell_press(self) -> None:
        self._tell(pressed=True, age_s=self._button.active_time)

    def _tell_release(self) -> None:
        self._tell(pressed=False, age_s=self._button.inactive_time)

    def _tell(self, *, pressed: bool, age_s: float | None) -> None:
        now_s = time.monotonic()
        if age_s is None or not 0 <= age_s <= _MAX_EDGE_AGE_S:
            age_s = 0.0
        if self._closed:
            return
        try:
            self._on_edge(pressed, now_s - age_s)
        except Exception as error:  # noqa: BLE001 - it surfaces through on_error
            self._on_error(error)


@contextlib.contextmanager
def _explained(part: str, pin: int | None) -> Iterator[None]:
    """Turn what gpiozero and the libraries below it raise into a sentence with a remedy."""
    import gpiozero

    where = f"GPIO{pin} ({part})" if pin is not None else f"The {part}"
    try:
        yield
    except PinsError:
        raise
    except gpiozero.GPIOPinInUse as error:
        raise PinsError(
            f"{where} is used twice.", advice="Give each of lamp, buzzer and button its own pin."
        ) from error
    except gpiozero.PinInvalidPin as error:
        raise PinsError(
            f"{where} is not on this board.",
            advice="Give the BCM number, 0 to 27: header pin 11 is 17.",
        ) from error
    except gpiozero.PinPWMError as error:
        raise PinsError(
            f"{where} cannot be dimmed by this pin factory: {error}.",
            advice="Use lgpio, or do without PWM and with an active buzzer.",
        ) from error
    except Exception as error:
        # Each library below gpiozero has an error class of its own, and a bare text in it.
        if "busy" in str(error).lower():
            raise PinsError(
                f"{where} is in use by another program or by the kernel.",
                advice="Stop the other program (gpioinfo names it; is a kiosk running already?), "
                "remove the overlay from config.txt, or choose another pin.",
            ) from error
        raise PinsError(
            f"{where} does not obey: {error}.", advice="Check the wiring and the pin's number."
        ) from error
