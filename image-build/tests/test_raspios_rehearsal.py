"""The whole way of `BASE=raspios`, lock and image, from an archive of stand-ins on this machine.

Everything that is Debian's comes from Debian's mirror. See `stand_ins` for what the rest is.
"""

import dataclasses
import gzip
import json
import os
import re
import shutil
import subprocess

import card as cards
import pytest
import stand_ins
from builder import __main__ as command
from builder import host, lock
from builder.places import Places
from builder.trouble import BuildError
from signed_archive import SignedArchive
from tools import figure, need

PROGRAMS = {
    "gpg": "gpg",
    "gpg-agent": "gpg-agent",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "mcopy": "mtools",
    "fsck.vfat": "dosfstools",
    "unsquashfs": "squashfs-tools",
}
# Debian's mirror is none of this machine.
pytestmark = pytest.mark.enable_socket
BOOT = "usr/lib/kiosk/boot"
# Debian's, each newer in the archive of the stand-ins, where it must not be taken from.
FROM_DEBIAN = ("tzdata", "libc6")


@pytest.fixture(scope="module")
def made(workshop, tmp_path_factory):
    """The places of a build of Raspberry Pi OS that went to its end, and its lock."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for program, package in PROGRAMS.items():
        need(shutil.which(program) is not None, f"sudo apt install {package}")
    try:
        host.check(lambda _: None)
    except BuildError as error:
        need(False, str(error))
    folder = workshop / "raspios"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    signed = SignedArchive(folder)
    usual = Places.usual(folder / "out", "raspios")
    stand_ins.fill(signed, usual.recipe, Places.usual(), folder)
    facts = usual.recipe["archive"] | {"mirror": signed.url, "key": signed.add_keyring()}
    recipe = dataclasses.replace(usual.recipe, facts=usual.recipe.facts | {"archive": facts})
    signed.publish()

    class Rehearsal(Places):
        """The project, its lock elsewhere: nothing of a rehearsal may be taken for a true one."""

        lock = folder / "image-raspios.txt"

    places = Rehearsal(usual.project, usual.cache, usual.out, recipe)
    patch = pytest.MonkeyPatch()
    patch.setattr(Places, "usual", lambda *_: places)
    patch.setenv("no_proxy", "127.0.0.1")
    keys = str(usual.build / "tests/keys")
    how = ["--base", "raspios"]
    try:
        assert command.main(["lock", *how]) == 0
        assert command.main(["image", *how, "--update-keys", keys, "--with-new"]) == 0
    finally:
        patch.undo()
        signed.close()
    return places


@pytest.fixture(scope="module")
def name(made):
    return f"kiosk-{made.version()}+test-raspios-arm64"


@pytest.fixture(scope="module")
def the_card(made, name):
    return cards.Card(made.out / f"{name}.img")


@pytest.fixture(scope="module")
def root(the_card, workshop):
    """The root file system, unpacked."""
    where = the_card.partition(cards.SLOT_A)
    cards.extract(the_card.path, workshop / "raspios.squashfs", where.offset, where.size)
    target = workshop / "raspios-root"
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(
        ["unsquashfs", "-q", "-n", "-no-xattrs", "-d", target, workshop / "raspios.squashfs"],
        check=True,
        capture_output=True,
    )
    return target


def test_the_lock_takes_from_that_archive_what_is_named_and_nothing_else(made):
    debs = lock.read(made.lock)
    taken = {deb.name for deb in debs if stand_ins.MARK in deb.version}

    assert taken == {
        "linux-image-rpi-v8",
        f"linux-image-{stand_ins.RELEASE}",
        "python3-picamera2",
        *stand_ins.EMPTY,
    }
    assert [deb.version for deb in debs if deb.name == "raspi-firmware"] == ["1:1.20269999-1"]
    assert {deb.name for deb in debs} >= set(FROM_DEBIAN)
    text = made.lock.read_text()
    assert "`make image-lock BASE=raspios`" in text
    assert not re.search(r"://|127\.0\.0\.1|localhost", text)
    figure(f"rehearsal of raspios: {len(debs)} packages locked, {len(taken) + 1} of its archive")


def test_what_config_txt_names_is_there_in_both_slots(the_card, tmp_path):
    config = the_card.get("config.txt").decode()
    lines = [line for line in config.splitlines() if line and not line.startswith("#")]

    assert the_card.check_fat(tmp_path) == []
    assert {"camera_auto_detect=1", "auto_initramfs=0", "os_prefix=a/"} <= set(lines)
    assert not [li for li in lines if li.startswith(("upstream_kernel", "device_tree", "["))]
    assert the_card.get("tryboot.txt").decode() == config
    for slot in "ab":
        assert {"vmlinuz", "initrd.img", "cmdline.txt", "overlays/"} <= set(
            the_card.names(f"{slot}/")
        )


def test_each_slot_has_its_device_trees_and_overlays_under_their_marker(the_card, made):
    boot = made.recipe["boot"]
    trees = {tree for tree in boot["device_trees"] if not tree.startswith("?")}

    for slot in "ab":
        assert trees | {"bcm2712d0-rpi-5-b.dtb"} <= set(the_card.names(f"{slot}/"))
        assert set(the_card.names(f"{slot}/overlays/")) == {"README", *boot["overlays"]}
        overlay = the_card.get(f"{slot}/overlays/imx708.dtbo")
        assert overlay.rstrip(b"\0") == b"\xd0\x0d\xfe\xedimx708.dtbo"


def test_the_kernel_is_unpacked_from_the_package_and_packed_to_its_size(the_card, root):
    packed = the_card.get("a/vmlinuz")

    assert len(packed) == 32 << 20
    assert gzip.decompress(packed)[56:60] == b"ARM\x64"
    assert (root / BOOT / "vmlinuz").read_bytes() == packed
    assert [path.name for path in (root / "usr/lib/modules").iterdir()] == [stand_ins.RELEASE]
    top = root / "usr/lib/modules" / stand_ins.RELEASE
    names = {path.name.partition(".ko")[0] for path in top.rglob("*.ko*")}
    assert {"imx708", "ov5647", "uvcvideo", "dm-verity"} <= names
    assert not {"kiosk_tryboot", "gpio-sim", "vivid", "amdgpu", "virtio_blk"} & names


def test_what_an_update_would_put_on_the_fat_is_what_is_there(the_card, root):
    listed = json.loads((root / "usr/lib/kiosk/fat.json").read_text())
    files = [path for path in (root / BOOT).rglob("*") if path.is_file()]

    assert {path.relative_to(root / BOOT).as_posix() for path in files} >= {
        "overlays/README",
        "overlays/imx219.dtbo",
    }
    for path in files:
        inside = path.relative_to(root / BOOT).as_posix()
        if inside != "cmdline.txt":
            assert the_card.get(f"b/{inside}") == path.read_bytes()
            assert listed[f"a/{inside}"] == path.stat().st_size


def test_the_program_sees_the_camera_and_the_pins_of_the_distribution(root):
    venv = root / "opt/kiosk/.venv"
    assert "include-system-site-packages = true" in (venv / "pyvenv.cfg").read_text()
    assert not list((venv / "lib/python3.13/site-packages").glob("*lgpio*"))
    packages = root / "usr/lib/python3/dist-packages"
    assert (packages / "picamera2").is_dir()
    assert (packages / "__pycache__").exists() or list(packages.rglob("*.pyc"))
    drop_in = root / "etc/systemd/system/kiosk-scanner.service.d/csi.conf"
    assert "DeviceAllow=char-media rw" in drop_in.read_text()


def test_python_of_the_card_imports_them(root):
    wanted = "import picamera2, libcamera, lgpio, numpy, cv2, msgspec, kiosk.cli; print(lgpio)"
    inside = host.namespace(as_user=os.geteuid() != 0)
    done = subprocess.run(
        [*inside, "chroot", root, "/opt/kiosk/.venv/bin/python", "-c", wanted],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "/usr/lib/python3/dist-packages/lgpio" in done.stdout


def test_the_two_bases_are_told_apart(made, name, root):
    assert "compatible=kiosk-arm64-raspios" in (root / "etc/rauc/system.conf").read_text()
    told = json.loads((root / "usr/lib/kiosk/version.json").read_text())
    assert (told["base"], told["kernel"]) == ("raspios", stand_ins.RELEASE)
    bundle = made.out / f"{name}.raucb"
    manifest = subprocess.run(
        ["unsquashfs", "-cat", bundle, "manifest.raucm"], check=True, capture_output=True
    ).stdout
    assert b"compatible=kiosk-arm64-raspios" in manifest
    parts = (made.out / f"{name}.packages.txt").read_text()
    assert "debian python3-lgpio" in parts
    assert "python lgpio" not in parts
    entry = json.loads((made.out / f"{name}.imager.json").read_text())["os_list"][0]
    assert entry["name"].startswith("Payment kiosk (Raspberry Pi OS) ")
    size = (made.out / f"{name}.img.xz").stat().st_size
    figure(f"rehearsal of raspios: image of {size / 1e6:.0f} MB packed, of stand-ins")
