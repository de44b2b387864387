"""The recipe of Raspberry Pi OS: never built here, so at least it must fit the one that is."""

import re
import tomllib
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[3] / "image-build"
DEBIAN = tomllib.loads((BUILD / "recipe/debian.toml").read_text(encoding="utf-8"))
RASPIOS = tomllib.loads((BUILD / "recipe/raspios.toml").read_text(encoding="utf-8"))
LISTS = ("card", "card_files", "tools_files")


@pytest.mark.parametrize("name", LISTS)
def test_what_it_takes_away_is_there_and_what_it_adds_is_not(name):
    assert set(RASPIOS[name]["without"]) <= set(DEBIAN[name])
    assert not set(RASPIOS[name]["with"]) & set(DEBIAN[name])


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


def test_one_kernel_and_no_module_of_ours():
    kernels = [name for name in RASPIOS["card"]["with"] if name.startswith("linux-image")]

    assert kernels == ["linux-image-rpi-v8"]
    assert not RASPIOS["program"]["compile_tryboot"]
    assert "linux-headers-arm64" in RASPIOS["card_files"]["without"]


def test_a_card_of_the_one_base_takes_no_bundle_of_the_other():
    assert RASPIOS["compatible"] == "kiosk-arm64-raspios"


@pytest.mark.parametrize(
    "board", ["2710-rpi-3-b", "2710-rpi-zero-2-w", "2711-rpi-4-b", "2712-rpi-5-b"]
)
def test_each_board_has_its_device_tree(board):
    assert f"bcm{board}.dtb" in RASPIOS["boot"]["device_trees"]


@pytest.mark.parametrize("sensor", ["imx219", "imx708", "ov5647"])
def test_each_camera_has_its_overlay_on_the_old_boards_and_on_the_5(sensor):
    assert {f"{sensor}.dtbo", f"{sensor}-pi5.dtbo"} <= set(RASPIOS["boot"]["overlays"])
    assert "camera_auto_detect=1" in RASPIOS["boot"]["config"]["with"]


def test_the_lines_that_it_takes_out_of_config_txt_stand_there():
    lines = (BUILD / "boot/config.txt").read_text(encoding="utf-8").splitlines()

    assert set(RASPIOS["boot"]["config"]["without"]) <= set(lines)
    assert not set(RASPIOS["boot"]["config"]["with"]) & set(lines)
