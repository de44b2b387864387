"""Random and mutated frames through every stage: nothing fails, nothing is read that is not there.

KIOSK_FUZZ_FRAMES=100000 makes it a long run.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from tools import need

from kiosk.scanner.decoder import build_decoder
from kiosk.scanner.stages import load_stages
from kiosk.settings import ENGINES, RESCUES

FRAMES = sorted((Path(__file__).parents[2] / "data" / "frames").glob("*.png"))
ROUNDS = int(os.environ.get("KIOSK_FUZZ_FRAMES", "600"))


def noise(rng, luma):
    return rng.integers(0, 256, luma.shape, dtype=np.uint8)


def bit_flips(rng, luma):
    spots = rng.random(luma.shape) < rng.uniform(0, 0.2)
    return luma ^ (spots * np.uint8(1 << int(rng.integers(8))))


def torn(rng, luma):
    """The lower part belongs to another moment."""
    return np.vstack([luma[: luma.shape[0] // 2], np.roll(luma, int(rng.integers(200)), axis=1)])


def cut(rng, luma):
    height, width = (int(rng.integers(1, side + 1)) for side in luma.shape)
    return luma[:height, :width]


def strided(rng, luma):
    return luma[:: int(rng.choice([1, -1, 2, 3])), :: int(rng.choice([1, -1, 2, 5]))]


def transposed(rng, luma):
    return luma.T


def stretched(rng, luma):
    size = int(rng.integers(1, 900)), int(rng.integers(1, 900))
    return cv2.resize(luma, size, interpolation=cv2.INTER_NEAREST)


def few_levels(rng, luma):
    return luma // np.uint8(1 << int(rng.integers(1, 8)))


def negative(rng, luma):
    return 255 - luma


def stripes(rng, luma):
    luma = luma.copy()
    luma[:: int(rng.integers(2, 20))] = rng.integers(256)
    return luma


def jpeg(rng, luma):
    _, encoded = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(1, 30))])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)


MUTATIONS = [
    *(noise, bit_flips, torn, cut, strided, transposed, stretched),
    *(few_levels, negative, stripes, jpeg),
]


@pytest.fixture(scope="module")
def originals():
    return [
        (
            cv2.imread(str(frame), cv2.IMREAD_GRAYSCALE),
            set(frame.with_suffix(".txt").read_bytes().split(b"\n")),
        )
        for frame in FRAMES
    ]


@pytest.mark.parametrize("part", range(4))
def test_no_mutation_makes_a_stage_fail_or_a_code_appear(originals, part, caplog):
    rng = np.random.default_rng(100 + part)
    decoder = build_decoder(ENGINES, RESCUES)
    now_s = 0.0
    for _ in range(ROUNDS // 4):
        luma, there = originals[int(rng.integers(len(originals)))]
        for _ in range(int(rng.integers(1, 4))):
            luma = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, luma)
        # A few turns: the decoder shows one rescue a frame.
        for _ in range(3):
            now_s += 1 / 30
            look = decoder.decode(luma, now_s)
            read = {one.payload for one in (*look.symbols, *look.waiting) if one.kind == "qr"}
            assert read <= there
    assert decoder.failures == {}


@pytest.mark.parametrize("name", [*ENGINES[1:], *RESCUES])
def test_no_stage_by_itself_reads_what_is_not_there(originals, name):
    decoder = build_decoder(("zxing",), (name,)) if name in RESCUES else None
    stages = load_stages((name,)) if decoder is None else decoder._in_turn
    need(stages, "no libzbar0: sudo apt install libzbar0")
    rng = np.random.default_rng(7)
    for _ in range(ROUNDS // 15):
        luma, there = originals[int(rng.integers(len(originals)))]
        luma = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, luma)
        assert {one.payload for one in stages[0].decode(luma) if one.kind == "qr"} <= there
