"""What strace saw a kiosk do to the folder of its journal, and what it told the world meanwhile."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from states import FOLDER, Names, Resize, Sync, Write

WATCHED = (
    "openat,pwrite64,write,fsync,fdatasync,ftruncate,fallocate,"
    "unlink,unlinkat,rename,renameat,renameat2,sendto"
)
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "1000000", "-e", WATCHED]
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_UNSEEN_CONTENT = ("-shm", ".reserve")
"""One is rebuilt at each start whatever it holds, the other holds nothing."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The first byte of a payment's request was handed to its socket."""

    code: str


@dataclass(frozen=True, slots=True)
class Told:
    """Lamp and buzzer showed it to the customer whose request was the last one."""

    cue: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """Staff were told that their word is kept."""

    intent: str


def _bytes(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Recording:
    """Reads the logs of strace in order; the folder was empty before the first.

    Attributes:
        done: Operations of `states`, and marks, in order.
    """

    def __init__(self, folder, cues):
        self._folder, self._cues = str(folder), str(cues)
        self._files = {}
        self._sizes = {}
        self._count = FOLDER
        self._head_at = None
        self.done = []

    def read(self, log):
        begun = {}
        for line in Path(log).read_text(encoding="ascii").splitlines():
            if found := _UNFINISHED.match(line):
                begun[found[1]] = found[2]
                self._mark(found[2])
            elif found := _RESUMED.match(line):
                self._operation(f"{found[1]} {begun.pop(found[1])}{found[2]}")
            else:
                self._mark(line.partition(" ")[2].lstrip())
                self._operation(line)

    # What others learn: it counts from the moment in which the call begins.

    def _mark(self, call):
        name, _, rest = call.partition("(")
        if name not in ("sendto", "write") or not (fd := _FD.match(rest)):
            return
        text = _TEXT.search(rest[fd.end() :])
        data = _bytes(text[1]) if text else b""
        if name == "sendto" and data.startswith(b"POST "):
            self._head_at = len(self.done)
        elif name == "sendto" and self._head_at is not None and b'"qr_code"' in data:
            self.done.insert(self._head_at, Sent(json.loads(data)["qr_code"]))
            self._head_at = None
        elif name == "write" and _bytes(fd[1]).decode() == self._cues:
            self.done.append(Told(data.decode().strip()))
        elif name == "write" and b'"message": "resolved"' in data:
            self.done.append(Resolved(json.loads(data)["intent"]))

    # What happens to files: it counts from the moment in which the call has succeeded.

    def _operation(self, line):
        found = _CALL.match(line)
        if found is None or int(found[4]) < 0:
            return
        name, arguments, result = found[2], found[3], int(found[4])
        if name in ("fsync", "fdatasync", "pwrite64", "write", "ftruncate", "fallocate"):
            fd = _FD.match(arguments)
            if fd and (path := self._inside(fd[1])) is not None:
                self._of_file(name, path, arguments[fd.end() :], result)
        elif name != "sendto":
            paths = [self._inside(text) for text in _TEXT.findall(arguments)]
            if any(paths):
                self._of_folder(name, paths, arguments)

    def _inside(self, text):
        """The name in the folder; an empty one for the folder; None for what is elsewhere."""
        path = _bytes(text).decode()
        if path == self._folder:
            return ""
        return path.removeprefix(self._folder + "/") if path.startswith(self._folder) else None

    def _of_file(self, name, path, rest, result):
        file = self._files[path] if path else FOLDER
        if name in ("fsync", "fdatasync"):
            self.done.append(Sync(file))
        elif path.endswith(_UNSEEN_CONTENT):
            return
        elif name == "ftruncate":
            self._resize(file, int(rest.split(",")[1]))
        else:
            data = _bytes(_TEXT.search(rest)[1])[:result]
            # The kiosk writes without a place only to the end of its spill file.
            at = int(rest.rsplit(",", 1)[1]) if name == "pwrite64" else self._sizes[file]
            self._sizes[file] = max(self._sizes[file], at + len(data))
            self.done.append(Write(file, at, data))

    def _of_folder(self, name, paths, arguments):
        if name == "openat":
            (path,) = paths
            if "O_CREAT" in arguments and path not in self._files:
                self._count += 1
                self._sizes[self._count] = 0
                self._name({path: self._count})
            elif "O_TRUNC" in arguments:
                self._resize(self._files[path], 0)
        elif name.startswith("unlink"):
            self._name(dict.fromkeys(paths))
        else:
            old, new = paths
            self._name({old: None, new: self._files[old]})

    def _name(self, changes):
        self._files.update(changes)
        self._files = {name: file for name, file in self._files.items() if file is not None}
        self.done.append(Names(tuple(changes.items())))

    def _resize(self, file, size):
        self._sizes[file] = size
        self.done.append(Resize(file, size))
