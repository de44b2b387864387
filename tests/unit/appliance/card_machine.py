"""A card of the image's layout, small, and a machine with vfat that it is put into.

The machine is user-mode Linux with the card as its disk; most hosts of tests, and all that are
no root, cannot mount a FAT. Its first process is `card_guest.py`.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from tools import need

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent.parent
CRASH = PROJECT / "tests/crash"
sys.path.insert(0, str(CRASH))
SECTOR = 512
MIB = 1024 * 1024
FAT_AT, FAT_SIZE = 4 * MIB, 36 * MIB
SLOT_SIZE = 4 * MIB
DATA_AT, DATA_SIZE = FAT_AT + FAT_SIZE + 2 * SLOT_SIZE, 16 * MIB
SLOT_AT = {"A": FAT_AT + FAT_SIZE, "B": FAT_AT + FAT_SIZE + SLOT_SIZE}
CONFIG = "# The letter is the slot.\nos_prefix={}/\nkernel=vmlinuz\n"
LINE = "root=PARTUUID=@DISK@-@PARTITION@ rootfstype=squashfs ro rauc.slot=@SLOT@"
ENVIRONMENT = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
ELSEWHERE = """
import ctypes, os, runpy, sys
os.mkdir("/dev/host")
assert ctypes.CDLL(None).mount(b"none", b"/dev/host", b"hostfs", 1, b"/") == 0
runpy.run_path("/dev/host{script}", run_name="__main__")
"""


def need_machine():
    """Skip where there is no such machine, or no program that makes the card."""
    need("linux.uml", "no machine to put the card into: apt install user-mode-linux")
    for program, package in (
        ("mkfs.vfat", "dosfstools"),
        ("mcopy", "mtools"),
        ("mksquashfs", "squashfs-tools"),
        ("sfdisk", "fdisk"),
        ("mke2fs", "e2fsprogs"),
    ):
        found = shutil.which(program, path=ENVIRONMENT["PATH"])
        need(found is not None, f"no {program}: apt install {package}")


def tool(*command, **options):
    """Run a program of the host; what it prints."""
    return subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True,
        env=ENVIRONMENT, **options,
    ).stdout  # fmt: skip


def run(card, task, *, timeout_s=120, root="/", memory="192M", bring=None, **request):
    """Put the card into the machine and let it do one task of `card_guest.py`.

    Returns:
        What the task said, in order.
    """
    import power

    folder = Path(tempfile.mkdtemp(prefix="card-"))
    (folder / "out").mkdir()
    for name, file in (bring or {}).items():
        (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / "out" / name)
    request |= {
        "task": task, "out": str(folder / "out"), "project": str(PROJECT), "root": str(root),
        "measured": "COVERAGE_PROCESS_CONFIG" in os.environ,
        "packages": str(Path(pytest.__file__).parent.parent),
    }  # fmt: skip
    # In another tree than the host's the host is mounted first, for this project.
    begin = [sys.executable, "-B", str(HERE / "card_guest.py")]
    if root != "/":
        code = ELSEWHERE.format(script=HERE / "card_guest.py").encode().hex()
        begin = ["/usr/bin/python3", "-B", "-c", f"exec(bytes.fromhex('{code}'))"]
    command = [
        *(sys.executable, "-I", "-S", str(CRASH / "guest_kernel.py")),
        *("unshare", "--pid", "--fork", "--kill-child"),
        *(power.KERNEL, f"mem={memory}", "root=/dev/root", "rootfstype=hostfs"),
        *(f"rootflags={root}", "ro", f"ubda={card}", f"uml_dir={folder}/uml"),
        *("con=null", "con0=fd:0,fd:1", "panic=-1", "loglevel=1", power.NOT_AT_BOOT),
        *(*power.ONLY_SSE, f"init={begin[0]}", "--", *begin[1:]),
        json.dumps(request).encode().hex(),
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
        for measured in (folder / "out").glob(".coverage*"):
            _keep(measured, root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = done.stdout.decode(errors="replace")
    said = [json.loads(line[1:]) for line in text.splitlines() if line.startswith("@")]
    if request.get("cut_at"):
        return said
    assert {"ended": True} in said, f"{text}\n{done.stderr.decode(errors='replace')[-2000:]}"
    return said[: said.index({"ended": True})]


def _keep(measured, root):
    """What was covered in the machine, for the report of the run; by the host's names."""
    import coverage

    data = coverage.CoverageData(measured)
    data.read()
    kept = coverage.CoverageData(PROJECT / f".coverage.card.{uuid.uuid4().hex}")
    before = "" if root == "/" else "/dev/host"
    kept.update(data, map_path=lambda name: name.removeprefix(before))


