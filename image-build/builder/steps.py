"""What a build does, step by step with its seconds, and what it kept from the last one."""

import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


class Steps:
    """Tells on stderr what runs and how long it took."""

    def __init__(self, out: Callable[[str], object] | None = None) -> None:
        self._out = out or sys.stderr.write
        self._began_s = time.monotonic()
        self.seconds: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """One line that is no step."""
        self._out(f"        {sentence}\n")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        began_s = time.monotonic()
        yield
        took_s = time.monotonic() - began_s
        self.seconds[name] = took_s
        self._out(f"{took_s:6.1f} s  {name}\n")

    def total_s(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self._began_s


def key(*parts: object) -> str:
    """A name for what is made from these parts: the same parts, the same name."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]


def digest(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Name and hash of files; of folders, all files inside."""
    found = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_symlink():
                found.append((file.name, str(file.readlink())))
            elif file.is_file() and "__pycache__" not in file.parts:
                found.append((file.name, hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def kept(path: Path, make: Callable[[Path], None]) -> bool:
    """Make a file or folder unless it is there already; never leave half of one.

    Args:
        path: Its name; what it depends on is part of the name.
        make: Makes it at the path that it is given.

    Returns:
        Whether it had to be made.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".half")
    discard(half)
    make(half)
    half.rename(path)
    return True


def discard(path: Path) -> None:
    """Delete a file or a folder that this user may delete."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
