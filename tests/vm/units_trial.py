"""In the guest, as root: installs the units as the README does, and puts them through it.

Started by `units.py`; Debian's Python, standard library only. Prints a line for each promise
that held; the first that does not hold ends it.
"""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/opt/kiosk/image-build/systemd")
FRAMES = Path("/srv/frames")
STAGE = Path("/srv/stage")
PAYMENT, SCANNER = "kiosk", "kiosk-scanner"
GENEROUS_S = 300
SANDBOX = """[Service]
ExecStart=/opt/kiosk/.venv/bin/kiosk sandbox --port 8787
DynamicUser=yes
"""
SETTINGS = """gateway:
  url: http://127.0.0.1:8787
  headers:
    X-Api-Key: canary-token
offer:
  amount_sum: 1000
"""
BOARD = """panel:
  backend: simulated
  press_after_s: 0.9
camera:
  backend: {camera}
"""

# Runs in the scanner when told to: a leak, and what a stranger who took it over might try.
PLANT = r"""
import ctypes, json, mmap, os, socket, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def connect(family, where):
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(where)

def payment():
    return int(open("/srv/payment.pid").read())

def others():
    if sum(name.isdigit() for name in os.listdir("/proc")) < 2:
        raise PermissionError("only itself")

ACTS = {
    "see other processes": others,
    "read the settings with the box's keys": lambda: open("/etc/kiosk/kiosk.yaml").read(),
    "read the journal": lambda: open("/var/lib/kiosk/journal.db", "rb").read(1),
    "talk to the control socket": lambda: connect(socket.AF_UNIX, "/run/kiosk/control.sock"),
    "talk to the box": lambda: connect(socket.AF_INET, ("127.0.0.1", 8787)),
    "listen to the kernel": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "write into /etc": lambda: open("/etc/planted", "w").close(),
    "write into /var/lib": lambda: open("/var/lib/planted", "w").close(),
    "read the memory of the machine": lambda: open("/dev/mem", "rb").read(1),
    "open another device": lambda: open("/dev/ttyS0", "wb").close(),
    "make code at run time": lambda: mmap.mmap(-1, 4096, prot=7).close(),
    "change an owner": lambda: os.chown("/srv/payment.pid", os.getuid(), -1),
    "go before others": lambda: os.setpriority(os.PRIO_PROCESS, 0, -1),
    "trace the payment process": lambda: must(libc.ptrace(16, payment(), 0, 0)),
    "signal the payment process": lambda: os.kill(payment(), 0),
    "make a name space": lambda: must(libc.unshare(0x10000000)),
}

def try_all():
    found = {}
    for name, act in ACTS.items():
        try:
            act()
            found[name] = ""
        except BaseException as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found

def watch():
    kept = []
    while True:
        time.sleep(0.1)
        if os.path.exists("/srv/leak"):
            kept.append(bytearray(b"x") * 8_000_000)
        if os.path.exists("/srv/act") and not os.path.exists("/run/kiosk-scanner/acts.json"):
            with open("/run/kiosk-scanner/acts", "w") as out:
                json.dump(try_all(), out)
            os.rename("/run/kiosk-scanner/acts", "/run/kiosk-scanner/acts.json")

if sys.argv[1:] == ["control"]:
    print(json.dumps(try_all()))
else:
    threading.Thread(target=watch, daemon=True).start()
"""


def ok(promise):
    print(f"ok: {promise}", flush=True)


