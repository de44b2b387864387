"""`image-build/install.sh`: what it refuses, what it would do, and that the README says the same.

It runs here with `--dry-run`, as root of a namespace in which nothing but that can be changed, and
with other answers of the two programs that tell it what machine this is. The real thing runs in
`image-build/tests/test_install.py`.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tools import need

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "image-build/install.sh"
TEXT = SCRIPT.read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PI4 = "Raspberry Pi 4 Model B Rev 1.5"

ARCHITECTURE = """#!/bin/sh
[ "$1" = --print-architecture ] && { echo "$ARCHITECTURE"; exit; }
exec /usr/bin/dpkg "$@"
"""
MODEL = """#!/bin/sh
for last; do :; done
[ "$last" = /proc/device-tree/model ] && { printf '%s' "$MODEL"; exit; }
exec /usr/bin/env -i PATH=/usr/bin:/bin sed "$@"
"""
RELEASE = "ID={id}\nVERSION_CODENAME={codename}\n"


@pytest.fixture
def install(tmp_path):
    """Runs the script on a machine that answers as told; gives the exit code and all it printed."""
    need("unshare", "unshare is missing: apt install util-linux")
    allowed = subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False)
    need(allowed.returncode == 0, "this machine lets nobody make a namespace of his own")
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, text in (("dpkg", ARCHITECTURE), ("sed", MODEL)):
        (stubs / name).write_text(text, encoding="utf-8")
        (stubs / name).chmod(0o755)

    def run(*words, model=PI4, architecture="arm64", system="debian/trixie", root=True):
        release = tmp_path / "os-release"
        distribution, _, codename = system.partition("/")
        release.write_text(RELEASE.format(id=distribution, codename=codename), encoding="utf-8")
        namespace = ["unshare", "--map-root-user" if root else "--map-user=1000", "--mount"]
        placed = 'mount --bind "$0" "$(readlink -f /etc/os-release)" 2>/dev/null; exec "$@"'
        done = subprocess.run(
            [*namespace, "sh", "-c", placed, str(release), str(SCRIPT), *words],
            env={
                "PATH": f"{stubs}:{os.environ['PATH']}",
                "MODEL": model,
                "ARCHITECTURE": architecture,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def test_the_shell_has_nothing_to_complain_about():
    need("shellcheck", "shellcheck is missing: apt install shellcheck")

    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


def test_it_stops_at_the_first_thing_that_fails():
    assert "set -euo pipefail" in TEXT


@pytest.mark.parametrize(
    ("model", "board"),
    [
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "pi-usb-camera"),
        (PI4, "pi-usb-camera"),
        ("Raspberry Pi 400 Rev 1.0", "pi-usb-camera"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "pi-usb-camera"),
        ("Raspberry Pi Compute Module 4 Rev 1.1", "pi-usb-camera"),
        ("Raspberry Pi 5 Model B Rev 1.0", "pi5-usb-camera"),
        ("Raspberry Pi 500 Rev 1.0", "pi5-usb-camera"),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "pi5-usb-camera"),
    ],
)
def test_the_board_file_follows_from_the_model(install, model, board):
    code, told = install("--dry-run", model=model)

    assert code == 0, told
    assert f"== {model}, board file: {board}\n" in told


@pytest.mark.parametrize("system", ["debian/bookworm", "debian/trixie"])
def test_a_dry_run_tells_each_step_and_does_none(install, system):
    code, told = install("--dry-run", system=system)

    assert code == 0, told
    for step in (
        "== System packages: ",
        "make -C /opt/kiosk",
        "compileall",
        "systemd-sysusers",
        "/etc/kiosk/kiosk.yaml",
        "kiosk-scanner.service",
    ):
        assert step in told
    assert told.endswith("== Nothing was changed\n")
    for made in ("/opt/kiosk", "/etc/kiosk", "/etc/sysusers.d/kiosk.conf"):
        assert not Path(made).exists()


def test_a_camera_on_the_ribbon_cable_brings_its_library_and_its_rights(install):
    code, told = install("--dry-run", "--board", "pi-camera-module")

    assert code == 0, told
    assert "python3-picamera2" in told
    assert "would run: python3 -m venv --system-site-packages /opt/kiosk/.venv" in told
    assert "/etc/systemd/system/kiosk-scanner.service.d/csi.conf" in told


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        ({"root": False}, "run it as root, sudo "),
        ({"architecture": "armhf"}, "This is a 32-bit system (armhf)."),
        ({"architecture": "amd64"}, "This is no 64-bit Raspberry Pi OS (packages are for: amd64)."),
        ({"system": "debian/bullseye"}, "this is debian bullseye."),
        ({"system": "ubuntu/noble"}, "this is ubuntu noble."),
        ({"model": ""}, "This is no Raspberry Pi (/proc/device-tree/model says: nothing)."),
        ({"model": "Radxa ROCK 5B"}, "says: Radxa ROCK 5B)."),
        (
            {"model": "Raspberry Pi 2 Model B Rev 1.2"},
            "There is no board file for a Raspberry Pi 2",
        ),
    ],
)
def test_a_machine_that_does_not_fit_is_refused_in_a_sentence(install, machine, sentence):
    code, told = install("--dry-run", **machine)

    assert code == 1
    assert told.count("\n") == 1
    assert sentence in told


def test_whoever_knows_the_wiring_may_name_the_board(install):
    code, told = install(
        "--dry-run", "--board", "pi-usb-camera", model="Raspberry Pi 2 Model B Rev 1.2"
    )

    assert code == 0, told


@pytest.mark.parametrize("words", [["--board"], ["--board", "banana"], ["--fast"], ["now"]])
def test_a_wrong_call_says_what_there_is(install, words):
    code, told = install(*words)

    assert code == 2
    assert "pi-camera-module pi-usb-camera pi5-usb-camera" in told


def test_it_does_what_the_readme_does_by_hand():
    by_hand = re.findall(
        r"^ +sudo (?:apt install|systemd-sysusers|install -d) .*$", README, re.MULTILINE
    )
    (packages,) = re.findall(r"^PACKAGES=\((.+)\)$", TEXT, re.MULTILINE)

    asked = next(line for line in by_hand if "git make" in line).split("install ")[1].split()
    assert packages.split() == [p for p in asked if p != "git"]
    for path in (
        "/etc/sysusers.d/kiosk.conf",
        "/var/lib/kiosk",
        "/etc/systemd/system",
        "/usr/local/bin/kiosk",
    ):
        assert path in README
        assert path in TEXT


def test_it_copies_what_the_unit_and_make_need():
    (parts,) = re.findall(r"^PARTS=\((.+)\)$", TEXT, re.MULTILINE)

    assert all((ROOT / part).exists() for part in parts.split())
