"""The lists of the recipe: modules, users, units, packages."""

import datetime as dt
import json

import pytest
from builder import lock, modules, parts, units, users, wheels
from builder.lock import Deb
from builder.tree import Tree, link, of_bytes
from builder.trouble import BuildError

DEP = """\
kernel/drivers/a.ko.xz: kernel/lib/b.ko.xz
kernel/lib/b.ko.xz:
kernel/lib/c-d.ko.xz:
kernel/net/e.ko.xz:
"""
A_DEB = Deb("card", "libc6", "arm64", "2.41-12+deb13u5", "a" * 64)


def test_a_module_brings_what_it_needs_and_what_it_asks_for():
    dep = modules.needs(DEP)

    assert modules.wanted(dep, ["a"]) == {"kernel/drivers/a.ko.xz", "kernel/lib/b.ko.xz"}
    assert modules.wanted(dep, ["c_d"]) == {"kernel/lib/c-d.ko.xz"}
    assert modules.wanted(dep, ["net/*"]) == {"kernel/net/e.ko.xz"}
    soft = "softdep a pre: c_d post: nothing\n"
    assert "kernel/lib/c-d.ko.xz" in modules.wanted(dep, ["a"], soft)


def test_a_module_that_the_kernel_has_not_ends_the_build():
    with pytest.raises(BuildError, match="no module vivid"):
        modules.wanted(modules.needs(DEP), ["vivid"])
    # Built in, it is there; with `?` it may be missing.
    assert modules.wanted(modules.needs(DEP), ["vivid"], "", "kernel/test/vivid.ko\n") == set()
    assert modules.wanted(modules.needs(DEP), ["test/*"], "", "kernel/test/vivid.ko\n") == set()
    assert modules.wanted(modules.needs(DEP), ["?vivid", "?test/*", "?net/*"]) == {
        "kernel/net/e.ko.xz"
    }


def test_other_modules_go():
    tree = Tree()
    top = "usr/lib/modules/7.3"
    for line in DEP.splitlines():
        tree.put(f"{top}/{line.partition(':')[0]}", of_bytes(b"code"))
    tree.put(f"{top}/modules.dep", of_bytes(DEP.encode()))
    tree.put(f"{top}/modules.softdep", of_bytes(b""))
    tree.put(f"{top}/modules.builtin", of_bytes(b""))

    assert modules.prune(tree, ["a"]) == (4, 2)
    assert f"{top}/kernel/net/e.ko.xz" not in tree
    tree.put("usr/lib/modules/7.4/kernel/x.ko", of_bytes(b""))
    with pytest.raises(BuildError, match="2 kernels"):
        modules.kernel_of(tree)


def people():
    tree = Tree()
    tree.put("etc/passwd", of_bytes(b"root:x:0:0:root:/root:/bin/bash\n"))
    tree.put("etc/group", of_bytes(b"root:x:0:\nvideo:x:44:\n"))
    tree.put("etc/shadow", of_bytes(b"root:secret:20000:0:99999:7:::\n", 0o640, 0, 42))
    tree.put("etc/gshadow", of_bytes(b"root:*::\nvideo:*::\n"))
    return tree


def test_users_get_their_numbers_and_nobody_a_password():
    tree = people()

    users.add(
        tree,
        [
            "group gpio 700",
            "user kiosk 701 /var/lib/kiosk /usr/sbin/nologin Payment kiosk",
            "member kiosk video",
        ],
    )

    assert b"kiosk:x:701:701:Payment kiosk:/var/lib/kiosk:/usr/sbin/nologin\n" in (
        tree["etc/passwd"].read()
    )
    assert b"video:x:44:kiosk\n" in tree["etc/group"].read()
    assert tree["etc/shadow"].read() == b"root:!*:::::::\nkiosk:!*:::::::\n"
    assert (tree["etc/shadow"].mode, tree["etc/shadow"].gid) == (0o640, 42)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("group other 44", "belongs to another"),
        ("member kiosk none", "no group none"),
        ("person kiosk", "means nothing"),
    ],
)
def test_a_line_about_users_that_cannot_be_ends_the_build(line, why):
    with pytest.raises(BuildError, match=why):
        users.add(people(), [line])


