"""What strangers can say to the kiosk: any bytes, for a while, judged by rules of their own.

KIOSK_FUZZ_S: seconds for each target in all (60). KIOSK_FUZZ_SEED: other inputs.
"""

import base64
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from tools import figure, need

TARGETS = {
    "payload_check": "a code is twenty ASCII digits out of a whole QR Code and nothing else",
    "gateway_answer": "approved and declined follow from the answer by the letter",
    "settings_text": "settings that mean the same to every reader, or findings",
    "control_bytes": "every line is answered, none charges anything, none is too long",
    "scanner_bytes": "only a code that matches starts a payment, the rest ends a connection",
}
# Written out: to import a target is to set up its kiosk.
FAULTS = {
    "payload_check": [
        "takes the digits of every script",
        "overlooks a newline at the end",
        "takes a part of a structured append",
    ],
    "gateway_answer": [
        'takes "true" for true',
        "lets the last of two equal keys win",
        "mends a body that was cut",
        "believes every HTTP status",
    ],
    "settings_text": [
        "obeys an alias",
        "guesses what `no` and `010` mean",
        "quotes a value of any length",
        "looks into any depth",
    ],
    "control_bytes": [
        "has no limit for a line",
        "dies of a line that is no command",
        "takes anything for a press",
        "repeats a label of any length",
    ],
    "scanner_bytes": [
        "takes twenty of twenty-one digits",
        "takes a part of a structured append",
        "dies of JSON that is no message",
        "repeats a detail of any length",
        "waits for the end of any line",
    ],
}
# Atheris makes no input that is long enough for a line without a limit.
GUIDED = [(name, faults[name == "control_bytes"]) for name, faults in FAULTS.items()]
CONTROLS = [(name, fault) for name, faults in FAULTS.items() for fault in faults]
SECONDS = float(os.environ.get("KIOSK_FUZZ_S", "60"))
SEED = int(os.environ.get("KIOSK_FUZZ_SEED", "1"))
MOST_TRIES_OF_A_CONTROL = 5_000
FEW = 100
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
NO_ATHERIS = "no atheris here: pip install atheris; all the time goes to hypothesis"
# There are wheels of atheris for Linux on x86-64 only.
ENGINES = ["hypothesis", *(["atheris"] if platform.machine() == "x86_64" else [])]


def run(tmp_path, name, engine, *options, limit_s):
    """What the engine reports; a process that reports nothing is a finding itself."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    engine_file = Path(__file__).parent / "engine.py"
    ended = subprocess.run(
        [sys.executable, engine_file, name, f"--engine={engine}", f"--folder={tmp_path}", *options],
        env={**env, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit_s,
        check=False,
    )
    report = tmp_path / "report.json"
    assert report.exists(), f"exit {ended.returncode}:\n{ended.stderr.decode()[-3000:]}"
    return json.loads(report.read_text(encoding="utf-8"))


def shown(found):
    data = base64.b64decode(found["input"])
    return f"after {found['tries']} tries, {len(data)} bytes {data[:500]!r}:\n{found['error']}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_the_promise(tmp_path, name, engine):
    if engine == "atheris":
        need(HAS_ATHERIS, NO_ATHERIS)
    seconds = SECONDS / 2 if HAS_ATHERIS else SECONDS

    report = run(
        tmp_path, name, engine, f"--seconds={seconds}", f"--seed={SEED}", limit_s=seconds + 300
    )

    assert report["found"] is None, shown(report["found"])
    assert report["tries"] > FEW, "it tried little more than the seeds"
    figure(
        f"fuzz {name}, {engine}: {report['tries']} inputs in {seconds:.0f} s, "
        f"{report['mb']} MB at most; nothing found ({TARGETS[name]})"
    )


@pytest.mark.parametrize(("name", "fault"), CONTROLS)
def test_the_same_run_finds_a_planted_fault(tmp_path, name, fault):
    # Without the seeds, some of which are made for this very fault.
    options = (f"--tries={MOST_TRIES_OF_A_CONTROL}", "--seed=1", "--no-seeds")

    found = run(tmp_path, name, "hypothesis", f"--fault={fault}", *options, limit_s=600)["found"]

    assert found is not None, f"{MOST_TRIES_OF_A_CONTROL} tries did not find: {fault}"
    figure(f"fuzz {name}, control: a kiosk that {fault} is found after {found['tries']} tries")


@pytest.mark.parametrize(
    ("name", "fault"),
    GUIDED if "atheris" in ENGINES else [],
)
def test_the_guided_run_finds_a_planted_fault(tmp_path, name, fault):
    need(HAS_ATHERIS, NO_ATHERIS)
    # The seeds are its corpus; tried before it begins, they would find the fault without it.
    options = (f"--tries={MOST_TRIES_OF_A_CONTROL}", "--seed=1", "--no-seeds")

    found = run(tmp_path, name, "atheris", f"--fault={fault}", *options, limit_s=600)["found"]

    assert found is not None, f"{MOST_TRIES_OF_A_CONTROL} tries did not find: {fault}"
    figure(f"fuzz {name}, control, atheris: {fault}: found after {found['tries']} tries")
