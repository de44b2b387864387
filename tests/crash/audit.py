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
    return [i for i, rows in rows_of(path).items() if [k for k, _ in rows] == ["sending"]]


def intent_of(path, code):
    """The intent that spent a code, by the journal's own means: an HMAC keyed by the device."""
    ((key,),) = read(path, "SELECT mac_key FROM device")
    mac = hmac.digest(key, code.encode(), "sha256")[:16]
    found = read(path, "SELECT intent FROM spent WHERE mac = ?", mac)
    return found[0][0] if found else None


def faults_of(path, ledger, told=()):
    """Everything that is wrong, in words; nothing for a kiosk that keeps its promises.

    Args:
        path: The journal.
        ledger: The sandbox's.
        told: For each life (code, cues): the code that was shown in it, and what lamp and
            buzzer told.
    """
    rows = rows_of(path)
    faults = [] if read(path, "PRAGMA integrity_check") == [("ok",)] else ["integrity_check"]
    faults += _faults_of_rows(rows)
    faults += _faults_of_requests(path, rows, ledger)
    faults += _faults_of_charges(path, rows, ledger)
    faults += _faults_of_cues(path, rows, ledger, told)
    return faults


def _kinds(rows, intent):
    return [kind for kind, _ in rows.get(intent, ())]


def _faults_of_rows(rows):
    for intent in rows:
        found = _kinds(rows, intent)
        if found.count("sending") > 1:
            yield f"{intent} was announced twice"
        if len(set(found)) != len(found):
            yield f"{intent} has a row twice: {found}"
        if found[0] not in ("sending", "not_sent"):
            yield f"{intent} begins with {found[0]}"


def _faults_of_requests(path, rows, ledger):
    posts = Counter(request.code for request in ledger.requests)
    nameless = posts.pop(None, 0)  # its body never arrived: the sender died before
    for code, count in posts.items():
        if count > 1:
            yield f"a code was sent {count} times"
        if intent_of(path, code) is None:
            yield "a request has no row"
    announced = sum("sending" in _kinds(rows, intent) for intent in rows)
    if announced < len(posts) + nameless:
        yield f"{len(posts) + nameless} requests, {announced} sending rows"


def _faults_of_charges(path, rows, ledger):
    charged = {}
    for charge in ledger.charges:
        intent = intent_of(path, charge.qr_code)
        charged[intent] = charge.payment_id
        found = _kinds(rows, intent)
        if "sending" not in found:
            yield "a charge has no row"
        if {"declined", "not_sent"} & set(found):
            yield f"{intent} was charged, and the journal says {found}"
    for intent, found in rows.items():
        for kind, payment_id in found:
            if kind == "approved" and payment_id != charged.get(intent):
                yield f"{intent} is approved, and the gateway knows another payment or none"


def _faults_of_cues(path, rows, ledger, told):
    sent = {request.code for request in ledger.requests}
    for code, cues in told:
        found = _kinds(rows, intent_of(path, code))
        for cue in ("approved", "declined"):
            if cue in cues and cue not in found:
                yield f"a customer was told {cue}, and no row says so"
        if "not_sent" in cues and code in sent:
            yield "a customer was told that nothing was sent, and something was"
