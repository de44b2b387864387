"""The data partition takes the rest of the card, at the first start.

Two steps, each of which may be cut anywhere and is done again at the next start: one sector
with the partition table in which only the length of partition 4 is another, and resize2fs,
which grows the mounted file system under its journal.
"""

import fcntl
import logging
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance import programs, slots
from appliance.programs import ProgramError
from appliance.slots import Places

log = logging.getLogger(__name__)

SECTOR = 512
NUMBER = 4
ENTRY_AT = 446 + 16 * (NUMBER - 1)
ALIGN = 4 * 1024 * 1024
"""Cards erase in pieces of about this size; an end between two of them gains nothing."""
_BLKGETSIZE64 = 0x80081272  # linux/fs.h
_DISK_ID = struct.pack("<I", int(slots.DISK, 16))


class GrowError(Exception):
    """The partition table is not the image's; nothing was written."""


@dataclass(frozen=True, slots=True)
class Data:
    """Partition 4 as the table has it, in sectors."""

    start: int
    length: int


def grown(mbr: bytes, disk_bytes: int) -> tuple[bytes, Data]:
    """The partition table with partition 4 up to the end of the disk.

    Args:
        mbr: The first sector.
        disk_bytes: The size of the whole card.

    Returns:
        The sector, the same if there is nothing to gain, and partition 4 in it.

    Raises:
        GrowError: It is not the table of the image.
    """
    if len(mbr) != SECTOR or mbr[510:] != b"\x55\xaa" or mbr[440:444] != _DISK_ID:
        raise GrowError("the first sector of the card is not the one that the image has")
    kind = mbr[ENTRY_AT + 4]
    start, length = struct.unpack_from("<II", mbr, ENTRY_AT + 8)
    ends = [sum(struct.unpack_from("<II", mbr, 446 + 16 * n + 8)) for n in range(NUMBER - 1)]
    if kind != 0x83 or not length or start < max(ends):
        raise GrowError("partition 4 of the card is not the image's data partition")
    # A table of this kind counts to 2 TiB; a bigger card loses what is behind.
    last = min(disk_bytes, (2**32 - 1) * SECTOR) // ALIGN * ALIGN // SECTOR
    longer = max(length, last - start)
    changed = bytearray(mbr)
    struct.pack_into("<I", changed, ENTRY_AT + 12, longer)
    return bytes(changed), Data(start, longer)


def grow_partition(disk: Path) -> bool:
    """Write the table and tell the kernel of partition 4 alone; both only if needed.

    Raises:
        GrowError: It is not the table of the image.
        OSError: The card cannot be read or written.
        ProgramError: The kernel does not take the new length before a restart.
    """
    # O_SYNC: resize2fs must not put anything where the table does not reach yet.
    device = os.open(disk, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    try:
        present = os.pread(device, SECTOR, 0)
        wanted, data = grown(present, _size_of(device))
        if wanted != present:
            os.pwrite(device, wanted, 0)
        known = _known_length(disk)
        if known is not None and known < data.length:
            programs.run(["partx", "--update", "--nr", str(NUMBER), str(disk)])
        return wanted != present
    finally:
        os.close(device)


def grow_file_system(partition: Path) -> None:
    """Let the mounted ext4 take its whole partition; does nothing where it has it already.

    Raises:
        ProgramError: It failed; the file system is as it was, or in between.
    """
    programs.run(["resize2fs", str(partition)], most_s=900)


def disk_of(partition: Path) -> Path:
    """The whole card that a partition is on.

    Raises:
        OSError: There is no such partition.
    """
    number = partition.stat().st_rdev
    sysfs = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    return Path("/dev") / sysfs.parent.name


def main(places: Places = slots.HERE) -> int:
    """Grow both; 0 if the data partition may be used, whatever its size."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    partition = places.devices / f"{slots.DISK}-{NUMBER:02}"
    try:
        changed = grow_partition(disk_of(partition))
        grow_file_system(partition)
    except (GrowError, OSError, ProgramError) as error:
        # The small partition of the image serves as well, for a while.
        log.warning("the data partition was not grown: %s", error)
        return 1
    log.info("the data partition takes the whole card%s", " from now on" if changed else "")
    return 0


def _size_of(device: int) -> int:
    return int(struct.unpack("Q", fcntl.ioctl(device, _BLKGETSIZE64, bytes(8)))[0])


def _known_length(disk: Path) -> int | None:
    """What the kernel takes for the length of partition 4, in sectors; None if it has none."""
    name = disk.resolve().name
    between = "p" if name[-1].isdigit() else ""
    try:
        return int(Path(f"/sys/class/block/{name}{between}{NUMBER}/size").read_text())
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
