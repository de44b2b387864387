"""What a start makes of the card: a right file comes in force, a wrong one is answered."""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import trustme
from appliance import intake
from appliance.card import CardError
from cards import GOOD, PASSWORD, SECRET, TOKEN, Card

from kiosk.settings import PanelSettings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"


@pytest.fixture
def card(tmp_path):
    return Card(tmp_path)


@pytest.fixture(scope="module")
def pems():
    ca = trustme.CA()
    client = ca.issue_cert("kiosk@shop.example")
    return {
        "box-ca.pem": ca.cert_pem.bytes(),
        "client.pem": client.cert_chain_pems[0].bytes(),
        "client-key.pem": client.private_key_pem.bytes(),
    }


FILES = (
    "gateway:\n  url: https://box.example\n  ca_file: box-ca.pem\n"
    "  client_cert_file: client.pem\n  client_key_file: client-key.pem\noffer: {amount_sum: 1500}\n"
)


def test_a_right_file_comes_in_force(card):
    result = card.put(GOOD).start()

    assert result.ok
    assert result.taken
    assert result.in_force
    assert result.trouble is None
    assert result.secrets_taken == 0
    assert card.in_force.offer.amount_sum == 15000
    assert (card.fat / "kiosk.yaml").read_text() == GOOD
    assert result.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


def test_a_second_start_has_nothing_to_do(card):
    card.put(SECRET).start()

    result = card.start()

    assert result.ok
    assert not result.taken
    assert result.secrets_taken == 0
    assert card.written == ["kiosk.yaml"]


def test_secrets_leave_the_card_and_stay_with_the_kiosk(card):
    result = card.put(SECRET).start()

    left = (card.fat / "kiosk.yaml").read_text()
    assert left == SECRET.replace(PASSWORD, "x" * len(PASSWORD)).replace(TOKEN, "x" * len(TOKEN))
    assert result.secrets_taken == 2
    assert card.in_force.gateway.headers == {"X-Api-Key": TOKEN}
    assert card.rendered("wpa_supplicant/kiosk.conf")


def test_the_password_of_the_network_is_for_root_alone(card):
    card.put(SECRET).start()

    etc = card.places.config
    holders = {
        path.relative_to(etc / "current").as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in (etc / "current").rglob("*")
        if path.is_file() and PASSWORD in path.read_text()
    }
    assert holders == {"taken/whole.yaml": 0o600, "taken/secrets.json": 0o600}
    assert card.mode(etc / "current/taken") == 0o700
    assert card.mode(etc / "kiosk.yaml") == 0o640
    assert card.mode(etc / "board.yaml") == 0o644
    assert card.mode(etc / "keys") == 0o750
    assert card.mode(card.places.run / "wpa_supplicant/kiosk.conf") == 0o600
    assert PASSWORD not in card.rendered("wpa_supplicant/kiosk.conf")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_the_payment_process_reads_belongs_to_its_group(card, pems):
    for name, data in pems.items():
        card.put(data, name)
    card.put(FILES).start(group=54321)

    folder = (card.places.config / "current").resolve()
    groups = {p.relative_to(folder).as_posix(): p.stat().st_gid for p in folder.rglob("*")}
    given = {name for name, group in groups.items() if group == 54321}
    assert given == {"kiosk.yaml", "board.yaml", "keys", *(f"keys/{name}" for name in pems)}


def test_only_x_keeps_what_the_kiosk_has(card):
    card.put(SECRET).start()
    left = (card.fat / "kiosk.yaml").read_text()

    result = card.put(left.replace("15000", "20000").replace("Shop", "Shop 2")).start()

    assert result.ok
    assert result.taken
    assert card.in_force.offer.amount_sum == 20000
    assert card.in_force.gateway.headers == {"X-Api-Key": TOKEN}
    assert b"Shop 2".hex() in card.rendered("wpa_supplicant/kiosk.conf")
    assert card.start().ok


