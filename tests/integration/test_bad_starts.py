"""What is wrong at the start: said in words, with what to do, and never as a traceback."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys

import pytest
from kiosk_process import WAIT_S, ScannerPeer, a_code, configuration
from tools import need

from kiosk.sandbox.gateway import SandboxGateway


def ends(kiosk, code, *words):
    """It does not start: one sentence a line, with this exit code."""
    kiosk.start(follow=False)
    assert kiosk.wait_for_exit() == code, kiosk.stderr
    said = [line for line in kiosk.stderr.splitlines() if line.startswith("kiosk: ")]
    assert said, kiosk.stderr
    for word in words:
        assert any(word in line for line in said), (word, said)


# The journal


def test_a_second_kiosk_on_the_same_journal_is_refused(kiosk, kiosk_at, gateway):
    kiosk.ready()
    path = str(kiosk.journal_path)

    second = kiosk_at(gateway.url, name="second", journal={"path": path})

    ends(second, 4, "is in use by another process")
    assert not (second.folder / "control.sock").exists()
    assert kiosk.pay(a_code()).outcome == "approved"  # the first one never noticed


def test_a_second_kiosk_on_the_same_control_socket_is_refused(kiosk, kiosk_at, gateway):
    kiosk.ready()
    socket = str(kiosk.folder / "control.sock")

    ends(kiosk_at(gateway.url, name="second", control={"socket": socket}), 2, "another process")

    assert kiosk.pay(a_code()).outcome == "approved"


def out_of_service_for(reason, words=""):
    return lambda state: (
        state.state == "out_of_service"
        and state.reasons == [reason]
        and words in state.details[reason]
    )


def sells_nothing(kiosk, gateway):
    kiosk.scanner.show(a_code())
    kiosk.press(after_s=0)
    assert kiosk.control.state.state == "out_of_service"
    assert gateway.ledger.requests == ()
    assert kiosk.stop() == 0


def test_a_damaged_journal(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url)
    content = os.urandom(20_000)
    kiosk.journal_path.write_bytes(content)
    kiosk.start()
    state = kiosk.control.wait(out_of_service_for("journal_damaged"))
    assert "damaged" in state.details["journal_damaged"]
    sells_nothing(kiosk, gateway)
    assert kiosk.journal_path.read_bytes() == content  # untouched: it is evidence


def test_a_journal_damaged_in_the_middle(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.pay(a_code())
    assert kiosk.stop() == 0
    with kiosk.journal_path.open("r+b") as file:
        file.seek(3000)
        file.write(os.urandom(6000))
    kiosk.start()
    kiosk.control.wait(out_of_service_for("journal_damaged"))
    kiosk.scanner.show(a_code())
    assert kiosk.stop() == 0


def test_a_journal_of_a_later_version(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.ready()
    assert kiosk.stop() == 0
    with contextlib.closing(sqlite3.connect(kiosk.journal_path)) as db:
        db.execute("PRAGMA user_version = 2000")
    kiosk.start()
    state = kiosk.control.wait(out_of_service_for("journal_newer"))
    assert "install that version" in state.details["journal_newer"]
    sells_nothing(kiosk, gateway)


def test_a_journal_that_is_gone(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.ready()
    assert kiosk.stop() == 0
    kiosk.journal_path.unlink()
    kiosk.start()
    state = kiosk.control.wait(out_of_service_for("journal_missing"))
    assert "kiosk journal init" in state.details["journal_missing"]
    sells_nothing(kiosk, gateway)
    assert not kiosk.journal_path.exists()

    done = kiosk.run("journal", "init")
    assert done.returncode == 0
    kiosk.start()
    assert kiosk.pay(a_code()).outcome == "approved"


def test_a_journal_that_cannot_be_written_and_then_can(kiosk_at, gateway):
    # Root may write anywhere; a folder that is a file stops even root.
    kiosk = kiosk_at(gateway.url, journal={"path": "data/journal.db"})
    (kiosk.folder / "data").write_text("in the way")
    kiosk.start()
    state = kiosk.control.wait(out_of_service_for("journal_unwritable"))
    assert "needs to write in this folder" in state.details["journal_unwritable"]
    kiosk.scanner.show(a_code())

    (kiosk.folder / "data").unlink()
    assert kiosk.pay(a_code()).outcome == "approved"


def test_a_journal_on_a_read_only_disk(kiosk_at, gateway):
    need(os.getuid() == 0, "remounting read-only needs root")
    kiosk = kiosk_at(gateway.url, journal={"path": "disk/journal.db"})
    (kiosk.folder / "disk").mkdir()
    mount = 'mount -t tmpfs -o size=4m none "$0" && mount -o remount,ro "$0" && exec "$@"'
    kiosk.command = ["unshare", "-m", "sh", "-c", mount, str(kiosk.folder / "disk")]
    probe = subprocess.run([*kiosk.command, "true"], capture_output=True, check=False)
    need(probe.returncode == 0, "this root may not mount")
    kiosk.start()
    state = kiosk.control.wait(out_of_service_for("journal_unwritable"))
    assert "Read-only file system" in state.details["journal_unwritable"]
    assert kiosk.stop() == 0


# The gateway


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://127.0.0.1:9", "refused: is the box on"),
        ("http://no-such-host.invalid", "this name is unknown: check gateway.url"),
    ],
)
def test_a_gateway_that_is_not_there(url, advice, kiosk_at):
    kiosk = kiosk_at(url).start()
    kiosk.control.wait(out_of_service_for("gateway_unreachable", advice))
    assert kiosk.stop() == 0


def test_a_gateway_that_comes_back(kiosk_at, gateway):
    gateway.set_fault("down")
    kiosk = kiosk_at(gateway.url).start()
    kiosk.control.wait(out_of_service_for("gateway_unreachable"))
    gateway.set_fault(None)
    assert kiosk.pay(a_code()).outcome == "approved"


@pytest.mark.parametrize("fault", ["not-initialised", "subscription-expired"])
def test_a_gateway_that_is_not_ready(fault, kiosk_at, gateway):
    gateway.set_fault(fault)
    kiosk = kiosk_at(gateway.url).start()
    kiosk.control.wait(out_of_service_for("gateway_not_ready"))
    gateway.set_fault(None)
    kiosk.ready()


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("not-yet-valid", "check the clock"),
        ("expired", "check the clock"),
        ("unknown-ca", "gateway.ca_file"),
        ("wrong-host", "gateway.url"),
    ],
)
def test_certificates_and_the_clock(fault, advice, kiosk_at):
    with SandboxGateway(tls=fault) as gateway:
        kiosk = kiosk_at(gateway.url, gateway={"ca_file": str(gateway.ca_file)}).start()
        kiosk.control.wait(out_of_service_for("gateway_unreachable", advice))
        assert kiosk.stop() == 0


def test_a_payment_over_tls_with_a_client_certificate(kiosk_at):
    with SandboxGateway(tls="mutual") as gateway:
        files = {
            name: str(getattr(gateway, name))
            for name in ("ca_file", "client_cert_file", "client_key_file")
        }
        kiosk = kiosk_at(gateway.url, gateway=files).start()
        assert kiosk.pay(a_code()).outcome == "approved"


def test_a_ca_file_that_is_not_there(kiosk_at):
    kiosk = kiosk_at("https://127.0.0.1:9", gateway={"ca_file": "no-such.pem"})
    ends(kiosk, 2, "gateway.ca_file", "no-such.pem")


# Pins, configuration, sockets


def test_pins_that_are_not_there(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url, panel={"backend": "gpio"})
    ends(kiosk, 3)
    assert not (kiosk.folder / "control.sock").exists()


def test_a_mistake_in_the_configuration(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url, confirm={"timeout": 5})
    ends(kiosk, 2, "kiosk.yaml:", "confirm.timeout", "timeout_s")
    kiosk.config.write_text("gateway: {url: [")
    kiosk.stderr = ""
    ends(kiosk, 2, "kiosk.yaml:")
    kiosk.config.unlink()
    kiosk.stderr = ""
    ends(kiosk, 2, "kiosk.yaml")


def test_a_control_socket_that_cannot_be_made(kiosk_at, gateway, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    for name, path in [
        ("in-a-file", blocked / "control.sock"),
        ("a-file", blocked),
        ("long", tmp_path / ("x" * 120)),
    ]:
        kiosk = kiosk_at(gateway.url, name=name, control={"socket": str(path)})
        ends(kiosk, 2, "control.socket")
    assert blocked.read_text() == ""


def test_a_dead_control_socket_is_replaced_and_has_its_mode(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url).start()
    kiosk.ready()
    kiosk.kill()
    path = kiosk.folder / "control.sock"
    assert path.is_socket()
    kiosk.start()
    kiosk.ready()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert kiosk.stop() == 0
    assert not path.exists()


def test_no_scanner_is_a_reason_and_not_an_end(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url)
    kiosk.scanner.close()
    kiosk.start()
    state = kiosk.control.wait(
        lambda s: set(s.reasons) == {"scanner_down", "camera_down"} and "no scanner" in str(s)
    )
    assert "scanner.sock" in state.details["scanner_down"]
    kiosk.scanner = ScannerPeer(kiosk.folder / "scanner.sock")
    kiosk.ready()


# The debug flag


@pytest.mark.parametrize("debug", [False, True])
def test_a_mistake_of_ours_is_one_sentence_unless_asked(debug, tmp_path, gateway):
    config = tmp_path / "kiosk.yaml"
    config.write_text(str(configuration(tmp_path, gateway.url)).replace("'", '"'))
    broken = "import kiosk.wiring; kiosk.wiring.policy_of = None; import kiosk.__main__"
    done = subprocess.run(
        [sys.executable, "-c", broken, "run", "--no-scanner", "--config", str(config)],
        env={**os.environ, "KIOSK_DEBUG": "1" if debug else ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=WAIT_S,
        check=False,
    )
    if debug:
        assert "Traceback" in done.stderr
        assert done.returncode == 1
    else:
        assert "Traceback" not in done.stderr
        assert "kiosk: internal error (TypeError" in done.stderr
        assert done.returncode == 70
    assert not (tmp_path / "control.sock").exists()
