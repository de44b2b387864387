"""The card is put together with this machine's own tools, from a system of a few files."""

import hashlib
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from builder import __main__ as command
from builder import (
    base,
    boot_files,
    bundle,
    card,
    compiled,
    debian,
    elf,
    lock,
    make,
    rootfs,
    wheels,
)
from builder import tools as tool_tree
from builder.lock import Deb
from builder.places import Places
from builder.recipe import Recipe
from builder.tree import Tree, of_bytes
from builder.trouble import BuildError
from tools import need

KERNEL = "7.3.4+deb13-arm64"
TOP = f"usr/lib/modules/{KERNEL}"
EPOCH = 1_795_500_000


def an_elf(machine=elf.ARM64, needed=(), interpreter=""):
    """A program of nothing but its head: what it is for, what it needs."""
    strings, places = b"\0", []
    for name in needed:
        places.append(len(strings))
        strings += name.encode() + b"\0"
    start = 64 + 3 * 56
    loader = interpreter.encode() + b"\0"
    table = b"".join(struct.pack("<QQ", 1, at) for at in places)
    dynamic = start + len(loader) + len(strings)
    table += struct.pack("<QQQQ", 5, 0x10000 + start + len(loader), 0, 0)
    whole = dynamic + len(table)
    head = (
        b"\x7fELF\x02\x01"
        + bytes(10)
        + struct.pack("<HHIQQQIHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3)
    )
    segment = "<IIQQQQQQ"
    return (
        head.ljust(64, b"\0")
        + struct.pack(segment, 1, 5, 0, 0x10000, 0, whole, whole, 4096)
        + struct.pack(segment, 2, 6, dynamic, 0x10000 + dynamic, 0, len(table), 0, 8)
        + (
            struct.pack(segment, 3, 4, start, 0, 0, len(loader), 0, 1)
            if interpreter
            else struct.pack(segment, 6, 4, 64, 0, 0, 0, 0, 1)
        )
        + loader
        + strings
        + table
    )


def test_a_program_is_read_with_its_loader_and_libraries():
    program = elf.read(an_elf(needed=["libc.so.6", "libm.so.6"], interpreter="/lib/ld.so.1"))

    assert program == elf.Program(elf.ARM64, "/lib/ld.so.1", ("libc.so.6", "libm.so.6"))
    assert elf.read(b"#!/bin/sh\n") is None
    true = elf.read(Path(sys.executable).resolve().read_bytes())
    assert any(name.startswith("libc.so") for name in true.needed)


def test_what_could_not_start_on_the_card_is_found():
    tree = Tree()
    tree.put("usr/bin/good", of_bytes(an_elf(needed=["libc.so.6"], interpreter="/lib/ld.so.1")))
    tree.put("usr/bin/other", of_bytes(an_elf(machine=62)))
    assert elf.faults(tree) == [
        "usr/bin/good needs libc.so.6",
        "usr/bin/good needs /lib/ld.so.1",
        "usr/bin/other is no program for arm64",
    ]
    tree.remove("usr/bin/other")
    tree.put("usr/lib/libc.so.6", of_bytes(b""))
    tree.put("lib/ld.so.1", of_bytes(b""))
    assert elf.faults(tree) == []


def a_base(path, places):
    """What mmdebstrap would leave, in a few files."""
    tree = Tree()
    tree.put(
        "var/lib/dpkg/status",
        of_bytes(
            b"Package: libc6\nStatus: install ok installed\nVersion: 2.41\nNote: a\n b: c\n\n"
            b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
        ),
    )
    image = bytearray(4096)
    image[56:60] = b"ARM\x64"
    tree.put(f"boot/vmlinuz-{KERNEL}", of_bytes(bytes(image)))
    tree.put("boot/initrd.img", of_bytes(b"initrd"))
    boot = places.recipe["boot"]
    for kind in ("device_trees", "overlays"):
        above = boot[f"{kind}_in"].replace("KERNEL", KERNEL)
        for name in boot[kind]:
            data = b"\xd0\x0d\xfe\xed" + name.encode()
            tree.put(f"{above}/{name.removeprefix('?')}", of_bytes(data))
    tree.put(f"{TOP}/kernel/drivers/vivid.ko.xz", of_bytes(b"code"))
    tree.put(f"{TOP}/kernel/drivers/other.ko.xz", of_bytes(b"code"))
    tree.put(
        f"{TOP}/modules.dep",
        of_bytes(b"kernel/drivers/vivid.ko.xz:\nkernel/drivers/other.ko.xz:\n"),
    )
    for name in ("softdep", "builtin", "alias", "symbols"):
        tree.put(f"{TOP}/modules.{name}", of_bytes(b""))
    tree.put("usr/lib/python3.13/a.py", of_bytes(b"x = 1\n"))
    tree.put("usr/lib/python3.13/broken.py", of_bytes(b"x = (\n"))
    tree.put("usr/bin/python3", of_bytes(b"", 0o755))
    for name, text in {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n",
        "etc/group": b"root:x:0:\nvideo:x:44:\n",
        "etc/shadow": b"root:*:20000:0:99999:7:::\n",
        "etc/gshadow": b"root:*::\nvideo:*::\n",
        "usr/bin/sudo": b"sudo",
    }.items():
        tree.put(name, of_bytes(text, 0o4755 if name.endswith("sudo") else 0o644))
    tree.put("usr/bin/su", of_bytes(b"su", 0o4755))
    tree.put("etc/ssh/ssh_host_ed25519_key", of_bytes(b"key"))
    # What is in units.txt and of Debian's packages.
    for unit in ("systemd-networkd", "systemd-resolved", "systemd-timesyncd", "nftables", "ssh"):
        tree.put(
            f"usr/lib/systemd/system/{unit}.service",
            of_bytes(b"[Unit]\n[Install]\nWantedBy=multi-user.target\n"),
        )
    for unit in ("ssh.socket", "wpa_supplicant.service"):
        tree.put(f"usr/lib/systemd/system/{unit}", of_bytes(b"[Unit]\n"))
    tree.write_tar(path, EPOCH)


@pytest.fixture
def recipe(places, monkeypatch, tmp_path):
    """The true recipe, but for the lists that name what only the true Debian has."""
    usual = Places.names

    def names(self, file):
        trees = self.recipe["boot"]["device_trees_in"].replace("KERNEL", KERNEL)
        played = {"modules.txt": ["vivid"], "prune.txt": ["boot", trees, "?usr/lib/none"]}
        return played.get(file) or usual(self, file)

    monkeypatch.setattr(Places, "names", names)
    return places


@pytest.fixture
def firmware(places, tmp_path):
    """A package of the Pi's firmware, in the store."""
    need("dpkg-deb", "sudo apt install dpkg")
    root = tmp_path / "raspi-firmware"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: raspi-firmware\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n"
    )
    for name in boot_files.FIRMWARE:
        file = root / "usr/lib/raspi-firmware" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    licence = root / "usr/share/doc/raspi-firmware/copyright"
    licence.parent.mkdir(parents=True)
    licence.write_text("licence")
    made = tmp_path / "raspi-firmware.deb"
    subprocess.run(["dpkg-deb", "-b", root, made], check=True, capture_output=True)
    hash_ = hashlib.sha256(made.read_bytes()).hexdigest()
    places.debs.mkdir()
    made.rename(places.debs / hash_)
    return Deb("card_files", "raspi-firmware", "all", "1", hash_)


