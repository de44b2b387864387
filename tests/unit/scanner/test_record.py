"""What is kept of what a camera saw, and what never is."""

import errno
import io
import itertools
import json
import time

import cv2
import numpy as np
import pytest

from hardware.camera import CameraBusyError, CameraLostError, ExposureRange
from hardware.frame import Frame
from kiosk.errors import UsageError
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene
from kiosk.scanner import recorder
from kiosk.scanner.record import REPORT, record
from kiosk.scanner.rescues import RescueStage
from kiosk.scanner.stages import load_stages
from kiosk.settings import (
    ENGINES,
    RESCUES,
    GatewaySettings,
    OfferSettings,
    ScanSettings,
    Settings,
)

CODE = "50501234567890123456"
TEST_CODE = "https://example.org/a-test-code"
SETTINGS = Settings(
    gateway=GatewaySettings(url="http://127.0.0.1:9", headers={"X-Token": "s3cret"}),
    offer=OfferSettings(amount_sum=1000),
)
FPS = 4


def drawn(payload, **how):
    phone = {key: how.pop(key) for key in ("module_px", "inverted", "brightness") if key in how}
    return render(Scene(phones=(Phone(payload=payload, **phone),), place=5, **how), 1)


EMPTY = render(Scene(place=5), 1)
TEST = drawn(TEST_CODE)
PAYABLE = drawn(CODE)
SMEARED = drawn(CODE, motion_px=30, motion_deg=10)


class Booth:
    """A camera with a time of its own, and frames that must not be read after their release."""

    name = "booth"

    def __init__(self, *lumas, then=None):
        self.lumas = iter(lumas)
        self.then = then
        self.now_s = 50.0
        self.number = self.lent = 0
        self.is_open = False

    def open(self):
        self.is_open = True

    def close(self):
        self.is_open = False

    def exposure_range(self):
        return ExposureRange(1, 333, 50)

    def read(self, timeout_s):
        self.now_s += 1 / FPS
        luma = next(self.lumas, None)
        if luma is None:
            if self.then is not None:
                raise self.then
            return None
        self.number += 1
        self.lent += 1
        buffer = luma.copy()

        def give_back():
            buffer[:] = 0
            self.lent -= 1

        return Frame(buffer, self.now_s, 2 * self.number, give_back)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The booth's time runs faster than any disk: let all frames wait."""
    monkeypatch.setattr(recorder, "MAX_WAITING", 10_000)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "recording"


def recorded(booth, folder, *, seconds=None, settings=SETTINGS, **how):
    """Record all frames of a booth; the exit code and what was said."""
    out = io.StringIO()
    how = {"with_codes": False, "as_json": False} | how
    code = record(
        booth,
        settings,
        folder,
        seconds=60 if seconds is None else seconds,
        out=out,
        clock=lambda: booth.now_s,
        **how,
    )
    assert not booth.is_open
    assert booth.lent == 0
    return code, out.getvalue()


def lines_in(folder):
    header, *lines = [json.loads(line) for line in (folder / REPORT).read_bytes().splitlines()]
    assert header["recording"] == 1
    return lines


def pictures_in(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def codes_in(folder):
    """Whatever any engine or rescue reads in any saved picture, whole or in part."""
    stages = [*load_stages(ENGINES), *(RescueStage(name) for name in RESCUES)]
    different = {path.read_bytes(): path for path in folder.glob("*.png")}.values()
    lumas = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in different]
    read = [symbol for luma in lumas for stage in stages for symbol in stage.decode(luma)]
    return [symbol for symbol in read if symbol.payload == CODE.encode()]


