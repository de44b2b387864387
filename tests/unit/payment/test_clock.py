"""When the wall clock is believed, and by whose word."""

import ctypes
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import kiosk
from kiosk.payment import clock
from kiosk.payment.clock import (
    BACKWARDS_S,
    BOX_AGREES_S,
    EARLIEST,
    LATEST,
    LONGEST_WAIT_S,
    NOBODY_SETS_IT_S,
    STEADY_S,
    WallClock,
    is_set_by_a_server,
)

NOON = EARLIEST + timedelta(days=100, hours=12)


class Machine:
    """A machine whose clock, age and time server are at hand."""

    def __init__(self, *, now=NOON, up_s=10.0, is_set=False):
        self.now, self.up_s, self.is_set = now, up_s, is_set
        self.rows = []
        self.clock = WallClock(
            wall_s=lambda: self.now.timestamp(),
            up_s=lambda: self.up_s,
            is_set=lambda: self.is_set,
        )

    def trouble(self):
        return self.clock.trouble(lambda: self.rows[-1] if self.rows else None)

    def passes(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.up_s += seconds


def on_the_boxs_wall(moment):
    return moment.astimezone(ZoneInfo("Asia/Tashkent")).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    "now",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        EARLIEST - timedelta(seconds=1),
        LATEST + timedelta(seconds=1),
    ],
)
def test_nothing_is_sold_at_a_time_that_cannot_be_whoever_vouches(now):
    machine = Machine(now=now, up_s=10_000, is_set=True)
    machine.clock.hear_box(on_the_boxs_wall(now))

    assert "the clock is not set" in machine.trouble()
    assert not machine.clock.is_confirmed


def test_a_time_server_is_enough():
    machine = Machine(is_set=True)
    machine.rows = ["2040-01-01T00:00:00.000+00:00"]  # the clock had once jumped ahead

    assert machine.trouble() is None
    assert machine.clock.is_confirmed


def test_so_is_a_box_that_tells_the_same_time():
    machine = Machine()
    assert "nobody has set the clock" in machine.trouble()

    machine.clock.hear_box(on_the_boxs_wall(NOON + timedelta(seconds=BOX_AGREES_S - 2)))
    machine.passes(60)

    assert machine.trouble() is None
    assert machine.clock.is_confirmed


@pytest.mark.parametrize("step_s", [-BOX_AGREES_S - 2, BOX_AGREES_S + 2, 86_400])
def test_a_step_away_from_the_boxs_time_is_noticed_at_once(step_s):
    machine = Machine()
    machine.clock.hear_box(on_the_boxs_wall(NOON))
    assert machine.trouble() is None

    machine.now += timedelta(seconds=step_s)

    assert machine.trouble() is not None


@pytest.mark.parametrize("told", ["", "soon", "2027-02-30 00:00:00", "٢٠٢٧-01-01 00:00"])
def test_a_box_that_tells_no_time_vouches_for_nothing(told):
    machine = Machine()
    machine.clock.hear_box(on_the_boxs_wall(NOON))

    machine.clock.hear_box(told)

    assert machine.trouble() is not None
    assert machine.clock.started_by_box_s is None


def test_others_learn_when_the_machine_started_by_the_boxs_time():
    machine = Machine(now=datetime(1970, 1, 1, tzinfo=UTC), up_s=20.0)
    assert machine.clock.started_by_box_s is None

    machine.clock.hear_box(on_the_boxs_wall(NOON))
    machine.now = NOON  # somebody believed it

    assert machine.clock.started_by_box_s == NOON.timestamp() - 20


@pytest.mark.parametrize(("off_s", "is_news"), [(-4, False), (4, False), (-6, True), (6, True)])
def test_what_the_box_tells_a_little_late_is_no_news(off_s, is_news):
    machine = Machine()
    machine.clock.hear_box(on_the_boxs_wall(NOON))
    first_s = machine.clock.started_by_box_s

    machine.passes(30)
    machine.clock.hear_box(on_the_boxs_wall(machine.now + timedelta(seconds=off_s)))

    assert machine.clock.started_by_box_s == first_s + (off_s if is_news else 0)


