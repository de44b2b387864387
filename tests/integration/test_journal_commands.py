"""`kiosk journal ...` on a record that the real process wrote."""

import csv
import io
import json

import pytest
from kiosk_process import a_code

from kiosk.messages import Acknowledge, Ok
from kiosk.sandbox.gateway import SandboxGateway

FIELDS = [
    *("intent", "offer", "amount_sum", "outcome", "at"),
    *("payment_id", "transaction_id", "flags", "resolved_by"),
]


@pytest.fixture
def morning(kiosk_at):
    """Approved, declined, unknown and not sent, in this order; the kiosk goes on running."""
    poor = a_code()
    with SandboxGateway(decline=frozenset({poor})) as gateway:
        kiosk = kiosk_at(
            gateway.url, confirm={"mode": "automatic"}, offer={"label": "=1+1|Tea"}
        ).start()
        kiosk.gateway = gateway
        assert kiosk.pay(a_code()).outcome == "approved"
        assert kiosk.pay(poor).outcome == "declined"
        kiosk.ready()
        gateway.set_fault("hang-up-charged", times=1)
        assert kiosk.pay(a_code()).outcome == "unknown"
        assert kiosk.control.command(Acknowledge()) == Ok()
        kiosk.ready()
        gateway.set_fault("accept-hang-up")
        assert kiosk.pay(a_code()).outcome == "not_sent"
        gateway.set_fault(None)
        yield kiosk


def test_list_show_export_totals_unresolved_resolve(morning, tmp_path):
    kiosk = morning
    entries = kiosk.as_json("journal", "list")
    assert [e["outcome"] for e in entries] == ["approved", "declined", "unknown", "not_sent"]
    assert list(entries[0])[: len(FIELDS)] == FIELDS
    charge = kiosk.gateway.ledger.charges[0]
    assert entries[0]["payment_id"] == charge.payment_id
    assert entries[0]["transaction_id"] == charge.transaction_id
    assert entries[0]["amount_sum"] == 1000
    assert entries[0]["at"].endswith("+00:00")
    unknown = entries[2]["intent"]

    plain = kiosk.run("journal", "list")
    assert plain.returncode == 0
    assert charge.payment_id in plain.stdout

    rows = kiosk.as_json("journal", "show", unknown)
    assert [row["kind"] for row in rows] == ["sending", "unknown"]
    assert kiosk.run("journal", "show", unknown).returncode == 0
    missing = kiosk.run("journal", "show", "NO-SUCH")
    assert missing.returncode == 1
    assert "there is no payment NO-SUCH" in missing.stderr

    (waiting,) = kiosk.as_json("journal", "unresolved")
    assert waiting["intent"] == unknown
    advice = kiosk.run("journal", "unresolved").stdout
    assert f"kiosk journal resolve {unknown}" in advice

    (totals,) = kiosk.as_json("journal", "totals")
    assert totals["approved"] == {"count": 1, "amount_sum": 1000}
    assert totals["declined"]["count"] == totals["unknown"]["count"] == 1
    assert totals["resolved_approved"]["count"] == 0

    payment_id = kiosk.gateway.ledger.charges[1].payment_id
    done = kiosk.run(
        *("journal", "resolve", unknown, "--outcome", "approved", "--by", "@Dilnoza"),
        *("--why", "cabinet", "--payment-id", payment_id),
    )
    assert done.returncode == 0, done.stderr
    kiosk.control.wait(lambda s: s.unresolved == 0)  # it went through the running kiosk
    assert kiosk.as_json("journal", "unresolved") == []
    (totals,) = kiosk.as_json("journal", "totals")
    assert totals["resolved_approved"] == {"count": 1, "amount_sum": 1000}
    assert totals["unknown"]["count"] == 0

    file = tmp_path / "export.csv"
    assert kiosk.run("journal", "export", "-o", str(file)).returncode == 0
    table = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    assert [line["intent"] for line in table] == [e["intent"] for e in entries]
    assert table[0]["offer"] == "'=1+1|Tea"
    assert table[2]["resolved_by"] == "'@Dilnoza"
    printed = kiosk.run("journal", "export", "--format", "json").stdout
    assert [json.loads(line)["intent"] for line in printed.splitlines()] == [
        e["intent"] for e in entries
    ]
    failed = kiosk.run("journal", "export", "-o", str(tmp_path / "no" / "file.csv"))
    assert failed.returncode == 2
    assert "No such file" in failed.stderr


