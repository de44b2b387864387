"""`kiosk bench`: prints the figures of the payment path, side by side with the usual way."""

import json
import statistics
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from kiosk.bench.payments import Paid, pay
from kiosk.bench.processes import start_kiosk

STARTS = 5


def run_bench(payments: int, *, as_json: bool) -> int:
    """Measure and print.

    Args:
        payments: How many for each way of paying.
        as_json: One object a line, `{figure, bar, measured, unit}`.
    """
    tls = find_spec("trustme") is not None
    # Not /tmp, which may be memory: the journal's fsync must reach a disk.
    with tempfile.TemporaryDirectory(prefix=".kiosk-bench-", dir=Path.cwd()) as name:
        ours = pay(_folder(name, "warm"), payments, tls=tls, warm=True)
        usual = pay(_folder(name, "cold"), payments, tls=tls, warm=False)
    started = start_kiosk(STARTS)
    what = "TLS 1.3" if tls else "plain HTTP (trustme is missing)"
    for figure, bar, measured, unit in _figures(ours, usual, started, payments, what):
        if as_json:
            line = {"figure": figure, "bar": bar, "measured": measured, "unit": unit}
            print(json.dumps(line), flush=True)
        else:
            print(f"{figure:<58}{measured:>10} {unit:<3}  {bar}", flush=True)
    return 0


def _folder(base: str, name: str) -> Path:
    folder = Path(base) / name
    folder.mkdir()
    return folder


def _figures(
    ours: Paid, usual: Paid, started: dict[str, object], payments: int, what: str
) -> list[tuple[str, str, object, str]]:
    ready = _numbers(started["ready_s"])
    return [
        (f"press to first request byte, {what}, p50", "<= 5", _at(ours.to_request_ms, 50), "ms"),
        (f"press to first request byte, {what}, p99", "<= 20", _at(ours.to_request_ms, 99), "ms"),
        ("  the usual way (connect after the press), p50", "", _at(usual.to_request_ms, 50), "ms"),
        ("  the usual way, p99", "", _at(usual.to_request_ms, 99), "ms"),
        ("press to cue, sandbox's answer included, p50", "", _at(ours.to_cue_ms, 50), "ms"),
        ("press to cue, p99", "", _at(ours.to_cue_ms, 99), "ms"),
        (
            "written to the device for each payment",
            "<= 64",
            round(ours.written_bytes / payments / 1024, 1),
            "KB",
        ),
        ("kiosk run, exec to ready, median", "<= 1.0", round(statistics.median(ready), 2), "s"),
        ("kiosk run, exec to ready, slowest", "", round(max(ready), 2), "s"),
        ("payment process, memory (RSS)", "<= 45", _most(started["payment_rss_mb"]), "MB"),
        ("scanner process, memory (RSS)", "<= 90", _most(started["scanner_rss_mb"]), "MB"),
        ("numpy, cv2, decoders in the payment process", "none", started["foreign"] or "none", ""),
    ]


def _numbers(values: object) -> list[float]:
    assert isinstance(values, list)
    return [float(value) for value in values]


def _most(values: object) -> float:
    return round(max(_numbers(values)), 1)


def _at(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)
