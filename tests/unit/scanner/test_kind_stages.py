"""When a wrong kind of code is worth a word."""

import numpy as np
import segno
import zxingcpp

from kiosk.scanner.kind_watch import KindWatch, _kind

LUMA = np.full((480, 640), 200, np.uint8)


def test_a_wrong_kind_counts_when_two_looks_agree(draw):
    luma = draw(segno.make("12345", micro=True), scale=8)
    watch = KindWatch()

    assert watch.look(luma, 10.0) == []
    assert watch.look(luma, 10.1) == []  # not yet time to look again
    [symbol] = watch.look(luma, 10.5)

    assert (symbol.kind, symbol.payload, symbol.stage) == ("microqr", b"12345", "kinds")


def test_a_wrong_kind_seen_long_ago_confirms_nothing(draw):
    luma = draw(segno.make("12345", micro=True), scale=8)
    watch = KindWatch()

    assert watch.look(luma, 10.0) == []
    assert watch.look(LUMA, 11.0) == []
    assert watch.look(luma, 11.6) == []


def test_two_different_payloads_do_not_confirm_each_other(draw):
    watch = KindWatch()

    assert watch.look(draw(segno.make("12345", micro=True), scale=8), 0.0) == []
    assert watch.look(draw(segno.make("54321", micro=True), scale=8), 0.5) == []


def test_a_qr_code_is_no_wrong_kind(draw):
    watch = KindWatch()

    assert watch.look(draw("50501234567890123456"), 0.0) == []
    assert watch.look(draw("50501234567890123456"), 0.5) == []


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