def depmod(argv, binds):
    for name in ("dep", "dep.bin", "alias", "symbols"):
        (binds["/job"] / TOP / f"modules.{name}").write_bytes(b"new")


@pytest.fixture
def system(recipe, firmware, room, tmp_path):
    """Debian's part, trimmed."""
    tar = tmp_path / "base.tar"
    a_base(tar, recipe)

    def module(argv, binds):
        (binds["/job"] / "module/kiosk_tryboot.ko").write_bytes(b"module")

    room.plays = {
        "/usr/src/linux-headers": module,
        "aarch64-linux-gnu-objcopy": lambda *_: None,
        "depmod": depmod,
    }
    debs = [firmware, Deb("card", "libc6", "arm64", "2.41", "0" * 64)]
    parts, made = debian.make(recipe, debs, room, tar, EPOCH)
    assert made
    assert debian.make(recipe, debs, room, tar, EPOCH) == (parts, False)
    room.plays = {}
    return parts


def test_debians_part_is_trimmed_and_its_boot_files_come_out(system):
    tree = Tree.from_tar(system.tree)

    assert system.kernel == KERNEL
    assert f"{TOP}/kernel/drivers/vivid.ko.xz" in tree
    assert f"{TOP}/kernel/drivers/other.ko.xz" not in tree
    assert tree[f"{TOP}/updates/kiosk_tryboot.ko"].read() == b"module"
    assert tree[f"{TOP}/modules.dep.bin"].read() == b"new"
    assert f"{TOP}/modules.alias" not in tree
    assert "boot" not in tree
    cached = [p for p, _ in tree.files("usr/lib/python3.13/__pycache__/*")]
    assert len(cached) == 1
    assert {f.name for f in system.firmware.iterdir()} == {*boot_files.FIRMWARE, "LICENCE.broadcom"}
    assert (system.boot / "vmlinuz").stat().st_size == boot_files.KERNEL_SIZE


