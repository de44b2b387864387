"""The cue table of the README, on gpiozero's mock pins, and its promises over any sequence."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.panel import Panel, PanelPins
from hardware.pins import open_pin_factory
from hardware.simulation import SimulatedHands
from kiosk.core.cues import Cue
from kiosk.payment.indicator import PATTERNS, Indicator

LONG_S = 70.0


class Wall:
    """A clock, a lamp and a buzzer that are looked at: real panel, mock pins, played time."""

    def __init__(self, *, buzzer="active"):
        self.now_s = 100.0
        self.edges = {"lamp": [], "buzzer": []}
        pins = PanelPins(led_pin=17, buzzer_pin=18, buzzer=buzzer, button_pin=27)
        self.factory = open_pin_factory("simulated")
        self.panel = Panel(
            pins,
            pin_factory=self.factory,
            on_edge=lambda pressed, at_s: None,
            on_error=lambda error: None,
        )
        SimulatedHands(self.factory, pins).observe(
            lambda device, on, _: self.edges[device].append((round(self.now_s, 3), on))
        )
        self.indicator = Indicator(self.panel)

    def show(self, cue, for_s):
        self.indicator.show(cue, self.now_s)
        end_s = self.now_s + for_s
        while (next_s := self.indicator.next_change_s()) <= end_s:
            self.now_s = max(self.now_s, next_s)
            self.indicator.advance(self.now_s)
        self.now_s = end_s

    def flashes(self, device):
        """[(from the start, for so long)], each light or sound that ended."""
        found, since_s = [], None
        for at_s, on in self.edges[device]:
            if on:
                since_s = at_s
            elif since_s is not None:
                found.append((round(since_s - 100.0, 2), round(at_s - since_s, 2)))
                since_s = None
        return found

    def is_on(self, device):
        return bool(self.edges[device]) and self.edges[device][-1][1]

    def close(self):
        self.panel.close()
        self.factory.close()


@pytest.fixture(params=["active", "passive"])
def wall(request):
    wall = Wall(buzzer=request.param)
    yield wall
    wall.close()


def test_press_to_pay_blinks_twice_a_second_with_one_beep(wall):
    wall.show(Cue.PRESS_TO_PAY, 2.2)
    assert wall.flashes("lamp") == [(0.0, 0.25), (0.5, 0.25), (1.0, 0.25), (1.5, 0.25)]
    assert wall.flashes("buzzer") == [(0.0, 0.08)]


def test_the_last_seconds_blink_three_times_a_second_with_two_ticks(wall):
    wall.show(Cue.PRESS_SOON, 1.0)
    assert [at for at, _ in wall.flashes("lamp")] == [0.0, 0.33, 0.67]
    assert len(wall.flashes("buzzer")) == 2


def test_submitting_flashes_every_second_and_ticks_once_after_ten(wall):
    wall.show(Cue.SUBMITTING, 10.5)
    before = wall.flashes("lamp")
    assert before == [(float(s), 0.1) for s in range(11)]
    assert wall.flashes("buzzer") == []
    wall.show(Cue.STILL_SUBMITTING, 3.0)
    assert wall.flashes("lamp") == [(float(s), 0.1) for s in range(14)]  # the lamp goes on
    assert [at for at, _ in wall.flashes("buzzer")] == [10.5]


def test_approved_is_solid_for_three_seconds_with_one_long_beep(wall):
    wall.show(Cue.APPROVED, LONG_S)
    assert wall.flashes("lamp") == [(0.0, 3.0)]
    assert wall.flashes("buzzer") == [(0.0, 0.5)]


def test_declined_is_two_blinks_three_times_with_two_even_beeps(wall):
    wall.show(Cue.DECLINED, LONG_S)
    at = [at for at, _ in wall.flashes("lamp")]
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(at)]
    assert gaps == [0.34, 0.84, 0.34, 0.84, 0.34]
    assert wall.flashes("buzzer") == [(0.0, 0.2), (0.4, 0.2)]


def test_not_sent_is_four_short_blinks_twice_with_two_short_beeps(wall):
    wall.show(Cue.NOT_SENT, LONG_S)
    flashes = wall.flashes("lamp")
    at = [at for at, _ in flashes]
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(at)]
    assert {for_s for _, for_s in flashes} == {0.1}
    assert gaps == [0.34] * 3 + [0.94] + [0.34] * 3
    assert wall.flashes("buzzer") == [(0.0, 0.1), (0.2, 0.1)]


def test_unknown_is_three_blinks_as_long_as_it_lasts_with_three_long_beeps(wall):
    wall.show(Cue.UNKNOWN, 60.0)
    at = [at for at, _ in wall.flashes("lamp")]
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(at)]
    assert gaps[:5] == [0.5, 0.5, 1.5, 0.5, 0.5]
    assert at[-1] > 55
    assert [for_s for _, for_s in wall.flashes("buzzer")] == [0.4, 0.4, 0.4]


def test_not_accepted_puts_the_lamp_out_with_two_very_short_beeps(wall):
    wall.show(Cue.PRESS_TO_PAY, 0.1)
    wall.show(Cue.NOT_ACCEPTED, 0.6)
    assert not wall.is_on("lamp")
    assert [for_s for _, for_s in wall.flashes("buzzer")][-2:] == [0.06, 0.06]


def test_out_of_service_is_a_tiny_flash_every_five_seconds_and_silence(wall):
    wall.show(Cue.OUT_OF_SERVICE, 16.0)
    assert wall.flashes("lamp") == [(0.0, 0.05), (5.0, 0.05), (10.0, 0.05), (15.0, 0.05)]
    assert wall.flashes("buzzer") == []


def test_waiting_for_a_host_is_dark_and_silent(wall):
    wall.show(Cue.WAITING, LONG_S)
    assert wall.edges == {"lamp": [], "buzzer": []}


@pytest.mark.parametrize("cue", [cue for cue in Cue if cue is not Cue.READY])
def test_whatever_was_shown_a_closed_panel_is_dark_and_silent(cue):
    wall = Wall()
    wall.show(Cue.PRESS_TO_PAY, 0.1)
    wall.show(cue, 0.05)
    wall.close()
    assert not wall.is_on("lamp")
    assert not wall.is_on("buzzer")


def test_every_cue_has_a_pattern_in_words():
    assert PATTERNS.keys() == set(Cue)
    assert len({pattern.words for pattern in PATTERNS.values()}) == len(Cue)


# Over any sequence of cues


class Eye:
    """Notes when the lamp becomes light. Breathing is taken at its worst."""

    def __init__(self, *, can_dim):
        self.now_s = 0.0
        self.lit_at_s = []
        self.is_lit = False
        self._can_dim = can_dim
        self._breath = None

    def lamp(self, on):
        self._end_breath()
        if on and not self.is_lit:
            self.lit_at_s.append(self.now_s)
        self.is_lit = on

    def breathe(self, period_s):
        if self._breath is None:
            self._breath = (self.now_s, period_s)

    def sound(self, on):
        pass

    def _end_breath(self):
        if self._breath is not None:
            since_s, period_s = self._breath
            self._breath = None
            first_s = since_s + (period_s / 4 if self._can_dim else 0.0)
            while first_s < self.now_s:
                self.lit_at_s.append(first_s)
                first_s += period_s

    def finish(self):
        self._end_breath()
        return self.lit_at_s


def play(script, eye):
    indicator = Indicator(eye)
    for cue, for_s, late_s in script:
        indicator.show(cue, eye.now_s)
        end_s = eye.now_s + for_s
        while (next_s := indicator.next_change_s()) <= end_s:
            eye.now_s = min(end_s, max(eye.now_s, next_s) + late_s)
            indicator.advance(eye.now_s)
            if eye.now_s == end_s:
                break
        eye.now_s = max(eye.now_s, end_s)
    return eye.finish()


scripts = st.lists(
    st.tuples(
        st.sampled_from(Cue),
        st.one_of(st.floats(0.0, 0.5), st.floats(0.5, 8.0)),
        st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.2]),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("can_dim", [True, False])
@given(script=scripts)
def test_never_more_than_three_flashes_in_any_second(can_dim, script):
    lit_at_s = play(script, Eye(can_dim=can_dim))
    for first_s, fourth_s in zip(lit_at_s, lit_at_s[3:], strict=False):
        assert fourth_s - first_s >= 1.0 - 1e-6


@given(script=scripts)
def test_light_that_stays_means_approved(script):
    class Watching(Eye):
        cue = None
        longest_s = 0.0

        def lamp(self, on):
            if self.is_lit and self.cue is not Cue.APPROVED:
                self.longest_s = max(self.longest_s, self.now_s - self.lit_at_s[-1])
            super().lamp(on)

    eye = Watching(can_dim=True)
    indicator = Indicator(eye)
    for cue, for_s, _ in script:
        # What is lit when a cue ends was lit by that cue; it is dark from here on.
        indicator.show(cue, eye.now_s)
        eye.cue = cue if cue is not Cue.STILL_SUBMITTING else eye.cue
        end_s = eye.now_s + for_s
        while (next_s := indicator.next_change_s()) <= end_s:
            eye.now_s = max(eye.now_s, next_s)
            indicator.advance(eye.now_s)
        eye.now_s = end_s
    assert eye.longest_s <= 0.26
