"""The symbols that a phone can show, as grids of modules."""

import enum
import functools

import numpy as np
import zxingcpp
from numpy.typing import NDArray

Modules = NDArray[np.bool_]


class Kind(enum.Enum):
    """What kind of symbol is on the screen.

    Only `QR` may be read by the scanner; the others are what customers hold up by mistake.
    NONE is a screen without any symbol. STRUCTURED_APPEND is one part of a series of QR symbols:
    it decodes to digits that look like a code, and is not one.
    """

    QR = "qr"
    STRUCTURED_APPEND = "structured-append"
    MICRO_QR = "micro-qr"
    RMQR = "rmqr"
    AZTEC = "aztec"
    DATA_MATRIX = "data-matrix"
    PDF417 = "pdf417"
    EAN13 = "ean13"
    CODE128 = "code128"
    NONE = "none"


_FORMATS = {
    Kind.QR: zxingcpp.BarcodeFormat.QRCodeModel2,
    Kind.MICRO_QR: zxingcpp.BarcodeFormat.MicroQRCode,
    Kind.RMQR: zxingcpp.BarcodeFormat.RMQRCode,
    Kind.AZTEC: zxingcpp.BarcodeFormat.Aztec,
    Kind.DATA_MATRIX: zxingcpp.BarcodeFormat.DataMatrix,
    Kind.PDF417: zxingcpp.BarcodeFormat.PDF417,
    Kind.EAN13: zxingcpp.BarcodeFormat.EAN13,
    Kind.CODE128: zxingcpp.BarcodeFormat.Code128,
}


@functools.lru_cache(maxsize=64)
def draw_modules(kind: Kind, payload: str, ec_level: str = "M") -> Modules:
    """Draw a symbol without its quiet zone.

    Args:
        kind: What to draw; NONE gives an empty grid.
        payload: The text inside. Structured append takes up to 20 ASCII digits.
        ec_level: L, M, Q or H, for QR Code model 2 (raised where the symbol has room for more).

    Returns:
        bool, shape (rows, columns), true where a module is dark; read-only.

    Raises:
        ValueError: The payload does not fit this kind of symbol.
    """
    if kind is Kind.NONE:
        modules = np.zeros((0, 0), dtype=np.bool_)
    elif kind is Kind.STRUCTURED_APPEND:
        modules = _draw_part(payload)
    else:
        options = {"ec_level": ec_level} if kind is Kind.QR else {}
        symbol = zxingcpp.create_barcode(payload, _FORMATS[kind], **options)
        modules = np.array(symbol.to_image(scale=1, add_quiet_zones=False)) == 0
    modules.flags.writeable = False
    return modules


# A version 1 symbol of level L has 19 codewords of data and 7 of error correction
# (ISO/IEC 18004:2015, table 9), laid in columns of two from the right (7.7.3).
_SIDE = 21
_DATA_CODEWORDS = 19
_EC_CODEWORDS = 7


def _draw_part(digits: str) -> Modules:
    """Draw the first of two parts of a structured append (ISO/IEC 18004:2015, section 8).

    zxing-cpp and OpenCV write no header of our choice, so the codewords are made here and laid into
    the function patterns of an ordinary symbol.
    """
    if not (digits.isascii() and digits.isdecimal() and 0 < len(digits) <= 20):
        message = f"a part holds 1 to 20 ASCII digits, not {digits!r}"
        raise ValueError(message)
    template = draw_modules(Kind.QR, "A" * 24, "L")  # 24 letters leave room for level L only
    mask = _mask_of(template)
    parity = functools.reduce(lambda x, y: x ^ y, digits.encode())
    bits = "0011" + "0000" + "0001" + f"{parity:08b}"  # first of two
    bits += "0001" + f"{len(digits):010b}"
    for group in (digits[i : i + 3] for i in range(0, len(digits), 3)):
        bits += f"{int(group):0{(4, 7, 10)[len(group) - 1]}b}"
    bits = (bits + "0000")[: 8 * _DATA_CODEWORDS]
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    data += [(0xEC, 0x11)[i % 2] for i in range(_DATA_CODEWORDS - len(data))]
    stream = "".join(f"{codeword:08b}" for codeword in data + _error_correction(data))
    modules = template.copy()
    for (row, column), bit in zip(_data_places(), stream, strict=True):
        modules[row, column] = (bit == "1") != _MASKS[mask](row, column)
    return modules


_MASKS = (
    lambda i, j: (i + j) % 2 == 0,
    lambda i, _j: i % 2 == 0,
    lambda _i, j: j % 3 == 0,
    lambda i, j: (i + j) % 3 == 0,
    lambda i, j: (i // 2 + j // 3) % 2 == 0,
    lambda i, j: (i * j) % 2 + (i * j) % 3 == 0,
    lambda i, j: ((i * j) % 2 + (i * j) % 3) % 2 == 0,
    lambda i, j: ((i + j) % 2 + (i * j) % 3) % 2 == 0,
)


def _mask_of(modules: Modules) -> int:
    """Read the mask number from the format information beside the upper left finder."""
    bits = int("".join("1" if dark else "0" for dark in modules[8, 2:5]), 2)
    return bits ^ 0b101  # those three bits of the format information's own mask


def _data_places() -> list[tuple[int, int]]:
    """Rows and columns of a version 1 symbol's data modules, in the order of their bits."""
    places = []
    upward = True
    for right in (20, 18, 16, 14, 12, 10, 8, 5, 3, 1):  # column 6 is the timing pattern
        rows = range(_SIDE - 1, -1, -1) if upward else range(_SIDE)
        places += [(row, column) for row in rows for column in (right, right - 1)]
        upward = not upward
    return [
        (row, column)
        for row, column in places
        if row != 6
        and not (row < 9 and (column < 9 or column > 12))
        and not (row > 12 and column < 9)
    ]


def _error_correction(data: list[int]) -> list[int]:
    """The remainder of Reed-Solomon over GF(256), polynomial 0x11D."""
    generator = [1]
    root = 1
    for _ in range(_EC_CODEWORDS):
        generator = [
            a ^ _multiply(b, root) for a, b in zip([*generator, 0], [0, *generator], strict=True)
        ]
        root = _multiply(root, 2)
    rest = [*data, *[0] * _EC_CODEWORDS]
    for i in range(len(data)):
        factor = rest[i]
        for j, coefficient in enumerate(generator):
            rest[i + j] ^= _multiply(coefficient, factor)
    return rest[len(data) :]


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product
