"""A payment process that is killed leaves no scanner behind, not even one that hangs."""

import os
import signal
from pathlib import Path

import pytest

from tests.integration.test_scanner_and_payment import Stage, is_gone, scanner_pid

LEFT_ALONE = """
import sys
if "scanner" in sys.argv:
    from kiosk.scanner import link
    link.die_with_parent = lambda: None
"""


@pytest.fixture
def hung_scanner(kiosk_at, gateway, plant):
    """The process id of a scanner that answers nobody, and its parent's end."""

    def of(*, planted=""):
        kiosk = kiosk_at(gateway.url, own_scanner=True)
        Stage(kiosk.folder / "stage")
        kiosk.start(env=plant(planted)).ready()
        pid = scanner_pid(kiosk)
        os.kill(pid, signal.SIGSTOP)
        kiosk.send_signal(signal.SIGKILL)
        kiosk.process.wait()
        return pid

    return of


def test_a_hung_scanner_goes_with_the_process_that_started_it(hung_scanner):
    assert is_gone(hung_scanner())


def test_control_without_the_kernels_help_it_would_stay(hung_scanner):
    pid = hung_scanner(planted=LEFT_ALONE)

    # Stopped, it cannot notice by itself; `close` of the harness ends it.
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    assert stat.rpartition(") ")[2].startswith("T")
