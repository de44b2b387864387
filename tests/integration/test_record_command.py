"""`kiosk record` as a process: recorded frames before its camera, signals, a disk that is full."""

import json
import resource
import signal
import subprocess
import sys
import time

import cv2
import pytest

from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene

WAIT_S = 60
CODE, TEST_CODE = "50501234567890123456", "https://example.org/a-test-code"


@pytest.fixture
def kiosk(tmp_path):
    """Starts the command with a camera that shows a folder again and again."""
    frames, config = tmp_path / "frames", tmp_path / "kiosk.yaml"
    frames.mkdir()
    config.write_text(
        "gateway: {url: 'http://127.0.0.1:9'}\noffer: {amount_sum: 1000}\n"
        f"camera: {{backend: replay, path: '{frames}', fps: 15}}\n"
    )
    started = []

    def start(*argv, payload=TEST_CODE, **options):
        if payload:
            luma = render(Scene(phones=(Phone(payload=payload),), noise=0.2), 1)
            assert cv2.imwrite(str(frames / "phone.png"), luma)
        command = [sys.executable, "-m", "kiosk", *argv, "--config", str(config)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, encoding="utf-8", **pipes, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process):
    out, err = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def until_report_has(folder, lines):
    deadline_s = time.monotonic() + WAIT_S
    report = folder / "scan.jsonl"
    while not report.exists() or report.read_bytes().count(b"\n") < lines:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def whole(folder):
    """The lines about frames; each names a picture that is there and whole, or none."""
    _, *lines = map(json.loads, (folder / "scan.jsonl").read_text().splitlines())
    named = {line["file"] for line in lines} - {None}
    assert named == {path.name for path in folder.glob("*.png")}
    assert all(cv2.imread(str(folder / name)) is not None for name in named)
    return lines


def test_what_was_recorded_is_replayed(kiosk, tmp_path):
    folder = tmp_path / "recording"

    code, out, _ = ended(kiosk("record", str(folder), "--seconds", "1"))

    assert code == 0
    assert "To make a fixture" in out
    assert all(line["symbols"][0]["stage"] == "fast" for line in whole(folder))
    names = sorted(path.name for path in folder.glob("*.png"))
    for name in names:
        (folder / name).with_suffix(".txt").write_text(f"{TEST_CODE}\n")
    code, out, _ = ended(kiosk("replay", str(folder), "--json"))
    assert code == 0
    assert json.loads(out.splitlines()[-1])["summary"]["read"] == len(names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(kiosk, tmp_path, number):
    process = kiosk("record", str(tmp_path / "recording"), "--seconds", "600")
    until_report_has(tmp_path / "recording", 5)

    process.send_signal(number)

    code, out, _ = ended(process)
    assert code == 0
    assert "frames saved" in out
    assert len(whole(tmp_path / "recording")) >= 5


def test_a_payment_code_is_kept_out_of_pictures_report_and_words(kiosk, tmp_path):
    folder = tmp_path / "recording"

    code, out, err = ended(kiosk("record", str(folder), "--seconds", "1", payload=CODE))

    assert code == 1
    assert "showed a payment code" in out
    assert CODE not in out + err + (folder / "scan.jsonl").read_text()
    assert whole(folder)
    assert not list(folder.glob("*.png"))


def test_a_code_that_has_been_used_up_is_kept_when_that_is_said(kiosk, tmp_path):
    folder = tmp_path / "recording"

    code, out, _ = ended(
        kiosk("record", str(folder), "--seconds", "1", "--with-codes", "--json", payload=CODE)
    )

    assert code == 0
    assert json.loads(out)["saved"] == len(whole(folder)) > 5
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_disk_that_takes_no_more_is_told_in_a_sentence(kiosk, tmp_path, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)
    folder = tmp_path / "recording"
    process = kiosk("record", str(folder), "--seconds", "600", "--with-codes")
    until_report_has(folder, 5)

    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))

    code, out, err = ended(process)
    assert code == 1
    assert "ended early" in out + err
    assert len(whole(folder)) >= 4


def test_a_folder_in_use_and_a_camera_without_frames(kiosk, tmp_path):
    code, _, err = ended(kiosk("record", str(tmp_path), "--seconds", "1"))
    assert code == 2
    assert err == f"kiosk: {tmp_path} is not empty. Name a new folder, or an empty one.\n"

    (tmp_path / "frames/phone.png").unlink()
    process = kiosk("record", str(tmp_path / "recording"), "--seconds", "1", payload=None)
    code, out, _ = ended(process)
    assert code == 1
    assert "No frame came from replay" in out
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize("seconds", ["0", "-3", "soon"])
def test_seconds_that_make_no_sense_are_a_wrong_call(kiosk, tmp_path, seconds):
    code, _, err = ended(kiosk("record", str(tmp_path / "recording"), "--seconds", seconds))

    assert code == 2
    assert "--seconds" in err
