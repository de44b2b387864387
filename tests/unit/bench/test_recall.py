"""Recall: the same scenes for all, the same every time."""

import numpy as np
import pytest

from kiosk.bench import recall
from kiosk.bench.engines import KIOSK, RIVALS, ZXING, Kiosk, as_text, load_rivals, noisy
from kiosk.bench.material import SMALL, committed_frames, corpus_scene, resized, unreadable_frames
from kiosk.bench.recall import CEILING, HELD, Reading
from kiosk.sandbox.corpus import easy_scene
from kiosk.sandbox.renderer import corners, render


@pytest.fixture(scope="module")
def easy():
    scene = easy_scene(np.random.default_rng(3))
    return scene, render(scene, 0)


def test_every_engine_reads_an_easy_frame(easy):
    scene, luma = easy
    expected = [scene.phones[0].payload]

    assert [one.name for one in load_rivals()] == list(RIVALS)
    for one in load_rivals():
        assert one.read(one.prepare(luma)) == expected, one.name
    assert Kiosk().read_still(luma) == expected


def test_the_kiosk_gives_a_picture_up_once_all_had_their_turn():
    assert Kiosk().read_still(np.zeros((480, 640), dtype=np.uint8)) == []


def test_a_wrong_kind_that_is_seen_again_and_again_comes_to_an_end():
    part = next(one for one in committed_frames() if one.name == "structured-append-01")

    assert Kiosk().read_still(part.luma) == []


def test_a_corpus_is_its_seed():
    readings = recall.read_corpus(5, 4, SMALL)

    assert readings == recall.read_corpus(5, 4, SMALL)
    assert [one.severity for one in readings] != [
        one.severity for one in recall.read_corpus(6, 4, SMALL)
    ]


def test_several_processes_give_what_one_gives():
    assert recall.read_corpus(5, 3, SMALL, workers=2) == recall.read_corpus(5, 3, SMALL)


def test_the_figures_of_a_corpus_are_complete():
    readings = [
        Reading(0.1, frozenset({KIOSK, HELD, CEILING, *RIVALS}), frozenset()),
        Reading(0.9, frozenset({KIOSK, CEILING}), frozenset({ZXING})),
    ]

    figures = recall.corpus_figures(readings, 7, SMALL)

    read = {one.engine: one.measured for one in figures if "read, of 2" in one.figure}
    wrong = {one.engine: one.measured for one in figures if "wrongly" in one.figure}
    assert read == {KIOSK: 2, HELD: 1, CEILING: 2} | dict.fromkeys(RIVALS, 1)
    assert wrong[ZXING] == 1
    assert sum(wrong.values()) == 1
    assert [(one.measured, one.bar) for one in figures if one.bar] == [
        (2.0, ">= 1.13"),
        (1.0, ">= 0.9"),
    ]


def test_without_any_read_a_ratio_is_not_reached():
    figures = recall.corpus_figures([Reading(0.5, frozenset(), frozenset())], 7, SMALL)

    assert [(one.measured, one.reached) for one in figures if one.bar] == [(None, False)] * 2


def test_recall_by_severity_leaves_empty_steps_out():
    readings = [
        Reading(0.05, frozenset({KIOSK}), frozenset()),
        Reading(1.0, frozenset({KIOSK}), frozenset()),
        Reading(0.95, frozenset(), frozenset()),
    ]

    assert recall.recall_by_severity(readings, KIOSK) == [(0.05, 1.0), (0.95, 0.5)]


def test_the_committed_frames_are_read_by_the_kiosk():
    (kiosk,) = [
        one
        for one in recall.read_committed()
        if one.engine == KIOSK and one.figure.startswith("committed frames read, of")
    ]

    assert kiosk.figure.endswith(f"of {kiosk.measured}")


def test_true_corners_read_an_easy_frame(easy):
    scene, luma = easy

    assert recall.read_at(luma, corners(scene)) == [scene.phones[0].payload]


def test_a_larger_frame_shows_the_same_scene_larger(easy):
    scene, _ = easy
    large = resized(scene, "1280x720")

    assert render(large, 0).shape == (720, 1280)
    assert large.phones[0].module_px == scene.phones[0].module_px * 1.5
    assert resized(scene, SMALL) == scene
    assert corpus_scene(1, 2, SMALL) == corpus_scene(1, 2, SMALL)


def test_without_the_tests_the_same_frames_are_drawn_anew(monkeypatch, tmp_path):
    there = {frame.name: frame for frame in committed_frames()}
    monkeypatch.setattr("kiosk.bench.material._COMMITTED", tmp_path / "none")
    drawn = {frame.name: frame for frame in committed_frames()}

    assert drawn.keys() == there.keys()
    assert all(drawn[name].payloads == there[name].payloads for name in there)


def test_what_is_called_unreadable_nobody_reads():
    (luma,) = unreadable_frames(1, 1, SMALL)

    assert not Kiosk().read_still(luma)
    assert all(not one.read(one.prepare(luma)) for one in load_rivals())


def test_another_noise_is_another_frame_of_the_same_scene(easy):
    _, luma = easy
    other = noisy(luma, np.random.default_rng(1))

    assert other.dtype == np.uint8
    assert 0 < np.abs(other.astype(int) - luma).mean() < 4


def test_old_character_sets_are_guessed():
    assert as_text("外側".encode("shift_jis")) == "外側"
    assert as_text("外側".encode()) == "外側"
    assert as_text(b"\xff\xfe\xfd") == "\xff\xfe\xfd"
