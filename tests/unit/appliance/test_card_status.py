"""What kiosk-status.txt and the screen say, and when that is something new."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from appliance import console, status
from appliance.control import Kiosk
from appliance.slots import Standing
from appliance.status import FILE_BYTES, WIDTH, Facts, Link, file_of, stable, text_of

from kiosk.core.cues import Reason

WELL = Facts(
    version={"version": "0.1.0", "base": "debian", "built_at": "2026-11-24T10:00:00+00:00"},
    standing=Standing("A", "A", None, False),
    trial="",
    kiosk=Kiosk("ready", scanner=True),
    intake={
        "ok": True,
        "in_force": True,
        "findings": [],
        "warnings": [],
        "sells": [
            'Tea  1 000 so\'m  ->  POST http://192.168.1.50:8080/payment/payme {"amount":1000}'
        ],
    },
    host_name="kiosk-7",
    links=(Link("eth0", "dc:a6:32:00:00:01", ("192.168.1.20",)),),
    vouches="server",
    free_bytes=29 << 30,
    update="",
    board="Raspberry Pi 4 Model B Rev 1.4",
    serial="10000000a1b2c3d4",
    ready_after_s=12.34,
    now_s=1_795_514_400.0,
)


def test_a_kiosk_that_is_well():
    assert (
        text_of(WELL)
        == """\
Payment kiosk 0.1.0, debian, made 2026-11-24

Now:         in service
kiosk.yaml:  in force
Sells:       Tea 1 000 so'm -> POST http://192.168.1.50:8080/payment/payme
             {"amount":1000}
Network:     this kiosk is called kiosk-7
             eth0 (dc:a6:32:00:00:01): 192.168.1.20