def test_a_test_code_is_kept_to_the_last_bit_with_a_line_for_each_frame(folder):
    code, said = recorded(Booth(EMPTY, TEST, TEST), folder)

    assert code == 0
    assert pictures_in(folder) == ["000001.png", "000002.png", "000003.png"]
    saved = cv2.imread(str(folder / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(saved, TEST)
    first, second, _ = lines_in(folder)
    assert first["aim"] is None
    assert first["symbols"] == []
    assert (second["file"], second["sequence"], second["exposure"]) == ("000002.png", 4, 50)
    assert second["captured_at_s"] == pytest.approx(50.5)
    assert second["at"].endswith("+00:00")
    assert second["tried"] == ["fast"]
    (symbol,) = second["symbols"]
    assert symbol["payload"] == "http…code"
    assert (symbol["kind"], symbol["stage"], symbol["is_code"]) == ("qr", "fast", False)
    assert len(symbol["corners"]) == 4
    assert second["aim"]["module_px"] == pytest.approx(7, abs=0.1)
    assert "3 frames seen, 2 with a code that was read; 3 frames saved" in said
    assert f"kiosk replay {folder}" in said


def test_the_first_line_holds_the_settings_and_no_secret(folder):
    recorded(Booth(TEST), folder)

    text = (folder / REPORT).read_text()
    header = json.loads(text.splitlines()[0])
    assert header["camera_name"] == "booth"
    assert header["camera"]["fps"] == 30
    assert header["scan"]["code_pattern"] == "[0-9]{20}"
    assert "s3cret" not in text


def test_a_payment_code_is_not_kept_nor_what_came_within_two_seconds(folder):
    before, during, after = [EMPTY] * 20, [PAYABLE] * 3, [EMPTY] * 20

    code, said = recorded(Booth(*before, *during, *after), folder)

    assert code == 0
    left_out = [number for number, line in enumerate(lines_in(folder)) if "left_out" in line]
    assert left_out[0] == pytest.approx(20 - 2 * FPS, abs=1)
    assert left_out[-1] == pytest.approx(22 + 2 * FPS, abs=1)
    assert left_out == list(range(left_out[0], left_out[-1] + 1))
    assert all(line["file"] is None for line in lines_in(folder) if "left_out" in line)
    assert len(pictures_in(folder)) == 43 - len(left_out)
    assert f"{len(left_out)} frames showed a payment code" in said
    assert "add --with-codes" in said


def test_a_code_too_smeared_to_be_read_is_not_kept_beside_a_read(folder):
    recorded(Booth(*[EMPTY] * 12, *[SMEARED] * 6, PAYABLE, *[SMEARED] * 6, *[EMPTY] * 12), folder)

    kept = [int(name[:6]) for name in pictures_in(folder)]
    assert kept
    assert not set(kept) & set(range(13, 26))


def test_only_codes_leave_nothing_but_the_report(folder):
    code, said = recorded(Booth(*[PAYABLE] * 5), folder)

    assert code == 1
    assert pictures_in(folder) == []
    assert len(lines_in(folder)) == 5
    assert "0 frames saved" in said


@pytest.mark.parametrize("name", ["hard-far-01", "hard-glare-01", "hard-inverted-01"])
def test_what_the_scanner_could_not_read_is_looked_at_with_all_there_is(folder, name, pytestconfig):
    frame = pytestconfig.rootpath / f"tests/data/frames-hard/{name}.png"
    luma = cv2.imread(str(frame), cv2.IMREAD_GRAYSCALE)
    scan = ScanSettings(engines=("fast", "zxing"), rescues=())
    settings = Settings(gateway=SETTINGS.gateway, offer=SETTINGS.offer, scan=scan)

    _, said = recorded(Booth(*[luma] * 3), folder, settings=settings)

    assert "3 frames seen, 0 with a code that was read; 0 frames saved" in said
    assert pictures_in(folder) == []


def test_no_engine_reads_a_payment_code_in_what_was_kept(folder):
    rng = np.random.default_rng(3)
    hands = [
        drawn(CODE, motion_px=float(m), defocus_px=float(d), module_px=float(s))
        for m, d, s in rng.uniform((0, 0, 3), (14, 4, 8), (12, 3))
    ]
    apart = [[hand, *[EMPTY] * 9] for hand in hands]

    recorded(Booth(*itertools.chain(*apart)), folder)

    assert pictures_in(folder)
    assert codes_in(folder) == []


def test_codes_are_masked_in_the_report(folder):
    recorded(Booth(PAYABLE, drawn("50509999999999999999", module_px=5)), folder, with_codes=True)

    text = (folder / REPORT).read_text()
    assert '"payload": "5050…3456"' in text
    assert CODE not in text
    assert "50509999999999999999" not in text


def test_with_codes_all_are_kept_for_the_owner_only_and_it_warns(folder):
    code, said = recorded(Booth(EMPTY, PAYABLE, PAYABLE), folder, with_codes=True)

    assert code == 0
    assert len(pictures_in(folder)) == 3
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "hold payment codes" in said


def test_the_folder_is_for_its_owner_only_in_any_case(folder):
    folder.mkdir(mode=0o755)

    recorded(Booth(TEST), folder)

    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_something_in_it_is_refused(folder):
    folder.mkdir()
    (folder / "mine.txt").touch()

    with pytest.raises(UsageError, match="is not empty"):
        recorded(Booth(TEST), folder)

    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_file_is_no_folder(folder):
    folder.write_text("mine")

    with pytest.raises(UsageError, match="recording"):
        recorded(Booth(TEST), folder)

    assert folder.read_text() == "mine"


def test_json_is_one_object(folder):
    _, said = recorded(Booth(TEST, TEST), folder, as_json=True)

    assert json.loads(said) == {
        "folder": str(folder),
        "frames": 2,
        "read": 2,
        "saved": 2,
        "codes": 0,
        "skipped": 0,
        "failed": "",
    }


def test_it_ends_when_the_time_is_up(folder):
    recorded(booth := Booth(*[TEST] * 100), folder, seconds=2)

    assert booth.now_s - 50 == pytest.approx(2, abs=0.2)
    assert len(pictures_in(folder)) == 2 * FPS


def test_it_ends_when_it_is_told_to_and_writes_what_it_has(folder):
    told = iter([False] * 7)

    code, _ = recorded(Booth(*[TEST] * 100), folder, stopped=lambda: next(told, True))

    assert code == 0
    assert len(pictures_in(folder)) == len(lines_in(folder)) == 7


def test_where_nothing_came_nothing_is_left(folder):
    code, said = recorded(Booth(), folder)

    assert code == 1
    assert "No frame came from booth" in said
    assert not folder.exists()


def test_who_holds_the_camera_is_told_to_be_stopped_first(folder):
    booth = Booth(TEST)

    def busy():
        raise CameraBusyError("It is in use.", advice="Which one: fuser.")

    booth.open = busy
    with pytest.raises(CameraBusyError, match="sudo systemctl stop kiosk"):
        recorded(booth, folder)
    assert not folder.exists()


def test_a_camera_that_is_lost_ends_it_and_what_came_is_kept(folder):
    code, said = recorded(Booth(TEST, TEST, then=CameraLostError("It was unplugged.")), folder)

    assert code == 1
    assert "ended early: It was unplugged." in said
    assert len(pictures_in(folder)) == len(lines_in(folder)) == 2


@pytest.mark.parametrize("fitting", [6, 7])  # the picture does not fit, or its line
def test_a_full_disk_ends_it_and_what_came_is_whole(folder, monkeypatch, fitting):
    writes, real = [], recorder.write_all

    def fills_up(file, content):
        writes.append(len(content))
        if len(writes) > fitting:
            file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, content)

    monkeypatch.setattr(recorder, "write_all", fills_up)

    code, said = recorded(Booth(*[TEST] * 30), folder)

    assert code == 1
    assert "ended early: the disk is full" in said
    assert len(pictures_in(folder)) == len(lines_in(folder)) == 3
    assert all(cv2.imread(str(path)) is not None for path in folder.glob("*.png"))


def test_a_mistake_in_the_thread_does_not_die_quietly(folder, monkeypatch):
    monkeypatch.setattr(recorder, "find_regions", lambda luma: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        recorded(Booth(TEST), folder)


def test_an_engine_that_crashes_is_passed_over(folder, monkeypatch):
    class Crashing:
        name = "crashing"

        def decode(self, luma):
            raise RuntimeError

    monkeypatch.setattr(recorder, "load_stages", lambda names: [Crashing()])

    assert recorded(Booth(TEST), folder)[0] == 0


def test_what_cannot_be_checked_in_time_is_left_out_and_told(folder, monkeypatch):
    class Slow:
        name = "slow"

        def decode(self, luma):
            time.sleep(0.05)
            return []

    monkeypatch.setattr(recorder, "load_stages", lambda names: [Slow()])
    monkeypatch.setattr(recorder, "MAX_WAITING", 2)

    code, said = recorded(Booth(*[TEST] * 30), folder)

    assert code == 0
    lines = lines_in(folder)
    assert len(lines) == 30
    skipped = [line for line in lines if line.get("left_out") == "no time"]
    assert 0 < len(skipped) == 30 - len(pictures_in(folder))
    assert f"{len(skipped)} frames not saved" in said


def test_what_is_held_back_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_HELD_BYTES", 10)

    recorded(Booth(*[TEST] * 30), folder)

    lines = lines_in(folder)
    assert len(lines) == 30
    assert 1 < len(pictures_in(folder)) < 10