def test_other_packages_than_the_locks_or_a_pattern_for_nothing_end_the_build(
    recipe, firmware, room, tmp_path, monkeypatch
):
    tar = tmp_path / "base.tar"
    a_base(tar, recipe)

    with pytest.raises(BuildError, match=r"Installed is not what is locked.*image-lock"):
        debian.make(recipe, [firmware], room, tar, EPOCH)
    monkeypatch.setattr(
        Places, "names", lambda self, file: ["vivid" if file == "modules.txt" else "usr/none"]
    )
    debs = [firmware, Deb("card", "libc6", "arm64", "2.41", "0" * 64)]
    with pytest.raises(BuildError, match=r"prune\.txt: nothing matches usr/none"):
        debian.make(recipe, debs, room, tar, EPOCH)


@pytest.fixture
def site(recipe, room, tmp_path, monkeypatch):
    """Python packages, as pip would fetch them."""

    def pip(*words):
        target = Path(words[words.index("-d" if "-d" in words else "--dest") + 1])
        target.mkdir(exist_ok=True)
        if "-d" in words:
            info = tmp_path / "PKG-INFO"
            info.write_text("Name: lgpio\n")
            module = tmp_path / "lgpio.py"
            module.write_text("import _lgpio\n")
            with tarfile.open(target / "lgpio-0.2.2.0.tar.gz", "w:gz") as archive:
                archive.add(info, "lgpio-0.2.2.0/PKG-INFO")
                archive.add(module, "lgpio-0.2.2.0/lgpio.py")
        else:
            with zipfile.ZipFile(target / "numpy-1-cp313-none-any.whl", "w") as wheel:
                wheel.writestr("numpy/__init__.py", "x = 1\n")
                wheel.writestr("numpy/tests/test_a.py", "x = 1\n")

    def swig(code):
        def play(argv, binds):
            folder = binds["/job"] / "lgpio"
            subprocess.run(
                ["tar", "-C", folder, "-xf", folder / "lgpio-0.2.2.0.tar.gz"], check=True
            )
            name = "_lgpio.cpython-313-aarch64-linux-gnu.so"
            (folder / "lgpio-0.2.2.0" / name).write_bytes(code)

        return play

    monkeypatch.setattr(wheels, "_pip", pip)
    room.plays = {"swig": swig(b"empty")}
    with pytest.raises(BuildError, match="are no module for arm64"):
        wheels.make(recipe, room, EPOCH)
    room.plays = {"swig": swig(an_elf() + bytes(wheels.LEAST_LGPIO))}
    path, made = wheels.make(recipe, room, EPOCH)
    assert made
    room.plays = {}
    return path


def test_the_python_packages_are_unpacked_pruned_and_compiled(site):
    tree = Tree.from_tar(site)

    assert f"{wheels.SITE}/numpy/__init__.py" in tree
    assert not any("/tests" in path for path in tree.entries)
    assert any("__pycache__/lgpio" in path for path in tree.entries)
    assert tree[f"{wheels.SITE}/lgpio-0.2.2.0.dist-info/METADATA"].read() == b"Name: lgpio\n"


def test_a_lock_is_read_as_the_cards_python_reads_it():
    text = (
        "numpy==1 ; python_full_version < '3.12' \\\n    --hash=sha256:" + "0" * 64 + "\n"
        "numpy==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:"
        + "1" * 64
        + "\n    # via a\n"
    )

    assert wheels.blocks(text) == {"numpy": "numpy==2 \\\n    --hash=sha256:" + "1" * 64 + "\n"}
    with pytest.raises(BuildError, match="not understood"):
        wheels.blocks("a==1 ; sys_platform == 'linux' \\\n    --hash=sha256:" + "0" * 64)


