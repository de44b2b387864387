"""The slot that has no system gets a copy of the running one, and a cut is made good."""

import hashlib
import json
import random
import shutil
import sys
from pathlib import Path

import pytest
from appliance import fill as fill_module
from tools import figure

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A card with a system of 3 MB in slot A, and its boot files as the system has them."""
    machine.need_machine()
    folder = tmp_path_factory.mktemp("fill")
    root = machine.root_of(folder / "root", "1.0.0", machine.OLD)
    (root / "payload").write_bytes(random.Random(0).randbytes(3_000_000))
    packed = machine.squashfs(root, folder / "root.squashfs")
    card = machine.make_update_card(folder)
    machine.put(card, machine.SLOT_AT["A"], packed)
    return card, packed, root / "usr/lib/kiosk/boot"


@pytest.fixture
def card(made, tmp_path):
    return Path(shutil.copy(made[0], tmp_path / "card.img"))


def fill(card, made, **request):
    files = [path for path in made[2].rglob("*") if path.is_file()]
    boot = {f"boot/{path.relative_to(made[2])}": path for path in files}
    return machine.run(card, "filling", bring=boot, **request)


def slot_b(card, length):
    return machine.get(card, machine.SLOT_AT["B"], length)


def test_the_first_start_fills_slot_b_once_and_records_what_was_read_back(made, card):
    said = fill(card, made, times=2)

    used = int.from_bytes(made[1][40:48], "little")
    digest = hashlib.sha256(made[1][:used]).hexdigest()
    assert [line["needed"] for line in said if "needed" in line] == ["B", None]
    assert said[1]["digest"] == digest
    record = json.loads(said[-2]["record"])
    assert record["states"] == {"B": "good"}
    assert said[-2]["code"] == 0, "nothing is to be done"
    assert said[-1]["code"] == 0, "a record that was lost costs a copy"
    assert said[-1]["while_rauc_writes"] is None
    assert record["digests"] == {"B": digest}
    assert slot_b(card, used) == made[1][:used]
    line = b"root=PARTUUID=6b696f73-03 rootfstype=squashfs ro rauc.slot=B"
    assert machine.on_fat(card, "b/cmdline.txt").rstrip() == line
    changed = machine.changed_sectors(made[0], card)
    fat = {n for n in changed if n < machine.SLOT_AT["A"] // 512}
    assert not fat, "the image has these boot files under b/ already"
    figure(f"fill: {used} bytes copied and read back in {said[1]['ms']:.0f} ms under emulation")


@pytest.mark.parametrize("cut_at", [1, 2, 4, 5])
def test_a_copy_that_is_cut_is_no_file_system_and_is_made_again(made, card, cut_at):
    fill(card, made, times=1, cut_at=str(cut_at))
    if cut_at < 3:
        assert slot_b(card, 4) == bytes(4), "the head comes last"

    said = fill(card, made, times=1)

    assert said[0]["needed"] == "B"
    used = int.from_bytes(made[1][40:48], "little")
    assert slot_b(card, used) == made[1][:used]


def test_a_running_slot_that_is_none_is_said(made, card):
    machine.put(card, machine.SLOT_AT["A"], bytes(4096))

    said = fill(card, made, times=1)

    assert said[1]["refused"] == "the running slot holds no squashfs"
    assert json.loads(said[-2]["record"])["states"] == {"B": "bad"}
    assert said[-1]["code"] == 1


def test_what_is_too_big_for_the_other_slot_is_refused(tmp_path):
    big, small = tmp_path / "big", tmp_path / "small"
    head = bytearray(b"hsqs".ljust(8192, b"\0"))
    head[40:48] = (8000).to_bytes(8, "little")
    big.write_bytes(head)
    small.write_bytes(bytes(4096))

    with pytest.raises(fill_module.FillError, match="8192 bytes do not fit"):
        fill_module.copy(big, small)
    head[40:48] = (80_000).to_bytes(8, "little")
    big.write_bytes(head)
    small.write_bytes(bytes(200_000))
    with pytest.raises(fill_module.FillError, match="ends before"):
        fill_module.copy(big, small)
