"""The configuration in force, on the data partition: one folder, put in place by one rename.

    kiosk.yaml -> current/kiosk.yaml      board.yaml, keys: likewise
    current -> sets/7
    sets/7/                               kiosk.yaml board.yaml keys/ taken/

A power cut leaves the old set in force or the new one, never a mixture. `taken/` is for root
alone: the technician's file as it came, what was left of it, and the secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

KIOSK, BOARD, KEYS = "kiosk.yaml", "board.yaml", "keys"
_CURRENT, _SETS, _NEW = "current", "sets", "current.new"
_WHOLE, _LEFT, _SECRETS = "taken/whole.yaml", "taken/left.yaml", "taken/secrets.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the kiosk took last.

    Attributes:
        whole: kiosk.yaml as it stood on the card, secrets included.
        left: The same without them: what the card has, or is to have.
        secrets: By dotted key.
        files: By bare name.
        private: Which of these leave nothing but x on the card.
        kiosk: The configuration of the payment process.
        board: What the scanner may read too.
    """

    whole: bytes
    left: bytes
    secrets: dict[str, str]
    kiosk: bytes
    board: bytes
    files: dict[str, bytes] = field(default_factory=dict)
    private: frozenset[str] = frozenset()


class Store:
    """The sets below one folder. Nobody else writes there.

    Args:
        root: /data/etc, seen by the kiosk as /etc/kiosk.
        group: Who may read what is not for everybody; None leaves the group as it is.
    """

    def __init__(self, root: Path, *, group: int | None) -> None:
        self._root = root
        self._group = group

    @property
    def folder(self) -> Path | None:
        """Where the set in force stands."""
        folder = self._root / _CURRENT
        return folder if (folder / KIOSK).is_file() else None

    def kept(self) -> Kept | None:
        """The set in force.

        Raises:
            OSError, ValueError: It is there and cannot be read.
        """
        folder = self.folder
        if folder is None:
            return None
        about = json.loads((folder / _SECRETS).read_text(encoding="utf-8"))
        return Kept(
            whole=(folder / _WHOLE).read_bytes(),
            left=(folder / _LEFT).read_bytes(),
            secrets=about["secrets"],
            kiosk=(folder / KIOSK).read_bytes(),
            board=(folder / BOARD).read_bytes(),
            files={path.name: path.read_bytes() for path in (folder / KEYS).iterdir()},
            private=frozenset(about["private"]),
        )

    def prepare(self, kept: Kept) -> Path:
        """Write a set that is not in force yet; all of it is durable on return.

        Raises:
            OSError: It cannot be written; the set in force stays.
        """
        self.tidy()
        sets = self._root / _SETS
        sets.mkdir(parents=True, exist_ok=True)
        sets.chmod(0o755)  # whatever the umask: two users read what stands below
        number = 1 + max((int(path.name) for path in sets.iterdir()), default=0)
        folder = sets / str(number)
        for path, mode in ((folder, 0o755), (folder / KEYS, 0o750), (folder / "taken", 0o700)):
            path.mkdir()
            self._give(path, mode)
        about = {"secrets": kept.secrets, "private": sorted(kept.private)}
        self._write(folder / KIOSK, kept.kiosk, 0o640)
        self._write(folder / BOARD, kept.board, 0o644)
        for name, data in kept.files.items():
            self._write(folder / KEYS / name, data, 0o640)
        self._write(folder / _WHOLE, kept.whole, 0o600)
        self._write(folder / _LEFT, kept.left, 0o600)
        self._write(folder / _SECRETS, json.dumps(about).encode(), 0o600)
        for path in (folder / KEYS, folder / "taken", folder, sets, self._root):
            _sync(path)
        return folder

    def put(self, folder: Path) -> None:
        """Put a prepared set in force; durable on return.

        Raises:
            OSError: The set in force stays, or the new one stands there: one of the two.
        """
        for name in (KIOSK, BOARD, KEYS):
            self._link(name, f"{_CURRENT}/{name}")
        self._link(_CURRENT, f"{_SETS}/{folder.name}")
        _sync(self._root)

    def tidy(self) -> None:
        """Delete every set but the one in force: they hold secrets too."""
        with contextlib.suppress(FileNotFoundError):
            (self._root / _NEW).unlink()
        link = self._root / _CURRENT
        in_force = link.readlink().name if link.is_symlink() else ""
        with contextlib.suppress(FileNotFoundError):
            for path in (self._root / _SETS).iterdir():
                if path.name != in_force:
                    shutil.rmtree(path)

    def _link(self, name: str, target: str) -> None:
        path, new = self._root / name, self._root / _NEW
        if path.is_symlink() and str(path.readlink()) == target:
            return
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(path)

    def _write(self, path: Path, data: bytes, mode: int) -> None:
        with path.open("xb") as file:
            self._give(path, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _give(self, path: Path, mode: int) -> None:
        if self._group is not None and mode & 0o070:
            os.chown(path, -1, self._group)
        path.chmod(mode)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
