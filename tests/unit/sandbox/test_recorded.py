"""The committed frames are what the renderer draws, and hold what stands beside them."""

from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import zxingcpp

import kiosk.sandbox
from kiosk.sandbox import recorded
from kiosk.sandbox.renderer import corners, render

FRAMES = Path(__file__).parents[2] / "data" / "frames"
HARD_FRAMES = FRAMES.with_name("frames-hard")
DEMO = Path(str(resources.files(kiosk.sandbox))) / "frames"
ALL = [(FRAMES, frame) for frame in recorded.frames()]
ALL += [(HARD_FRAMES, frame) for frame in recorded.hard_frames()]
ALL += [(DEMO, frame) for frame in recorded.demo_frames()]
each_frame = pytest.mark.parametrize(
    ("folder", "frame"), [pytest.param(*pair, id=pair[1].name) for pair in ALL]
)
HARD = recorded.hard_frames()


def load(folder: Path, frame) -> np.ndarray:
    return cv2.imread(str(folder / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED)


def read(luma) -> list[str]:
    """What a plain decoder reads, sorted."""
    formats = zxingcpp.BarcodeFormat.QRCodeModel2
    found = zxingcpp.read_barcodes(luma, formats=formats, try_rotate=False)
    return sorted(symbol.text for symbol in found)


def read_at(luma, where, modules: int) -> list[str]:
    """What can be read by one who knows where the corners are: the ceiling for all stages."""
    scale, margin = 8, 4
    size = (modules + 2 * margin) * scale
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32) * modules * scale
    rectify = cv2.getPerspectiveTransform(where, square + margin * scale - 0.5)
    flat = cv2.warpPerspective(
        luma, rectify, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    local = cv2.adaptiveThreshold(flat, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 61, 0)
    means = cv2.resize(flat, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
    bits = np.where(means > cv2.blur(means, (9, 9)), 255, 0).astype(np.uint8)
    tries = (flat, cv2.GaussianBlur(flat, (0, 0), 2), local, np.kron(bits, np.ones((4, 4))))
    return next(filter(None, (read(np.asarray(luma, dtype=np.uint8)) for luma in tries)), [])


@each_frame
def test_a_committed_frame_is_gray_and_640_by_480(folder, frame):
    luma = load(folder, frame)

    assert luma.shape == (480, 640)
    assert luma.dtype == np.uint8


@each_frame
def test_a_committed_frame_is_what_the_renderer_draws(folder, frame):
    # Not to the bit: processors and versions of OpenCV round differently.
    drawn, committed = render(frame.scene, frame.seed), load(folder, frame)

    assert np.abs(drawn.astype(int) - committed).mean() <= 2


@each_frame
def test_beside_a_frame_stands_what_it_holds(folder, frame):
    text = (folder / f"{frame.name}.txt").read_text(encoding="utf-8")

    assert text.splitlines() == list(frame.payloads)


@each_frame
def test_a_frame_that_is_not_hard_is_read_by_a_plain_decoder(folder, frame):
    found = read(load(folder, frame))

    if frame.name.startswith("hard-"):
        assert found in ([], list(frame.payloads))  # a better decoder is no failure
    elif frame.name.startswith("structured-append-"):
        # A plain decoder is taken in by these; the scanner must not be.
        assert len(found) == 1
    else:
        assert found == list(frame.payloads)


@pytest.mark.parametrize("frame", HARD, ids=lambda frame: frame.name)
def test_a_hard_frame_is_fair(frame):
    columns, _ = frame.scene.phones[0].columns_and_rows

    found = read_at(load(HARD_FRAMES, frame), corners(frame.scene), columns)

    assert found == list(frame.payloads)


def test_the_folders_hold_the_recorded_frames_and_nothing_else():
    sets = (
        (FRAMES, recorded.frames()),
        (HARD_FRAMES, recorded.hard_frames()),
        (DEMO, recorded.demo_frames()),
    )
    for folder, frames in sets:
        named = {f"{frame.name}{ending}" for frame in frames for ending in (".png", ".txt")}
        assert {path.name for path in folder.iterdir()} == named


def test_no_code_is_shown_twice_and_each_is_invented():
    shown = [phone.payload for _, frame in ALL for phone in frame.scene.phones if frame.payloads]
    codes = [payload for payload in shown if payload.isdecimal() and payload.isascii()]

    assert len(set(shown)) == len(shown)
    assert all(code.startswith("5050") for code in codes)


def test_the_frames_are_small():
    committed = [*FRAMES.iterdir(), *HARD_FRAMES.iterdir()]
    assert sum(path.stat().st_size for path in committed) <= 8_000_000
    assert max(path.stat().st_size for path in DEMO.iterdir()) <= 150_000


def test_the_command_writes_frames(tmp_path):
    assert recorded.main(["--demo", str(tmp_path / "new")]) == 0

    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert {"approved.png", "approved.txt", "nobody.png", "nobody.txt"} <= names