def services():
    tree = Tree()
    wanted = (
        b"[Unit]\n[Install]\nWantedBy=multi-user.target\nRequiredBy=b.target\nAlias=c.service\n"
    )
    tree.put("usr/lib/systemd/system/a.service", of_bytes(wanted + b"Also=a.timer\n"))
    tree.put(
        "usr/lib/systemd/system/a.timer", of_bytes(b"[Timer]\n[Install]\nWantedBy=timers.target\n")
    )
    tree.put("usr/lib/systemd/system/static.service", of_bytes(b"[Unit]\n"))
    tree.put("etc/systemd/system/multi-user.target.wants/ssh.service", link("/lib/ssh.service"))
    tree.put("usr/lib/systemd/system/ssh.service", of_bytes(b"[Unit]\n"))
    return tree


def test_units_are_enabled_as_their_install_section_says():
    tree = services()

    units.apply(tree, ["enable a.service", "disable ssh.service", "mask getty@tty1.service"])

    links = {p: e.target for p, e in tree.entries.items() if e.kind == "link"}
    assert links == {
        "etc/systemd/system/multi-user.target.wants/a.service": "/usr/lib/systemd/system/a.service",
        "etc/systemd/system/b.target.requires/a.service": "/usr/lib/systemd/system/a.service",
        "etc/systemd/system/c.service": "/usr/lib/systemd/system/a.service",
        "etc/systemd/system/timers.target.wants/a.timer": "/usr/lib/systemd/system/a.timer",
        "etc/systemd/system/getty@tty1.service": "/dev/null",
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("enable none.service", "no unit none"),
        ("enable static.service", "says not where it belongs"),
        ("start a.service", "means nothing"),
    ],
)
def test_a_line_about_units_that_cannot_be_ends_the_build(line, why):
    with pytest.raises(BuildError, match=why):
        units.apply(services(), [line])


def test_the_lock_is_written_as_it_is_read(tmp_path, places):
    other = Deb("tools", "xz-utils", "amd64", "5.8.1-1", "b" * 64)
    at = dt.datetime(2026, 11, 24, 20, tzinfo=dt.UTC)

    lock.write(tmp_path / "lock", [other, A_DEB, A_DEB], at)

    assert lock.read(tmp_path / "lock") == [A_DEB, other]
    assert lock.time_of(tmp_path / "lock") == at.timestamp()
    assert lock.of([A_DEB, other], "tools") == [other]
    assert len(lock.read(places.lock)) > 300


def test_a_damaged_lock_ends_the_build(tmp_path):
    with pytest.raises(BuildError, match="Line 2 of the lock"):
        lock.parse(A_DEB.line() + "\ncard libc6 2.41\n")
    with pytest.raises(BuildError, match="is missing"):
        lock.read(tmp_path / "none")
    (tmp_path / "old").write_text(A_DEB.line())
    with pytest.raises(BuildError, match="of when it is"):
        lock.time_of(tmp_path / "old")


def test_the_list_of_parts_names_hashes_and_licences(places):
    tree = Tree()
    tree.put(
        "usr/share/doc/libc6/copyright",
        of_bytes(b"Format: https://x\n\nFiles: *\nLicense: LGPL-2.1+\n text\n\nLicense: GPL-2\n"),
    )
    tree.put("usr/share/doc/other/copyright", of_bytes(b"This is free.\n"))
    says = parts.licences(tree)
    assert says == {"libc6": ["GPL-2", "LGPL-2.1+"]}

    found = parts.deb_parts([A_DEB], says)
    found += parts.python_parts(places.project / ".lock", wheels.packages(places))
    bom = json.loads(parts.sbom("kiosk-arm64", "0.1.0", found, 0))

    assert bom["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    names = {part["name"]: part for part in bom["components"]}
    assert names["lgpio"]["licenses"] == [{"expression": "Unlicense"}]
    # What the card's Python gets, not this machine's.
    numpy = next(
        line
        for line in parts.listing(found).decode().splitlines()
        if line.startswith("python numpy")
    )
    assert numpy.split()[2] >= "2.5"


def test_imager_is_told_to_offer_nothing():
    told = json.loads(
        parts.imager(
            "0.1.0",
            "file:///a.img.xz",
            size=1,
            sha256="0",
            packed_size=1,
            packed_sha256="1",
            epoch=0,
        )
    )

    assert told["os_list"][0]["init_format"] == "none"
    assert told["os_list"][0]["release_date"] == "1970-01-01"
