"""The journal moved aside, restored from a backup, or on a replaced card.

Spent codes are imported, never forgotten in silence; a journal that is not the one last in use is
noticed, and the kiosk stays out of service until staff decide.
"""

import shutil
import sqlite3
import time
from types import SimpleNamespace

import pytest
from audit import faults_of
from kiosk_process import Kiosk, a_code
from tools import figure

from kiosk.messages import Acknowledge, Offer, Ok
from kiosk.sandbox.gateway import SandboxGateway

AUTOMATIC = {"mode": "automatic"}
OUT_OF_SIGHT_S = 0.8
UNHURRIED = {"unknown_pause_s": 0, "max_consecutive_unknown": 100}


def out_of_service_for(reason):
    return lambda state: state.state == "out_of_service" and reason in state.reasons


def copy_of(kiosk, folder):
    """As the README says: the whole folder, while the kiosk is stopped."""
    folder.mkdir()
    for part in kiosk.journal_path.parent.glob("journal.db*"):
        shutil.copy2(part, folder / part.name)
    return folder / "journal.db"


def remove(kiosk):
    for part in kiosk.journal_path.parent.glob("journal.db*"):
        part.unlink()


def serves_again(kiosk):
    kiosk.start()
    state = kiosk.control.wait(lambda s: s.state != "out_of_service")
    if state.state == "concluded":
        assert kiosk.control.command(Acknowledge()) == Ok()
    kiosk.ready()


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Two payments, of which one is in doubt; then stopped. Made once, and copied for each test."""
    folder = tmp_path_factory.mktemp("past")
    with SandboxGateway() as gateway:
        kiosk = Kiosk(folder, gateway.url, limits=UNHURRIED, confirm=AUTOMATIC)
        try:
            kiosk.start()
            kiosk.gateway, kiosk.paid, kiosk.doubtful = gateway, a_code(), a_code()
            assert kiosk.pay(kiosk.paid).outcome == "approved"
            kiosk.ready()
            gateway.set_fault("hang-up-charged", times=1)
            assert kiosk.pay(kiosk.doubtful).outcome == "unknown"
            assert kiosk.stop() == 0
        finally:
            kiosk.close()
        yield kiosk


@pytest.fixture
def shop(kiosk_at, past):
    """A kiosk with that past, before the same gateway."""
    kiosk = kiosk_at(past.gateway.url, limits=UNHURRIED, confirm=AUTOMATIC)
    for part in past.journal_path.parent.glob("journal.db*"):
        shutil.copy2(part, kiosk.journal_path.with_name(part.name))
    ledger = past.gateway.ledger
    kiosk.gateway, kiosk.paid, kiosk.doubtful = past.gateway, past.paid, past.doubtful
    kiosk.before = (len(ledger.requests), len(ledger.charges))
    return kiosk


def ledger_of(kiosk):
    """What the gateway saw of this kiosk: its past, and since then."""
    ledger, (requests, charges) = kiosk.gateway.ledger, kiosk.before
    return SimpleNamespace(
        requests=ledger.requests[:2] + ledger.requests[requests:],
        charges=ledger.charges[:2] + ledger.charges[charges:],
    )


def never_again(kiosk):
    """The codes of before are still known, and how they ended."""
    kiosk.show(kiosk.paid, lambda s: s.cue == "not_accepted")
    kiosk.control.wait(lambda s: s.cue == "ready")
    kiosk.show(kiosk.doubtful, lambda s: s.cue == "unknown")
    assert kiosk.control.command(Acknowledge()) == Ok()
    kiosk.ready()
    assert len(ledger_of(kiosk).requests) == 2


def test_moved_aside_and_begun_anew_the_codes_come_along(shop):
    """SQLite reads nothing of it: its first page is gone."""
    before = shop.as_json("journal", "list")
    fold_in(shop.journal_path)
    damage(shop.journal_path, first_byte=0, size=2048)
    shop.start()
    shop.control.wait(out_of_service_for("journal_damaged"))
    shop.stop()

    done = shop.run("journal", "init")

    assert done.returncode == 0
    assert "is new" in done.stderr
    assert "2 spent codes were taken over" in done.stderr
    assert "could not be read whole" in done.stderr
    # The payments come along too: staff still see who waits for them.
    assert shop.as_json("journal", "list") == before
    (waiting,) = shop.as_json("journal", "unresolved")
    assert waiting["intent"] == before[1]["intent"]
    assert before[0]["payment_id"] in str(shop.as_json("journal", "totals")[0]["payments"])
    serves_again(shop)
    never_again(shop)
    # What staff state of the one in doubt is what its customer is told from now on.
    words = ("--outcome", "approved", "--by", "A", "--why", "b")
    assert shop.run("journal", "resolve", waiting["intent"], *words).returncode == 0
    time.sleep(OUT_OF_SIGHT_S)
    shop.show(shop.doubtful, lambda s: s.cue == "not_accepted")
    assert shop.as_json("journal", "unresolved") == []


def test_nothing_that_can_be_read_is_said(shop):
    shop.journal_path.write_bytes(b"\xa5" * shop.journal_path.stat().st_size)
    for suffix in ("-wal", "-shm"):
        shop.journal_path.with_name(f"journal.db{suffix}").unlink(missing_ok=True)

    done = shop.run("journal", "init")

    assert done.returncode == 0
    assert "0 spent codes were taken over" in done.stderr
    assert "could not be read whole" in done.stderr
    assert shop.as_json("journal", "list") == []


def test_one_bit_of_the_wal_of_a_kiosk_whose_power_was_cut(shop):
    """SQLite would say nothing, and forget what was paid last."""
    serves_again(shop)
    later = a_code()
    assert shop.pay(later).outcome == "approved"
    shop.kill()
    before = shop.as_json("journal", "list")
    damage(shop.journal_path.with_name("journal.db-wal"), first_byte=2100, size=1)

    shop.start()
    state = shop.control.wait(out_of_service_for("journal_damaged"))
    assert "payments stand behind" in state.details["journal_damaged"]
    shop.stop()
    done = shop.run("journal", "init")

    assert "3 spent codes were taken over" in done.stderr
    assert shop.as_json("journal", "list") == before
    serves_again(shop)
    shop.show(later, lambda s: s.cue == "not_accepted")
    shop.control.wait(lambda s: s.cue == "ready")
    never_again_but(shop, requests=3)


def test_a_database_that_is_exchanged_while_the_kiosk_runs(shop, tmp_path):
    backup = copy_of(shop, tmp_path / "backup")
    serves_again(shop)
    shop.stop()
    serves_again(shop)
    later = a_code()
    assert shop.pay(later).outcome == "approved"
    backup.rename(shop.journal_path)  # by hand, and nobody stopped the kiosk

    state = shop.control.wait(out_of_service_for("journal_replaced"))
    assert "it held is kept" in state.details["journal_replaced"].lower()
    shop.stop()
    assert "spent codes were taken over" in shop.run("journal", "init").stderr

    serves_again(shop)
    shop.show(later, lambda s: s.cue == "not_accepted")
    shop.control.wait(lambda s: s.cue == "ready")
    never_again_but(shop, requests=3)


def test_a_wal_that_is_deleted_while_the_kiosk_runs(shop):
    serves_again(shop)
    paid = a_code()
    assert shop.pay(paid).outcome == "approved"
    shop.journal_path.with_name("journal.db-wal").unlink()

    # It is opened anew by itself, and what was in the lost file is in the database now.
    shop.control.wait(out_of_service_for("journal_unwritable"))
    assert shop.pay(a_code()).outcome == "approved"
    shop.kill()

    serves_again(shop)
    shop.show(paid, lambda s: s.cue == "not_accepted")
    shop.control.wait(lambda s: s.cue == "ready")
    never_again_but(shop, requests=4)
    assert faults_of(shop.journal_path, ledger_of(shop)) == []


def test_an_offer_that_was_sold_is_not_sold_again_by_a_new_journal(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url, offer={"source": "host", "amount_sum": None, "label": None})
    kiosk.start().control.wait(lambda s: s.cue == "waiting")
    offer = Offer(amount_sum=2500, label="Tea", reference="ORDER-7")
    assert kiosk.control.command(offer) == Ok()
    assert kiosk.pay(a_code()).outcome == "approved"
    kiosk.stop()
    damage(kiosk.journal_path, first_byte=0)
    assert kiosk.run("journal", "init").returncode == 0

    kiosk.start().control.wait(lambda s: s.cue == "waiting")

    assert "not sold again" in kiosk.control.command(offer).message
    assert len(gateway.ledger.requests) == 1


def damage(path, *, first_byte, size=100):
    with path.open("r+b") as file:
        file.seek(first_byte)
        file.write(b"\xa5" * size)


def fold_in(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def page_of(path, name):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    return (root - 1) * size, size


@pytest.mark.parametrize("table", ["row", "row_of_intent", "secret"])
def test_a_damaged_table_costs_no_spent_code(table, shop):
    fold_in(shop.journal_path)
    first_byte, size = page_of(shop.journal_path, table)
    damage(shop.journal_path, first_byte=first_byte, size=size)
    shop.start()
    shop.control.wait(out_of_service_for("journal_damaged"))
    shop.stop()

    done = shop.run("journal", "init")

    assert "2 spent codes were taken over" in done.stderr
    assert list(shop.journal_path.parent.glob("journal.db.aside-*"))
    serves_again(shop)
    for code in (shop.paid, shop.doubtful):
        # Where its rows are gone, a code is in doubt; charged again it is not.
        shop.show(code, lambda s: s.cue in ("not_accepted", "unknown"))
        if shop.control.states[-1].state == "concluded":
            shop.control.command(Acknowledge())
        shop.ready()
    assert len(ledger_of(shop).requests) == 2


def test_lost_spent_codes_come_back_from_what_is_kept_for_disputes(shop):
    fold_in(shop.journal_path)
    for table in ("spent", "device"):
        first_byte, size = page_of(shop.journal_path, table)
        damage(shop.journal_path, first_byte=first_byte, size=size)

    done = shop.run("journal", "init")

    assert "2 spent codes were taken over" in done.stderr
    assert "could not be read whole" in done.stderr
    serves_again(shop)
    never_again(shop)


def test_restored_from_a_backup_it_is_noticed_and_staff_decide(shop, tmp_path):
    backup = copy_of(shop, tmp_path / "backup")
    later = a_code()
    serves_again(shop)
    assert shop.pay(later).outcome == "approved"
    shop.stop()
    mark = shop.journal_path.with_name("journal.db.made").read_bytes()
    remove(shop)
    for suffix in ("", "-wal"):  # by hand, as somebody does it who reads no README
        if (part := backup.with_name(backup.name + suffix)).exists():
            shutil.copy2(part, shop.journal_path.with_name(part.name))
    shop.journal_path.with_name("journal.db.made").write_bytes(mark)

    shop.start()
    state = shop.control.wait(out_of_service_for("journal_replaced"))
    assert "an older copy" in state.details["journal_replaced"]
    assert "kiosk journal init" in state.details["journal_replaced"]
    shop.stop()

    done = shop.run("journal", "init")
    assert "in force from now on" in done.stderr
    assert "NOT recognised" in done.stderr
    serves_again(shop)
    never_again_but(shop, requests=3)


def never_again_but(kiosk, requests):
    kiosk.show(kiosk.paid, lambda s: s.cue == "not_accepted")
    kiosk.control.wait(lambda s: s.cue == "ready")
    assert len(ledger_of(kiosk).requests) == requests


def test_init_from_a_backup_keeps_what_was_in_force_and_its_codes(shop, tmp_path):
    backup = copy_of(shop, tmp_path / "backup")
    later = a_code()
    serves_again(shop)
    assert shop.pay(later).outcome == "approved"
    shop.stop()

    done = shop.run("journal", "init", "--from", str(backup))

    assert done.returncode == 0, done.stderr
    assert "1 spent codes were taken over" in done.stderr
    serves_again(shop)
    assert len(shop.as_json("journal", "list")) == 3  # what the copy did not know came along
    shop.show(later, lambda s: s.cue == "not_accepted")
    shop.control.wait(lambda s: s.cue == "ready")
    never_again_but(shop, requests=3)
    # What lies aside can still be read, and put back.
    (aside,) = [
        part
        for part in shop.journal_path.parent.glob("journal.db.aside-*")
        if not part.name.endswith(("-wal", "-shm"))
    ]
    shop.stop()
    assert shop.run("journal", "init", "--from", str(aside)).returncode == 0
    assert len(shop.as_json("journal", "list")) == 3
    assert faults_of(shop.journal_path, ledger_of(shop)) == []


def test_on_a_replaced_card(shop, kiosk_at, tmp_path):
    old_card = copy_of(shop, tmp_path / "old-card")
    new = kiosk_at(shop.gateway.url, name="new-card", limits=UNHURRIED, confirm=AUTOMATIC).start()
    between = a_code()
    assert new.pay(between).outcome == "approved"  # it had sold before anybody thought of it
    new.stop()

    done = new.run("journal", "init", "--from", str(old_card))
    assert "1 spent codes were taken over" in done.stderr

    serves_again(new)
    new.gateway, new.paid, new.doubtful = shop.gateway, shop.paid, shop.doubtful
    new.before = shop.before
    new.show(between, lambda s: s.cue == "not_accepted")
    new.control.wait(lambda s: s.cue == "ready")
    never_again_but(new, requests=3)
    figure("journal moved aside, restored, on another card: no code was sent twice")


def test_another_kiosks_journal_is_noticed(shop, kiosk_at, gateway):
    other = kiosk_at(gateway.url, name="other").start()
    other.ready()
    other.stop()
    for part in ("journal.db", "journal.db-wal"):
        shop.journal_path.with_name(part).unlink(missing_ok=True)
        if (theirs := other.journal_path.with_name(part)).exists():
            shutil.copy2(theirs, shop.journal_path.with_name(part))

    shop.start()
    state = shop.control.wait(out_of_service_for("journal_replaced"))
    assert "another journal" in state.details["journal_replaced"]


def test_a_database_with_the_wal_of_a_later_state_is_not_sold_with(shop, tmp_path):
    """By hand: the backup of the database alone, laid beside a `-wal` that goes on elsewhere."""
    fold_in(shop.journal_path)
    backup = tmp_path / "backup.db"
    shutil.copy2(shop.journal_path, backup)
    serves_again(shop)
    assert shop.pay(a_code()).outcome == "approved"
    shop.ready()
    fold_in_running(shop)
    assert shop.pay(a_code()).outcome == "approved"
    shop.kill()  # what it leaves is a -wal with the last payment alone
    assert shop.journal_path.with_name("journal.db-wal").stat().st_size > 0
    shutil.copy2(backup, shop.journal_path)

    shop.start()
    shop.control.wait(lambda s: {"journal_damaged", "journal_replaced"} & set(s.reasons))
    shop.scanner.show(a_code())
    assert shop.stop() == 0
    assert "ready" not in [state.state for state in shop.control.states]
    assert len(ledger_of(shop).requests) == 4


def fold_in_running(kiosk):
    db = sqlite3.connect(kiosk.journal_path)
    db.execute("PRAGMA wal_checkpoint(RESTART)")
    db.close()


@pytest.mark.parametrize("bad", ["no such file", "itself", "damaged", "no journal"])
def test_a_source_that_cannot_be_put_in_force_changes_nothing(bad, shop, tmp_path):
    source = copy_of(shop, tmp_path / "backup")
    before = shop.rows()
    match bad:
        case "no such file":
            source.unlink()
        case "itself":
            source = shop.journal_path
        case "damaged":
            fold_in(source)
            first_byte, size = page_of(source, "row")
            damage(source, first_byte=first_byte, size=size)
        case "no journal":
            source.unlink()
            sqlite3.connect(source).execute("CREATE TABLE t (x)").connection.close()

    done = shop.run("journal", "init", "--from", str(source))

    assert done.returncode == 1
    assert done.stderr.startswith("kiosk: ")
    assert shop.rows() == before
    assert not list(shop.journal_path.parent.glob("*.aside-*"))
