"""Update bundles for the tests: of the image's own system with another version, or worse.

Made with the host's squashfs-tools and rauc, without root: `unsquashfs -pf` writes a file system
as text, in which a file is replaced by one line.
"""

import json
import random
import subprocess
from pathlib import Path

from card import SLOT_A

HERE = Path(__file__).parent
KEYS, WRONG_KEYS = HERE / "keys", HERE / "keys" / "wrong"
MANIFEST = HERE.parent / "rauc" / "manifest.raucm.in"
VERSION_FILE = "usr/lib/kiosk/version.json"
_DATA = b"# START OF DATA - DO NOT MODIFY\n"


def root_of(card, folder):
    """The root file system of a card's slot A."""
    image = folder / "root.squashfs"
    if not image.exists():
        whole = card.read(SLOT_A)
        used = int.from_bytes(whole[40:48], "little")
        image.write_bytes(whole[: -(-used // 4096) * 4096])
    return image


def cat(root, name):
    """The content of a file of a root file system."""
    command = ["unsquashfs", "-no-progress", "-cat", str(root), name]
    return subprocess.run(command, check=True, capture_output=True).stdout


def compatible_of(root):
    """What the image's RAUC takes bundles for."""
    lines = cat(root, "etc/rauc/system.conf").decode().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("compatible="))


def changed(root, folder, name, files):
    """The same root file system with other contents in some of its files.

    Args:
        root: A squashfs.
        folder: Where it is made.
        name: Of what is made.
        files: Path in it -> new content; each is a file in it already.
    """
    made, text = folder / f"{name}.squashfs", folder / f"{name}.pseudo"
    subprocess.run(
        ["unsquashfs", "-no-progress", "-pf", str(text), str(root)], check=True, capture_output=True
    )
    whole = text.read_bytes()
    at = whole.index(_DATA)
    lines = whole[:at].decode().splitlines()
    for number, (path, content) in enumerate(files.items()):
        new = folder / f"{name}-{number}"
        new.write_bytes(content)
        [index] = [i for i, line in enumerate(lines) if line.lstrip("/").startswith(f"{path} R ")]
        _, _, stamp, mode, user, group, *_ = lines[index].split()
        lines[index] = f"{path} F {stamp} {mode} {user} {group} cat {new}"
    text.write_bytes("\n".join(lines).encode() + b"\n" + whole[at:])
    made.unlink(missing_ok=True)
    subprocess.run(
        [
            *("mksquashfs", "-", str(made), "-pf", str(text), "-comp", "zstd"),
            *("-Xcompression-level", "1", "-noappend", "-quiet", "-no-progress"),
        ],
        check=True,
        capture_output=True,
    )
    text.unlink()
    return made


def with_version(root, folder, version, files=None):
    """The image's own system as a later version of itself."""
    told = json.loads(cat(root, VERSION_FILE)) | {"version": version}
    return changed(
        root, folder, f"root-{version}", {VERSION_FILE: json.dumps(told).encode(), **(files or {})}
    )


def small_system(folder):
    """A squashfs with nothing of use in it, for bundles that are refused before it matters."""
    content, made = folder / "small", folder / "small.squashfs"
    content.mkdir(exist_ok=True)
    # What no compression makes small, the same in every run.
    (content / "filler").write_bytes(random.Random(7).randbytes(1 << 20))
    command = ["mksquashfs", str(content), str(made), "-noappend", "-quiet", "-no-progress"]
    subprocess.run([*command, "-noD"], check=True, capture_output=True)
    return made


def bundle(root, folder, version, compatible, *, keys=KEYS):
    """A signed bundle.

    Args:
        root: The squashfs that it brings.
        folder: Where it is made.
        version: Of the system in it.
        compatible: The board and base that it is for.
        keys: A folder with cert.pem and key.pem.
    """
    content = folder / f"content-{version}"
    content.mkdir(exist_ok=True)
    (content / "rootfs.squashfs").unlink(missing_ok=True)
    (content / "rootfs.squashfs").hardlink_to(root)
    text = MANIFEST.read_text()
    for word, value in (("VERSION", version), ("COMPATIBLE", compatible), ("BUILD", "test")):
        text = text.replace(f"@{word}@", value)
    (content / "manifest.raucm").write_text(text)
    made = folder / f"kiosk-{version}-arm64.raucb"
    made.unlink(missing_ok=True)
    command = ["rauc", "bundle", f"--cert={keys / 'cert.pem'}", f"--key={keys / 'key.pem'}"]
    subprocess.run([*command, str(content), str(made)], check=True, capture_output=True)
    return made


def tampered(original, name):
    """The same bundle with one bit of its payload turned; its signature is still right."""
    data = bytearray(original.read_bytes())
    data[len(data) // 2] ^= 1
    made = original.with_name(name)
    made.write_bytes(data)
    return made


def stick(folder, name, files):
    """A USB stick with a FAT and these files in it, as a computer formats one."""
    made = folder / name
    room = sum(path.stat().st_size for path in files) + 64 * 1024 * 1024
    made.unlink(missing_ok=True)
    with made.open("wb") as out:
        out.truncate(-(-room // 2**20) * 2**20)
    subprocess.run(["/usr/sbin/mkfs.vfat", "-F", "32", str(made)], check=True, capture_output=True)
    for path in files:
        subprocess.run(["mcopy", "-i", str(made), str(path), "::/"], check=True)
    return made
