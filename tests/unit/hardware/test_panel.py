"""The panel on gpiozero's own mock pins: what reaches the lamp, the buzzer and the ear."""

import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import gpiozero
import pytest
import yaml
from gpiozero.threads import GPIOThread
from hypothesis import given
from hypothesis import strategies as st

from hardware.errors import HardwareError, PinsError
from hardware.panel import BOUNCE_S, Panel, PanelPins
from hardware.pins import open_pin_factory
from hardware.simulation import ObservedPin, SimulatedHands

ROOT = Path(__file__).parents[3]
WAIT_S = 10

KINDS = [(pwm, buzzer) for pwm in (True, False) for buzzer in ("active", "passive")]


class Bench:
    """A panel with hands on its button and a notebook for all that happens."""

    def __init__(self, *, led_pwm=True, buzzer="active", buzzer_pin=18, on_edge=None):
        self.pins = PanelPins(
            led_pin=17, led_pwm=led_pwm, buzzer_pin=buzzer_pin, buzzer=buzzer, button_pin=27
        )
        self.factory = open_pin_factory("simulated")
        self.edges = []
        self.times_s = []
        self.errors = []
        self.shown = []
        self.lit = threading.Event()
        self.panel = self.open_panel(on_edge or self.note_edge)
        self.hands = SimulatedHands(self.factory, self.pins)
        self.hands.observe(self.note_device)

    def open_panel(self, on_edge):
        return Panel(
            self.pins, pin_factory=self.factory, on_edge=on_edge, on_error=self.errors.append
        )

    def note_edge(self, pressed, at_s):
        self.edges.append(pressed)
        self.times_s.append(at_s)

    def note_device(self, device, on, at_s):
        self.shown.append((device, on))
        if (device, on) == ("lamp", True):
            self.lit.set()

    def level(self, number):
        return self.factory.pin(number).state

    def close(self):
        self.panel.close()
        self.factory.close()


@pytest.fixture
def bench():
    benches = []

    def make(**kwargs):
        benches.append(Bench(**kwargs))
        return benches[-1]

    yield make
    for each in benches:
        each.close()


def breathing_threads():
    return [thread for thread in threading.enumerate() if isinstance(thread, GPIOThread)]


# The button


def test_a_press_and_a_release_are_told_once_each(bench):
    b = bench()

    b.hands.press(held_s=0)

    assert b.edges == [True, False]


def test_a_held_button_is_told_once_until_it_is_let_go(bench):
    b = bench()

    b.hands.down()
    b.hands.down()

    assert b.edges == [True]
    assert b.panel.pressed
    b.hands.up()
    assert b.edges == [True, False]
    assert not b.panel.pressed


def test_a_button_held_at_the_start_is_told_with_its_release_only(bench):
    factory = open_pin_factory("simulated")
    pins = PanelPins(led_pin=17, button_pin=27)
    hands = SimulatedHands(factory, pins)
    edges = []
    with Panel(
        pins, pin_factory=factory, on_edge=lambda *edge: edges.append(edge), on_error=edges.append
    ) as panel:
        hands.down()
        edges.clear()
        assert panel.pressed
        hands.up()
    assert [pressed for pressed, _ in edges] == [False]
    factory.close()


def test_bounces_reach_the_session_from_mock_pins(bench):
    """gpiozero's mock pins ignore the bounce time: nobody may rely on the panel alone."""
    b = bench()

    for _ in range(3):
        b.hands.press(held_s=0)

    assert b.edges == [True, False] * 3
    assert b.factory.pin(27).bounce == BOUNCE_S


@given(st.lists(st.booleans(), max_size=30))
def test_edges_alternate_and_their_times_do_not_run_backwards(script):
    b = Bench()

    for down in script:
        (b.hands.down if down else b.hands.up)()

    changes = [now for before, now in zip([False, *script], script, strict=False) if before != now]
    assert b.edges == changes
    assert b.times_s == sorted(b.times_s)
    b.close()


def test_an_edge_carries_the_time_of_the_pin_not_of_the_call(bench, monkeypatch):
    b = bench()
    monkeypatch.setattr("hardware.panel.time.monotonic", lambda: 100.0)
    monkeypatch.setattr(gpiozero.DigitalInputDevice, "active_time", 0.25)
    monkeypatch.setattr(gpiozero.DigitalInputDevice, "inactive_time", 0.5)

    b.hands.press(held_s=0)

    assert b.times_s == [99.75, 99.5]


@pytest.mark.parametrize("age_s", [None, -1_700_000_000.0, 1_700_000_000.0, -0.001])
def test_a_time_from_another_clock_is_not_believed(bench, monkeypatch, age_s):
    b = bench()
    monkeypatch.setattr("hardware.panel.time.monotonic", lambda: 100.0)
    monkeypatch.setattr(gpiozero.DigitalInputDevice, "active_time", age_s)

    b.hands.down()

    assert b.times_s == [100.0]


