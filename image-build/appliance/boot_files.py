"""The boot files of a slot: from its root file system onto the FAT, in place.

The kernel, the initial file system, the device trees and the command line of a system stand in
its own root file system too. An update brings that, and this puts them where the firmware reads
them: into the files of the slot's folder on the FAT, which the image made with room to grow.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance import card, programs, slots
from appliance.card import CardError
from appliance.programs import ProgramError
from appliance.slots import Places, Slot

COMMAND_LINE = "cmdline.txt"
FOLDER = Path("usr/lib/kiosk/boot")
VERSION = Path("usr/lib/kiosk/version.json")


@contextmanager
def mounted(device: Path, place: Path) -> Iterator[Path]:
    """A slot's root file system, read-only, for as long as the block runs.

    Raises:
        CardError: It is no whole squashfs.
    """
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    mount = ["mount", "-t", "squashfs", "-o", "ro,nodev,nosuid,noexec", str(device), str(place)]
    try:
        programs.run(mount)
    except ProgramError as error:
        raise CardError(f"{device} holds no root file system: {error}") from error
    try:
        yield place
    finally:
        with suppress(ProgramError):
            # Lazily: another may look inside at this moment, and the mount must not stay.
            programs.run(["umount", "-l", str(place)])


def version_of(root: Path) -> str:
    """The version of the system in this root file system.

    Raises:
        CardError: It does not say; it is none of ours.
    """
    try:
        return str(json.loads((root / VERSION).read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CardError(f"the root file system does not name its version: {error}") from error


def command_line(template: str, slot: Slot) -> str:
    """The kernel's command line for a slot: `@DISK@-@PARTITION@` and `@SLOT@` filled in."""
    partition = f"{slots.PARTITIONS[slot]:02}"
    filled = template.strip().replace("@DISK@", slots.DISK).replace("@PARTITION@", partition)
    return filled.replace("@SLOT@", slot)


def deploy(source: Path, slot: Slot, places: Places = slots.HERE) -> int:
    """Bring the boot files of one slot up to those in a folder of its root file system.

    Returns:
        The bytes that had to be written.

    Raises:
        CardError: One is missing on this card or too short for it: then none was touched. Or
            one could not be written; the slot is not to be started.
    """
    if slot == slots.permanent(places):
        raise CardError(f"slot {slot} is the permanent one; its boot files stay")
    try:
        files = [path for path in source.rglob("*") if path.is_file()]
        names = sorted(path.relative_to(source).as_posix() for path in files)
        line = command_line((source / COMMAND_LINE).read_text(encoding="utf-8"), slot).encode()
    except (OSError, ValueError) as error:
        raise CardError(f"the root file system brings no boot files: {error}") from error
    target = places.prefix(slot)
    for name in names:
        size = len(line) + 1 if name == COMMAND_LINE else (source / name).stat().st_size
        _refuse_unless_fits(target / name, size)
    written = sum(
        card.copy_over(source / name, target / name) for name in names if name != COMMAND_LINE
    )
    room = (target / COMMAND_LINE).stat().st_size
    return written + card.overwrite(target / COMMAND_LINE, line.ljust(room - 1) + b"\n")


def _refuse_unless_fits(path: Path, size: int) -> None:
    try:
        room = path.stat().st_size
    except OSError as error:
        raise CardError(
            f"this card has no place for {path.name} ({error.strerror}); "
            "the version needs a newly written card"
        ) from error
    if size > room:
        raise CardError(
            f"{path.name} has {size} bytes and this card has room for {room}; "
            "the version needs a newly written card"
        )
