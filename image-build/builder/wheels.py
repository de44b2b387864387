"""The Python packages of the card: locked wheels for its processor, and lgpio from source."""

import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from builder import compiled
from builder.places import Places
from builder.room import Room, execute
from builder.steps import digest, kept, key
from builder.tree import Tree
from builder.trouble import BuildError

PYTHON = "313"
PLATFORMS = (
    "manylinux_2_36_aarch64",
    "manylinux_2_34_aarch64",
    "manylinux_2_31_aarch64",
    "manylinux_2_28_aarch64",
    "manylinux_2_26_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)
SITE = "opt/kiosk/.venv/lib/python3.13/site-packages"
# A module that drives pins has this much code at the least; the empty 0.0.0.2 has none.
LEAST_LGPIO = 50_000
PRUNED = (
    f"{SITE}/bin",
    f"{SITE}/*/tests",
    f"{SITE}/*/*/tests",
    f"{SITE}/*.pyi",
    f"{SITE}/*/*.pyi",
    f"{SITE}/numpy/f2py",
    f"{SITE}/numpy/*/*.a",
    f"{SITE}/numpy/_core/include",
    f"{SITE}/cv2/gapi",
    f"{SITE}/cv2/data",
    f"{SITE}/*.pth",
    f"{SITE}/gpiozerocli",
)


def blocks(lock: str) -> dict[str, str]:
    """A requirements file by package, each with its hashes, as it reads for the card's Python.

    pip would ask the Python that it runs on, not the one that it installs for.

    Raises:
        BuildError: A condition is of a kind that is not known here.
    """
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", lock):
        match = re.match(r"([a-z0-9._-]+)==([^ ;]+)(?: ; ([^\\\n]+))?", block)
        if not match or not _holds(match[3]):
            continue
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", block)
        found[match[1]] = " \\\n    ".join([f"{match[1]}=={match[2]}", *hashes]) + "\n"
    return found


def _holds(condition: str | None) -> bool:
    if condition is None:
        return True
    match = re.fullmatch(r"python_(?:full_)?version (<|>=) '3\.(\d+)'", condition.strip())
    if not match:
        raise BuildError(f"The lock has a condition that is not understood here: {condition}.")
    minor = int(PYTHON[1:])
    return minor < int(match[2]) if match[1] == "<" else minor >= int(match[2])


def packages(places: Places) -> list[str]:
    """All Python packages of the card that are none of the distribution's."""
    compiled = ["lgpio"] if places.recipe["program"]["compile_lgpio"] else []
    return [*places.names("wheels.txt"), *compiled]


def make(places: Places, room: Room, epoch: int) -> tuple[Path, bool]:
    """Have the packages as a tar archive of site-packages, compiled.

    Returns:
        The archive, and whether it had to be made.
    """
    run = blocks((places.project / ".lock" / "run.txt").read_text(encoding="utf-8"))
    names = places.names("wheels.txt")
    unknown = [name for name in names if name not in run]
    if unknown:
        raise BuildError(
            f"wheels.txt names {', '.join(unknown)}, which .lock/run.txt does not have."
        )
    wanted = "".join(run[name] for name in names)
    pins = blocks((places.project / ".lock" / "pi.txt").read_text(encoding="utf-8"))["lgpio"]
    own = digest([Path(__file__), Path(compiled.__file__)])
    compiles = places.recipe["program"]["compile_lgpio"]
    name = key(wanted, pins, compiles, own, room.root.name, epoch)
    path = places.cache / f"wheels-{name}.tar"

    def build(half: Path) -> None:
        with tempfile.TemporaryDirectory(dir=places.cache) as folder:
            work = Path(folder)
            (work / "run.txt").write_text(wanted, encoding="utf-8")
            (work / "pi.txt").write_text(pins, encoding="utf-8")
            site = work / "site"
            _pip(
                *("download", "--dest", str(work / "wheels"), "--only-binary=:all:"),
                *(word for name in PLATFORMS for word in ("--platform", name)),
                *("--implementation", "cp", "--python-version", PYTHON),
                *("--abi", f"cp{PYTHON}", "--abi", "abi3", "--abi", "none"),
                *("-r", str(work / "run.txt")),
            )
            for wheel in sorted((work / "wheels").glob("*.whl")):
                # Not by pip: what it writes beside the files differs from version to version.
                with zipfile.ZipFile(wheel) as opened:
                    opened.extractall(site)
            if compiles:
                _lgpio(work, site, room)
            tree = Tree()
            tree.put_folder(SITE, site)
            for pattern in PRUNED:
                tree.prune([pattern])
            compiled.add(tree, room, places.cache)
            tree.write_tar(half, epoch)

    return path, kept(path, build)


def _pip(*words: str) -> None:
    execute(
        [
            *(sys.executable, "-m", "pip", *words, "--no-deps", "--require-hashes"),
            *("--disable-pip-version-check", "--no-input", "--quiet"),
        ],
        "pip",
    )


def _lgpio(work: Path, site: Path, room: Room) -> None:
    """Compile the pins' module for the card's processor.

    Raises:
        BuildError: What came out is no module with code for that processor.
    """
    source = work / "lgpio"
    source.mkdir()
    _pip(
        "download",
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "-d",
        str(source),
        "-r",
        str(work / "pi.txt"),
    )
    archive = next(source.glob("lgpio-*.tar.gz"))
    version = archive.name.removeprefix("lgpio-").removesuffix(".tar.gz")
    inside = f"/job/lgpio/lgpio-{version}"
    script = f"""set -e
        tar --no-same-owner -C /job/lgpio -xf /job/lgpio/{archive.name}
        cd {inside}
        swig -python -o lgpio_wrap.c lgpio.i
        aarch64-linux-gnu-gcc -shared -fPIC -O2 -Wl,--build-id=none -ffile-prefix-map={inside}=. \
          -I/usr/include/python3.13 -I/usr/include -Isrc -I. lgpio_wrap.c $(ls src/*.c) \
          -o _lgpio.cpython-313-aarch64-linux-gnu.so
        aarch64-linux-gnu-strip --strip-unneeded _lgpio.cpython-313-aarch64-linux-gnu.so
    """
    room.run("sh", "-c", script, binds={"/job": work})
    made = work / "lgpio" / f"lgpio-{version}"
    module = made / "_lgpio.cpython-313-aarch64-linux-gnu.so"
    code = module.read_bytes()
    if code[:4] != b"\x7fELF" or code[18] != 183 or len(code) < LEAST_LGPIO:
        raise BuildError(
            f"lgpio {version} came out as {len(code)} bytes that are no module for arm64."
        )
    shutil.copy(module, site)
    shutil.copy(made / "lgpio.py", site)
    info = site / f"lgpio-{version}.dist-info"
    info.mkdir()
    shutil.copy(made / "PKG-INFO", info / "METADATA")
