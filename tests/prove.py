"""`make prove`: the long versions of the runs about money, one line of result each.

`python tests/prove.py` runs all, `python tests/prove.py kills power` these. A variable that is set
already is kept, so that a run can be made shorter or longer: `POWER_CUTS=50 make prove`. What each
printed stands in `.prove/`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
LOGS = HERE.parent / ".prove"
RUNS = {
    # name: (what to run, how long)
    "kills": (
        ["crash/test_random_kills.py", "crash/test_named_steps.py", "crash/test_kill_audit.py"],
        {"CRASH_KILLS": "100000"},
    ),
    "calls": (
        ["crash/test_system_calls.py", "crash/test_system_calls_of_a_start.py"],
        {"CRASH_CALLS_ALL": "1"},
    ),
    "states": (
        ["crash/test_crash_states.py"],
        {"CRASH_STATES_RECORDINGS": "20", "CRASH_STATES_RANDOM": "200"},
    ),
    "blocks": (["crash/test_blocks.py"], {"BLOCK_STATES": "10000"}),
    "power": (["crash/test_power_cuts.py"], {"POWER_CUTS": "1000"}),
    "faults": (["integration/test_gateway_faults.py"], {"KIOSK_FAULT_RUNS": "10"}),
    "cuts": (["network/test_cuts.py"], {"KIOSK_CUT_EVERY_BYTE": "1"}),
    "cables": (["network/test_lan.py", "network/test_sequences.py"], {"KIOSK_LAN_RUNS": "20"}),
    "cards": (
        ["integration/test_failing_card.py", "integration/test_log_volume.py"],
        {"CARD_SEND_WITHIN_S": "5", "LOG_FLAPS": "4000"},
    ),
    "strangers": (["fuzz"], {"KIOSK_FUZZ_S": "3600"}),
    "secrets": (
        [
            "integration/test_secrets.py",
            "unit/payment/test_journal_secrets.py",
            "unit/test_crashes.py",
        ],
        {},
    ),
    "rules": (["unit/core"], {"HYPOTHESIS_PROFILE": "deep"}),
}


def prove(name):
    """Run one; print its line; tell whether all was as it must be."""
    paths, wanted = RUNS[name]
    began_s = time.monotonic()
    with (
        tempfile.NamedTemporaryFile() as figures,
        (LOGS / f"{name}.log").open("wb") as log,
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *(str(HERE / path) for path in paths)],
            env={**wanted, **os.environ, "KIOSK_NO_SKIPS": "1", "KIOSK_FIGURES": figures.name},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
        found = sorted(Path(figures.name).read_text(encoding="utf-8").splitlines())
    verdict = "as it must be" if ended.returncode == 0 else f"FAILED, see {log.name}"
    took_s = time.monotonic() - began_s
    print(f"{name}: {verdict}, {took_s:.0f} s. {'; '.join(found)}", flush=True)
    return ended.returncode == 0


def main(names):
    """All of `RUNS`, or the ones named."""
    if unknown := [name for name in names if name not in RUNS]:
        sys.exit(f"there is no run {unknown[0]}; there are: {', '.join(RUNS)}")
    LOGS.mkdir(exist_ok=True)
    results = [prove(name) for name in names or RUNS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
