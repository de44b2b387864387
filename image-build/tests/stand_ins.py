"""Packages under the names that Raspberry Pi's archive has, made of Debian's.

The kernel is Debian's own, its files where Raspberry Pi's package has them, its image packed with
gzip as theirs, some of its modules built in as there, and those gone that theirs does not have.
What Python imports is empty. It shows the way of the build, not that a board would start.
"""

import gzip
import shutil
import subprocess

from builder import archive, lock, modules

RELEASE = "6.12.99+rpt-rpi-v8"
MARK = "+rpt1"
# In Raspberry Pi's kernel itself; the list of modules names them all the same.
BUILT_IN = (
    "sdhci-iproc", "sdhci-brcmstb", "bcm2835_wdt", "raspberrypi-cpufreq", "usb-storage", "uas",
    "usbhid", "hid-generic", "genet", "leds-gpio", "vfat", "loop",
)  # fmt: skip
# Not in it at all, or under another name.
NOT_THERE = (
    "bcm2835", "clk-rp1", "rp1_pci", "pinctrl-rp1", "pinctrl-brcmstb-bcm2712", "irq-bcm2712-mip",
    "virtio_blk", "virtio_mmio", "virtio_net", "virtio-rng", "gpio-sim", "vivid", "softdog",
    "efi-pstore", "gpio-regulator", "fixed",
)  # fmt: skip
SENSORS = ("imx219", "imx708", "ov5647", "imx477")
# As Debian's packages of today do it without help of linux-base, and Raspberry Pi's.
POSTINST = f"""#!/bin/sh
set -e
depmod {RELEASE}
if [ -d /etc/kernel/postinst.d ]; then
  DEB_MAINT_PARAMS="$*" run-parts --exit-on-error --arg={RELEASE} \\
    --arg=/boot/vmlinuz-{RELEASE} /etc/kernel/postinst.d
fi
"""
DEBIANS = "python3-numpy, python3-pil, python3-av, python3-piexif, python3-prctl, python3-tqdm"
EMPTY = {
    # name: (source, what Python imports by it)
    "python3-libcamera": ("libcamera", "libcamera"),
    "python3-kms++": ("kmsxx", "pykms"),
    "python3-pidng": ("python-pidng", "pidng"),
    "python3-videodev2": ("python-videodev2", "videodev2_of_the_system"),
    "python3-simplejpeg": ("simplejpeg", "simplejpeg"),
    "python3-lgpio": ("lgpio", "lgpio"),
}


def fill(signed, recipe, places, folder):
    """Put all packages into an archive that the recipe of Raspberry Pi OS takes from there.

    Args:
        signed: The archive, see `signed_archive`.
        recipe: Of Raspberry Pi OS: its lists of device trees and overlays.
        places: Of the Debian image, whose locked packages the stand-ins are made of.
        folder: For what is between.
    """
    debs = lock.read(places.lock)
    used = [
        deb
        for deb in debs
        if deb.name == "raspi-firmware"
        or deb.name.startswith(("linux-base-7", "linux-binary-", "linux-modules-", "linux-image-"))
        or (deb.role == "card" and deb.name.startswith("linux-base-"))
    ]
    archive.fetch(used, places.debs, archive.Archive(places.recipe))
    base = folder / "debian"
    base.mkdir()
    for deb in used:
        unpack(places.debs / deb.sha256, base)
    signed.add(
        f"linux-image-{RELEASE}",
        f"1:6.12.99-1{MARK}",
        source="linux",
        depends="kmod, linux-base, initramfs-tools",
        files=kernel(base, folder / "kernel", recipe["boot"]),
        scripts={"postinst": POSTINST},
    )
    signed.add(
        "linux-image-rpi-v8",
        f"1:6.12.99-1{MARK}",
        source="linux",
        depends=f"linux-image-{RELEASE} (= 1:6.12.99-1{MARK})",
    )
    firmware = folder / "firmware"
    for path in ("usr/lib/raspi-firmware", "usr/share/doc/raspi-firmware"):
        shutil.copytree(base / path, firmware / path)
    signed.add("raspi-firmware", "1:1.20269999-1", arch="all", files=firmware)
    for name, (source, module) in EMPTY.items():
        path = f"usr/lib/python3/dist-packages/{module}/__init__.py"
        signed.add(name, f"9.9{MARK}", source=source, files={path: b""})
    signed.add(
        "python3-picamera2",
        f"9.9{MARK}",
        source="picamera2",
        arch="all",
        depends=", ".join([*(n for n in EMPTY if n != "python3-lgpio"), DEBIANS]),
        files={"usr/lib/python3/dist-packages/picamera2/__init__.py": b"class Picamera2: pass\n"},
    )
    # Rebuilt there, newer than Debian's, and not of a source that the recipe names.
    signed.add("tzdata", f"2099a{MARK}", arch="all")
    signed.add("libc6", f"9.9{MARK}", source="glibc")


def unpack(deb, target):
    subprocess.run(["dpkg-deb", "--extract", deb, target], check=True)


def kernel(debian, target, boot):
    """Debian's kernel as Raspberry Pi's package would have it."""
    [old] = (debian / "usr/lib/modules").iterdir()
    top = target / "usr/lib/modules" / RELEASE
    shutil.copytree(old / "kernel", top / "kernel")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (old / name).exists():
            shutil.copy(old / name, top / name)
    found = {modules.name_of(path.name): path for path in top.rglob("*.ko*")}
    with (top / "modules.builtin").open("a") as builtin:
        for name in BUILT_IN:
            if path := found.pop(name.replace("-", "_"), None):
                builtin.write(f"{path.relative_to(top).as_posix().partition('.ko')[0]}.ko\n")
                path.unlink()
    for name in NOT_THERE:
        if path := found.pop(name.replace("-", "_"), None):
            path.unlink()
    some = found["i2c_dev"]
    for name in SENSORS:
        if name not in found:
            place = top / "kernel/drivers/media/i2c" / some.name.replace(some.stem, f"{name}.ko")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(some, place.with_name(f"{name}.ko{''.join(some.suffixes[1:])}"))
    image = (old / "vmlinuz").read_bytes()
    (target / "boot").mkdir()
    (target / f"boot/vmlinuz-{RELEASE}").write_bytes(gzip.compress(image, 1, mtime=0))
    shutil.copy(old / "config", target / f"boot/config-{RELEASE}")
    (target / f"boot/System.map-{RELEASE}").write_text("0 A symbol\n")
    trees = target / f"usr/lib/linux-image-{RELEASE}"
    (trees / "broadcom").mkdir(parents=True)
    (trees / "overlays").mkdir()
    any_tree = next((old / "dtb/broadcom").glob("bcm2837-rpi-3-b.dtb")).read_bytes()
    for name in boot["device_trees"]:
        if name != "?bcm2712-d-rpi-5-b.dtb":
            (trees / "broadcom" / name.removeprefix("?")).write_bytes(any_tree)
    for name in boot["overlays"]:
        (trees / "overlays" / name).write_bytes(b"\xd0\x0d\xfe\xed" + name.encode())
    (trees / "overlays/README").write_text("What each overlay does.\n" * 9000)
    return target
