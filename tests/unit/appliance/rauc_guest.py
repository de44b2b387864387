"""RAUC on the card, in the machine: a root of its own with the image's files where they belong.

The tree that the machine runs in is the tools' one (trixie, with rauc); this puts the overlay,
/opt/kiosk, /boot/firmware and /data beside it, as the card has them. Called by `card_guest.py`.
"""

import contextlib
import fcntl
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path("/dev/root.d")
BIND, MOVE = 4096, 8192
POLICY = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/>
<allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>
"""


def enter(guest, request):
    """Make the root of a card and go there."""
    guest.mount("tmpfs", ROOT, "tmpfs", "mode=755")
    project = Path(request["project"])
    for folder in ("usr/lib", "etc", "dev", "proc", "sys", "run", "tmp", "var/lib", "data", "boot",
                   "opt/kiosk/.venv/bin", "boot/firmware"):  # fmt: skip
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
    for entry in Path("/usr").iterdir():
        if entry.name != "lib" and entry.is_dir():
            guest.mount(entry, ROOT / "usr" / entry.name, "", flags=BIND)
    for entry in Path("/usr/lib").iterdir():
        if entry.is_symlink() or entry.is_file():
            shutil.copy(entry, ROOT / "usr/lib", follow_symlinks=False)
        else:
            guest.mount(entry, ROOT / "usr/lib" / entry.name, "", flags=BIND)
    for name in ("bin", "sbin", "lib", "lib64"):
        (ROOT / name).symlink_to(f"usr/{name}")
    for name in ("passwd", "group", "ld.so.cache", "nsswitch.conf"):
        shutil.copy(f"/etc/{name}", ROOT / "etc")
    guest.mount(project / "image-build", ROOT / "opt/kiosk/image-build", "", flags=BIND)
    (ROOT / "opt/kiosk/.venv/bin/python").symlink_to("/usr/bin/python3")
    overlay = project / "image-build/overlay"
    shutil.copytree(overlay / "usr/lib/kiosk", ROOT / "usr/lib/kiosk", dirs_exist_ok=True)
    shutil.copytree(overlay / "etc/rauc", ROOT / "etc/rauc")
    conf = ROOT / "etc/rauc/system.conf"
    text = conf.read_text().replace("@VERSION@", request["version"])
    conf.write_text(text.replace("@COMPATIBLE@", "kiosk-arm64-debian"))
    keys = project / "image-build/tests/keys"
    shutil.copy(keys / "ca.pem", ROOT / "etc/rauc/keyring.pem")
    (ROOT / "usr/lib/kiosk/version.json").write_text(json.dumps({"version": request["version"]}))
    (ROOT / "etc/dbus.conf").write_text(
        POLICY.replace(
            "<busconfig>", "<busconfig><type>system</type><listen>unix:path=/run/bus</listen>"
        )
    )
    for what in ("/dev", "/proc", "/sys"):
        guest.mount(what, ROOT / what[1:], "", flags=BIND | 16384)
    shutil.copytree(keys, ROOT / "tmp/keys")
    shutil.copy(project / "image-build/rauc/manifest.raucm.in", ROOT / "tmp")
    os.chroot(ROOT)
    os.chdir("/")
    guest.mount("/dev/ubda1", "/boot/firmware", "vfat", "umask=0077,iocharset=ascii", 1)
    guest.mount("/dev/ubda4", "/data", "ext4")
    Path("/dev/kiosk").mkdir(parents=True)
    for number in (1, 2, 3, 4):
        Path(f"/dev/kiosk/6b696f73-0{number}").symlink_to(f"/dev/ubda{number}")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/bus"


def boot(guest, slot):
    """What the kernel would say of the slot, for RAUC and for the appliance."""
    line = Path("/tmp/cmdline")
    line.write_text(f"quiet rauc.slot={slot}\n")
    with contextlib.suppress(AssertionError):
        guest.umount("/proc/cmdline")
    guest.mount(line, "/proc/cmdline", "", flags=BIND)


def run(*command, check=True, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


@contextlib.contextmanager
def service():
    """The bus and RAUC's service, as they are started on the card."""
    bus = subprocess.Popen(
        ["dbus-daemon", "--config-file=/etc/dbus.conf", "--nofork", "--nopidfile"]
    )
    log = os.open("/tmp/rauc.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    rauc = None
    try:
        until(lambda: Path("/run/bus").exists())
        rauc = subprocess.Popen(
            ["rauc", "--mount=/run/rauc/mnt", "service"], stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        until(lambda: "BootSlot" in run(
            "busctl", "--json=short", "introspect", "de.pengutronix.rauc", "/", check=False
        ).stdout, rauc)  # fmt: skip
        yield rauc
    finally:
        for process in (rauc, bus):
            if process is not None:
                process.terminate()
                process.wait()
        os.close(log)
        Path("/run/bus").unlink(missing_ok=True)


def until(true, process=None):
    end_s = time.monotonic() + 30
    while not true():
        assert process is None or process.poll() is None, Path("/tmp/rauc.log").read_text()[-2000:]
        assert time.monotonic() < end_s, Path("/tmp/rauc.log").read_text()[-2000:]
        time.sleep(0.05)


def bundle(name, root, *, version, compatible="kiosk-arm64-debian", keys="/tmp/keys",
           bundle_format="verity"):  # fmt: skip
    """Pack and sign as the builder does."""
    folder = Path(f"/tmp/bundle-{name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(root, folder / "rootfs.squashfs")
    text = Path("/tmp/manifest.raucm.in").read_text().replace("@COMPATIBLE@", compatible)
    text = text.replace("@VERSION@", version).replace("@BUILD@", "1")
    (folder / "manifest.raucm").write_text(text.replace("format=verity", f"format={bundle_format}"))
    made = Path(f"/tmp/kiosk-{name}-arm64.raucb")
    made.unlink(missing_ok=True)
    run("rauc", "bundle", f"--cert={keys}/cert.pem", f"--key={keys}/key.pem", folder, made)
    return made


def digest(device, length):
    with Path(device).open("rb") as file:
        return hashlib.sha256(file.read(length)).hexdigest()


def tamper(path):
    """Change one bit in the middle of the payload."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def installs(guest, request):
    """Install one bundle after the other; what RAUC says, and what became of the card."""
    enter(guest, request)
    boot(guest, "A")
    from appliance import slots, update

    squashfs = Path("/dev/out/new.squashfs")
    big = Path("/dev/out/big.squashfs")
    for made in (squashfs, big):
        assert made.exists()
    cases = {
        "older": {"version": "0.9.0"},
        "older-candidate": {"version": "1.0.0-rc1"},
        "wrong-key": {"version": "2.0.0", "keys": "/tmp/keys/wrong"},
        "wrong-board": {"version": "2.0.0", "compatible": "kiosk-armhf-debian"},
        "raspios": {"version": "2.0.0", "compatible": "kiosk-arm64-raspios"},
        "plain": {"version": "2.0.0", "bundle_format": "plain"},
        "tampered": {"version": "2.0.0"},
        "big": {"version": "2.0.0"},
        "no-version": {"version": "one"},
        "same": {"version": "1.0.0+test"},
        "good": {"version": "2.0.0"},
    }
    with service():
        for name, options in cases.items():
            made = bundle(name, big if name == "big" else squashfs, **options)
            seen = ""
            if name == "tampered":
                tamper(made)
            with contextlib.suppress(update.UpdateError):
                seen = update.inspect(str(made)).version
            before = digest("/dev/ubda2", None), Path("/boot/firmware/config.txt").read_bytes()
            try:
                said = update.install(str(made), lambda: True)
                done = True
            except update.UpdateError as error:
                said, done = str(error), False
            after = digest("/dev/ubda2", None), Path("/boot/firmware/config.txt").read_bytes()
            now = slots.standing()
            guest.say(
                case=name, done=done, said=said, seen=seen, kept=before == after,
                wanted=bool(seen) and not update.why_not(update.inspect(str(made))),
                to_try=now.to_try, next=slots.next_to_start(), good=slots.is_good("B"),
            )  # fmt: skip
            made.unlink()
        status = run("rauc", "status", "--output-format=json").stdout
        guest.say(status=json.loads(status))
        size = squashfs.stat().st_size
        guest.say(written=digest("/dev/ubda3", size) == digest(squashfs, size))
        boot(guest, "B")
    with service():
        guest.say(standing=str(slots.standing()))
        done = run("rauc", "install", bundle("next", squashfs, version="3.0.0"), check=False)
        guest.say(on_trial=done.returncode, words=done.stdout + done.stderr)
        run("rauc", "status", "mark-good")
        guest.say(permanent=slots.permanent())
        run("rauc", "install", bundle("next", squashfs, version="3.0.0"))
        guest.say(to_try=slots.standing().to_try)
    guest.say(log=Path("/tmp/rauc.log").read_text()[-3000:])


def cuts(guest, request):
    """SIGKILL of the installation at random moments; then one that is left alone."""
    enter(guest, request)
    boot(guest, "A")
    from appliance import slots

    squashfs = Path("/dev/out/new.squashfs")
    made = bundle("good", squashfs, version="2.0.0")
    chance = random.Random(request["seed"])
    fat = Path("/boot/firmware")
    files = [path for path in (fat / "a").rglob("*") if path.is_file()]
    own = ["config.txt", *(path.relative_to(fat) for path in files)]

    def permanent():
        return [digest("/dev/ubda2", None), *(digest(fat / name, None) for name in own)]

    before = permanent()
    with service():
        began_s = time.monotonic()
        run("rauc", "install", made)
        whole_s = time.monotonic() - began_s
    slots.begin_writing("B")
    moments = {}
    for _ in range(request["times"]):
        with service() as rauc:
            install = subprocess.Popen(["rauc", "install", made], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(chance.random() * whole_s * 1.5)
            os.killpg(rauc.pid, signal.SIGKILL)
            rauc.wait()
            install.kill()
            install.wait()
        for mounted in ("/run/rauc/mnt/bundle", "/run/kiosk-slots/root"):
            run("umount", "-l", mounted, check=False)
        assert permanent() == before
        now = slots.standing()
        assert now.permanent == "A"
        assert now.to_try is None or slots.is_good("B")
        state = "to try" if now.to_try else "good" if slots.is_good("B") else "bad"
        moments[state] = moments.get(state, 0) + 1
        if state != "bad":
            size = squashfs.stat().st_size
            assert digest("/dev/ubda3", size) == digest(squashfs, size)
            slots.begin_writing("B")
    with service():
        run("rauc", "install", made)
    guest.say(moments=moments, whole_s=whole_s, to_try=slots.standing().to_try)


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves files by parts, as a stream of RAUC asks for them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        data = Path(f"/tmp{self.path}").read_bytes()
        first, last = 0, len(data) - 1
        if asked := self.headers.get("Range"):
            first, last = (int(n) for n in asked.removeprefix("bytes=").split("-"))
            last = min(last, len(data) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[first : last + 1])

    def log_message(self, *arguments):
        pass


def sources(guest, request):
    """A bundle at an address, and the newest of several on a stick."""
    enter(guest, request)
    boot(guest, "A")
    with Path("/etc/passwd").open("a") as users:
        users.write("kiosk-update:x:990:990::/:/usr/sbin/nologin\n")
    with socket.socket() as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x49)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS
    from appliance import slots, update

    squashfs = Path("/dev/out/new.squashfs")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    stick = Path("/tmp/stick.img")
    stick.write_bytes(b"")
    os.truncate(stick, 40 * 1024 * 1024)
    run("mkfs.vfat", "-F", "32", "-s", "1", stick)
    Path("/tmp/there").mkdir()
    with loop(guest, stick, "/tmp/there", 0):
        for name, options in (
            ("1.5.0", {}), ("2.0.0", {}), ("3.0.0", {"keys": "/tmp/keys/wrong"}),
            ("2.5.0", {"compatible": "kiosk-arm64-raspios"}), ("0.5.0", {}),
        ):  # fmt: skip
            made = bundle(name, squashfs, version=name, **options)
            shutil.copy(made, "/tmp/there")
        Path("/tmp/there/kiosk-noise-arm64.raucb").write_bytes(b"noise" * 999)

    @contextlib.contextmanager
    def mounted(device):
        with loop(guest, device, "/run/kiosk-stick", 1 | 2 | 4 | 8):
            yield Path("/run/kiosk-stick")

    update._mounted_stick = mounted
    update.sticks = lambda system: [stick]
    with service():
        seen = update.check_url(f"{url}/kiosk-2.0.0-arm64.raucb")
        guest.say(at_url=seen.version)
        guest.say(old=update.check_url(f"{url}/kiosk-0.5.0-arm64.raucb"))
        for bad in (f"{url}/kiosk-3.0.0-arm64.raucb", "http://127.0.0.1:1/none.raucb"):
            try:
                update.check_url(bad)
            except update.UpdateError as error:
                guest.say(refused=str(error))
        guest.say(streamed=update.install(seen.source, lambda: True))
        size = squashfs.stat().st_size
        guest.say(same=digest("/dev/ubda3", size) == digest(squashfs, size))
        with update.on_sticks() as (found, passed_over):
            guest.say(
                on_stick=found.version,
                mounts=run("findmnt", "-no", "OPTIONS", "/run/kiosk-stick").stdout,
            )
            guest.say(installed=update.install(found.source, lambda: True))
        slots.refuse("B", "2.0.0", "it does not sell")
        with update.on_sticks() as (found, passed_over):
            guest.say(next_best=found.version)
        slots.refuse("B", "1.5.0", "neither does it")
        with update.on_sticks() as (found, passed_over):
            guest.say(none_left=found, passed_over=passed_over)


@contextlib.contextmanager
def loop(guest, image, where, flags):
    """Mount a file system that is in a file."""
    device = run("losetup", "--find", "--show", image).stdout.strip()
    guest.mount(device, where, "vfat", "umask=0077,iocharset=ascii", flags)
    try:
        yield
    finally:
        # RAUC lets go of a bundle a moment after it said that it is done.
        until(lambda: run("umount", where, check=False).returncode == 0)
        run("losetup", "--detach", device)
