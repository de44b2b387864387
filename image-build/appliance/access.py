"""Who may log in: nobody, unless kiosk.yaml has a key. The host's own key is made on first need."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST_KEY = "ssh_host_ed25519_key"


def authorized(keys: Sequence[str]) -> str:
    """The file of public keys, one a line; its presence is what starts the SSH server."""
    return "".join(f"{key}\n" for key in keys)


def make_host_key(folder: Path) -> bool:
    """Make the host's key where there is none; it lasts, or each start would look like an attack.

    Args:
        folder: /data/ssh, for root alone.

    Returns:
        Whether one was made.

    Raises:
        OSError, subprocess.SubprocessError: It could not be; nothing half made stays.
    """
    if (folder / HOST_KEY).exists():
        return False
    folder.mkdir(mode=0o700, exist_ok=True)
    new = folder / "new"
    shutil.rmtree(new, ignore_errors=True)  # of a start that was cut
    new.mkdir(mode=0o700)
    subprocess.run(  # noqa: S603 - constant words and our own path
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kiosk", "-f", new / HOST_KEY],  # noqa: S607 - wherever the system has it
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
    )
    # The private one last: where it is, all is.
    for name in (f"{HOST_KEY}.pub", HOST_KEY):
        with (new / name).open("rb") as file:
            os.fsync(file.fileno())
        (new / name).replace(folder / name)
    new.rmdir()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return True
