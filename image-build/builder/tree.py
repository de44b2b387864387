"""A file system tree as a list of entries: read from tar, changed here, written as tar.

Owners and modes are numbers in it, so that no step needs to be root. Contents stay where they are
until they are asked for.
"""

import fnmatch
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or symbolic link.

    Attributes:
        mode: Permission bits only.
        target: Where a link points.
        read: Gives a file's contents.
    """

    kind: Literal["file", "folder", "link"]
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""
    size: int = 0
    read: Callable[[], bytes] = bytes


def of_bytes(data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """A file with these contents."""
    return Entry("file", mode, uid, gid, size=len(data), read=lambda: data)


def of_file(path: Path, mode: int | None = None) -> Entry:
    """A file, or link, of this machine; root's, and writable by nobody else."""
    if path.is_symlink():
        return link(str(path.readlink()))
    usual = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return Entry(
        "file",
        usual if mode is None else mode,
        size=path.stat().st_size,
        read=path.read_bytes,
    )


def folder(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """An empty folder."""
    return Entry("folder", mode, uid, gid)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry("link", 0o777, target=target)


@dataclass(slots=True)
class Tree:
    """Entries by path, without a leading slash; folders come into being by themselves."""

    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def from_tar(cls, path: Path) -> "Tree":
        """Read an archive that is not compressed. Devices are left out: the kernel makes them."""
        tree = cls()
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./").strip("/")
                if name in ("", "."):
                    continue
                mode = member.mode & 0o7777
                if member.isdir():
                    entry = Entry("folder", mode, member.uid, member.gid)
                elif member.issym():
                    entry = replace(link(member.linkname), uid=member.uid, gid=member.gid)
                elif member.islnk():
                    entry = tree.entries[member.linkname.removeprefix("./")]
                elif member.isreg():
                    read = _slice(path, member.offset_data, member.size)
                    entry = Entry("file", mode, member.uid, member.gid, size=member.size, read=read)
                else:
                    continue
                tree.entries[name] = entry
        return tree

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self.entries

    def __getitem__(self, path: str) -> Entry:
        return self.entries[path.strip("/")]

    def put(self, path: str, entry: Entry) -> None:
        """Add or replace an entry, and any folder that it needs."""
        name = path.strip("/")
        above = name.rpartition("/")[0]
        if above and above not in self.entries:
            self.put(above, folder())
        self.entries[name] = entry

    def put_folder(self, path: str, source: Path) -> None:
        """Add all that is in a folder of this machine, over what is there."""
        for file in sorted(source.rglob("*")):
            inside = f"{path.strip('/')}/{file.relative_to(source)}".strip("/")
            if file.is_dir() and not file.is_symlink():
                if inside not in self.entries:
                    self.put(inside, folder())
            else:
                self.put(inside, of_file(file))

    def merge(self, other: "Tree") -> None:
        """Add all of another tree, over what is there."""
        for path, entry in other.entries.items():
            if entry.kind != "folder" or path not in self.entries:
                self.put(path, entry)

    def resolve(self, path: str) -> str:
        """Where a path leads, through the links of the tree; the path itself where it ends."""
        done: list[str] = []
        todo = path.strip("/").split("/")
        for _ in range(200):
            if not todo:
                break
            part = todo.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            entry = self.entries.get("/".join([*done, part]))
            if entry is not None and entry.kind == "link":
                if entry.target.startswith("/"):
                    done = []
                todo = [*entry.target.split("/"), *todo]
            else:
                done.append(part)
        return "/".join(done)

    def reaches(self, path: str) -> bool:
        """Whether there is something at the end of a path, links followed."""
        return self.resolve(path) in self.entries

    def remove(self, path: str) -> None:
        """Take away a path and all below it; nothing happens where it is not."""
        name = path.strip("/")
        for one in [p for p in self.entries if p == name or p.startswith(name + "/")]:
            del self.entries[one]

    def remove_one(self, path: str) -> None:
        """Take away one file."""
        del self.entries[path]

    def prune(self, patterns: Iterable[str]) -> dict[str, int]:
        """Take away what matches, folders with all inside; a pattern with `!` before it keeps.

        A `?` before it says only that it may match nothing: for whoever reads the answer.

        Returns:
            For each pattern how many bytes went, so that one that matches nothing shows.
        """
        patterns = list(patterns)
        keep = _any([p[1:] for p in patterns if p.startswith("!")])
        freed = {}
        for pattern in patterns:
            if pattern.startswith("!"):
                continue
            match = _any([pattern.removeprefix("?")])
            gone = [p for p in self.entries if match(p) and not keep(p)]
            freed[pattern] = sum(self.entries[p].size for p in gone) if gone else -1
            for path in gone:
                del self.entries[path]
        # Folders that went although something inside was kept.
        for path in list(self.entries):
            self.put(path, self.entries[path])
        return freed

    def files(self, pattern: str = "*") -> Iterator[tuple[str, Entry]]:
        """Paths and entries of the files that match, sorted."""
        match = re.compile(fnmatch.translate(pattern)).match
        for path in sorted(self.entries):
            if self.entries[path].kind == "file" and match(path):
                yield path, self.entries[path]

    def extract(self, target: Path, paths: Iterable[str]) -> None:
        """Write some files to a folder of this machine, without owners."""
        for path in paths:
            entry = self.entries[path]
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "link":
                file.symlink_to(entry.target)
            elif entry.kind == "file":
                file.write_bytes(entry.read())

    def write_tar(self, path: Path, epoch: int, first: Iterable[str] = ()) -> None:
        """Write the archive: sorted, every time the same.

        Args:
            path: Where to.
            epoch: The time of each entry, in seconds since 1970.
            first: Paths whose contents come before all others.
        """
        early = [p for p in first if p in self.entries]
        rest = sorted(set(self.entries) - set(early))
        needed = [p for p in rest if any(one.startswith(p + "/") for one in early)]  # their folders
        order = [*needed, *early, *(p for p in rest if p not in set(needed))]
        with tarfile.open(path, "w:", format=tarfile.GNU_FORMAT) as archive:
            for name in order:
                entry = self.entries[name]
                member = tarfile.TarInfo(name)
                member.mode, member.uid, member.gid = entry.mode, entry.uid, entry.gid
                member.mtime = epoch
                if entry.kind == "folder":
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                elif entry.kind == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, entry.target
                    archive.addfile(member)
                else:
                    data = entry.read()
                    member.size = len(data)
                    archive.addfile(member, BytesIO(data))


def _slice(path: Path, offset: int, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    return read


def _any(patterns: list[str]) -> Callable[[str], bool]:
    """Whether a path, or a folder above it, matches one of the patterns."""
    if not patterns:
        return lambda _: False
    regex = re.compile("|".join(fnmatch.translate(p)[:-2] + r"(?:/.*)?\Z" for p in patterns))
    return lambda path: regex.match(path) is not None
