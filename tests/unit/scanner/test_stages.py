"""Each engine reads whole QR Codes, and none lets anything else pass as one."""

import ctypes
import logging
import types

import cv2
import numpy as np
import pytest
import segno
import zxingcpp
from tools import need

from kiosk.errors import SettingsError
from kiosk.scanner import reader
from kiosk.scanner.other_engines import OpencvStage, PyzbarStage
from kiosk.scanner.rescues import RescueStage
from kiosk.scanner.stages import ZxingStage, load_stages
from kiosk.settings import RESCUES

CODE = "50501234567890123456"
PARTS = segno.make_sequence(CODE * 2, symbol_count=2)

# The number of a shipping container: FNC1 in first position, then (00) and eighteen digits.
GS1_LABEL = """
    1fd8e7f 104e241 175785d 174835d 174835d 105fd41 1fd557f 0001800 1469b25 0fb8117 0a7bddb
    0f24726 0356ceb 0e0cc00 19ce223 05b0848 19e7bf3 001d11e 1fd9f55 104771c 174cdfb 1744df6
    175a0df 104ca3a 1fdbb61
"""


def have_libzbar():
    try:
        PyzbarStage()
    except (OSError, ImportError):
        return False
    return True


ENGINES = [
    "fast",
    "zxing",
    "pyzbar",
    "opencv",
    *RESCUES,
]


@pytest.fixture(params=ENGINES)
def stage(request):
    if request.param in RESCUES:
        return RescueStage(request.param)
    if request.param == "pyzbar":
        need(have_libzbar(), "no libzbar0: sudo apt install libzbar0")
    return load_stages([request.param])[0]


def found(stage, luma):
    return [(one.kind, one.payload, one.stage) for one in stage.decode(luma)]


def test_a_code_is_read(stage, draw):
    luma = cv2.GaussianBlur(draw(CODE), (3, 3), 0)
    assert found(stage, luma) == [("qr", CODE.encode(), stage.name)]


def test_a_strided_view_is_read(stage, draw):
    double = np.repeat(draw(CODE), 2, axis=1)
    assert found(stage, double[:, ::2]) == [("qr", CODE.encode(), stage.name)]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_structured_append_is_never_a_code(stage, draw, part):
    assert {kind for kind, _, _ in found(stage, draw(part))} <= {"part"}


def test_all_parts_in_view_do_not_make_a_code(stage, draw):
    halves = segno.make_sequence(CODE, symbol_count=2)
    assert {kind for kind, _, _ in found(stage, draw(*halves))} <= {"part"}


def test_bytes_are_those_in_the_symbol_not_a_character_set(stage, draw):
    symbol = segno.make(b"h\xe9llo \xff", mode="byte", micro=False)
    assert [payload for _, payload, _ in found(stage, draw(symbol))] in ([], [b"h\xe9llo \xff"])


def test_a_gs1_label_with_twenty_digits_is_no_code(stage):
    rows = [[int(dark) for dark in f"{int(row, 16):025b}"] for row in GS1_LABEL.split()]
    page = np.kron(np.pad(np.array(rows), 5), np.ones((6, 6)))
    luma = np.where(page > 0, 0, 255).astype(np.uint8)
    kinds = {kind for kind, _, _ in found(stage, luma)}
    assert kinds == {"gs1"} if stage.name == "zxing" else kinds <= {"gs1"}


def test_a_read_tells_where_the_symbol_is(stage, draw):
    luma = np.full((480, 640), 220, np.uint8)
    luma[100:, 150:] = draw(CODE)[:380, :490]
    [symbol] = stage.decode(cv2.GaussianBlur(luma, (3, 3), 0))
    # Drawn at 20, with a quiet zone of 4 modules of 5 px, 21 modules a side.
    low, high = 40, 40 + 21 * 5
    true = {(150 + x, 100 + y) for x in (low, high) for y in (low, high)}
    for corner in true:
        assert min(abs(x - corner[0]) + abs(y - corner[1]) for x, y in symbol.corners) <= 8


def test_zxing_reads_a_part_and_says_so(draw):
    assert found(ZxingStage(), draw(PARTS[0])) == [("part", CODE.encode(), "zxing")]


def test_a_part_is_a_part_also_after_the_whole_message_of_its_payload(stage, draw):
    stage.decode(draw(CODE))
    assert {kind for kind, _, _ in found(stage, draw(PARTS[0]))} <= {"part"}


