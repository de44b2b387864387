"""Codes, phone numbers and tokens stay where they belong. Every other run checks its log too."""

import os
import pty
import signal
import time
from pathlib import Path

from kiosk_process import CANARY_TOKEN, a_code, leaks_in

from kiosk.messages import Acknowledge
from kiosk.sandbox.gateway import SandboxGateway

FAULTS = ("hang-up-charged", "json-none", "string-error", "error-103", "truncated-body")


def what_ps_shows(pid):
    """Command line and name of a process and of its children, as anybody may read them."""
    shown = ""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "status").read_text()
                mine = folder.name == str(pid) or f"PPid:\t{pid}\n" in status
                if mine:
                    shown += (folder / "cmdline").read_bytes().decode("utf-8", "replace")
                    shown += status
                    for thread in (folder / "task").iterdir():
                        shown += (thread / "comm").read_text()
            except OSError:
                continue
    return shown


def test_no_secret_in_logs_states_process_lists_or_reports(kiosk_at):
    poor = a_code()
    with SandboxGateway(decline=frozenset({poor})) as gateway:
        kiosk = kiosk_at(
            gateway.url,
            confirm={"mode": "automatic"},
            log={"level": "debug"},
            limits={"unknown_pause_s": 0, "max_unresolved": 100},
        ).start()
        kiosk.pay(poor)
        code = a_code()
        kiosk.pay(code)
        shown = what_ps_shows(kiosk.process.pid)
        for fault in FAULTS:
            kiosk.ready()
            gateway.set_fault(fault, times=1)
            kiosk.pay(a_code())
            shown += what_ps_shows(kiosk.process.pid)
            kiosk.control.command(Acknowledge())
        gateway.set_fault(None)
        assert gateway.ledger.requests[0].headers["x-api-key"] == CANARY_TOKEN  # it was sent

        assert leaks_in(shown) == []
        assert leaks_in(kiosk.stderr + "".join(kiosk.control.raw)) == []
        intents = [entry["intent"] for entry in kiosk.as_json("journal", "list")]
        for command in (
            ("journal", "list"),
            ("journal", "list", "--json"),
            ("journal", "export"),
            ("journal", "export", "--format", "json"),
            ("journal", "unresolved"),
            ("journal", "totals"),
            ("check-config",),
            ("check-config", "--json"),
            *(("journal", "show", intent) for intent in intents[:3]),
        ):
            done = kiosk.run(*command)
            assert leaks_in(done.stdout + done.stderr) == [], command
        assert f"{code[:4]}…{code[-4:]}" in kiosk.run("journal", "export").stdout
        mode = kiosk.journal_path.stat().st_mode & 0o777
        assert mode == 0o600  # whole codes are in there


def test_a_configuration_that_is_wrong_is_not_quoted_with_its_token(kiosk_at):
    kiosk = kiosk_at("http://127.0.0.1:9", gateway={"headers": {"X-Api-Key": [CANARY_TOKEN]}})
    done = kiosk.run("run", "--no-scanner")
    assert done.returncode == 2
    assert leaks_in(done.stderr) == []


def test_on_a_terminal_press_and_enter_presses(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url)
    ours, theirs = pty.openpty()
    try:
        kiosk.start(stdin=theirs)
        os.close(theirs)
        kiosk.read(a_code())
        time.sleep(0.75)
        os.write(ours, b"nonsense\npress\n")
        assert kiosk.control.wait("concluded").outcome == "approved"
        assert kiosk.stop(signal.SIGINT) == 0
    finally:
        os.close(ours)