def test_an_error_in_the_listener_surfaces_and_the_next_press_is_heard(bench):
    heard = []

    def listen(pressed, at_s):
        heard.append(pressed)
        if len(heard) == 1:
            raise ValueError("mailbox is gone")

    b = bench(on_edge=listen)

    b.hands.press(held_s=0)

    assert [str(error) for error in b.errors] == ["mailbox is gone"]
    assert heard == [True, False]


def test_a_closed_panel_hears_nothing(bench):
    b = bench()
    b.panel.close()

    b.hands.press(held_s=0)

    assert b.edges == []


def test_an_edge_that_was_under_way_when_the_panel_closed_is_dropped(bench):
    b = bench()
    late = b.panel._tell_press
    b.panel.close()

    late()

    assert b.edges == []


def test_a_second_panel_on_the_same_factory_hears_its_button(bench):
    b = bench()
    b.panel.close()

    b.panel = b.open_panel(b.note_edge)
    b.hands.press(held_s=0)

    assert b.edges == [True, False]


# Lamp and buzzer


@pytest.mark.parametrize(("led_pwm", "buzzer"), KINDS)
def test_lamp_and_buzzer_do_as_told(bench, led_pwm, buzzer):
    b = bench(led_pwm=led_pwm, buzzer=buzzer)

    b.panel.lamp(on=True)
    b.panel.sound(on=True)
    b.panel.sound(on=False)
    b.panel.lamp(on=False)

    assert b.shown == [("lamp", True), ("buzzer", True), ("buzzer", False), ("lamp", False)]


def test_a_passive_buzzer_is_given_a_tone_near_its_loudest(bench):
    b = bench(buzzer="passive")
    assert b.factory.pin(18).frequency is None

    b.panel.sound(on=True)

    assert 2000 < b.factory.pin(18).frequency < 2200
    b.panel.sound(on=False)
    assert b.factory.pin(18).frequency is None


def test_without_a_buzzer_sound_does_nothing(bench):
    b = bench(buzzer_pin=None)

    b.panel.sound(on=True)

    assert b.shown == []


@pytest.mark.parametrize("led_pwm", [True, False])
def test_breathing_lights_the_lamp_and_ends_with_its_thread(bench, led_pwm):
    b = bench(led_pwm=led_pwm)

    b.panel.breathe(0.2)

    assert b.lit.wait(WAIT_S)
    assert len(breathing_threads()) == 1
    b.panel.lamp(on=False)
    assert breathing_threads() == []
    assert b.level(17) == 0


def test_breathing_with_pwm_goes_through_the_levels_between(bench):
    b = bench()

    b.panel.breathe(0.4)

    assert b.lit.wait(WAIT_S)
    assert any(0 < state.state < 1 for state in b.factory.pin(17).states)


def test_the_same_breath_goes_on_and_another_replaces_it(bench):
    b = bench()
    b.panel.breathe(3)
    (first,) = breathing_threads()

    b.panel.breathe(3)
    assert breathing_threads() == [first]

    b.panel.breathe(2)
    (second,) = breathing_threads()
    assert second is not first


def test_after_a_lamp_the_same_breath_starts_again(bench):
    b = bench()
    b.panel.breathe(3)
    b.panel.lamp(on=True)

    b.panel.breathe(3)

    assert len(breathing_threads()) == 1


calls = st.sampled_from(["lamp on", "lamp off", "sound on", "sound off", "breathe"])


@given(st.sampled_from(KINDS), st.lists(calls, max_size=6))
def test_close_leaves_lamp_and_buzzer_off_whatever_was_before(kind, script):
    b = Bench(led_pwm=kind[0], buzzer=kind[1])
    for call in script:
        match call.split():
            case ["lamp", word]:
                b.panel.lamp(on=word == "on")
            case ["sound", word]:
                b.panel.sound(on=word == "on")
            case _:
                b.panel.breathe(3)

    b.panel.close()

    assert (b.level(17), b.level(18)) == (0, 0)
    assert breathing_threads() == []
    b.close()


def test_closing_twice_does_nothing(bench):
    b = bench()

    b.panel.close()
    b.panel.close()

    assert b.level(17) == 0


def test_an_error_in_the_block_closes_the_panel(bench):
    b = bench()

    def use():
        with b.panel as panel:
            panel.lamp(on=True)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        use()

    assert b.level(17) == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda panel: panel.lamp(on=True),
        lambda panel: panel.sound(on=True),
        lambda panel: panel.breathe(3),
        lambda panel: panel.pressed,
    ],
)
def test_a_closed_panel_says_so(bench, use):
    b = bench()
    b.panel.close()

    with pytest.raises(PinsError, match="closed"):
        use(b.panel)


