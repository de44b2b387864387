"""The other slot gets a copy of the running system where it has none that is complete.

So at the first start, whose image brings only slot A, and after an installation that was cut or
a system that failed its trial. Copied past the page cache, so that a small machine keeps its
memory, and read back; cut or refused, it begins again at the next start.
"""

import hashlib
import logging
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from appliance import boot_files, slot_record, slots
from appliance.card import CardError
from appliance.slots import Places, Slot, SlotError

log = logging.getLogger(__name__)

CHUNK = 1 << 20
_MAGIC, _BYTES_USED_AT = b"hsqs", 40  # of a squashfs superblock, version 4
_PAGE = 4096


class FillError(Exception):
    """The copy was not made; the other slot counts as bad, the running one is untouched."""


def needed(places: Places = slots.HERE) -> Slot | None:
    """The slot that wants a copy, if now is the time.

    It is not while one is on trial, waits for its trial, or is being written by RAUC.

    Raises:
        SlotError, CardError: Nobody can say what runs.
    """
    standing = slots.standing(places)
    candidate = slots.other(standing.running)
    if standing.on_trial or standing.to_try or slots.is_good(candidate, places):
        return None
    if slots.is_marked_written(places):
        return None
    return candidate


def fill(slot: Slot, places: Places = slots.HERE) -> str:
    """Copy the running slot into this one, boot files too, and record that it is good.

    Returns:
        The SHA-256 of the file system, as it was read back.

    Raises:
        FillError: The slot is too small, or reads back otherwise.
        SlotError, CardError, OSError: As the parts say.
    """
    with slots.locked(places.run / "fill.lock"):
        if slots.is_marked_written(places):
            raise FillError("an update is being written there")
        slots.begin_writing(slot, places)
        digest = copy(places.device(slots.other(slot)), places.device(slot))
        boot_files.deploy(places.boot_files, slot, places)
        with slots.changing(places):
            record = slot_record.load(places.record).with_state(slot, "good")
            digests = record.digests | {slot: digest}
            slot_record.save(places.record, replace(record, digests=digests))
    return digest


def copy(source: Path, target: Path) -> str:
    """Copy a squashfs from one device to another, and read it back.

    Returns:
        Its SHA-256, over the bytes that it uses.

    Raises:
        FillError: There is none, it does not fit, or it reads back otherwise.
        OSError: A device fails.
    """
    with _opened(source, os.O_RDONLY) as come, _opened(target, os.O_RDWR) as go:
        used = _bytes_used(come)
        padded = -(-used // _PAGE) * _PAGE
        room = os.lseek(go, 0, os.SEEK_END)
        if padded > room:
            raise FillError(f"{padded} bytes do not fit into {target} with {room}")
        digest = hashlib.sha256()
        # What makes it a file system goes last: a copy that was cut is none.
        head = b""
        for at, piece in _pieces(come, padded):
            digest.update(piece[: max(0, used - at)])
            if at == 0:
                head, piece = bytes(piece[:_PAGE]), b"\0" * _PAGE + piece[_PAGE:]
            _write(go, at, piece)
        os.fsync(go)
        _write(go, 0, head)
        os.fsync(go)
        again = hashlib.sha256()
        for at, piece in _pieces(go, padded):
            again.update(piece[: max(0, used - at)])
    if again.digest() != digest.digest():
        raise FillError(f"{target} does not read back as it was written")
    return digest.hexdigest()


def main(places: Places = slots.HERE) -> int:
    """Fill if needed; 0 unless a copy was needed and failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        slot = needed(places)
        if slot is None:
            return 0
        log.info("slot %s has no complete system; it gets a copy of the running one", slot)
        digest = fill(slot, places)
    except (FillError, SlotError, CardError, OSError) as error:
        log.error("the other slot was not filled: %s", error)
        return 1
    log.info("slot %s is complete: sha256 %s", slot, digest)
    return 0


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open past the page cache, or in it where the device cannot do without."""
    try:
        device = os.open(path, flags | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        device = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield device
    finally:
        with suppress(OSError):
            os.posix_fadvise(device, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(device)


def _bytes_used(device: int) -> int:
    with mmap.mmap(-1, _PAGE) as page:
        os.preadv(device, [page], 0)
        if page[:4] != _MAGIC:
            raise FillError("the running slot holds no squashfs")
        return int(struct.unpack_from("<Q", page, _BYTES_USED_AT)[0])


def _pieces(device: int, length: int) -> Iterator[tuple[int, bytes]]:
    """The content in pieces, each with its place; aligned as O_DIRECT wants it."""
    with mmap.mmap(-1, CHUNK) as buffer, memoryview(buffer) as view:
        for at in range(0, length, CHUNK):
            size = min(CHUNK, length - at)
            with view[:size] as here:
                if os.preadv(device, [here], at) != size:
                    raise FillError("the device ends before its file system")
                yield at, bytes(here)


def _write(device: int, at: int, piece: bytes) -> None:
    with mmap.mmap(-1, len(piece)) as buffer:
        buffer[:] = piece
        with memoryview(buffer) as view:
            done = 0
            while done < len(piece):
                with view[done:] as rest:
                    done += os.pwritev(device, [rest], at + done)


if __name__ == "__main__":
    sys.exit(main())
