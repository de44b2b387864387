"""The short way of a start: what the whole way would write, or the whole way."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from appliance import again, intake
from cards import GOOD, SECRET, TOKEN, Card

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
DEVICE = f"device:\n  host_name: kiosk-7\n  ssh_keys: [{KEY}]\n"
FILES = "gateway:\n  url: https://box.example\n  ca_file: ca.pem\noffer: {amount_sum: 1500}\n"


@pytest.fixture
def card(tmp_path):
    found = Card(tmp_path)
    os.chown(tmp_path / "data/kiosk", 701, 701)
    return found


def short(card):
    return again.again(str(card.places.data), is_mounted=True)


def below_run(card):
    """Everything below /run with its mode, without the time of the result."""
    found = {}
    for path in sorted(card.places.run.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "result.json":
                data = {**json.loads(data), "at": ""}
            found[str(path.relative_to(card.places.run))] = (card.mode(path), data)
    return found


def switched_off(card):
    shutil.rmtree(card.places.run)
    card.places.run.mkdir()
    card.places.host_name.write_text("kiosk\n")


@pytest.mark.parametrize("text", [GOOD, SECRET, GOOD + DEVICE])
def test_it_writes_what_the_whole_way_writes(card, text):
    card.put(text).start()
    switched_off(card)
    card.start()
    whole, name = below_run(card), card.places.host_name.read_text()
    switched_off(card)

    assert short(card)

    assert below_run(card) == whole
    assert card.places.host_name.read_text() == name


def test_the_first_start_is_enough_and_nothing_is_called_new_afterwards(card):
    assert card.put(SECRET).start().secrets_taken == 2
    switched_off(card)

    assert short(card)

    told = json.loads(card.rendered("kiosk-intake/result.json"))
    assert (told["ok"], told["taken"], told["secrets_taken"]) == (True, False, 0)
    assert told["at"].endswith("+00:00")
    assert card.rendered("kiosk-intake/well") == ""


def test_what_an_earlier_run_left_goes(card):
    card.put(GOOD).start()
    left = card.places.run / intake.AUTHORIZED
    left.write_text(KEY)

    assert short(card)
    assert not left.exists()


def change_text(card):
    card.put(GOOD.replace("15000", "25000"))


def change_neighbour(card):
    card.put("-----BEGIN CERTIFICATE-----\nother\n", "ca.pem")


def remove_neighbour(card):
    (card.fat / "ca.pem").unlink()


def change_in_force(card):
    (card.places.config / "current/board.yaml").write_text("camera: {}\n# another\n")


def lose_journal(card):
    os.chown(card.places.data / "kiosk", 0, 0)


def lose_folder(card):
    (card.places.data / "kiosk").rmdir()


def lose_rendering(card):
    (card.places.data / again.KEPT).unlink()


@pytest.mark.parametrize(
    "change", [change_text, change_in_force, lose_journal, lose_folder, lose_rendering]
)
def test_whatever_changed_takes_the_whole_way(card, change):
    card.put(GOOD).start()
    change(card)

    assert not short(card)


@pytest.mark.parametrize("change", [change_neighbour, remove_neighbour])
def test_a_neighbour_of_kiosk_yaml_counts(card, tmp_path, change):
    import trustme

    card.put(FILES).put(trustme.CA().cert_pem.bytes(), "ca.pem").start()
    assert short(card)
    change(card)

    assert not short(card)


def test_another_system_takes_the_whole_way(card, monkeypatch):
    card.put(GOOD).start()
    monkeypatch.setattr(again, "system", lambda *_: b"another one")

    assert not short(card)


def test_a_host_key_that_was_lost_is_made_anew(card):
    card.put(GOOD + DEVICE).start()
    (card.places.data / "ssh/ssh_host_ed25519_key").unlink()

    assert not short(card)


def test_without_the_data_partition_it_does_nothing(card):
    card.put(GOOD).start()

    assert not again.again(str(card.places.data), is_mounted=False)


def test_every_cut_of_what_was_kept_takes_the_whole_way(card):
    card.put(SECRET).start()
    path = card.places.data / again.KEPT
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not short(card)
    path.write_bytes(whole)
    assert short(card)


@pytest.mark.parametrize("text", [GOOD.replace("15000", "0"), "gateway: [\n"])
def test_what_was_refused_is_looked_at_at_each_start(card, text):
    card.put(GOOD).start()
    card.put(text).start()

    assert not short(card)
    assert card.rendered("kiosk-intake/well") is None


def test_a_card_that_could_not_be_written_is_tried_again(card):
    def refuses(path, data):
        raise OSError(5, "Input/output error")

    card.put(SECRET).start(overwrite=refuses)

    assert not short(card)


def test_a_full_data_partition_only_costs_time(card, monkeypatch):
    real = os.rename

    def full(old, new):
        if str(new).endswith("rendered"):
            raise OSError(28, "No space left on device")
        real(old, new)

    monkeypatch.setattr(os, "rename", full)

    assert card.put(GOOD).start().ok
    assert not short(card)
    assert not (card.places.data / f"{again.KEPT}.new").exists()


def test_it_is_for_root_alone_and_goes_with_its_set(card):
    card.put(SECRET).start()
    path = card.places.data / again.KEPT
    assert TOKEN.encode() in path.read_bytes()
    assert card.mode(path) == 0o600
    assert card.mode(path.parent) == 0o700
    first = path.resolve()

    card.put(SECRET.replace("15000", "16000")).start()

    assert not first.exists()


@pytest.mark.parametrize("module", ["json", "pathlib", "re", "typing", "msgspec"])
def test_it_loads_nothing_that_it_can_spare(module):
    script = f"import sys; from appliance import again; sys.exit({module!r} in sys.modules)"

    here = {"PYTHONPATH": "image-build"}
    done = subprocess.run([sys.executable, "-S", "-c", script], env=here, check=False)

    assert done.returncode == 0


@pytest.mark.parametrize(("is_short", "code"), [(True, 0), (False, 7)])
def test_the_whole_way_is_the_other_one(monkeypatch, is_short, code):
    monkeypatch.setattr(again, "again", lambda: is_short)
    monkeypatch.setattr(intake, "main", lambda: 7)

    assert again.main() == code
