"""The units: how little each process may do, and that neither is ever given up."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from appliance import clock, keeper, updating
from appliance.intake import WELL
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
OVERLAY = ROOT / "image-build/overlay"
CARD = OVERLAY / "usr/lib/systemd/system"
OF_THE_CARD = {
    "kiosk-clock": 18,
    "kiosk-fallback": 9,
    "kiosk-fill": 14,
    "kiosk-firewall": 16,
    "kiosk-grow": 18,
    "kiosk-intake": 18,
    "kiosk-keeper": 24,
    "kiosk-signal": 7,
    "kiosk-update@": 11,
}
"""Those of root: what each of them writes to (a clock, a disk) is most of its figure."""
MOST_EXPOSED = {"kiosk": 15, "kiosk-scanner": 10, **OF_THE_CARD}
"""Tenths: `systemd-analyze security` tells 1.5 and wants 15."""


def text_of(name):
    folder = CARD if name in OF_THE_CARD else UNITS
    return (folder / f"{name}.service").read_text(encoding="utf-8")


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
        here = re.sub(r"^(Exec\w+=-?)/\S+", r"\1/bin/true", text, flags=re.MULTILINE)
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


@pytest.mark.parametrize("name", sorted(MOST_EXPOSED))
def test_it_is_no_more_exposed_than_promised(tmp_path, name):
    need("systemd-analyze", "systemd is not here")

    passes, told = exposure(tmp_path, name, text_of(name))

    assert passes, told
    figure(f"systemd-analyze security: {name}.service {told}, at most {MOST_EXPOSED[name] / 10}")


@pytest.mark.parametrize("name", sorted(MOST_EXPOSED))
@pytest.mark.parametrize("lost", ["CapabilityBoundingSet", "SystemCallFilter"])
def test_control_a_unit_that_lost_a_line_does_not_pass(tmp_path, name, lost):
    need("systemd-analyze", "systemd is not here")

    passes, _ = exposure(tmp_path, name, without(text_of(name), lost))

    assert not passes


def test_systemd_has_nothing_to_say_about_the_units(tmp_path):
    need("systemd-analyze", "systemd is not here")

    assert what_verify_says(tmp_path, {name: text_of(name) for name in MOST_EXPOSED}) == (0, "")


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


# The card


def sections(path):
    return lines_of(path.read_text(encoding="utf-8"))


def mounts():
    """Each line of fstab: what is mounted, where, as what, with which options."""
    lines = (OVERLAY / "etc/fstab").read_text(encoding="utf-8").splitlines()
    return [line.split()[:4] for line in lines if line and not line.startswith("#")]


def command_in(name, key):
    """The shell script that a unit starts."""
    (value,) = values(text_of(name), key)
    (script,) = re.findall(r"^/bin/sh -c '(.+)'$", value)
    return script


def ends_with(script, **moved):
    """The exit code of a script, with other files in the place of the machine's."""
    for path, other in moved.items():
        assert path.replace("_", "/") in script
        script = script.replace(path.replace("_", "/"), str(other))
    return subprocess.run(["/bin/sh", "-c", script], check=False).returncode


def test_each_unit_of_the_card_has_a_figure_to_keep():
    assert {path.stem for path in CARD.glob("*.service")} == set(OF_THE_CARD)


@pytest.mark.parametrize("name", sorted(OF_THE_CARD))
def test_what_it_starts_is_there(name):
    for value in values(text_of(name), "ExecStart"):
        if found := re.fullmatch(r"/opt/kiosk/.venv/bin/python (?:-S )?-m (\S+)(?: \S+)?", value):
            assert importlib.util.find_spec(found[1]) is not None
            assert "PYTHONPATH=/opt/kiosk/image-build" in text_of(name)
        else:
            assert value.startswith(("/usr/sbin/nft ", "/usr/bin/systemctl "))


@pytest.mark.parametrize("name", sorted(OF_THE_CARD))
def test_no_program_of_root_talks_over_a_network(name):
    (families,) = values(text_of(name), "RestrictAddressFamilies")

    assert "INET" not in families
    assert values(text_of(name), "IPAddressDeny") == ["any"]


@pytest.mark.parametrize("name", sorted(OF_THE_CARD))
def test_no_program_of_the_card_may_be_looked_at_when_it_crashes(name):
    assert values(text_of(name), "LimitCORE") == ["0"]


def test_the_keeper_is_never_given_up():
    assert why_it_may_stay_dead(text_of("kiosk-keeper")) == []


def test_the_keepers_watchdog_waits_for_a_kiosk_that_is_stopped():
    (limit_s,) = values(text_of("kiosk-keeper"), "WatchdogSec")
    (stop_s,) = values(text_of("kiosk"), "TimeoutStopSec")

    assert float(limit_s) > keeper.STOP_S + keeper.LOOK_EVERY_S > float(stop_s)


def test_the_kiosk_starts_on_partition_four_or_not_at_all():
    ours = sections(OVERLAY / "etc/systemd/system/kiosk.service.d/card.conf")

    for wanted in (
        ("Unit", "RequiresMountsFor", "/var/lib/kiosk /etc/kiosk"),
        ("Unit", "ConditionPathIsMountPoint", "/data"),
        ("Unit", "ConditionPathIsMountPoint", "/var/lib/kiosk"),
        ("Unit", "ConditionPathExists", "/var/lib/kiosk/.card"),
        ("Unit", "ConditionPathExists", "/etc/kiosk/kiosk.yaml"),
    ):
        assert wanted in ours
    by_place = {place: (what, options) for what, place, _, options in mounts()}
    assert by_place["/data"][0] == "/dev/kiosk/6b696f73-04"
    assert by_place["/var/lib/kiosk"][0] == "/data/kiosk"
    assert by_place["/etc/kiosk"][0] == "/data/etc"
    # Nothing of the image stands where a partition that is missing would have been.
    for place in ("data", "var/lib/kiosk", "etc/kiosk"):
        assert not (OVERLAY / place).exists()


