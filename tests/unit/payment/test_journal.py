"""The record: what is durable, what is spent, and what an intent's rows say together."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome, RowKind, Standing
from kiosk.core.offer import Offer
from kiosk.errors import (
    CodeSpentError,
    JournalDamagedError,
    JournalError,
    JournalWriteError,
)
from kiosk.payment import journal as journal_module
from kiosk.payment.journal import Journal, Row

CODE = PaymeCode("50502044301381396427")
PAYMENT_ID = "696e0246c9a128176d5934d8"
APPROVED = Answer(
    Outcome.APPROVED,
    "successfully payment",
    payment_id=PAYMENT_ID,
    transaction_id="a12fc00f-5af5-65b8-adf8-74bff44680ee",
    facts={"inn": "123456789", "amount": 1000},
    flags=("echo_differs",),
    phone="998712565009",
    raw=b'{"raw": 1}',
)
DECLINED = Answer(Outcome.DECLINED, "error 106: no")
NOT_SENT = Answer(Outcome.NOT_SENT, "the box closed the connection")
UNKNOWN = Answer(Outcome.UNKNOWN, "no answer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path)
    yield opened
    opened.close()


def intent(name: str = "intent-1", code: PaymeCode = CODE, reference: str | None = None) -> Intent:
    return Intent(name, Offer(1000, "Car wash", reference), code)


def code(number: int) -> PaymeCode:
    return PaymeCode(f"50502{number:015d}")


def sent(journal: Journal, name: str, number: int, *answers: Answer) -> Intent:
    made = intent(name, code(number))
    journal.record_sending(made)
    for answer in answers:
        journal.record_outcome(made.id, answer)
    return made


def secrets(journal: Journal) -> dict[str, tuple[object, ...]]:
    found = journal._db.execute("SELECT intent, code, phone, answer FROM secret")
    return {name: tuple(rest) for name, *rest in found}


# --- rows ------------------------------------------------------------------------------------


def test_a_payment_is_two_rows(journal: Journal):
    journal.record_sending(intent())
    journal.record_outcome("intent-1", APPROVED)

    sending, approved = journal.rows("intent-1")
    assert (sending.kind, sending.amount_sum) == (RowKind.SENDING, 1000)
    assert sending.body == {"offer": "Car wash", "code": "5050…6427"}
    assert (approved.kind, approved.payment_id) == (RowKind.APPROVED, PAYMENT_ID)
    assert approved.body == {
        "detail": "successfully payment",
        "facts": {"inn": "123456789", "amount": 1000},
        "transaction_id": "a12fc00f-5af5-65b8-adf8-74bff44680ee",
        "flags": ["echo_differs"],
    }
    assert sending.seq < approved.seq
    assert sending.at.endswith("+00:00")
    assert 0 < sending.boot_s <= approved.boot_s
    assert journal.standing("intent-1") == Standing(Outcome.APPROVED)
    assert secrets(journal) == {"intent-1": (CODE.digits, "998712565009", b'{"raw": 1}')}


def test_a_row_is_there_for_another_process_at_once(journal: Journal, path: Path):
    journal.record_sending(intent())

    script = (
        f"import sqlite3; print(*sqlite3.connect({str(path)!r}).execute('SELECT kind FROM row'))"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    assert seen.stdout == b"('sending',)\n"


def test_the_same_outcome_twice_is_one_row_and_another_is_another(journal: Journal):
    journal.record_sending(intent())
    for answer in (UNKNOWN, UNKNOWN, APPROVED, APPROVED):
        journal.record_outcome("intent-1", answer, late=True)

    kinds = [row.kind.value for row in journal.rows("intent-1")]
    assert kinds == ["sending", "unknown", "approved"]
    assert journal.rows("intent-1")[-1].body["late"] is True
    assert journal.standing("intent-1") == Standing(Outcome.APPROVED)


def test_a_second_unreadable_answer_adds_no_row_and_is_kept_for_disputes(journal: Journal):
    journal.record_sending(intent())
    journal.record_outcome("intent-1", UNKNOWN)
    journal.record_outcome("intent-1", Answer(Outcome.UNKNOWN, "late", raw=b"late"), late=True)
    journal.record_outcome("intent-1", UNKNOWN)

    assert len(journal.rows("intent-1")) == 2
    assert secrets(journal)["intent-1"] == (CODE.digits, None, b"late")


def test_a_late_answer_finds_its_place_after_the_secrets_were_erased(journal: Journal):
    journal.record_sending(intent())
    journal.record_outcome("intent-1", UNKNOWN)
    journal.tidy(-1)
    assert secrets(journal) == {}

    journal.record_outcome("intent-1", APPROVED, late=True)

    assert secrets(journal) == {"intent-1": (None, "998712565009", b'{"raw": 1}')}


def test_staff_add_a_row_and_edit_none(journal: Journal):
    sent(journal, "intent-1", 1, UNKNOWN)

    journal.record_resolution("intent-1", Outcome.APPROVED, "Aziza", "seen in the cabinet", "p1")

    last = journal.rows("intent-1")[-1]
    assert last.kind is RowKind.RESOLVED_APPROVED
    assert (last.body, last.payment_id) == ({"by": "Aziza", "why": "seen in the cabinet"}, "p1")
    assert journal.standing("intent-1") == Standing(Outcome.APPROVED, resolved=True)


def test_what_staff_type_may_be_no_text(journal: Journal):
    sent(journal, "intent-1", 1, UNKNOWN)

    journal.record_resolution("intent-1", Outcome.DECLINED, "A\udcff", "\ud800", None)

    assert journal.rows("intent-1")[-1].body == {"by": "A?", "why": "?"}


def test_an_intent_that_was_never_announced_is_one_row(journal: Journal):
    journal.record_not_sent(intent(), "refused: is the box on?")

    (row,) = journal.rows("intent-1")
    assert (row.kind, row.body["detail"]) == (RowKind.NOT_SENT, "refused: is the box on?")
    assert journal.spent(CODE) is None
    assert secrets(journal) == {}


@pytest.mark.parametrize("change", ["UPDATE row SET at = ''", "DELETE FROM row"])
def test_no_statement_changes_a_row(journal: Journal, change: str):
    journal.record_sending(intent())

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        journal._db.execute(change)

    assert len(journal.rows("intent-1")) == 1


def test_nobody_knows_an_intent_that_never_was(journal: Journal):
    assert journal.rows("intent-1") == []
    assert journal.standing("intent-1") is None


# --- durability ------------------------------------------------------------------------------


def test_a_commit_is_on_the_disk_when_it_returns(journal: Journal):
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA secure_delete").fetchone() == (1,)
    assert journal._db.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    assert journal._db.execute("PRAGMA page_size").fetchone() == (2048,)


def test_an_opening_that_gets_no_full_synchronous_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous = FULL", "synchronous = 1"), *rest)

    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **named: real(*args, factory=Deaf, **named)
    )

    with pytest.raises(JournalWriteError, match="synchronous=FULL cannot be had"):
        Journal.open(path)


class FailingDb:
    """Fails at one statement, as a disk does."""

    def __init__(self, db: sqlite3.Connection, *failing: str, code: int) -> None:
        self._db, self._failing, self._code = db, failing, code

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
        if sql.startswith(self._failing):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._db.execute(sql, *rest)

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)


@pytest.mark.parametrize("failing", [("BEGIN",), ("INSERT INTO secret",), ("COMMIT",)])
@pytest.mark.parametrize("rollback", [(), ("ROLLBACK",)], ids=["", "no-rollback"])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (sqlite3.SQLITE_FULL, "free some space"),
        (sqlite3.SQLITE_IOERR_FSYNC, "replace the card"),
        (sqlite3.SQLITE_READONLY, "mount it writable"),
        (sqlite3.SQLITE_BUSY, "another program holds it"),
        (sqlite3.SQLITE_NOMEM, "cannot be used: disk I/O error"),
    ],
)
def test_a_row_that_is_not_durable_says_so(
    journal: Journal,
    path: Path,
    failing: tuple[str, ...],
    rollback: tuple[str, ...],
    code: int,
    advice: str,
):
    real = journal._db
    journal._db = FailingDb(real, *failing, *rollback, code=code)

    with pytest.raises(JournalWriteError, match=advice):
        journal.record_sending(intent())

    journal._db = real
    journal.close()
    with pytest.raises(JournalWriteError):
        journal.record_sending(intent())
    again = Journal.open(path)
    assert again.rows("intent-1") == []
    assert again.spent(CODE) is None
    again.close()


def test_questions_fail_as_journal_errors_too(journal: Journal):
    journal._db = FailingDb(journal._db, "SELECT", code=sqlite3.SQLITE_IOERR)

    questions = [
        lambda: journal.rows("x"),
        lambda: journal.standing("x"),
        lambda: journal.spent(CODE),
        lambda: journal.knows_payment("p", "x"),
        lambda: journal.consumed("r"),
        journal.unresolved,
        journal.announced_without_outcome,
        lambda: journal.last_outcomes(3),
        lambda: journal.tidy(30),
    ]
    for question in questions:
        with pytest.raises(JournalWriteError, match="replace the card"):
            question()


@pytest.mark.parametrize(
    ("code", "error"),
    [(sqlite3.SQLITE_CORRUPT, JournalDamagedError), (sqlite3.SQLITE_NOTADB, JournalDamagedError)],
)
def test_damage_that_shows_late_is_called_damage(
    journal: Journal, code: int, error: type[JournalError]
):
    journal._db = FailingDb(journal._db, "INSERT", code=code)

    with pytest.raises(error):
        journal.record_sending(intent())


@pytest.mark.parametrize("columns", [("sending", "{"), ("sending", "[1"), ("no such kind", "{}")])
def test_a_text_that_is_damaged_is_found_when_it_is_read(
    journal: Journal, columns: tuple[str, str]
):
    journal._db.execute(
        "INSERT INTO row (intent, kind, body, at, boot, boot_s) VALUES ('i', ?, ?, '', '', 0)",
        columns,
    )

    for question in (lambda: journal.rows("i"), journal.announced_without_outcome):
        if columns[0] != "sending" and question == journal.announced_without_outcome:
            continue
        with pytest.raises(JournalDamagedError, match="damaged"):
            question()
    with pytest.raises(JournalDamagedError):
        journal.record_outcome("i", APPROVED)


# --- spent codes -----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [(), (APPROVED,), (DECLINED,), (UNKNOWN,)])
def test_a_code_that_was_announced_is_spent_forever(
    journal: Journal, path: Path, answers: tuple[Answer, ...]
):
    made = sent(journal, "intent-1", 1, *answers)
    journal.tidy(-1)
    journal.close()

    again = Journal.open(path)
    expected = answers[0].outcome if answers else Outcome.UNKNOWN
    assert again.spent(made.code) is expected
    with pytest.raises(CodeSpentError):
        again.record_sending(intent("intent-2", made.code))
    assert again.rows("intent-2") == []
    again.close()


@pytest.mark.parametrize("doubted", [False, True], ids=["at-once", "after-doubt"])
def test_a_code_whose_request_did_not_leave_may_be_shown_again(journal: Journal, doubted: bool):
    made = sent(journal, "intent-1", 1, *([UNKNOWN] if doubted else []), NOT_SENT)
    assert journal.spent(made.code) is None
    assert secrets(journal) == {}

    journal.record_sending(intent("intent-2", made.code))

    assert journal.spent(made.code) is Outcome.UNKNOWN


def test_a_spent_code_is_kept_as_something_that_only_this_device_can_make(
    journal: Journal, tmp_path: Path
):
    other = Journal.open(tmp_path / "other" / "journal.db")

    assert journal.mac_of(CODE) != other.mac_of(CODE)
    assert len(journal.mac_of(CODE)) == 16
    assert journal.mac_of(CODE) != journal.mac_of(code(1))
    other.close()


def test_a_code_that_is_no_number_is_spent_too(journal: Journal):
    made = intent("intent-1", PaymeCode("PAYME:é-1"))
    journal.record_sending(made)
    assert journal.spent(made.code) is Outcome.UNKNOWN


# --- questions -------------------------------------------------------------------------------


def test_a_reference_is_consumed_unless_nothing_was_paid_for_it(journal: Journal):
    assert not journal.consumed("order-1")
    for number, (answers, consumed) in enumerate(
        [
            ((), True),
            ((APPROVED,), True),
            ((UNKNOWN,), True),
            ((DECLINED,), False),
            ((NOT_SENT,), False),
        ]
    ):
        made = intent(f"intent-{number}", code(number), f"order-{number}")
        journal.record_sending(made)
        for answer in answers:
            journal.record_outcome(made.id, answer)
        assert journal.consumed(f"order-{number}") == consumed

    journal.record_not_sent(intent("intent-9", code(9), "order-9"), "refused")
    assert not journal.consumed("order-9")
    journal.record_sending(intent("intent-10", code(10), "order-9"))
    assert journal.consumed("order-9")


def test_a_payment_id_of_another_intent_is_known(journal: Journal):
    sent(journal, "intent-1", 1, APPROVED)

    assert journal.knows_payment(PAYMENT_ID, "intent-2")
    assert not journal.knows_payment(PAYMENT_ID, "intent-1")
    assert not journal.knows_payment("another", "intent-2")
    assert not journal.knows_payment(None, "intent-2")


def test_staff_see_every_unknown_and_every_conflict(journal: Journal):
    sent(journal, "running", 1)
    sent(journal, "approved", 2, APPROVED)
    sent(journal, "unknown", 3, UNKNOWN)
    sent(journal, "resolved", 4, UNKNOWN)
    journal.record_resolution("resolved", Outcome.DECLINED, "A", "w", None)
    sent(journal, "conflict", 5, UNKNOWN)
    journal.record_resolution("conflict", Outcome.DECLINED, "A", "w", None)
    journal.record_outcome("conflict", APPROVED, late=True)
    sent(journal, "late", 6, UNKNOWN, APPROVED)

    assert journal.unresolved() == ["unknown", "conflict"]
    assert journal.standing("conflict") == Standing(Outcome.APPROVED, resolved=True, conflict=True)

    journal.record_resolution("conflict", Outcome.APPROVED, "A", "looked again", PAYMENT_ID)
    assert journal.unresolved() == ["unknown"]


def test_what_was_announced_and_has_no_word_yet(journal: Journal):
    sent(journal, "b", 1)
    sent(journal, "done", 2, DECLINED)
    sent(journal, "a", 3)
    journal.record_not_sent(intent("never", code(4)), "x")

    assert [row.intent for row in journal.announced_without_outcome()] == ["b", "a"]


def test_the_newest_intents_with_their_standing(journal: Journal):
    for number, answer in enumerate([APPROVED, DECLINED, UNKNOWN]):
        sent(journal, f"intent-{number}", number, answer)
    journal.record_resolution("intent-0", Outcome.APPROVED, "A", "w", None)

    newest = [(row.intent, standing.outcome) for row, standing in journal.last_outcomes(2)]
    assert newest == [("intent-2", Outcome.UNKNOWN), ("intent-1", Outcome.DECLINED)]


# --- age -------------------------------------------------------------------------------------


def row_at(at: str, boot: str, boot_s: float) -> Row:
    return Row(1, "i", RowKind.SENDING, at, boot, boot_s, None, None, None, {})


def test_the_age_of_a_row_does_not_follow_a_clock_that_steps(journal: Journal):
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    in_2001 = row_at("2001-01-01T00:00:00+00:00", journal._boot, since_boot_s - 5)

    assert 5 <= journal.age_s(in_2001) < 60
    assert journal.age_s(row_at("", journal._boot, since_boot_s + 1e6)) == 0


def test_the_age_of_a_row_of_an_earlier_boot_follows_the_clock(journal: Journal):
    assert journal.age_s(row_at("2001-01-01T00:00:00+00:00", "earlier", 0)) > 1e8
    assert journal.age_s(row_at("2999-01-01T00:00:00+00:00", "earlier", 0)) == 0
    with pytest.raises(JournalDamagedError):
        journal.age_s(row_at("yesterday", "earlier", 0))


def test_a_machine_without_boot_id(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal_module, "_BOOT_ID", path / "nowhere")
    opened = Journal.open(path)
    opened.record_sending(intent())
    assert opened.rows("intent-1")[0].boot == "unknown"
    opened.close()


# --- reading beside the writer ---------------------------------------------------------------


def test_a_reader_sees_what_is_durable_and_changes_nothing(journal: Journal, path: Path):
    journal.record_sending(intent())

    db = Journal.open_to_read(path)

    assert db.execute("SELECT count(*) FROM row").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM secret")
    journal.record_outcome("intent-1", APPROVED)
    assert db.execute("SELECT count(*) FROM row").fetchone() == (2,)
    db.close()


def test_a_path_with_signs_of_an_address_in_it(tmp_path: Path):
    path = tmp_path / "a b?mode=rw#c%20" / "journal.db"
    Journal.open(path).close()
    Journal.open_to_read(path).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a b?mode=rw#c%20"]


def test_nothing_to_read(tmp_path: Path):
    with pytest.raises(JournalError, match="there is no journal at"):
        Journal.open_to_read(tmp_path / "journal.db")
    (tmp_path / "journal.db").write_bytes(b"canary" * 1000)
    with pytest.raises(JournalDamagedError):
        Journal.open_to_read(tmp_path / "journal.db")


def test_closing_twice(journal: Journal):
    journal.close()
    journal.close()


@pytest.mark.parametrize("late", [NOT_SENT, DECLINED])
def test_a_late_answer_against_staff_frees_no_code_and_erases_nothing(journal: Journal, late):
    made = sent(journal, "intent-1", 1, UNKNOWN)
    journal.record_resolution(made.id, Outcome.APPROVED, "Dilnoza", "seen in the cabinet", None)

    journal.record_outcome(made.id, late, late=True)

    assert journal.standing(made.id) == Standing(Outcome.APPROVED, resolved=True, conflict=True)
    assert journal.spent(made.code) is Outcome.APPROVED
    assert made.id in secrets(journal)
