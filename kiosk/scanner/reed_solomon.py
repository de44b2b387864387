"""Reed-Solomon error correction over GF(256), as QR symbols use it (polynomial 0x11D)."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_EXP = [1] * 510
for _i in range(1, 510):
    _EXP[_i] = _EXP[_i - 1] << 1 ^ (_EXP[_i - 1] >> 7) * 0x11D
_LOG = {value: exponent for exponent, value in enumerate(_EXP[:255])}
# The logarithm of 0 lies so far out that what is added to it ends in zeros.
_FAR = 512
_EXPS = np.array([_EXP[i % 255] for i in range(_FAR)] + [0] * 256, dtype=np.uint8)
_LOGS = np.array([_FAR] + [_LOG[value] for value in range(1, 256)], dtype=np.int16)


def correct(block: bytes, checks: int) -> bytes | None:
    """Correct a block of codewords.

    Args:
        block: Data codewords, then check codewords.
        checks: How many of them are check codewords.

    Returns:
        The block without errors, or None if there are more than `checks // 2`.
    """
    syndromes = _syndromes(block, checks)
    if not any(syndromes):
        return block
    locator = _locator(syndromes)
    errors = len(locator) - 1
    if 2 * errors > checks:
        return None
    # Omega = syndromes * locator mod x^checks, lowest power first.
    omega = [
        _sum(_times(syndromes[i - j], locator[j]) for j in range(min(i, errors) + 1))
        for i in range(checks)
    ]
    corrected = bytearray(block)
    found = 0
    for position in range(len(block)):
        inverse = _EXP[255 - position % 255] if position % 255 else 1
        if _polynomial(locator, inverse):
            continue
        found += 1
        # Forney's formula: the derivative keeps the odd powers only.
        slope = _sum(
            _times(locator[i], _power(inverse, i - 1)) for i in range(1, errors + 1) if i % 2
        )
        if not slope:
            return None
        size = _times(_EXP[position % 255], _divide(_polynomial(omega, inverse), slope))
        corrected[len(block) - 1 - position] ^= size
    if found != errors or any(_syndromes(corrected, checks)):
        return None
    return bytes(corrected)


def _locator(syndromes: list[int]) -> list[int]:
    """Berlekamp-Massey: the error locator polynomial, lowest power first."""
    current, previous = [1], [1]
    errors, gap, last = 0, 1, 1
    for n, syndrome in enumerate(syndromes):
        discrepancy = syndrome ^ _sum(
            _times(current[i], syndromes[n - i])
            for i in range(1, min(errors, len(current) - 1) + 1)
        )
        if not discrepancy:
            gap += 1
            continue
        factor = _divide(discrepancy, last)
        shifted = [0] * gap + [_times(factor, value) for value in previous]
        length = max(len(current), len(shifted))
        longer = [
            (current[i] if i < len(current) else 0) ^ (shifted[i] if i < len(shifted) else 0)
            for i in range(length)
        ]
        if 2 * errors <= n:
            errors, previous, last, gap = n + 1 - errors, current, discrepancy, 1
        else:
            gap += 1
        current = longer
    return current[: errors + 1]


def _syndromes(block: bytes | bytearray, checks: int) -> list[int]:
    """Evaluate the block at the first `checks` powers of the generator; zeros if it is right."""
    logs = _LOGS[np.frombuffer(block, dtype=np.uint8)]
    terms = _EXPS[logs + _powers(len(block), checks)]
    syndromes: list[int] = np.bitwise_xor.reduce(terms, axis=1).tolist()
    return syndromes


@lru_cache(maxsize=16)
def _powers(length: int, checks: int) -> NDArray[np.int16]:
    """Logarithms, shape (checks, length), of what each codeword is multiplied with."""
    places = np.arange(length - 1, -1, -1)
    return (np.arange(checks)[:, None] * places % 255).astype(np.int16)


def _polynomial(coefficients: list[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = _times(value, x) ^ coefficient
    return value


def _times(a: int, b: int) -> int:
    return _EXP[_LOG[a] + _LOG[b]] if a and b else 0


def _divide(a: int, b: int) -> int:
    return _EXP[_LOG[a] + 255 - _LOG[b]] if a else 0


def _power(a: int, exponent: int) -> int:
    return _EXP[_LOG[a] * exponent % 255]


def _sum(values: Iterable[int]) -> int:
    total = 0
    for value in values:
        total ^= value
    return total
