"""The exposure goes where it reads, stays there, and searches only while something is held up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk.scanner.exposure import (
    ACTIVE_S,
    HOLD_S,
    PATIENCE_FRAMES,
    SETTLE_FRAMES,
    TRUST_FRAMES,
    Exposure,
    Setting,
)

FPS = 30
LOWEST, HIGHEST = 3, 333


class Place:
    """A place with a phone in it, before a camera that obeys two frames late.

    Args:
        screen: Light of the screen's white, which an exposure of 1 shows at full scale.
        room: Light of all else, the same way.
        reads: The exposures at which the screen is read.
    """

    def __init__(self, *, screen, room, reads, own=HIGHEST, takes=lambda value: value):
        self.screen, self.room, self.reads, self.takes = screen, room, reads, takes
        self.moving = True
        self.control = Exposure(fps=FPS)
        self.setting = Setting(LOWEST, HIGHEST, own, since_s=0.0)
        self.in_force = [own] * 3
        self.number = 0
        self.asked = []

    def frame(self):
        """Let one frame pass; tell whether it was read."""
        self.number += 1
        self.in_force.append(self.in_force[-1])
        exposure = self.in_force.pop(0)
        read = exposure in self.reads
        now_s = 10 + self.number / FPS
        wish = self.control.look(self.picture(exposure), self.setting, read=read, now_s=now_s)
        if wish is not None:
            self.asked.append(wish)
            taken = self.takes(wish)
            self.in_force[-1] = taken
            self.setting = Setting(LOWEST, HIGHEST, taken, since_s=now_s)
        return read

    def picture(self, exposure):
        room, screen = (
            round(255 * min(light * exposure, 1) ** (1 / 2.2)) for light in (self.room, self.screen)
        )
        luma = np.full((480, 640), room, np.uint8)
        left = 100 + (64 * (self.number % 3) if self.moving else 0)
        luma[100:300, left : left + 200] = screen
        return luma

    def frames_until_read(self, most):
        return next((n for n in range(most) if self.frame()), None)

    def pass_s(self, seconds):
        return [self.frame() for _ in range(round(seconds * FPS))]


def dark_booth(**changes):
    """The camera's own control exposes for the dark, and burns the screen out."""
    return Place(**{"screen": 1 / 60, "room": 1e-4, "reads": range(30, 100)} | changes)


def sunny_street(**changes):
    """The camera's own control exposes for the street, and blackens the screen."""
    return Place(**{"screen": 1 / 400, "room": 1 / 12, "reads": range(25, 100), "own": 9} | changes)


# --- finding it


@pytest.mark.parametrize("place", [dark_booth(), sunny_street()], ids=["booth", "sun"])
def test_the_first_exposure_tried_is_on_the_right_side(place):
    assert place.frames_until_read(FPS) is not None
    assert len(place.asked) == 1


def test_it_finds_what_reads_wherever_that_is():
    for reads in (range(3, 9), range(8, 40), range(40, 150)):
        for own in (LOWEST, 30, HIGHEST):
            place = dark_booth(screen=1 / 20, reads=reads, own=own)
            assert place.frames_until_read(2 * FPS) is not None


def test_an_exposure_is_held_until_the_camera_has_shown_it():
    place = dark_booth(reads=())
    changes = []
    for number in range(4 * FPS):
        place.frame()
        if len(place.asked) > len(changes):
            changes.append(number)

    assert len(changes) > 4
    # One frame of each is enough where it shows that nothing can be read.
    assert min(np.diff(changes)) >= SETTLE_FRAMES
    assert changes[1] - changes[0] == int(SETTLE_FRAMES) + PATIENCE_FRAMES


def test_what_would_be_black_is_not_tried():
    place = dark_booth(screen=1 / 2000, reads=())
    place.pass_s(3)

    assert place.asked
    assert min(place.asked) > 20


def test_what_would_be_white_is_not_tried():
    place = dark_booth(screen=1 / 4, room=1 / 8, reads=(), own=6)
    place.pass_s(3)

    assert place.asked
    assert max(place.asked) < 20


# --- staying there


@pytest.mark.parametrize("place", [dark_booth(), sunny_street()], ids=["booth", "sun"])
def test_it_stays_where_it_reads(place):
    place.frames_until_read(FPS)
    found = place.asked[-1]
    reads = place.pass_s(20)

    assert set(place.asked[1:]) <= {found}
    assert all(reads)


def test_the_next_customer_is_read_at_once():
    place = dark_booth()
    place.frames_until_read(FPS)
    reads, place.reads = place.reads, ()
    place.moving = False
    place.pass_s(60)
    place.reads, place.moving = reads, True

    assert place.frames_until_read(FPS) == 0


