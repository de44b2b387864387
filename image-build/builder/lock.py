"""The lock of the Debian packages: name, architecture, version and hash; no host, no index."""

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path

from builder.trouble import BuildError

COMMAND = "make image-lock"
HEAD = """\
# The Debian packages of the image and of the tools that make it: name:architecture, version,
# SHA-256 of the .deb. Written by `{command}`. The word before them says what for.
# The archive as of {at}
"""
ROLES = ("card", "card_files", "tools", "tools_files")


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """One package.

    Attributes:
        role: What it is for, one of ROLES.
        arch: arm64, amd64 or all.
        sha256: Of the whole file.
    """

    role: str
    name: str
    arch: str
    version: str
    sha256: str

    def line(self) -> str:
        """As it stands in the lock."""
        return f"{self.role} {self.name}:{self.arch} {self.version} {self.sha256}"


def parse(text: str) -> list[Deb]:
    """Read a lock.

    Raises:
        BuildError: A line is no package.
    """
    debs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(
            r"([a-z_]+) ([a-z0-9.+-]+):(arm64|amd64|all) ([A-Za-z0-9.+:~-]+) ([0-9a-f]{64})", line
        )
        if not match or match[1] not in ROLES:
            raise BuildError(f"Line {number} of the lock is no package: {line!r}.")
        debs.append(Deb(*match.groups()))
    return debs


def read(path: Path, how: str = f"`{COMMAND}` writes it") -> list[Deb]:
    """Read the lock of the project.

    Raises:
        BuildError: It is missing, and `how` says what to do, or it is damaged.
    """
    if not path.exists():
        raise BuildError(f"{path.name} is missing; {how}.")
    return parse(path.read_text(encoding="utf-8"))


def time_of(path: Path) -> int:
    """When the lock was made, in seconds since 1970.

    Raises:
        BuildError: It does not say.
    """
    match = re.search(
        r"^# The archive as of (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    if not match:
        raise BuildError(f"{path.name} does not say of when it is; `make image-lock` mends it.")
    return int(dt.datetime.fromisoformat(match[1]).timestamp())


def write(path: Path, debs: list[Deb], at: dt.datetime, command: str = COMMAND) -> None:
    """Write the lock, sorted, so that a change shows as a change; `command` writes it again."""
    lines = [deb.line() for deb in sorted(set(debs), key=lambda d: (ROLES.index(d.role), d))]
    path.write_text(
        HEAD.format(at=at.isoformat(), command=command) + "\n".join(lines) + "\n", encoding="utf-8"
    )


def of(debs: list[Deb], *roles: str) -> list[Deb]:
    """The packages for these ends."""
    return [deb for deb in debs if deb.role in roles]
