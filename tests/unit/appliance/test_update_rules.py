"""What an update asks before it begins, and what is on a card; no RAUC is needed for that."""

import json
from pathlib import Path

import pytest
from appliance import boot_files, programs, slot_record, slots, update, versions
from appliance.card import CardError
from appliance.slot_record import Record, Trial


@pytest.fixture
def system(tmp_path):
    """A system of version 1.2.0 whose FAT is a folder: enough to be asked."""
    (tmp_path / "usr/lib/kiosk").mkdir(parents=True)
    (tmp_path / "usr/lib/kiosk/version.json").write_text('{"version": "1.2.0"}')
    config = tmp_path / "system.conf"
    config.write_text("[system]\ncompatible=kiosk-arm64-debian\n")
    (tmp_path / "fat").mkdir()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("ro rauc.slot=A quiet\n")
    for name in ("config", "tryboot"):
        (tmp_path / f"fat/{name}.txt").write_text("os_prefix=a/\n")
    places = slots.Places(
        firmware=tmp_path / "fat", kept=tmp_path / "kept", run=tmp_path / "run",
        proc=tmp_path / "proc", devices=tmp_path / "devices",
    )  # fmt: skip
    return update.System(root=tmp_path, places=places, config=config, sysfs=tmp_path / "sysfs")


@pytest.mark.parametrize(
    "order",
    [
        ["0.9.0", "0.10.0", "1", "1.0.1", "1.2-rc.1", "1.2-rc.2", "1.2-rc.10", "1.2-rc.x", "1.2.0"],
        ["1.0.0-1", "1.0.0-a", "1.0.0", "2.0.0-alpha", "10.0.0"],
    ],
)
def test_versions_have_the_order_that_rauc_gives_them(order):
    for n, version in enumerate(order):
        assert [versions.is_newer(version, than) for than in order] == [
            m < n for m in range(len(order))
        ]


@pytest.mark.parametrize("version", ["", "one", "1.2.3.4", "v1", "1.2\n", "-1"])
def test_what_is_no_version_is_never_newer(version):
    assert not versions.is_newer(version, "0.0.1")
    assert not versions.is_newer("1.0.0", version)


def test_what_stands_behind_a_plus_does_not_count():
    assert not versions.is_newer("1.0.0+test", "1.0.0")
    assert not versions.is_newer("1.0.0", "1.0.0+test")


@pytest.mark.parametrize(
    ("version", "compatible", "why"),
    [
        ("1.2.1", "kiosk-arm64-debian", None),
        ("1.2.0", "kiosk-arm64-debian", "1.2.0 is not newer than the running 1.2.0"),
        ("1.1.9", "kiosk-arm64-debian", "1.1.9 is not newer than the running 1.2.0"),
        ("1.2.1", "kiosk-arm64-raspios", "for another kind of kiosk (kiosk-arm64-raspios)"),
        ("1.3.0", "kiosk-arm64-debian", "1.3.0 failed here (it does not sell)"),
    ],
)
def test_only_a_newer_bundle_of_ours_that_never_failed_is_wanted(system, version, compatible, why):
    slot_record.save(system.places.record, Record(refused={"1.3.0": "it does not sell"}))

    said = update.why_not(update.Bundle("x", version, compatible), system)

    assert said is None if why is None else why in said


def test_nothing_is_installed_or_restarted_while_a_payment_runs(system):
    (system.places.firmware / "tryboot.txt").write_text("os_prefix=b/\n")
    slot_record.save(system.places.record, Record(states={"B": "good"}, trial=Trial("B", "2.0.0")))

    with pytest.raises(update.BusyError):
        update.install("x.raucb", lambda: False, system)
    with pytest.raises(update.BusyError):
        update.reboot_into_new(lambda: False, system)

    assert slot_record.load(system.places.record).trial == Trial("B", "2.0.0", starts=0)


def test_there_is_no_restart_without_anything_to_try(system):
    with pytest.raises(update.UpdateError, match="nothing to try"):
        update.reboot_into_new(lambda: True, system)


def test_a_restart_into_the_new_system_is_counted_and_hands_on_the_word(
    system, tmp_path, monkeypatch
):
    (system.places.firmware / "tryboot.txt").write_text("os_prefix=b/\n")
    slot_record.save(system.places.record, Record(states={"B": "good"}, trial=Trial("B", "2.0.0")))
    told = tmp_path / "told"
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    assert update.main(["try"], system) == 0

    assert told.read_text() == "reboot|--reboot-argument=0 tryboot|"
    assert slot_record.load(system.places.record).trial == Trial("B", "2.0.0", starts=1)


def test_by_hand_one_sees_what_runs_and_what_failed(system, capsys):
    slot_record.save(system.places.record, Record(refused={"1.3.0": "it does not sell"}))

    assert update.main([], system) == 0

    assert capsys.readouterr().out.splitlines() == [
        "version 1.2.0, running from slot A",
        "permanent slot: A",
        "waiting to be tried: nothing",
        "failed here: 1.3.0: it does not sell",
    ]
    assert update.main(["what"], system) == 2
    assert update.main(["try"], system) == 1
    assert "nothing to try" in capsys.readouterr().err


def test_partitions_on_usb_are_sticks_unless_they_are_of_the_kiosks_own_card(system):
    devices, sysfs = system.sysfs.parent / "sys-devices", system.sysfs
    sysfs.mkdir()
    for disk, bus, parts in (("sda", "usb1/1-1", 1), ("sdb", "usb1/1-2", 0), ("mmcblk0", "soc", 4)):
        place = devices / bus / disk
        place.mkdir(parents=True)
        (sysfs / disk).symlink_to(place)
        for n in range(1, parts + 1):
            name = f"{disk}p{n}" if disk[-1].isdigit() else f"{disk}{n}"
            (place / name).mkdir()
            (place / name / "partition").write_text(f"{n}\n")
            (sysfs / name).symlink_to(place / name)

    assert update.sticks(system) == [Path("/dev/sda1"), Path("/dev/sdb")]


