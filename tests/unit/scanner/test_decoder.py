"""Which stage looks at which frame, and when a wrong kind is worth a word."""

import numpy as np
import segno
import zxingcpp

from kiosk.messages import Symbol
from kiosk.scanner.decoder import Decoder
from kiosk.scanner.kind_watch import KindWatch, _kind

LUMA = np.full((480, 640), 200, np.uint8)


class FakeStage:
    """Reads what it is told to, and counts how often it looked."""

    def __init__(self, name, *, reads=()):
        self.name = name
        self.reads = [Symbol(payload=payload, kind="qr", stage=name) for payload in reads]
        self.looks = 0

    def decode(self, luma):
        self.looks += 1
        return self.reads


class BlindWatch(KindWatch):
    def look(self, luma, now_s):
        return []


def test_the_first_stage_looks_at_each_frame_and_the_others_take_turns():
    stages = [FakeStage("a"), FakeStage("b"), FakeStage("c")]
    decoder = Decoder(stages, BlindWatch())

    for frame in range(6):
        assert decoder.decode(LUMA, frame / 30) == []

    assert [stage.looks for stage in stages] == [6, 3, 3]


def test_a_read_of_the_first_stage_costs_the_others_nothing():
    stages = [FakeStage("a", reads=[b"1"]), FakeStage("b")]
    decoder = Decoder(stages, BlindWatch())

    assert [one.stage for one in decoder.decode(LUMA, 0)] == ["a"]
    assert stages[1].looks == 0


def test_after_as_many_turns_as_it_says_each_stage_has_looked():
    last = FakeStage("d", reads=[b"1"])
    decoder = Decoder([FakeStage("a"), FakeStage("b"), FakeStage("c"), last], BlindWatch())

    reads = [decoder.decode(LUMA, 0) for _ in range(decoder.turns)]

    assert [one.stage for one in reads[-1]] == ["d"]
    assert decoder.engines == ["a", "b", "c", "d"]


def test_one_stage_is_enough():
    assert Decoder([FakeStage("a")], BlindWatch()).decode(LUMA, 0) == []


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
