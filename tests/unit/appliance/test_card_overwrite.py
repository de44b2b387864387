"""Files of a real FAT, overwritten where they lie, in a machine that has the card as its disk."""

import hashlib
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tools import figure

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine

LENGTHS = (1, 511, 512, 513, 1023, 1024, 1025, 2048, 4096, 4097, 40_000, 1_048_576, 3_000_001)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """A card whose FAT was written, erased and written again, so that files lie in pieces."""
    machine.need_machine()
    folder = tmp_path_factory.mktemp("card")
    small = {f"small/{n:04}": b"s" * (8 * 512) for n in range(2600)}
    big = {"big.bin": bytes(machine.FAT_SIZE - 14 * machine.MIB)}
    path = machine.make_card(
        folder / "card.img", folder, root=b"",
        fat_files=small | big | {"config.txt": b"c" * 2048},
    )  # fmt: skip
    at = f"{path}@@{machine.FAT_AT}"
    machine.fill_up(path, folder)
    machine.tool("mdel", "-i", at, *(f"::/small/{n:04}" for n in range(0, 2600, 2)))
    for length in LENGTHS:
        (folder / f"size-{length}.bin").write_bytes(b"\1" * length)
        machine.tool("mcopy", "-i", at, folder / f"size-{length}.bin", "::/")
    return path


@pytest.fixture
def copy(card, tmp_path):
    """This card, for one test."""
    path = tmp_path / "card.img"
    path.write_bytes(card.read_bytes())
    return path


def test_only_the_sectors_of_the_file_change_whatever_its_size(copy, card, tmp_path):
    files = [(f"size-{length}.bin", length, "") for length in LENGTHS]

    said = machine.run(copy, "overwrites", files=files)

    own, pieces = set(), 0
    for number, (name, length, _) in enumerate(files):
        sectors = machine.sectors_of(card, name)
        in_pieces = sum(a + 1 != b for a, b in pairwise([-1, *sectors]))
        own |= set(sectors)
        pieces = max(pieces, in_pieces)
        content = random.Random(number).randbytes(length)
        assert machine.on_fat(copy, name) == content
        assert said[number]["seen"] == hashlib.sha256(content).hexdigest(), "seen at once"
        assert said[number]["written"] == -(-length // 512) * 512
        assert not said[number]["again"], "the same once more is no write"
    changed = machine.changed_sectors(card, copy)
    assert changed == own
    assert machine.check_fat(copy, tmp_path) == ""
    assert pieces > 300, "a file in many pieces was among them"
    figure(
        f"card: {len(files)} files of a FAT overwritten in place, up to {pieces} pieces each: "
        f"{len(changed)} sectors changed, none of another's; 3 MB in {said[-1]['ms']:.0f} ms"
    )


def test_what_is_shorter_is_padded_and_the_slack_behind_the_file_stays(copy, card):
    said = machine.run(copy, "overwrites", files=[("size-1025.bin", 700, "20")])

    content = random.Random(0).randbytes(700)
    assert said[0]["written"] == 3 * 512
    assert machine.on_fat(copy, "size-1025.bin") == content + b" " * 325
    last = max(machine.sectors_of(card, "size-1025.bin"))
    assert machine.get(copy, last * 512 + 1, 511) == machine.get(card, last * 512 + 1, 511)


def test_what_does_not_fit_is_refused_with_a_sentence_and_nothing_is_written(copy, card):
    files = [("size-512.bin", 513, "00"), ("size-512.bin", 511, ""), ("none.bin", 1, "")]

    said = machine.run(copy, "overwrites", files=files)

    sentences = [line["refused"] for line in said]
    assert sentences[0].endswith("size-512.bin has 512 bytes on this card; 513 do not fit")
    assert sentences[1].endswith("size-512.bin has 512 bytes on this card; 511 do not fit")
    assert sentences[2].endswith("none.bin: No such file or directory")
    assert machine.changed_sectors(card, copy) == set()


def test_an_ordinary_write_changes_tables_and_folder(copy, card):
    """The control: were this not so, the way through the device would be for nothing."""
    machine.run(copy, "ordinary_write", name="size-4096.bin", length=4096)

    strangers = machine.changed_sectors(card, copy) - set(machine.sectors_of(card, "size-4096.bin"))
    assert strangers


def test_a_writable_mount_is_refused(copy, card):
    said = [line["refused"] for line in machine.run(copy, "writable")]

    assert "mounted writable" in said[0]
    assert "mounted writable" in said[1]
    assert "No such file" in said[2]
