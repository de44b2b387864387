"""Boots Debian's kernel in a virtual machine and runs this folder's tests in it; see README.md.

    python tests/vm/run.py [--accel tcg] [--timeout-s 900] [pytest arguments]

The guest has the kernel's `vivid` driver, a camera that is none, which a container or a CI
machine cannot load for itself. It sees the host's files read-only over 9p and runs the very
interpreter and checkout that started it; nothing is installed in it. Needs QEMU and a static
busybox; the kernel comes from Debian's archive by `apt-get download`, or is the one that is
installed.
"""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kiosk-vm"

# A capture device with a webcam and an HDMI input, and an output device with an HDMI output.
VIVID = "vivid node_types=0x101 num_inputs=2 input_types=0xc num_outputs=1 output_types=0x1"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "vivid")
ENDED = "the guest's tests ended with "

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read module arguments; do insmod /modules/$module.ko $arguments; done < /modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t devtmpfs dev /host/dev; mount -t proc proc /host/proc; mount -t sysfs sys /host/sys
mkdir -p /host/dev/shm; mount -t tmpfs tmp /host/dev/shm
chroot /host /bin/sh -c {command}
echo "{ended}$?"
poweroff -f
"""


def main() -> int:
    """Build the guest, run it, hand on what its tests said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accel", choices=("tcg", "kvm"), default="tcg")
    parser.add_argument("--timeout-s", type=float, default=900)
    arguments, for_pytest = parser.parse_known_args()
    qemu = shutil.which("qemu-system-x86_64")
    busybox = shutil.which("busybox")
    if qemu is None or busybox is None:
        sys.exit("Get it: sudo apt install qemu-system-x86 busybox-static")
    kernel, modules = find_kernel()
    CACHE.mkdir(parents=True, exist_ok=True)
    initrd = CACHE / f"initrd-{os.getpid()}"
    initrd.write_bytes(make_initrd(Path(busybox), modules, for_pytest))
    began_at_s = time.monotonic()
    try:
        code = boot(qemu, kernel, initrd, arguments.accel, arguments.timeout_s)
    finally:
        initrd.unlink()
    print(f"virtual machine: {time.monotonic() - began_at_s:.0f} s, {kernel.name}", flush=True)
    return code


def find_kernel() -> tuple[Path, Path]:
    """A kernel with vivid, and the folder of its modules: installed, downloaded, or fetched now."""
    for root in (Path("/"), CACHE / "kernel"):
        for folder in sorted(root.glob("lib/modules/*"), reverse=True):
            kernel = root / "boot" / f"vmlinuz-{folder.name}"
            vivid = any(folder.glob("kernel/drivers/media/test-drivers/vivid/vivid.ko"))
            if vivid and os.access(kernel, os.R_OK):
                return kernel, folder
    if (CACHE / "kernel").exists():
        sys.exit(f"No kernel with vivid in {CACHE / 'kernel'}; remove that folder to fetch anew.")
    depends = _output("apt-cache", "depends", "linux-image-amd64")
    package = re.search(r"linux-image-[0-9]\S+", depends)
    if package is None:
        sys.exit("apt knows no linux-image-amd64. Run apt-get update first.")
    packages = CACHE / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package[0]]
    subprocess.run(download, cwd=packages, check=True)
    [archive] = packages.glob("linux-image-*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, CACHE / "kernel.new"], check=True)
    archive.unlink()
    (CACHE / "kernel.new").rename(CACHE / "kernel")
    return find_kernel()


def make_initrd(busybox: Path, modules: Path, for_pytest: list[str]) -> bytes:
    """A cpio archive with busybox, the modules in order of loading, and what to run."""
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: list[str] = []
    for module in MODULES:
        _add_module(module, files, order)
    lines = [VIVID if module == "vivid" else module for module in order]
    environment = ["PATH=/usr/bin:/bin", "HOME=/dev/shm", "TMPDIR=/dev/shm", "LANG=C.UTF-8"]
    environment += ["TERM=dumb", "PYTHONDONTWRITEBYTECODE=1", "KIOSK_VM=1"]
    pytest = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", str(HERE)]
    run = shlex.join(["env", "-i", *environment, *pytest, *(for_pytest or ["-q"])])
    command = f"cd {shlex.quote(str(PROJECT))} && {run}"
    archive = Archive()
    for folder in ("bin", "dev", "proc", "sys", "host", "modules"):
        archive.add(folder, b"", mode=0o40755)
    archive.add("bin/busybox", busybox.read_bytes(), mode=0o100755)
    init = INIT.format(command=shlex.quote(command), ended=ENDED)
    archive.add("init", init.encode(), mode=0o100755)
    archive.add("modules/order", "".join(f"{line}\n" for line in lines).encode())
    for module in order:
        archive.add(f"modules/{module}.ko", files[module].read_bytes())
    return archive.finish()


class Archive:
    """A cpio archive in the form that the kernel unpacks (newc)."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._entries = 0

    def add(self, name: str, content: bytes, *, mode: int = 0o100644) -> None:
        """Add one file or folder."""
        self._entries += 1
        fields = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._parts += [_padded(header + name.encode() + b"\0"), _padded(content)]

    def finish(self) -> bytes:
        """Close the archive and give its bytes."""
        self.add("TRAILER!!!", b"", mode=0)
        return b"".join(self._parts)


def boot(qemu: str, kernel: Path, initrd: Path, accel: str, timeout_s: float) -> int:
    """Run the guest until its tests ended; print what it prints; return their exit code."""
    command = [
        *(qemu, "-accel", accel, "-cpu", "max", "-smp", "2", "-m", "1024"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-no-reboot", "-nodefaults"),
        *("-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none"),
    ]
    code = None
    print(f"booting under {accel}", flush=True)
    with subprocess.Popen(
        ["timeout", "--kill-after=5", str(timeout_s), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as guest:
        assert guest.stdout is not None
        for line in guest.stdout:
            if line.startswith(ENDED):
                with contextlib.suppress(ValueError):
                    code = int(line.removeprefix(ENDED))
            else:
                print(line.rstrip(), flush=True)
    if code is None:
        print(f"The guest did not come to the end of its tests (QEMU: {guest.returncode}).")
        return 70
    return code


def _add_module(name: str, files: dict[str, Path], order: list[str]) -> None:
    """Put a module behind those that it depends on; what is no file is built in."""
    if name in order or name not in files:
        return
    found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
    for other in found[1].decode().split(",") if found else ():
        _add_module(other.replace("-", "_"), files, order)
    order.append(name)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
