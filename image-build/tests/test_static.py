"""The image that `make image` left in dist/image, looked at: not started, and without root."""

import _imp  # what importlib.util.source_hash calls, for another Python's number
import gzip
import hashlib
import importlib.util
import json
import lzma
import os
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import card as cards
import pytest
from builder import elf, lock, modules
from builder.places import Places
from builder.tree import Tree, folder, link, of_bytes
from tools import figure, need

from kiosk.errors import SettingsError
from kiosk.settings_file import load_settings

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
RECIPE = HERE.parent / "recipe"
PLACES = Places.usual()
PROGRAMS = {
    "sfdisk": "fdisk",
    "mcopy": "mtools",
    "unsquashfs": "squashfs-tools",
    "debugfs": "e2fsprogs",
    "fsck.vfat": "dosfstools",
    "xz": "xz-utils",
}
MIB = 1 << 20
MB = 1_000_000
MOST_PACKED = 150 * MB
BOARDS = {
    "Zero 2 W": "bcm2837-rpi-zero-2-w.dtb",
    "3B": "bcm2837-rpi-3-b.dtb",
    "3B+": "bcm2837-rpi-3-b-plus.dtb",
    "4B": "bcm2711-rpi-4-b.dtb",
    "Compute Module 4": "bcm2711-rpi-cm4-io.dtb",
    "5": "bcm2712-rpi-5-b.dtb",
    "5, second stepping": "bcm2712-d-rpi-5-b.dtb",
}
DTB_MAGIC = b"\xd0\x0d\xfe\xed"
SIZES = {
    "config.txt": 2048,
    "tryboot.txt": 2048,
    "kiosk-status.txt": 4096,
    "a/cmdline.txt": 1024,
    "b/cmdline.txt": 1024,
}
# What an attacker, or a merchant's neighbour, must not find on a card that nobody set up yet.
SECRETS = re.compile(
    rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}|psk=\S|\$[156y]\$[./A-Za-z0-9]"
)


@dataclass(frozen=True)
class Made:
    """The files of one image."""

    folder: Path
    name: str

    def file(self, ending):
        return self.folder / f"{self.name}{ending}"


@pytest.fixture(scope="session")
def made():
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    for program, package in PROGRAMS.items():
        need(shutil.which(program, path=path) is not None, f"sudo apt install {package}")
    os.environ["PATH"] = path
    named = os.environ.get("KIOSK_IMAGE")
    packed = [Path(named)] if named else sorted((PROJECT / "dist/image").glob("*.img.xz"))
    need(packed, "there is no image; make one: make image")
    newest = max(packed, key=lambda file: file.stat().st_mtime)
    return Made(newest.parent, newest.name.partition(".img")[0])


@pytest.fixture(scope="session")
def the_card(made, tmp_path_factory):
    raw = made.file(".img")
    if not raw.exists():
        raw = cards.unpacked(made.file(".img.xz"), tmp_path_factory.mktemp("card"))
    return cards.Card(raw)


@pytest.fixture(scope="session")
def squashfs(the_card, tmp_path_factory):
    where = the_card.partition(cards.SLOT_A)
    path = tmp_path_factory.mktemp("root") / "root.squashfs"
    cards.extract(the_card.path, path, where.offset, where.size)
    return path


@pytest.fixture(scope="session")
def root(squashfs):
    """The root file system as a tree: modes and owners from its list, contents unpacked."""
    target = squashfs.parent / "files"
    run("unsquashfs", "-q", "-n", "-no-xattrs", "-d", target, squashfs)
    tree = Tree()
    form = re.compile(r"(\S{10}) (\d+)/(\d+) +(\d+|\d+, *\d+) \S+ \S+ squashfs-root/?(.*)")
    for line in run("unsquashfs", "-lln", squashfs).decode().splitlines():
        match = form.fullmatch(line)
        if not match or not match[5]:
            continue
        kind, user, group = match[1][0], int(match[2]), int(match[3])
        path, _, aim = match[5].partition(" -> ")
        assert kind in "-dl", f"{line}: neither file nor folder nor link"
        if kind == "l":
            tree.entries[path] = link(aim)
        elif kind == "d":
            tree.entries[path] = folder(mode(match[1]), user, group)
        else:
            file = target / path
            entry = of_bytes(b"", mode(match[1]), user, group)
            size = file.stat().st_size
            tree.entries[path] = type(entry)(
                "file", entry.mode, user, group, size=size, read=file.read_bytes
            )
    assert len(tree.entries) > 3000
    return tree


