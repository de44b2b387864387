"""What the doctor says about a camera, with a phone before it, without one, and on a terminal."""

import io
import itertools
import json
import re

import numpy as np
import pytest

from hardware.camera import CameraMissingError, ExposureRange
from hardware.frame import Frame
from kiosk import doctor
from kiosk.doctor_camera import GLANCE_S, LIVE_S, check_camera
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene
from kiosk.settings import CameraSettings, GatewaySettings, OfferSettings, ScanSettings, Settings

CODE = "50501234567890123456"
SETTINGS = Settings(
    gateway=GatewaySettings(url="http://127.0.0.1:9"),
    offer=OfferSettings(amount_sum=1000),
    camera=CameraSettings(fps=20),
    scan=ScanSettings(engines=("fast", "zxing"), rescues=("sharpen",)),
)


def drawn(payload=CODE, **how):
    phone = {key: how.pop(key) for key in ("module_px", "brightness") if key in how}
    return render(Scene(phones=(Phone(payload=payload, **phone),), place=5, **how), 1)


PHONE = drawn()
EMPTY = render(Scene(place=5), 1)


class Booth:
    """A camera whose frames take no time but their own; it shows the last one for ever."""

    name = "booth"

    def __init__(self, *lumas, fps=20, every=1, interrupt_at=None):
        self.lumas = itertools.chain(lumas, itertools.repeat(lumas[-1] if lumas else None))
        self.interval_s = 1 / fps
        self.every = every
        self.interrupt_at = interrupt_at
        self.now_s = 100.0
        self.reads = self.lent = 0
        self.is_open = False

    def open(self):
        self.is_open = True

    def close(self):
        self.is_open = False

    def exposure_range(self):
        return ExposureRange(1, 333, 50)

    def read(self, timeout_s):
        self.reads += 1
        if self.reads == self.interrupt_at:
            raise KeyboardInterrupt
        self.now_s += self.interval_s
        luma = next(self.lumas)
        if luma is None:
            return None
        self.lent += 1
        return Frame(luma, self.now_s, self.reads * self.every, self.given_back)

    def given_back(self):
        self.lent -= 1


def examined(booth, *, live=None, settings=SETTINGS):
    findings = check_camera(
        settings, live=live, open_camera=lambda: booth, clock=lambda: booth.now_s
    )
    found = {finding.check: finding for finding in findings}
    assert not booth.is_open
    assert booth.lent == 0
    return found


def test_a_phone_held_well():
    booth = Booth(PHONE)

    found = examined(booth)

    assert list(found) == ["camera", "focus", "exposure", "code size"]
    assert all(finding.ok for finding in found.values())
    assert not any(finding.advice for finding in found.values())
    assert found["camera"].detail == "booth: 640x480, 20.0 of 20 frames a second"
    assert re.match(r"edges [23]\.\d px wide; at most 3.5", found["focus"].detail)
    assert found["exposure"].detail.endswith("0% black in the code; exposure 50 of 1 to 333")
    assert re.match(
        r"14[678] px, 7\.0 a module; read by fast; matches scan", found["code size"].detail
    )
    assert booth.now_s - 100 == pytest.approx(GLANCE_S, abs=0.2)


def test_without_a_phone_nothing_fails_and_it_says_how_to_judge():
    found = examined(Booth(EMPTY))

    assert all(finding.ok for finding in found.values())
    for check in ("focus", "exposure", "code size"):
        assert found[check].detail.startswith("not judged: no code in view")
        assert "hold a phone with a QR code 15 cm before the camera" in found[check].advice


