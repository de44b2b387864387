"""What the doctor finds beside the camera, and whom it leaves alone."""

import json
import socket
import threading
from datetime import UTC, datetime

import pytest

from kiosk import doctor
from kiosk.messages import State, encode
from kiosk.payment import clock


@pytest.fixture
def write(tmp_path):
    """Writes a configuration whose camera does not exist, and no gateway answers."""

    def _write(**sections):
        text = {
            "gateway": "{url: 'http://127.0.0.1:9'}",
            "offer": "{amount_sum: 1000}",
            "journal": "{path: j.db}",
            "control": "{socket: c.sock}",
            "panel": "{backend: simulated}",
            "camera": "{backend: replay, path: gone.png}",
        } | sections
        path = tmp_path / "kiosk.yaml"
        path.write_text("".join(f"{name}: {value}\n" for name, value in text.items()))
        return [path]

    return _write


@pytest.fixture
def examined(write, capsys):
    """Runs the command; its findings by check, and the exit code."""

    def _examined(**sections):
        code = doctor.examine(write(**sections), as_json=True)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {line["check"]: line for line in lines}, code

    return _examined


def test_each_check_has_its_say_though_others_fail(examined):
    found, code = examined()

    assert code == 1
    assert list(found) == [
        *("configuration", "clock", "disk", "journal", "gateway", "libzbar"),
        *("pins", "button", "camera"),
    ]
    assert [name for name, line in found.items() if not line["ok"]] == ["gateway", "camera"]
    assert all(line["advice"] for line in found.values() if not line["ok"])


def test_a_configuration_that_does_not_load_is_all_there_is_to_say(examined):
    found, code = examined(offer="{amount_sum: free}")

    assert code == 1
    assert list(found) == ["configuration"]
    assert "offer.amount_sum" in found["configuration"]["detail"]


def test_scan_engines_of_which_none_is_here_are_a_finding(examined, monkeypatch, pytestconfig):
    monkeypatch.setattr("kiosk.scanner.other_engines.PyzbarStage.__init__", _not_installed)
    frame = pytestconfig.rootpath / "tests/data/frames/easy-01.png"

    found, _ = examined(scan="{engines: [pyzbar]}", camera=f"{{backend: replay, path: '{frame}'}}")

    assert not found["camera"]["ok"]
    assert "scan.engines" in found["camera"]["detail"]


def _not_installed(self):
    raise OSError("libzbar")


def test_a_clock_without_network_is_in_the_past(examined, monkeypatch):
    monkeypatch.setattr(clock, "EARLIEST", datetime(2030, 1, 1, tzinfo=UTC))

    found, _ = examined()

    assert not found["clock"]["ok"]
    assert "not set" in found["clock"]["detail"]
    assert "time server" in found["clock"]["advice"]


def test_the_time_of_the_box_stands_beside_the_clocks(examined, gateway):
    found, _ = examined(gateway=f"{{url: '{gateway.url}'}}")

    assert found["clock"]["ok"]
    assert "the box says" in found["clock"]["detail"]
    assert found["clock"]["advice"] == ""


def test_a_disk_with_little_space(examined, monkeypatch):
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 62)

    found, _ = examined()

    assert not found["disk"]["ok"]


def test_a_journal_that_was_there_before_is_missed(examined, tmp_path):
    (tmp_path / "j.db.made").touch()

    found, _ = examined()

    assert not found["journal"]["ok"]
    assert "kiosk journal init" in found["journal"]["advice"]


@pytest.mark.parametrize(
    ("state", "reasons", "ok"), [("ready", [], True), ("out_of_service", ["camera_down"], False)]
)
def test_a_kiosk_that_runs_speaks_for_its_camera_and_pins(examined, tmp_path, state, reasons, ok):
    details = dict.fromkeys(reasons, "Plug the camera in.")
    line = encode(State(state=state, reasons=reasons, details=details, cue="ready"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.sock"))
        server.listen()

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(line)

        thread = threading.Thread(target=answer)
        thread.start()
        found, _ = examined()
        thread.join()

    assert "camera" not in found
    assert "pins" not in found
    assert found["kiosk"]["ok"] is ok
    assert found["kiosk"]["detail"].startswith(f"running: {state}")
    assert found["kiosk"]["advice"] == "; ".join(details.values())
