"""`kiosk run` as it is: its own scanner as a child, recorded frames, the sandbox over HTTP.

KIOSK_ALL_FRAMES=1 pays with every readable frame; the ordinary run with one of each kind.
"""

import itertools
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from kiosk_process import WAIT_S

FRAMES = Path(__file__).parents[1] / "data" / "frames"
NOBODY = FRAMES / "none-01.png"


def payloads_of(frame):
    return frame.with_suffix(".txt").read_text("utf-8").split()


def is_one_code(frame):
    found = payloads_of(frame)
    return len(found) == 1 and len(found[0]) == 20 and found[0].isascii()


def one_of_each_kind(frames):
    return list({frame.stem.rsplit("-", 1)[0]: frame for frame in frames}.values())


READABLE = sorted(frame for frame in FRAMES.glob("*.png") if is_one_code(frame))
PAID = READABLE if os.environ.get("KIOSK_ALL_FRAMES") else one_of_each_kind(READABLE)
KIOSKS = 4


class Stage:
    """What is before the camera: one frame, exchanged in one step."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.hold_up(NOBODY)

    def hold_up(self, frame):
        fresh = self.folder.with_name("fresh.png")
        shutil.copyfile(frame, fresh)
        fresh.replace(self.folder / "now.png")


@pytest.fixture
def whole_kiosk(kiosk_at, gateway):
    def make(**sections):
        kiosk = kiosk_at(gateway.url, own_scanner=True, **sections)
        kiosk.stage = Stage(kiosk.folder / "stage")
        return kiosk.start()

    return make


def scanner_pid(kiosk, lives=1):
    """Of the newest scanner, once so many were started."""
    until_s = time.monotonic() + WAIT_S
    while True:
        started = [line for line in kiosk.stderr.splitlines() if '"scanner started"' in line]
        if len(started) >= lives:
            return int(started[-1].partition('"pid": ')[2].strip(" }"))
        assert time.monotonic() < until_s, kiosk.stderr
        time.sleep(0.02)


def is_gone(pid):
    until_s = time.monotonic() + WAIT_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


# Frames


def test_each_readable_frame_is_paid_once(whole_kiosk, gateway):
    """Several kiosks beside each other: the cue of an approved payment takes its time."""
    kiosks = [whole_kiosk(name=f"kiosk-{n}", confirm={"mode": "automatic"}) for n in range(KIOSKS)]
    queues = [PAID[n::KIOSKS] for n in range(KIOSKS)]
    for customers in itertools.zip_longest(*queues):
        for kiosk, frame in zip(kiosks, customers, strict=True):
            if frame is not None:
                kiosk.ready()
                kiosk.stage.hold_up(frame)
        for kiosk, frame in zip(kiosks, customers, strict=True):
            if frame is not None:
                assert kiosk.control.wait("concluded").outcome == "approved", frame.name
                kiosk.stage.hold_up(NOBODY)
    expected = [payload for frame in PAID for payload in payloads_of(frame)]
    assert sorted(charge.qr_code for charge in gateway.ledger.charges) == sorted(expected)
    assert len(gateway.ledger.requests) == len(PAID)
    for kiosk, frames in zip(kiosks, queues, strict=True):
        assert kiosk.stop() == 0
        assert kiosk.kinds() == ["sending", "approved"] * len(frames)


def test_frames_that_are_no_code_of_ours(whole_kiosk, gateway):
    kiosk = whole_kiosk(confirm={"mode": "automatic"})
    for name in (
        *("url-01", "arabic-indic-01", "microqr-01", "structured-append-01"),
        *("structured-append-02", "digits-19-01", "digits-21-01", "two-codes-01", "two-codes-02"),
        *("aztec-01", "ean13-01"),
    ):
        kiosk.ready()
        kiosk.stage.hold_up(FRAMES / f"{name}.png")
        kiosk.control.wait(lambda s: s.cue == "not_accepted")
        kiosk.stage.hold_up(NOBODY)
        kiosk.control.wait(lambda s: s.cue == "ready")
    seen = len(kiosk.control.states)
    for name in ("none-01", "none-02", "none-03", "none-04", "none-05"):
        kiosk.stage.hold_up(FRAMES / f"{name}.png")
        time.sleep(0.2)
    assert kiosk.control.cues(since=seen) == []
    assert gateway.ledger.requests == ()
    assert kiosk.rows() == []


def test_a_phone_a_second_presses_by_itself(kiosk_at, gateway):
    """As `config/demo.yaml` has it."""
    kiosk = kiosk_at(gateway.url, own_scanner=True, camera={"fps": 1}, panel={"press_after_s": 0.8})
    stage = kiosk.folder / "stage"
    stage.mkdir()
    for name in ("easy-01", "easy-02", "none-01", "url-01"):
        shutil.copyfile(FRAMES / f"{name}.png", stage / f"{name}.png")
    kiosk.start()
    for _ in range(2):
        assert kiosk.control.wait("concluded").outcome == "approved"
        kiosk.ready()
    assert {charge.qr_code for charge in gateway.ledger.charges} == {
        payload for name in ("easy-01", "easy-02") for payload in payloads_of(FRAMES / f"{name}.x")
    }
    assert kiosk.stop() == 0


# The scanner's troubles


def test_a_scanner_that_dies_is_replaced_and_costs_no_payment(whole_kiosk, gateway):
    kiosk = whole_kiosk()
    kiosk.ready()
    os.kill(scanner_pid(kiosk), signal.SIGKILL)
    state = kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    assert "SIGKILL" in state.details["scanner_down"]
    kiosk.ready()

    kiosk.stage.hold_up(FRAMES / "easy-01.png")
    intent = kiosk.control.wait("awaiting_confirm").intent
    os.kill(scanner_pid(kiosk, lives=2), signal.SIGKILL)
    kiosk.press()
    told = kiosk.control.wait("concluded")
    assert (told.outcome, told.intent) == ("approved", intent)
    kiosk.stage.hold_up(NOBODY)
    kiosk.ready()
    assert kiosk.logged("scanner gone", again_in_s=0.5)
    assert kiosk.logged("scanner gone", again_in_s=1.0)  # it waits longer each time
    assert len(gateway.ledger.requests) == 1


def test_a_scanner_that_hangs_is_killed_and_replaced(whole_kiosk):
    kiosk = whole_kiosk()
    kiosk.ready()
    hung = scanner_pid(kiosk)
    os.kill(hung, signal.SIGSTOP)
    state = kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    assert "does not answer" in state.details["scanner_down"]
    kiosk.stage.hold_up(FRAMES / "easy-02.png")
    kiosk.control.wait("awaiting_confirm")  # the new one reads
    assert is_gone(hung)
    assert kiosk.stop() == 0
    assert is_gone(scanner_pid(kiosk, lives=2))


def test_the_scanner_leaves_no_descriptor_behind(whole_kiosk):
    kiosk = whole_kiosk()
    descriptors = Path(f"/proc/{kiosk.process.pid}/fd")
    counts = []
    for life in (1, 2, 3):
        kiosk.ready()
        counts.append(len(list(descriptors.iterdir())))
        os.kill(scanner_pid(kiosk, lives=life), signal.SIGKILL)
        kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    assert counts[-1] <= counts[0] + 1  # a question to the gateway may be open


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_scanner_outlives_the_kiosk_that_stops(number, whole_kiosk):
    kiosk = whole_kiosk()
    kiosk.ready()
    assert kiosk.stop(number) == 0
    assert is_gone(scanner_pid(kiosk))


def test_a_hung_scanner_does_not_keep_the_kiosk_from_stopping(whole_kiosk):
    kiosk = whole_kiosk()
    kiosk.ready()
    os.kill(scanner_pid(kiosk), signal.SIGSTOP)
    assert kiosk.stop() == 0
    assert is_gone(scanner_pid(kiosk))


def test_no_scanner_outlives_the_kiosk_that_is_killed(whole_kiosk):
    kiosk = whole_kiosk()
    kiosk.ready()
    pid = scanner_pid(kiosk)
    kiosk.process.kill()
    assert is_gone(pid)


def test_a_camera_that_is_away_and_comes_back(whole_kiosk, gateway):
    kiosk = whole_kiosk()
    kiosk.ready()
    away = kiosk.stage.folder.with_name("away")
    kiosk.stage.folder.rename(away)
    state = kiosk.control.wait(lambda s: s.reasons == ["camera_down"])
    assert str(kiosk.stage.folder) in state.details["camera_down"]
    away.rename(kiosk.stage.folder)
    kiosk.ready()
    kiosk.stage.hold_up(FRAMES / "easy-03.png")
    kiosk.control.wait("awaiting_confirm")


# A scanner that was taken over by what it looks at


HOSTILE = [
    b"garbage\n",
    b'{"type":"outcome","approved":true}\n',
    b'{"type":"sighting"}\n',
    b'{"type":"sighting","sequence":1,"captured_at_s":1e999,"symbols":[]}\n',
    b'{"type":"sighting","sequence":1,"captured_at_s":1,"symbols":['
    + b",".join([b'{"payload":"","kind":"qr","stage":"a"}'] * 17)
    + b"]}\n",
    b"[" * 50_000 + b"\n",
    b"x" * 200_000,
    b"\xff\xfe\n",
]


@pytest.mark.parametrize("data", HOSTILE)
def test_what_is_no_message_costs_the_scanner_its_connection(data, kiosk):
    kiosk.ready()
    kiosk.scanner.send_bytes(data)
    kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    kiosk.ready()


def test_symbols_of_every_kind_are_refused_and_nothing_else(kiosk, gateway):
    kiosk.ready()
    for payload in (b"", b"\x00" * 20, b"5" * 4096, "５０５０".encode(), b"5050\n" * 4):
        kiosk.show(payload, lambda s: s.cue == "not_accepted")
        kiosk.control.wait(lambda s: s.cue == "ready")
    kiosk.scanner.show(*(f"no-code-{n}" for n in range(8)))
    kiosk.control.wait(lambda s: s.cue == "not_accepted")
    kiosk.ready()
    assert gateway.ledger.requests == ()


def test_a_scanner_that_falls_silent_is_left_and_asked_again(kiosk):
    kiosk.ready()
    kiosk.scanner.mute()
    kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    kiosk.ready()


def test_a_new_scanner_must_open_its_camera_first(kiosk):
    kiosk.ready()
    kiosk.scanner.next_camera(ok=False, detail="in use by another program")
    kiosk.scanner.hang_up()
    kiosk.control.wait(lambda s: "scanner_down" in s.reasons)
    kiosk.control.wait(
        lambda s: s.reasons == ["camera_down"] and "in use" in s.details["camera_down"]
    )
    assert kiosk.control.cues()[-1] == "out_of_service"
    kiosk.scanner.camera(ok=True)
    kiosk.ready()
