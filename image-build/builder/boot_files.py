"""The boot files of a slot: the same set on the FAT under a/ and b/, and in the root file system.

Each has a fixed size with room to grow, because the kiosk overwrites them in place and never
allocates on the FAT.
"""

import gzip
import struct
import zlib
from collections.abc import Mapping

from builder.trouble import BuildError

MIB = 1 << 20
GZIP = b"\x1f\x8b"
KERNEL_SIZE = 32 * MIB
INITRD_SIZE = 24 * MIB
TREE_SIZE = 128 << 10
OVERLAY_SIZE = 16 << 10
COMMAND_LINE_SIZE = 1024
CONFIG_SIZE = 2048
STATUS_SIZE = 4096
# The firmware takes overlays from os_prefix + overlays/ only where this file is; otherwise from
# overlays/ at the top, which both slots would share.
MARKER = "overlays/README"
MARKER_TEXT = "The firmware looks for overlays here because this file is here.\n"

# Beside the device trees at the top of the FAT; what the chips before the Pi 5 load first.
FIRMWARE = ("bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat")


def kernel(image: bytes, size: int = KERNEL_SIZE) -> bytes:
    """A kernel as the firmware and QEMU take it, exactly so long: gzip, padded inside.

    Empty blocks before the last one make up the length. So the file ends as a gzip file ends,
    whatever a loader reads there, and costs a third of the plain kernel's time to read.

    Args:
        image: An arm64 `Image`, plain as Debian has it or packed with gzip.
        size: How long it comes out.

    Raises:
        BuildError: It is no such kernel, or does not fit.
    """
    if image[:2] == GZIP:
        image = gzip.decompress(image)
    if image[56:60] != b"ARM\x64":
        raise BuildError("The kernel is no plain arm64 Image; the Pi's firmware would not load it.")
    head = b"\x1f\x8b\x08\x04\0\0\0\0\x02\xff"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(image) + packer.flush(zlib.Z_FULL_FLUSH)
    last = b"\x01\x00\x00\xff\xff" + struct.pack("<II", zlib.crc32(image), len(image) & 0xFFFFFFFF)
    spare = size - len(head) - 2 - len(body) - len(last)
    if spare < 5:
        raise BuildError(f"The kernel needs {len(body)} bytes packed; {size} are kept for it.")
    # An empty stored block has five bytes; the extra field of the head takes what is left over.
    blocks, odd = divmod(spare, 5)
    extra = struct.pack("<H", odd) + b"\0" * odd
    return head + extra + body + b"\x00\x00\x00\xff\xff" * blocks + last


def padded(name: str, data: bytes, size: int, fill: bytes = b"\0") -> bytes:
    """Contents of a fixed size.

    Raises:
        BuildError: They do not fit.
    """
    if len(data) > size:
        raise BuildError(f"{name} has {len(data)} bytes; {size} are kept for it.")
    return data + fill * (size - len(data))


def text(name: str, data: str, size: int) -> bytes:
    """A text of a fixed size, filled up with line ends. The firmware reads short lines only."""
    return padded(name, data.encode(), size, b"\n")


def one_line(name: str, data: str, size: int) -> bytes:
    """A text of one line and a fixed size, filled up with spaces before its end."""
    return padded(name, data.strip().encode(), size - 1, b" ") + b"\n"


def command_line(template: str, slot: str) -> str:
    """The kernel's command line for slot A or B."""
    number = {"A": "02", "B": "03"}[slot]
    filled = template.replace("@DISK@", "6b696f73").replace("@PARTITION@", number)
    return filled.replace("@SLOT@", slot)


def fixed(
    image: bytes, initrd: bytes, trees: Mapping[str, bytes], overlays: Mapping[str, bytes]
) -> dict[str, bytes]:
    """All boot files of a slot but the command line, each with its size."""
    files = {
        "vmlinuz": kernel(image),
        "initrd.img": padded("initrd.img", initrd, INITRD_SIZE),
    }
    for name, data in sorted(trees.items()):
        files[name] = padded(name, data, TREE_SIZE)
    for name, data in sorted(overlays.items()):
        files[f"overlays/{name}"] = padded(name, data, OVERLAY_SIZE)
    if overlays:
        files[MARKER] = MARKER_TEXT.encode()
    return files