def test_a_wheel_that_the_lock_does_not_have_ends_the_build(places, room, monkeypatch):
    monkeypatch.setattr(Places, "names", lambda self, file: ["torch"])

    with pytest.raises(BuildError, match=r"wheels\.txt names torch"):
        wheels.make(places, room, EPOCH)


def the_tree(recipe, room, system, site, **more):
    keyring = recipe.build / "tests/keys/ca.pem"
    facts = {"version": "0.1.0", "kernel": KERNEL}
    return rootfs.kiosk(
        recipe, room, system, site, facts=facts, keyring=keyring, with_new=True, **more
    )


def test_the_kiosk_stands_where_its_readme_has_it(recipe, room, system, site):
    tree = the_tree(recipe, room, system, site)

    assert tree["usr/local/bin/kiosk"].target == "/opt/kiosk/.venv/bin/kiosk"
    assert tree.resolve("opt/kiosk/.venv/bin/python") == "usr/bin/python3"
    assert "opt/kiosk/image-build/appliance/intake.py" in tree
    assert not any(path.startswith("opt/kiosk/tests") for path in tree.entries)
    assert tree["etc/machine-id"].read() == b""
    assert "etc/ssh/ssh_host_ed25519_key" not in tree
    assert (tree["usr/bin/sudo"].mode, tree["usr/bin/su"].mode) == (0o4755, 0o755)
    assert tree["etc/sudoers.d/technician"].mode == 0o440
    assert b"min-bundle-version=0.1.0" in tree["etc/rauc/system.conf"].read()
    assert tree["etc/systemd/system/multi-user.target.wants/kiosk.service"].kind == "link"
    assert json.loads(tree["usr/lib/kiosk/version.json"].read())["kernel"] == KERNEL


def test_what_could_not_start_or_is_named_for_nothing_ends_the_build(
    recipe, room, system, site, monkeypatch
):
    monkeypatch.setattr(elf, "faults", lambda tree: ["usr/bin/x needs y"])
    with pytest.raises(BuildError, match="missing on the card: usr/bin/x needs y"):
        the_tree(recipe, room, system, site)
    usual = Places.names
    monkeypatch.setattr(
        Places,
        "names",
        lambda self, file: ["usr/bin/none"] if file == "setuid.txt" else usual(self, file),
    )
    with pytest.raises(BuildError, match=r"setuid\.txt: there is no usr/bin/none"):
        the_tree(recipe, room, system, site)


def test_without_a_clone_there_is_a_sentence(recipe, tmp_path):
    elsewhere = Places(tmp_path, recipe.cache, recipe.out, recipe.recipe)

    with pytest.raises(BuildError, match="no clone of the repository"):
        rootfs.tracked(elsewhere, with_new=False)
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH"):
        make.epoch_of(elsewhere)


def test_a_card_of_a_few_files_is_put_together_twice_the_same(
    as_root, recipe, room, system, site, tmp_path
):
    for program, package in (
        ("mksquashfs", "squashfs-tools"),
        ("mcopy", "mtools"),
        ("mkfs.vfat", "dosfstools"),
        ("sfdisk", "fdisk"),
        ("mke2fs", "e2fsprogs"),
    ):
        need(any((Path(f) / program).exists() for f in ("/usr/bin", "/usr/sbin")), package)
    tree = the_tree(recipe, room, system, site)
    files = card.fat_files(recipe, system)
    seen = []
    for name in ("one", "two"):
        work = tmp_path / name
        work.mkdir()
        root = card.squashfs(room, work, tree, EPOCH)
        card.fat(room, work, files, EPOCH)
        card.data(room, work, EPOCH)
        raw = card.image(room, work, root)
        with raw.open("rb") as file:
            seen.append(hashlib.file_digest(file, "sha256").hexdigest())
            file.seek(440)
            assert file.read(4) == (0x6B696F73).to_bytes(4, "little")
        if name == "one":
            raw.unlink()
    need_newer_e2fsprogs = (
        b"1.47"
        not in subprocess.run(["/usr/sbin/mke2fs", "-V"], capture_output=True, check=True).stderr
        or b"1.47.0"
        in subprocess.run(["/usr/sbin/mke2fs", "-V"], capture_output=True, check=True).stderr
    )
    # Older ones note the time of each folder; the build uses trixie's own, which do not.
    assert need_newer_e2fsprogs or seen[0] == seen[1]
    names = subprocess.run(
        ["mdir", "-b", "-i", f"{raw}@@4M", "::a"], capture_output=True, check=True, text=True
    ).stdout
    assert "::/a/vmlinuz" in names
    told = json.loads(card.manifest(files))
    assert told["config.txt"] == 2048
    config = files["config.txt"].decode()
    assert config == files["tryboot.txt"].decode()