def mode(text):
    """The permission bits of a list's first column."""
    bits = 0
    for at, letter in enumerate(text[1:]):
        if letter not in "-ST":
            bits |= 0o400 >> at
        if letter in "sStT":
            bits |= {2: 0o4000, 5: 0o2000, 8: 0o1000}[at]
    return bits


def run(*argv):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True).stdout


def read(tree, path):
    return tree[tree.resolve(path)].read().decode()


def settings_of(config, board=None):
    """The lines of a config.txt that hold for all boards, or for one filter of the firmware."""
    found, section = [], "all"
    for line in config.splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and section in ("all", board):
            found.append(line)
    return found


# The card


def test_the_partition_table_is_as_the_boards_want_it(the_card):
    table = json.loads(run("sfdisk", "--json", the_card.path))["partitiontable"]

    assert (table["label"], table["id"]) == ("dos", "0x6b696f73")
    # 0xee in the first two places stops a Pi 4; 0x0c is what all of them boot from.
    assert [part["type"] for part in table["partitions"]] == ["c", "83", "83", "83"]
    assert all(part["start"] % 8192 == 0 for part in table["partitions"])
    assert [part["size"] * 512 // MIB for part in table["partitions"]] == [192, 320, 320, 64]
    ends = [part["start"] + part["size"] for part in table["partitions"]]
    assert all(a <= part["start"] for a, part in zip(ends, table["partitions"][1:], strict=False))


def test_slot_b_is_empty_and_the_data_partition_is_a_file_system_in_order(the_card, tmp_path):
    assert the_card.read(cards.SLOT_B).count(0) == 320 * MIB

    data = the_card.data(tmp_path)
    assert data.check() == []
    assert data.names("") == ["appliance", "etc", "kiosk", "lost+found", "rauc", "ssh"]
    assert data.names("kiosk") == [".card"]
    assert all(data.names(name) == [] for name in ("appliance", "etc", "rauc", "ssh"))
    told = run("debugfs", "-R", "stat /kiosk", data.image).decode()
    assert re.search(r"Mode: +0700", told)
    assert re.search(r"User: +701 +Group: +701", told)
    head = run("dumpe2fs", "-h", data.image).decode()
    assert "Block size:               4096" in head
    assert "Filesystem volume name:   kiosk-data" in head


def test_the_fat_is_in_order_and_everything_on_it_is_named(the_card, tmp_path):
    top = {"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "LICENCE.broadcom"}
    people = {"kiosk.yaml", "README.txt", "kiosk-status.txt", "config.txt", "tryboot.txt"}

    assert the_card.check_fat(tmp_path) == []
    assert set(the_card.names()) == top | people | {"a/", "b/"}
    slot = {"vmlinuz", "initrd.img", "cmdline.txt", *BOARDS.values()}
    assert slot <= set(the_card.names("a/"))
    assert the_card.names("a/") == the_card.names("b/")


def test_what_config_txt_names_is_there_in_both_slots(the_card):
    for name in ("config.txt", "tryboot.txt"):
        config = the_card.get(name).decode()
        # The image has nothing to try: both say a.
        assert re.findall(r"^os_prefix=([ab])/$", config, re.MULTILINE) == ["a"]
        assert max(map(len, config.splitlines())) < 98, "the firmware reads short lines only"
        boards = set(re.findall(r"^\[(\w+\+?)\]$", config, re.MULTILINE))
        for board in boards:
            for line in settings_of(config, board):
                word, _, value = line.partition(" " if line.startswith("initramfs") else "=")
                if word in ("kernel", "initramfs", "device_tree"):
                    assert {f"{value.split()[0]}"} <= set(the_card.names("a/"))
                    assert {f"{value.split()[0]}"} <= set(the_card.names("b/"))
        assert {"kernel=vmlinuz", "arm_64bit=1"} <= set(settings_of(config))


@pytest.mark.parametrize("board", BOARDS)
def test_each_board_has_its_device_tree(the_card, board):
    for slot in "ab":
        assert the_card.get(f"{slot}/{BOARDS[board]}").startswith(DTB_MAGIC)


def test_the_files_that_the_kiosk_overwrites_have_their_size_and_stand_in_one_piece(the_card, root):
    listed = json.loads(read(root, "usr/lib/kiosk/fat.json"))
    boot = {p.rpartition("/")[2]: e.size for p, e in root.files("usr/lib/kiosk/boot/*")}

    for name, size in listed.items():
        assert len(the_card.get(name)) == size, name
    assert SIZES.items() <= listed.items()
    for name, size in boot.items():
        if name != "cmdline.txt":
            assert listed[f"a/{name}"] == listed[f"b/{name}"] == size
    assert listed["a/vmlinuz"] == 32 * MIB
    assert listed["a/initrd.img"] == 24 * MIB
    # mtools shows the clusters of each file: one run means that nothing else lies between.
    offset = the_card.partition(cards.BOOT).offset
    shown = run("mshowfat", "-i", f"{the_card.path}@@{offset}", "::a/vmlinuz", "::b/initrd.img")
    assert all(line.count(b"<") == 1 for line in shown.splitlines())


def test_both_slots_have_the_same_boot_files_and_their_own_command_line(the_card, root):
    for name in the_card.names("a/"):
        a, b = the_card.get(f"a/{name}"), the_card.get(f"b/{name}")
        if name == "cmdline.txt":
            assert b"root=PARTUUID=6b696f73-02 " in a
            assert b"rauc.slot=A " in a
            expected = a.replace(b"6b696f73-02", b"6b696f73-03").replace(b"slot=A", b"slot=B")
            assert b == expected
            assert a.count(b"\n") == 1
            assert len(a.split()) == len(set(a.split()))
        else:
            assert a == b == root[f"usr/lib/kiosk/boot/{name}"].read(), name


def test_the_kernel_is_one_that_the_firmware_loads(the_card, root):
    packed = the_card.get("a/vmlinuz")
    kernel = gzip.decompress(packed)

    assert kernel[56:60] == b"ARM\x64"
    # A loader that looks for the size of what is packed at the end of the file finds it.
    assert int.from_bytes(packed[-4:], "little") == len(kernel)
    version = json.loads(read(root, "usr/lib/kiosk/version.json"))["kernel"]
    assert f"Linux version {version} ".encode() in kernel


def test_an_unedited_card_sells_nothing_and_says_where_to_begin(the_card, tmp_path):

    text = the_card.get("kiosk.yaml").decode()

    assert re.search(r"^  #url: ", text, re.MULTILINE)
    assert re.search(r"^  #amount_sum: ", text, re.MULTILINE)
    file = tmp_path / "kiosk.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"gateway\.url"):
        load_settings([file])
    assert b"kiosk.yaml" in the_card.get("README.txt")


# The root file system


def test_nothing_is_missing_that_a_program_needs_to_start(root):
    assert elf.faults(root) == []
    assert root.reaches("/sbin/init")
    assert root.reaches("/lib/ld-linux-aarch64.so.1")
    checked = sum(elf.read(e.read()) is not None for _, e in root.files() if e.size > 64)
    figure(f"programs and libraries of the image with all that they need: {checked}")


def test_elf_faults_sees_a_library_that_is_gone(root):
    # The control: the same tree without the C library's loader and one library.
    less = Tree(dict(root.entries))
    less.remove("usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1")
    less.remove("usr/lib/aarch64-linux-gnu/libcap.so.2")

    found = elf.faults(less)

    assert any("ld-linux-aarch64" in line for line in found)
    assert any(line.endswith("needs libcap.so.2") for line in found)


def test_no_link_leads_nowhere(root):
    # Into what the system makes when it runs, or what somebody else may add.
    elsewhere = re.compile(
        r"(run|proc|sys|dev|var|tmp)/|usr/share/(doc|man)/|etc/alternatives/.*\.gz"
    )
    gone = [
        f"{path} -> {entry.target}"
        for path, entry in root.entries.items()
        if entry.kind == "link"
        and not root.reaches(path)
        and not elsewhere.match(root.resolve(path) + "/")
        and not elsewhere.match(path)
    ]
    gone = [line for line in gone if not line.endswith("/dev/null")]

    assert gone == []


def test_nobody_has_a_password_and_root_cannot_log_in(root):
    for line in read(root, "etc/shadow").splitlines():
        name, password = line.split(":")[:2]
        assert password in ("*", "!*", "!"), name
    shells = {
        line.split(":")[0]: line.split(":")[6] for line in read(root, "etc/passwd").splitlines()
    }
    people = {name for name, shell in shells.items() if shell.endswith("sh")}
    assert people == {"root", "technician"}


def test_there_is_no_secret_and_no_identity_on_the_card(root, the_card):
    assert root["etc/machine-id"].read() == b""
    assert [p for p in root.entries if re.search(r"ssh_host_.*key", p)] == []
    assert not any(p.startswith("var/lib/systemd/random-seed") for p in root.entries)
    assert not any(p.startswith(("root/.ssh", "home/")) for p in root.entries)
    found = [
        path
        for path, entry in root.files()
        if entry.size < 200_000
        and not path.startswith(("usr/share/doc", "usr/lib/python3"))
        and path.endswith((".pem", ".key", ".conf", ".yaml", ".txt", ".json", "shadow"))
        and SECRETS.search(entry.read())
    ]
    assert found == []
    for name in ("kiosk.yaml", "config.txt", "README.txt", "kiosk-status.txt"):
        assert not SECRETS.search(the_card.get(name))


def test_the_pattern_of_secrets_finds_one():
    assert SECRETS.search(b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64)
    assert SECRETS.search(b"root:$y$j9T$abc:1")
    assert SECRETS.search(b"  psk=hunter22")


def test_only_named_programs_run_as_their_owner(root):
    stay = set(PLACES.names("setuid.txt"))

    assert {p for p, e in root.files() if e.mode & 0o6000} == stay
    assert [p for p, e in root.files() if e.mode & 0o002] == []
    owners = {e.uid for p, e in root.entries.items() if not p.startswith(("var/", "run/"))}
    assert owners == {0}
    assert root["etc/shadow"].mode & 0o007 == 0
    assert root["etc/sudoers.d/technician"].mode == 0o440


def test_the_users_of_the_kiosk_keep_their_numbers(root):
    wanted = {}
    for line in PLACES.names("users.txt"):
        words = line.split()
        if words[0] in ("user", "group"):
            wanted[words[1]] = int(words[2])
    groups = {line.split(":")[0]: line.split(":") for line in read(root, "etc/group").splitlines()}
    passwd = {line.split(":")[0]: line.split(":") for line in read(root, "etc/passwd").splitlines()}

    # The journal on a card of last year belongs to 701; these numbers never change.
    assert wanted == {
        "gpio": 700,
        "kiosk": 701,
        "kiosk-scanner": 702,
        "kiosk-update": 703,
        "technician": 704,
    }
    for name, number in wanted.items():
        assert int(groups[name][2]) == number
        if name != "gpio":
            assert int(passwd[name][2]) == number
    members = {name: set(fields[3].split(",")) - {""} for name, fields in groups.items()}
    assert members["gpio"] == {"kiosk"}
    assert members["kiosk-scanner"] == {"kiosk"}
    assert members["kiosk"] == set()
    assert {"kiosk", "kiosk-scanner"} <= members["video"]


def test_each_user_that_the_units_name_is_there(root):
    names = {line.split(":")[0] for line in read(root, "etc/passwd").splitlines()}
    groups = {line.split(":")[0] for line in read(root, "etc/group").splitlines()}

    for path, entry in root.files("*.service"):
        text = entry.read().decode()
        for word, known in (("User", names), ("Group", groups), ("SupplementaryGroups", groups)):
            for value in re.findall(rf"^{word}=(.+)$", text, re.MULTILINE):
                fixed = {name for name in value.split() if "%" not in name}
                assert fixed <= known, path


def test_the_units_start_that_should_and_no_other(root):
    links = {
        p: e.target
        for p, e in root.entries.items()
        if p.startswith("etc/systemd/system/") and e.kind == "link"
    }
    for line in PLACES.names("units.txt"):
        word, unit = line.split()
        hits = [p for p in links if p.endswith(f"/{unit}")]
        if word == "enable":
            assert any(".wants/" in p or ".requires/" in p for p in hits), unit
            assert all(root.reaches(p) for p in hits)
        elif word == "mask":
            assert links[f"etc/systemd/system/{unit}"] == "/dev/null"
        else:
            assert not hits, unit
    wanted = {p.rpartition("/")[2] for p in links if ".wants/" in p}
    known = {line.split()[1] for line in PLACES.names("units.txt") if line.startswith("enable")}
    # What Debian's packages enabled by themselves; a new one is looked at before it is added here.
    assert wanted - known <= {
        "remote-fs.target",
        "wpa_supplicant.service",
        "systemd-networkd.socket",
    }


def test_what_lasts_stands_on_the_data_partition(root):
    mounts = {}
    for line in read(root, "etc/fstab").splitlines():
        if line and not line.startswith("#"):
            what, where, *rest = line.split()
            mounts[where] = (what, *rest)

    assert mounts["/data"][0].endswith("6b696f73-04")
    assert mounts["/var/lib/kiosk"][0] == "/data/kiosk"
    assert mounts["/etc/kiosk"][0] == "/data/etc"
    assert "ro" in mounts["/boot/firmware"][2].split(",")
    for place in (*mounts, "/proc", "/sys", "/dev", "/run", "/tmp"):
        assert root.resolve(place) in root.entries, place
    unit = read(root, "usr/lib/systemd/system/kiosk.service")
    assert "StateDirectory=kiosk\n" in unit
    assert "systemd.volatile=state" in read(root, "usr/lib/kiosk/boot/cmdline.txt")


def test_the_card_carries_what_git_knows_and_nothing_else_of_the_project(root):
    tracked = run("git", "-C", PROJECT, "ls-files").decode().splitlines()
    here = {p.removeprefix("opt/kiosk/") for p, _ in root.files("opt/kiosk/*")}
    ours = {p for p in here if not p.startswith(".venv/") and "__pycache__" not in p}
    told = json.loads(read(root, "usr/lib/kiosk/version.json"))

    if not told["commit"].endswith("+"):
        assert ours <= set(tracked)
    assert {"kiosk/cli.py", "hardware/panel.py", "README.md", "LICENSE"} <= ours
    assert not [p for p in ours if p.startswith(("tests/", ".git", ".lock", "image-build/tests"))]


def test_every_python_file_is_compiled_and_never_checked_against_its_source(root):
    missing, count = [], 0
    for path, entry in root.files("*.py"):
        if not path.startswith(("opt/kiosk/", "usr/lib/python3")):
            continue
        above, _, name = path.rpartition("/")
        cached = f"{above}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc"
        if cached not in root:
            missing.append(path)
            continue
        data = root[cached].read()
        # Flags 1: by hash, unchecked. The hash is still that of this very source.
        magic = int.from_bytes(data[:4], "little")
        assert data[4:8] == b"\x01\0\0\0", cached
        assert data[8:16] == _imp.source_hash(magic, entry.read()), cached
        count += 1

    assert missing == []
    assert count > 600
    figure(f"Python files of the image, each compiled from its source: {count}")


def test_the_pins_module_is_code_for_the_cards_processor(root):
    [(path, entry)] = root.files("opt/kiosk/.venv/*/_lgpio*.so")
    program = elf.read(entry.read())

    assert program.machine == elf.ARM64
    assert entry.size > 100_000
    assert b"lgGpiochipOpen" in entry.read()
    assert "aarch64" in path
    natives = [p for p, _ in root.files("opt/kiosk/.venv/*.so*")]
    assert any("cv2" in p for p in natives)
    assert all(elf.read(root[p].read()).machine == elf.ARM64 for p in natives)


def test_the_kernels_modules_are_those_of_the_list_and_can_be_found(root):
    kernel = modules.kernel_of(root)
    top = f"usr/lib/modules/{kernel}"
    names = {modules.name_of(p) for p, _ in root.files(f"{top}/*.ko*")}
    builtin = {modules.name_of(p) for p in read(root, f"{top}/modules.builtin").splitlines()}

    for wanted in PLACES.names("modules.txt"):
        if "/" not in wanted:
            assert wanted.replace("-", "_") in names, wanted
    for wanted in PLACES.names("initramfs-modules.txt"):
        assert wanted.replace("-", "_") in names | builtin, wanted
    assert {"kiosk_tryboot", "dm_verity", "gpio_sim", "vivid", "uvcvideo", "nf_tables"} <= names
    assert f"{top}/modules.dep.bin" in root
    # An index that was made before the pruning would name what is gone.
    assert b"amdgpu" not in root[f"{top}/modules.dep.bin"].read()
    figure(f"modules of the kernel in the image: {len(names)}")


def test_rauc_trusts_one_authority_and_no_key_of_the_tests_unsaid(root):
    conf = read(root, "etc/rauc/system.conf")
    version = json.loads(read(root, "usr/lib/kiosk/version.json"))["version"]
    keyring = read(root, "etc/rauc/keyring.pem")

    assert not re.search(r"=@", conf)
    assert "compatible=kiosk-arm64-debian" in conf
    assert f"min-bundle-version={version}" in conf
    assert keyring.count("BEGIN CERTIFICATE") == 1
    is_of_the_tests = keyring == (HERE / "keys" / "ca.pem").read_text()
    assert version.endswith("+test") == is_of_the_tests


def test_the_version_is_that_of_the_project(root, made):
    told = json.loads(read(root, "usr/lib/kiosk/version.json"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]

    assert told["version"].partition("+")[0] == project
    assert made.name == f"kiosk-{told['version']}-arm64"
    assert told["base"] == "debian"
    assert told["kernel"] == modules.kernel_of(root)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", told["built_at"])


def test_nothing_that_installs_or_was_left_by_installing_is_there(root):
    gone = (
        *("usr/bin/apt", "usr/bin/dpkg", "usr/bin/perl", "var/lib/dpkg", "var/lib/apt", "var/log"),
        *("usr/lib/x86_64-linux-gnu", "lib64", "boot/vmlinuz", "etc/apt", "etc/initramfs-tools"),
    )
    assert [path for path in gone if root.reaches(path)] == []
    assert [p for p in root.entries if p.endswith((".arm64", ".dpkg-old", ".dpkg-dist"))] == []


# What is published


def test_checksum_block_map_and_sizes_fit_the_image(made, the_card):
    packed = made.file(".img.xz")
    said, name = made.file(".img.xz.sha256").read_text().split()
    size = packed.stat().st_size

    assert name == packed.name
    assert said == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert size <= MOST_PACKED
    tree = ET.parse(made.file(".img.bmap")).getroot()
    assert int(tree.findtext("ImageSize")) == the_card.path.stat().st_size
    block = int(tree.findtext("BlockSize"))
    with the_card.path.open("rb") as raw:
        covered = 0
        for part in tree.find("BlockMap"):
            first, _, last = part.text.strip().partition("-")
            raw.seek(int(first) * block)
            length = (int(last or first) - int(first) + 1) * block
            data = raw.read(length)
            covered += len(data)
            assert hashlib.sha256(data).hexdigest() == part.get("chksum")
    root_bytes = squashfs_size(the_card)
    figure(
        f"image: {size / MB:.1f} MB packed, {covered / MB:.0f} MB to write, root file system "
        f"{root_bytes / MB:.1f} MB"
    )


def squashfs_size(the_card):
    with the_card.path.open("rb") as raw:
        raw.seek(the_card.partition(cards.SLOT_A).offset)
        head = raw.read(96)
    assert head[:4] == b"hsqs"
    assert int.from_bytes(head[20:22], "little") == 6, "zstd"
    return int.from_bytes(head[40:48], "little")


def test_the_packed_image_is_the_image(made, the_card):
    packed = hashlib.sha256()
    with lzma.open(made.file(".img.xz")) as file:
        while block := file.read(4 * MIB):
            packed.update(block)
    with the_card.path.open("rb") as file:
        assert packed.hexdigest() == hashlib.file_digest(file, "sha256").hexdigest()


def test_the_repository_for_imager_fits_its_schema_and_offers_nothing_that_is_ignored(
    made, the_card
):
    need(importlib.util.find_spec("jsonschema") is not None, "pip install jsonschema")
    import jsonschema

    told = json.loads(made.file(".imager.json").read_text())
    jsonschema.validate(told, json.loads((HERE / "imager.schema.json").read_text()))

    [entry] = told["os_list"]
    # User, password, Wi-Fi and SSH stand in kiosk.yaml; what Imager would write nobody reads.
    assert entry["init_format"] == "none"
    assert entry["extract_size"] == the_card.path.stat().st_size
    assert entry["image_download_size"] == made.file(".img.xz").stat().st_size
    with the_card.path.open("rb") as file:
        assert entry["extract_sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
    assert unquote(entry["url"]).endswith(made.file(".img.xz").name)


def test_the_lists_of_parts_are_those_of_the_locks(made):
    bom = json.loads(made.file(".cdx.json").read_text())
    listed = made.file(".packages.txt").read_text().splitlines()
    debs = lock.of(lock.read(PLACES.lock), "card")

    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    refs = [part["bom-ref"] for part in bom["components"]]
    assert len(refs) == len(set(refs))
    assert set(bom["dependencies"][0]["dependsOn"]) == set(refs)
    found = {(p["name"], p["version"]): p for p in bom["components"]}
    for deb in debs:
        assert found[deb.name, deb.version]["hashes"][0]["content"] == deb.sha256
        assert f"debian {deb.name} {deb.version}" in listed
    for name in [*PLACES.names("wheels.txt"), "lgpio"]:
        assert any(line.startswith(f"python {name} ") for line in listed)
    assert len(listed) == len(refs)
    named = sum("licenses" in part for part in bom["components"])
    assert named / len(refs) > 0.7


def test_the_bundle_brings_this_root_file_system(made, squashfs, the_card):
    bundle = made.file(".raucb")
    size = squashfs_size(the_card)
    size += -size % 4096

    with bundle.open("rb") as file, squashfs.open("rb") as ours:
        # The bundle is a squashfs of its own that keeps ours as it is.
        assert file.read(4) == b"hsqs"
        content = run("unsquashfs", "-cat", bundle, "rootfs.squashfs")
        assert content[:size] == ours.read(size)[: len(content)]
    manifest = run("unsquashfs", "-cat", bundle, "manifest.raucm").decode()
    assert "compatible=kiosk-arm64-debian" in manifest
    assert f"version={made.name.removeprefix('kiosk-').removesuffix('-arm64')}" in manifest
