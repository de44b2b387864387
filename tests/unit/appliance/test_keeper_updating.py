"""One look for an update: found or not, installed or not, always a sentence at most."""

import threading
from contextlib import contextmanager

import pytest
from appliance import slots, update, updating
from appliance.slots import Places
from appliance.update import Bundle, BusyError, UpdateError

from kiosk.messages import State
from kiosk.payment.control import Control

BUNDLE = Bundle("/run/kiosk-stick/kiosk-0.2.0-arm64.raucb", "0.2.0", "kiosk-arm64-debian")
CONFIG = "gateway:\n  url: http://192.168.1.50:8080\noffer:\n  amount_sum: 1\n"
URL = "https://updates.example.uz/kiosk.raucb"


@pytest.fixture
def rauc(monkeypatch, tmp_path):
    """What the rest of the card would find and do, played."""
    found = {"stick": BUNDLE, "passed_over": [], "url": BUNDLE, "installed": []}

    @contextmanager
    def on_sticks():
        yield found["stick"], found["passed_over"]

    def install(source, idle):
        if isinstance(found.get("fails"), Exception):
            raise found["fails"]
        found["installed"].append(source)
        return "installed into slot B, to be tried"

    monkeypatch.setattr(update, "on_sticks", on_sticks)
    monkeypatch.setattr(update, "check_url", lambda url: found["url"])
    monkeypatch.setattr(update, "install", install)
    monkeypatch.setattr(slots, "HERE", Places(run=tmp_path / "run"))
    return found


@pytest.fixture
def config(monkeypatch, tmp_path):
    path = tmp_path / "kiosk.yaml"
    path.write_text(f"{CONFIG}device:\n  update_url: {URL}\n")
    monkeypatch.setattr(updating.from_url, "__defaults__", (path,))
    return path


def test_from_a_stick(rauc, tmp_path, capsys):
    said = tmp_path / "update/said"

    assert updating.main(["sticks"], said) == 0

    told = "0.2.0 from a USB stick: installed into slot B, to be tried\n"
    assert said.read_text() == told == capsys.readouterr().err
    assert rauc["installed"] == [BUNDLE.source]


def test_a_stick_that_brings_nothing_wanted_says_why(rauc):
    rauc["stick"], rauc["passed_over"] = None, ["0.1.0 is not newer than the running 0.1.0"]

    assert updating.look("sticks") == "USB stick: 0.1.0 is not newer than the running 0.1.0"


def test_from_the_address(rauc, config, tmp_path):
    assert updating.main(["url"], tmp_path / "said") == 0

    assert (tmp_path / "said").read_text().startswith("0.2.0: installed")


@pytest.mark.parametrize("where", ["sticks", "url"])
def test_nothing_new_says_nothing_and_leaves_what_was_said(rauc, config, tmp_path, where):
    rauc["stick"] = rauc["url"] = None
    (tmp_path / "said").write_text("earlier\n")

    assert updating.main([where], tmp_path / "said") == 0

    assert (tmp_path / "said").read_text() == "earlier\n"


@pytest.mark.parametrize("text", [CONFIG, "gateway: 5\n"])
def test_without_an_address_nobody_is_asked(rauc, config, text):
    config.write_text(text)

    assert updating.look("url") == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UpdateError("signed by somebody else"), "not installed: signed by somebody else"),
        (BusyError("a payment is under way"), "customers came one after the other"),
        (OSError(5, "Input/output error"), "not installed: [Errno 5]"),
    ],
)
def test_what_fails_is_told(rauc, error, told):
    rauc["fails"] = error

    assert told in updating.look("sticks")


def test_one_at_a_time(rauc):
    with slots.locked(slots.HERE.run / "updating.lock"):
        assert updating.look("sticks") == ""
    assert rauc["installed"] == []


def test_a_wrong_word(capsys):
    assert updating.main(["floppy"]) == 2
    assert "sticks|url" in capsys.readouterr().err


def test_it_waits_for_a_customer_and_not_for_ever(monkeypatch, tmp_path):
    path = tmp_path / "control.sock"
    assert updating.is_idle(path)  # no kiosk runs
    served = Control(path, lambda post: None)
    served.publish(State(state="submitting"))
    assert not updating.is_idle(path, 0.0)
    waits = []

    def waited(seconds):
        waits.append(seconds)
        served.publish(State(state="ready"))

    monkeypatch.setattr(updating.time, "sleep", waited)

    assert updating.is_idle(path)

    served.stop()
    assert set(waits) == {updating.LOOK_EVERY_S}


def test_a_copy_that_is_being_made_is_waited_for(rauc):
    taken = []
    held = slots.locked(slots.HERE.run / "fill.lock")
    held.__enter__()
    looks = threading.Thread(target=lambda: taken.append(updating.look("sticks")))

    looks.start()
    looks.join(0.3)
    assert rauc["installed"] == []
    held.__exit__(None, None, None)
    looks.join(10)

    assert rauc["installed"] == [BUNDLE.source]
    assert "installed into slot B" in taken[0]