@pytest.mark.parametrize(
    ("how", "check", "advice"),
    [
        ({"defocus_px": 3}, "focus", "turn the lens"),
        ({"module_px": 3}, "code size", "closer"),
        ({"module_px": 21}, "code size", "farther"),
        ({"brightness": 0.05}, "exposure", "brighter"),
        ({"exposure": 14}, "exposure", "darker"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_move(how, check, advice):
    found = examined(Booth(drawn(**how)))

    assert [finding.check for finding in found.values() if not finding.ok] == [check]
    assert advice in found[check].advice


def test_a_code_that_nobody_can_read_is_named_too():
    found = examined(Booth(drawn(module_px=5, defocus_px=6)))

    assert not found["focus"].ok
    assert not found["code size"].ok
    assert "was not read" in found["code size"].detail
    assert "turn the lens" in found["code size"].advice


def test_of_a_phone_that_was_never_still_the_focus_is_not_judged():
    found = examined(Booth(drawn(motion_px=9, motion_deg=5)))

    assert found["focus"].ok
    assert found["focus"].detail == "not judged: the phone was never still"


def test_the_lens_is_judged_by_the_good_frames_of_a_shaking_hand():
    shaking = [drawn(motion_px=9, motion_deg=5), drawn(motion_px=4, motion_deg=45)]

    found = examined(Booth(*[*shaking, PHONE, PHONE] * 20))

    assert found["focus"].ok
    assert found["focus"].detail.startswith("edges 3.")


@pytest.mark.parametrize("payload", [CODE, "https://example.org/a-test"])
def test_what_the_code_says_appears_nowhere(payload):
    live = io.StringIO()

    found = examined(Booth(drawn(payload)), live=live)

    said = live.getvalue() + str(found)
    assert payload not in said
    assert not re.search(r"\d{6}", said)
    matches = "matches" if payload == CODE else "does not match"
    assert f"{matches} scan.code_pattern" in found["code size"].detail


def test_a_camera_without_frames():
    found = examined(Booth())

    assert [(check, finding.ok) for check, finding in found.items()] == [("camera", False)]
    assert found["camera"].detail == "booth: no frame"


def test_a_camera_that_is_too_slow():
    found = examined(Booth(PHONE, fps=7))

    assert not found["camera"].ok
    assert "7.0 of 20 frames a second" in found["camera"].detail
    assert "more light" in found["camera"].advice


def test_frames_that_came_while_we_looked_count_as_delivered():
    found = examined(Booth(PHONE, fps=10, every=2))

    assert "20.0 of 20" in found["camera"].detail


@pytest.mark.parametrize(("level", "word"), [(2, "black"), (255, "white")])
def test_a_picture_of_nothing(level, word):
    found = examined(Booth(np.full((480, 640), level, np.uint8)))

    assert not found["camera"].ok
    assert f"the picture is {word}" in found["camera"].detail


def test_a_camera_that_is_not_there_is_closed_and_told():
    booth = Booth(PHONE)

    def missing():
        raise CameraMissingError("There is no camera.", advice="Plug it in.")

    booth.open = missing
    with pytest.raises(CameraMissingError):
        examined(booth)


# On a terminal


def lines_of(live):
    return [line for line in re.split(r"\r\x1b\[K|\n", live.getvalue()) if line]


def test_the_live_line_guides_from_far_to_fine_and_then_ends():
    live = io.StringIO()
    far, soft = drawn(module_px=2.8), drawn(defocus_px=3)

    found = examined(booth := Booth(*[EMPTY] * 30, *[far] * 30, *[soft] * 30, PHONE), live=live)

    first, *lines = lines_of(live)
    assert "hold a phone with a QR code 15 cm before the camera" in first
    said = [re.sub(r"\d+ frames, (no code).*|  .*", r"\1", line) for line in lines]
    words = [word for word, _ in itertools.groupby(said) if word != "hold still"]
    assert words == ["no code", "closer", "turn the lens", "fine"]
    assert booth.now_s - 100 < LIVE_S / 2
    assert all(len(line) < 80 for line in lines)
    assert found["code size"].ok


def test_the_line_is_written_twice_a_second_until_the_time_is_up():
    live = io.StringIO()

    examined(booth := Booth(EMPTY), live=live)

    assert booth.now_s - 100 == pytest.approx(LIVE_S, abs=0.3)
    assert len(lines_of(live)) == pytest.approx(2 * LIVE_S, abs=3)


def test_ctrl_c_ends_the_session_and_the_findings_come():
    live = io.StringIO()
    booth = Booth(drawn(defocus_px=3), interrupt_at=60)

    found = examined(booth, live=live)

    assert booth.reads == 60
    assert not found["focus"].ok
    assert live.getvalue().endswith("\n")


# The whole command


@pytest.fixture
def config(tmp_path):
    def _config(frame):
        (tmp_path / "kiosk.yaml").write_text(
            "gateway: {url: 'http://127.0.0.1:9'}\noffer: {amount_sum: 1000}\n"
            "journal: {path: j.db}\ncontrol: {socket: c.sock}\npanel: {backend: simulated}\n"
            f"camera: {{backend: replay, path: '{frame}', fps: 10}}\n"
        )
        return [tmp_path / "kiosk.yaml"]

    return _config


def test_the_json_of_the_command_has_each_check_once(config, pytestconfig, capsys):
    frame = pytestconfig.rootpath / "tests/data/frames/easy-01.png"

    assert doctor.examine(config(frame), as_json=True) == 1  # no gateway here

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(list(line) == ["check", "ok", "detail", "advice"] for line in lines)
    checks = [line["check"] for line in lines]
    assert checks[-4:] == ["camera", "focus", "exposure", "code size"]
    assert [line["check"] for line in lines if not line["ok"]] == ["gateway"]


def test_a_camera_that_is_missing_is_a_finding(config, tmp_path, capsys):
    assert doctor.examine(config(tmp_path / "gone.png"), as_json=False) == 1

    out = capsys.readouterr().out
    assert "FAIL  camera: There is no recording" in out
    assert "      -> Set camera.path" in out