def test_resolve_without_a_running_kiosk(morning):
    kiosk = morning
    unknown = kiosk.as_json("journal", "unresolved")[0]["intent"]
    kiosk.kill()  # its socket stays behind, and nobody answers there
    words = ("--outcome", "declined", "--by", "Aziz", "--why", "not in the cabinet")
    assert kiosk.run("journal", "resolve", "NO-SUCH", *words).returncode == 1
    done = kiosk.run("journal", "resolve", unknown, *words)
    assert done.returncode == 0, done.stderr
    again = kiosk.run("journal", "resolve", unknown, *words)
    assert again.returncode == 1
    assert "only an unknown payment" in again.stderr
    assert kiosk.kinds(unknown) == ["sending", "unknown", "resolved_declined"]
    kiosk.start()
    assert kiosk.pay(a_code()).outcome == "approved"


def test_writing_is_refused_where_the_kiosk_runs_and_its_socket_is_gone(morning):
    kiosk = morning
    unknown = kiosk.as_json("journal", "unresolved")[0]["intent"]
    (kiosk.folder / "control.sock").unlink()
    done = kiosk.run(
        *("journal", "resolve", unknown, "--outcome", "approved", "--by", "A", "--why", "b")
    )
    assert done.returncode == 4
    assert "in use by another process" in done.stderr
    assert kiosk.run("journal", "init").returncode == 4
    assert kiosk.kinds(unknown) == ["sending", "unknown"]


def test_a_day_is_cut_in_the_merchants_time_zone(morning):
    kiosk = morning
    at = kiosk.as_json("journal", "list")[0]["at"]
    from datetime import datetime
    from zoneinfo import ZoneInfo

    for zone in ("Asia/Tashkent", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        kiosk.write_config(locale={"timezone": zone})
        day = datetime.fromisoformat(at).astimezone(ZoneInfo(zone)).date().isoformat()
        (totals,) = kiosk.as_json("journal", "totals", "--day", day)
        assert (totals["day"], totals["timezone"]) == (day, zone)
        assert totals["approved"]["count"] == 1
    (totals,) = kiosk.as_json("journal", "totals", "--day", "2001-01-01")
    assert totals["approved"]["count"] == 0
    wrong = kiosk.run("journal", "totals", "--day", "yesterday")
    assert wrong.returncode == 2
    assert "no day like" in wrong.stderr


def test_without_a_journal(kiosk_at):
    kiosk = kiosk_at("http://127.0.0.1:9")
    for command in (
        ["list"],
        ["unresolved"],
        ["totals"],
        ["export"],
        ["show", "X"],
        ["resolve", "X", "--outcome", "approved", "--by", "A", "--why", "b"],
    ):
        done = kiosk.run("journal", *command)
        assert done.returncode == 1, command
        assert "there is no journal" in done.stderr
    assert not kiosk.journal_path.exists()
    assert kiosk.run("journal").returncode == 2
    assert kiosk.run("journal", "resolve", "X").returncode == 2


def test_init(kiosk_at):
    kiosk = kiosk_at("http://127.0.0.1:9")
    assert kiosk.run("journal", "init").returncode == 0
    assert kiosk.as_json("journal", "list") == []
    sound = kiosk.run("journal", "init")
    assert sound.returncode == 0
    assert "nothing to do" in sound.stdout

    kiosk.journal_path.write_bytes(b"not a database" * 1000)
    damaged = kiosk.run("journal", "list")
    assert damaged.returncode == 1
    moved = kiosk.run("journal", "init")
    assert moved.returncode == 0
    assert "what was there is kept" in moved.stderr
    (aside,) = kiosk.folder.glob("journal.db.aside-*")
    assert aside.read_bytes() == b"not a database" * 1000
    assert kiosk.as_json("journal", "list") == []
