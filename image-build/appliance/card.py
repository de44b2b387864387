"""Overwrites files of the card's FAT where they lie; the FAT itself stays mounted read-only.

FAT has no journal: a power cut while its tables change can lose any file on it, those that the
next start needs too. So nothing here allocates. The read-only file system says which sectors a
file has (FIBMAP), and only those are written, through the block device. A cut leaves at worst
one file with some old and some new sectors; a sector of 512 bytes is old or new, never mixed.
"""

import fcntl
import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
CHUNK = 1 << 20
FIBMAP, FIGETBSZ = 1, 2  # linux/fs.h; the first needs CAP_SYS_RAWIO


class CardError(Exception):
    """The file on the card is not as it should be now; the sentence is for a person.

    Where the file was too short, missing, or not writable here, nothing was changed.
    """


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a file that lies in one piece on the device; all in bytes."""

    in_file: int
    on_device: int
    length: int


def overwrite(path: Path, data: bytes, *, pad: bytes | None = None) -> int:
    """Give a file new content of the same size.

    Args:
        path: A file on a FAT that is mounted read-only.
        data: As long as the file, or shorter where `pad` is given.
        pad: One byte that fills the rest of the file.

    Returns:
        The bytes written to the device, whole sectors: those that were the same are left alone.

    Raises:
        CardError: It does not fit, is missing, or does not read back as written.
    """
    return _overwrite(path, io.BytesIO(data), len(data), pad)


def write_if_changed(path: Path, data: bytes, *, pad: bytes | None = None) -> bool:
    """As `overwrite`; whether anything had to be written."""
    return overwrite(path, data, pad=pad) > 0


def copy_over(source: Path, path: Path, *, pad: bytes = b"\0") -> int:
    """As `overwrite`, from a file of any size, in pieces that a small machine can hold."""
    try:
        with source.open("rb") as opened:
            return _overwrite(path, opened, os.fstat(opened.fileno()).st_size, pad)
    except OSError as error:
        raise CardError(f"{source} cannot be read: {error.strerror}") from error


def _overwrite(path: Path, source: BinaryIO, length: int, pad: bytes | None) -> int:
    with _opened(path) as file:
        size = os.fstat(file).st_size
        if length > size or (pad is None and length != size):
            raise CardError(f"{path} has {size} bytes on this card; {length} do not fit")
        device = _open_device(path, file)
        try:
            runs = runs_of(file, size)
            _refuse_other_device(path, file, device, runs)
            written = 0
            for run in runs:
                wanted = source.read(run.length)
                wanted += (pad or b"") * (run.length - len(wanted))
                written += _write_changed(device, run.on_device, wanted)
            if written:
                _read_back(path, file, source, pad)
        except OSError as error:
            raise CardError(f"{path} was not written whole: {error.strerror}") from error
        finally:
            os.close(device)
    return written


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CardError(f"{path}: {error.strerror}") from error
    try:
        # Two writers of one file would leave a mixture; the lock goes with the descriptor.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _open_device(path: Path, file: int) -> int:
    """The block device that the file system of this file is on, to write through."""
    if not os.fstatvfs(file).f_flag & os.ST_RDONLY:
        # Its pages that are not written yet would end over ours, or ours over its tables.
        raise CardError(f"{path} is on a file system that is mounted writable")
    number = os.fstat(file).st_dev
    uevent = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent")
    try:
        lines = uevent.read_text(encoding="utf-8").splitlines()
        [name] = (line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME="))
        # O_SYNC: what returned is on the card, and in the order in which it was written.
        device = os.open(f"/dev/{name}", os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise CardError(f"the device under {path} cannot be written: {error}") from error
    if os.fstat(device).st_rdev != number:
        os.close(device)
        raise CardError(f"/dev/{name} is not the device under {path}")
    return device


def runs_of(file: int, size: int) -> list[Run]:
    """Where an open file lies on its device, in order, in runs of at most `CHUNK` bytes.

    Raises:
        OSError: The file system does not say (no FIBMAP, no privilege), or the file has a hole.
    """
    block = struct.unpack("i", fcntl.ioctl(file, FIGETBSZ, bytes(4)))[0]
    # A cluster is never in two pieces, and one question for each is enough.
    step = max(block, os.fstatvfs(file).f_bsize)
    runs: list[Run] = []
    for in_file in range(0, size, step):
        answer = fcntl.ioctl(file, FIBMAP, struct.pack("i", in_file // block))
        on_device = struct.unpack("i", answer)[0] * block
        if on_device == 0:
            raise OSError(0, "the file has a hole")
        length = min(step, size - in_file)
        last = runs[-1] if runs else None
        if last and last.on_device + last.length == on_device and last.length + length <= CHUNK:
            runs[-1] = Run(last.in_file, last.on_device, last.length + length)
        else:
            runs.append(Run(in_file, on_device, length))
    return runs


def _refuse_other_device(path: Path, file: int, device: int, runs: list[Run]) -> None:
    """What the runs hold on the device must be what the file system reads, before any write."""
    for run in runs:
        if os.pread(file, run.length, run.in_file) != os.pread(device, run.length, run.on_device):
            raise CardError(f"{path} does not lie where its file system says; nothing is written")


def _write_changed(device: int, at: int, wanted: bytes) -> int:
    """Write those sectors of a run that differ; the slack behind the file's end stays."""
    whole = -(-len(wanted) // SECTOR) * SECTOR
    present = os.pread(device, whole, at)
    wanted += present[len(wanted) :]
    if wanted == present:
        return 0
    written = 0
    begin: int | None = None
    for offset in range(0, whole + SECTOR, SECTOR):
        here = slice(offset, offset + SECTOR)
        if offset < whole and wanted[here] != present[here]:
            begin = offset if begin is None else begin
        elif begin is not None:
            written += _pwrite(device, wanted[begin:offset], at + begin)
            begin = None
    return written


def _pwrite(device: int, data: bytes, at: int) -> int:
    view = memoryview(data)
    while view:
        count = os.pwrite(device, view, at)
        view, at = view[count:], at + count
    return len(data)


def _read_back(path: Path, file: int, source: BinaryIO, pad: bytes | None) -> None:
    """Forget what the kernel remembers of the file, and compare what is there now."""
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    source.seek(0)
    at = 0
    while there := os.pread(file, CHUNK, at):
        wanted = source.read(len(there))
        if wanted + (pad or b"") * (len(there) - len(wanted)) != there:
            raise CardError(f"{path} does not read back as it was written")
        at += len(there)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
