"""The update bundle, and the keys that sign it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from builder.places import Places
from builder.room import Room
from builder.trouble import BuildError

CONFIG = """[system]
compatible={compatible}
bootloader=noop
bundle-formats=verity
[keyring]
path=/keys/ca.pem
check-purpose=codesign
"""
NEEDED = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs updates of the image.

    Attributes:
        folder: With ca.pem, cert.pem and key.pem.
        are_of_the_tests: Their private halves are public; the image must say so.
    """

    folder: Path
    are_of_the_tests: bool


def keys(places: Places, room: Room, named: str, say: Callable[[str], None]) -> Keys:
    """Have the keys: those that are named, or a pair that is made once and kept.

    Raises:
        BuildError: The named folder has none.
    """
    if named:
        folder = Path(named).expanduser().absolute()
        missing = [name for name in NEEDED if not (folder / name).exists()]
        if missing:
            raise BuildError(
                f"UPDATE_KEYS={named} has no {', '.join(missing)}; "
                "image-build/rauc/make-keys.sh makes them."
            )
    else:
        share = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
        folder = Path(share) / "kiosk-image" / "update-keys"
        if not (folder / "ca.pem").exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            room.run(
                *("sh", "/rauc/make-keys.sh", "/keys"),
                binds={"/rauc": places.build / "rauc", "/keys": folder},
            )
            say(
                f"Made the keys that sign updates: {folder}. Keep them: a kiosk takes updates "
                "from these keys only, and whoever has them can replace its software."
            )
    test = places.build / "tests" / "keys" / "ca.pem"
    same = test.exists() and test.read_bytes() == (folder / "ca.pem").read_bytes()
    return Keys(folder, same)


def make(
    places: Places,
    room: Room,
    work: Path,
    root: Path,
    keys: Keys,
    name: str,
    *,
    version: str,
    compatible: str,
    build: str,
) -> Path:
    """Make and sign the bundle.

    It brings the file system `root`, and comes to stand in the folder `work` under `name`. `build`
    is the day of the build, for people.
    """
    content = work / "bundle"
    content.mkdir()
    # A bundle holds the file system's own bytes, not the slot's.
    shutil.copy(root, content / "rootfs.squashfs")
    text = (places.build / "rauc" / "manifest.raucm.in").read_text(encoding="utf-8")
    for word, value in (("COMPATIBLE", compatible), ("VERSION", version), ("BUILD", build)):
        text = text.replace(f"@{word}@", value)
    (content / "manifest.raucm").write_text(text, encoding="utf-8")
    # Signed, then read back as the card will: by the certificate that is in the image. RAUC's own
    # check while it signs knows no purpose but that of letters.
    (content.parent / "system.conf").write_text(CONFIG.format(compatible=compatible), "utf-8")
    script = f"""set -e
        rauc bundle --cert=/keys/cert.pem --key=/keys/key.pem /job/bundle /job/{name}
        rauc --conf=/job/system.conf info /job/{name}
    """
    room.run("sh", "-c", script, binds={"/job": work, "/keys": keys.folder})
    shutil.rmtree(content)
    return work / name
