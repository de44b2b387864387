"""A technician's file on a real FAT, taken and overwritten in a machine that has the card."""

import sys
from pathlib import Path

import pytest
from cards import PASSWORD, SECRET, TOKEN

sys.path.insert(0, str(Path(__file__).parent))
import card_machine as machine

KEY = b"-----BEGIN PRIVATE KEY-----\n" + b"MC4CAQAwBQYDK2VwBCIE" * 40 + b"\n"
TEXT = SECRET.replace("\n", "\r\n").replace(
    "  headers", "  client_cert_file: client.pem\r\n  client_key_file: client-key.pem\r\n  headers"
)


@pytest.fixture
def card(tmp_path, monkeypatch):
    machine.need_machine()
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "card_guest.py").symlink_to(Path(__file__).with_name("intake_guest.py"))
    monkeypatch.setattr(machine, "HERE", folder)
    files = {"kiosk.yaml": TEXT.encode(), "client-key.pem": KEY, "client.pem": b"a certificate"}
    return machine.make_card(tmp_path / "card.img", tmp_path, root=b"", fat_files=files)


def start(card):
    said = {name: value for line in machine.run(card, "intake") for name, value in line.items()}
    return said["result"], said["kiosk"]


def test_secrets_are_gone_from_a_real_card_and_its_tables_are_untouched(card, tmp_path):
    at = f"{card}@@{machine.FAT_AT}"
    listed = machine.tool("mdir", "-i", at, "::")

    result, kiosk = start(card)

    assert result["ok"], result["findings"]
    assert not [text for text in result["warnings"] if "still on the card" in text]
    assert result["secrets_taken"] == 3
    assert TOKEN in kiosk
    fat = machine.get(card, machine.FAT_AT, machine.FAT_SIZE)
    for secret in (PASSWORD.encode(), TOKEN.encode(), b"PRIVATE KEY"):
        assert secret not in fat
    assert machine.on_fat(card, "kiosk.yaml").decode() == TEXT.replace(
        PASSWORD, "x" * len(PASSWORD)
    ).replace(TOKEN, "x" * len(TOKEN))
    assert machine.on_fat(card, "client-key.pem") == b"x" * len(KEY)
    assert machine.tool("mdir", "-i", at, "::") == listed
    assert machine.check_fat(card, tmp_path) == ""

    # The technician changes the price, and leaves the rest as it is.
    edited = tmp_path / "kiosk.yaml"
    edited.write_bytes(machine.on_fat(card, "kiosk.yaml").replace(b"15000", b"9000"))
    machine.tool("mcopy", "-o", "-i", at, edited, "::")
    result, kiosk = start(card)

    assert result["taken"], result["findings"]
    assert TOKEN in kiosk
    assert "9000" in kiosk
