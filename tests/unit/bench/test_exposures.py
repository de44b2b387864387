"""The scanner's exposure control reads what a camera's own control burns out."""

import pytest

from kiosk.bench import exposures
from kiosk.bench.exposures import CENTRE, FIXED, OWN, SCREEN, Outcome, compare
from kiosk.sandbox.corpus import Situation
from kiosk.scanner.exposure import Exposure

BOOTH = {"situations": (Situation.BOOTH,), "controls": (OWN, SCREEN)}
PLAIN = {"engines": ("zxing",), "rescues": ()}


def test_in_a_dark_booth_it_reads_visits_that_the_cameras_own_control_does_not():
    own, screen = compare(0, 4, **PLAIN | BOOTH)

    assert own.share_read < 1
    assert screen.share_read == 1
    assert 2 * screen.median_frames < own.median_frames


def test_without_the_control_the_benefit_is_gone(monkeypatch):
    monkeypatch.setattr(Exposure, "look", lambda self, luma, setting, *, read, now_s: None)
    own, screen = compare(0, 2, **PLAIN | BOOTH)

    assert screen.first_read == own.first_read
    assert own.share_read < 1


def test_it_does_no_harm_where_there_is_light():
    own, screen = compare(2, 2, **PLAIN | BOOTH | {"situations": (Situation.ROOM,)})

    assert screen.share_read == own.share_read == 1
    assert screen.median_frames <= own.median_frames


def test_a_seed_decides_the_figures(monkeypatch):
    monkeypatch.setattr(exposures, "WITHIN_FRAMES", 15)
    one, other = (compare(7, 1, **PLAIN | BOOTH) for _ in range(2))

    assert one == other


def test_each_situation_and_control_has_its_outcome(monkeypatch):
    monkeypatch.setattr(exposures, "WITHIN_FRAMES", 3)
    monkeypatch.setattr(exposures, "EMPTY_FRAMES", 1)
    outcomes = compare(1, 1, **PLAIN)

    assert [outcome.situation for outcome in outcomes] == [
        situation for situation in Situation for _ in range(4)
    ]
    assert [outcome.control for outcome in outcomes[:4]] == [OWN, CENTRE, FIXED, SCREEN]


def test_a_visit_that_was_not_read_counts_as_two_seconds():
    outcome = Outcome(Situation.SUN, OWN, (4, None, None))

    assert outcome.share_read == pytest.approx(1 / 3)
    assert outcome.median_frames == 60


def test_the_command_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(exposures, "WITHIN_FRAMES", 2)
    monkeypatch.setattr(exposures, "EMPTY_FRAMES", 1)

    assert exposures.main(["--visits", "1", "--plain"]) == 0

    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["control", "read", "in", "2", "s", "frames,", "median"]
    assert len(rows) == 12
    assert all(row.split()[-1].isdecimal() for row in rows)
