"""Puts the card together: partition table, FAT, two slots, data; the same bytes every time."""

import json
import re
from pathlib import Path, PurePosixPath

from builder import boot_files, recipe
from builder.boot_files import CONFIG_SIZE, MIB, STATUS_SIZE
from builder.debian import Debian
from builder.places import Places
from builder.room import Room
from builder.tree import Tree
from builder.trouble import BuildError

SIGNATURE = 0x6B696F73
SECTOR = 512
# As fast as xz goes: most of the card is packed already, and what is there twice is found by any.
XZ_FAR = "lzma2:preset=0,dict=192MiB,mf=hc4,nice=16,depth=1"
XZ_NEAR = "lzma2:preset=0,dict=1MiB,mf=hc3,nice=16,depth=1"
BOOT_MIB = 28  # the boot files at the head of the root file system, as small as they are there
# Offset and size of each partition in MiB.
FAT, SLOT_A, SLOT_B, DATA = (4, 192), (196, 320), (516, 320), (836, 64)
END = 901
MUST_BE_SET = ("url", "amount_sum")
STATUS = (
    "This kiosk has not been started yet. Once it has, its state stands here:\n"
    "version, address, and what it is waiting for.\n"
)


def squashfs(room: Room, work: Path, tree: Tree, epoch: int) -> Path:
    """Write the root file system. The boot files come first, see `image`."""
    first = sorted(p for p, _ in tree.files("usr/lib/kiosk/boot/*"))
    tree.write_tar(work / "root.tar", epoch, first)
    target = work / "root.squashfs"
    script = (
        f"mksquashfs - /job/root.squashfs -tar -noappend -quiet -no-progress -mkfs-time {epoch} "
        f"-root-time {epoch} -root-mode 755 -root-uid 0 -root-gid 0 -comp zstd "
        "-Xcompression-level 15 -b 256K -processors 2 < /job/root.tar"
    )
    room.run("sh", "-c", script, binds={"/job": work})
    (work / "root.tar").unlink()
    room_for = SLOT_A[1] * MIB
    if target.stat().st_size > room_for:
        raise BuildError(
            f"The root file system has {target.stat().st_size} bytes; a slot {room_for}."
        )
    return target


def fat_files(places: Places, parts: Debian) -> dict[str, bytes]:
    """All that stands on the FAT, by its path."""
    here = places.build / "boot"
    lines = (here / "config.txt").read_text(encoding="utf-8").splitlines()
    lines = recipe.changed(lines, places.recipe["boot"]["config"], "boot/config.txt")
    config = "\n".join(lines) + "\n"
    template = (here / "cmdline.txt").read_text(encoding="utf-8").strip()
    files = {file.name: file.read_bytes() for file in sorted(parts.firmware.iterdir())}
    files["config.txt"] = boot_files.text("config.txt", config, CONFIG_SIZE)
    # The same slot in both: there is nothing to try.
    files["tryboot.txt"] = boot_files.text("tryboot.txt", config, CONFIG_SIZE)
    example = (places.project / "config" / "kiosk.yaml").read_text(encoding="utf-8")
    files["kiosk.yaml"] = unsold(example).encode()
    if (here / "README.txt").exists():
        files["README.txt"] = (here / "README.txt").read_bytes()
    files["kiosk-status.txt"] = boot_files.text("kiosk-status.txt", STATUS, STATUS_SIZE)
    for slot in ("A", "B"):
        line = boot_files.command_line(template, slot)
        prefix = slot.lower()
        for name, file in parts.boot_files():
            files[f"{prefix}/{name}"] = file.read_bytes()
        files[f"{prefix}/cmdline.txt"] = boot_files.one_line(
            "cmdline.txt", line, boot_files.COMMAND_LINE_SIZE
        )
    return files


def unsold(example: str) -> str:
    """The example of a configuration with what must be set switched off.

    A card that nobody edited must not sell at the price of an example.

    Raises:
        BuildError: The example has no such lines.
    """
    for name in MUST_BE_SET:
        example, found = re.subn(rf"^(  +)({name}: )", r"\1#\2", example, flags=re.MULTILINE)
        if found != 1:
            raise BuildError(
                f"config/kiosk.yaml has {found} lines {name} that are not switched off."
            )
    return example


