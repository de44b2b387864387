"""The units: how little each process may do, and that neither is ever given up."""

import re
import subprocess
from pathlib import Path

import pytest
from tools import figure, need

from kiosk import cli
from kiosk.payment.loop import MOST_WAIT_S
from kiosk.scanner.loop import PULSE_EVERY_S
from kiosk.settings import Settings
from kiosk.settings_file import load_settings
from kiosk.settings_warnings import LONGEST_STOP_S

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "image-build/systemd"
NAMES = ("kiosk", "kiosk-scanner")
MOST_EXPOSED = {"kiosk": 15, "kiosk-scanner": 10}
"""Tenths: `systemd-analyze security` tells 1.5 and wants 15."""


def text_of(name):
    return (UNITS / f"{name}.service").read_text(encoding="utf-8")


def lines_of(text):
    """Each setting with its section, as systemd reads it."""
    section, found = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return found


def values(text, key, section="Service"):
    return [value for s, k, value in lines_of(text) if (s, k) == (section, key)]


def without(text, key):
    return "".join(x for x in text.splitlines(keepends=True) if not x.startswith(f"{key}="))


def exposure(folder, name, text):
    """What `systemd-analyze security` says of a unit: whether it passes, and its figure."""
    unit = folder / f"{name}.service"
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true"),
            *(f"--threshold={MOST_EXPOSED[name]}", str(unit)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    (told,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    return done.returncode == 0, float(told)


def what_verify_says(folder, texts):
    """Of all units together, with a program in place of the one that is not installed here."""
    for name, text in texts.items():
        here = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
        (folder / f"{name}.service").write_text(here, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(folder / f"{name}.service") for name in texts)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.strip()


def why_it_may_stay_dead(text):
    """What would make systemd leave a unit down after enough bad starts."""
    found = []
    if values(text, "StartLimitIntervalSec", "Unit") != ["0"]:
        found.append("a start limit")
    if values(text, "Restart") != ["always"]:
        found.append("an end after which nobody starts it")
    found += [
        key
        for section, key, _ in lines_of(text)
        if key in {"RestartPreventExitStatus", "BindsTo", "Requisite", "Conflicts"}
        or key.startswith(("Condition", "Assert"))
        or (section == "Unit" and key == "Requires")
    ]
    return found


# How little each may do


@pytest.mark.parametrize("name", NAMES)
def test_it_is_no_more_exposed_than_promised(tmp_path, name):
    need("systemd-analyze", "systemd is not here")

    passes, told = exposure(tmp_path, name, text_of(name))

    assert passes, told
    figure(f"systemd-analyze security: {name}.service {told}, at most {MOST_EXPOSED[name] / 10}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lost", ["CapabilityBoundingSet", "SystemCallFilter"])
def test_control_a_unit_that_lost_a_line_does_not_pass(tmp_path, name, lost):
    need("systemd-analyze", "systemd is not here")

    passes, _ = exposure(tmp_path, name, without(text_of(name), lost))

    assert not passes


def test_systemd_has_nothing_to_say_about_the_units(tmp_path):
    need("systemd-analyze", "systemd is not here")

    assert what_verify_says(tmp_path, {name: text_of(name) for name in NAMES}) == (0, "")


def test_control_a_misspelt_line_is_noticed(tmp_path):
    need("systemd-analyze", "systemd is not here")
    misspelt = text_of("kiosk-scanner").replace("PrivateNetwork=", "PrivateNetworks=")

    _, said = what_verify_says(tmp_path, {"kiosk-scanner": misspelt})

    assert "PrivateNetworks" in said


def test_the_scanner_reaches_a_camera_a_socket_and_nothing_else():
    unit = text_of("kiosk-scanner")

    assert values(unit, "PrivateNetwork") == ["yes"]
    assert values(unit, "RestrictAddressFamilies") == ["AF_UNIX"]
    assert values(unit, "DevicePolicy") == ["closed"]
    assert values(unit, "DeviceAllow") == ["char-video4linux rw"]
    assert values(unit, "SupplementaryGroups") == ["video"]
    assert values(unit, "ReadWritePaths") == values(unit, "StateDirectory") == []


def test_the_payment_process_reaches_no_camera():
    unit = text_of("kiosk")

    assert values(unit, "DeviceAllow") == ["char-gpiochip rw"]
    assert values(unit, "SupplementaryGroups") == ["gpio kiosk-scanner"]


def test_a_ribbon_camera_adds_devices_and_no_right_beyond_them():
    added = lines_of((UNITS / "csi.conf").read_text(encoding="utf-8"))

    assert {key for _, key, _ in added} == {"DeviceAllow", "RestrictAddressFamilies"}
    assert all("INET" not in value for _, _, value in added)


# That neither is ever given up


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_minute_never_leaves_it_dead(name):
    assert why_it_may_stay_dead(text_of(name)) == []


@pytest.mark.parametrize(
    ("name", "line", "worse"),
    [
        ("kiosk", "StartLimitIntervalSec=0", ""),
        ("kiosk", "Restart=always", "Restart=on-failure"),
        ("kiosk", "Wants=kiosk-scanner.service", "Requires=kiosk-scanner.service"),
        ("kiosk-scanner", "Restart=always", "Restart=always\nRestartPreventExitStatus=2"),
    ],
)
def test_control_what_would_leave_it_dead_is_noticed(name, line, worse):
    text = text_of(name)
    assert f"\n{line}\n" in text

    assert why_it_may_stay_dead(text.replace(f"\n{line}\n", f"\n{worse}\n")) != []


@pytest.mark.parametrize(
    ("name", "longest_silence_s"), [("kiosk", MOST_WAIT_S), ("kiosk-scanner", PULSE_EVERY_S)]
)
def test_the_watchdog_waits_longer_than_a_healthy_loop_is_silent(name, longest_silence_s):
    unit = text_of(name)
    (limit_s,) = values(unit, "WatchdogSec")

    assert values(unit, "Type") == ["notify"]
    assert values(unit, "NotifyAccess") == ["main"]
    # A loop kicks at a third of the limit, or when it wakes next.
    assert max(float(limit_s) / 3, longest_silence_s) * 2 <= float(limit_s)


def test_a_stop_waits_for_a_running_request():
    assert float(values(text_of("kiosk"), "TimeoutStopSec")[0]) > LONGEST_STOP_S


def test_a_leak_ends_the_scanner_and_not_the_payment():
    scanner, payment = text_of("kiosk-scanner"), text_of("kiosk")

    assert values(scanner, "MemoryMax") == ["256M"]
    assert values(scanner, "LimitDATA") == ["512M"]
    assert int(values(scanner, "OOMScoreAdjust")[0]) > 0 > int(values(payment, "OOMScoreAdjust")[0])


# That they fit together


def test_the_units_start_commands_that_exist():
    args = {}
    for name in NAMES:
        (words,) = re.findall(
            r"^ExecStart=/opt/kiosk/.venv/bin/kiosk (.+)$", text_of(name), re.MULTILINE
        )
        args[name] = cli._parser().parse_args(words.split())

    assert args["kiosk"].no_scanner
    assert [str(path) for path in args["kiosk-scanner"].config] == [
        "/opt/kiosk/image-build/systemd/scanner.yaml",
        "/etc/kiosk/board.yaml",
    ]


@pytest.mark.parametrize("board", sorted((ROOT / "config/boards").glob("*.yaml")))
def test_the_scanner_needs_no_file_that_holds_a_key_of_the_box(board):
    found = load_settings([UNITS / "scanner.yaml", board])

    assert found.origins["camera.backend"].startswith(board.name)


def test_sockets_and_journal_lie_where_the_units_make_room_for_them():
    settings = Settings.__struct_defaults__
    defaults = {type(part).__name__: part for part in settings}
    rooms = {name: values(text_of(name), "RuntimeDirectory") for name in NAMES}

    scanner = Path(defaults["ScannerSettings"].socket)
    assert [scanner.parent.name] == rooms["kiosk-scanner"]
    assert [Path(defaults["ControlSettings"].socket).parent.name] == rooms["kiosk"]
    journal = Path(defaults["JournalSettings"].path)
    assert [journal.parent.name] == values(text_of("kiosk"), "StateDirectory")


def test_the_users_may_meet_at_the_scanners_socket_and_nowhere_else(tmp_path):
    need("systemd-sysusers", "systemd is not here")
    (tmp_path / "etc").mkdir()

    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "kiosk.sysusers.conf")], check=True
    )

    groups = {
        line.split(":")[0]: line.split(":")[3]
        for line in (tmp_path / "etc/group").read_text(encoding="utf-8").splitlines()
    }
    assert groups["kiosk-scanner"] == "kiosk"
    assert groups["kiosk"] == ""
    assert groups["gpio"] == "kiosk"
    assert set(groups["video"].split(",")) == {"kiosk", "kiosk-scanner"}
    for name in NAMES:
        assert values(text_of(name), "User") == values(text_of(name), "Group") == [name]
