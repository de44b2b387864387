"""`kiosk doctor --bundle`: what helps from afar, of whole and broken kiosks, and no secret."""

import json
import os
import sqlite3
import stat
import tarfile

import pytest
from kiosk_process import CANARY_TOKEN, a_code, leaks_in
from tools import figure

from kiosk.messages import Acknowledge

PARTS = {
    "README.txt",
    "about.json",
    "configuration.txt",
    "doctor.jsonl",
    "files.txt",
    "journal.json",
    "log-counts.txt",
    "log.txt",
    "state.json",
}
PHONE = "998001234567"  # nobody has it
SPOKEN_PHONE = "+998 00 123-45-67"
NOTHING_HIDDEN = """
import kiosk.redaction
kiosk.redaction.Redaction.apply = lambda self, text: text
"""
HIDES_NO_SETTING = """
import kiosk.settings_file
kiosk.settings_file.is_secret = lambda key: False
"""


def parts_of(file):
    with tarfile.open(file) as archive:
        return {
            entry.name.partition("/")[2]: archive.extractfile(entry).read().decode()
            for entry in archive
        }


@pytest.fixture
def journald(tmp_path):
    """A system log that says what it is given; the kiosk asks the program of this name."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def says(*lines):
        (folder / "said").write_text("".join(f"{line}\n" for line in lines))
        program = folder / "journalctl"
        program.write_text(f'#!/bin/sh\nexec cat "{folder}/said"\n')
        program.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return says


@pytest.fixture
def bundle_of(tmp_path):
    """Runs the command beside a kiosk; what it left, and how it ended."""
    file = tmp_path / "bundle.tar.gz"

    def make(kiosk, *, code, env=()):
        file.unlink(missing_ok=True)
        done = kiosk.run("doctor", "--json", "--bundle", str(file), env=env)
        assert done.returncode == code, done.stdout + done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {
            "bundle": str(file),
            "bytes": file.stat().st_size,
        }
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        return parts_of(file)

    return make


@pytest.fixture
def careless_log(journald):
    """A log as no kiosk writes it: with a code, phone numbers, the token and a payment id."""
    code, payment_id = a_code(), "696e0246c9a128176d5934d8"
    line = {"level": "info", "log": "x", "message": "careless", "code": code, "phone": PHONE}
    return journald(
        json.dumps(line),
        json.dumps({"level": "info", "log": "x", "message": "careless"}),
        f"somebody else: {CANARY_TOKEN}, {SPOKEN_PHONE}, {payment_id}, https://me:pass@box/",
    )


def sold_one_and_lost_one(kiosk, gateway):
    kiosk.pay(a_code())
    kiosk.ready()
    gateway.set_fault("hang-up-charged", times=1)
    lost = kiosk.pay(a_code())
    kiosk.control.command(Acknowledge())
    kiosk.ready()
    return lost.intent


def secrets_in(parts):
    found = [secret for text in parts.values() for secret in leaks_in(text)]
    for word in (PHONE, SPOKEN_PHONE, "696e0246c9a128176d5934d8", "me:pass"):
        found += [word for text in parts.values() if word in text]
    return found


def test_a_running_kiosk_tells_all_that_helps_and_nothing_secret(
    kiosk, gateway, bundle_of, careless_log
):
    lost = sold_one_and_lost_one(kiosk, gateway)

    parts = bundle_of(kiosk, code=1, env=careless_log)  # 1: a payment waits for staff

    assert parts.keys() == PARTS
    assert secrets_in(parts) == []
    journal = json.loads(parts["journal.json"])
    assert journal["integrity_check"] == ["ok"]
    assert journal["payments"] == {"approved": 1, "unknown": 1}
    assert [payment["intent"] for payment in journal["unresolved"]] == [lost]
    assert json.loads(parts["state.json"])["state"] == "ready"
    assert "gateway.headers.X-Api-Key: (hidden)" in parts["configuration.txt"]
    assert json.loads(parts["about.json"])["packages"]["urllib3"]
    assert "journal.db-wal" in parts["files.txt"]
    assert "2  info  x  careless" in parts["log-counts.txt"]
    checks = {json.loads(line)["check"] for line in parts["doctor.jsonl"].splitlines()}
    assert {"clock", "disk", "journal", "gateway", "kiosk"} <= checks
    assert kiosk.pay(a_code()).outcome == "approved"  # nobody was disturbed
    figure(
        f"support bundle: {len(parts)} parts, {sum(map(len, parts.values()))} characters,"
        " 0 codes, phones, tokens or payment ids, 5 planted in the log"
    )


@pytest.mark.parametrize(
    ("fault", "shows"),
    [(NOTHING_HIDDEN, {"log.txt"}), (HIDES_NO_SETTING + NOTHING_HIDDEN, {"configuration.txt"})],
)
def test_control_a_bundle_that_hides_nothing_is_noticed(
    kiosk, gateway, bundle_of, careless_log, plant, fault, shows
):
    sold_one_and_lost_one(kiosk, gateway)

    parts = bundle_of(kiosk, code=1, env={**careless_log, **plant(fault)})

    assert secrets_in(parts)
    assert shows <= {name for name, text in parts.items() if leaks_in(text)}


def test_a_kiosk_that_is_off_is_told_of_as_well(kiosk_at, gateway, bundle_of):
    kiosk = kiosk_at(gateway.url, camera={"path": "nothing-there.png"})

    parts = bundle_of(kiosk, code=1)

    assert "no kiosk answers" in parts["state.json"]
    assert "there is no journal" in parts["journal.json"]
    assert '"check": "camera"' in parts["doctor.jsonl"]


def test_a_damaged_journal_is_in_it_and_stays_as_it_is(kiosk, gateway, bundle_of):
    sold_one_and_lost_one(kiosk, gateway)
    assert kiosk.stop() == 0
    spoilt = b"no database" * 1000
    kiosk.journal_path.write_bytes(spoilt)

    parts = bundle_of(kiosk, code=1)

    assert "damaged" in parts["journal.json"]
    assert kiosk.journal_path.read_bytes() == spoilt
    assert str(len(spoilt)) in parts["files.txt"]


def test_a_page_that_is_damaged_is_named(kiosk, gateway, bundle_of):
    for _ in range(3):
        kiosk.pay(a_code())
        kiosk.ready()
    assert kiosk.stop() == 0
    with sqlite3.connect(kiosk.journal_path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'row_of_intent'")
        page = root.fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with kiosk.journal_path.open("r+b") as file:
        file.seek((page - 1) * size + 8)
        file.write(b"\xff" * 64)

    parts = bundle_of(kiosk, code=1)

    assert "damaged" in parts["journal.json"]
    assert '"check": "journal", "ok": false' in parts["doctor.jsonl"]
    assert secrets_in(parts) == []


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {url: 'http://127.0.0.1:9', headers: {X-Api-Key: TOKEN, Y: [TOKEN]}}\nofer: {}\n",
        "gateway:\n  headers:\n    X-Api-Key: 'TOKEN'\n  url: TOKEN\noffer: {amount_sum: free}\n",
        "gateway: {headers: {X-Api-Key: TOKEN\noffer: [\n",
        "gateway:\n  headers:\n    X-Api-Key: Bearer TOKEN\n    X-Api-Key: TOKEN\n",
    ],
)
def test_a_configuration_that_does_not_load_is_in_it_without_its_secrets(
    kiosk_at, bundle_of, text, journald
):
    kiosk = kiosk_at("http://127.0.0.1:9")
    kiosk.config.write_text(text.replace("TOKEN", CANARY_TOKEN))

    parts = bundle_of(kiosk, code=1, env=journald(f"a line with {CANARY_TOKEN}"))

    assert parts["configuration.txt"].startswith("it does not load:")
    assert "a line with (hidden)" in parts["log.txt"]
    assert secrets_in(parts) == []


def test_no_file_is_written_over(kiosk_at, tmp_path):
    kiosk = kiosk_at("http://127.0.0.1:9")
    there = tmp_path / "there"
    there.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")

    for file in (there, link, tmp_path / "no-folder" / "bundle.tar.gz"):
        done = kiosk.run("doctor", "--bundle", str(file))
        assert done.returncode == 2
        assert str(file) in done.stderr
    assert there.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()
