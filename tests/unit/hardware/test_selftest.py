"""The self-test tells a technician what is wrong, and a script by its exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hardware import selftest
from hardware.errors import PinsError
from hardware.panel import PanelPins
from hardware.selftest import check_panel, check_pins, main, open_panel
from hardware.simulation import SimulatedHands

ROOT = Path(__file__).parents[3]
PINS = PanelPins(led_pin=17, buzzer_pin=18, button_pin=27)


def no_pause(_s):
    """Lets lamp and buzzer switch at once."""


def check(press, pins=PINS, press_within_s=0.0):
    """Run the checks with simulated hands that do `press`; the last finding is the button's."""
    with open_panel(pins, "simulated") as opened:
        hands = SimulatedHands(opened.pin_factory, pins)
        return list(
            check_panel(
                opened,
                say=no_pause,
                pause=no_pause,
                press=lambda: press(hands),
                press_within_s=press_within_s,
            )
        )


def press_once(hands):
    hands.press(held_s=0)


@pytest.mark.parametrize(
    "arguments", [[], ["--pwm"], ["--passive"], ["--pwm", "--passive"], ["--no-buzzer"]]
)
def test_the_simulated_panel_passes_by_itself(capsys, arguments):
    assert main(["--factory", "simulated", *arguments], pause=no_pause) == 0

    told = capsys.readouterr().out
    assert "Press the button once, within 15 seconds." in told
    assert "NOT OK" not in told
    assert ("buzzer:" in told) == ("--no-buzzer" not in arguments)


def test_json_has_one_finding_a_line_and_the_sentences_elsewhere(capsys):
    assert main(["--factory", "simulated", "--json"], pause=no_pause) == 0

    out, err = capsys.readouterr()
    findings = [json.loads(line) for line in out.splitlines()]
    assert [finding["check"] for finding in findings] == ["lamp", "buzzer", "button"]
    assert all(set(finding) == {"check", "ok", "detail", "advice"} for finding in findings)
    assert "Press the button" in err


def test_lamp_and_buzzer_are_switched_and_left_off():
    shown = []
    with open_panel(PINS, "simulated") as opened:
        hands = SimulatedHands(opened.pin_factory, PINS)
        hands.observe(lambda device, on, at_s: shown.append((device, on)))
        list(check_panel(opened, say=no_pause, pause=no_pause, press=hands.press))

    assert shown.count(("buzzer", True)) == 3
    assert shown.count(("lamp", True)) >= 5
    assert shown.count(("lamp", True)) == shown.count(("lamp", False))


def test_a_button_that_nobody_presses_is_not_ok():
    *_, button = check(lambda hands: None)

    assert not button.ok
    assert "No press came in on GPIO27" in button.detail
    assert "ground" in button.advice


def test_a_button_that_stays_down_is_not_ok(monkeypatch):
    monkeypatch.setattr(selftest, "_RELEASE_WITHIN_S", 0.0)

    *_, button = check(lambda hands: hands.down())

    assert not button.ok
    assert "did not come up" in button.detail


def test_a_button_that_is_down_from_the_start_is_not_ok():
    with open_panel(PINS, "simulated") as opened:
        hands = SimulatedHands(opened.pin_factory, PINS)
        hands.down()
        *_, button = check_panel(opened, say=no_pause, pause=no_pause, press=hands.up)

    assert not button.ok
    assert "nobody pressed it" in button.detail


def test_an_edge_before_the_question_is_no_answer():
    with open_panel(PINS, "simulated") as opened:
        hands = SimulatedHands(opened.pin_factory, PINS)
        press_once(hands)
        *_, button = check_panel(opened, say=no_pause, pause=no_pause, press_within_s=0.0)

    assert not button.ok


def test_what_went_wrong_in_the_thread_of_the_edges_is_told():
    with open_panel(PINS, "simulated") as opened:
        opened.errors.append(RuntimeError("lost"))
        *_, button = check_panel(opened, say=no_pause, pause=no_pause, press_within_s=0.0)

    assert not button.ok
    assert "lost" in button.detail


def test_not_as_expected_exits_1(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "_simulate_press", lambda opened: None)
    monkeypatch.setattr(selftest, "check_panel", nobody_presses)

    assert main(["--factory", "simulated"], pause=no_pause) == 1
    assert "button: NOT OK" in capsys.readouterr().out


def nobody_presses(opened, **kwargs):
    return check_panel(opened, **{**kwargs, "press_within_s": 0.0})


def test_control_c_exits_1_without_a_traceback(capsys):
    def interrupt(_s):
        raise KeyboardInterrupt

    assert main(["--factory", "simulated"], pause=interrupt) == 1
    assert "Stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--led", "x"], 2), (["--factory", "simulated", "--led", "18"], 3)]
)
def test_as_a_command_it_exits_with_its_code(arguments, code):
    done = subprocess.run(
        [sys.executable, "-m", "hardware.selftest", "--json", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if code == 3:
        (finding,) = map(json.loads, done.stdout.splitlines())
        assert finding["check"] == "pins"
        assert not finding["ok"]
        assert finding["advice"]


# For kiosk doctor: nobody there, nothing lights


def test_pins_that_can_be_had_are_ok():
    pins, button = check_pins(PINS, "simulated")

    assert pins.ok
    assert "GPIO17, GPIO18, GPIO27" in pins.detail
    assert button.ok


def test_pins_that_cannot_be_had_are_one_finding():
    (finding,) = check_pins(PanelPins(led_pin=17, button_pin=17), "simulated")

    assert not finding.ok
    assert "used twice" in finding.detail
    assert finding.advice


def test_a_button_that_is_down_is_a_finding(monkeypatch):
    monkeypatch.setattr("hardware.panel.Panel.pressed", True)

    _, button = check_pins(PINS, "simulated")

    assert not button.ok


def test_errors_keep_detail_and_advice_apart():
    error = PinsError("It is broken.", advice="Mend it.")

    assert (str(error), error.detail, error.advice) == (
        "It is broken. Mend it.",
        "It is broken.",
        "Mend it.",
    )
    assert str(PinsError("It is broken.")) == "It is broken."
