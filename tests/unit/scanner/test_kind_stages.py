"""Codes of other kinds are seen, each in its stage, and a QR Code is none of them."""

import numpy as np
import pytest
import segno
import zxingcpp

from kiosk.scanner.kind_stages import _kind, kind_stages

LUMA = np.full((480, 640), 200, np.uint8)
MADE = {"Aztec": "aztec", "DataMatrix": "datamatrix", "PDF417": "pdf417", "Code128": "code128"}


def seen(luma):
    return [(one.kind, one.payload) for stage in kind_stages() for one in stage.decode(luma)]


@pytest.mark.parametrize("name", MADE)
def test_a_symbol_of_another_kind_is_seen_once(name):
    symbol = zxingcpp.create_barcode("ABC1234", getattr(zxingcpp.BarcodeFormat, name))
    drawn = np.asarray(symbol.to_image(scale=3))
    luma = LUMA.copy()
    luma[40 : 40 + drawn.shape[0], 40 : 40 + drawn.shape[1]] = drawn
    assert seen(luma) == [(MADE[name], b"ABC1234")]


def test_micro_qr_is_seen(draw):
    assert seen(draw(segno.make("12345", micro=True), scale=8)) == [("microqr", b"12345")]


def test_a_qr_code_is_no_other_kind(draw):
    assert seen(draw("50501234567890123456")) == []


def test_kinds_have_short_names():
    names = {
        "MicroQRCode": "microqr",
        "RMQRCode": "rmqr",
        "QRCodeModel1": "qrmodel1",
        "Aztec": "aztec",
        "DataMatrix": "datamatrix",
        "PDF417": "pdf417",
        "Code128": "code128",
        "EAN13": "ean13",
        "UPCA": "upca",
    }
    for member, name in names.items():
        assert _kind(str(getattr(zxingcpp.BarcodeFormat, member))) == name
    assert _kind("QR Code") == "qrmodel1"
