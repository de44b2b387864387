"""A card as the host sees it: an image's partitions, without root and without mounting anything.

The FAT is read and written with mtools, as a technician's computer does; the data partition is
copied out, its ext4 journal replayed, and its files taken with debugfs.
"""

import lzma
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
GIB = 1024**3
BOOT, SLOT_A, SLOT_B, DATA = 1, 2, 3, 4
STATUS_FILE = "kiosk-status.txt"


@dataclass(frozen=True, slots=True)
class Partition:
    """One entry of the MBR; offset and size in bytes."""

    kind: int
    offset: int
    size: int


class Card:
    """An image file that stands for the card of one kiosk."""

    def __init__(self, path):
        self.path = path

    @classmethod
    def flashed(cls, image, path, *, size=2 * GIB):
        """A fresh copy of an image on a card that is larger, as cards are.

        Args:
            image: A raw image.
            path: Where the copy goes; sparse.
            size: Of the card in bytes; a power of two where an SD card is emulated.
        """
        copy_sparse(image, path)
        with path.open("r+b") as file:
            file.truncate(max(size, path.stat().st_size))
        return cls(path)

    def copied(self, path):
        """The same card once more, for a test that may spoil it."""
        copy_sparse(self.path, path)
        return Card(path)

    def partition(self, number):
        """Where a primary partition lies.

        Raises:
            LookupError: The entry is empty.
        """
        with self.path.open("rb") as file:
            file.seek(446 + 16 * (number - 1))
            entry = file.read(16)
        kind, start, sectors = struct.unpack("<4xB3xII", entry)
        if kind == 0:
            raise LookupError(f"{self.path} has no partition {number}")
        return Partition(kind, start * SECTOR, sectors * SECTOR)

    def read(self, number):
        """All bytes of a partition."""
        found = self.partition(number)
        with self.path.open("rb") as file:
            file.seek(found.offset)
            return file.read(found.size)

    # The FAT

    def names(self, folder=""):
        """Names on the FAT, folders with a slash at their end."""
        listed = self._mtools("mdir", "-b", "-a", f"::/{folder}")
        lines = listed.decode(errors="replace").splitlines()
        return [line.removeprefix("::/").removeprefix(folder).lstrip("/") for line in lines if line]

    def get(self, name):
        """The bytes of a file on the FAT."""
        return self._mtools("mtype", f"::/{name}")

    def put(self, name, content):
        """Write a file on the FAT, as a technician's computer does."""
        if isinstance(content, str):
            content = content.encode()
        self._mtools("mcopy", "-o", "-", f"::/{name}", content=content)

    def status(self):
        """What the kiosk wrote back for people."""
        return self.get(STATUS_FILE).decode(errors="replace").rstrip()

    def check_fat(self, folder):
        """What fsck finds on the FAT, in words; nothing for one in order."""
        copy = folder / "fat.img"
        copy.write_bytes(self.read(BOOT))
        done = subprocess.run(
            ["fsck.vfat", "-n", str(copy)], capture_output=True, text=True, check=False
        )
        copy.unlink()
        return [] if done.returncode == 0 else done.stdout.splitlines()

    def _mtools(self, program, *arguments, content=None):
        offset = self.partition(BOOT).offset
        done = subprocess.run(
            [program, "-i", f"{self.path}@@{offset}", *arguments],
            input=content,
            capture_output=True,
            check=False,
            env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TZ": "UTC"},
        )
        if done.returncode != 0:
            raise FileNotFoundError(f"{program} {arguments}: {done.stderr.decode()}")
        return done.stdout

    # The data partition

    def data(self, folder):
        """Its data partition as the next start would find it, after the ext4's own recovery."""
        image = folder / f"{self.path.stem}-data.img"
        found = self.partition(DATA)
        extract(self.path, image, found.offset, found.size)
        return Data(image)


class Data:
    """The file system of a data partition, copied out; the card is not touched."""

    def __init__(self, image):
        self.image = image
        # As the kernel's mount does: replay, and nothing else.
        done = _e2fsck("-E", "journal_only", "-y", str(image))
        assert done.returncode in (0, 1), done.stdout

    def check(self):
        """What fsck finds once the journal is replayed, in words.

        Freeing what was deleted while open (orphans) is not a finding: the mount does it too.
        """
        _e2fsck("-p", str(self.image))
        done = _e2fsck("-f", "-n", str(self.image))
        return [] if done.returncode == 0 else done.stdout.splitlines()

    def get(self, name, into):
        """Copy a file of it to a path; False where it has none of that name."""
        into.unlink(missing_ok=True)
        self._debugfs(f'dump "/{name}" "{into}"')
        return into.exists()

    def names(self, folder):
        """Names in a folder of it."""
        listed = self._debugfs(f'ls -p "/{folder}"').splitlines()
        names = [line.split("/")[5] for line in listed if line.count("/") >= 6]
        return sorted(name for name in names if name not in (".", ".."))

    def journal(self, folder):
        """The kiosk's journal with its write-ahead log, copied into a folder; None without one."""
        folder.mkdir(exist_ok=True)
        for old in folder.glob("journal.db*"):
            old.unlink()
        if not self.get("kiosk/journal.db", folder / "journal.db"):
            return None
        self.get("kiosk/journal.db-wal", folder / "journal.db-wal")
        return folder / "journal.db"

    def _debugfs(self, request):
        done = subprocess.run(
            ["debugfs", "-R", request, str(self.image)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "DEBUGFS_PAGER": "cat"},
        )
        return done.stdout


def unpacked(image, folder):
    """A raw image: the one given, or the content of the .xz."""
    if image.suffix != ".xz":
        return image
    raw = folder / image.stem
    if not raw.exists():
        part = raw.with_suffix(".part")
        with lzma.open(image) as packed, part.open("wb") as out:
            while block := packed.read(4 * 1024 * 1024):
                if block.count(0) == len(block):
                    out.seek(len(block), 1)
                else:
                    out.write(block)
            out.truncate()
        part.rename(raw)
    return raw


def copy_sparse(source, target):
    """Copy a file; what is zero takes no room."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def extract(source, target, offset, size):
    """Copy a part of a file; what is zero takes no room."""
    with source.open("rb") as file, target.open("wb") as out:
        file.seek(offset)
        left = size
        while left > 0 and (block := file.read(min(left, 4 * 1024 * 1024))):
            left -= len(block)
            if block.count(0) == len(block):
                out.seek(len(block), 1)
            else:
                out.write(block)
        out.truncate(size)


def _e2fsck(*arguments):
    program = shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert program is not None, "Get it: sudo apt install e2fsprogs"
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, errors="replace", check=False
    )


def write_at(path, offset, data):
    """Overwrite bytes of a file in place."""
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(data)
