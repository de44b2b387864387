"""What a start makes of the journal it finds: nothing is resent, doubt is written down."""

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kiosk.core import events
from kiosk.core.intent import Answer, Outcome
from kiosk.core.memory import Memory, Policy
from kiosk.core.paying import believed
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal

log = logging.getLogger(__name__)

STILL_THERE_S = 120.0
"""A customer whose request was announced no longer ago may still stand there."""


class Spilled(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome on its way into the journal, as the spill file keeps it."""

    intent: str
    answer: Answer
    late: bool = False


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the session begins with.

    Attributes:
        doubtful: See `core.session.begin`.
    """

    memory: Memory
    doubtful: str | None


def spill(path: Path, spilled: Spilled) -> None:
    """Keep an outcome beside the journal that cannot take it.

    Raises:
        OSError: Not even that was possible.
    """
    files.append_spill(path, msgspec.json.encode(spilled))


def save(journal: Journal, spilled: Spilled) -> None:
    """Write an outcome that had to wait.

    Whether its payment_id belongs to another payment could not be asked while it came.

    Raises:
        JournalWriteError: Still not possible.
    """
    known = journal.knows_payment(spilled.answer.payment_id, spilled.intent)
    answer = believed(events.OutcomeKnown(spilled.intent, spilled.answer, known))
    journal.record_outcome(spilled.intent, answer, late=spilled.late)


def empty_spill(journal: Journal) -> None:
    """Move what the spill file holds into the journal.

    Raises:
        JournalWriteError: Still not possible; the file stays as it is.
    """
    is_whole = True
    for line in files.read_spill(journal.path):
        try:
            spilled = msgspec.json.decode(line, type=Spilled)
        except msgspec.MsgspecError:
            # A disk that was full tears lines; nobody was told that such a one is kept.
            log.error("a line of the spill file cannot be read and stays there")
            is_whole = False
            continue
        save(journal, spilled)
        log.warning("outcome from the spill file", extra={"intent": spilled.intent})
    if is_whole:
        files.clear_spill(journal.path)


def recover(journal: Journal, now_s: float, policy: Policy) -> Recovered:
    """Bring the journal to where every announced request has an outcome.

    Raises:
        JournalWriteError: A row could not be written.
    """
    empty_spill(journal)
    for row in journal.announced_without_outcome():
        journal.record_outcome(
            row.intent, Answer(Outcome.UNKNOWN, "the kiosk restarted before the answer came")
        )
        log.warning("unknown after a restart", extra={"intent": row.intent})
    in_row, age_s = _unknown_in_row(journal, policy.max_consecutive_unknown + 50)
    memory = Memory(
        unknown_in_row=tuple(in_row),
        paused_until_s=now_s + max(0.0, policy.unknown_pause_s - age_s),
        unresolved=len(journal.unresolved()),
    )
    return Recovered(memory, _doubtful(journal))


def _doubtful(journal: Journal) -> str | None:
    """The last intent, if it was announced just now and nobody knows how it ended.

    Whether this start or an earlier one wrote that down makes no difference to its customer.
    """
    for last_row, standing in journal.last_outcomes(1):
        announced = journal.rows(last_row.intent)[0]
        if standing.outcome is Outcome.UNKNOWN and journal.age_s(announced) < STILL_THERE_S:
            return last_row.intent
    return None


def _unknown_in_row(journal: Journal, most: int) -> tuple[list[str], float]:
    """Unknown intents since the last known outcome, oldest first, and the last one's age."""
    found, age_s = [], float("inf")
    for last_row, standing in journal.last_outcomes(most):
        if standing.outcome is Outcome.NOT_SENT:
            continue  # says nothing about the gateway's answers
        if standing.outcome is not Outcome.UNKNOWN:
            break
        found.append(last_row.intent)
        age_s = min(age_s, journal.age_s(last_row))
    return found[::-1], age_s
