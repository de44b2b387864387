"""Debian's archive, played on this machine: real packages, real apt, real HTTP."""

import hashlib
import lzma
import subprocess

import pytest
from builder import archive
from builder.lock import Deb
from builder.recipe import Recipe
from builder.trouble import BuildError
from signed_archive import packages_of, release_of, serve
from tools import need


def a_deb(folder, name, version="1.0", fields=""):
    """Build a real package."""
    root = folder / f"{name}-root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: arm64\nMaintainer: a\n"
        f"{fields}Description: a\n"
    )
    made = folder / "pool" / f"{name}_{version}_arm64.deb"
    made.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", root, made], check=True, capture_output=True
    )
    return made


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror with two packages, and the recipe that means it."""
    need("dpkg-deb", "sudo apt install dpkg")
    need("apt-get", "sudo apt install apt")
    www = tmp_path / "www"
    www.mkdir()
    debs = [
        a_deb(www, "base", fields="Essential: yes\n"),
        a_deb(www, "tool", fields="Depends: base\n"),
    ]
    index = www / "dists/trixie/main/binary-arm64"
    index.mkdir(parents=True)
    text = packages_of(www)
    (index / "Packages").write_text(text)
    (index / "Packages.xz").write_bytes(lzma.compress(text.encode()))
    (www / "dists/trixie/Release").write_text(release_of(index))
    server = serve(www)
    recipe = {
        "mirror": f"http://127.0.0.1:{server.server_port}",
        "security_mirror": "http://127.0.0.1:1/none",
        "suites": ["trixie"],
        "security_suites": [],
        "components": ["main"],
        "newer": {"trixie-backports": ["linux"]},
        "card": ["tool"],
    }
    # Its signature is Debian's business; here apt is told to take it as it is.
    usual = archive.Archive.sources
    monkeypatch.setattr(
        archive.Archive,
        "sources",
        lambda self: usual(self).replace("check-valid-until=no", "trusted=yes"),
    )
    for name in ("http_proxy", "HTTP_PROXY", "MIRROR", "SECURITY_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    yield archive.Archive(Recipe("debian", tmp_path, recipe)), debs
    server.shutdown()
    server.server_close()


def locked(path, name, version="1.0"):
    return Deb("card", name, "arm64", version, hashlib.sha256(path.read_bytes()).hexdigest())


def test_apt_says_what_a_recipe_means(mirror, tmp_path):
    place, debs = mirror

    resolver = archive.Resolver(place, "arm64", tmp_path / "apt")

    assert resolver.install("card", ["tool"]) == [locked(debs[0], "base"), locked(debs[1], "tool")]
    assert resolver.named("card_files", ["tool"])[0].role == "card_files"
    with pytest.raises(BuildError, match="apt cannot resolve"):
        resolver.install("card", ["none"])


def test_what_is_locked_is_fetched_once_and_by_its_hash(mirror, tmp_path):
    place, debs = mirror
    wanted = [locked(debs[0], "base"), locked(debs[1], "tool")]

    assert archive.fetch(wanted, tmp_path / "debs", place) == 2

    debs[0].unlink()
    assert archive.fetch(wanted, tmp_path / "debs", place) == 0
    assert (tmp_path / "debs" / wanted[1].sha256).read_bytes() == debs[1].read_bytes()


def test_a_version_that_is_gone_is_a_sentence_with_both_ways_out(mirror, tmp_path):
    place, _ = mirror
    gone = [Deb("card", "tool", "arm64", f"0.{n}", f"{n}" * 64) for n in range(6)]

    with pytest.raises(BuildError, match=r"tool 0\.0.*and 2 more no more.*image-lock.*MIRROR="):
        archive.fetch(gone, tmp_path / "debs", place)


def test_other_bytes_than_the_lock_says_are_refused(mirror, tmp_path):
    place, debs = mirror
    wanted = locked(debs[0], "base")
    debs[0].write_bytes(debs[0].read_bytes() + b"x")

    with pytest.raises(BuildError, match="not the file that the lock names"):
        archive.fetch([wanted], tmp_path / "debs", place)

    assert list((tmp_path / "debs").iterdir()) == []


def test_a_mirror_that_is_away_is_a_sentence(mirror, tmp_path):
    place, _ = mirror
    place.mirror = "http://127.0.0.1:1"

    with pytest.raises(BuildError, match=r"does not answer.*MIRROR= names another"):
        archive.fetch([Deb("card", "a", "all", "1", "0" * 64)], tmp_path / "debs", place)


def test_the_little_archive_has_these_packages_and_no_other(mirror, tmp_path):
    place, debs = mirror
    wanted = locked(debs[1], "tool")
    archive.fetch([wanted], tmp_path / "debs", place)

    archive.repository([wanted], tmp_path / "debs", tmp_path / "repository")

    index = (tmp_path / "repository/Packages").read_text()
    assert index.count("Package: ") == 1
    assert f"Filename: ./{wanted.sha256}.deb" in index
    release = (tmp_path / "repository/Release").read_text()
    assert hashlib.sha256(index.encode()).hexdigest() in release


def test_the_little_archive_stands_on_another_file_system_too(mirror, tmp_path, monkeypatch):
    place, debs = mirror
    wanted = locked(debs[1], "tool")
    archive.fetch([wanted], tmp_path / "debs", place)
    monkeypatch.setattr(archive.os, "link", lambda *_: (_ for _ in ()).throw(OSError("EXDEV")))

    archive.repository([wanted], tmp_path / "debs", tmp_path / "repository")

    assert (tmp_path / "repository" / f"{wanted.sha256}.deb").read_bytes() == debs[1].read_bytes()


def test_a_snapshot_has_its_security_updates_beside_it(monkeypatch, places):
    monkeypatch.setenv("MIRROR", "https://snapshot.example/archive/debian/20261124T000000Z")

    place = archive.Archive(places.recipe)

    assert place.security_mirror == (
        "https://snapshot.example/archive/debian-security/20261124T000000Z"
    )
    assert "trixie-security" in place.sources()


def test_the_whole_recipe_is_resolved_and_headers_are_those_of_the_kernel(
    places, monkeypatch, tmp_path
):
    asked = []

    class Played:
        def __init__(self, place, arch, folder):
            self.arch = arch

        def install(self, role, names):
            more = ["linux-image-7.3.4+deb13-arm64"] if role == "card" else []
            return [Deb(role, name, self.arch, "1", "0" * 64) for name in [*names, *more]]

        def named(self, role, names):
            asked.extend(names)
            return [Deb(role, name, self.arch, "1", "0" * 64) for name in names]

    keyring = tmp_path / "keyring"
    monkeypatch.setattr(archive, "KEYRING", keyring)
    monkeypatch.setattr(archive, "Resolver", Played)
    with pytest.raises(BuildError, match="sudo apt install debian-archive-keyring"):
        archive.resolve(archive.Archive(places.recipe))
    keyring.touch()

    debs = archive.resolve(archive.Archive(places.recipe))

    assert asked == [
        *("raspi-firmware", "libpython3.13-dev", "linux-headers-7.3.4+deb13-arm64"),
        *("linux-headers-7.3.4+deb13-common", "linux-kbuild-7.3.4+deb13"),
    ]
    assert {deb.role for deb in debs} == {"card", "card_files", "tools", "tools_files"}
