"""What a start makes of the journal that it finds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome, Standing
from kiosk.core.memory import Policy
from kiosk.core.offer import Offer
from kiosk.payment import journal as journal_module
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal
from kiosk.payment.recovery import STILL_THERE_S, Spilled, recover, spill

POLICY = Policy((Offer(1000, "Payment"),), max_consecutive_unknown=2, unknown_pause_s=600.0)
APPROVED = Answer(Outcome.APPROVED, payment_id="696e0246c9a128176d5934d8", raw=b"{}")
DECLINED = Answer(Outcome.DECLINED, "no")
NOT_SENT = Answer(Outcome.NOT_SENT, "refused")
UNKNOWN = Answer(Outcome.UNKNOWN, "no answer")
NOW_S = 1000.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.db")
    yield opened
    opened.close()


class Clock:
    """The time since boot, as the journal sees it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now_s = 5000.0
        patch.setattr(journal_module, "_boot_s", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def sent(journal: Journal, number: int, *answers: Answer) -> str:
    made = Intent(f"intent-{number}", Offer(1000, "x"), PaymeCode(f"50502{number:015d}"))
    journal.record_sending(made)
    for answer in answers:
        journal.record_outcome(made.id, answer)
    return made.id


def count(journal: Journal) -> int:
    return int(journal._db.execute("SELECT count(*) FROM row").fetchone()[0])


def test_an_empty_journal_begins_with_nothing(journal: Journal):
    found = recover(journal, NOW_S, POLICY)

    assert found.doubtful is None
    assert found.memory.unknown_in_row == ()
    assert found.memory.paused_until_s <= NOW_S
    assert found.memory.unresolved == 0


def test_an_announced_request_without_a_word_becomes_unknown_once(journal: Journal):
    name = sent(journal, 1)

    found = recover(journal, NOW_S, POLICY)

    assert journal.standing(name) == Standing(Outcome.UNKNOWN)
    assert found.doubtful == name
    assert found.memory.unknown_in_row == (name,)
    assert found.memory.unresolved == 1
    before = count(journal)
    recover(journal, NOW_S, POLICY)
    assert count(journal) == before


def test_who_stood_there_a_while_ago_has_left(journal: Journal, clock: Clock):
    name = sent(journal, 1)
    clock.now_s += STILL_THERE_S

    assert recover(journal, NOW_S, POLICY).doubtful is None
    assert journal.standing(name) == Standing(Outcome.UNKNOWN)
    clock.now_s += 1
    assert recover(journal, NOW_S, POLICY).doubtful is None


def test_a_second_start_in_a_row_still_warns_who_stands_there(journal: Journal, clock: Clock):
    name = sent(journal, 1)
    recover(journal, NOW_S, POLICY)
    clock.now_s += 30

    assert recover(journal, NOW_S, POLICY).doubtful == name


@pytest.mark.parametrize("answer", [APPROVED, DECLINED, NOT_SENT])
def test_who_got_an_answer_is_not_warned(journal: Journal, answer: Answer):
    sent(journal, 1, answer)
    assert recover(journal, NOW_S, POLICY).doubtful is None


def test_all_that_were_under_way_become_unknown(journal: Journal):
    names = [sent(journal, number) for number in range(3)]

    found = recover(journal, NOW_S, POLICY)

    assert found.memory.unknown_in_row == tuple(names)
    assert found.doubtful == names[-1]
    assert journal.unresolved() == names


# --- unknown in a row ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "in_row"),
    [
        ([UNKNOWN, UNKNOWN], [0, 1]),
        ([UNKNOWN, APPROVED], []),
        ([UNKNOWN, APPROVED, UNKNOWN], [2]),
        ([UNKNOWN, DECLINED, UNKNOWN, UNKNOWN], [2, 3]),
        ([UNKNOWN, NOT_SENT, UNKNOWN], [0, 2]),
        ([NOT_SENT], []),
    ],
)
def test_unknown_outcomes_in_a_row_are_counted_across_a_restart(
    journal: Journal, answers: list[Answer], in_row: list[int]
):
    for number, answer in enumerate(answers):
        unique = replace(answer, payment_id=answer.payment_id and f"p{number}")
        sent(journal, number, unique)

    found = recover(journal, NOW_S, POLICY)

    assert found.memory.unknown_in_row == tuple(f"intent-{number}" for number in in_row)


def test_a_row_is_broken_by_what_staff_resolved(journal: Journal):
    sent(journal, 1, UNKNOWN)
    name = sent(journal, 2, UNKNOWN)
    journal.record_resolution(name, Outcome.DECLINED, "A", "w", None)

    assert recover(journal, NOW_S, POLICY).memory.unknown_in_row == ()


def test_a_pause_goes_on_across_a_restart(journal: Journal, clock: Clock):
    sent(journal, 1, UNKNOWN)
    clock.now_s += 100
    sent(journal, 2, UNKNOWN)
    clock.now_s += 250

    memory = recover(journal, NOW_S, POLICY).memory

    assert memory.is_paused(POLICY)
    assert memory.paused_until_s == pytest.approx(NOW_S + 350)
    clock.now_s += 1000
    assert recover(journal, NOW_S, POLICY).memory.paused_until_s == NOW_S


# --- the spill -------------------------------------------------------------------------------


def test_an_outcome_that_was_spilled_is_no_doubt(journal: Journal):
    name = sent(journal, 1)
    spill(journal.path, Spilled(intent=name, answer=APPROVED))

    found = recover(journal, NOW_S, POLICY)

    assert journal.standing(name) == Standing(Outcome.APPROVED)
    assert found.doubtful is None
    assert [row.kind.value for row in journal.rows(name)] == ["sending", "approved"]
    assert not files.beside(journal.path, ".spill").exists()


def test_the_same_spill_twice_is_one_row(journal: Journal):
    name = sent(journal, 1)
    for _ in range(2):
        for _ in range(2):
            spill(journal.path, Spilled(intent=name, answer=APPROVED, late=True))
        recover(journal, NOW_S, POLICY)

    assert [row.kind.value for row in journal.rows(name)] == ["sending", "approved"]


def test_a_line_that_was_torn_hides_no_other(journal: Journal):
    torn, kept = sent(journal, 1), sent(journal, 2)
    spill(journal.path, Spilled(intent=torn, answer=APPROVED))
    path = files.beside(journal.path, ".spill")
    path.write_bytes(path.read_bytes()[:40])
    spill(journal.path, Spilled(intent=kept, answer=replace(APPROVED, payment_id="p2")))

    for _ in range(2):
        recover(journal, NOW_S, POLICY)

    assert journal.standing(kept) == Standing(Outcome.APPROVED)
    assert journal.standing(torn) == Standing(Outcome.UNKNOWN)
    assert path.exists()  # staff may make something of it


def test_an_outcome_of_an_intent_that_this_journal_never_had_is_kept(journal: Journal):
    """The journal was restored from a backup, or is on a replaced card."""
    spill(journal.path, Spilled(intent="gone", answer=APPROVED))

    recover(journal, NOW_S, POLICY)

    assert journal.standing("gone") == Standing(Outcome.APPROVED)
    assert journal.knows_payment(str(APPROVED.payment_id), "another")
