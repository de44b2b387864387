"""What kind of message a QR symbol carries, from its modules.

zxing-cpp, zbar and OpenCV hand out the payload of one part of a structured append, or of a
GS1 label, as if it were a whole message. The first codeword of the symbol tells: its upper
four bits are the mode indicator (ISO/IEC 18004, table 2). The modules that zxing-cpp gives
are those sampled from the frame, errors included; so the first block is corrected as the
decoder corrected it, and the answer rests on exactly the bits that the payload came from.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kiosk.scanner import reed_solomon

Modules = NDArray[np.bool_]
"""Shape (size, size), True where dark, upright, without quiet zone."""

STRUCTURED_APPEND = 0b0011
PLAIN = frozenset({0b0001, 0b0010, 0b0100, 0b0111, 0b1000})
"""Numeric, alphanumeric, byte, ECI, kanji: the symbol is a message of its own."""
FNC1 = frozenset({0b0101, 0b1001})

_SIZE_WITH_EXACT_SHARE = 41
"""In larger symbols zxing-cpp's share of unused correction, rounded, hides a single error."""

_LEVELS = {"L": 1, "M": 0, "Q": 3, "H": 2}
# ISO/IEC 18004, table 9: error correction codewords a block, and blocks, for versions 1 to 40.
_CHECK_CODEWORDS = {
    "L": "7 10 15 20 26 18 20 24 30 18 20 24 26 30 22 24 28 30 28 28 28 28 30 30 26 28 30 "
    "30 30 30 30 30 30 30 30 30 30 30 30 30",
    "M": "10 16 26 18 24 16 18 22 22 26 30 22 22 24 24 28 28 26 26 26 26 28 28 28 28 28 28 "
    "28 28 28 28 28 28 28 28 28 28 28 28 28",
    "Q": "13 22 18 26 18 24 18 22 20 24 28 26 24 20 30 24 28 28 26 30 28 30 30 30 30 28 30 "
    "30 30 30 30 30 30 30 30 30 30 30 30 30",
    "H": "17 28 22 16 22 28 26 26 24 28 24 28 22 24 24 30 28 28 26 28 30 24 30 30 30 30 30 "
    "30 30 30 30 30 30 30 30 30 30 30 30 30",
}
_BLOCKS = {
    "L": "1 1 1 1 1 2 2 2 2 4 4 4 4 4 6 6 6 6 7 8 8 9 9 10 12 12 12 13 14 15 16 17 18 19 "
    "19 20 21 22 24 25",
    "M": "1 1 1 2 2 4 4 4 5 5 5 8 9 9 10 10 11 13 14 16 17 17 18 20 21 23 25 26 28 29 31 "
    "33 35 37 38 40 43 45 47 49",
    "Q": "1 1 2 2 4 4 6 6 8 8 8 10 12 16 12 17 16 18 21 20 23 23 25 27 29 34 34 35 38 40 "
    "43 45 48 51 53 56 59 62 65 68",
    "H": "1 1 2 4 4 4 5 6 8 8 11 11 16 16 18 16 19 21 25 25 25 34 30 32 35 37 40 42 45 48 "
    "51 54 57 60 63 66 70 74 77 81",
}


def read_mode(drawn: bytes, level: str, mask: int, *, clean: bool = False) -> int | None:
    """Read the mode indicator of a symbol that a decoder has read.

    Args:
        drawn: The symbol's modules as sampled, one byte each, row by row, 0 where dark and 255
            where light; of a mirrored symbol they are turned over here.
        level: Error correction level, L, M, Q or H.
        mask: Data mask, 0 to 7.
        clean: The decoder corrected nothing, so the modules are right as they are.

    Returns:
        The four bits, or None where they cannot be known: then the symbol is not what the
        decoder said it was.
    """
    size = math.isqrt(len(drawn))
    if size * size != len(drawn) or size % 4 != 1 or not 21 <= size <= 177:
        return None
    if level not in _LEVELS or not 0 <= mask <= 7:
        return None
    # Most of what a read costs beside zxing-cpp is spent here: numpy comes in where it must.
    if not _strips_are_right(drawn, size, level, mask):
        modules = _modules(drawn, size)
        errors = _format_errors(modules, level, mask)
        if errors and _format_errors(modules.T, level, mask) < errors:
            drawn = b"".join(drawn[column::size] for column in range(size))
    if clean and size <= _SIZE_WITH_EXACT_SHARE:
        light = drawn[-1] & 8 | drawn[-2] & 4 | drawn[-1 - size] & 2 | drawn[-2 - size] & 1
        return light ^ _first_mask_bits(size, mask)
    version = (size - 17) // 4
    checks = int(_CHECK_CODEWORDS[level].split()[version - 1])
    blocks = int(_BLOCKS[level].split()[version - 1])
    codewords = np.packbits(_modules(drawn, size)[_data_path(version)] ^ _mask(version, mask))
    codewords = codewords[: _count_codewords(version)]
    data_in_first = len(codewords) // blocks - checks
    first_check = len(codewords) - blocks * checks
    block = bytes(codewords[: data_in_first * blocks : blocks]) + bytes(
        codewords[first_check::blocks]
    )
    corrected = reed_solomon.correct(block, checks)
    return None if corrected is None else corrected[0] >> 4


