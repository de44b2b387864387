"""Bundles, signed and installed by the RAUC of the card, with dm-verity, on a card of its own."""

import os
import random
import sys
from pathlib import Path

import pytest
from tools import figure, need

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine

CACHE = Path(os.environ.get("KIOSK_IMAGE_CACHE", Path.home() / ".cache/kiosk-image"))


@pytest.fixture(scope="module")
def tools():
    """A tree of trixie with rauc, dbus and Python: the one that `make image` makes."""
    machine.need_machine()
    found = [path.parent.parent.parent for path in CACHE.glob("tools-*/usr/bin/rauc")]
    need(bool(found), "no tree of tools with rauc: make image makes it")
    return max(found)


@pytest.fixture
def files(tmp_path):
    """A card with 1.0.0, the root file system of 2.0.0, and one whose boot files do not fit."""
    card = machine.make_update_card(tmp_path, payload=2 * machine.MIB)
    big = {
        "vmlinuz": random.Random(1).randbytes(20_000),
        "initrd.img": b"i" * (machine.ROOM["initrd.img"] + 1),
    }
    machine.squashfs(machine.root_of(tmp_path / "big", "2.0.0", big), tmp_path / "big.squashfs")
    return card, {name: tmp_path / name for name in ("new.squashfs", "big.squashfs")}


def test_only_a_newer_bundle_of_ours_comes_onto_the_card_and_it_is_tried_first(tools, files):
    card, squashfs = files

    said = machine.run(card, "installs", root=tools, bring=squashfs, version="1.0.0+test")

    cases = {line["case"]: line for line in said if "case" in line}
    told = {key: value for line in said if "case" not in line for key, value in line.items()}
    for name, case in cases.items():
        assert case["done"] == (name in {"same", "good"}), case
        assert case["kept"], "the running slot and config.txt are never touched"
        assert case["next"] == ("B" if case["done"] else "A"), case
        assert case["to_try"] == ("B" if case["done"] else None), case
        assert case["good"] == case["done"], case
        assert case["wanted"] == (name in {"tampered", "big", "good"}), case
    for name, words in {
        "older": "Expected at least '1.0.0+test' but bundle manifest has '0.9.0'",
        "older-candidate": "Expected at least '1.0.0+test' but bundle manifest has '1.0.0-rc1'",
        "wrong-key": "signature verification failed",
        "wrong-board": "Expected 'kiosk-arm64-debian' but bundle manifest has 'kiosk-armhf-debian'",
        "raspios": "Expected 'kiosk-arm64-debian' but bundle manifest has 'kiosk-arm64-raspios'",
        "plain": "Bundle format 'plain' not allowed",
        "tampered": "Input/output error",
        "big": "initrd.img has 32769 bytes and this card has room for 32768",
        "good": "installed into slot B, to be tried",
    }.items():
        assert words in cases[name]["said"], cases[name]
    assert cases["tampered"]["seen"] == "2.0.0", "to look at it is not enough"
    assert told["status"]["boot_primary"] == "rootfs.1"
    assert told["written"]
    assert told["on_trial"] == 1, "while on trial the permanent slot may not be overwritten"
    assert told["permanent"] == "B"
    assert told["to_try"] == "A", "and afterwards it may"
    refused = [name for name, case in cases.items() if not case["done"]]
    figure(f"update: RAUC with dm-verity refused {len(refused)} of {len(cases)} bundles: {refused}")


def test_a_cut_of_the_installation_leaves_what_starts_and_the_next_one_works(tools, files):
    card, squashfs = files

    said = machine.run(card, "cuts", root=tools, bring=squashfs, version="1.0.0", seed=7, times=15,
                       timeout_s=300)  # fmt: skip

    told = said[-1]
    assert told["to_try"] == "B"
    assert sum(told["moments"].values()) == 15
    assert told["moments"]["bad"] > 5, "some cuts were in the middle"
    figure(
        f"update: 15 installations killed at random within {told['whole_s']:.1f} s, slot B then "
        f"{told['moments']}: slot A and its boot files unchanged each time, the next one installed"
    )


def test_bundles_come_from_an_address_and_from_a_stick_only_the_newest_wanted(tools, files):
    card, squashfs = files

    said = machine.run(card, "sources", root=tools, bring=squashfs, version="1.0.0", memory="384M")

    told = {key: value for line in said for key, value in line.items()}
    assert told["at_url"] == "2.0.0"
    assert told["old"] is None
    refused = [line["refused"] for line in said if "refused" in line]
    assert "signature verification failed" in refused[0]
    assert len(refused) == 2
    assert told["same"], "read in parts over the network, into the slot"
    assert told["on_stick"] == "2.0.0"
    assert "ro,nosuid,nodev,noexec" in told["mounts"]
    assert told["next_best"] == "1.5.0", "what failed here is not installed by itself again"
    assert told["none_left"] is None
    assert "2.0.0 failed here (it does not sell)" in str(told["passed_over"])
