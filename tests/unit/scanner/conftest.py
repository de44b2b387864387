"""Frames drawn for the scanner's tests."""

import numpy as np
import pytest
import segno


def draw_symbols(*symbols, scale=5, height=480, width=640):
    """A bright wall with symbols side by side."""
    luma = np.full((height, width), 220, np.uint8)
    left = 20
    for symbol in symbols:
        rows = [[0 if dark else 255 for dark in row] for row in symbol.matrix_iter(scale, 4)]
        luma[20 : 20 + len(rows), left : left + len(rows[0])] = rows
        left += len(rows[0]) + 10
    return luma


@pytest.fixture
def draw():
    """Draws `segno` symbols, or a QR Code of each payload."""

    def drawn(*contents, **how):
        return draw_symbols(
            *(
                one if isinstance(one, segno.QRCode) else segno.make(one, micro=False)
                for one in contents
            ),
            **how,
        )

    return drawn