@pytest.fixture
def raspios(recipe):
    """The places of Raspberry Pi OS."""
    return replace(recipe, recipe=Recipe.read(recipe.recipe.folder, "raspios"))


def test_the_card_of_raspberry_pi_os_has_overlays_cameras_and_pins_of_its_own(
    raspios, firmware, room, site, tmp_path
):
    tar = tmp_path / "base.tar"
    a_base(tar, raspios)
    room.plays, room.ran = {"depmod": depmod}, []
    debs = [firmware, Deb("card", "libc6", "arm64", "2.41", "0" * 64)]

    parts, _ = debian.make(raspios, debs, room, tar, EPOCH)
    wheels.make(raspios, room, EPOCH)

    # Neither lgpio nor a kernel module is compiled.
    assert not [argv for argv in room.ran if {"make", "swig"} & set(" ".join(argv).split())]
    files = card.fat_files(raspios, parts)
    for slot in "ab":
        assert files[f"{slot}/overlays/README"] == boot_files.MARKER_TEXT.encode()
        assert files[f"{slot}/overlays/imx708.dtbo"].startswith(b"\xd0\x0d\xfe\xedimx708.dtbo\0")
        assert len(files[f"{slot}/bcm2710-rpi-zero-2-w.dtb"]) == boot_files.TREE_SIZE
    config = files["config.txt"].decode().splitlines()
    assert {"camera_auto_detect=1", "os_prefix=a/"} <= set(config)
    assert not {"upstream_kernel=1", "[pi02]"} & set(config)
    tree = the_tree(raspios, room, parts, site)
    assert b"compatible=kiosk-arm64-raspios\n" in tree["etc/rauc/system.conf"].read()
    assert b"site-packages = true" in tree["opt/kiosk/.venv/pyvenv.cfg"].read()
    assert "usr/lib/kiosk/boot/overlays/imx219.dtbo" in tree
    csi = tree[f"{rootfs.SCANNER}/csi.conf"]
    assert csi.read() == (raspios.build / "systemd/csi.conf").read_bytes()


def test_debians_card_has_none_of_that(recipe, room, system, site):
    files = card.fat_files(recipe, system)
    tree = the_tree(recipe, room, system, site)

    config = (recipe.build / "boot/config.txt").read_bytes()
    assert files["config.txt"] == config + b"\n" * (2048 - len(config))
    assert not [name for name in files if "overlays" in name]
    assert b"compatible=kiosk-arm64-debian\n" in tree["etc/rauc/system.conf"].read()
    assert b"site-packages = false" in tree["opt/kiosk/.venv/pyvenv.cfg"].read()
    assert f"{rootfs.SCANNER}/csi.conf" not in tree


def test_a_kernel_without_an_overlay_or_a_board_ends_the_build(raspios, firmware, room, tmp_path):
    debs = [firmware, Deb("card", "libc6", "arm64", "2.41", "0" * 64)]
    facts = raspios.recipe.facts
    for kind, name in (("overlays", "imx999.dtbo"), ("device_trees", "bcm2799-rpi-9.dtb")):
        tar = tmp_path / f"{kind}.tar"
        a_base(tar, raspios)
        boot = facts["boot"] | {kind: [*facts["boot"][kind], "?none.dtb", name]}
        asks = replace(raspios, recipe=replace(raspios.recipe, facts=facts | {"boot": boot}))

        with pytest.raises(BuildError, match=rf"The kernel brings no usr/lib/linux-image-.*{name}"):
            debian.make(asks, debs, room, tar, EPOCH)


def test_an_example_that_sells_is_switched_off():
    text = "gateway:\n  url: http://a\noffer:\n  amount_sum: 15000\n"

    assert card.unsold(text) == "gateway:\n  #url: http://a\noffer:\n  #amount_sum: 15000\n"
    with pytest.raises(BuildError, match="0 lines url"):
        card.unsold("offer:\n  amount_sum: 15000\n")


