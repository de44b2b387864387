"""The data partition takes the whole card: the table by itself, and on a disk with its kernel."""

import json
import shutil
import struct
import sys
from pathlib import Path

import pytest
from appliance import grow
from tools import figure

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine

MIB = machine.MIB
START = machine.DATA_AT // 512
SMALL = machine.DATA_SIZE // 512


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    machine.need_machine()
    folder = tmp_path_factory.mktemp("grow")
    return machine.make_card(folder / "card.img", folder, fat_files={"x": b"x"}, root=b"",
                             size=machine.DATA_AT + machine.DATA_SIZE)  # fmt: skip


@pytest.fixture
def card(made, tmp_path):
    return Path(shutil.copy(made, tmp_path / "card.img"))


def length_of(mbr):
    return struct.unpack_from("<I", mbr, 446 + 48 + 12)[0]


@pytest.mark.parametrize("gigabytes", [1, 2, 16, 32, 128, 1000])
def test_only_the_length_of_partition_4_changes_and_it_ends_with_the_card(made, gigabytes):
    mbr, size = machine.get(made, 0, 512), gigabytes * 10**9

    changed, data = grow.grown(mbr, size)

    assert [n for n in range(512) if mbr[n] != changed[n]] == [
        n for n in range(446 + 48 + 12, 446 + 64) if mbr[n] != changed[n]
    ]
    assert (data.start + data.length) * 512 == size // grow.ALIGN * grow.ALIGN
    assert grow.grown(changed, size) == (changed, data), "a second time gains nothing"


@pytest.mark.parametrize("size", [0, machine.DATA_AT, machine.DATA_AT + machine.DATA_SIZE])
def test_a_card_that_is_not_bigger_than_the_image_is_left_as_it_is(made, size):
    mbr = machine.get(made, 0, 512)

    assert grow.grown(mbr, size) == (mbr, grow.Data(START, SMALL))


def test_a_card_too_big_for_such_a_table_is_used_as_far_as_it_counts(made):
    changed, data = grow.grown(machine.get(made, 0, 512), 4 * 2**40)

    assert data.start + length_of(changed) < 2**32


@pytest.mark.parametrize(
    ("at", "byte"),
    [(510, 0), (440, 0), (446 + 48 + 4, 0x82), (446 + 32 + 11, 9)],
)
def test_a_table_that_is_not_the_images_is_refused(made, at, byte):
    mbr = bytearray(machine.get(made, 0, 512))
    mbr[at] = byte

    with pytest.raises(grow.GrowError):
        grow.grown(bytes(mbr), 10**10)


def table_of(card):
    told = json.loads(machine.tool("sfdisk", "--json", card))["partitiontable"]
    return [(part["start"], part["size"], part["type"]) for part in told["partitions"]]


@pytest.mark.parametrize("gigabytes", [1, 8, 64, 512])
def test_the_mounted_partition_grows_with_its_file_system(made, card, tmp_path, gigabytes):
    size = gigabytes * 10**9
    with card.open("r+b") as file:
        file.truncate(size)

    said = machine.run(card, "growth", times=2)

    assert table_of(card)[:3] == table_of(made)[:3]
    start, length, _ = table_of(card)[3]
    assert (start + length) * 512 == size // grow.ALIGN * grow.ALIGN
    assert [line["code"] for line in said] == [0, 0]
    assert said[0]["changed"]
    assert not said[1]["changed"]
    assert said[1]["bytes"] > 0.9 * length * 512
    assert said[1]["kept"] == "a row", "what was there before stays"
    assert machine.get(card, 512, machine.DATA_AT - 512) == machine.get(
        made, 512, machine.DATA_AT - 512
    )
    assert check_data(card) == 0
    figure(f"grow: 16 MiB to {gigabytes} GB while mounted in {said[0]['ms']:.0f} ms, fsck clean")


@pytest.mark.parametrize("cut_at", ["table", "kernel", 0.0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_a_cut_at_each_step_is_made_good_by_the_next_start(card, cut_at):
    with card.open("r+b") as file:
        file.truncate(2 * 10**9)

    machine.run(card, "growth", times=1, cut_at=str(cut_at))
    said = machine.run(card, "growth", times=1)

    assert said[0]["bytes"] > 1.7e9
    assert said[0]["kept"] == "a row"
    assert check_data(card) == 0


def check_data(card):
    """What e2fsck says of partition 4 once it is unmounted: 0, or the test ends."""
    code, told = machine.fsck_ext4(f"{card}?offset={machine.DATA_AT}")
    assert code == 0, told
    return code


def test_a_table_that_is_not_the_images_is_left_alone_and_said(card):
    machine.put(card, 440, b"\0\0\0\0")
    with card.open("r+b") as file:
        file.truncate(10**9)

    said = machine.run(card, "growth", times=1)

    assert said[0]["code"] == 1
    assert not said[0]["changed"]
    assert said[0]["kept"] == "a row", "the small partition serves"
