"""Raspberry Pi's archive, played on this machine: true signatures, keys that are not the one."""

import dataclasses

import pytest
from builder import __main__ as command
from builder import archive, make
from builder.lock import Deb
from builder.places import Places
from builder.raspberry import Raspberry
from builder.recipe import Recipe
from builder.trouble import BuildError
from signed_archive import SignedArchive
from tools import need


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """An archive with a camera library of a named source and a tzdata of another."""
    for program in ("gpg", "gpg-agent", "dpkg-deb", "apt-get"):
        need(program, f"sudo apt install {program}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        made = SignedArchive(tmp_path_factory.mktemp("archive"))
        made.add("base-files", "99+rpt1", source="base-files")
        made.add("python3-libcamera", "9+rpt1", source="libcamera")
        made.add("tzdata", "2099a+rpt1", arch="all")
        made.publish()
        yield made
        made.close()


@pytest.fixture
def key(signed):
    return signed.add_keyring()


@pytest.fixture
def raspios(signed, key, places, monkeypatch):
    """The true recipe of Raspberry Pi OS, with this archive and without Debian's mirrors."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("MIRROR", "SECURITY_MIRROR", "RASPIOS_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    recipe = Recipe.read(places.recipe.folder, "raspios")
    facts = recipe["archive"] | {"mirror": signed.url, "key": key}
    none = {"archive": facts, "suites": [], "security_suites": []}
    return dataclasses.replace(recipe, facts=recipe.facts | none)


def place_of(recipe, **changes):
    return Raspberry(recipe["archive"] | changes)


def test_apt_believes_the_key_and_takes_what_is_named(raspios, tmp_path):
    resolver = archive.Resolver(archive.Archive(raspios), "arm64", tmp_path / "apt")

    [deb] = resolver.named("card", ["python3-libcamera"])

    assert (deb.name, deb.version) == ("python3-libcamera", "9+rpt1")
    with pytest.raises(BuildError, match=r"apt cannot resolve the recipe: Can't select .* tzdata"):
        resolver.named("card", ["tzdata"])
    assert archive.fetch([deb], tmp_path / "debs", archive.Archive(raspios)) == 1


def test_the_tools_of_this_machine_never_come_from_there(raspios, tmp_path):
    archive.Resolver(archive.Archive(raspios), "amd64", tmp_path / "apt")

    assert raspios["archive"]["mirror"] not in (tmp_path / "apt/etc/sources.list").read_text()


def test_what_apt_is_told(raspios):
    raspberry = place_of(raspios, sources=["linux", "lgpio"])

    assert raspberry.preferences() == (
        'Package: *\nPin: origin "127.0.0.1"\nPin-Priority: -1\n\n'
        'Package: src:linux src:lgpio\nPin: origin "127.0.0.1"\nPin-Priority: 900\n'
    )


def test_of_a_newer_suite_only_the_named_sources_are_taken(raspios):
    debian = Recipe.read(raspios.folder, "debian")

    told = archive.Archive(debian).preferences()

    for suite, sources in debian["newer"].items():
        named = " ".join(f"src:{name}" for name in sources)
        assert f"Package: *\nPin: release n={suite}\nPin-Priority: -1\n" in told
        assert f"Package: {named}\nPin: release n={suite}\nPin-Priority: 900\n" in told
    # Its kernel is Raspberry Pi's; what RAUC needs of a kernel holds there too.
    assert "backports" not in archive.Archive(raspios).preferences()
    assert "src:rauc " in archive.Archive(raspios).preferences()


def test_another_package_than_the_recipe_says_is_not_believed(raspios, key, tmp_path):
    other = key | {"sha256": "0" * 64}

    with pytest.raises(BuildError, match=r"has the SHA-256 [0-9a-f]{64}, and .* says 0{64}"):
        place_of(raspios, key=other).keyring(tmp_path)

    assert not (tmp_path / "keyring.deb").exists()
    # The control: the same package under its own hash.
    assert place_of(raspios).keyring(tmp_path).exists()


def test_another_key_in_the_right_package_is_not_believed(raspios, key, tmp_path, signed):
    other = key | {"fingerprint": "A" * 40}

    with pytest.raises(BuildError, match=rf"holds the key {signed.fingerprint}, and .* A{{40}}"):
        place_of(raspios, key=other).keyring(tmp_path)

    assert not (tmp_path / "raspberrypi.gpg").exists()


def test_of_two_keys_in_the_package_only_the_one_is_believed(raspios, signed, tmp_path):
    second = signed.new_key("A second one")
    both = signed.add_keyring(signed.fingerprint, second)
    two = dataclasses.replace(
        raspios, facts=raspios.facts | {"archive": raspios["archive"] | {"key": both}}
    )

    archive.Resolver(archive.Archive(two), "arm64", tmp_path / "good")
    signed.publish(key=second)
    try:
        with pytest.raises(BuildError, match="apt cannot resolve the recipe"):
            archive.Resolver(archive.Archive(two), "arm64", tmp_path / "bad")
    finally:
        signed.publish()


def test_a_package_without_the_file_or_gone_is_a_sentence(raspios, key, tmp_path, monkeypatch):
    with pytest.raises(BuildError, match=r"has no usr/share/none, where"):
        place_of(raspios, key=key | {"file": "usr/share/none"}).keyring(tmp_path)
    with pytest.raises(BuildError, match=r"is gone\. \[archive\.key\] of recipe/raspios\.toml"):
        place_of(raspios, key=key | {"package": "pool/none.deb"}).keyring(tmp_path)
    (tmp_path / "again").mkdir()
    monkeypatch.setattr("builder.raspberry.shutil.which", lambda _: None)
    with pytest.raises(BuildError, match="sudo apt install gpg"):
        place_of(raspios).keyring(tmp_path / "again")


def test_two_archives_under_one_host_cannot_be_told_apart(raspios, monkeypatch):
    monkeypatch.setenv("MIRROR", raspios["archive"]["mirror"])

    with pytest.raises(BuildError, match=r"RASPIOS_MIRROR and MIRROR both name 127\.0\.0\.1"):
        archive.Archive(raspios)


def test_an_archive_that_is_away_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setenv("RASPIOS_MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(archive, "KEYRING", Places.usual().lock)

    assert command.main(["lock", "--base", "raspios"]) == 1

    told = capsys.readouterr().err
    assert "http://127.0.0.1:1/debian/pool/main/r/raspberrypi-archive-keyring/" in told
    assert "does not answer" in told
    assert "RASPIOS_MIRROR= names another mirror" in told


def test_an_archive_that_answers_with_an_error_is_a_sentence(raspios, signed, monkeypatch):
    from urllib.error import HTTPError

    def refuse(url, timeout):
        raise HTTPError(url, 503, "Service Unavailable", {}, None)

    monkeypatch.setattr("builder.download.urllib.request.urlopen", refuse)
    with pytest.raises(BuildError, match="is refused: HTTP Error 503"):
        archive.fetch(
            [Deb("card", "a", "all", "1", "0" * 64)], signed.www, archive.Archive(raspios)
        )


def test_without_a_lock_the_build_says_how_to_get_one(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KIOSK_IMAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(make.host, "check", lambda say: False)
    monkeypatch.setattr(Places, "lock", tmp_path / "image-raspios.txt")

    assert command.main(["image", "--base", "raspios", "--out", str(tmp_path)]) == 1

    assert capsys.readouterr().err.strip() == (
        "image-raspios.txt is missing; `make image-lock BASE=raspios` writes it, and must reach "
        "archive.raspberrypi.com."
    )