def test_a_system_that_is_too_big_for_its_place_ends_the_build(room, tmp_path, monkeypatch):
    monkeypatch.setattr(card, "SLOT_A", (196, 0))
    room.plays = {
        "mksquashfs": lambda argv, binds: (
            (binds["/job"] / "root.squashfs").write_bytes(b"x" * 9) and None
        )
    }

    with pytest.raises(BuildError, match="has 9 bytes; a slot 0"):
        card.squashfs(room, tmp_path, Tree(), EPOCH)


def test_keys_are_made_once_and_those_of_the_tests_are_known(places, room, tmp_path, monkeypatch):
    need("openssl", "sudo apt install openssl")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    said = []

    own = bundle.keys(places, room, "", said.append)

    assert not own.are_of_the_tests
    assert own.folder.stat().st_mode & 0o077 == 0
    assert len(said) == 1
    assert bundle.keys(places, room, "", said.append) == own
    assert len(said) == 1
    tests = bundle.keys(places, room, str(places.build / "tests/keys"), said.append)
    assert tests.are_of_the_tests
    with pytest.raises(BuildError, match=r"has no ca\.pem, cert\.pem, key\.pem; .*make-keys"):
        bundle.keys(places, room, str(tmp_path), said.append)


def played(monkeypatch, recipe, room, system, site, tmp_path):
    """A whole build whose slow parts are there already."""
    tar = recipe.cache / "base-x.tar"
    tar.touch()
    tree = recipe.cache / "tools-x"
    tree.mkdir()
    monkeypatch.setattr(type(room), "root", tree)
    monkeypatch.setattr(make.host, "check", lambda say: False)
    monkeypatch.setattr(make.archive, "fetch", lambda *_: 0)
    monkeypatch.setattr(make.tools, "make", lambda *_, **__: (room, False))
    monkeypatch.setattr(make.base, "make", lambda *_: (tar, False))
    monkeypatch.setattr(make.wheels, "make", lambda *_: (site, False))
    monkeypatch.setattr(make.debian_part, "make", lambda *_: (system, False))

    def pack(argv, binds):
        work = binds["/job"]
        name = next(work.glob("kiosk-*.img")).name
        for ending in (".xz", ".xz.sha256", ".bmap"):
            (work / f"{name}{ending}").write_bytes(b"packed")

    def rauc(argv, binds):
        name = argv[-1].split("/job/kiosk-")[1].split()[0]
        (binds["/job"] / f"kiosk-{name}").write_bytes(b"bundle")

    def small(argv, binds):
        (binds["/job"] / "card.img").write_bytes(b"card")

    room.plays = {
        "bmaptool": pack,
        "rauc bundle": rauc,
        "mksquashfs": lambda argv, binds: (
            (binds["/job"] / "root.squashfs").write_bytes(b"hsqs") and None
        ),
        "mkfs.vfat": lambda *_: None,
        "mke2fs": lambda *_: None,
        "sfdisk": small,
    }


