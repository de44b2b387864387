"""What is timed, and how the figures come of it; never how long anything takes."""

import numpy as np
import pytest

from kiosk.bench import timing
from kiosk.bench.engines import KIOSK, RIVALS, USUAL, ZXING
from kiosk.bench.material import LARGE, SMALL
from kiosk.bench.timing import OWN, Times, Timing, timing_figures


def times(*calls):
    several = Times()
    for frame, one in enumerate(calls):
        several.add(frame, one)
    return several


def test_the_middle_of_each_frames_repetitions_stands_for_it():
    several = times([9.0, 1.0, 1.0], [8.0, 3.0, 2.0])

    assert several.p50 == 2.0
    assert several.first == 8.5
    assert several.longest == 9.0
    assert sorted(several.calls) == [1.0, 1.0, 2.0, 3.0, 8.0, 9.0]


@pytest.fixture(scope="module")
def made_up():
    hit = {name: times([10.0]) for name in RIVALS} | {KIOSK: times([0.05]), ZXING: times([0.4])}
    miss = {name: times([20.0]) for name in RIVALS} | {KIOSK: times([1.0]), OWN: times([6.0])}
    return hit, miss


def test_bars_are_ratios_within_one_run(made_up):
    figures = timing_figures(Timing(SMALL, *made_up, gated_us=5.0, memcpy_us=10.0))

    bars = {one.figure: (one.measured, one.reached) for one in figures if one.bar}
    assert list(bars.values()) == [
        (0.5, True),
        (200.0, True),
        (8.0, True),
        (0.05, True),
        (0.3, False),
        (0.05, True),
    ]
    rows = {(one.figure, one.engine) for one in figures if one.engine}
    assert {("hit, p99", USUAL), ("miss, max", OWN), ("hit, p50 with cold caches", KIOSK)} <= rows


def test_the_larger_size_has_no_bars(made_up):
    figures = timing_figures(Timing(LARGE, *made_up, gated_us=5.0, memcpy_us=10.0))

    assert not any(one.bar for one in figures)
    assert all(one.size == LARGE for one in figures)


def test_all_engines_are_timed_on_all_frames(monkeypatch):
    monkeypatch.setattr(timing, "_STILL", 1)
    monkeypatch.setattr(timing, "_IN_A_ROW", 2)

    timed = timing.time_frames(SMALL, 1, hits=2, misses=2)

    assert timed.hit.keys() == {KIOSK, *RIVALS}
    assert {len(one.frames) for one in timed.hit.values()} == {8}
    assert {len(calls) for one in timed.hit.values() for calls in one.frames.values()} == {2}
    assert timed.miss.keys() == {KIOSK, OWN, *RIVALS}
    assert {len(timed.miss[name].frames) for name in RIVALS} == {13}
    # The kiosk may have read one of the hard scenes after all; then it is no miss.
    assert len(timed.miss[KIOSK].frames) > 8
    assert timed.gated_us > 0 < timed.memcpy_us


def test_in_the_misses_the_gate_stays_open():
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 255, (480, 640), dtype=np.uint8) for _ in range(2)]

    missed = timing._time_misses(frames, 30)

    assert [len(calls) for calls in missed[OWN].frames.values()] == [30, 30]
