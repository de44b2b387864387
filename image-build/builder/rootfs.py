"""Puts the root file system together: Debian's part, the Python packages, the kiosk."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from builder import compiled, elf, units, users
from builder.debian import Debian
from builder.places import Places
from builder.room import Room
from builder.tree import Tree, folder, link, of_bytes, of_file
from builder.trouble import BuildError

HERE = Path(__file__).parent
PROGRAM = "opt/kiosk"
VENV = f"{PROGRAM}/.venv"
PROJECT = (
    "kiosk",
    "hardware",
    "config",
    "image-build/appliance",
    "image-build/systemd",
    "README.md",
    "LICENSE",
)
SCANNER = "etc/systemd/system/kiosk-scanner.service.d"


def tracked(places: Places, *, with_new: bool) -> list[str]:
    """The project's files that belong on the card, as git knows them.

    `with_new` takes those too that are not added to git yet.
    """
    words = ["git", "-C", str(places.project), "ls-files", "-z", "--cached"]
    if with_new:
        words += ["--others", "--exclude-standard"]
    done = subprocess.run([*words, *PROJECT], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildError("This is no clone of the repository: git does not list its files here.")
    names = sorted(set(done.stdout.split("\0")) - {""})
    return [name for name in names if (places.project / name).is_file()]


def kiosk(
    places: Places,
    room: Room,
    parts: Debian,
    wheels: Path,
    *,
    facts: dict[str, str],
    keyring: Path | None,
    with_new: bool,
) -> Tree:
    """The whole tree.

    `facts` are for /usr/lib/kiosk/version.json, `keyring` is the certificate that updates must come
    from.
    """
    recipe = places.recipe
    tree = Tree.from_tar(parts.tree)
    tree.merge(Tree.from_tar(wheels))
    project = Tree()
    for name in tracked(places, with_new=with_new):
        project.put(f"{PROGRAM}/{name}", of_file(places.project / name))
    compiled.add(project, room, places.cache)
    tree.merge(project)
    _venv(tree, with_system=recipe["program"]["system_site_packages"])
    _system(tree)
    tree.put_folder("", places.build / "overlay")
    tree.remove("etc/initramfs-tools")
    for path, entry in tree.files("etc/sudoers.d/*"):
        tree.put(path, replace(entry, mode=0o440))
    for path, entry in tree.files("etc/rauc/*.conf"):
        text = entry.read().decode()
        text = text.replace("@COMPATIBLE@", recipe["compatible"])
        text = text.replace("@VERSION@", facts["version"])
        tree.put(path, of_bytes(text.encode()))
    if keyring:
        tree.put("etc/rauc/keyring.pem", of_file(keyring, 0o644))
    for unit in ("kiosk.service", "kiosk-scanner.service"):
        tree.put(f"usr/lib/systemd/system/{unit}", of_file(places.build / "systemd" / unit, 0o644))
    for name in recipe["program"]["scanner_drop_ins"]:
        tree.put(f"{SCANNER}/{name}", of_file(places.build / "systemd" / name, 0o644))
    _setuid(tree, places.names("setuid.txt"))
    users.add(tree, places.names("users.txt"))
    units.apply(tree, places.names("units.txt"))
    tree.put("usr/lib/kiosk/version.json", of_bytes((json.dumps(facts) + "\n").encode()))
    for name, file in parts.boot_files():
        tree.put(f"usr/lib/kiosk/boot/{name}", of_file(file, 0o644))
    tree.put("usr/lib/kiosk/boot/cmdline.txt", of_file(places.build / "boot/cmdline.txt", 0o644))
    if broken := elf.faults(tree):
        raise BuildError(f"Something is missing on the card: {'; '.join(broken[:8])}.")
    return tree


def _setuid(tree: Tree, stay: list[str]) -> None:
    """Take the bits away that make a program run as its owner or group."""
    for path in stay:
        if path not in tree:
            raise BuildError(f"setuid.txt: there is no {path}.")
    for path, entry in tree.files():
        if entry.mode & 0o6000 and path not in stay:
            tree.put(path, replace(entry, mode=entry.mode & 0o777))


def _venv(tree: Tree, *, with_system: bool) -> None:
    """What `python3 -m venv` would make, and the package that `pip install -e` would.

    `with_system` lets it see the Python packages that are installed beside it.
    """
    tree.put(f"{VENV}/bin/python", link("/usr/bin/python3"))
    tree.put(f"{VENV}/bin/python3", link("python"))
    sees = str(with_system).lower()
    settings = f"home = /usr/bin\ninclude-system-site-packages = {sees}\nversion = 3.13\n"
    tree.put(f"{VENV}/pyvenv.cfg", of_bytes(settings.encode()))
    tree.put(f"{VENV}/lib/python3.13/site-packages/kiosk.pth", of_bytes(f"/{PROGRAM}\n".encode()))
    script = f"#!/{VENV}/bin/python\nimport sys\n\nfrom kiosk.cli import main\n\nsys.exit(main())\n"
    tree.put(f"{VENV}/bin/kiosk", of_bytes(script.encode(), 0o755))
    tree.put("usr/local/bin/kiosk", link(f"/{VENV}/bin/kiosk"))


def _system(tree: Tree) -> None:
    """The places where things are mounted, and the files that belong to one machine."""
    for path in ("boot/firmware", "data", "dev", "proc", "sys", "run", "mnt", "media", "home"):
        tree.put(path, folder())
    tree.put("tmp", folder(0o1777))
    tree.put("root", folder(0o700))
    tree.put("var/lib/kiosk", folder(0o700, 701, 701))
    tree.put("etc/kiosk", folder(0o755))
    tree.put("usr/lib/clock-epoch", of_bytes(b""))
    tree.put("etc/hostname", of_bytes(b"kiosk\n"))
    tree.put("etc/hosts", of_bytes(b"127.0.0.1 localhost\n127.0.1.1 kiosk\n::1 localhost\n"))
    # Empty: systemd makes up an identity for each start. A written one would be the same on all
    # kiosks; "uninitialized" would count every start as the first.
    tree.put("etc/machine-id", of_bytes(b"", 0o444))
    tree.put("etc/resolv.conf", link("../run/systemd/resolve/stub-resolv.conf"))
    tree.put("etc/localtime", link("/usr/share/zoneinfo/Etc/UTC"))
    tree.put("etc/locale.conf", of_bytes(b"LANG=C.UTF-8\n"))
    tree.put("etc/mtab", link("../proc/self/mounts"))
    for path in [p for p in tree.entries if p.startswith("etc/ssh/ssh_host_")]:
        tree.remove_one(path)
    for path in ("etc/apt", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-"):
        tree.remove(path)
