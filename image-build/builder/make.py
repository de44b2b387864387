"""All steps of an image, from the locks to the files that are published."""

import contextlib
import datetime as dt
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder import archive, base, bundle, card, host, lock, parts, rootfs, tools, wheels
from builder import debian as debian_part
from builder.places import Places
from builder.room import Room
from builder.steps import Steps, discard
from builder.tree import Tree, of_bytes
from builder.trouble import BuildError

LEAST_FREE_BYTES = 6 << 30


@dataclass(frozen=True, slots=True)
class Wishes:
    """What can be chosen.

    Attributes:
        update_keys: A folder with keys, or "" for one's own.
        url: Where the image will be published, or "" for where it is made.
        with_new: Files that git does not know yet go onto the card too.
    """

    update_keys: str = ""
    url: str = ""
    with_new: bool = False


def epoch_of(places: Places) -> int:
    """The time that all files of the image bear: SOURCE_DATE_EPOCH, or the last commit's.

    Raises:
        BuildError: There is neither.
    """
    if said := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(said)
    done = subprocess.run(  # noqa: S603 - ours
        ["git", "-C", str(places.project), "log", "-1", "--format=%ct"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not done.stdout.strip():
        raise BuildError("This is no clone of the repository; say SOURCE_DATE_EPOCH=SECONDS then.")
    return int(done.stdout)


def commit_of(places: Places) -> str:
    """The commit that is built, with `+` where files were changed since."""
    words = ["git", "-C", str(places.project)]
    head = subprocess.run(  # noqa: S603
        [*words, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run([*words, "diff", "--quiet", "HEAD"], check=False).returncode  # noqa: S603
    return head + ("+" if changed else "")


def image(places: Places, wishes: Wishes, steps: Steps) -> list[Path]:
    """Make an image and all that belongs to it.

    Returns:
        The files, in the folder `places.out`.

    Raises:
        BuildError: It cannot be made.
    """
    as_user = host.check(steps.say)
    places.cache.mkdir(parents=True, exist_ok=True)
    with _alone(places.cache, steps):
        return _image(places, wishes, steps, as_user=as_user)


@contextlib.contextmanager
def _alone(cache: Path, steps: Steps) -> Iterator[None]:
    """One build at a time in a cache, and nothing left of one that was killed."""
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            steps.say("Another build uses the cache; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        for left in [*cache.glob("*.half"), *cache.glob("tmp*")]:
            discard(left)
        yield


def _tidy(cache: Path, room: Room, used: list[Path]) -> None:
    """Keep what this build used and one more of each kind; the rest is of days gone by."""
    for path in used:
        os.utime(path)
    for kind in ("tools", "base", "wheels", "debian"):
        found = sorted(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
        for old in found[:-2]:
            room.outside("rm", "-rf", str(old))


def _image(places: Places, wishes: Wishes, steps: Steps, *, as_user: bool) -> list[Path]:
    if shutil.disk_usage(places.cache).free < LEAST_FREE_BYTES:
        raise BuildError(
            f"{places.cache} needs 6 GB of room; KIOSK_IMAGE_CACHE= names another place."
        )
    recipe = places.recipe
    debs = lock.read(places.lock, recipe.lock_hint)
    # What comes from the locks alone bears the locks' time, so that a commit does not make it anew.
    old = lock.time_of(places.lock)
    epoch = epoch_of(places)
    logs = places.cache / "logs"
    logs.mkdir(exist_ok=True)

    with steps.step("download the locked packages"):
        archive.fetch(debs, places.debs, archive.Archive(recipe))
    with steps.step("tree of tools"):
        room, _ = tools.make(places, debs, as_user=as_user, log=logs / "tools.log")
    with steps.step("Debian's packages for arm64"):
        tar, _ = base.make(places, debs, room, old, logs / "base.log")
    with steps.step("Python packages for arm64"):
        site, _ = wheels.make(places, room, old)
    with steps.step("what is not needed goes, Python is compiled"):
        debian, _ = debian_part.make(places, debs, room, tar, old)
    keys = bundle.keys(places, room, wishes.update_keys, steps.say)
    version = places.version() + ("+test" if keys.are_of_the_tests else "")
    name = f"kiosk-{version}-{recipe['label']}"
    facts = {
        "version": version,
        "built_at": dt.datetime.fromtimestamp(epoch, dt.UTC).isoformat(),
        "commit": commit_of(places),
        "base": recipe.base,
        "kernel": debian.kernel,
    }
    with tempfile.TemporaryDirectory(dir=places.cache) as folder:
        work = Path(folder)
        with steps.step("the kiosk"):
            tree = rootfs.kiosk(
                places,
                room,
                debian,
                site,
                facts=facts,
                keyring=keys.folder / "ca.pem",
                with_new=wishes.with_new,
            )
            files = card.fat_files(places, debian)
            tree.put("usr/lib/kiosk/fat.json", of_bytes(card.manifest(files)))
        with steps.step("root file system"):
            root = card.squashfs(room, work, tree, epoch)
        with steps.step("card"):
            card.fat(room, work, files, epoch)
            card.data(room, work, epoch)
            raw = card.image(room, work, root)
        with steps.step("update bundle"):
            made = bundle.make(
                places,
                room,
                work,
                root,
                keys,
                f"{name}.raucb",
                version=version,
                compatible=recipe["compatible"],
                build=facts["built_at"],
            )
        with steps.step("checksum, block map, xz"):
            published = _publish(places, room, work, raw, root.stat().st_size, name)
            published.append(_move(made, places.out / made.name))
        with steps.step("lists of parts"):
            published += _lists(places, debs, tree, name, version, wishes, epoch)
    _tidy(places.cache, room, [room.root, tar, site, debian.tree.parent])
    for line in _figures(published, root_bytes=_used(tree)):
        steps.say(line)
    _give_back(published)
    return published


def _publish(
    places: Places, room: Room, work: Path, raw: Path, root_bytes: int, name: str
) -> list[Path]:
    """Pack the card and say what it is."""
    card.pack(room, work, raw, root_bytes, name)
    places.out.mkdir(parents=True, exist_ok=True)
    for old in places.out.glob("kiosk-*-arm64*"):
        discard(old)
    return [
        _move(work / f"{name}{ending}", places.out / f"{name}{ending}")
        for ending in (".img.xz", ".img.xz.sha256", ".img.bmap", ".img")
    ]


def _lists(
    places: Places,
    debs: list[lock.Deb],
    tree: Tree,
    name: str,
    version: str,
    wishes: Wishes,
    epoch: int,
) -> list[Path]:
    """Write the lists of parts and the repository for Imager."""
    on_card = lock.of(debs, "card")
    on_card += [deb for deb in lock.of(debs, "card_files") if deb.name == "raspi-firmware"]
    found = parts.deb_parts(on_card, parts.licences(tree))
    found += parts.python_parts(places.project / ".lock", wheels.packages(places))
    packed, raw = places.out / f"{name}.img.xz", places.out / f"{name}.img"
    url = wishes.url.rstrip("/") + f"/{packed.name}" if wishes.url else packed.as_uri()
    told = {
        f"{name}.cdx.json": parts.sbom(f"kiosk-{places.recipe['label']}", version, found, epoch),
        f"{name}.packages.txt": parts.listing(found),
        f"{name}.imager.json": parts.imager(
            f"{places.recipe['title']} {version}",
            url,
            size=raw.stat().st_size,
            sha256=_sha256(raw),
            packed_size=packed.stat().st_size,
            packed_sha256=_sha256(packed),
            epoch=epoch,
        ),
    }
    for file, data in told.items():
        (places.out / file).write_bytes(data)
    return [places.out / file for file in told]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move(source: Path, target: Path) -> Path:
    try:
        source.replace(target)
    except OSError:
        # Another file system. cp keeps the holes of the image.
        subprocess.run(["/bin/cp", "--sparse=always", str(source), str(target)], check=True)  # noqa: S603
    return target


def _used(tree: Tree) -> int:
    return sum(entry.size for entry in tree.entries.values())


def _figures(published: list[Path], root_bytes: int) -> list[str]:
    packed = next(path for path in published if path.name.endswith(".img.xz"))
    return [
        f"{packed.name}: {packed.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(packed)}",
        f"root file system unpacked: {root_bytes / 1e6:.0f} MB",
        *(
            f"{path.name}: {path.stat().st_size / 1e6:.1f} MB"
            for path in published
            if path.suffix == ".raucb"
        ),
    ]


def _give_back(published: list[Path]) -> None:
    """What `sudo make image` made belongs to who called sudo."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user and group and os.geteuid() == 0:
        for path in [*published, published[0].parent]:
            os.chown(path, int(user), int(group))