def squashfs(folder, target):
    """Pack a folder as a slot's root file system."""
    tool("mksquashfs", folder, target, "-noappend", "-quiet", "-no-progress", "-all-root")
    return target.read_bytes()


def root_of(folder, version, boot_files):
    """A root file system as far as updates look at it."""
    boot = folder / "usr/lib/kiosk/boot"
    boot.mkdir(parents=True)
    for name, content in boot_files.items():
        (boot / name).parent.mkdir(exist_ok=True)
        (boot / name).write_bytes(content)
    (boot / "cmdline.txt").write_text(LINE + "\n")
    (folder / "usr/lib/kiosk/version.json").write_text(json.dumps({"version": version}))
    return folder


def make_card(path, folder, *, fat_files, root, size=128 * MIB, slot_b=b"", data=True):
    """A card: FAT with these files, one slot or two, an empty data partition.

    Args:
        path: The file to make.
        folder: For what is between.
        fat_files: Path on the FAT -> content.
        root: The squashfs of slot A, bytes.
        size: Of the whole card.
        slot_b: What is in slot B.
        data: Whether partition 4 gets its file system.
    """
    fat = folder / "fat.img"
    fat.write_bytes(b"")
    os.truncate(fat, FAT_SIZE)
    # One sector a cluster: as FAT32 has it on the image's 192 MiB or less.
    tool("mkfs.vfat", "-F", "32", "-s", "1", "-n", "KIOSK", "-i", "6b696f73", fat)
    staged = folder / "staged"
    for name, content in fat_files.items():
        place = staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    tool("mcopy", "-s", "-i", fat, *sorted(staged.iterdir()), "::/")
    shutil.rmtree(staged)
    path.write_bytes(b"")
    os.truncate(path, size)
    table = ["label: dos", "label-id: 0x6b696f73"]
    for start, length, kind in (
        (FAT_AT, FAT_SIZE, "c"), (SLOT_AT["A"], SLOT_SIZE, "83"),
        (SLOT_AT["B"], SLOT_SIZE, "83"), (DATA_AT, DATA_SIZE, "83"),
    ):  # fmt: skip
        table.append(f"start={start // SECTOR}, size={length // SECTOR}, type={kind}")
    tool("sfdisk", "--quiet", path, input="\n".join(table) + "\n")
    put(path, FAT_AT, fat.read_bytes())
    put(path, SLOT_AT["A"], root)
    put(path, SLOT_AT["B"], slot_b)
    if data:
        ext4 = folder / "data.img"
        ext4.write_bytes(b"")
        os.truncate(ext4, DATA_SIZE)
        tool("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "kiosk-data",
             "-E", "resize=134217728", ext4)  # fmt: skip
        put(path, DATA_AT, ext4.read_bytes())
    return path


# On Raspberry Pi OS a slot has overlays too, in a folder of their own.
OLD = {
    "vmlinuz": b"old kernel" * 4000, "initrd.img": b"old initrd" * 900,
    "overlays/a.dtbo": b"old overlay",
}  # fmt: skip
NEW = {
    "vmlinuz": b"new kernel" * 4100, "initrd.img": b"new initrd" * 800,
    "overlays/a.dtbo": b"new overlay",
}  # fmt: skip
ROOM = {"vmlinuz": 64 * 1024, "initrd.img": 32 * 1024, "overlays/a.dtbo": 1024}