def test_a_stick_that_cannot_be_mounted_is_passed_over(system, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(update, "sticks", lambda system: [Path("/dev/sdz1")])

    with update.on_sticks(system) as found:
        assert found == (None, [])


def test_a_stick_is_let_go_of_after_rauc_has_let_go_of_it(system, tmp_path, monkeypatch):
    """`systemd-mount` and `systemd-umount` of a machine whose stick is busy for two tries."""
    calls = tmp_path / "calls"
    for name, body in (
        ("systemd-mount", "exit 0"),
        ("systemd-umount", f"[ $(grep -c systemd-umount {calls}) -ge 3 ]"),
    ):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{body}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(update, "sticks", lambda system: [Path("/dev/sdz1")])
    monkeypatch.setattr(update.time, "sleep", lambda seconds: None)

    with update.on_sticks(system) as found:
        assert found == (None, [])

    told = calls.read_text().splitlines()
    assert told[0].startswith(
        "systemd-mount --quiet --no-ask-password --collect --fsck=no --type=v"
    )
    assert "--options=ro,nodev,nosuid,noexec,uid=0,gid=0,umask=0077 /dev/sdz1" in told[0]
    assert told[1:] == ["systemd-umount --quiet /run/kiosk-stick"] * 3


def test_a_program_says_why_it_failed(tmp_path):
    with pytest.raises(programs.ProgramError, match=r"^sh: no room$"):
        programs.run(["sh", "-c", "echo LastError: no room; echo more; exit 1"])
    with pytest.raises(programs.ProgramError, match=r"^sh: status 3$"):
        programs.run(["sh", "-c", "exit 3"])
    with pytest.raises(programs.ProgramError, match="no-such-program"):
        programs.run(["no-such-program"])
    with pytest.raises(programs.ProgramError, match="timed out"):
        programs.run(["sleep", "9"], most_s=0.1)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"states": 1}', b"\xff\xfe", b'{"states"'])
def test_a_damaged_record_says_nothing(tmp_path, text):
    path = tmp_path / "slots.json"
    path.write_bytes(text)

    assert slot_record.load(path) == Record()


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = Record({"A": "good"}, {"B": "00ff"}, Trial("B", "2.0.0", 1), {"1.9.0": "why"})

    slot_record.save(tmp_path / "deep/slots.json", record)

    assert slot_record.load(tmp_path / "deep/slots.json") == record
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["slots.json"]


@pytest.mark.parametrize(
    "text", ["", "os_prefix=c/\n", "os_prefix=a/\nos_prefix=b/\n", "# os_prefix=a/\n"]
)
def test_a_config_without_one_clear_letter_is_no_answer(system, text):
    (system.places.firmware / "config.txt").write_text(text)

    with pytest.raises(CardError):
        slots.permanent(system.places)


def test_a_letter_is_found_in_a_file_that_another_computer_wrote(system):
    (system.places.firmware / "config.txt").write_bytes(b"# mine\r\nos_prefix=b/ \r\nx=1\r\n")

    assert slots.permanent(system.places) == "B"


@pytest.mark.parametrize("line", ["", "rauc.slot=C", "rauc.slot=A rauc.slot=B", "xrauc.slot=A"])
def test_a_kernel_that_does_not_name_its_slot_is_no_answer(system, line):
    (system.places.proc / "cmdline").write_text(line + "\n")

    with pytest.raises(slots.SlotError):
        slots.running(system.places)


def test_what_the_firmware_says_of_the_start_is_shown(system):
    assert slots.started_by_tryboot(system.places) is None
    flag = system.places.proc / "device-tree/chosen/bootloader/tryboot"
    flag.parent.mkdir(parents=True)
    for content, said in ((b"\0\0\0\1", True), (b"\0\0\0\0", False)):
        flag.write_bytes(content)
        assert slots.started_by_tryboot(system.places) is said


def test_the_permanent_slot_cannot_be_given_up(system):
    with pytest.raises(slots.SlotError):
        slots.give_up("it does not sell", system.places)


def test_a_root_file_system_that_is_none_of_ours_is_refused(tmp_path):
    with pytest.raises(CardError):
        boot_files.version_of(tmp_path)


def test_the_files_for_rauc_say_what_the_code_says():
    project = Path(__file__).parents[3] / "image-build"
    config = (project / "overlay/etc/rauc/system.conf").read_text()
    for slot, partition in slots.PARTITIONS.items():
        device = f"/dev/kiosk/{slots.DISK}-{partition:02}"
        assert f"device={device}\ntype=raw\nbootname={slot}\n" in config
    assert "bundle-formats=verity\n" in config
    assert json.dumps(boot_files.command_line("x @DISK@-@PARTITION@ @SLOT@\n", "B")) == (
        '"x 6b696f73-03 B"'
    )


def test_why_the_last_trial_failed_is_told_until_there_is_another(system, monkeypatch):
    places = system.places
    monkeypatch.setattr(slots, "_set_letter", lambda *_: None)
    trial = slot_record.Trial("B", "1.3.0", 1)
    slot_record.save(places.record, Record(trial=trial, refused={"1.3.0": "no journal"}))

    slots.begin_writing("B", places)  # it gets a copy of the running one

    assert slots.standing(places).failed == "no journal"
    slot_record.save(places.record, Record(trial=slot_record.Trial("B", "1.4.0")))
    slots.begin_writing("B", places)
    assert slot_record.load(places.record).trial is None
