"""Updates of the whole machine: installed from a stick, tried once, kept or gone by themselves.

The bundles are the image's own system under later versions, signed with the keys of the tests;
an image that trusts other keys cannot be asked.
"""

import bundles
import days
import pytest
from tools import figure, need

from kiosk.sandbox.gateway import SandboxGateway

GOOD, NEVER_READY, DEAD = "99.1.0", "99.2.0", "99.3.0"
LONG_S = 2400.0
UPDATE = "cd /; PYTHONPATH=/opt/kiosk/image-build /opt/kiosk/.venv/bin/python -m appliance.update "


@pytest.fixture(scope="module")
def root(aged, workshop):
    need("rauc", "sudo apt install rauc")
    found = bundles.root_of(aged.card, workshop)
    own = bundles.cat(found, "etc/rauc/keyring.pem")
    need(
        own == (bundles.KEYS / "ca.pem").read_bytes(),
        "this image trusts other keys: make image UPDATE_KEYS=image-build/tests/keys",
    )
    return found


@pytest.fixture(scope="module")
def compatible(root):
    return bundles.compatible_of(root)


# Each for its own reason: a kiosk that can install nothing refuses these too.
REASONS = {
    "tampered": "Input/output error",  # dm-verity, while it is read
    "foreign": "signature verification failed",
    "older": "Version mismatch",
    "other-board": "Compatible mismatch",
}


def a_stick(root, workshop, compatible, version, files=None):
    system = bundles.with_version(root, workshop, version, files)
    made = bundles.bundle(system, workshop, version, compatible)
    stick = bundles.stick(workshop, f"stick-{version}.img", [made])
    for path in (system, made):
        path.unlink()
    return stick


def letters(life):
    """What the two files of the FAT name: (permanent, to be tried)."""
    text = life.sh("grep -h ^os_prefix= /boot/firmware/config.txt /boot/firmware/tryboot.txt")
    return tuple(line.strip().removeprefix("os_prefix=").strip("/ ") for line in text.split("\n"))


def test_what_must_not_be_installed_is_refused(
    aged, root, compatible, boot, workshop, gateway, tmp_path
):
    small = bundles.small_system(workshop)
    of_ours = bundles.bundle(small, tmp_path, "99.9.0", compatible)
    wrong = {
        "tampered": bundles.tampered(of_ours, "kiosk-99.9.1-arm64.raucb"),
        "foreign": bundles.bundle(small, tmp_path, "99.8.0", compatible, keys=bundles.WRONG_KEYS),
        "older": bundles.bundle(small, tmp_path, "0.0.1", compatible),
        "other-board": bundles.bundle(small, tmp_path, "99.7.0", "kiosk-arm64-other"),
    }
    stick = bundles.stick(tmp_path, "wrong.img", list(wrong.values()))
    card = aged.card.copied(workshop / "refusing.img")
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    life = boot(card, disks={"wrong": stick})
    life.wait_until_ready()
    life.sh("mkdir -p /run/wrong; mount -r /dev/disk/by-id/virtio-wrong /run/wrong")
    said = {}
    for name, path in wrong.items():
        said[name] = life.sh(f"{UPDATE} install /run/wrong/{path.name}; echo code $?")
        assert said[name].endswith("code 1"), f"{name}: {said[name]}"
        assert REASONS[name] in said[name], f"{name}: {said[name]}"
        assert letters(life) == ("a", "a") or name != "tampered", said[name]
        assert letters(life)[0] == "a"
    assert days.pay(life, "easy-02") == "approved"
    life.power_off()
    assert card.check_fat(tmp_path) == []
    for name, words in said.items():
        figure(f"update refused, {name}: {words.splitlines()[-2][:110]}")


def test_an_update_is_cut_installed_tried_without_a_box_and_stays(
    aged, root, compatible, boot, workshop, tmp_path
):
    stick = a_stick(root, workshop, compatible, GOOD)
    card = aged.card.copied(workshop / "updated.img")
    with SandboxGateway() as gateway:
        card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
        # Cut while it is written: what runs is as before.
        life = boot(card, usb_port=True)
        life.wait_until_ready()
        before = written(life)
        life.plug(stick)
        life.wait(lambda: written(life) > before + 60_000_000, "some of it written", LONG_S)
        life.cut()
        assert card.check_fat(tmp_path) == []
        life = boot(card, usb_port=True)
        assert (life.start.slot, life.start.tried) == ("a", False)
        life.wait_until_ready()
        life.wait(lambda: days.is_filled(life), "the end of kiosk-fill", LONG_S)
        # Whole, and then by itself into the new system.
        life.plug(stick)
        end = life.wait_for_end(LONG_S)
        assert life.wants_tryboot, end
        # Tried while the box is off: that is no fault of the new system.
        gateway.set_fault("down")
        life = boot(card, tryboot=True)
        assert (life.start.slot, life.start.tried) == ("b", True)
        life.wait(lambda: letters(life) == ("b", "b"), "called good and made permanent", LONG_S)
        state = life.state()
        # Without a box there may be nobody to ask for the time either.
        assert "gateway_unreachable" in state["reasons"], state
        assert set(state["reasons"]) <= {"gateway_unreachable", "clock_implausible"}, state
        life.power_off()
        gateway.set_fault(None)
        life = boot(card)
        assert (life.start.slot, life.start.tried) == ("b", False)
        assert f'"{GOOD}"' in life.sh("cat /usr/lib/kiosk/version.json")
        assert days.pay(life, "easy-02") == "approved"
        assert life.sh("systemctl --failed --no-legend --plain") == ""
        life.power_off()
        ledger = days.SimpleNamespace(
            requests=[*aged.ledger.requests, *gateway.ledger.requests],
            charges=[*aged.ledger.charges, *gateway.ledger.charges],
        )
    assert days.faults_on(card, ledger, tmp_path) == []
    assert card.check_fat(tmp_path) == []
    figure("update from a stick: cut (harmless), installed, tried with the box off, permanent")


@pytest.mark.parametrize(
    ("version", "spoilt"),
    [
        # Its kernel finds no first process.
        (DEAD, {"usr/lib/systemd/systemd": b"nothing\n"}),
        # It starts, and its kiosk never serves: ten minutes until it is given up.
        (NEVER_READY, {"opt/kiosk/.venv/bin/kiosk": b"#!/bin/sh\nexit 1\n"}),
    ],
)
def test_an_update_that_does_not_serve_goes_by_itself(
    version, spoilt, aged, root, compatible, boot, workshop, gateway, tmp_path
):
    stick = a_stick(root, workshop, compatible, version, spoilt)
    card = aged.card.copied(workshop / f"spoilt-{version}.img")
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    life = boot(card, usb_port=True)
    life.wait_until_ready()
    life.plug(stick)
    life.wait_for_end(LONG_S)
    assert life.wants_tryboot
    tried = boot(card, tryboot=True)
    assert (tried.start.slot, tried.start.tried) == ("b", True)
    tried.wait_for_end(LONG_S)
    assert not tried.wants_tryboot
    life = boot(card)
    assert (life.start.slot, life.start.tried) == ("a", False)
    assert letters(life)[0] == "a"
    assert days.pay(life, "easy-03") == "approved"
    life.power_off()
    assert card.check_fat(tmp_path) == []
    figure(f"update that does not serve ({version}): back in slot A by itself, sells")


def written(life):
    """Bytes that were written to the card since the start; fails where the update did."""
    said = life.sh("cat /run/kiosk-update/said", check=False)
    assert "not installed" not in said, said
    return int(life.sh("cut -b1- /sys/block/vda/stat").split()[6]) * 512