# What goes wrong


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        (PanelPins(led_pin=17, buzzer_pin=17, button_pin=27), r"GPIO17 \(buzzer\) is used twice"),
        (PanelPins(led_pin=17, buzzer_pin=18, button_pin=18), r"GPIO18 \(button\) is used twice"),
        (PanelPins(led_pin=99, button_pin=27), r"GPIO99 \(lamp\) is not on this board.*BCM"),
    ],
)
def test_pins_that_cannot_be_had_are_named_with_a_remedy(pins, message):
    factory = open_pin_factory("simulated")

    with pytest.raises(PinsError, match=message) as caught:
        Panel(pins, pin_factory=factory, on_edge=print, on_error=print)

    assert isinstance(caught.value, HardwareError)
    assert caught.value.advice
    factory.close()


@pytest.mark.parametrize(("led_pwm", "buzzer"), KINDS)
def test_a_panel_that_opens_half_way_lets_go_of_the_rest(bench, led_pwm, buzzer, monkeypatch):
    factory = open_pin_factory("simulated")
    pins = PanelPins(led_pin=17, led_pwm=led_pwm, buzzer_pin=18, buzzer=buzzer, button_pin=27)
    closed = []
    shut = gpiozero.GPIODevice.close
    monkeypatch.setattr(
        gpiozero.GPIODevice, "close", lambda device: (closed.append(str(device.pin)), shut(device))
    )
    with monkeypatch.context() as broken:
        broken.setattr(gpiozero, "DigitalInputDevice", fail_with(OSError("no event line")))
        with pytest.raises(PinsError, match="no event line"):
            Panel(pins, pin_factory=factory, on_edge=print, on_error=print)
    assert {"GPIO17", "GPIO18"} <= set(closed)
    assert (factory.pin(17).state, factory.pin(18).state) == (0, 0)

    # Nothing holds the pins any more: a whole panel opens on them.
    Panel(pins, pin_factory=factory, on_edge=print, on_error=print).close()
    factory.close()


def fail_with(error):
    def fail(*_args, **_kwargs):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("GPIO busy"), "in use by another program"),
        (gpiozero.PinPWMUnsupported("no PWM"), "cannot be dimmed"),
        (RuntimeError("wet"), "does not obey: wet"),
        (PinsError("Said already."), "Said already"),
    ],
)
def test_a_pin_that_stops_obeying_is_explained(bench, monkeypatch, error, message):
    b = bench()

    monkeypatch.setattr(gpiozero.PWMLED, "on", fail_with(error))

    with pytest.raises(PinsError, match=message):
        b.panel.lamp(on=True)


def test_a_lamp_that_fails_to_close_does_not_keep_the_buzzer_on(bench, monkeypatch):
    b = bench()
    b.panel.sound(on=True)
    move = ObservedPin._set_state

    def move_all_but_the_lamp(pin, level):
        if pin is b.factory.pin(17):
            raise RuntimeError("wet")
        move(pin, level)

    monkeypatch.setattr(ObservedPin, "_set_state", move_all_but_the_lamp)
    with pytest.raises(PinsError, match="wet"):
        b.panel.close()

    assert b.level(18) == 0
    b.panel.close()


def test_only_simulated_pins_can_be_pressed_by_simulated_hands():
    with pytest.raises(TypeError, match="simulated"):
        SimulatedHands(object(), PanelPins(led_pin=17, button_pin=27))


def test_the_global_pin_factory_is_never_set(bench):
    b = bench()
    b.panel.lamp(on=True)

    assert gpiozero.Device.pin_factory is None


def test_importing_the_panel_costs_no_library():
    script = (
        "import sys, hardware.panel, hardware.pins; "
        "heavy = {'gpiozero', 'numpy', 'cv2', 'lgpio', 'kiosk'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


# The boards that ship with the kiosk

BOARDS = sorted((ROOT / "config" / "boards").glob("*.yaml"))


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_each_board_file_names_pins_that_make_a_panel(path):
    board = yaml.safe_load(path.read_text())
    assert set(board) == {"panel", "camera"}
    panel = board["panel"]
    assert (panel.pop("backend"), panel.pop("pin_factory")) == ("gpio", "lgpio")
    panel.pop("chip")

    factory = open_pin_factory("simulated")
    Panel(PanelPins(**panel), pin_factory=factory, on_edge=print, on_error=print).close()
    factory.close()


def test_the_drawing_shows_the_pins_of_the_board_files():
    assert BOARDS
    words = {text.text for text in ElementTree.parse(ROOT / "hardware/wiring.svg").iter()}
    for path in BOARDS:
        panel = yaml.safe_load(path.read_text())["panel"]
        assert {f"GPIO{panel[key]}" for key in ("led_pin", "buzzer_pin", "button_pin")} <= words
