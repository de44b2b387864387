"""What can still be read of a journal that SQLite refuses to read."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tools import figure

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment.informant import new_intent_id
from kiosk.payment.journal import Journal
from kiosk.payment.journal_import import salvage
from kiosk.payment.journal_scan import Scanned, scan

PAGE_BYTES = 2048
PAYMENTS = 400
QUERIES = {
    "rows": "SELECT seq, intent, kind, at, boot, boot_s, amount_sum, reference, payment_id, body"
    " FROM row",
    "spent": "SELECT mac, intent FROM spent",
    "keys": "SELECT mac_key FROM device",
    "codes": "SELECT intent, code FROM secret WHERE code IS NOT NULL",
}
OWN_KEY = bytes(32)


def code(number: int) -> PaymeCode:
    return PaymeCode(f"50502{number:015d}")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each outcome some, with texts and answers of many lengths."""
    path = tmp_path_factory.mktemp("sound") / "journal.db"
    chance = random.Random(3)
    journal = Journal.open(path)
    for number in range(PAYMENTS):
        label = "Чай" * chance.randrange(8)
        reference = f"order-{number}" if number % 3 else None
        intent = Intent(
            new_intent_id(), Offer(chance.randrange(1, 10**7), label, reference), code(number)
        )
        if number % 17 == 0:
            journal.record_not_sent(intent, "refused")
            continue
        journal.record_sending(intent)
        outcome = chance.choice([Outcome.APPROVED] * 5 + list(Outcome))
        journal.record_outcome(
            intent.id,
            Answer(
                outcome,
                "told " * chance.randrange(60),
                payment_id=f"{number:024x}" if outcome is Outcome.APPROVED else None,
                raw=bytes(chance.randrange(6000)),
            ),
        )
        if outcome is Outcome.UNKNOWN and number % 2:
            journal.record_resolution(intent.id, Outcome.DECLINED, "A", "b", None)
    journal.close()
    return path


def truth(path: Path) -> dict[str, set[object]]:
    with closing(sqlite3.connect(path)) as db:
        found = {name: set(db.execute(query)) for name, query in QUERIES.items()}
    found["keys"] = {key for (key,) in found["keys"]}
    return found


def found_in(data: bytes) -> dict[str, set[object]]:
    parts = Scanned()
    scan(data, parts)
    return {name: set(getattr(parts, name)) for name in QUERIES}


def pages_of(data: bytes) -> list[bytes]:
    return [data[place : place + PAGE_BYTES] for place in range(0, len(data), PAGE_BYTES)]


def test_all_that_sqlite_reads_is_found_in_the_bytes_alone_and_nothing_else(sound: Path):
    data = sound.read_bytes()
    assert found_in(data) == truth(sound)
    # Whatever is left of the file's own order.
    pages = pages_of(data)[1:]
    random.Random(4).shuffle(pages)
    assert found_in(bytes(777) + b"".join(pages)) == truth(sound)
    rows = len(truth(sound)["rows"])
    figure(
        f"salvage: {rows} rows and all spent codes found without the file's head, pages shuffled"
    )


def test_damage_costs_what_stood_there_and_invents_nothing(sound: Path):
    """Noise, zeros, and pages of which only some sectors are old."""
    data, whole, chance = sound.read_bytes(), truth(sound), random.Random(5)
    pages = len(pages_of(data))
    for _ in range(40):
        damaged = bytearray(data)
        hit = chance.sample(range(pages), 3)
        for page in hit:
            size = chance.choice([512, PAGE_BYTES])
            place = page * PAGE_BYTES + chance.randrange(0, PAGE_BYTES - size + 1, 512)
            noise = chance.choice([bytes(size), chance.randbytes(size)])
            damaged[place : place + size] = noise
        found = found_in(bytes(damaged))
        for name in ("rows", "spent", "keys"):
            assert found[name] <= whole[name]
        # A page holds at most a dozen rows, and a few dozen spent codes.
        assert len(whole["rows"]) - len(found["rows"]) <= 3 * 16
        assert len(whole["spent"]) - len(found["spent"]) <= 3 * 64


@pytest.mark.parametrize("harm", ["head", "noise in each table", "half of it is gone"])
def test_what_is_known_of_a_damaged_journal(sound: Path, tmp_path: Path, harm: str):
    path, data = tmp_path / "journal.db", bytearray(sound.read_bytes())
    match harm:
        case "head":
            data[:2048] = bytes(2048)
        case "noise in each table":
            for page in range(3, len(data) // PAGE_BYTES, 9):
                data[page * PAGE_BYTES : page * PAGE_BYTES + 200] = b"\xa5" * 200
        case _:
            del data[len(data) // 2 :]
    path.write_bytes(data)

    found, whole = salvage(path, OWN_KEY), salvage(sound, OWN_KEY)

    assert not found.is_whole
    assert whole.is_whole
    assert not whole.missing
    assert found.rows <= whole.rows
    if harm == "head":
        assert found.rows == whole.rows
        assert {one[2] for one in found.spent} == {one[2] for one in whole.spent}
    assert len(found.rows) > len(whole.rows) // 4
    assert path.read_bytes() == bytes(data)


def test_a_code_that_was_proved_to_be_not_sent_is_not_spent(sound: Path):
    with closing(sqlite3.connect(sound)) as db:
        not_sent = {i for (i,) in db.execute("SELECT intent FROM row WHERE kind = 'not_sent'")}
    assert len(not_sent) > 20
    assert not_sent.isdisjoint(one[2] for one in salvage(sound, OWN_KEY).spent)


def test_bytes_that_only_look_like_a_journal_hold_none():
    chance = random.Random(6)
    for _ in range(20):
        assert not any(found_in(chance.randbytes(100_000)).values())