def test_what_is_remembered_of_modules_is_bounded(draw):
    stage = ZxingStage()
    for number in range(100):
        assert found(stage, draw(f"{number:020}")) == [("qr", b"%020d" % number, "zxing")]
    assert len(reader._known) <= reader._MOST_KNOWN


def test_zxing_reads_two_codes(draw):
    other = CODE[::-1]
    payloads = {payload for _, payload, _ in found(ZxingStage(), draw(CODE, other))}
    assert payloads == {CODE.encode(), other.encode()}


@pytest.mark.parametrize("turn", [lambda luma: 255 - luma, lambda luma: luma[:, ::-1]])
def test_zxing_reads_inverted_and_mirrored_codes(draw, turn):
    assert found(ZxingStage(), turn(draw(CODE))) == [("qr", CODE.encode(), "zxing")]


def test_micro_qr_is_not_read(stage, draw):
    assert found(stage, draw(segno.make("12345", micro=True), scale=9)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (480, 1), (7, 7), (20, 21), (3000, 3000)])
def test_odd_frames_hold_nothing(stage, shape):
    assert found(stage, np.full(shape, 128, np.uint8)) == []


def test_noise_holds_nothing(stage):
    noise = np.random.default_rng(7).integers(0, 256, (480, 640), dtype=np.uint8)
    assert found(stage, noise) == []


def test_opencv_refusing_a_character_set_is_not_a_failure(draw):
    stage = OpencvStage()

    def refuse(luma):
        raise cv2.error("not implemented")

    stage._detector = types.SimpleNamespace(detectAndDecodeBytes=refuse)
    assert stage.decode(draw(CODE)) == []


def test_a_read_that_zxing_does_not_confirm_is_dropped(draw):
    class Liar:
        def detectAndDecodeBytes(self, luma):  # noqa: N802 - OpenCV's name
            corners = np.array([[(40, 40), (145, 40), (145, 145), (40, 145)]], np.float32)
            return b"60501234567890123456", corners, np.zeros((21, 21), np.uint8)

    stage = OpencvStage()
    stage._detector = Liar()
    assert stage.decode(draw(CODE)) == []


def fake_pyzbar(answer):
    """A PyzbarStage without libzbar, whose engine answers so."""
    stage = object.__new__(PyzbarStage)
    stage._only_qr = ["qr"]
    stage._decode = answer
    return stage


def a_zbar_symbol(data, kind="QRCODE", corners=((40, 40), (40, 145), (145, 145), (145, 40))):
    return types.SimpleNamespace(type=kind, data=data, polygon=list(corners))


def test_what_zbar_locates_is_read_again_at_its_place(draw):
    stage = fake_pyzbar(lambda luma, symbols: [a_zbar_symbol(CODE.encode())])
    assert found(stage, draw(CODE)) == [("qr", CODE.encode(), "pyzbar")]


@pytest.mark.parametrize(
    "symbol",
    [
        a_zbar_symbol(CODE[::-1].encode()),
        a_zbar_symbol(CODE.encode(), kind="PARTIAL"),
        a_zbar_symbol(CODE.encode(), corners=((1, 1), (2, 2), (1, 2))),
        a_zbar_symbol(CODE.encode(), corners=((300, 300), (300, 450), (450, 450), (450, 300))),
    ],
)
def test_what_zbar_says_without_confirmation_is_dropped(draw, symbol):
    stage = fake_pyzbar(lambda luma, symbols: [symbol])
    assert found(stage, draw(CODE)) == []


def test_a_composite_symbol_that_pyzbar_cannot_express_is_nothing(draw):
    def decode(luma, symbols):
        raise ValueError("4294967295 is not a valid ZBarOrientation")

    assert found(fake_pyzbar(decode), draw(CODE)) == []


@pytest.fixture
def no_libzbar(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)


@pytest.mark.usefixtures("no_libzbar")
def test_a_missing_libzbar_costs_one_line_and_that_engine(caplog):
    with caplog.at_level(logging.WARNING):
        loaded = load_stages(["gate", "pyzbar", "zxing", "opencv"])

    assert [stage.name for stage in loaded] == ["zxing", "opencv"]
    assert [record.getMessage() for record in caplog.records] == [
        "libzbar is missing: sudo apt install libzbar0; going on without pyzbar"
    ]


@pytest.mark.usefixtures("no_libzbar")
def test_no_engine_at_all_is_an_error_that_says_what_to_do():
    with pytest.raises(SettingsError, match="apt install libzbar0"):
        load_stages(["pyzbar"])


def test_only_model_2_is_looked_for():
    assert str(reader._MODEL_2) == str(
        zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCodeModel2])
    )