def test_make_image_leaves_all_that_is_published(
    recipe, room, system, site, tmp_path, monkeypatch, capsys
):
    played(monkeypatch, recipe, room, system, site, tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    monkeypatch.setenv("IMAGE_URL", "https://images.example/")
    (recipe.cache / "left.half").touch()
    for number in range(3):
        (recipe.cache / f"wheels-{number}.tar").touch()
    recipe.out.mkdir()
    (recipe.out / "kiosk-0.0.1-arm64.img.xz").touch()
    keys = str(recipe.build / "tests/keys")

    code = command.main(["image", "--out", str(recipe.out), "--update-keys", keys, "--with-new"])

    told = capsys.readouterr().err
    assert code == 0, told
    name = f"kiosk-{recipe.version()}+test-arm64"
    endings = ("img.xz", "img.xz.sha256", "img.bmap", "img", "raucb", "cdx.json", "packages.txt")
    assert {f.name for f in recipe.out.iterdir()} == {
        f"{name}.{ending}" for ending in (*endings, "imager.json")
    }
    imager = json.loads((recipe.out / f"{name}.imager.json").read_text())
    assert imager["os_list"][0]["url"] == f"https://images.example/{name}.img.xz"
    assert not (recipe.cache / "left.half").exists()
    assert "s  root file system\n" in told
    assert "s in all" in told


def test_another_build_in_the_same_cache_is_waited_for(places, monkeypatch):
    import fcntl

    calls, said = [], []

    def flock(file, how):
        calls.append(how)
        if len(calls) == 1:
            raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", flock)

    class Told:
        say = staticmethod(said.append)

    with make._alone(places.cache, Told()):
        pass

    assert calls == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    assert "waiting" in said[0]


def test_no_room_on_the_disk_is_a_sentence(places, monkeypatch, capsys):
    monkeypatch.setattr(make.host, "check", lambda say: False)
    monkeypatch.setattr(make, "LEAST_FREE_BYTES", 1 << 62)

    assert command.main(["image", "--out", str(places.out)]) == 1
    assert "KIOSK_IMAGE_CACHE= names another place" in capsys.readouterr().err


def test_make_image_lock_writes_what_the_archive_says(places, monkeypatch, tmp_path, capsys):
    deb = Deb("card", "libc6", "arm64", "2.41", "0" * 64)
    monkeypatch.setattr(command.archive, "resolve", lambda archive: [deb])
    monkeypatch.setattr(Places, "lock", places.project / "dist" / "lock-of-a-test")
    (places.project / "dist").mkdir(exist_ok=True)
    try:
        assert command.main(["lock"]) == 0
        assert lock.read(places.project / "dist" / "lock-of-a-test") == [deb]
    finally:
        (places.project / "dist" / "lock-of-a-test").unlink(missing_ok=True)
    assert "1 packages" in capsys.readouterr().err


def test_what_sudo_made_belongs_to_who_called_sudo(monkeypatch, tmp_path):
    given = []
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1001")
    monkeypatch.setattr(make.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        make.os, "chown", lambda path, user, group: given.append((path, user, group))
    )

    make._give_back([tmp_path / "a"])

    assert given == [(tmp_path / "a", 1000, 1001), (tmp_path, 1000, 1001)]


def test_what_goes_to_another_disk_is_copied(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("EXDEV")))

    make._move(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == b"x"


def test_the_base_is_asked_for_with_the_locked_packages_alone(places, room, monkeypatch):
    monkeypatch.setattr(base.archive, "repository", lambda *_: None)
    room.plays = {
        "mmdebstrap": lambda argv, binds: (binds["/job"] / "base.tar").write_bytes(b"tar") and None
    }

    path, made = base.make(places, [], room, EPOCH, places.cache / "log")

    assert (made, path.read_bytes()) == (True, b"tar")
    [argv] = room.ran
    assert argv[-1] == "deb [trusted=yes] copy:///job/repository ./"
    assert "--extract-hook=sh /job/native.sh $1" in argv
    assert any(word.startswith("--include=") and ",rauc," in word for word in argv)


def test_the_tree_of_tools_is_made_once(places, monkeypatch):
    ran = []

    def execute(argv, name, log=None):
        ran.append(argv)
        if "mmdebstrap" in argv:
            Path(argv[-2], "etc").mkdir(parents=True, exist_ok=True)
        elif "touch" in argv:
            Path(argv[-1]).touch()
        return ""

    monkeypatch.setattr(tool_tree, "execute", execute)
    monkeypatch.setattr("builder.room.execute", execute)
    places.debs.mkdir()
    hash_ = "a" * 64
    (places.debs / hash_).write_bytes(b"deb")
    debs = [Deb("tools_files", "linux-kbuild", "amd64", "1", hash_)]

    first = tool_tree.make(places, debs, as_user=False, log=places.cache / "log")
    second = tool_tree.make(places, debs, as_user=False, log=places.cache / "log")

    assert (first[1], second[1]) == (True, False)
    assert first[0].root == second[0].root
    assert sum("--extract" in argv for argv in ran) == 1
    (first[0].root / "etc/made").unlink()
    assert tool_tree.make(places, debs, as_user=False, log=places.cache / "log")[1]
    assert any("rm" in argv for argv in ran)


def test_compiled_files_are_the_same_every_time(room, places):
    seen = []
    for _ in range(2):
        tree = Tree()
        tree.put("a/b.py", of_bytes(b"import os\nNAMES = ('a', 'b', os.sep)\n"))
        assert compiled.add(tree, room, places.cache) == 1
        [(path, entry)] = tree.files("*.pyc")
        seen.append((path, entry.read()))

    assert seen[0] == seen[1]
    assert seen[0][1][4:8] == b"\x01\0\0\0"
    assert list(places.cache.iterdir()) == []
