"""What must hold of one payment, whatever the network and the box did. Names what does not.

Nothing here trusts the client: the sandbox's ledger says what was charged, the journal is read
with SQL, and what a customer was told is compared with both.
"""

import json

import audit


def faults_of(payment, code, till, ledger):
    """Everything that is wrong with this payment, in words.

    Args:
        payment: What the till tells, see `till.Payment`.
        code: What the customer held up.
        till: Where it was paid.
        ledger: The sandbox's.
    """
    yield from payment.broken_promises()
    requests = [request for request in ledger.requests if request.code == code]
    charge = ledger.charge_of(code)
    if len(requests) > 1:
        yield f"{len(requests)} requests"
    if ledger.canary_hits:
        yield "somebody went where a redirect pointed"
    if payment.outcome == "declined" and charge is not None:
        yield "told declined, and money moved"
    if payment.outcome == "not_sent" and requests:
        yield "told that nothing was sent, and a request arrived"
    if payment.outcome == "approved" and charge is None:
        yield "told approved, and nothing was charged"
    yield from _faults_of_rows(payment, code, till, charge)


def _faults_of_rows(payment, code, till, charge):
    rows = till.rows(payment.intent)
    kinds = [kind for kind, _, _ in rows]
    announced = ["sending"] if "sending" in kinds else []
    if kinds != [*announced, payment.outcome]:
        yield f"told {payment.outcome}, and the journal says {kinds}"
    if charge is not None and not announced:
        yield "a charge without a row"
    spent = audit.intent_of(till.journal, code)
    if spent != (None if payment.outcome == "not_sent" else payment.intent):
        yield f"after {payment.outcome} the code is {'spent' if spent else 'free'}"
    if code in json.dumps([body for _, _, body in rows]):
        yield "the code stands in a row"