def sh(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout.strip()


def told_of(unit, name):
    return sh("systemctl", "show", unit, f"-p{name}", "--value")


def pid_of(unit):
    return int(told_of(unit, "MainPID"))


def until(condition, what):
    end_s = time.monotonic() + GENEROUS_S
    while time.monotonic() < end_s:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    print(sh("journalctl", "-u", PAYMENT, "-u", SCANNER, "-n", "60", "--no-pager", "-o", "cat"))
    raise AssertionError(f"it never came: {what}")


def state():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect("/run/kiosk/control.sock")
        return json.loads(sock.makefile().readline())


def is_ready():
    return state()["state"] == "ready"


def hold_up(name):
    shutil.copyfile(FRAMES / name, STAGE / ".fresh.png")
    (STAGE / ".fresh.png").rename(STAGE / "now.png")


def kinds():
    with sqlite3.connect("file:/var/lib/kiosk/journal.db?mode=ro", uri=True) as db:
        return [kind for (kind,) in db.execute("SELECT kind FROM row ORDER BY seq")]


def pay(number):
    until(is_ready, "ready")
    before = len(kinds())
    hold_up(f"easy-{number:02}.png")
    until(lambda: state()["state"] == "concluded", "concluded")
    assert state()["outcome"] == "approved"
    hold_up("none-01.png")
    assert kinds()[before:] == ["sending", "approved"], kinds()[before:]


def put(path, text, mode=0o644):
    Path(path).write_text(text, encoding="utf-8")
    Path(path).chmod(mode)


def install():
    Path("/etc/sysusers.d").mkdir(exist_ok=True)
    shutil.copy(UNITS / "kiosk.sysusers.conf", "/etc/sysusers.d/kiosk.conf")
    sh("systemd-sysusers")
    for unit in (PAYMENT, SCANNER):
        shutil.copy(UNITS / f"{unit}.service", "/etc/systemd/system/")
    Path("/etc/kiosk").mkdir(exist_ok=True)
    put("/etc/kiosk/kiosk.yaml", SETTINGS, 0o640)
    shutil.chown("/etc/kiosk/kiosk.yaml", "root", "kiosk")
    put("/etc/kiosk/board.yaml", BOARD.format(camera=f"replay\n  path: {STAGE}"))
    STAGE.mkdir(exist_ok=True)
    hold_up("none-01.png")
    Path("/srv/plant").mkdir(exist_ok=True)
    put("/srv/plant/sitecustomize.py", PLANT)
    Path(f"/etc/systemd/system/{SCANNER}.service.d").mkdir()
    drop_in = "[Service]\nEnvironment=PYTHONPATH=/srv/plant\n"
    put(f"/etc/systemd/system/{SCANNER}.service.d/plant.conf", drop_in)
    put("/etc/systemd/system/sandbox.service", SANDBOX)
    sh("systemctl", "daemon-reload")
    both = [f"/etc/systemd/system/{unit}.service" for unit in (PAYMENT, SCANNER)]
    assert sh("systemd-analyze", "verify", *both) == ""
    sh("systemctl", "start", "sandbox")
    sh("systemctl", "enable", "--now", PAYMENT)
    ok(f"installed, started, ready ({told_of(PAYMENT, 'StatusText')})")


def what_each_may_do():
    for unit in (PAYMENT, SCANNER):
        status = Path(f"/proc/{pid_of(unit)}/status").read_text()
        for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status, f"{unit}: {line}"
        [uid] = {line.split()[1] for line in status.splitlines() if line.startswith("Uid:")}
        assert int(uid) == pwd.getpwnam(unit).pw_uid
    ok("each runs as a user of its own, without capabilities, behind a filter of system calls")


def killed():
    payment, scanner = pid_of(PAYMENT), pid_of(SCANNER)
    os.kill(scanner, signal.SIGKILL)
    until(lambda: "scanner_down" in state()["reasons"], "scanner_down")
    until(is_ready, "ready after the scanner was killed")
    assert pid_of(PAYMENT) == payment
    pay(2)
    ok("scanner killed: out of service, back by itself, the payment process the same")
    os.kill(payment, signal.SIGKILL)
    until(lambda: pid_of(PAYMENT) not in (0, payment) and is_ready(), "ready after a kill")
    pay(3)
    ok("payment process killed: back by itself, sells")


def hung():
    for unit in (SCANNER, PAYMENT):
        before = pid_of(unit)
        os.kill(before, signal.SIGSTOP)
        until(lambda unit=unit, before=before: pid_of(unit) not in (0, before), "the watchdog")
        assert sh("journalctl", "-u", unit, "-o", "cat", "-g", "Watchdog timeout")
        until(is_ready, "ready after the watchdog")
        ok(f"{unit} hung: restarted by its watchdog")
    pay(4)


def leaking():
    payment, scanner = pid_of(PAYMENT), pid_of(SCANNER)
    Path("/srv/leak").touch()
    until(lambda: pid_of(SCANNER) not in (0, scanner), "the end of a scanner that leaks")
    Path("/srv/leak").unlink()
    assert sh("journalctl", "-u", SCANNER, "-o", "cat", "-g", "killed by the OOM killer")
    until(is_ready, "ready after the leak")
    assert pid_of(PAYMENT) == payment
    ok("scanner leaked: ended at its own limit, the payment process the same")


def taken_over():
    put("/srv/payment.pid", str(pid_of(PAYMENT)))
    Path("/srv/act").touch()
    told = Path("/run/kiosk-scanner/acts.json")
    until(told.exists, "what a scanner that was taken over could do")
    Path("/srv/act").unlink()
    acts = json.loads(told.read_text())
    for act, refusal in acts.items():
        assert refusal, f"the scanner could {act}"
    plant = "/srv/plant/sitecustomize.py"
    outside = json.loads(sh(sys.executable, plant, "control"))
    refused = [act for act, refusal in outside.items() if refusal]
    assert refused == [], f"the control was refused, so the trial proves nothing: {refused}"
    ok(f"scanner taken over: {len(acts)} of {len(acts)} acts refused (control: as root, none)")


def a_bad_minute():
    kills = 0
    for _ in range(25):
        for unit in (PAYMENT, SCANNER):
            if (pid := pid_of(unit)) != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        time.sleep(1.2)
    until(is_ready, "ready after a bad minute")
    pay(5)
    ok(f"a bad minute, {kills} kills in a row: back by itself, sells")


def a_camera():
    for device in Path("/dev").glob("video*"):  # as udev does where it runs
        shutil.chown(device, "root", "video")
        device.chmod(0o660)
    put("/etc/kiosk/board.yaml", BOARD.format(camera="v4l2\n  device: /dev/video0"))
    sh("systemctl", "restart", PAYMENT)
    until(is_ready, "ready with a V4L2 camera")
    ok("ready with a camera of the kernel, /dev/video0")


def main():
    install()
    pay(1)
    ok("sells: sending, approved")
    what_each_may_do()
    killed()
    hung()
    leaking()
    taken_over()
    a_bad_minute()
    a_camera()
    sh("systemctl", "stop", PAYMENT)
    until(lambda: told_of(SCANNER, "ActiveState") == "inactive", "the end of the scanner")
    assert told_of(PAYMENT, "Result") == told_of(SCANNER, "Result") == "success"
    assert kinds().count("sending") == kinds().count("approved") == 5
    ok("stopped in order, both; 5 payments, each with its rows, none twice")


if __name__ == "__main__":
    main()
