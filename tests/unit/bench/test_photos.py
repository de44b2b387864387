"""Photographs: what counts as read, as read differently, and as false."""

import cv2
import numpy as np
import pytest

from kiosk.bench.engines import KIOSK, RIVALS, USUAL
from kiosk.bench.photos import list_photos, photo_figures, read_photos, same
from kiosk.errors import UsageError
from kiosk.sandbox.symbols import Kind, draw_modules


def write(file, payload):
    modules = np.pad(draw_modules(Kind.QR, payload), 4)
    luma = np.kron(np.where(modules, 0, 255), np.ones((8, 8))).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(".png", luma)[1].tobytes())


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    write(root / "sets/1.png", "first\nline two")
    (root / "sets/1.txt").write_bytes(b"first\nline two\n")
    write(root / "sets/2.png", "what is there")
    (root / "sets/2.txt").write_bytes(b"what is said")
    write(root / "sets/unknown.png", "nobody knows")
    write(root / "falsepositives-2/1.png", "a code after all")
    (root / "sets/3.png").write_bytes(b"no picture")
    (root / "sets/3.txt").write_bytes(b"x")
    (root / "sets/4.txt").write_bytes(b"")
    cv2.imwrite(str(root / "sets/4.png"), np.full((100, 100), 128, dtype=np.uint8))
    return root


def test_each_photograph_counts_once_and_nothing_is_hidden(folder):
    result = read_photos(list_photos(folder), folder)

    assert (result.photos, result.negatives) == (2, 2)
    for engine in (KIOSK, *RIVALS):
        assert (result.read[engine], result.wrong[engine], result.false[engine]) == (1, 1, 1)
        assert ("sets/2.png", engine, "what is there") in result.differing
    assert [line.split(":")[0] for line in result.unreadable] == ["sets/3.png"]


def test_the_figures_name_the_files_that_differ(folder):
    figures = photo_figures(read_photos(list_photos(folder), folder))

    (share,) = [one for one in figures if "share" in one.figure]
    (less,) = [one for one in figures if "less those" in one.figure]
    (false,) = [one for one in figures if "false reads" in one.figure]
    assert (share.measured, share.reached) == (0.5, False)
    assert {"file": "sets/2.png", "engine": USUAL, "read": "what is there"} in share.as_json()[
        "differing"
    ]
    assert any("sets/2.png" in note and "'what is there'" in note for note in share.notes)
    assert any("sets/3.png" in note for note in share.notes)
    assert less.reached
    assert (false.measured, false.reached) == (1, False)


def test_a_folder_of_negatives_alone(folder):
    negatives = folder / "falsepositives-2"
    figures = photo_figures(read_photos(list_photos(negatives), negatives))

    assert [one.bar for one in figures if one.bar] == ["= 0"]


def test_texts_are_the_same_but_for_a_newline_and_a_guessed_character_set():
    assert same("a\r\nb\n", "a\r\nb")
    assert same("a\n", "a\n")
    assert same("外側".encode("shift_jis").decode("latin-1"), "外側")
    assert not same("photography of", "photograph of")
    assert not same("", None)


@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "no picture")])
def test_a_folder_that_is_not_there_or_has_nothing_is_said(tmp_path, make, said):
    folder = tmp_path / "photos"
    if make:
        folder.mkdir()
    with pytest.raises(UsageError, match=said):
        list_photos(folder)
