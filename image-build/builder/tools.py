"""Makes the tree of tools: trixie for x86-64, from locked packages."""

import shutil
import tempfile
from pathlib import Path

from builder import archive, host, lock
from builder.lock import Deb
from builder.places import Places
from builder.room import Room, execute
from builder.steps import digest, discard, key

EXCLUDED = ("doc", "man", "locale", "info")
OPTIONS = [
    "--variant=apt",
    "--mode=root",
    "--architectures=amd64",
    "--dpkgopt=force-unsafe-io",
    '--aptopt=APT::Sandbox::User "root"',
    '--aptopt=APT::Install-Recommends "false"',
]


def make(places: Places, debs: list[Deb], *, as_user: bool, log: Path) -> tuple[Room, bool]:
    """Have the tree of tools.

    Returns:
        The tree, and whether it had to be made.
    """
    used = lock.of(debs, "tools", "tools_files")
    files = [deb for deb in lock.of(debs, "card_files") if deb.name != "raspi-firmware"]
    name = key("tools", [d.line() for d in used + files], digest([Path(__file__)]), as_user)
    root = places.cache / f"tools-{name}"
    room = Room(root, as_user)
    if (root / "etc" / "made").exists():
        return room, False
    if root.exists():
        room.outside("rm", "-rf", str(root))
    names = places.recipe["tools"]
    with tempfile.TemporaryDirectory(dir=places.cache) as folder:
        here = Path(folder) / "repository"
        archive.repository(lock.of(debs, "tools"), places.debs, here)
        execute(
            [
                *host.namespace(as_user=as_user),
                "mmdebstrap",
                *OPTIONS,
                *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in EXCLUDED),
                f"--include={','.join(names)}",
                "trixie",
                str(root),
                f"deb [trusted=yes] copy://{here} ./",
            ],
            "mmdebstrap (tools)",
            log,
        )
        extras = [*lock.of(debs, "tools_files"), *files]
        for deb in extras:
            shutil.copy(places.debs / deb.sha256, here / "extra.deb")
            room.outside("dpkg-deb", "--extract", str(here / "extra.deb"), str(root))
            discard(here / "extra.deb")
    room.outside("touch", str(root / "etc" / "made"))
    return room, True
