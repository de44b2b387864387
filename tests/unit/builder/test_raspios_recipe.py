"""The recipe of Raspberry Pi OS, laid over Debian's: its true archive cannot be asked here."""

import re
import tomllib
from pathlib import Path

import pytest
from builder import recipe
from builder.places import Places
from builder.recipe import Recipe
from builder.trouble import BuildError

BUILD = Path(__file__).resolve().parents[3] / "image-build"
RASPIOS = tomllib.loads((BUILD / "recipe/raspios.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def debian():
    return Recipe.read(BUILD / "recipe", "debian")


@pytest.fixture(scope="module")
def raspios():
    return Recipe.read(BUILD / "recipe", "raspios")


def test_lists_lose_and_gain_tables_are_merged_and_the_rest_is_replaced():
    below = {"card": ["a", "b"], "suites": ["x", "y"], "boot": {"trees": ["t"], "config": {}}}
    above = {
        "card": {"without": ["a"], "with": ["c"]},
        "suites": ["x"],
        "boot": {"trees": ["u"], "config": {"with": ["camera_auto_detect=1"]}},
        "new": {"with": ["d"]},
    }

    assert recipe.laid_over(below, above, "raspios.toml") == {
        "card": ["b", "c"],
        "suites": ["x"],
        "boot": {"trees": ["u"], "config": {"with": ["camera_auto_detect=1"]}},
        "new": {"with": ["d"]},
    }
    assert below["card"] == ["a", "b"]


def test_what_is_taken_away_and_is_not_there_ends_the_build():
    with pytest.raises(BuildError, match=r"takes b, c away \(raspios\.toml, card\)"):
        recipe.laid_over({"card": ["a"]}, {"card": {"without": ["b", "c"]}}, "raspios.toml")


def test_the_lists_of_lines_change_as_the_base_says(tmp_path):
    (tmp_path / "modules.txt").write_text("# All.\nusb\nvivid  # of the tests\n\n")
    change = {"modules.txt": {"without": ["vivid"], "with": ["?imx708"]}}

    assert Recipe("debian", tmp_path, {}).lines("modules.txt") == ["usb", "vivid"]
    other = Recipe("raspios", tmp_path, {"lists": change})
    assert other.lines("modules.txt") == ["usb", "?imx708"]
    (tmp_path / "modules.txt").write_text("usb\n")
    with pytest.raises(BuildError, match=r"takes vivid away \(modules\.txt\)"):
        other.lines("modules.txt")


def test_each_base_has_a_lock_and_a_folder_of_its_own(monkeypatch):
    bases = [Places.usual(base=base) for base in recipe.BASES]

    assert [places.lock.name for places in bases] == ["image-debian.txt", "image-raspios.txt"]
    assert [places.out.name for places in bases] == ["image", "image-raspios"]
    assert bases[0].recipe.lock_command == "make image-lock"
    assert bases[1].recipe.lock_hint == (
        "`make image-lock BASE=raspios` writes it, and must reach archive.raspberrypi.com"
    )


def test_all_of_it_fits_debians(debian, raspios):
    for file in ("modules.txt", "prune.txt", "initramfs-modules.txt", "units.txt", "users.txt"):
        assert raspios.lines(file)
    config = (BUILD / "boot/config.txt").read_text(encoding="utf-8").splitlines()
    lines = recipe.changed(config, raspios["boot"]["config"], "config.txt")
    assert {"camera_auto_detect=1", "os_prefix=a/", "kernel=vmlinuz"} <= set(lines)
    assert len(lines) == len(set(lines))
    assert recipe.changed(config, debian["boot"]["config"], "config.txt") == config
    for name in ("card", "card_files", "tools", "tools_files"):
        assert len(raspios[name]) == len(set(raspios[name]))
    assert raspios["tools"] == debian["tools"]


def test_it_takes_nothing_of_its_archive_that_it_does_not_name():
    archive = RASPIOS["archive"]

    assert archive["priority_of_the_rest"] < 0 < archive["priority"]
    assert {"linux", "raspi-firmware", "libcamera", "picamera2", "lgpio"} <= set(archive["sources"])
    assert len(set(archive["sources"])) == len(archive["sources"])


def test_the_key_of_its_archive_is_known_before_it_is_fetched():
    key = RASPIOS["archive"]["key"]

    assert re.fullmatch(r"[0-9A-F]{40}", key["fingerprint"])
    assert re.fullmatch(r"[0-9a-f]{64}", key["sha256"])
    assert re.fullmatch(
        r"pool/\S+/raspberrypi-archive-keyring_[0-9.]+\+rpt\d+_all\.deb", key["package"]
    )


def test_one_kernel_and_no_module_of_ours(raspios):
    kernels = [name for name in raspios["card"] if name.startswith("linux-image")]

    assert kernels == ["linux-image-rpi-v8"]
    assert not raspios["program"]["compile_tryboot"]
    assert not {"linux-headers-arm64", "linux-kbuild"} & {
        *raspios["card_files"],
        *raspios["tools_files"],
    }


def test_a_card_of_the_one_base_takes_no_bundle_of_the_other(debian, raspios):
    assert (debian["compatible"], raspios["compatible"]) == (
        "kiosk-arm64-debian",
        "kiosk-arm64-raspios",
    )
    assert debian["label"] != raspios["label"]


@pytest.mark.parametrize(
    "board", ["2710-rpi-3-b", "2710-rpi-zero-2-w", "2711-rpi-4-b", "2712-rpi-5-b"]
)
def test_each_board_has_its_device_tree(board, raspios):
    assert f"bcm{board}.dtb" in raspios["boot"]["device_trees"]


@pytest.mark.parametrize("sensor", ["imx219", "imx708", "ov5647"])
def test_each_camera_has_its_overlay_and_its_driver(sensor, raspios):
    assert f"{sensor}.dtbo" in raspios["boot"]["overlays"]
    assert sensor in raspios.lines("modules.txt")
    # Which overlay a board takes is told by this one.
    assert "overlay_map.dtb" in raspios["boot"]["overlays"]
