"""A disk that remembers every write and flush, and the states in which a cut may leave it.

The disk is a file of a file system of our own (FUSE) under a loop device. The loop driver turns
a flush of the device into an fsync of that file, so what arrives here is what a card would see.
Run as a script it serves that file; see `Disk`.
"""

import contextlib
import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SIZE = 16 * 1024 * 1024
SECTOR = 512
HEADER = struct.Struct("<cQI")  # kind, offset, bytes that follow
WRITE, FLUSH, MARK = b"w", b"f", b"m"
WAIT_S = 30.0
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


def run(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def make_file_system(image):
    """An empty ext4, with blocks of 4 KiB and barriers as on a card, inodes written at once."""
    with image.open("wb") as file:
        file.truncate(SIZE)
    options = "lazy_itable_init=0,lazy_journal_init=0"
    run("mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4", "-E", options, str(image))


@contextlib.contextmanager
def own_mounts():
    """Mounts that only this thread and its children see; all are gone when the last one ends."""
    libc = ctypes.CDLL(None, use_errno=True)

    def must(result):
        if result != 0:
            raise OSError(ctypes.get_errno(), "no mount namespace")

    folder = Path.cwd()
    with Path("/proc/thread-self/ns/mnt").open() as outside:
        must(libc.unshare(CLONE_NEWNS))
        try:
            must(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
            yield
        finally:
            must(libc.setns(outside.fileno(), CLONE_NEWNS))
            os.chdir(folder)


@contextlib.contextmanager
def mounted(image, folder, *options):
    """A file as a disk; the loop device goes with the mount."""
    folder.mkdir(exist_ok=True)
    run("mount", "-t", "ext4", "-o", ",".join(("loop", *options)), str(image), str(folder))
    try:
        yield folder
    finally:
        unmount(folder)


def unmount(folder):
    """Also where a process that was just killed still holds it for a moment."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            run("umount", str(folder))
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


class Disk:
    """A recorded disk with a file system on it, in a folder of its own.

    Attributes:
        root: Where its file system is mounted.
        marks: A file; each write to it is noted among the disk's writes and flushes.
    """

    def __init__(self, folder):
        self._folder = folder
        self.base = folder / "base.img"
        self.root = folder / "root"
        self.marks = folder / "fuse" / "marks"
        self._log = folder / "log"

    @contextlib.contextmanager
    def recording(self):
        """Serve, mount and record; afterwards `entries` has what was written in between."""
        make_file_system(self.base)
        shutil.copyfile(self.base, self._folder / "now.img")
        fuse = self._folder / "fuse"
        fuse.mkdir()
        with contextlib.ExitStack() as last:
            server = subprocess.Popen(
                [sys.executable, __file__, str(fuse), str(self._folder / "now.img"), self._log],
                stdin=subprocess.DEVNULL,
            )
            last.callback(server.wait, WAIT_S)
            last.callback(server.kill)
            last.callback(subprocess.run, ["umount", "-l", str(fuse)], capture_output=True)
            _wait_for(self.marks, server)
            last.enter_context(mounted(fuse / "disk", self.root))
            self.marks.write_bytes(b'{"mounted": true}')
            yield self
            self.marks.write_bytes(b'{"end": true}')

    def entries(self):
        """(kind, offset, bytes) in the order in which they arrived."""
        log, at, found = self._log.read_bytes(), 0, []
        while at < len(log):
            kind, offset, size = HEADER.unpack_from(log, at)
            at += HEADER.size + size
            data = log[at - size : at]
            if kind == MARK:
                data = json.loads(data)
                if "end" in data:
                    return found
            found.append((kind, offset, data))
        raise AssertionError("the recording has no end")


def _wait_for(path, server):
    deadline_s = time.monotonic() + WAIT_S
    while not path.exists():
        assert server.poll() is None, "the file system of the recorded disk does not start"
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class State:
    """Where a cut may leave the disk.

    Attributes:
        flushed: How many entries of the log are durable.
        later: (offset, bytes) of what was written since, as far as it arrived.
        marks: What had left the kiosk by then.
    """

    what: str
    flushed: int
    later: tuple
    marks: tuple


def states_of(entries, chance, *, subsets=4):
    """All moments of a cut from the mount on, with every kind of loss.

    At each mark, and before each flush: none, all, each alone missing, random subsets, and
    random subsets of sectors of what was written since the last flush.

    Args:
        entries: See `Disk.entries`.
        chance: A random.Random.
        subsets: How many random subsets at each moment, whole and torn.
    """
    # Not while it is mounted: ext4 writes its superblock in place then, two sectors under one
    # checksum, and where only one of them arrives it asks for fsck, whatever is on it.
    flushed, pending, marks, is_mounted = 0, [], [], False
    for number, (kind, offset, data) in enumerate(entries):
        if kind == WRITE:
            pending.append((offset, data))
            continue
        if kind == MARK and "mounted" in data:
            is_mounted = True
            continue
        if kind == MARK:
            marks.append(data)
            where = f"at mark {len(marks)} ({next(iter(data))})"
        else:
            where = f"before flush at {number}"
        for how, later in _losses(pending, chance, subsets) if is_mounted else ():
            yield State(f"{where}: {how}", flushed, tuple(later), tuple(marks))
        if kind == FLUSH:
            flushed, pending = number + 1, []


def _losses(pending, chance, subsets):
    yield "nothing since the flush", []
    if not pending:
        return
    yield "all", list(pending)
    if len(pending) > 1:
        for i in range(len(pending)):
            yield f"without write {i}", pending[:i] + pending[i + 1 :]
    for _ in range(subsets):
        yield "some", [write for write in pending if chance.random() < 0.5]
        yield (
            "torn",
            [
                (offset + at, data[at : at + SECTOR])
                for offset, data in pending
                for at in range(0, len(data), SECTOR)
                if chance.random() < 0.5
            ],
        )


class Replay:
    """Rebuilds states; fastest in the order in which the log goes."""

    def __init__(self, base, entries):
        self._base, self._entries = base, entries
        self._done, self._durable = 0, bytearray(base.read_bytes())

    def build(self, state, image):
        """Write the disk as this cut left it."""
        if state.flushed < self._done:
            self._done, self._durable = 0, bytearray(self._base.read_bytes())
        for kind, offset, data in self._entries[self._done : state.flushed]:
            if kind == WRITE:
                self._durable[offset : offset + len(data)] = data
        self._done = state.flushed
        with image.open("wb") as file:
            file.write(self._durable)
            for offset, data in state.later:
                file.seek(offset)
                file.write(data)


def sample(states, chance, most):
    """At most so many, in their order: those that lose all at a mark, then others at random."""
    states = list(states)
    hard = [i for i, s in enumerate(states) if s.what.startswith("at mark") and not s.later]
    rest = sorted(set(range(len(states))) - set(hard))
    chosen = hard[:most] + chance.sample(rest, min(len(rest), max(0, most - len(hard))))
    return [states[i] for i in sorted(chosen)]


def serve(folder, image, log):
    """The file system with two files, `disk` and `marks`, until it is unmounted."""
    import errno
    import stat

    import mfusepy

    disk, out = os.open(image, os.O_RDWR), Path(log).open("wb")  # noqa: SIM115 - ends with it

    class Recording(mfusepy.Operations):
        use_ns = True

        def getattr(self, path, fh=None):
            modes = {"/": stat.S_IFDIR | 0o700, "/disk": stat.S_IFREG | 0o600}
            modes["/marks"] = modes["/disk"]
            if path not in modes:
                raise mfusepy.FuseOSError(errno.ENOENT)
            size = SIZE if path == "/disk" else 0
            return {"st_mode": modes[path], "st_size": size, "st_nlink": 1}

        def readdir(self, path, fh):
            return [".", "..", "disk", "marks"]

        def truncate(self, path, length, fh=None):
            return 0

        def read(self, path, size, offset, fh):
            return os.pread(disk, size, offset)

        def write(self, path, data, offset, fh):
            kind = WRITE if path == "/disk" else MARK
            out.write(HEADER.pack(kind, offset, len(data)) + data)
            if kind == WRITE:
                return os.pwrite(disk, data, offset)
            out.flush()
            return len(data)

        def fsync(self, path, datasync, fh):
            if path == "/disk":
                out.write(HEADER.pack(FLUSH, 0, 0))
            return 0

    # One thread: the log is the order in which things arrived.
    mfusepy.FUSE(Recording(), folder, foreground=True, nothreads=True)
    out.close()


if __name__ == "__main__":
    serve(*sys.argv[1:])
