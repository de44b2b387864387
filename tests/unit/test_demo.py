"""The demo, as `make demo` runs it."""

import json
import subprocess
import sys

import pytest

from kiosk import demo
from kiosk.errors import KioskError

CUSTOMERS = {
    "approved": "approved",
    "used-code": "not_accepted",
    "declined": "declined",
    "lost-answer": "unknown, resolved",
    "left": "nothing_charged",
    "gateway-down": "not_sent",
    "after-it-came-back": "approved",
}


def test_every_customer_fares_as_scripted(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kiosk", "demo", "--json", "--keep", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line for line in lines if "customer" in line]
    entries = [line for line in lines if "intent" in line]
    assert done.returncode == 0, (told, done.stderr)
    assert {line["customer"]: line["outcome"] for line in told} == CUSTOMERS
    assert all(line["ok"] for line in told)
    assert all(line["cues"] for line in told)
    assert [entry["outcome"] for entry in entries] == [
        *("approved", "declined", "approved", "not_sent", "approved"),
    ]
    assert "Traceback" not in done.stderr + (tmp_path / "kiosk.log").read_text()


def test_a_kiosk_that_does_not_start_is_said_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_CONFIG", "nonsense: {{url}} {{amount}}\n")
    with pytest.raises(KioskError, match=r"kiosk\.log"):
        demo.run_demo(as_json=True, keep=tmp_path)
    assert "kiosk.yaml" in (tmp_path / "kiosk.log").read_text()
