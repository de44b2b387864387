"""Trims Debian's part of the root file system, and takes the boot files out of it."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from builder import base, boot_files, compiled, lock, modules
from builder.lock import Deb
from builder.places import Places
from builder.recipe import Recipe
from builder.room import Room
from builder.steps import digest, kept, key
from builder.tree import Tree, of_bytes
from builder.trouble import BuildError

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Debian:
    """Debian's part, trimmed.

    Attributes:
        tree: A tar archive.
        boot: A folder with the boot files of a slot, each with its full size.
        firmware: A folder with what the firmware itself needs.
    """

    tree: Path
    boot: Path
    firmware: Path
    kernel: str

    def boot_files(self) -> list[tuple[str, Path]]:
        """The boot files by their path below the folder of a slot."""
        files = sorted(file for file in self.boot.rglob("*") if file.is_file())
        return [(file.relative_to(self.boot).as_posix(), file) for file in files]


def make(places: Places, debs: list[Deb], room: Room, tar: Path, epoch: int) -> tuple[Debian, bool]:
    """Trim what mmdebstrap made, and take the boot files out of it.

    Returns:
        The parts, and whether they had to be made.
    """
    recipe = places.recipe
    lists = [places.names(name) for name in ("prune.txt", "modules.txt")]
    module = places.build / "tryboot"
    own = [HERE / f"{name}.py" for name in ("debian", "modules", "boot_files", "compiled", "tree")]
    files = [d.line() for d in lock.of(debs, "card_files", "tools_files")]
    facts = [recipe["boot"], recipe["program"]]
    name = key(tar.name, files, lists, facts, digest([*own, module]), epoch)
    place = places.cache / f"debian-{name}"

    def build(half: Path) -> None:
        half.mkdir(parents=True)
        tree = Tree.from_tar(tar)
        base.check(
            installed(tree["var/lib/dpkg/status"].read().decode()), debs, recipe.lock_command
        )
        kernel = modules.kernel_of(tree)
        _boot(recipe, tree, half / "boot", kernel)
        _firmware(places, debs, half / "firmware")
        modules.prune(tree, places.names("modules.txt"))
        freed = tree.prune(places.names("prune.txt"))
        nothing = [p for p, size in freed.items() if size < 0 and not p.startswith("?")]
        if nothing:
            raise BuildError(f"prune.txt: nothing matches {', '.join(nothing)}.")
        if recipe["program"]["compile_tryboot"]:
            _own_module(places, room, tree, kernel)
        _depmod(places, room, tree, kernel)
        compiled.add(tree, room, places.cache, "usr/lib/python3*.py")
        tree.write_tar(half / "tree.tar", epoch)
        (half / "kernel").write_text(kernel, encoding="utf-8")

    made = kept(place, build)
    kernel = (place / "kernel").read_text(encoding="utf-8")
    return Debian(place / "tree.tar", place / "boot", place / "firmware", kernel), made


def installed(status: str) -> dict[str, str]:
    """Version by name, from dpkg's status file."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return found


def _boot(recipe: Recipe, tree: Tree, target: Path, kernel: str) -> None:
    boot = recipe["boot"]
    image = tree[f"boot/vmlinuz-{kernel}"].read()
    trees = _named(tree, boot["device_trees_in"].replace("KERNEL", kernel), boot["device_trees"])
    overlays = _named(tree, boot["overlays_in"].replace("KERNEL", kernel), boot["overlays"])
    files = boot_files.fixed(image, tree["boot/initrd.img"].read(), trees, overlays)
    for name, data in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)


def _named(tree: Tree, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    """Files of a folder by name.

    Raises:
        BuildError: One is missing that has no `?` before its name.
    """
    found = {}
    for name in names:
        path = tree.resolve(f"{folder}/{name.removeprefix('?')}")
        if path in tree:
            found[name.removeprefix("?")] = tree[path].read()
        elif not name.startswith("?"):
            raise BuildError(f"The kernel brings no {folder}/{name}.")
    return found


def _firmware(places: Places, debs: list[Deb], target: Path) -> None:
    deb = next(d for d in lock.of(debs, "card_files") if d.name == "raspi-firmware")
    target.mkdir()
    with tempfile.TemporaryDirectory(dir=places.cache) as scratch:
        subprocess.run(  # noqa: S603 - ours
            ["/usr/bin/dpkg-deb", "--extract", str(places.debs / deb.sha256), scratch], check=True
        )
        for name in boot_files.FIRMWARE:
            shutil.copy(Path(scratch) / "usr/lib/raspi-firmware" / name, target / name)
        shutil.copy(
            Path(scratch) / "usr/share/doc/raspi-firmware/copyright", target / "LICENCE.broadcom"
        )


def _own_module(places: Places, room: Room, tree: Tree, kernel: str) -> None:
    """Compile our kernel module for the locked kernel."""
    source = places.build / "tryboot"
    with tempfile.TemporaryDirectory(dir=places.cache) as scratch:
        work = Path(scratch) / "module"
        shutil.copytree(source, work)
        room.run(
            *("make", "-C", f"/usr/src/linux-headers-{kernel}", "M=/job/module", "ARCH=arm64"),
            *("CROSS_COMPILE=aarch64-linux-gnu-", "KBUILD_BUILD_TIMESTAMP=0"),
            *("CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"),
            binds={"/job": Path(scratch)},
        )
        made = sorted(work.glob("*.ko"))
        if not made:
            raise BuildError("image-build/tryboot has a Makefile and no module came of it.")
        for file in made:
            room.run(
                *("aarch64-linux-gnu-objcopy", "--strip-debug", "--remove-section"),
                *(".note.gnu.build-id", f"/job/module/{file.name}"),
                binds={"/job": Path(scratch)},
            )
            tree.put(f"usr/lib/modules/{kernel}/updates/{file.name}", of_bytes(file.read_bytes()))


def _depmod(places: Places, room: Room, tree: Tree, kernel: str) -> None:
    top = f"usr/lib/modules/{kernel}"
    with tempfile.TemporaryDirectory(dir=places.cache) as scratch:
        work = Path(scratch)
        tree.extract(work, [path for path, _ in tree.files(f"{top}/*")])
        (work / "lib").symlink_to("usr/lib")
        room.run("depmod", "-b", "/job", kernel, binds={"/job": work})
        for file in sorted((work / top).glob("modules.*")):
            tree.put(f"{top}/{file.name}", of_bytes(file.read_bytes()))
    for text in ("modules.alias", "modules.dep", "modules.symbols"):
        # modprobe reads the .bin of each; the text is for people.
        tree.remove_one(f"{top}/{text}")
