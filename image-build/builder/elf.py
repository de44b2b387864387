"""What a program needs before it can start, read from its file."""

import struct
from dataclasses import dataclass

from builder.tree import Tree

ARM64 = 183
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRTAB = 1, 5


@dataclass(frozen=True, slots=True)
class Program:
    """A program or library.

    Attributes:
        machine: Its processor, by the number of the ELF standard.
        interpreter: The loader that the kernel starts for it, or "".
        needed: Names of the libraries that it is linked with.
    """

    machine: int
    interpreter: str
    needed: tuple[str, ...]


def read(data: bytes) -> Program | None:
    """What stands in a file; None where it is no program of 64 bits, little-endian."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        return None
    machine = struct.unpack_from("<H", data, 18)[0]
    at, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQ", data, at + size * n) for n in range(count)]
    interpreter, needed, strings = "", [], 0
    for kind, _, offset, _, _, length in segments:
        if kind == _INTERPRETER:
            interpreter = data[offset : offset + length].rstrip(b"\0").decode()
        if kind == _DYNAMIC:
            for place in range(offset, offset + length, 16):
                tag, value = struct.unpack_from("<QQ", data, place)
                if tag == _NEEDED:
                    needed.append(value)
                elif tag == _STRTAB:
                    strings = value
    for kind, _, offset, address, _, length in segments:
        if kind == _LOAD and address <= strings < address + length:
            strings += offset - address
            break
    names = (data[strings + n : data.index(b"\0", strings + n)].decode() for n in needed)
    return Program(machine, interpreter, tuple(names))


def faults(tree: Tree) -> list[str]:
    """What could not start in a tree: a program for another processor, a library or loader away."""
    there = {path.rpartition("/")[2] for path in tree.entries}
    found = []
    for path, entry in tree.files():
        if entry.size < 64 or ".ko" in path or path.endswith((".py", ".pyc")):
            continue
        program = read(entry.read())
        if program is None:
            continue
        if program.machine != ARM64:
            found.append(f"{path} is no program for arm64")
        found += [f"{path} needs {name}" for name in program.needed if name not in there]
        if program.interpreter and not tree.reaches(program.interpreter):
            found.append(f"{path} needs {program.interpreter}")
    return found