def test_a_new_secret_takes_the_place_of_the_kept_one(card):
    card.put(SECRET).start()
    left = (card.fat / "kiosk.yaml").read_text()

    card.put(left.replace("x" * len(TOKEN), "another-token")).start()

    assert card.in_force.gateway.headers == {"X-Api-Key": "another-token"}
    assert "another-token" not in (card.fat / "kiosk.yaml").read_text()
    assert not [p for p in card.places.data.rglob("*") if p.is_file() and TOKEN in p.read_text()]


def test_another_kiosks_card_asks_for_the_secrets_again(card):
    left = SECRET.replace(PASSWORD, "xxxxxxxx").replace(TOKEN, "xxx")

    result = card.put(left).start()

    assert not result.ok
    assert not result.in_force
    assert result.trouble == "config"
    assert result.findings == [
        "kiosk.yaml:3: gateway.headers.X-Api-Key: was taken off this card, and this kiosk does "
        "not have it; write it in again",
        "kiosk.yaml:8: device.wifi_password: was taken off this card, and this kiosk does not "
        "have it; write it in again",
    ]


def test_a_wrong_file_leaves_the_one_in_force(card):
    card.put(GOOD).start()

    result = card.put(GOOD.replace("15000", "-5")).start()

    assert not result.ok
    assert result.in_force
    assert result.trouble == "config"
    assert "kiosk.yaml:4: offer.amount_sum: -5 is out of range" in result.findings[0]
    assert card.in_force.offer.amount_sum == 15000
    assert card.put(GOOD).start().ok


