"""What must hold after any cut: the marks of `customers.py` against the journal as recovered."""

import contextlib
import sqlite3
from types import SimpleNamespace

from audit import Record, without_outcome
from audit import faults_of as faults_in_record

REFUSAL = "the kiosk stays out of service"


def faults_of(path, marks):
    """Everything that is wrong, in words.

    Args:
        path: The journal, once the kiosk has opened and recovered it.
        marks: What left the kiosk before the cut, oldest first.
    """
    sent = [mark for mark in marks if "sent" in mark]
    ledger = SimpleNamespace(
        requests=[SimpleNamespace(code=mark["sent"]) for mark in sent],
        charges=[
            SimpleNamespace(qr_code=mark["sent"], **mark["charge"])
            for mark in sent
            if mark["charge"]
        ],
    )
    told = [(mark["told"], [mark["cue"]]) for mark in marks if "told" in mark]
    faults = faults_in_record(path, ledger, told)
    record = Record(path)
    for mark in marks:
        if "kept" in mark and "approved" not in record.kinds(record.intent_of(mark["kept"])):
            faults.append("an outcome that was kept beside the journal is lost")
    faults += [f"{intent} is still open" for intent in without_outcome(path)]
    return faults


def faults_of_refused(path, marks, why):
    """The same where the kiosk refuses its journal, which no cut may bring about either."""
    faults = []
    with contextlib.suppress(sqlite3.Error):
        faults = faults_of(path, marks)
    return [*faults, f"{REFUSAL}: {why}"]