def test_after_a_read_nothing_is_tried_for_a_while_and_then_patiently():
    place = dark_booth()
    place.frames_until_read(FPS)
    place.reads = ()
    asked = len(place.asked)

    place.pass_s(HOLD_S - 2 / FPS)
    assert len(place.asked) == asked
    place.pass_s((TRUST_FRAMES + 4) / FPS)
    assert len(place.asked) == asked + 1


def test_a_read_before_the_camera_obeyed_belongs_to_the_exposure_before():
    place = dark_booth(reads=())
    while not place.asked:
        place.frame()
    place.reads = {HIGHEST}

    place.pass_s(0.5)

    assert place.asked[1:] == [HIGHEST]


@pytest.mark.parametrize("latency", [0, 1, 2, 3])
def test_a_camera_that_obeys_early_or_late_does_not_make_it_waver(latency):
    place = dark_booth()
    place.in_force = [HIGHEST] * (latency + 1)

    assert place.frames_until_read(FPS) is not None
    asked = len(place.asked)
    place.pass_s(10)
    assert place.setting.now in place.reads
    assert len(place.asked) <= asked + 2


def test_where_the_camera_itself_reads_its_own_control_goes_on():
    place = dark_booth(reads=range(HIGHEST + 1))
    place.pass_s(30)

    assert place.asked == []


# --- resting


def test_an_empty_place_is_left_to_the_camera():
    place = dark_booth(reads=())
    place.moving = False
    place.pass_s(30)

    assert place.asked == []


def test_when_all_leave_it_goes_back_to_where_it_began():
    place = dark_booth(reads=())
    place.pass_s(2)
    place.moving = False
    place.pass_s(ACTIVE_S + 1)
    asked = len(place.asked)
    place.pass_s(30)

    assert place.setting.now == HIGHEST
    assert len(place.asked) == asked


def test_without_a_setting_nothing_is_asked():
    luma = np.zeros((480, 640), np.uint8)

    assert Exposure(fps=FPS).look(luma, None, read=False, now_s=1) is None


# --- odd cameras


def test_a_camera_with_steps_of_its_own_is_not_asked_again_and_again():
    place = dark_booth(takes=lambda value: max(LOWEST, value // 25 * 25))
    place.frames_until_read(FPS)
    asked = len(place.asked)
    place.pass_s(10)

    assert len(place.asked) <= asked + 1


def test_a_camera_that_takes_nothing_is_not_waited_for():
    place = dark_booth(reads=())
    asked = []
    for number in range(10 * FPS):
        now_s = 10 + number / FPS
        place.number += 1
        wish = place.control.look(place.picture(333), place.setting, read=False, now_s=now_s)
        if wish is not None:
            asked.append(now_s)

    assert len(asked) > 4
    assert min(np.diff(asked)) >= 1


def test_a_narrow_range_is_no_trouble():
    control = Exposure(fps=FPS)
    setting = Setting(5, 5, 5, since_s=0)
    for number in range(60):
        luma = np.full((480, 640), 100 + 50 * (number % 2), np.uint8)
        assert control.look(luma, setting, read=False, now_s=1 + number / FPS) in (None, 5)


levels = st.integers(0, 255)
moments = st.tuples(levels, levels, st.booleans(), st.floats(0, 0.5), st.booleans())


@given(
    ends=st.tuples(st.integers(0, 50_000), st.integers(0, 50_000)),
    now=st.integers(0, 100_000),
    script=st.lists(moments, max_size=80),
    shape=st.sampled_from([(480, 640), (1, 1), (17, 3)]),
)
def test_whatever_happens_it_asks_within_the_range_and_not_while_it_reads(ends, now, script, shape):
    setting = Setting(min(ends), max(ends), now, since_s=0)
    control = Exposure(fps=FPS)
    now_s, read_at_s, asked_since = 0.0, -100.0, 0
    for level, other, read, step_s, obeys in script:
        now_s += step_s
        luma = np.full(shape, level, np.uint8)
        luma[: shape[0] // 2] = other
        if read:
            read_at_s, asked_since = now_s, 0
        wish = control.look(luma, setting, read=read, now_s=now_s)
        if wish is not None:
            assert setting.lowest <= wish <= setting.highest
            asked_since += 1
            if obeys:
                setting = Setting(setting.lowest, setting.highest, wish, since_s=now_s)
        # To where it read, and no further.
        assert now_s - read_at_s >= HOLD_S or asked_since <= 1


def test_the_frame_is_neither_kept_nor_changed():
    control = Exposure(fps=FPS)
    luma = np.full((480, 640), 7, np.uint8)
    luma.flags.writeable = False

    control.look(luma, Setting(1, 9, 5, since_s=0), read=False, now_s=5)

    assert not np.shares_memory(luma, control._sample)
