"""Compares what the journal says with what the gateway really did. Written without the product.

The journal is read with SQL and the code's HMAC is computed here, so that a mistake of the
product in reading its own record cannot hide itself.
"""

import contextlib
import hmac
import sqlite3
from collections import Counter


def read(path, query, *values):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(query, values).fetchall()


def rows_of(path):
    """Intent -> [(kind, payment_id)], oldest first."""
    found = {}
    query = "SELECT intent, kind, payment_id FROM row ORDER BY seq"
    for intent, kind, payment_id in read(path, query):
        found.setdefault(intent, []).append((kind, payment_id))
    return found


def without_outcome(path):
    """Intents that were announced and whose end nobody wrote."""
    query = (
        "SELECT intent FROM row GROUP BY intent HAVING group_concat(kind) = 'sending'"
        " ORDER BY min(seq)"
    )
    return [intent for (intent,) in read(path, query)]


def ends_in_doubt(path):
    """Whether nobody knows how the newest payment ended; its customer may still stand there."""
    query = (
        "SELECT kind FROM row WHERE intent ="
        " (SELECT intent FROM row GROUP BY intent ORDER BY min(seq) DESC LIMIT 1)"
    )
    kinds = {kind for (kind,) in read(path, query)}
    return "sending" in kinds and not kinds & {"approved", "declined", "not_sent"}


def intent_of(path, code):
    """The intent that spent a code, by the journal's own means: an HMAC keyed by the device."""
    ((key,),) = read(path, "SELECT mac_key FROM device")
    found = read(path, "SELECT intent FROM spent WHERE mac = ?", _mac(key, code))
    return found[0][0] if found else None


def _mac(key, code):
    return hmac.digest(key, code.encode(), "sha256")[:16]


class Record:
    """All that a journal says, read once and at one moment."""

    def __init__(self, path):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            db.execute("BEGIN")
            self.is_whole = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            ((self._key,),) = db.execute("SELECT mac_key FROM device")
            self.spent = dict(db.execute("SELECT mac, intent FROM spent"))
            self.rows = {}
            self.amounts = {}
            query = "SELECT intent, kind, payment_id, amount_sum FROM row ORDER BY seq"
            for intent, kind, payment_id, amount_sum in db.execute(query):
                self.rows.setdefault(intent, []).append((kind, payment_id))
                if amount_sum is not None:
                    self.amounts[intent] = amount_sum

    def intent_of(self, code):
        return self.spent.get(_mac(self._key, code))

    def kinds(self, intent):
        return [kind for kind, _ in self.rows.get(intent, ())]


def faults_of(path, ledger, told=()):
    """Everything that is wrong, in words; nothing for a kiosk that keeps its promises.

    Args:
        path: The journal.
        ledger: The sandbox's.
        told: For each life (code, cues), oldest first: the code that was shown in it, and what
            lamp and buzzer told.
    """
    # In this order, so that it is right while a payment runs: a row is older than its request
    # and its charge, and an approval younger.
    requests, charges = ledger.requests, ledger.charges
    record = Record(path)
    faults = [] if record.is_whole else ["integrity_check"]
    faults += _faults_of_rows(record)
    faults += _faults_of_requests(record, requests)
    faults += _faults_of_charges(record, charges)
    faults += _faults_of_approvals(record, ledger.charges)
    faults += _faults_of_cues(record, requests, told)
    return faults


def faults_of_restart(path, in_doubt):
    """What a start may not leave behind, nor make of what it found.

    Args:
        path: The journal, once the kiosk serves again.
        in_doubt: Intents that were `without_outcome` before that start.
    """
    rows = rows_of(path)
    for intent in in_doubt:
        kinds = [kind for kind, _ in rows[intent]]
        if kinds != ["sending", "unknown"]:
            yield f"{intent} was in doubt before the restart, and became {kinds[1:]}"
    if left := without_outcome(path):
        yield f"after a restart nobody wrote how they ended: {left}"


def _faults_of_rows(record):
    spent = set(record.spent.values())
    owners = {}
    for intent, rows in record.rows.items():
        found = record.kinds(intent)
        if found.count("sending") > 1:
            yield f"{intent} was announced twice"
        if len(set(found)) != len(found):
            yield f"{intent} has a row twice: {found}"
        if found[0] not in ("sending", "not_sent"):
            yield f"{intent} begins with {found[0]}"
        if found[0] == "sending" and "not_sent" not in found and intent not in spent:
            yield f"{intent} was announced, and its code is not spent"
        for kind, payment_id in rows:
            if kind == "approved" and not payment_id:
                yield f"{intent} is approved without a payment_id"
            if payment_id and owners.setdefault(payment_id, intent) != intent:
                yield f"{intent} has the payment_id of {owners[payment_id]}"


def _faults_of_requests(record, requests):
    posts = Counter(request.code for request in requests)
    nameless = posts.pop(None, 0)  # its body never arrived: the sender died before
    for code, count in posts.items():
        if count > 1:
            yield f"a code was sent {count} times"
        if record.intent_of(code) is None:
            yield "a request has no row"
    announced = sum("sending" in record.kinds(intent) for intent in record.rows)
    if announced < len(posts) + nameless:
        yield f"{len(posts) + nameless} requests, {announced} sending rows"


def _faults_of_charges(record, charges):
    for charge in charges:
        intent = record.intent_of(charge.qr_code)
        found = record.kinds(intent)
        if "sending" not in found:
            yield "a charge has no row"
        elif record.amounts.get(intent) != charge.amount_sum:
            yield f"{intent} was charged another amount than its row says"
        if {"declined", "not_sent"} & set(found):
            yield f"{intent} was charged, and the journal says {found}"


def _faults_of_approvals(record, charges):
    charged = {record.intent_of(charge.qr_code): charge.payment_id for charge in charges}
    for intent, rows in record.rows.items():
        for kind, payment_id in rows:
            if kind == "approved" and payment_id != charged.get(intent):
                yield f"{intent} is approved, and the gateway knows another payment or none"


def _faults_of_cues(record, requests, told):
    sent = {request.code for request in requests}
    last_life = {code: life for life, (code, _) in enumerate(told)}
    approvals = Counter()
    for life, (code, cues) in enumerate(told):
        found = dict(record.rows.get(record.intent_of(code), ()))
        for cue in ("approved", "declined"):
            if cue in cues and cue not in found:
                yield f"a customer was told {cue}, and no row says so"
        if "approved" in cues and "approved" in found and not found["approved"]:
            yield "a customer was told approved, and no payment_id is on disk"
        approvals[code] += cues.count("approved")
        # Told "not sent", its customer may show it again, and then it is sent.
        if "not_sent" in cues and code in sent and last_life[code] == life:
            yield "a customer was told that nothing was sent, and something was"
    if any(count > 1 for count in approvals.values()):
        yield "a customer was told approved twice for one code"