WRONG = [
    (b"", "kiosk.yaml: holds no settings"),
    (b"\n\n", "kiosk.yaml: holds no settings"),
    (GOOD.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    (GOOD.encode() + "# Ўзбек".encode("cp1251"), "is no UTF-8; save it as UTF-8"),
    (GOOD.encode() + b"#" * 300_000, "is larger than 256 KiB"),
    (GOOD.replace("  ", "\t").encode(), "a tab in the indentation"),
    (b"PK\x03\x04" + bytes(range(256)), "is no UTF-8"),
    (b"{\\rtf1\\ansi gateway: url}", "kiosk.yaml"),
    (b"a: [" * 1000, "kiosk.yaml"),
    ((GOOD + "jurnal:\n  path: /a\n").encode(), "did you mean journal?"),
    ((GOOD + "journal:\n  path: /mnt/j.db\n").encode(), "kiosk.yaml:6: journal.path: /mnt/j.db "
     "cannot be; on the card it is /var/lib/kiosk/journal.db; delete the line"),
    ((GOOD + "journal:\n  path: journal.db\n").encode(), "on the card it is /var/lib/kiosk/"),
    ((GOOD + "control:\n  socket: /tmp/a\n").encode(), "kiosk.yaml:6: control.socket: /tmp/a"),
    ((GOOD + "scanner:\n  socket: /tmp/a\n").encode(), "kiosk.yaml:6: scanner.socket: /tmp/a"),
    ((GOOD + "panel:\n  pin_factory: pigpio\n").encode(), "pigpio is not on the card"),
    ((GOOD + "camera:\n  backend: replay\n  path: frames\n").encode(), "cannot read files on this"),
    (FILES.encode(), "gateway.ca_file: box-ca.pem is not on the card beside kiosk.yaml"),
    (FILES.replace("box-ca.pem", "/etc/kiosk/box-ca.pem").encode(), "kiosk.yaml:3: gateway.ca_file:"
     " /etc/kiosk/box-ca.pem is not beside kiosk.yaml; copy the file there"),
    (FILES.replace("box-ca.pem", "a/b.pem").encode(), "is not beside kiosk.yaml"),
    (FILES.replace("box-ca.pem", "../b.pem").encode(), "is not beside kiosk.yaml"),
    (FILES.replace("box-ca.pem", ".b.pem").encode(), "is not beside kiosk.yaml"),
    (SECRET.replace(PASSWORD, '"one\n    two three"').encode(), "kiosk.yaml:8: device.wifi_password"
     " runs over several lines; write it on one, in quotes"),
]  # fmt: skip  # a table, one case a line


@pytest.mark.parametrize(("content", "expected"), WRONG)
def test_whatever_is_on_the_card_is_answered_with_a_sentence(card, content, expected):
    result = card.put(content).start()

    assert not result.ok
    assert not result.in_force
    assert any(expected in finding for finding in result.findings), result.findings
    assert not any("could not be taken" in finding for finding in result.findings)
    assert (card.fat / "kiosk.yaml").read_bytes() == content
    assert not (card.places.config / "kiosk.yaml").exists()


@pytest.mark.parametrize("is_folder", [True, False])
def test_without_a_file_it_says_so(card, is_folder):
    if is_folder:
        (card.fat / "kiosk.yaml").mkdir()

    (finding,) = card.start().findings

    assert finding == (
        "kiosk.yaml cannot be read: Is a directory"
        if is_folder
        else "kiosk.yaml is not on the card; copy it there again"
    )


@pytest.mark.parametrize(
    "name", ["kiosk.yaml.txt", "kiosk.yml", "Kiosk (1).YAML", "kiosk.txt", "kiosk - copy.yaml"]
)
def test_a_file_with_nearly_the_name_is_named(card, name):
    card.put(GOOD, name).put("x", "kiosk-status.txt").put("x", "._kiosk.yaml")

    (finding,) = card.start().findings

    if " - " not in name:
        assert finding.endswith(f", or give {name} the name kiosk.yaml")


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_of_any_editor_is_fine(card, ends, mark):
    card.put("Mac OS X", "._kiosk.yaml")
    content = mark + SECRET.replace("\n", ends).encode()

    result = card.put(content).start()

    assert result.ok
    left = (card.fat / "kiosk.yaml").read_bytes()
    assert len(left) == len(content)
    assert left == content.replace(PASSWORD.encode(), b"x" * len(PASSWORD)).replace(
        TOKEN.encode(), b"x" * len(TOKEN)
    )
    assert card.in_force.gateway.headers == {"X-Api-Key": TOKEN}


def test_files_beside_it_are_taken_along(card, pems):
    for name, data in pems.items():
        card.put(data, name)

    result = card.put(FILES).start()

    assert result.ok, result.findings
    assert result.secrets_taken == 1
    keys = card.places.config / "keys"
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == pems
    assert card.in_force.gateway.client_key_file == str(keys / "client-key.pem")
    assert (card.fat / "client-key.pem").read_bytes() == b"x" * len(pems["client-key.pem"])
    assert (card.fat / "client.pem").read_bytes() == pems["client.pem"]
    # What is on the card now, or nothing of it, means what the kiosk has.
    for name in pems:
        assert not card.start().taken
        (card.fat / name).unlink()
    changed = card.put(FILES.replace("1500", "2500")).start()
    assert changed.ok, changed.findings
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == pems


def test_a_renewed_certificate_is_noticed(card, pems):
    for name, data in pems.items():
        card.put(data, name)
    card.put(FILES).start()
    renewed = trustme.CA().cert_pem.bytes()

    assert card.put(renewed, "box-ca.pem").start().taken

    assert (card.places.config / "keys/box-ca.pem").read_bytes() == renewed


BAD_FILES = [
    ("client-key.pem", b"", "gateway.client_key_file: client-key.pem is empty"),
    ("client-key.pem", b"xxxxx\n", "was taken off this card by another kiosk; copy it there"),
    ("box-ca.pem", b"-" * 70_000, "box-ca.pem is too large"),
    ("box-ca.pem", b"no certificate", "kiosk.yaml: gateway.ca_file: box-ca.pem: "),
    ("client-key.pem", b"no key", "kiosk.yaml: gateway.client_cert_file: client.pem, client-key"),
    ("client.pem", None, "gateway.client_cert_file: client.pem cannot be read: Is a directory"),
]


@pytest.mark.parametrize(("name", "data", "expected"), BAD_FILES)
def test_a_file_that_cannot_be_used_is_refused(card, pems, name, data, expected):
    for each, good in pems.items():
        card.put(good, each)
    (card.fat / name).unlink()
    if data is None:
        (card.fat / name).mkdir()
    else:
        card.put(data, name)

    result = card.put(FILES).start()

    assert not result.in_force
    assert any(expected in finding for finding in result.findings), result.findings
    assert str(card.root) not in "".join(result.findings)


def test_the_key_of_another_certificate_is_refused_and_the_old_pair_stays(card, pems):
    for name, data in pems.items():
        card.put(data, name)
    card.put(FILES).start()
    other = trustme.CA().issue_cert("a@b.example").private_key_pem.bytes()

    result = card.put(other, "client-key.pem").start()

    assert not result.ok
    assert result.in_force
    assert (card.places.config / "keys/client-key.pem").read_bytes() == pems["client-key.pem"]
    assert (card.fat / "client-key.pem").read_bytes() == other


def test_one_file_for_certificate_and_key_leaves_the_card_too(card, pems):
    card.put(pems["client.pem"] + pems["client-key.pem"], "both.pem")
    text = FILES.replace("  ca_file: box-ca.pem\n", "")

    result = card.put(text.replace("client.pem", "both.pem").replace("client-key.pem", "both.pem"))

    assert result.start().ok
    assert not (card.fat / "both.pem").read_bytes().strip(b"x")


def test_where_the_card_cannot_be_written_the_kiosk_sells_and_says_so(card):
    def refuse(path, data):
        raise CardError("kiosk.yaml: the card is locked")

    result = card.put(SECRET).start(overwrite=refuse)

    assert result.ok
    assert "secrets are still on the card: kiosk.yaml: the card is locked" in result.warnings
    again = card.start()
    assert again.secrets_taken == 2
    assert not again.taken
    assert TOKEN not in (card.fat / "kiosk.yaml").read_text()


def test_without_the_data_partition_nothing_is_taken(card):
    result = card.put(SECRET).start(is_mounted=lambda path: False)

    assert not result.ok
    assert not result.in_force
    assert result.trouble == "data"
    assert (card.fat / "kiosk.yaml").read_text() == SECRET
    assert [path.name for path in card.places.data.iterdir()] == ["kiosk"]


def test_a_data_partition_that_cannot_be_written_leaves_the_secrets_on_the_card(card, monkeypatch):
    card.put(GOOD).start()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = card.put(SECRET).start()

    assert result.trouble == "data"
    assert result.findings == ["the data partition cannot be written: No space left on device"]
    assert (card.fat / "kiosk.yaml").read_text() == SECRET
    assert card.in_force.gateway.headers == {}
    monkeypatch.undo()
    assert card.start().ok


def test_what_was_kept_and_cannot_be_read_is_asked_for_again(card):
    card.put(SECRET).start()
    (card.places.config / "current/taken/secrets.json").write_text("{")

    result = card.start()

    assert result.in_force
    assert any("write it in again" in finding for finding in result.findings)
    assert card.rendered("systemd/network/20-kiosk-ethernet.network")
    assert card.rendered("wpa_supplicant/kiosk.conf") is None
    assert card.put(SECRET).start().ok


def test_a_configuration_of_a_later_version_is_named(card):
    card.put(GOOD).start()
    etc = card.places.config
    (etc / "kiosk.yaml").write_text(GOOD + "tomorrow:\n  key: 1\n")

    result = card.start()

    assert not result.in_force
    assert result.findings[0].startswith("in force: kiosk.yaml:5: tomorrow: unknown key")


def test_a_mistake_of_ours_is_no_traceback_and_quotes_nothing(card, monkeypatch):
    card.put(GOOD).start()
    monkeypatch.setattr("appliance.taking.split", lambda tree: tree[PASSWORD])

    result = card.put(SECRET).start()

    assert result.findings == ["kiosk.yaml could not be taken: KeyError"]
    assert result.in_force


def test_a_machine_that_cannot_be_set_up_still_has_a_result(card, monkeypatch):
    monkeypatch.setattr("appliance.network.files_for", lambda device: {}["nothing"])

    result = card.put(GOOD).start()

    assert result.ok
    assert result.warnings == ["the network was not set up: KeyError: 'nothing'"]


def test_what_is_allowed_and_deserves_a_look_is_told(card):
    result = card.put(GOOD + "confirm:\n  mode: automatic\n").start()

    assert result.ok
    assert any(text.startswith("confirm.mode: automatic charges") for text in result.warnings)


def test_the_machine_gets_its_name_and_its_way_in(card):
    text = f"{GOOD}device:\n  host_name: kiosk-3\n  ssh_keys: ['{KEY} dilnoza']\n"

    card.put(text).start()

    assert card.places.host_name.read_text() == "kiosk-3\n"
    assert card.rendered("kiosk-intake/authorized_keys") == f"{KEY} dilnoza\n"
    assert "tcp dport 22 accept" in card.rendered("kiosk-intake/nftables.nft")
    # And neither, once the key is gone from the file.
    card.put(GOOD).start()
    assert card.places.host_name.read_text() == "kiosk\n"
    assert card.rendered("kiosk-intake/authorized_keys") is None
    assert "dport 22" not in card.rendered("kiosk-intake/nftables.nft")


def test_a_name_that_the_kernel_does_not_take_is_told(card):
    card.places.host_name.unlink()
    card.places.host_name.mkdir()

    assert "device.host_name: Is a directory" in card.put(GOOD).start().warnings


def test_without_ssh_keygen_there_is_no_way_in_and_the_kiosk_sells(card, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    result = card.put(f"{GOOD}device:\n  ssh_keys: ['{KEY}']\n").start()

    assert result.ok
    assert any(text.startswith("device.ssh_keys: no host key") for text in result.warnings)
    assert card.rendered("kiosk-intake/authorized_keys") is None


@pytest.mark.parametrize(
    ("panel", "led_pin"),
    [("panel:\n  led_pin: 5\n", 5), ("panel:\n  led_pin: 99\n", 17), ("panel: 7\n", 17), ("", 17)],
)
def test_the_lamp_is_found_in_a_file_that_is_wrong_elsewhere(card, panel, led_pin):
    result = card.put(f"gateway:\n  url: nowhere\n{panel}").start()

    assert result.panel["led_pin"] == led_pin
    assert set(result.panel) == set(PanelSettings.__struct_fields__)


def test_a_wrong_file_does_not_move_the_lamp_of_the_one_in_force(card):
    card.put(GOOD + "panel:\n  led_pin: 6\n").start()

    assert card.put("panel:\n  led_pin: 5\n").start().panel["led_pin"] == 6


def test_it_runs_on_the_card_as_a_command(card, monkeypatch, capsys):
    monkeypatch.setattr(intake, "Places", lambda: card.places)
    monkeypatch.setitem(intake.run.__kwdefaults__, "is_mounted", Path.is_dir)
    monkeypatch.setattr(
        intake.grp, "getgrnam", lambda name: type("Group", (), {"gr_gid": os.getegid()})
    )
    card.put("gateway: 1\n")

    assert intake.main() == 0

    assert "kiosk.yaml:1: gateway: 1 is a number" in capsys.readouterr().err
    assert json.loads(card.rendered("kiosk-intake/result.json"))["ok"] is False


def test_a_journal_that_a_repair_lost_is_trouble_and_the_configuration_comes_in_force(card):
    shutil.rmtree(card.places.data / "kiosk")

    result = card.put(GOOD).start()

    assert result.trouble == "data"
    assert result.findings == ["the journal is gone from the data partition; see Data"]
    assert card.in_force.offer.amount_sum == 15000


def test_what_is_sold_is_told_with_its_request_and_without_secrets(card):
    result = card.put(SECRET).start()

    [line] = result.sells
    assert "15 000 so'm  ->  POST http://192.168.1.50:8080/payment/payme" in line
    assert '{"amount":15000' in line


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("http://fiscal.local:8080", True),
        ("https://fiscal.local", True),
        ("http://fiscal.local./api", True),
        ("http://fiscal.localnet", False),
        ("http://local:8080", False),
        ("http://192.168.1.50/x.local/", False),
    ],
)
def test_a_name_that_only_multicast_knows_is_refused(card, url, is_refused):
    result = card.put(GOOD.replace("http://192.168.1.50:8080", url)).start()

    assert ("gateway.url: a name that ends in .local" in " ".join(result.findings)) == is_refused
