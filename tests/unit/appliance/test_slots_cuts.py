"""The card starts a whole system wherever the power is cut: every state is looked at."""

import shutil
import sys
from pathlib import Path

import pytest
from tools import figure

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    machine.need_machine()
    return machine.make_update_card(tmp_path_factory.mktemp("slots"), new_in_b=True)


@pytest.fixture
def card(made, tmp_path):
    """This card, for one test."""
    path = tmp_path / "card.img"
    shutil.copy(made, path)
    return path


def file_on(image, sectors):
    return b"".join(image[number * 512 : number * 512 + 512] for number in sectors)


def letter_on(image, sectors):
    [line] = [x for x in file_on(image, sectors).splitlines() if x.startswith(b"os_prefix=")]
    return line[-2:-1].decode()


def test_every_cut_of_an_update_leaves_a_card_that_starts_a_whole_system(card, made):
    said = machine.run(card, "journey", new="/dev/ubda3")

    names = ["config.txt", "tryboot.txt"]
    names += [f"{x}/{name}" for x in "ab" for name in ("cmdline.txt", *machine.OLD)]
    where = {name: machine.sectors_of(made, name) for name in names}
    image = bytearray(machine.get(made, 0, machine.SLOT_AT["A"]))
    before = {name: file_on(image, where[name]) for name in names}
    whole, served, states, writes = False, False, 0, dict.fromkeys(names, 0)
    for line in said:
        match line.get("mark"):
            case "slot B is rubbish":
                whole = False
            case "slot B is whole":
                whole = True
            case "trial":
                served = True
        if "sector" in line:
            at = line["at"] + machine.FAT_AT
            image[at : at + 512] = bytes.fromhex(line["sector"])
            [owner] = [name for name in names if at // 512 in where[name]]
            writes[owner] += 1
        states += 1
        starts, tries = (letter_on(image, where[f"{x}.txt"]) for x in ("config", "tryboot"))
        assert starts == "a" or (served and whole), "an unproved system would start by itself"
        assert tries in (starts, "b" if whole else starts), "what is not whole would be tried"
        for name in ("a/cmdline.txt", "a/vmlinuz", "a/initrd.img"):
            assert file_on(image, where[name]) == before[name], "the fallback was touched"
    assert writes["config.txt"] == 1
    assert writes["tryboot.txt"] == 1
    assert not any(count for name, count in writes.items() if name.startswith("a/"))
    assert bytes(image) == machine.get(card, 0, len(image)), "every write was among them"
    marks = {line["mark"]: line for line in said if "mark" in line}
    assert marks["boot files"]["version"] == "2.0.0"
    assert marks["to be tried"]["to_try"] == "B"
    assert marks["trial"]["on_trial"]
    assert marks["good"]["permanent"] == "B"
    assert marks["good"]["good"] == ["A", "B"], "the old system stays for whoever goes back"
    for name, content in machine.NEW.items():
        assert machine.on_fat(card, f"b/{name}") == content.ljust(machine.ROOM[name], b"\0")
    lines = [line["line"].rstrip() for line in said if "line" in line]
    assert lines[1] == "root=PARTUUID=6b696f73-03 rootfstype=squashfs ro rauc.slot=B"
    figure(
        f"slots: {states} states of a card in an update, {sum(writes.values())} sectors written: "
        "each starts a whole, proved system; config.txt changes by 1 sector"
    )


def test_a_cut_before_any_write_of_a_step_is_seen_and_made_good(card):
    said = machine.run(card, "interrupted")

    cuts = [line for line in said if line.get("cut_at") is not None]
    for line in cuts:
        assert line["permanent"] in line["good"]
        assert line["to_try"] is None or line["to_try"] in line["good"]
    done = {(line["step"], line["permanent"]): line for line in said if "writes" in line}
    assert done["begin", "A"]["next"] == "A"
    assert done["begin", "A"]["good"] == ["A"]
    assert done["try", "A"]["to_try"] == "B"
    assert done["good", "B"]["good"] == ["A", "B"]
    assert done["begin", "B"]["good"] == ["B"]
    assert done["give up", "B"]["on_trial"], "it still runs; the next start is B"
    back = {line["step"]: line for line in said}
    assert back["back"]["to_try"] is None
    assert back["back"]["failed"] == "no journal"
    assert back["back"]["refused"] == {"3.0.0": "no journal"}
    twice = "started 2 times to be tried, it never came to serve"
    assert back["back twice"]["failed"] == twice
    assert back["back twice"]["next"] == "B"
    figure(f"slots: {len(cuts)} cuts before a write of a step, each seen by the next start")


def test_rauc_is_answered_and_refused_with_a_sentence(card):
    asked = [
        ["A", "get-primary"], ["A", "get-current"], ["A", "get-state", "A"],
        ["A", "get-state", "B"], ["A", "set-state", "A", "bad"], ["A", "set-state", "B", "good"],
        ["B", "set-state", "A", "bad"], ["B", "set-state", "B", "bad"], ["A", "set-primary", "A"],
        ["A", "set-primary", "B"], ["A", "get-primary"], ["A", "get-state", "B"],
        ["B", "set-state", "B", "good"], ["A", "hello"], ["A", "set-primary", "C"],
    ]  # fmt: skip

    said = machine.run(card, "refusals", asked=asked)

    assert [line["code"] for line in said] == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 2, 2]
    assert "runs from or would go back to" in said[4]["why"]
    assert "only a system that runs" in said[5]["why"]
    assert "runs from or would go back to" in said[6]["why"]
    assert (
        machine.on_fat(card, "config.txt").decode().rstrip() == machine.CONFIG.format("b").rstrip()
    )


def test_boot_files_without_room_are_refused_before_any_is_touched(made, card, tmp_path):
    big = {"vmlinuz": b"k" * 100, "initrd.img": b"i" * (machine.ROOM["initrd.img"] + 1)}
    root = machine.root_of(tmp_path / "big", "2.0.0", big)
    machine.put(card, machine.SLOT_AT["B"], machine.squashfs(root, tmp_path / "big.squashfs"))
    shutil.copy(card, tmp_path / "before.img")

    said = machine.run(card, "refusals", asked=[["A", "set-primary", "B"], ["A", "get-primary"]])

    assert said[0]["code"] == 1
    assert said[0]["why"] == (
        "initrd.img has 32769 bytes and this card has room for 32768; "
        "the version needs a newly written card\n"
    )
    assert machine.changed_sectors(tmp_path / "before.img", card) == set()


def test_a_slot_without_a_file_system_is_refused(card):
    machine.put(card, machine.SLOT_AT["B"], bytes(4096))

    said = machine.run(card, "refusals", asked=[["A", "set-primary", "B"]])

    assert said[0]["code"] == 1
    assert "holds no root file system" in said[0]["why"]
