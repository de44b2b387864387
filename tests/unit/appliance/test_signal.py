"""The rhythms at the start: none looks like a cue, none is too fast, none is a steady light."""

import json
import os
import signal as signals
import socket
import subprocess
import sys
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from appliance import signal

from hardware.panel import Panel, PanelPins
from hardware.pins import open_pin_factory
from kiosk.core.cues import Cue
from kiosk.payment.indicator import FLASH_INTERVAL_S, PATTERNS

ROOT = Path(__file__).parents[3]
ALL = sorted(signal.RHYTHMS)


def flashes_of(steps, rounds=3):
    """(begins at, lasts) of each time that a lamp or a buzzer is on, neighbours joined."""
    at_s, found = 0.0, []
    for on, steps_on in groupby(steps * rounds, key=lambda step: step[0]):
        for_s = sum(seconds for _, seconds in steps_on)
        if on:
            found.append((round(at_s, 3), round(for_s, 3)))
        at_s += for_s
    return found


@pytest.mark.parametrize("trouble", ALL)
def test_never_more_than_three_flashes_a_second(trouble):
    begins = [at_s for at_s, _ in flashes_of(signal.RHYTHMS[trouble][1])]

    assert all(later - earlier >= FLASH_INTERVAL_S for earlier, later in pairwise(begins))


@pytest.mark.parametrize("trouble", ALL)
def test_light_is_never_steady(trouble):
    steady_s = max(seconds for _, seconds in flashes_of(signal.RHYTHMS[trouble][1]))
    ((_, approved_s),) = PATTERNS[Cue.APPROVED].lamp

    assert steady_s <= approved_s / 4


@pytest.mark.parametrize("trouble", ALL)
def test_no_cue_has_its_flashes(trouble):
    longs = {seconds for _, seconds in flashes_of(signal.RHYTHMS[trouble][1]) if seconds > 0.5}
    assert longs

    for pattern in PATTERNS.values():
        lasting = {seconds for on, seconds in pattern.lamp if on}
        # A cue flashes for a quarter of a second at most, or stands for three.
        assert all(seconds <= 0.25 or seconds >= 3 for seconds in lasting)
        assert pattern.breathe_s in (None, 3.0)


def test_each_trouble_has_a_rhythm_of_its_own():
    orders = {
        trouble: tuple(seconds > 0.5 for _, seconds in flashes_of(steps, rounds=1))
        for trouble, (_, steps) in signal.RHYTHMS.items()
    }
    doubled = {trouble: order * 6 for trouble, order in orders.items()}

    # Whoever begins to look in the middle must not take one for the other.
    for one in orders:
        for other in orders:
            if one != other:
                assert str(orders[one] * 2)[1:-1] not in str(doubled[other])


def test_no_cue_has_so_many_sounds():
    assert len(flashes_of(signal.TICKS, rounds=1)) == 5
    assert max(len(flashes_of(pattern.sound, 1)) for pattern in PATTERNS.values()) == 3


@pytest.fixture
def panel():
    factory = open_pin_factory("simulated")
    pins = PanelPins(led_pin=17, led_pwm=False, buzzer_pin=18, button_pin=27)
    with Panel(pins, pin_factory=factory, on_edge=print, on_error=print) as opened:
        yield opened
    factory.close()


class Watch:
    """What lamp and buzzer did, by the time that was waited."""

    def __init__(self, panel, end_s=float("inf")):
        self.at_s, self.seen, self._panel, self._end_s = 0.0, [], panel, end_s

    def wait(self, for_s):
        lamp, buzzer = self._panel._lamp.is_lit, self._panel._buzzer.is_active
        self.seen.append((round(self.at_s, 3), lamp, buzzer))
        self.at_s += for_s
        return self.at_s >= self._end_s


def test_it_ticks_and_then_shows_the_rhythm_and_ends_dark(panel):
    watch = Watch(panel)

    signal.play(panel, "config", watch.wait, for_s=20.0)

    ticks = [at_s for at_s, lamp, buzzer in watch.seen if buzzer]
    assert ticks == [0.0, 0.25, 0.5, 0.75, 1.0]
    lit = [at_s for at_s, lamp, buzzer in watch.seen if lamp]
    assert [round(b - a, 3) for a, b in pairwise(lit)][:4] == [1.1, 0.5, 1.1, 0.5]
    assert 20 <= watch.at_s < 25
    assert not panel._lamp.is_lit
    assert not panel._buzzer.is_active


@pytest.mark.parametrize("end_s", [0.01, 1.3, 60])
def test_told_to_end_it_is_dark_at_once(panel, end_s):
    watch = Watch(panel, end_s)

    signal.play(panel, "data", watch.wait, for_s=None)

    assert end_s <= watch.at_s < end_s + 2
    assert not panel._lamp.is_lit
    assert not panel._buzzer.is_active


class Service:
    """The command as systemd would start it."""

    def __init__(self, folder, result):
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(folder / "notify"))
        self.notified.settimeout(30)
        if result is not None:
            (folder / "kiosk-intake").mkdir()
            (folder / "kiosk-intake/result.json").write_text(json.dumps(result))
        code = (
            "import sys; from pathlib import Path; from appliance import signal; "
            "signal.SHOWN_S = 0.2; sys.exit(signal.main(Path(sys.argv[1])))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'image-build'}:{ROOT}",
                "NOTIFY_SOCKET": str(folder / "notify"),
            },
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def ready(self):
        return self.notified.recv(100) == b"READY=1"

    def end(self):
        _, said = self.process.communicate(timeout=30)
        self.notified.close()
        return self.process.returncode, said


SIMULATED = {"backend": "simulated"}


def test_without_trouble_it_ends_at_once(tmp_path):
    service = Service(tmp_path, {"trouble": None, "in_force": True, "panel": SIMULATED})

    assert service.ready()
    assert service.end() == (0, "")


def test_with_a_configuration_in_force_it_shows_the_trouble_before_it_is_ready(tmp_path):
    service = Service(tmp_path, {"trouble": "config", "in_force": True, "panel": SIMULATED})

    assert service.ready()
    assert service.end() == (0, "")


def test_without_one_the_start_goes_on_beside_it_until_it_is_told(tmp_path):
    service = Service(tmp_path, {"trouble": "config", "in_force": False, "panel": SIMULATED})

    assert service.ready()
    assert service.process.poll() is None
    service.process.send_signal(signals.SIGTERM)
    assert service.end()[0] == 0


def test_where_the_journal_is_lost_no_kiosk_comes_and_it_goes_on(tmp_path):
    result = {"trouble": "data", "in_force": True, "is_journal_lost": True, "panel": SIMULATED}
    service = Service(tmp_path, result)

    assert service.ready()
    with pytest.raises(subprocess.TimeoutExpired):
        service.process.wait(3)
    service.process.send_signal(signals.SIGTERM)
    assert service.end()[0] == 0


@pytest.mark.parametrize("result", [None, {"trouble": "data", "in_force": False, "panel": 7}])
def test_without_pins_it_says_so_and_is_no_failure(tmp_path, result):
    service = Service(tmp_path, result)

    assert service.ready()
    code, said = service.end()
    assert code == 0
    assert said.startswith("no lamp to show it with: ")


def test_without_a_result_the_card_is_in_trouble():
    assert signal.trouble_of(None) == "data"
    assert signal.trouble_of({"trouble": None}) is None
