"""The named pin factory opens, or says why not: never another one, never a traceback."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import gpiozero
import gpiozero.pins.local
import pytest

from hardware import pins as pins_module
from hardware.errors import PinsError
from hardware.panel import Panel, PanelPins
from hardware.pins import open_pin_factory

ROOT = Path(__file__).parents[3]
PI_4 = 0xC03114
PI_5 = 0xC04170

# Behaves like lgpio 0.2.2 where it matters here: the import makes a pipe in LG_WD and moves there,
# a chip does not open without a reason, and PWM ends wherever the wave stands.
FAKE_LGPIO = textwrap.dedent(
    """
    import os

    SET_PULL_UP, SET_PULL_DOWN, SET_PULL_NONE = 32, 64, 128
    RISING_EDGE, FALLING_EDGE, BOTH_EDGES = 1, 2, 3

    if "LG_WD" in os.environ:
        os.chdir(os.environ["LG_WD"])
    where_imported = os.getcwd()
    open(".lgd-nfy0", "w").close()

    labels = {0: "pinctrl-bcm2711"}
    busy = set()
    modes, levels, debounces, callbacks = {}, {}, {}, {}


    class error(Exception):
        def __str__(self):
            return repr(self.args[0])


    def gpiochip_open(chip):
        if chip not in labels:
            raise error("can not open gpiochip")
        return chip


    def gpiochip_close(handle):
        return 0


    def gpio_get_chip_info(handle):
        return [0, 58, f"gpiochip{handle}", labels[handle]]


    def gpio_claim_input(handle, gpio, flags=0):
        if gpio in busy:
            raise error("GPIO busy")
        modes[gpio] = flags


    def gpio_claim_output(handle, gpio, level=0, flags=0):
        modes[gpio] = 2
        levels[gpio] = level


    def gpio_free(handle, gpio):
        modes.pop(gpio, None)


    def gpio_get_mode(handle, gpio):
        return modes[gpio]


    def gpio_read(handle, gpio):
        return levels.get(gpio, 1)


    def gpio_write(handle, gpio, level):
        levels[gpio] = int(level)


    def gpio_set_debounce_micros(handle, gpio, micros):
        debounces[gpio] = micros


    def gpio_claim_alert(handle, gpio, edges, flags=0):
        modes[gpio] = flags


    def tx_pwm(handle, gpio, frequency, duty):
        if frequency:
            levels[gpio] = 1 if duty else 0


    class callback:
        def __init__(self, handle, gpio, edge, func):
            self.gpio = gpio
            callbacks[gpio] = func

        def cancel(self):
            callbacks.pop(self.gpio, None)
    """
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages are imported from, with nothing of lgpio left from before."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    for name in ("lgpio", "gpiozero.pins.lgpio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # Put back what was there, also when the test imports them anew.
    yield folder
    for name in ("lgpio", "gpiozero.pins.lgpio"):
        sys.modules.pop(name, None)


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """A /dev with the given GPIO chips."""
    folder = tmp_path / "dev"
    folder.mkdir()
    monkeypatch.setattr(pins_module, "_DEVICES", folder)
    return folder


@pytest.fixture
def lgpio(site, devices):
    """The fake, and one chip to open."""
    (site / "lgpio.py").write_text(FAKE_LGPIO)
    (devices / "gpiochip0").touch()
    pins_module._import_lgpio()
    return sys.modules["lgpio"]


@pytest.fixture
def on_a_pi_5(monkeypatch):
    monkeypatch.setattr(gpiozero.pins.local, "get_pi_revision", lambda: PI_5)


def no_pi():
    raise gpiozero.PinUnknownPi("no revision")


# Which factory


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(PinsError, match=r"no pin factory 'gpiod'.*lgpio, rpigpio"):
        open_pin_factory("gpiod")


def test_the_environment_cannot_change_the_simulated_pins(monkeypatch):
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "native")
    monkeypatch.setenv("GPIOZERO_MOCK_PIN_CLASS", "mockpin")
    monkeypatch.setenv("GPIOZERO_MOCK_REVISION", "0002")

    factory = open_pin_factory("simulated")

    assert factory.pin_class.__name__ == "ObservedPin"
    assert factory.board_info.model == "3B"
    factory.close()


@pytest.mark.parametrize(
    ("name", "module"), [("rpigpio", "RPi"), ("pigpio", "pigpio"), ("lgpio", "lgpio")]
)
def test_a_missing_library_is_named_and_no_other_factory_takes_its_place(
    name, module, site, monkeypatch
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"gpiozero.pins.{name}", raising=False)

    with pytest.raises(PinsError, match=r"(?i)install") as caught:
        open_pin_factory(name)

    assert "pip install" in caught.value.advice
    assert gpiozero.Device.pin_factory is None


def test_a_factory_that_does_not_open_is_explained(site, monkeypatch):
    (site / "pigpio.py").write_text("def pi(host, port): raise OSError('connection refused')\n")
    monkeypatch.setattr(pins_module, "_load_class", lambda _name: lambda: no_connection())

    with pytest.raises(PinsError, match=r"'pigpio' does not open: refused.*pigpiod"):
        open_pin_factory("pigpio")


def no_connection():
    raise OSError("refused")


def test_a_machine_that_is_no_pi_is_told_so(lgpio, monkeypatch):
    monkeypatch.setattr(gpiozero.pins.local, "get_pi_revision", no_pi)

    with pytest.raises(PinsError, match=r"no Raspberry Pi.*simulated"):
        open_pin_factory("lgpio", 0)
    with pytest.raises(PinsError, match="no Raspberry Pi"):
        open_pin_factory("lgpio")


def test_a_test_rig_gives_the_revision_that_it_does_not_have(lgpio, monkeypatch):
    monkeypatch.setattr(gpiozero.pins.local, "get_pi_revision", no_pi)
    lgpio.labels[0] = "gpio-sim.0-node0"

    factory = open_pin_factory("lgpio", 0, board_revision=PI_4)

    assert factory.board_info.model == "4B"
    factory.close()


# The traps of lgpio


@pytest.mark.parametrize("before", [None, "/nonexistent"])
def test_importing_lgpio_leaves_no_pipe_and_moves_nobody(
    site, devices, tmp_path, monkeypatch, before
):
    (site / "lgpio.py").write_text(FAKE_LGPIO)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    if before is None:
        monkeypatch.delenv("LG_WD", raising=False)
    else:
        monkeypatch.setenv("LG_WD", before)

    pins_module._import_lgpio()

    lgpio = sys.modules["lgpio"]
    assert Path.cwd() == here
    assert list(here.iterdir()) == []
    assert os.environ.get("LG_WD") == before
    assert not Path(lgpio.where_imported).exists()
    pins_module._import_lgpio()
    assert sys.modules["lgpio"] is lgpio


def test_the_pipe_is_made_in_the_runtime_directory_of_a_service(
    site, devices, tmp_path, monkeypatch
):
    (site / "lgpio.py").write_text(FAKE_LGPIO)
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:/run/other")

    pins_module._import_lgpio()

    assert Path(sys.modules["lgpio"].where_imported).parent == runtime
    assert list(runtime.iterdir()) == []


def test_nowhere_to_make_the_pipe_is_explained(site, devices, monkeypatch):
    (site / "lgpio.py").write_text(FAKE_LGPIO)
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/nonexistent/run")

    with pytest.raises(PinsError, match=r"could not make its pipe.*RuntimeDirectory"):
        open_pin_factory("lgpio")


def test_a_fresh_process_imports_lgpio_although_lg_wd_points_nowhere(tmp_path):
    (tmp_path / "lgpio.py").write_text(FAKE_LGPIO)
    work = tmp_path / "work"
    work.mkdir()
    script = (
        f"from hardware.pins import *; print(open_pin_factory('lgpio', 0, board_revision={PI_4}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=work,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "LG_WD": "/nonexistent", "PATH": os.defpath},
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "LGPIOFactory" in done.stdout
    assert list(work.iterdir()) == []


def test_the_empty_lgpio_is_told_from_a_real_one_each_time(site):
    (site / "lgpio.py").write_text("")

    for _ in range(2):
        with pytest.raises(PinsError, match=r"empty.*0\.0\.0\.2.*lgpio>=0\.2\.2"):
            open_pin_factory("lgpio")


def test_an_lgpio_that_does_not_load_is_told_from_a_missing_one(site):
    (site / "lgpio.py").write_text("raise ImportError('libgpio.so: wrong ELF class')\n")

    with pytest.raises(PinsError, match=r"lgpio does not load: .*ELF"):
        open_pin_factory("lgpio")


# The chip


def test_a_machine_without_chips_is_told_so(lgpio, devices):
    lgpio.labels.clear()
    (devices / "gpiochip0").unlink()

    with pytest.raises(PinsError, match="no GPIO chip"):
        open_pin_factory("lgpio", 0, board_revision=PI_4)


def test_a_chip_that_is_not_there_is_told_with_those_that_are(lgpio, devices):
    (devices / "gpiochip10").touch()
    (devices / "gpiochip-old").touch()

    with pytest.raises(PinsError, match=r"no \S*gpiochip4\. Chips here: 0, 10\. On a Pi 5"):
        open_pin_factory("lgpio", 4, board_revision=PI_5)


def test_a_chip_without_permission_is_told_with_the_group(lgpio, monkeypatch):
    lgpio.labels.clear()
    # Not by the file's mode: root may open it all the same.
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(PinsError, match=r"may not open .*usermod -aG gpio"):
        open_pin_factory("lgpio", 0, board_revision=PI_4)


def test_a_chip_that_does_not_open_for_another_reason_is_told(lgpio):
    lgpio.labels.clear()

    with pytest.raises(PinsError, match="gpiochip0 does not open"):
        open_pin_factory("lgpio", 0, board_revision=PI_4)


def test_a_chip_that_is_not_the_header_is_refused_and_the_right_one_named(
    lgpio, devices, on_a_pi_5
):
    """A Pi 5 with an old kernel: chip 0 opens and has a line 17, which is not on the header."""
    lgpio.labels.update({0: "gpio-brcmstb@107d508500", 4: "pinctrl-rp1"})
    (devices / "gpiochip3").touch()
    (devices / "gpiochip4").touch()

    with pytest.raises(PinsError, match=r"not the 40-pin header.* header is chip 4 here"):
        open_pin_factory("lgpio", 0)

    open_pin_factory("lgpio", 4).close()


def test_without_a_chip_the_header_is_found_by_its_label(lgpio, devices, on_a_pi_5):
    """A Pi 5 with a kernel that numbers other chips first."""
    for number in (1, 2, 11):
        (devices / f"gpiochip{number}").touch()
    lgpio.labels.update({0: "gpio-brcmstb@107d508500", 1: "raspberrypi-exp-gpio"})
    lgpio.labels[11] = "pinctrl-rp1"

    factory = open_pin_factory("lgpio")

    assert factory.chip == 11
    factory.close()


def test_a_board_whose_header_is_nowhere_is_told_so(lgpio, on_a_pi_5):
    lgpio.labels[0] = "gpio-brcmstb@107d508500"

    with pytest.raises(PinsError, match="Leave the chip out"):
        open_pin_factory("lgpio", 0)


# A panel on lgpio's pins


@pytest.fixture
def lgpio_factory(lgpio):
    factory = open_pin_factory("lgpio", 0, board_revision=PI_4)
    yield factory
    factory.close()
    # gpiozero reserves pins for the whole process, and a device that failed to open lets go only
    # when it is collected, which on a later Python is after the next test.
    factory._reservations.clear()


def open_panel(factory, edges=None, buzzer="active"):
    pins = PanelPins(led_pin=17, buzzer_pin=18, buzzer=buzzer, button_pin=27)
    heard = [] if edges is None else edges
    return Panel(
        pins,
        pin_factory=factory,
        on_edge=lambda pressed, at_s: heard.append((pressed, at_s)),
        on_error=heard.append,
    )


def test_a_pin_that_another_program_holds_is_told(lgpio, lgpio_factory):
    lgpio.busy.add(18)

    with pytest.raises(PinsError, match=r"GPIO18 \(buzzer\) is in use by another program"):
        open_panel(lgpio_factory)


def test_a_passive_buzzer_is_left_low_although_pwm_ends_high(lgpio, lgpio_factory):
    with open_panel(lgpio_factory, buzzer="passive") as panel:
        panel.sound(on=True)
        assert lgpio.levels[18] == 1

        panel.sound(on=False)

        assert lgpio.levels[18] == 0


def test_an_edge_keeps_the_time_that_the_kernel_gave_it(lgpio, lgpio_factory):
    edges = []
    with open_panel(lgpio_factory, edges):
        assert lgpio.debounces[27] == 20_000
        kernel_s = time.monotonic()
        lgpio.callbacks[27](0, 27, 0, int(kernel_s * 1e9))

    ((pressed, at_s),) = edges
    assert pressed
    assert at_s == pytest.approx(kernel_s, abs=0.001)


def test_a_panel_opened_again_on_lgpio_hears_its_button(lgpio, lgpio_factory):
    open_panel(lgpio_factory).close()
    edges = []

    with open_panel(lgpio_factory, edges):
        lgpio.callbacks[27](0, 27, 0, time.monotonic_ns())

    assert [pressed for pressed, _ in edges] == [True]
