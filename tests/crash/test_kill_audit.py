"""The audit of the crash runs: silent on a right record, and each of its rules can speak."""

import sqlite3
from contextlib import closing

import pytest
from audit import ends_in_doubt, faults_of, faults_of_restart, intent_of, without_outcome
from kiosk_process import a_code

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment.journal import Journal
from kiosk.sandbox.ledger import Ledger

PAID, REFUSED, DOUBTFUL, WITHHELD = "paid", "refused", "doubtful", "withheld"


class Day:
    """A right journal with one payment of each end, the ledger that fits, and what was told."""

    def __init__(self, path):
        self.path, self.ledger = path, Ledger()
        self.codes = {name: a_code() for name in (PAID, REFUSED, DOUBTFUL, WITHHELD)}
        self.told = [
            (self.codes[PAID], ["submitting", "approved"]),
            (self.codes[REFUSED], ["submitting", "declined"]),
            (self.codes[DOUBTFUL], ["submitting"]),
            (self.codes[WITHHELD], ["submitting", "not_sent"]),
        ]
        with closing(Journal.open(path)) as journal:
            for name in (PAID, REFUSED, DOUBTFUL):
                journal.record_sending(self.intent(name))
                self.asks(self.codes[name])
            charge = self.ledger.charge(self.codes[PAID], 1000, 1000)
            self.ledger.charge(self.codes[DOUBTFUL], 1000, 1000)
            approved = Answer(Outcome.APPROVED, payment_id=charge.payment_id)
            journal.record_outcome(PAID, approved)
            journal.record_outcome(REFUSED, Answer(Outcome.DECLINED))
            journal.record_outcome(DOUBTFUL, Answer(Outcome.UNKNOWN))
            journal.record_not_sent(self.intent(WITHHELD), "no connection")

    def intent(self, name):
        return Intent(name, Offer(1000, "Test"), PaymeCode(self.codes[name]))

    def asks(self, code):
        self.ledger.amend_request(self.ledger.saw_request(1, {}, 0, None), code=code)

    def meddle(self, *statements):
        """What no method of the journal would do."""
        with closing(sqlite3.connect(self.path)) as db:
            for trigger in ("row_is_never_edited", "row_is_never_deleted"):
                db.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            for statement in statements:
                db.execute(statement)
            db.commit()

    def add_row(self, intent, kind, payment_id="NULL"):
        self.meddle(
            "INSERT INTO row (intent, kind, at, boot, boot_s, payment_id, body)"
            f" VALUES ('{intent}', '{kind}', '', '', 0, {payment_id}, '{{}}')"
        )

    def faults(self):
        return faults_of(self.path, self.ledger, self.told)


@pytest.fixture
def day(tmp_path):
    return Day(tmp_path / "journal.db")


def test_a_right_record_has_no_faults(day):
    assert day.faults() == []
    assert list(faults_of_restart(day.path, [DOUBTFUL])) == []
    assert without_outcome(day.path) == []
    assert intent_of(day.path, day.codes[PAID]) == PAID


PLANTED = {
    # what was done to a right record: (how, what the audit must say)
    "an index without its rows": (
        lambda day: day.meddle(
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'payment_id IS NOT NULL', 'kind IS NULL')"
            " WHERE name = 'row_of_payment'",
        ),
        "integrity_check",
    ),
    "a row twice": (lambda day: day.add_row(REFUSED, "declined"), "has a row twice"),
    "announced twice": (lambda day: day.add_row(PAID, "sending"), "was announced twice"),
    "an outcome of nothing": (lambda day: day.add_row("stray", "unknown"), "begins with unknown"),
    "a spent code forgotten": (
        lambda day: day.meddle(f"DELETE FROM spent WHERE intent = '{REFUSED}'"),
        "its code is not spent",
    ),
    "a payment_id lost": (
        lambda day: day.meddle("UPDATE row SET payment_id = NULL"),
        "no payment_id is on disk",
    ),
    "a payment_id of another": (
        lambda day: day.add_row(
            DOUBTFUL, "approved", f"'{day.ledger.charge_of(day.codes[PAID]).payment_id}'"
        ),
        f"has the payment_id of {PAID}",
    ),
    "a payment_id invented": (
        lambda day: day.meddle("UPDATE row SET payment_id = 'abc' WHERE kind = 'approved'"),
        "the gateway knows another payment or none",
    ),
    "sent twice": (lambda day: day.asks(day.codes[PAID]), "a code was sent 2 times"),
    "sent without a row": (lambda day: day.asks(a_code()), "a request has no row"),
    "begun without a row": (lambda day: day.asks(None), "4 requests, 3 sending rows"),
    "charged without a row": (
        lambda day: day.ledger.charge(a_code(), 1000, 1000),
        "a charge has no row",
    ),
    "charged and declined": (
        lambda day: day.ledger.charge(day.codes[REFUSED], 1000, 1000),
        "was charged, and the journal says ['sending', 'declined']",
    ),
    "another amount": (
        lambda day: day.meddle("UPDATE row SET amount_sum = 999 WHERE kind = 'sending'"),
        "was charged another amount",
    ),
    "told approved, not recorded": (
        lambda day: day.told.append((day.codes[DOUBTFUL], ["approved"])),
        "a customer was told approved, and no row says so",
    ),
    "told declined, not recorded": (
        lambda day: day.told.append((day.codes[DOUBTFUL], ["declined"])),
        "a customer was told declined, and no row says so",
    ),
    "told that nothing was sent": (
        lambda day: day.told.append((day.codes[DOUBTFUL], ["not_sent"])),
        "told that nothing was sent, and something was",
    ),
    "told approved twice": (
        lambda day: day.told.append((day.codes[PAID], ["approved"])),
        "told approved twice",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_the_audit_names(what, day):
    plant, said = PLANTED[what]
    plant(day)
    assert any(said in fault for fault in day.faults()), day.faults()


def test_whoever_was_told_not_sent_may_pay_later(day):
    code = day.codes[WITHHELD]
    with closing(Journal.open(day.path)) as journal:
        journal.record_sending(Intent("later", Offer(1000, "Test"), PaymeCode(code)))
    day.asks(code)
    day.told.append((code, ["submitting"]))
    assert day.faults() == []


def test_a_restart_that_leaves_doubt_open_is_named(day):
    day.meddle(f"DELETE FROM row WHERE intent = '{DOUBTFUL}' AND kind = 'unknown'")
    assert without_outcome(day.path) == [DOUBTFUL]
    said = list(faults_of_restart(day.path, [DOUBTFUL]))
    assert said == [
        f"{DOUBTFUL} was in doubt before the restart, and became []",
        f"after a restart nobody wrote how they ended: ['{DOUBTFUL}']",
    ]


def test_only_the_newest_payment_decides_what_a_restart_tells(day):
    assert not ends_in_doubt(day.path)  # the newest was not sent
    day.meddle(f"DELETE FROM row WHERE intent = '{WITHHELD}'")
    assert ends_in_doubt(day.path)
    day.add_row(DOUBTFUL, "approved", "'late'")
    assert not ends_in_doubt(day.path)
