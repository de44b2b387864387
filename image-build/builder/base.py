"""Makes the tree of Debian packages for the card, from locked packages alone."""

import shutil
import tempfile
from pathlib import Path

from builder import archive, lock
from builder.lock import Deb
from builder.places import Places
from builder.room import Room
from builder.steps import digest, kept, key
from builder.trouble import BuildError

HERE = Path(__file__).parent
EXCLUDED = ("doc", "man", "locale", "info", "lintian", "bug", "linda", "pixmaps", "icons")


def make(places: Places, debs: list[Deb], room: Room, epoch: int, log: Path) -> tuple[Path, bool]:
    """Have the tree as a tar archive, owners and all.

    No file inside is newer than `epoch`, in seconds since 1970.

    Returns:
        The archive, and whether it had to be made.

    Raises:
        BuildError: mmdebstrap failed, or installed something else than what is locked.
    """
    used = lock.of(debs, "card")
    hooks = places.build / "overlay" / "etc" / "initramfs-tools"
    own = [HERE / "native.sh", HERE / "native-end.sh", HERE / "base.py"]
    listed = places.names("initramfs-modules.txt")
    names = places.recipe["card"]
    parts = digest([*own, hooks] if hooks.exists() else own)
    name = key(names, [d.line() for d in used], parts, listed, room.root.name)
    path = places.cache / f"base-{name}.tar"

    def build(half: Path) -> None:
        with tempfile.TemporaryDirectory(dir=places.cache) as folder:
            work = Path(folder)
            archive.repository(used, places.debs, work / "repository")
            for file in own:
                shutil.copy(file, work)
            (work / "initramfs-modules.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
            if hooks.exists():
                shutil.copytree(hooks, work / "initramfs-tools")
            room.run(
                *("mmdebstrap", "--variant=essential", "--architectures=arm64", "--mode=root"),
                *("--format=tar", "--verbose"),
                '--aptopt=APT::Install-Recommends "false"',
                '--aptopt=APT::Sandbox::User "root"',
                # The tree is thrown away where a build is cut; nothing of it need be on disk early.
                "--dpkgopt=force-unsafe-io",
                *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in EXCLUDED),
                # Licences ask to be passed on with the program.
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                f"--include={','.join(names)}",
                "--extract-hook=sh /job/native.sh $1",
                "--customize-hook=sh /job/native-end.sh $1",
                *("trixie", "/job/base.tar", "deb [trusted=yes] copy:///job/repository ./"),
                binds={"/job": work},
                # Nothing of the card may start services here; the policy is mmdebstrap's own.
                env={"SOURCE_DATE_EPOCH": str(epoch), "DEBIAN_FRONTEND": "noninteractive"},
                log=log,
            )
            shutil.move(work / "base.tar", half)

    return path, kept(path, build)


def check(installed: dict[str, str], debs: list[Deb], command: str) -> None:
    """See that what was installed is what the lock says.

    Args:
        installed: Version by name, from dpkg's status.
        debs: The lock.
        command: What writes the lock anew.

    Raises:
        BuildError: They differ.
    """
    locked = {deb.name: deb.version for deb in lock.of(debs, "card")}
    if installed != locked:
        odd = sorted(set(installed.items()) ^ set(locked.items()))
        raise BuildError(f"Installed is not what is locked: {odd[:6]}. `{command}` mends it.")