Clock:       set by a time server
System:      slot A
Data:        at least 16 GB free
Board:       Raspberry Pi 4 Model B Rev 1.4, serial 10000000a1b2c3d4
Start:       ready 12.3 s after the kernel began
Written:     2026-11-24 10:00 UTC
"""
    )


def test_each_reason_has_its_sentence_and_what_to_do():
    out = Kiosk("out_of_service", {"camera_down": "no /dev/video0"}, unresolved=2)

    text = text_of(replace(WELL, kiosk=out))

    assert "Now:         out of service\n" in text
    assert "* camera_down: no /dev/video0\n" in text
    assert "-> plug the camera in" in text
    assert "* 2 unknown payments wait for staff" in text


def test_no_reason_is_without_a_remedy():
    assert set(status.REMEDIES) == {reason.value for reason in Reason}


def test_a_reason_that_nobody_knows_is_told_all_the_same():
    text = text_of(replace(WELL, kiosk=Kiosk("out_of_service", {"new_one": ""})))

    assert "* new_one\n" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"free_bytes": None}, "the data partition of this card is missing or damaged"),
        ({"is_journal_lost": True}, "the journal is gone, and with it which codes were spent"),
        ({"is_journal_lost": True}, "Data: LOST"),
        ({"intake": {"ok": False, "in_force": False}}, "there is no configuration"),
        ({"intake": None}, "the kiosk does not run"),
        ({}, "the kiosk does not run; it is started again"),
        ({"unit": "condition"}, "does not start: .card"),
        ({"unit": "inactive"}, "does not start: something that it needs failed; restart"),
        (
            {"unit": "inactive", "failed": ("etc-kiosk.mount",)},
            "does not start: something that it needs failed (etc-kiosk.mount); restart",
        ),
    ],
)
def test_why_it_does_not_run(changes, told):
    assert told in " ".join(text_of(replace(WELL, kiosk=None, **changes)).split())


@pytest.mark.parametrize(
    ("intake", "told"),
    [
        ({"ok": False, "in_force": True, "findings": ["kiosk.yaml:3: x"]}, "The one before stays"),
        ({"ok": False, "in_force": False, "findings": ["kiosk.yaml:3: x"]}, "there is none before"),
        (None, "not looked at"),
        ({"ok": True, "in_force": True, "warnings": ["y"]}, "in force"),
        ({"ok": False, "in_force": True, "findings": "no list"}, "NOT TAKEN"),
    ],
)
def test_what_came_of_kiosk_yaml(intake, told):
    text = text_of(replace(WELL, intake=intake))

    assert told in " ".join(text.split())
    for each in (intake or {}).get("findings", []):
        assert len(each) == 1 or f"* {each}" in text


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (None, "nobody can say which"),
        (Standing("B", "A", None, True), "slot B, on trial; slot A comes back otherwise"),
        (Standing("A", "A", "B", False), "slot A; slot B waits to be tried"),
        (Standing("A", "A", None, False, "never ready"), "the last update did not serve: never"),
    ],
)
def test_which_system_runs(standing, told):
    assert told in text_of(replace(WELL, standing=standing))


@pytest.mark.parametrize(
    ("free", "told"),
    [
        (None, "MISSING"),
        (0, "FULL"),
        ((1 << 20) - 1, "FULL"),
        (1 << 20, "at least 1 MB"),
        (900 << 20, "at least 512 MB"),
        (1 << 30, "at least 1 GB"),
    ],
)
def test_free_space_is_told_coarsely(free, told):
    assert f"Data:        {told}" in text_of(replace(WELL, free_bytes=free))


def test_everything_else_that_may_be_missing():
    bare = replace(
        WELL,
        version={},
        board="",
        serial="",
        ready_after_s=None,
        links=(),
        vouches="",
        trial="not good yet: camera_down",
        update="0.2.0 from a USB stick: installed",
    )

    text = text_of(bare)

    for told in (
        "Payment kiosk ?, ?, made ?",
        "unknown, serial unknown",
        "no network card",
        "nobody vouches",
        "not good yet: camera_down",
        "update: 0.2.0 from a USB stick",
    ):
        assert told in text
    assert "Start:" not in text
    assert "no address" in text_of(replace(WELL, links=(Link("wlan0", "x"),)))


# What is new


@pytest.mark.parametrize(
    "changes",
    [
        {"now_s": 1_800_000_000.0},
        {"ready_after_s": 99.0},
        {"free_bytes": 17 << 30},
        {"kiosk": Kiosk("submitting", scanner=True)},
        {"kiosk": Kiosk("concluded", started_by_box_s=5.0)},
    ],
)
def test_what_passes_by_itself_is_nothing_new(changes):
    assert stable(text_of(replace(WELL, **changes))) == stable(text_of(WELL))


@pytest.mark.parametrize(
    "changes",
    [
        {"kiosk": None},
        {"vouches": "box"},
        {"host_name": "other"},
        {"links": ()},
        {"free_bytes": 1 << 20},
        {"kiosk": Kiosk("ready", unresolved=1)},
    ],
)
def test_what_somebody_may_act_on_is(changes):
    assert stable(text_of(replace(WELL, **changes))) != stable(text_of(WELL))


def test_what_stands_on_the_card_is_known_again():
    text = text_of(WELL)

    assert stable(file_of(text).decode()) == stable(text)


# How it is written


def long_facts(letter="x"):
    reasons = {reason.value: f"{letter * 9} " * 30 for reason in Reason}
    findings = [f"kiosk.yaml:{n}: {letter * 40} {letter * 90}" for n in range(30)]
    intake = {"ok": False, "in_force": True, "findings": findings, "warnings": findings}
    return replace(WELL, kiosk=Kiosk("out_of_service", reasons), intake=intake)


@pytest.mark.parametrize("facts", [WELL, long_facts(), long_facts("so‘m")])
def test_the_file_has_its_size_whatever_there_is_to_say(facts):
    data = file_of(text_of(facts))

    assert len(data) == FILE_BYTES
    text = data.decode("utf-8")
    assert text.count("\n") == text.count("\r\n")
    assert text.startswith("Payment kiosk")


@pytest.mark.parametrize("length", range(FILE_BYTES - 12, FILE_BYTES + 12))
def test_it_fits_at_the_very_edge_too(length):
    assert len(file_of("y" * length)) == FILE_BYTES
    assert len(file_of("é" * (length // 2) + "\n")) == FILE_BYTES
    file_of("é" * (length // 2)).decode("utf-8")


@pytest.mark.parametrize("facts", [WELL, long_facts(), long_facts("so‘m")])
def test_no_line_is_wider_than_a_screen(facts):
    assert all(len(line) <= WIDTH for line in text_of(facts).splitlines())


@pytest.mark.parametrize("facts", [WELL, long_facts()])
def test_the_screen_never_scrolls(facts):
    shown = console.screen(text_of(facts)).decode()

    assert shown.startswith(console._BEGIN)
    lines = shown.removeprefix(console._BEGIN).split("\r\n")
    assert len(lines) < console.ROWS
    assert all(len(line) <= console.COLUMNS for line in lines)
    if facts is not WELL:
        assert lines[-1].startswith("... the rest is in kiosk-status.txt")


def test_it_is_put_on_a_terminal():
    ours, terminal = os.openpty()
    os.set_blocking(ours, False)

    console.show("hello\n", Path(os.ttyname(terminal)))

    assert os.read(ours, 1000).endswith(b"hello")
    os.close(ours)
    os.close(terminal)


def test_without_a_screen_nothing_happens(tmp_path):
    console.show("hello\n", tmp_path / "nothing" / "tty1")


# What is asked of the machine


def test_network_cards_that_are_hardware(tmp_path):
    for name, is_hardware in (("eth0", True), ("lo", False), ("wlan0", True)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text("dc:a6:32:00:00:01\n")
        if is_hardware:
            (tmp_path / name / "device").mkdir()

    assert [(link.name, link.mac) for link in status.links(tmp_path)] == [
        ("eth0", "dc:a6:32:00:00:01"),
        ("wlan0", "dc:a6:32:00:00:01"),
    ]
    assert status.links(tmp_path / "nothing") == ()


def test_the_kernel_is_asked_for_addresses():
    told = dict.fromkeys(status._told_by_kernel())

    assert ("lo", "127.0.0.1") in told
    assert {name for name, _ in told} <= {name for _, name in socket.if_nameindex()}
    assert status._addresses()["lo"][0] == "127.0.0.1"


def test_a_kernel_that_does_not_answer_has_no_addresses(monkeypatch):
    def refuses(*args):
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuses)

    assert status._addresses() == {}


def test_what_is_no_address_is_passed_over():
    assert list(status._address_in(bytes([1, 0, 0, 0, 0, 0, 0, 0]))) == []
    torn = bytes([socket.AF_INET, 0, 0, 0, 1, 0, 0, 0]) + b"\0\0\0\0"
    assert list(status._address_in(torn)) == []


def test_free_space_of_what_is_mounted(tmp_path):
    assert status.free_bytes(tmp_path) is None
    assert status.free_bytes(Path("/proc")) == 0


def test_a_folder_that_was_made_anew_is_not_the_journals(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda self: True)
    assert status.is_journal_lost(tmp_path)
    (tmp_path / "kiosk").mkdir()
    assert status.is_journal_lost(tmp_path) == (os.getuid() == 0)
    if os.getuid() == 0:
        os.chown(tmp_path / "kiosk", 701, 701)
    assert not status.is_journal_lost(tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda self: False)
    assert not status.is_journal_lost(tmp_path)


def test_the_board_by_its_device_tree(tmp_path):
    (tmp_path / "model").write_bytes(b"Raspberry Pi 3 Model B\0")

    assert status.board(tmp_path) == ("Raspberry Pi 3 Model B", "")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"5"])
def test_a_file_that_is_no_object(tmp_path, content):
    (tmp_path / "x").write_bytes(content)

    assert status.json_in(tmp_path / "x") is None
    assert status.json_in(tmp_path / "y") is None


def test_many_long_findings_leave_room_for_what_else_is_read_there():
    findings = [f"kiosk.yaml:{n}: {'a long sentence ' * 40}" for n in range(50)]
    intake = {"ok": False, "in_force": True, "findings": findings, "warnings": []}

    file = file_of(text_of(replace(WELL, intake=intake))).decode()

    assert len(file.encode()) == FILE_BYTES
    assert "kiosk.yaml:0:" in file
    assert "... and more; mend these first" in file
    assert "192.168.1.20" in file
    assert "Data:" in file


def test_a_few_findings_are_all_there_is():
    intake = {"ok": False, "in_force": True, "findings": ["kiosk.yaml:1: wrong"], "warnings": []}

    assert "and more" not in text_of(replace(WELL, intake=intake))