def _modules(drawn: bytes, size: int) -> Modules:
    dark: Modules = np.frombuffer(drawn, dtype=np.uint8).reshape(size, size) == 0
    return dark


def _count_codewords(version: int) -> int:
    return len(_data_path(version)[0]) // 8


def _strips_are_right(drawn: bytes, size: int, level: str, mask: int) -> bool:
    """Tell whether both format strips are without error, as an upright symbol has them.

    Args:
        drawn: One byte a module, row by row.
        size: Modules a side.
        level: Error correction level.
        mask: Data mask.
    """
    left, right, top, bottom = _strips(size, level, mask)
    return (
        drawn[8 * size : 8 * size + 9] == left
        and drawn[9 * size - 8 : 9 * size] == right
        and drawn[8 : 8 * size + 9 : size] == top
        and drawn[(size - 7) * size + 8 :: size] == bottom
    )


@lru_cache(maxsize=512)
def _strips(size: int, level: str, mask: int) -> tuple[bytes, bytes, bytes, bytes]:
    """What stands in row 8, left and right, and in column 8, top and bottom."""
    drawn = np.zeros((size, size), dtype=np.bool_)
    drawn[8, 6] = drawn[6, 8] = True  # the timing patterns cross the strips here
    bits = _format_bits(level, mask)
    for strip in _format_places(size):
        for i, (row, column) in enumerate(strip):
            drawn[row, column] = bits >> i & 1
    shown = np.where(drawn, 0, 255).astype(np.uint8)
    sides = shown[8, :9], shown[8, -8:], shown[:9, 8], shown[-7:, 8]
    left, right, top, bottom = (side.tobytes() for side in sides)
    return left, right, top, bottom


def _format_errors(modules: Modules, level: str, mask: int) -> int:
    """Count the modules of both format strips that differ from what they should say."""
    bits = _format_bits(level, mask)
    return sum(
        bool(modules[row, column]) != bool(bits >> i & 1)
        for strip in _format_places(len(modules))
        for i, (row, column) in enumerate(strip)
    )


def _format_bits(level: str, mask: int) -> int:
    data = _LEVELS[level] << 3 | mask
    rest = data
    for _ in range(10):
        rest = rest << 1 ^ (rest >> 9) * 0x537
    return (data << 10 | rest) ^ 0x5412


def _format_places(size: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where bit 0, bit 1, ... of the format stand: around the first finder, and beyond."""
    places = [(i, 8) for i in (0, 1, 2, 3, 4, 5, 7, 8)] + [(8, i) for i in (7, 5, 4, 3, 2, 1, 0)]
    others = [(8, size - 1 - i) for i in range(8)] + [(size - 15 + i, 8) for i in range(8, 15)]
    return places, others


@lru_cache(maxsize=4)
def _data_path(version: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the data modules, in the order of the bits."""
    size = version * 4 + 17
    taken = _function_modules(version)
    path = []
    upward = True
    for right in [*range(size - 1, 6, -2), 5, 3, 1]:
        for step in range(size):
            row = size - 1 - step if upward else step
            path += [(row, column) for column in (right, right - 1) if not taken[row, column]]
        upward = not upward
    rows, columns = np.array(path, dtype=np.intp).T
    return rows, columns


def _function_modules(version: int) -> Modules:
    """Finder, timing and alignment patterns, format and version information."""
    size = version * 4 + 17
    taken = np.zeros((size, size), dtype=np.bool_)
    taken[:9, :9] = taken[:9, -8:] = taken[-8:, :9] = True
    taken[6, :] = taken[:, 6] = True
    if version >= 7:
        taken[-11:-8, :6] = taken[:6, -11:-8] = True
    if version >= 2:
        count = version // 7 + 2
        step = 26 if version == 32 else (version * 4 + count * 2 + 1) // (count * 2 - 2) * 2
        centres = [6] + [size - 7 - step * i for i in range(count - 1)]
        for row in centres:
            for column in centres:
                # The three that would lie on a finder pattern do not exist.
                if (row, column) not in ((6, 6), (6, size - 7), (size - 7, 6)):
                    taken[row - 2 : row + 3, column - 2 : column + 3] = True
    return taken


@lru_cache(maxsize=64)
def _first_mask_bits(size: int, mask: int) -> int:
    """What turns the four light modules in the lower right corner into the mode."""
    return int(np.packbits(~_mask((size - 17) // 4, mask)[:4])[0]) >> 4


@lru_cache(maxsize=16)
def _mask(version: int, mask: int) -> Modules:
    """The mask of the data modules, in the order of the bits."""
    return _mask_bits(mask, *_data_path(version))


def _mask_bits(mask: int, row: NDArray[np.intp], column: NDArray[np.intp]) -> Modules:
    """True where the data mask turns a module over (ISO/IEC 18004, table 10)."""
    product = row * column
    remainders = (
        (row + column) % 2,
        row % 2,
        column % 3,
        (row + column) % 3,
        (row // 2 + column // 3) % 2,
        product % 2 + product % 3,
        (product % 2 + product % 3) % 2,
        ((row + column) % 2 + product % 3) % 2,
    )
    turned: Modules = remainders[mask] == 0
    return turned
