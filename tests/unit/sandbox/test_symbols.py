"""What a phone can show."""

import numpy as np
import pytest
import segno
import zxingcpp

from kiosk.sandbox.symbols import Kind, draw_modules

CODE = "50501234567890123456"


def read(modules: np.ndarray) -> list[tuple[str, str]]:
    """Decode a grid of modules, drawn large: symbology and text of what is found."""
    luma = np.kron(np.where(modules, 0, 255), np.ones((6, 6))).astype(np.uint8)
    luma = np.pad(luma, 40, constant_values=255)
    return [(str(symbol.symbology), symbol.text) for symbol in zxingcpp.read_barcodes(luma)]


@pytest.mark.parametrize("level", "LMQH")
def test_a_code_becomes_a_symbol_that_holds_it(level):
    assert [text for _, text in read(draw_modules(Kind.QR, CODE, level))] == [CODE]


@pytest.mark.parametrize(
    "kind", [Kind.RMQR, Kind.AZTEC, Kind.DATA_MATRIX, Kind.PDF417, Kind.CODE128]
)
def test_a_wrong_kind_of_code_is_a_valid_one_of_its_kind(kind):
    assert [text for _, text in read(draw_modules(kind, CODE))] == [CODE]


def test_no_symbol_has_no_modules():
    assert draw_modules(Kind.NONE, CODE).size == 0


def test_a_part_of_a_series_is_drawn_as_another_library_draws_it():
    # Twenty zeros leave the parity over the whole message as it is over the first part.
    part = segno.make_sequence(
        CODE + "0" * 20, symbol_count=2, error="L", boost_error=False, mask=6
    )[0]

    drawn = draw_modules(Kind.STRUCTURED_APPEND, CODE)

    assert np.array_equal(drawn, np.array(part.matrix, dtype=bool))


def test_a_part_of_a_series_decodes_to_digits_that_look_like_a_code():
    assert [text for _, text in read(draw_modules(Kind.STRUCTURED_APPEND, CODE))] == [CODE]


@pytest.mark.parametrize("digits", ["", "5" * 21, "https://example.com", "\u0665\u0660"])
def test_a_part_of_a_series_holds_up_to_twenty_ascii_digits(digits):
    with pytest.raises(ValueError, match="20 ASCII digits"):
        draw_modules(Kind.STRUCTURED_APPEND, digits)
