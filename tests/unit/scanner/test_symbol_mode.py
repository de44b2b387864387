"""Whole messages, parts and GS1 labels are told apart by the symbol's own modules."""

import numpy as np
import pytest
import segno
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from kiosk.scanner.symbol_mode import PLAIN, STRUCTURED_APPEND, read_mode

CODE = "50501234567890123456"
PART = segno.make_sequence(CODE * 2, symbol_count=2)[0]


def modules_of(symbol):
    return np.array(symbol.matrix, dtype=np.uint8) > 0


def drawn(modules):
    return np.where(modules, 0, 255).astype(np.uint8).tobytes()


def level_and_mask(symbol):
    return symbol.error, symbol.mask


@pytest.mark.parametrize("version", range(2, 41))
@pytest.mark.parametrize("error", "LMQH")
def test_the_mode_of_every_size_and_level_is_read(version, error):
    symbol = segno.make(CODE, version=version, error=error, boost_error=False, micro=False)
    assert read_mode(drawn(modules_of(symbol)), *level_and_mask(symbol)) == 0b0001


@pytest.mark.parametrize(
    ("content", "how", "mode"),
    [
        ("AB12", {}, 0b0010),
        (b"\xe9", {"mode": "byte"}, 0b0100),
        ("点茗", {"mode": "kanji"}, 0b1000),
        ("ж" * 9, {"encoding": "iso8859-5", "eci": True}, 0b0111),
    ],
)
def test_each_plain_mode_is_plain(content, how, mode):
    symbol = segno.make(content, micro=False, **how)
    assert read_mode(drawn(modules_of(symbol)), *level_and_mask(symbol)) == mode
    assert mode in PLAIN


@pytest.mark.parametrize("clean", [True, False])
def test_a_part_is_a_part(clean):
    mode = read_mode(drawn(modules_of(PART)), *level_and_mask(PART), clean=clean)
    assert mode == STRUCTURED_APPEND


@given(st.lists(st.sampled_from([(-1, -1), (-1, -2), (-2, -1), (-2, -2), (-3, -1)]), unique=True))
def test_damage_to_the_very_modules_that_tell_does_not_make_a_part_whole(places):
    modules = modules_of(PART)
    for place in places:
        modules[place] ^= True
    assert read_mode(drawn(modules), *level_and_mask(PART)) == STRUCTURED_APPEND


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("mask", range(8))
def test_the_short_way_for_a_clean_symbol_says_the_same(clean, mask):
    for error in "LMQH":
        for code, mode in ((CODE, 0b0001), ("AB12", 0b0010)):
            symbol = segno.make(code, error=error, mask=mask, boost_error=False, micro=False)
            modules = modules_of(symbol)
            for turned in (modules, modules.T):
                assert read_mode(drawn(turned), symbol.error, mask, clean=clean) == mode


def test_a_mirrored_symbol_is_turned_over():
    assert read_mode(drawn(modules_of(PART).T), *level_and_mask(PART)) == STRUCTURED_APPEND


@pytest.mark.parametrize("shape", [(0, 0), (20, 20), (21, 25), (181, 181), (11, 11)])
def test_what_is_no_symbol_has_no_mode(shape):
    assert read_mode(drawn(np.zeros(shape, dtype=np.bool_)), "L", 0) is None


@pytest.mark.parametrize(("level", "mask"), [("", 0), ("L", -1), ("L", 8)])
def test_an_unknown_level_or_mask_is_no_mode(level, mask):
    assert read_mode(drawn(modules_of(PART)), level, mask) is None


def test_modules_that_no_decoder_could_have_read_have_no_mode():
    noise = np.random.default_rng(1).random((25, 25)) < 0.5
    assert read_mode(drawn(noise), "L", 3) is None


def test_zxing_gives_the_modules_as_sampled():
    """The reason for correcting them; if this fails, correcting can go."""
    modules = modules_of(PART)
    modules[-1, -1] ^= True
    page = np.kron(np.pad(modules, 4), np.ones((6, 6), np.bool_))
    luma = np.where(page, 0, 255).astype(np.uint8)
    [read] = zxingcpp.read_barcodes(luma, formats=zxingcpp.BarcodeFormat.QRCodeModel2)
    assert ((np.asarray(read.to_image(scale=1, add_quiet_zones=False)) == 0) == modules).all()