def test_where_nobody_vouches_it_sells_after_some_minutes_and_says_so():
    machine = Machine()
    assert machine.trouble() is not None

    machine.passes(NOBODY_SETS_IT_S)

    assert machine.trouble() is None
    assert not machine.clock.is_confirmed


def test_but_not_before_the_last_payment():
    machine = Machine(up_s=NOBODY_SETS_IT_S)
    machine.rows = [(NOON + timedelta(hours=1)).isoformat()]
    assert "behind the last payment" in machine.trouble()

    machine.passes(3600 - BACKWARDS_S)
    assert machine.trouble() is None


def test_nor_for_ever_where_it_was_the_last_payments_clock_that_was_wrong():
    """It had jumped ten years ahead, nobody vouches, and nobody is there to say so."""
    machine = Machine(up_s=NOBODY_SETS_IT_S)
    machine.rows = [(NOON + timedelta(days=3650)).isoformat()]
    assert "behind the last payment" in machine.trouble()

    machine.passes(LONGEST_WAIT_S)
    assert machine.trouble() is None
    assert not machine.clock.is_confirmed

    machine.now -= timedelta(hours=5)  # stepped again: again it waits
    assert "behind the last payment" in machine.trouble()


def test_what_is_old_is_known_where_somebody_vouches_or_nobody_stepped_it_for_long():
    machine = Machine(up_s=NOBODY_SETS_IT_S)
    machine.trouble()
    assert not machine.clock.may_erase

    machine.clock.hear_box(on_the_boxs_wall(machine.now))
    machine.trouble()
    assert machine.clock.may_erase

    machine.now += timedelta(days=400)
    assert machine.trouble() is None  # it sells, and marks its rows
    assert not machine.clock.may_erase

    machine.passes(STEADY_S)
    machine.trouble()
    assert machine.clock.may_erase


def test_nothing_is_old_by_a_clock_that_cannot_be_right():
    machine = Machine(now=LATEST + timedelta(days=1), is_set=True)
    machine.passes(STEADY_S)
    assert machine.trouble() is not None
    assert not machine.clock.may_erase


def test_small_corrections_are_no_steps():
    machine = Machine(up_s=NOBODY_SETS_IT_S)
    for _ in range(60):
        machine.passes(STEADY_S / 60)
        machine.now += timedelta(seconds=1)
        machine.trouble()
    assert machine.clock.may_erase


@pytest.mark.parametrize("name", ["a mark", "no mark"])
def test_timesyncds_mark_is_enough_and_else_the_kernel_is_asked(name, tmp_path, monkeypatch):
    mark = tmp_path / "synchronized"
    monkeypatch.setattr(clock, "_BY_TIMESYNCD", mark)
    if name == "a mark":
        mark.touch()
        monkeypatch.setattr(clock, "_kernel_says_so", lambda: False)
    assert is_set_by_a_server() == (name == "a mark" or kernel_by_itself())


def kernel_by_itself():
    """What adjtimex(2) says, read as the C library's header has it: -1 or 5 is "not set"."""
    timex = ctypes.create_string_buffer(512)
    return ctypes.CDLL(None).adjtimex(timex) not in (-1, 5)


def test_the_release_is_no_older_than_the_changelog_and_not_of_the_future():
    released = date.fromisoformat(kiosk.RELEASED)
    changelog = Path(kiosk.__file__).parents[1] / "CHANGELOG.md"
    versions = re.findall(
        r"^## \[[\d.]+\] - (\d{4}-\d\d-\d\d)$", changelog.read_text(), re.MULTILINE
    )

    assert all(date.fromisoformat(day) <= released for day in versions)
    assert released <= datetime.now(UTC).date()
