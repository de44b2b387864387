"""The tests' own firmware, card and judge of rhythms, without a machine."""

import struct
import subprocess

import days
import firmware
import pytest
from blocklog import MAGIC, Rebuilt, entries_of
from card import Card
from tools import need

CONFIG = """# notes
[pi4]
os_prefix=c/
[all]
os_prefix=a/
kernel=vmlinuz
initramfs initrd.img followkernel
"""


def test_the_firmware_takes_what_holds_for_every_board():
    found = firmware.read_config(CONFIG)
    assert found == {"os_prefix": "a/", "kernel": "vmlinuz", "initramfs": "initrd.img"}


def test_only_the_console_and_the_end_of_a_panic_are_replaced():
    line = "console=serial0,115200 console=tty1 root=PARTUUID=6b696f73-02 ro panic=10 quiet"
    assert firmware.with_console(line) == (
        "root=PARTUUID=6b696f73-02 ro quiet console=ttyAMA0,115200 panic=-1"
    )


def test_a_restart_that_asks_for_tryboot_is_heard():
    said = b"[ 5.1] reboot: Restarting system with command '0 tryboot'\r\n"
    assert firmware.asked_for_tryboot(said)
    assert not firmware.asked_for_tryboot(b"[ 5.1] reboot: Restarting system\r\n")
    assert not firmware.asked_for_tryboot(b"kiosk: tryboot.txt written\r\n")


def test_a_command_line_that_the_kernel_would_cut_is_refused():
    with pytest.raises(ValueError, match="2047"):
        firmware.with_unit("x" * 1500, "trial.service", "[Unit]\n" * 100)


def test_the_agents_unit_fits_beside_the_images_command_line():
    line = firmware.with_unit("x" * 600, "trial.service", firmware.AGENT)
    assert len(line) < firmware.MOST_COMMAND_LINE


def test_a_partition_is_found_where_the_mbr_says(tmp_path):
    mbr = bytearray(512)
    mbr[446 : 446 + 16] = struct.pack("<4xB3xII", 0x0C, 8192, 2048)
    mbr[510:] = b"\x55\xaa"
    path = tmp_path / "card.img"
    path.write_bytes(mbr)
    found = Card(path).partition(1)
    assert (found.kind, found.offset, found.size) == (0x0C, 4 * 1024 * 1024, 1024 * 1024)
    with pytest.raises(LookupError):
        Card(path).partition(2)


def a_log(path, entries):
    """Entries: (sector, data, flags), as blklogwrites writes them."""
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), 512).ljust(512, b"\0")]
    for sector, data, flags in entries:
        head = struct.pack("<QQQQ", sector, len(data) // 512, flags, 0)
        parts += [head.ljust(512, b"\0"), data]
    path.write_bytes(b"".join(parts))


def test_a_card_is_rebuilt_as_of_each_flush(tmp_path):
    log, card = tmp_path / "log", tmp_path / "card.img"
    one, two, three = (bytes([n]) * 512 for n in (1, 2, 3))
    a_log(log, [(0, one, 0), (0, b"", 1), (1, two, 0), (0, three, 0), (0, b"", 1), (1, one, 0)])
    card.write_bytes(bytes(1024))
    seen = [
        (number, len(new), card.read_bytes()[::512])
        for number, new, _ in Rebuilt(card, log).flushes()
    ]
    assert seen == [(0, 1, b"\1\0"), (1, 2, b"\3\2")]


def test_what_was_seen_before_the_next_flush_must_be_on_the_card(tmp_path):
    log, card = tmp_path / "log", tmp_path / "card.img"
    a_log(log, [(0, bytes(512), 0), (0, b"", 1), (1, bytes(512), 0), (0, b"", 1)])
    card.write_bytes(bytes(1024))
    ends = [end for _, _, end in Rebuilt(card, log).flushes()]
    entries = entries_of(log)
    assert ends == [entries[3].noted_at, entries[3].ends_at]


def test_a_torn_end_of_the_log_is_left_out(tmp_path):
    log = tmp_path / "log"
    a_log(log, [(0, bytes(512), 0), (0, bytes(512), 0)])
    log.write_bytes(log.read_bytes()[:-100])
    assert len(entries_of(log)) == 1


def test_a_rhythm_is_told_from_another():
    press = [(1, 0.26), (0, 0.24), (1, 0.25), (0, 0.27)]
    assert days.misses(press, [(True, 0.25), (False, 0.25)] * 2) == []
    assert days.misses(press, [(True, 0.1), (False, 0.9)] * 2) != []
    assert days.misses(press[:1], [(True, 0.25), (False, 0.25)]) != []


def test_gaps_of_dimming_are_no_steps():
    steps = [(1, 0.125), (0, 0.0078125), (1, 0.125), (0, 0.25)]
    assert days.without_dimming(steps) == [(1, 0.2578125), (0, 0.25)]


def test_a_device_tree_gets_the_boards_revision(tmp_path):
    need("fdtput", "sudo apt install device-tree-compiler")
    tree = tmp_path / "board.dtb"
    command = ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(tree), "-"]
    subprocess.run(command, input="/dts-v1/; / { };", text=True, check=True)

    firmware.add_revision(tree)

    asked = ["fdtget", "-t", "x", str(tree), "/system", "linux,revision"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert int(told, 16) == firmware.PI_3B
