"""Which contents of a folder a power cut may leave behind, after what was written and synced.

A small model of files that promises no more than POSIX does. What was synced is there. Of what
was written since, anything may be there or not: each write, each of its sectors, each change of
a length, each name in the folder; in any combination, whatever the order was.
"""

from dataclasses import dataclass, field
from itertools import pairwise

FOLDER = 0
"""Stands for the folder where others have the number of a file."""
SECTOR_BYTES = 512
"""A disk writes so much at once, or nothing of it."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put into a file."""

    file: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A file cut off or made longer."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names that come, go (None), or change: one operation of the folder, done whole or not."""

    changes: tuple[tuple[str, int | None], ...]
    file: int = FOLDER


@dataclass(frozen=True, slots=True)
class Sync:
    """All of one file, or all names of the folder, is on the disk."""

    file: int


@dataclass(slots=True)
class Disk:
    """What is surely on it, and what may be: `pending`, in order."""

    files: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)

    def do(self, operation):
        if not isinstance(operation, Sync):
            self.pending.append(operation)
            return
        done = [o for o in self.pending if o.file == operation.file]
        self.pending = [o for o in self.pending if o.file != operation.file]
        self.files, self.names = self._with(done)

    def content(self, chosen):
        """Name -> bytes, if of all that is pending this came to the disk."""
        files, names = self._with(chosen)
        return {name: bytes(files.get(file, b"")) for name, file in sorted(names.items())}

    def _with(self, chosen):
        changed, names = {}, dict(self.names)
        for operation in chosen:
            if isinstance(operation, Names):
                for name, file in operation.changes:
                    if file is None:
                        names.pop(name, None)
                    else:
                        names[name] = file
                continue
            if operation.file not in changed:
                changed[operation.file] = bytearray(self.files.get(operation.file, b""))
            _put(operation, changed[operation.file])
        return {**self.files, **changed}, names


def _put(operation, content):
    match operation:
        case Write(at=at, data=data):
            content.extend(bytes(max(0, at - len(content))))
            content[at : at + len(data)] = data
        case Resize(size=size):
            content.extend(bytes(max(0, size - len(content))))
            del content[size:]


def sectors(operation):
    """The parts of an operation that come to the disk each for itself."""
    if not isinstance(operation, Write):
        return [operation]
    at, end = operation.at, operation.at + len(operation.data)
    borders = [at, *range(at - at % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES), end]
    return [Write(operation.file, a, operation.data[a - at : b - at]) for a, b in pairwise(borders)]


def choices(pending, chance, random_ones):
    """What of the pending operations came to the disk: the plain cases, and some by chance."""
    yield []
    yield pending
    for i in range(len(pending)):
        yield pending[:i] + pending[i + 1 :]
        yield [pending[i]]
    for *before, last in [pending] if pending else []:
        torn = sectors(last)
        for i in range(1, len(torn)):
            yield before + torn[:i]
            yield before + torn[i:]
    if len(pending) > 2:
        parts = [part for operation in pending for part in sectors(operation)]
        for _ in range(random_ones):
            for whole in (pending, parts):
                share = chance.random()
                yield [part for part in whole if chance.random() < share]


def contents_after_each(operations, chance, random_ones):
    """For each prefix of what was done, every chosen content that a power cut could leave.

    What is no operation of files (a mark) is passed over, but it is a moment like any other.

    Yields:
        How many of `operations` had happened, and the folder's content by name.
    """
    disk = Disk()
    for count, operation in enumerate(operations, 1):
        if isinstance(operation, Write | Resize | Names | Sync):
            disk.do(operation)
        for chosen in choices(disk.pending, chance, random_ones):
            yield count, disk.content(chosen)
