"""The short way of a start: nothing changed since the last one, so its rendering holds again.

Intake loads half of the kiosk's program to look at one file, and the kiosk waits for it at each
start. So a run that left nothing to do keeps what it looked at and what it wrote, in root's part of
the set in force, and goes with that set. Here is looked at the same things, byte for byte, and the
same is written. Whatever differs, is missing or cannot be read: the whole way, `appliance.intake`.
"""

from __future__ import annotations

import os
import sys
import time

# No module that can be spared, not even `site`: see the unit.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DATA, ROOT = "/data", "/"
KEPT = "etc/current/taken/rendered"
_SAME, _FILE, _TOLD, _GONE, _NAME, _LOOK = b"same", b"file", b"told", b"gone", b"name", b"look"
_END = b"end"
_NO_TIME = b'"at": ""}'


def system(root: str = ROOT) -> bytes:
    """Which system this is: another image has another size, or another number of files."""
    found = os.statvfs(root)
    return b"%d %d" % (found.f_blocks, found.f_files)


class Rendering:
    """What a run looked at and what it wrote, as one file.

    Each entry is a line `kind length mode name` and so many bytes; a length of -1 is no file.
    """

    def __init__(self) -> None:
        self._entries: list[bytes] = []

    def looked_at(self, path: str) -> None:
        """A file that must be the same, or missing again. Raises OSError."""
        self._add(_SAME, path, _read(path))

    def needs(self, path: str) -> None:
        """A file that must be there, whatever it holds."""
        self._add(_LOOK, path, None)

    def wrote(self, path: str, data: bytes, mode: int) -> None:
        """A file below /run."""
        self._add(_FILE, path, data, mode)

    def told(self, path: str, data: bytes, mode: int) -> None:
        """The result, without its time: `"at": ""` at its end."""
        self._add(_TOLD, path, data, mode)

    def named(self, path: str, data: bytes) -> None:
        """The kernel's file with the name of this machine."""
        self._add(_NAME, path, data)

    def left_out(self, paths: Iterable[str]) -> None:
        """Files that are not there after this."""
        for path in paths:
            self._add(_GONE, path, None)

    def keep(self, data: str, root: str = ROOT) -> None:
        """Make it durable in the set in force; whole or not at all.

        Raises:
            OSError: It is not kept, and the next start goes the whole way.
        """
        path = f"{data}/{KEPT}"
        new = f"{path}.new"
        entries = [_entry(b"system", "", system(root)), *self._entries, _entry(_END, "", b"")]
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - no pathlib here
                file.write(b"".join(entries))
                file.flush()
                os.fsync(fd)
            os.rename(new, path)  # noqa: PTH104 - no pathlib here
        except OSError:
            os.unlink(new)  # noqa: PTH108 - as above
            raise

    def _add(self, kind: bytes, path: str, data: bytes | None, mode: int = 0) -> None:
        self._entries.append(_entry(kind, path, data, mode))


def again(data: str = DATA, root: str = ROOT, *, is_mounted: bool | None = None) -> bool:
    """Do again what the last start did, where all is as it was then.

    Args:
        data: The data partition.
        root: The root file system.
        is_mounted: Whether the data partition is one; None looks.

    Returns:
        Whether it is done; False leaves everything to the whole way.
    """
    if not (os.path.ismount(data) if is_mounted is None else is_mounted):
        return False
    try:
        # Made anew by root: see `intake`.
        if os.stat(f"{data}/kiosk").st_uid == 0:  # noqa: PTH116 - no pathlib here
            return False
        entries = _entries(_read(f"{data}/{KEPT}"))
        if not entries or entries[0][3] != system(root):
            return False
        if not all(_holds(kind, path, content) for kind, _, path, content in entries):
            return False
        for kind, mode, path, content in entries:
            _do(kind, mode, path, content)
    except (OSError, ValueError):
        return False
    return True


def write(path: str, data: bytes, mode: int) -> None:
    """Write a file of a mode that does not depend on the umask; whole or not at all."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - no pathlib here
    new = f"{folder}/.{name}.new"
    _remove(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:  # noqa: PTH123 - as above
        os.fchmod(fd, mode)
        file.write(data)
    os.rename(new, path)  # noqa: PTH104 - as above


def _holds(kind: bytes, path: str, content: bytes | None) -> bool:
    if kind == _SAME:
        # Not more of it than can be the same: nobody knows what was put there.
        return _read(path, len(content or b"") + 1) == content
    return kind != _LOOK or os.path.exists(path)  # noqa: PTH110 - no pathlib here


def _do(kind: bytes, mode: int, path: str, content: bytes | None) -> None:
    if kind == _GONE:
        _remove(path)
    elif kind == _NAME:
        with open(path, "wb") as file:  # noqa: PTH123 - no pathlib here
            file.write(content or b"")
    elif kind == _FILE:
        write(path, content or b"", mode)
    elif kind == _TOLD:
        at = time.strftime('"at": "%Y-%m-%dT%H:%M:%S+00:00"}', time.gmtime()).encode()
        write(path, (content or b"").replace(_NO_TIME, at), mode)


def _read(path: str, most: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - no pathlib here
            return file.read(most)
    except FileNotFoundError:
        return None


def _remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib loads more than this
        os.unlink(path)  # noqa: PTH108 - no pathlib here
    except FileNotFoundError:
        pass


def _entry(kind: bytes, path: str, data: bytes | None, mode: int = 0) -> bytes:
    length = -1 if data is None else len(data)
    return b"%s %d %d %s\n%s" % (kind, length, mode, os.fsencode(path), data or b"")


def _entries(kept: bytes | None) -> list[tuple[bytes, int, str, bytes | None]]:
    """The entries of a file; [] unless it is whole. Raises ValueError."""
    found: list[tuple[bytes, int, str, bytes | None]] = []
    at = 0
    while kept is not None and at < len(kept):
        end = kept.index(b"\n", at)
        kind, length, mode, path = kept[at:end].split(b" ", 3)
        if kind == _END:
            return found if end + 1 == len(kept) else []
        at = end + 1 + max(0, int(length))
        content = None if int(length) < 0 else kept[end + 1 : at]
        found.append((kind, int(mode), os.fsdecode(path), content))
    return []


def main() -> int:
    """Run it on the card: the short way, or else the whole one."""
    if again():
        return 0
    import site

    site.main()  # left out until now: the whole way needs the packages
    from appliance import intake

    return intake.main()


if __name__ == "__main__":
    sys.exit(main())