def test_no_mount_keeps_the_machine_from_starting():
    assert mounts()
    for what, place, _, options in mounts():
        assert "nofail" in options.split(","), place
        if what.startswith("/dev/"):
            assert "x-systemd.device-timeout=" in options
    assert next(o for _, place, _, o in mounts() if place == "/boot/firmware").startswith("ro,")


def test_a_shell_that_nobody_can_use_starts_the_machine_again():
    for name in ("emergency", "rescue"):
        ours = sections(OVERLAY / f"etc/systemd/system/{name}.service.d/kiosk.conf")
        (command,) = [value for _, key, value in ours if key == "ExecStart" and value]
        assert "reboot" in command
        assert "sulogin" not in command


@pytest.mark.parametrize("name", ["kiosk-clock", "kiosk-intake", "kiosk-signal"])
def test_the_kiosk_waits_for_what_it_stands_on(name):
    ours = sections(OVERLAY / "etc/systemd/system/kiosk.service.d/card.conf")
    (after,) = [value for _, key, value in ours if key == "After"]

    assert f"{name}.service" in after.split()
    assert "kiosk.service" in " ".join(values(text_of(name), "Before", "Unit")).split()


@pytest.mark.parametrize("name", ["kiosk-keeper", "kiosk-grow", "kiosk-fill", "kiosk-update@"])
def test_the_first_seconds_belong_to_the_kiosk(name):
    assert "kiosk.service" in " ".join(values(text_of(name), "After", "Unit")).split()


def test_no_network_before_the_firewall_and_the_configuration():
    for name in ("kiosk-intake", "kiosk-firewall"):
        assert "network-pre.target" in " ".join(values(text_of(name), "Before", "Unit")).split()


@pytest.mark.parametrize(
    ("line", "config", "is_on_trial"),
    [
        ("console=tty1 rauc.slot=B quiet", "os_prefix=a/", True),
        ("rauc.slot=A", "os_prefix=b/", True),
        ("console=tty1 rauc.slot=B quiet", "os_prefix=b/", False),
        ("rauc.slot=A", "os_prefix=a/", False),
        ("quiet", "os_prefix=a/", False),
        ("rauc.slot=AB", "os_prefix=b/", False),
    ],
)
def test_without_a_keeper_a_trial_ends_all_the_same(tmp_path, line, config, is_on_trial):
    (tmp_path / "cmdline").write_text(f"{line}\n")
    (tmp_path / "config.txt").write_text(f"arm_64bit=1\n{config}\n")
    moved = {
        "_proc_cmdline": tmp_path / "cmdline",
        "_boot_firmware_config.txt": tmp_path / "config.txt",
    }

    code = ends_with(command_in("kiosk-fallback", "ExecCondition"), **moved)

    assert (code == 0) == is_on_trial
    assert values(text_of("kiosk-fallback"), "ExecStart") == [
        "/usr/bin/systemctl --no-block reboot"
    ]


def test_it_ends_after_the_keeper_would_have_ended_it():
    timer = sections(CARD / "kiosk-fallback.timer")
    (minutes,) = [v.removesuffix("min") for _, key, v in timer if key == "OnBootSec"]

    assert int(minutes) * 60 > keeper.TRIAL_S + keeper.MOST_PAYING_S + keeper.STOP_S


def test_the_signal_starts_unless_intake_says_that_all_is_well():
    conditions = values(text_of("kiosk-signal"), "ConditionPathExists", "Unit")

    assert conditions == [f"!/run/{WELL}"]


def test_the_programs_meet_where_the_units_make_room():
    rooms = (OVERLAY / "usr/lib/tmpfiles.d/kiosk-card.conf").read_text(encoding="utf-8")

    for path in (keeper.Places().intake, updating.SAID, Path("/run/kiosk-slots/x")):
        assert f"d {path.parent} " in rooms
    assert values(text_of("kiosk-clock"), "RuntimeDirectory") == [
        Path(clock.HERE.floor).parent.name
    ]
    for name in ("kiosk-keeper", "kiosk-fill", "kiosk-update@"):
        assert "/run/kiosk-slots" in " ".join(values(text_of(name), "ReadWritePaths"))
    # The word for the firmware is left there by systemctl itself.
    assert "/run/systemd" in values(text_of("kiosk-keeper"), "ReadWritePaths")[0].split()
    (stop,) = values(text_of("kiosk-clock"), "ExecStop")
    assert stop.split()[-1] == clock.HERE.kept


def test_the_log_is_in_memory_and_bounded():
    journald = {
        key: value for _, key, value in sections(OVERLAY / "etc/systemd/journald.conf.d/kiosk.conf")
    }

    assert journald["Storage"] == "volatile"
    assert journald["RuntimeMaxUse"] == "16M"
    assert int(journald["RateLimitBurst"]) <= 1000


def test_the_hardware_watchdog_fits_the_chip():
    system = {
        key: value for _, key, value in sections(OVERLAY / "etc/systemd/system.conf.d/kiosk.conf")
    }

    assert int(system["RuntimeWatchdogSec"].removesuffix("s")) < 15
    assert system["DumpCore"] == "no"
    assert system["DefaultLimitCORE"] == "0"


def test_nothing_offers_a_login_by_itself():
    generators = OVERLAY / "etc/systemd/system-generators"

    for name in ("systemd-getty-generator", "systemd-ssh-generator"):
        assert str((generators / name).readlink()) == "/dev/null"
