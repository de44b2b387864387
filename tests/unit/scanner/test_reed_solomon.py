"""Error correction: up to half of the check codewords, exactly."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from kiosk.scanner.reed_solomon import _EXP, _times, correct


def encode(data, checks):
    """Append check codewords, the slow way: division by the generator polynomial."""
    generator = [1]
    for i in range(checks):
        longer = [*generator, 0]
        for place, value in enumerate(generator):
            longer[place + 1] ^= _times(value, _EXP[i])
        generator = longer
    rest = [*data, *([0] * checks)]
    for i in range(len(data)):
        for j, value in enumerate(generator):
            if j:
                rest[i + j] ^= _times(value, rest[i])
    return bytes(data) + bytes(rest[len(data) :])


@st.composite
def damaged(draw, share):
    """A block, what it was, and how many check codewords it has."""
    checks = draw(st.integers(7, 30))
    whole = encode(draw(st.binary(min_size=1, max_size=120)), checks)
    places = st.lists(st.integers(0, len(whole) - 1), unique=True, max_size=checks // 2)
    block = bytearray(whole)
    for place in draw(places) if share else ():
        block[place] ^= draw(st.integers(1, 255))
    return bytes(block), whole, checks


@given(damaged(share=False))
def test_a_whole_block_stays_as_it_is(case):
    block, whole, checks = case
    assert correct(block, checks) == whole


@given(damaged(share=True))
def test_as_many_errors_as_the_check_codewords_carry_are_corrected(case):
    block, whole, checks = case
    assert correct(block, checks) == whole


@given(st.binary(min_size=8, max_size=60))
def test_what_cannot_be_corrected_is_not_guessed(noise):
    corrected = correct(noise, 7)
    if corrected is not None:
        wrong = sum(a != b for a, b in zip(noise, corrected, strict=True))
        assert wrong <= 3
        assert encode(corrected[:-7], 7) == corrected


def test_the_field_is_that_of_qr():
    assert reduce(_times, [2] * 8) == 0x1D
