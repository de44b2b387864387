"""Start-up time and memory of the real processes."""

import json
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path

from kiosk.sandbox.gateway import SandboxGateway

_CONFIG = """\
gateway: {{url: "{url}"}}
offer: {{amount_sum: 1000}}
camera: {{backend: replay, path: "{frames}", fps: 30}}
panel: {{backend: simulated}}
control: {{socket: control.sock}}
journal: {{path: journal.db}}
"""
READY_WITHIN_S = 60.0
_FOREIGN = ("numpy", "cv2", "zxingcpp")


def start_kiosk(runs: int) -> dict[str, object]:
    """Start `kiosk run` several times.

    Returns:
        `ready_s` for each run, from exec to the line "ready" (control socket up, scanner said
        hello); `payment_rss_mb` two seconds later, each run; `foreign`: what the payment process
        has loaded and should not.
    """
    ready_s, payment_mb, foreign = [], [], set()
    with SandboxGateway() as gateway:
        for _ in range(runs):
            with tempfile.TemporaryDirectory(prefix="kiosk-bench-") as name:
                config = Path(name) / "kiosk.yaml"
                with resources.as_file(resources.files("kiosk.sandbox") / "frames") as frames:
                    nobody = frames / "nobody.png"
                    text = _CONFIG.format(url=gateway.url, frames=nobody)
                    config.write_text(text, encoding="utf-8")
                    begin_s = time.monotonic()
                    process = subprocess.Popen(  # noqa: S603 - our own program
                        [sys.executable, "-m", "kiosk", "run", "--config", str(config)],
                        stderr=subprocess.PIPE,
                        stdin=subprocess.DEVNULL,
                    )
                    try:
                        _wait_ready(process)
                        ready_s.append(time.monotonic() - begin_s)
                        time.sleep(2.0)
                        payment_mb.append(memory_mb(process.pid)[0])
                        foreign |= _loaded(process.pid)
                    finally:
                        process.terminate()
                        process.communicate(timeout=30)
    return {
        "ready_s": ready_s,
        "payment_rss_mb": payment_mb,
        "foreign": sorted(foreign),
    }


def _wait_ready(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["message"] == "ready":
            return
    raise TimeoutError("the kiosk ended before it was ready")


def memory_mb(pid: int) -> tuple[float, float]:
    """The memory that a process has in RAM now, and the most that it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _loaded(pid: int) -> set[str]:
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {name for name in _FOREIGN if f"/{name}" in maps}
