"""What a worse kiosk would do. Each must be caught by the checks that the real one passes.

Installed in a forked payment process before it runs, see `hooks.install`.
"""

import contextlib
import time
from dataclasses import replace


def _resend():
    """After a restart, ask again for what was announced and has no outcome."""
    from kiosk.errors import GatewayError
    from kiosk.payment import loop
    from kiosk.payment.gateway import Gateway
    from kiosk.settings_file import load_settings

    real = loop.recover

    def recover(journal, now_s, policy):
        settings = load_settings([journal.path.with_name("kiosk.yaml")]).settings
        for row in journal.announced_without_outcome():
            (code,) = journal._db.execute(
                "SELECT code FROM secret WHERE intent = ?", (row.intent,)
            ).fetchone()
            call = Gateway.from_settings(settings.gateway).call()
            with contextlib.suppress(GatewayError):  # then it is in doubt as before
                call.connect()
                call.ask_info()
                answer = call.submit(row.amount_sum, code, time.monotonic() + 5)
                journal.record_outcome(row.intent, answer)
        return real(journal, now_s, policy)

    loop.recover = recover


def _reorder(first, second, apart_s):
    """Carry out wishes of the second kind so long before those of the first."""
    from kiosk.payment.loop import Loop

    carry_out = Loop._carry_out

    def reordered(self, wishes):
        names = [type(wish).__name__ for wish in wishes]
        if first in names and second in names:
            early = tuple(w for w in wishes if type(w).__name__ == second)
            carry_out(self, early)
            time.sleep(apart_s)
            wishes = tuple(w for w in wishes if type(w).__name__ != second)
        carry_out(self, wishes)

    Loop._carry_out = reordered


def _ignore_failed_rows():
    """Go on as if each row were durable."""
    from kiosk.payment.loop import Loop

    record = Loop._record

    def ignoring(self, wish):
        record(self, wish)

    Loop._record = ignoring


def _take_silence_for_a_refusal():
    """Tell "declined" where no answer came."""
    from kiosk.core import events
    from kiosk.core.intent import Answer, Outcome
    from kiosk.payment.loop import Loop

    handle = Loop._handle

    def handling(self, item):
        if isinstance(item, events.AnswerLost):
            item = events.OutcomeKnown(item.intent_id, Answer(Outcome.DECLINED, item.detail))
        handle(self, item)

    Loop._handle = handling


def _forget_spent_codes():
    """Know spent codes for one life only."""
    from kiosk.payment import loop

    recover = loop.recover

    def forgetting(journal, now_s, policy):
        recovered = recover(journal, now_s, policy)
        with journal._durable():
            journal._db.execute("DELETE FROM spent")
        return recovered

    loop.recover = forgetting


def _forget_doubt():
    """Find nothing announced after a restart."""
    from kiosk.payment.journal import Journal

    Journal.announced_without_outcome = lambda self: []


def _lose_payment_ids():
    """Write every outcome without the provider's id."""
    from kiosk.payment.journal import Journal

    record_outcome = Journal.record_outcome

    def losing(self, intent_id, answer, *, late=False):
        record_outcome(self, intent_id, replace(answer, payment_id=None), late=late)

    Journal.record_outcome = losing


def _drop_what_cannot_be_written():
    """Neither hold nor write beside the journal an outcome that it refused."""
    from kiosk.payment.store import Store

    Store.keep = lambda self, intent_id, answer, *, late: None


def _empty_the_spill_first():
    """Take the file away before its outcomes are durable in the journal."""
    from kiosk.payment import recovery

    read_spill = recovery.files.read_spill

    def reading(path):
        lines = read_spill(path)
        recovery.files.clear_spill(path)
        return lines

    recovery.files.read_spill = reading


LONG_S = 0.2
"""So that what came first surely has its effect before the process dies."""
CARD_S = 0.005
"""What an fsync takes on a good card."""
MISBEHAVIOURS = {
    "failed-row-ignored": _ignore_failed_rows,
    "outcome-not-kept": _drop_what_cannot_be_written,
    "spill-emptied-first": _empty_the_spill_first,
    "resend-after-restart": _resend,
    "request-before-row": lambda: _reorder("RecordSending", "Submit", LONG_S),
    "request-just-before-row": lambda: _reorder("RecordSending", "Submit", CARD_S),
    "cue-before-row": lambda: _reorder("RecordOutcome", "Show", LONG_S),
    "cue-just-before-row": lambda: _reorder("RecordOutcome", "Show", CARD_S),
    "silence-is-declined": _take_silence_for_a_refusal,
    "spent-codes-forgotten": _forget_spent_codes,
    "doubt-forgotten": _forget_doubt,
    "payment-id-lost": _lose_payment_ids,
}