def fat(room: Room, work: Path, files: dict[str, bytes], epoch: int) -> Path:
    """Write the FAT, its files one after the other without gaps."""
    for name, data in files.items():
        path = work / "fat" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    order = sorted(files, key=lambda name: ("/" in name, name))
    folders = {str(p) for name in files for p in PurePosixPath(name).parents if p.name}
    made = " ".join(f"::{name}" for name in sorted(folders))
    copies = "\n".join(f"mcopy -i /job/fat.img -m '/job/fat/{name}' '::{name}'" for name in order)
    script = f"""set -e
        export MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH={epoch} TZ=UTC
        find /job/fat -exec touch -d @{epoch} {{}} +
        truncate -s {FAT[1]}M /job/fat.img
        mkfs.vfat --invariant -F 32 -s 4 -i {SIGNATURE:08x} -n KIOSK -h {FAT[0] * 2048} \\
          /job/fat.img
        mmd -i /job/fat.img {made}
        {copies}
    """
    room.run("sh", "-c", script, binds={"/job": work})
    return work / "fat.img"


def data(room: Room, work: Path, epoch: int) -> Path:
    """Write the data partition: the folders that the system mounts from it, and nothing else."""
    script = f"""set -e
        mkdir -p /job/data
        cd /job/data
        mkdir -p kiosk etc ssh rauc appliance
        : > kiosk/.card
        chown 701:701 kiosk kiosk/.card
        chown 0:701 etc
        chmod 0700 kiosk ssh rauc appliance
        chmod 0755 . etc
        find . -exec touch -h -d @{epoch} {{}} +
        truncate -s {DATA[1]}M /job/data.img
        export E2FSPROGS_FAKE_TIME={epoch} SOURCE_DATE_EPOCH={epoch}
        seed=hash_seed=6b696f73-0000-4000-8000-000000000005
        mke2fs -q -t ext4 -b 4096 -L kiosk-data -U 6b696f73-0000-4000-8000-000000000004 \
          -E $seed,lazy_itable_init=0,lazy_journal_init=0,resize=134217728 \
          -J size=16 -m 1 -O ^metadata_csum_seed,^orphan_file -d /job/data /job/data.img
        rm -rf /job/data
    """
    # .card: a folder that a repair of the file system made anew does not have it.
    room.run("sh", "-c", script, binds={"/job": work})
    return work / "data.img"


def image(room: Room, work: Path, root: Path) -> Path:
    """Write the whole card; what is zero stays a hole in the file."""
    table = f"label: dos\nlabel-id: 0x{SIGNATURE:08x}\nunit: sectors\nsector-size: {SECTOR}\n\n"
    for kind, (start, size) in zip("c333", (FAT, SLOT_A, SLOT_B, DATA), strict=True):
        type_ = {"c": "c", "3": "83"}[kind]
        table += f"start={start * 2048}, size={size * 2048}, type={type_}\n"
    (work / "table").write_text(table, encoding="ascii")
    script = f"""set -e
        rm -f /job/card.img
        truncate -s {END}M /job/card.img
        sfdisk -q --no-tell-kernel --no-reread /job/card.img < /job/table
        put() {{ dd if=$1 of=/job/card.img bs=1M seek=$2 conv=sparse,notrunc status=none; }}
        put /job/fat.img {FAT[0]}
        put /job/{root.name} {SLOT_A[0]}
        put /job/data.img {DATA[0]}
    """
    room.run("sh", "-c", script, binds={"/job": work})
    return work / "card.img"


def pack(room: Room, work: Path, raw: Path, root_bytes: int, name: str) -> None:
    """Pack the card for download, with its checksum and its map of blocks.

    Kernel and initial file system are on it three times: in a/, in b/ and at the head of the root
    file system. The first block reaches over all three and stores them once. The rest has nothing
    to find, and is two blocks so that two processors have something to do.

    Args:
        room: Where xz runs.
        work: Its folder.
        raw: The card.
        root_bytes: How long the root file system is.
        name: Of the image, without an ending.
    """
    raw.rename(work / f"{name}.img")
    first = SLOT_A[0] + BOOT_MIB
    second = max(1, (root_bytes // MIB - BOOT_MIB) // 2)
    script = f"""set -e
        cd /job
        bmaptool -q create -o {name}.img.bmap {name}.img
        xz -T2 --check=crc64 --block-size={END}MiB --filters1={XZ_FAR} --filters2={XZ_NEAR} \
          --block-list=1:{first}MiB,2:{second}MiB,2:0 -k {name}.img
        sha256sum {name}.img.xz > {name}.img.xz.sha256
    """
    room.run("sh", "-c", script, binds={"/job": work})


def manifest(files: dict[str, bytes]) -> bytes:
    """Name and size of each file of the FAT, for the kiosk and the tests."""
    return (
        json.dumps({name: len(files[name]) for name in sorted(files)}, indent=1) + "\n"
    ).encode()
