"""Tries the units under a real systemd, in a virtual machine; see README.md.

    python tests/vm/units.py [--accel tcg] [--timeout-s 1800]

The guest is this machine's own Debian, read-only with a layer in memory above it: systemd is
its first process, and `units_trial.py` does to the kiosk what happens to kiosks. The program
lies in /opt/kiosk as the README installs it, with Debian's Python.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import run

INSTALLED = ("kiosk", "hardware", "config", "image-build", "README.md")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "autofs4", "vivid")
# What this machine starts and the trial does not need, or what would look for hardware.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("console-getty.service", "ldconfig.service", "nftables.service"),
    *("systemd-binfmt.service", "systemd-firstboot.service", "systemd-hwdb-update.service"),
    *("systemd-journal-catalog-update.service", "systemd-journal-flush.service"),
    *("systemd-logind.service", "systemd-networkd.service", "systemd-random-seed.service"),
    *("systemd-resolved.service", "systemd-sysctl.service", "systemd-timesyncd.service"),
    *("systemd-udev-trigger.service", "systemd-udevd.service", "systemd-update-utmp.service"),
)
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read module arguments; do insmod /modules/$module.ko $arguments; done < /modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t tmpfs tmp /layer; mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work over /root
mount -t tmpfs tmp /root/tmp; mount -t tmpfs tmp /root/var/tmp
mkdir -p /root/opt/kiosk /root/srv/frames /root/etc/systemd/system
mount -o bind /host{installed} /root/opt/kiosk
mount -o bind /host{frames} /root/srv/frames
cp /trial.py /trial.sh /root/srv/
rm -rf /root/etc/systemd/system/*.wants
for unit in {masked}; do ln -sf /dev/null /root/etc/systemd/system/$unit; done
: > /root/etc/fstab
cp /trial.service /root/etc/systemd/system/trial.service
umount /proc; umount /sys; umount /dev
exec switch_root /root /lib/systemd/systemd --unit=trial.service --show-status=no
"""
TRIAL = """[Unit]
After=basic.target dbus.service
Wants=dbus.service
[Service]
Type=oneshot
ExecStart=/bin/sh /srv/trial.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
"""
SCRIPT = f"""/usr/bin/python3 /srv/trial.py
echo "{run.ENDED}$?"
systemctl --force --force poweroff
"""


def main() -> int:
    """Install, boot, hand on what the trial said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    parser.add_argument("--timeout-s", type=float, default=1800)
    arguments = parser.parse_args()
    qemu, busybox = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
    if qemu is None or busybox is None or not Path("/lib/systemd/systemd").exists():
        sys.exit(
            "Get it: sudo apt install qemu-system-x86 busybox-static systemd dbus python3-venv"
        )
    kernel, modules = run.find_kernel()
    installed = install(run.CACHE / "opt-kiosk")
    initrd = run.CACHE / f"units-initrd-{os.getpid()}"
    initrd.write_bytes(make_initrd(Path(busybox), modules, installed))
    began_at_s = time.monotonic()
    try:
        code = run.boot(qemu, kernel, initrd, arguments.accel, arguments.timeout_s)
    finally:
        initrd.unlink()
    print(f"virtual machine: {time.monotonic() - began_at_s:.0f} s, {kernel.name}", flush=True)
    return code


def install(place: Path) -> Path:
    """What the README puts into /opt/kiosk, with Debian's Python instead of this one."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in INSTALLED:
        source = run.PROJECT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, place / name, ignore=ignored)
        else:
            shutil.copy(source, place)
    subprocess.run(["/usr/bin/python3", "-m", "venv", place / ".venv"], check=True)
    pip = [place / ".venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes"]
    lock = run.PROJECT / ".lock/run.txt"
    subprocess.run([*pip, "--disable-pip-version-check", "-r", lock], check=True)
    # As pip writes it for a program that is installed in place, in the place it will have.
    [packages] = (place / ".venv/lib").glob("python3*/site-packages")
    (packages / "payme_kiosk.pth").write_text("/opt/kiosk\n")
    script = place / ".venv/bin/kiosk"
    script.write_text(
        "#!/opt/kiosk/.venv/bin/python\nimport sys\nfrom kiosk.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    folders = [place / "kiosk", place / "hardware"]
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", *folders], check=True)
    return place


def make_initrd(busybox: Path, modules: Path, installed: Path) -> bytes:
    """A cpio archive that puts the layers together and hands over to systemd."""
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: list[str] = []
    for module in MODULES:
        run._add_module(module, files, order)
    lines = [run.VIVID if module == "vivid" else module for module in order]
    frames = run.PROJECT / "tests/data/frames"
    init = INIT.format(installed=installed, frames=frames, masked=" ".join(MASKED))
    archive = run.Archive()
    for folder in ("bin", "dev", "proc", "sys", "host", "modules", "layer", "root"):
        archive.add(folder, b"", mode=0o40755)
    archive.add("bin/busybox", busybox.read_bytes(), mode=0o100755)
    archive.add("init", init.encode(), mode=0o100755)
    archive.add("trial.service", TRIAL.encode())
    archive.add("trial.sh", SCRIPT.encode())
    archive.add("trial.py", (run.HERE / "units_trial.py").read_bytes())
    archive.add("modules/order", "".join(f"{line}\n" for line in lines).encode())
    for module in order:
        archive.add(f"modules/{module}.ko", files[module].read_bytes())
    return archive.finish()


if __name__ == "__main__":
    sys.exit(main())
