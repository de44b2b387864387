"""Exit codes and sentences; what the commands do is tested where they live."""

import os
import subprocess
import sys

import pytest

from hardware.errors import HardwareError, PinsError
from kiosk import cli
from kiosk.errors import (
    JournalBusyError,
    JournalDamagedError,
    JournalError,
    KioskError,
    SettingsError,
    UsageError,
)


def fails_with(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("change the call"), 2, "kiosk: change the call\n"),
        (SettingsError(["a:1: x", "a:2: y"]), 2, "kiosk: a:1: x\nkiosk: a:2: y\n"),
        (PinsError("No pins.", advice="Wire them."), 3, "kiosk: No pins."),
        (HardwareError("No camera.", advice="Plug it in."), 1, "kiosk: No camera."),
        (JournalBusyError("in use"), 4, "kiosk: in use\n"),
        (JournalDamagedError("damaged"), 1, "kiosk: damaged\n"),
        (JournalError("there is no journal"), 1, "kiosk: there is no journal\n"),
        (KioskError("other"), 70, "kiosk: other\n"),
        (ZeroDivisionError("secret text"), 70, "kiosk: internal error (ZeroDivisionError"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(error, code, said, monkeypatch, capsys):
    monkeypatch.setattr(cli, "_doctor", fails_with(error))
    monkeypatch.delenv("KIOSK_DEBUG", raising=False)
    assert cli.main(["doctor"]) == code
    stderr = capsys.readouterr().err
    assert stderr.startswith(said)
    assert "secret text" not in stderr
    assert "Traceback" not in stderr


def test_the_debug_flag_lets_it_through(monkeypatch):
    monkeypatch.setattr(cli, "_doctor", fails_with(ZeroDivisionError()))
    monkeypatch.setenv("KIOSK_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


@pytest.mark.parametrize("argv", [[], ["fly"], ["run", "--fast"], ["journal"], ["sandbox", "x"]])
def test_usage(argv, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2
    assert "usage: kiosk" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5", ""])
def test_a_count_is_a_whole_number(number, capsys):
    with pytest.raises(SystemExit):
        cli.main(["record", "there", f"--seconds={number}"])
    assert f"{number!r} is no whole number from 1 on" in capsys.readouterr().err


def test_every_command_has_a_summary(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for command in (
        *("run", "scanner", "demo", "replay", "record", "journal", "check-config"),
        *("doctor", "bench", "sandbox"),
    ):
        assert command in said.split()


def run(*argv, **options):
    return subprocess.run(
        [sys.executable, "-m", "kiosk", *argv],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=False,
        **options,
    )


def test_a_reader_that_left_is_no_mistake(tmp_path):
    config = tmp_path / "kiosk.yaml"
    config.write_text(
        "gateway: {url: 'http://127.0.0.1:9'}\noffer: {amount_sum: 1}\njournal: {path: j.db}\n"
    )
    assert run("journal", "init", "--config", str(config)).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    done = run("journal", "totals", "--config", str(config), stdout=writer)
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_program_starts_as_a_module():
    assert run("--help", stdout=subprocess.DEVNULL).returncode == 0
