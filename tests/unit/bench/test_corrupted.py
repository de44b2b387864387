"""Damaged codes: really damaged, and a reader that invents payloads is caught."""

import collections

import numpy as np
import pytest

from kiosk.bench import corrupted
from kiosk.bench.corrupted import ALONE, Verdict, draw_damaged, judge
from kiosk.bench.engines import KIOSK, RIVALS, USUAL
from kiosk.sandbox.symbols import Kind, draw_modules


def test_a_seed_draws_the_same_codes():
    for number in range(5):
        one, again = draw_damaged(1, number), draw_damaged(1, number)
        assert np.array_equal(one.luma, again.luma)
        assert (one.drawn, one.how) == (again.drawn, again.how)
    assert not np.array_equal(draw_damaged(1, 0).luma, draw_damaged(2, 0).luma)


def test_every_kind_of_damage_occurs_and_splices_are_of_two():
    drawn = [draw_damaged(1, number) for number in range(200)]
    kinds = collections.Counter(one.how for one in drawn)

    assert kinds.keys() == {"flip", "splice", "stripes", "blocks", "blank", "repeat"}
    for one in drawn:
        spliced = one.how in ("splice", "stripes", "blocks")
        assert len(one.drawn) == (2 if spliced else 1)
        assert one.luma.dtype == np.uint8
        assert 96 <= min(one.luma.shape) <= max(one.luma.shape) <= 176


@pytest.mark.parametrize("damage", [corrupted._flip, corrupted._blank, corrupted._repeat])
def test_damage_changes_modules(damage):
    whole = draw_modules(Kind.QR, "50501234567890123456")
    changed = [
        np.mean(damage(whole, np.random.default_rng(number)) != whole) for number in range(30)
    ]

    assert max(changed) > 0.05
    assert sum(share > 0 for share in changed) >= 28


@pytest.mark.parametrize("how", ["splice", "stripes", "blocks"])
def test_a_splice_shows_some_of_both(how):
    seen = [
        corrupted._pattern(how, 21, np.random.default_rng(number)).mean() for number in range(20)
    ]

    assert 0.2 < np.mean(seen) < 0.8
    assert sum(0 < share < 1 for share in seen) >= 18


def test_a_planted_reader_is_caught():
    drawn = frozenset({"1", "2"})

    verdict = judge({"honest": ["1"], "blind": [], "liar": ["3"], "both": ["2", "3"]}, drawn)

    assert verdict == Verdict(frozenset({"honest", "both"}), frozenset({"liar", "both"}))


def test_the_count_of_false_reads_is_that_of_the_verdicts():
    verdicts = [Verdict(frozenset(), frozenset())] * 9 + [
        Verdict(frozenset({KIOSK}), frozenset({KIOSK}))
    ]

    (figure,) = [one for one in corrupted.damaged_figures(verdicts, 1) if one.bar]

    assert (figure.measured, figure.reached, figure.detail["read"]) == (1, False, 1)


def test_the_kiosk_is_asked_each_time_and_the_others_each_fifth():
    verdicts = corrupted.judge_damaged(1, 12)
    rows = {
        (one.figure, one.engine) for one in corrupted.damaged_figures(verdicts, 1) if one.engine
    }

    assert len(verdicts) == 12
    assert {engine for _, engine in rows} == {KIOSK, *RIVALS, ALONE}
    assert any(", of 3:" in figure for figure, _ in rows)
    assert not any(KIOSK in one.false for one in verdicts)


def test_nothing_payable_is_read_where_nothing_is():
    figures = corrupted.read_negatives()

    assert figures[-1].reached
    assert {one.engine for one in figures} == {KIOSK, *RIVALS, ""}


def test_a_usual_loop_takes_another_symbology_for_a_code():
    counts = {one.engine: one.measured for one in corrupted.read_negatives() if one.engine}

    assert counts[USUAL] > 0


def test_a_reader_that_sees_codes_everywhere_is_caught():
    figures = corrupted.read_negatives(read=lambda luma: ["50501234567890123456"])

    assert figures[-1].reached is False
    assert figures[-1].figure.split()[4] == str(figures[-1].measured)
