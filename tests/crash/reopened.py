"""What the real journal makes of a folder as a power cut left it, against what others know."""

import contextlib
import logging
import shutil
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

from audit import faults_of, rows_of, without_outcome
from recording import Resolved, Sent, Told

from kiosk.core.code import PaymeCode
from kiosk.core.memory import Policy
from kiosk.errors import KioskError
from kiosk.payment.journal import Journal
from kiosk.payment.recovery import recover

POLICY = Policy(offers=())
ENDS = {"approved", "declined", "unknown"}


@dataclass(slots=True)
class Known:
    """What is known outside the kiosk at one moment.

    Attributes:
        told: For each code that was sent, oldest first, the cues that followed.
        resolved: Intents of which staff were told that their word is kept.
    """

    told: list = field(default_factory=list)
    resolved: list = field(default_factory=list)
    count: int = 0

    def hear(self, mark):
        self.count += 1
        match mark:
            case Sent(code=code):
                self.told.append((code, []))
            case Told(cue=cue) if self.told:
                self.told[-1][1].append(cue)
            case Resolved(intent=intent):
                self.resolved.append(intent)


def faults_in(content, known, charges, ends, folder):
    """Put `content` into the folder, open it as a start does, and name all that is wrong.

    Args:
        content: Name -> bytes.
        known: A `Known`.
        charges: All that the gateway ever made; those of later requests are left out.
        ends: Code -> kind of the row that must be there once its customer was told an end.
        folder: Made, and taken away again.
    """
    folder.mkdir()
    try:
        for name, data in content.items():
            (folder / name).write_bytes(data)
        path = folder / "journal.db"
        try:
            forgotten = _recovered(path, known)
        except KioskError as error:
            return [f"it does not open: {str(error).replace(str(folder), '')}"]
        return [*forgotten, *_faults_of(path, known, charges, ends)]
    finally:
        shutil.rmtree(folder)


def _recovered(path, known):
    logging.disable()  # it says rightly, and thousands of times, what a restart finds
    try:
        with contextlib.closing(Journal.open(path)) as journal:
            recover(journal, 0.0, POLICY)
            # By a question of the product, as a code shown again would ask it.
            spent = [journal.spent(PaymeCode(code)) for code, _ in known.told]
    finally:
        logging.disable(logging.NOTSET)
    return [f"spent codes forgotten: {spent.count(None)}"] if None in spent else []


def _faults_of(path, known, charges, ends):
    sent = [code for code, _ in known.told]
    ledger = SimpleNamespace(
        requests=[SimpleNamespace(code=code) for code in sent],
        charges=[charge for charge in charges if charge.qr_code in sent],
    )
    yield from faults_of(path, ledger, known.told)
    if without_outcome(path):
        yield "announced and without outcome after a restart"
    rows = rows_of(path)
    written = Counter(kind for found in rows.values() for kind, _ in found)
    owed = Counter(ends[code] for code, cues in known.told if ENDS & set(cues))
    for kind in owed - written:
        yield f"customers were told their end, and a row is missing that says {kind}"
    for intent in known.resolved:
        if "resolved_approved" not in [kind for kind, _ in rows.get(intent, ())]:
            yield "what staff stated is gone"
