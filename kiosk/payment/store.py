"""The journal as the deciding thread uses it: usable, or not and why, and back again."""

import contextlib
import logging
from pathlib import Path

from kiosk.core.cues import Reason
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.errors import (
    JournalBusyError,
    JournalDamagedError,
    JournalError,
    JournalMissingError,
    JournalNewerError,
    JournalReplacedError,
    JournalWriteError,
)
from kiosk.payment import journal_files as files
from kiosk.payment.journal import Journal
from kiosk.payment.recovery import Spilled, empty_spill, save, spill

log = logging.getLogger(__name__)

_REASONS: dict[type[JournalError], Reason] = {
    JournalDamagedError: Reason.JOURNAL_DAMAGED,
    JournalNewerError: Reason.JOURNAL_NEWER,
    JournalMissingError: Reason.JOURNAL_MISSING,
    JournalReplacedError: Reason.JOURNAL_REPLACED,
    JournalWriteError: Reason.JOURNAL_UNWRITABLE,
}


class Store:
    """Opens the journal, keeps outcomes that it cannot take, and tries again.

    Main thread only.

    Attributes:
        journal: None while it cannot be used.
        trouble: Why, then.
    """

    def __init__(self, path: Path) -> None:
        """Raises JournalBusyError where another process writes the journal."""
        self.path = path
        self.journal: Journal | None = None
        self.trouble: tuple[Reason, str] | None = None
        self._error: JournalError | None = None
        self._unsaved: list[Spilled] = []
        self._is_spilled = True
        self._never_submitted: set[str] = set()
        self._logged: tuple[Reason, str] | None = None
        self.reopen()
        self._hold_reserve()

    def reopen(self) -> None:
        """Try to open the journal anew.

        Raises:
            JournalBusyError: Another process writes it.
        """
        self._let_go()
        try:
            self.journal = Journal.open(self.path)
        except JournalBusyError:
            raise
        except JournalError as error:
            self.fail(error)
        else:
            self.trouble = self._error = None

    def usable(self) -> Journal:
        """The journal.

        Raises:
            JournalError: It cannot be used now.
        """
        if self._error is not None:
            raise type(self._error)(str(self._error))
        if self.journal is None:
            raise JournalWriteError("the journal is not open")
        return self.journal

    def fail(self, error: JournalError) -> None:
        """The journal cannot be used any more until it was opened anew."""
        self._error = error
        self.trouble = (_REASONS.get(type(error), Reason.JOURNAL_UNWRITABLE), str(error))
        if self.trouble != self._logged:  # not again with every try: logs would fill the disk
            self._logged = self.trouble
            log.error("journal out of use", extra={"detail": str(error)})

    def is_hopeless(self) -> bool:
        """Only staff can mend this; trying again by ourselves would hide it."""
        return self.trouble is not None and self.trouble[0] is not Reason.JOURNAL_UNWRITABLE

    def not_submitted(self, intent: Intent) -> None:
        """The row of this intent failed and nothing was sent; it may surface all the same."""
        self._never_submitted.add(intent.id)

    def keep(self, intent_id: str, answer: Answer, *, late: bool) -> None:
        """Hold an outcome that the journal could not take, in memory and beside the journal."""
        spilled = Spilled(intent=intent_id, answer=answer, late=late)
        self._unsaved.append(spilled)
        files.release_reserve(self.path)
        try:
            spill(self.path, spilled)
        except OSError as error:
            self._is_spilled = False
            log.critical(
                "an outcome is in memory only; do not switch off",
                extra={
                    "intent": intent_id,
                    "outcome": answer.outcome.value,
                    "payment_id": answer.payment_id,
                    "detail": error.strerror,
                },
            )

    @property
    def holds_outcome(self) -> bool:
        """An outcome is in memory and nowhere else: the process must not end."""
        return bool(self._unsaved) and not self._is_spilled

    def try_again(self) -> list[str]:
        """Open the journal anew and write what waits.

        Returns:
            Intents whose outcome is durable now.
        """
        try:
            self.reopen()
        except JournalBusyError as error:
            # A staff command was quicker; it will be done in a moment.
            self.fail(error)
        if self.journal is None:
            return []
        saved = []
        try:
            empty_spill(self.journal)
            while self._unsaved:
                waiting = self._unsaved[0]
                save(self.journal, waiting)
                saved.append(self._unsaved.pop(0).intent)
            self._is_spilled = True
            while self._never_submitted:
                self._disown(self.journal, next(iter(self._never_submitted)))
        except JournalError as error:
            self.fail(error)
            self._let_go()
        self._hold_reserve()
        return saved

    def _hold_reserve(self) -> None:
        """Only now, as what waits may have needed it; without it nothing new is sold."""
        if self.journal is not None:
            try:
                files.keep_reserve(self.path)
            except JournalError as error:
                self.fail(error)
            else:
                self._logged = None

    def _disown(self, journal: Journal, intent_id: str) -> None:
        """A sending row that surfaced although its commit failed: this process knows better."""
        if journal.standing(intent_id) is not None:
            journal.record_outcome(
                intent_id, Answer(Outcome.NOT_SENT, "its row failed, so nothing was sent")
            )
        self._never_submitted.discard(intent_id)

    def _let_go(self) -> None:
        if self.journal is not None:
            with contextlib.suppress(JournalError):
                self.journal.close()
            self.journal = None

    def close(self) -> None:
        """Let go of the journal. Safe to call twice."""
        self._let_go()