def make_update_card(folder, *, new_in_b=False, payload=0):
    """A card as the image makes it, 1.0.0 in slot A.

    Args:
        folder: Gets `card.img`, and `new.squashfs` with the 2.0.0 that an update would bring.
        new_in_b: Whether that stands in slot B already.
        payload: Bytes of a file that make the new one so much bigger.
    """
    old = squashfs(root_of(folder / "old", "1.0.0", OLD), folder / "old.squashfs")
    root_of(folder / "new", "2.0.0", NEW)
    (folder / "new/payload").write_bytes(random.Random(0).randbytes(payload))
    new = squashfs(folder / "new", folder / "new.squashfs")
    fat = {f"{name}.txt": CONFIG.format("a").encode().ljust(2048) for name in ("config", "tryboot")}
    for letter, partition in (("a", "02"), ("b", "03")):
        line = LINE.replace("@DISK@-@PARTITION@", f"6b696f73-{partition}")
        line = line.replace("@SLOT@", letter.upper())
        fat[f"{letter}/cmdline.txt"] = line.encode().ljust(1023) + b"\n"
        for name, content in OLD.items():
            fat[f"{letter}/{name}"] = content.ljust(ROOM[name], b"\0")
    return make_card(
        folder / "card.img", folder, fat_files=fat, root=old, slot_b=new if new_in_b else b""
    )


def put(card, at, content):
    """Write a piece of the card."""
    with card.open("r+b") as out:
        out.seek(at)
        out.write(content)


def get(card, at, length):
    """Read a piece of the card."""
    with card.open("rb") as file:
        file.seek(at)
        return file.read(length)


def on_fat(card, name):
    """A file of the card's FAT, read by mtools: no cache of anyone is between."""
    return subprocess.run(
        ["mtype", "-i", f"{card}@@{FAT_AT}", f"::/{name}"],
        check=True, capture_output=True, env=ENVIRONMENT,
    ).stdout  # fmt: skip


def fill_up(card, folder):
    """Leave no cluster of the FAT free."""
    rest = folder / "rest"
    for size in (MIB, 64 * 1024, 512):
        rest.write_bytes(b"r" * size)
        for n in range(256):
            name = f"::/rest-{size}-{n}"
            try:
                tool("mcopy", "-i", f"{card}@@{FAT_AT}", rest, name)
            except subprocess.CalledProcessError:
                subprocess.run(
                    ["mdel", "-i", f"{card}@@{FAT_AT}", name], check=False, capture_output=True
                )
                break


def fsck_ext4(image):
    """e2fsck's code and words; it changes nothing."""
    done = subprocess.run(
        ["e2fsck", "-fn", str(image)], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    return done.returncode, done.stdout + done.stderr


def sectors_of(card, name):
    """A file's own sectors of the card, in order, as the FAT says by mtools."""
    told = tool("mshowfat", "-i", f"{card}@@{FAT_AT}", f"::/{name}")
    fat = get(card, FAT_AT, 512)
    reserved, tables = int.from_bytes(fat[14:16], "little"), fat[16]
    first = FAT_AT // SECTOR + reserved + tables * int.from_bytes(fat[36:40], "little")
    found = []
    for piece in told.split("<")[1:]:
        begin, _, end = piece.split(">")[0].partition("-")
        found += range(first + int(begin) - 2, first + int(end or begin) - 2 + 1)
    return found


def check_fat(card, folder):
    """fsck.vfat's word on the FAT: empty where all is well."""
    fat = folder / "checked.img"
    fat.write_bytes(get(card, FAT_AT, FAT_SIZE))
    done = subprocess.run(
        ["fsck.vfat", "-n", "-v", str(fat)], capture_output=True, text=True,
        env=ENVIRONMENT, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stdout


def changed_sectors(before, after):
    """The numbers of the sectors of two files that differ."""
    found = set()
    with before.open("rb") as one, after.open("rb") as two:
        at = 0
        while (a := one.read(MIB)) or two.tell() == 0:
            b = two.read(MIB)
            if a != b:
                found |= {
                    (at + n) // SECTOR
                    for n in range(0, len(a), SECTOR)
                    if a[n : n + SECTOR] != b[n : n + SECTOR]
                }
            at += len(a)
    return found
