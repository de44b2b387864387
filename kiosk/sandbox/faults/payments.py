"""An approving envelope whose payment data is not what it should be."""

from kiosk.sandbox import answers
from kiosk.sandbox.faults.fault import Action, Exchange, Fault, Outcome, fault


def _pays(**changes: object) -> Action:
    return lambda x: x.answer(x.body(**changes))


def _lacks(field: str) -> Action:
    def run(x: Exchange) -> None:
        data = answers.payment_data(x.charge)
        del data[field]
        x.answer(answers.encode(answers.success(data)))

    return run


def _surrogate(x: Exchange) -> None:
    # Legal JSON for many parsers, but no Unicode text: it cannot be stored as UTF-8.
    x.answer(x.body(payment_id="@@").replace(b"@@", rb"696e\ud8000246"))


def _amounts(name: str, text: str, run: Action, also: Outcome | None = None) -> Fault:
    return fault(name, "approved", text, run, charges=True, flagged=True, also=also)


def _unknown(name: str, text: str, run: Action) -> Fault:
    return fault(name, "unknown", text, run, charges=True)


def _approved(name: str, text: str, run: Action) -> Fault:
    return fault(name, "approved", text, run, charges=True)


_HEX = "696e0246c9a128176d59"

STATUSES: tuple[Fault, ...] = (
    fault("status-failed", "declined", 'is_success true, status "failed"', _pays(status="failed")),
    _unknown("status-other", 'status "processing"', _pays(status="processing")),
    _unknown("status-success", 'status "success"', _pays(status="success")),
    _unknown("status-upper-case", 'status "SUCCESSFULLY"', _pays(status="SUCCESSFULLY")),
    _unknown("status-failed-padded", 'status "failed "', _pays(status="failed ")),
    _unknown("status-empty", "status is empty", _pays(status="")),
    _unknown("status-null", "status is null", _pays(status=None)),
    _unknown("status-true", "status is true", _pays(status=True)),
    _unknown("status-missing", "no status", _lacks("status")),
)

AMOUNTS: tuple[Fault, ...] = (
    _amounts(
        "wrong-amount",
        "the amount is one more than asked",
        lambda x: x.answer(x.body(amount=x.charge.amount + 1)),
    ),
    _amounts(
        "amount-times-100",
        "the amount is a hundred times what was asked, as if in tiyin",
        lambda x: x.answer(x.body(amount=x.charge.amount * 100)),
    ),
    _amounts("amount-zero", "the amount is 0", _pays(amount=0)),
    _amounts("amount-negative", "the amount is -1000", _pays(amount=-1000)),
    # Too large for the integers of many parsers and databases.
    _amounts("amount-huge", "the amount is 10**30", _pays(amount=10**30), also="unknown"),
    _unknown(
        "amount-string",
        "the amount is a string of digits",
        lambda x: x.answer(x.body(amount=str(x.charge.amount))),
    ),
    _unknown("amount-fraction", "the amount is 1000.5", _pays(amount=1000.5)),
    _unknown("amount-true", "the amount is true", _pays(amount=True)),
    _unknown("amount-null", "the amount is null", _pays(amount=None)),
    _unknown("amount-missing", "no amount", _lacks("amount")),
)

PAYMENT_IDS: tuple[Fault, ...] = (
    _unknown("payment-id-missing", "no payment_id", _lacks("payment_id")),
    _unknown("payment-id-null", "payment_id is null", _pays(payment_id=None)),
    _unknown("payment-id-empty", "payment_id is empty", _pays(payment_id="")),
    _unknown("payment-id-integer", "payment_id is a number", _pays(payment_id=696024)),
    _unknown("payment-id-65", "payment_id has 65 characters", _pays(payment_id="a" * 65)),
    _unknown("payment-id-huge", "payment_id has 10,000 digits", _pays(payment_id="6" * 10_000)),
    _unknown(
        "payment-id-control",
        "payment_id has control characters",
        _pays(payment_id=_HEX + "\x1b[2\n"),
    ),
    _unknown("payment-id-nul", "payment_id has a NUL", _pays(payment_id=_HEX + "\x00934")),
    _unknown("payment-id-rtl", "payment_id turns the line", _pays(payment_id=_HEX + "\u202e93")),
    _unknown("payment-id-surrogate", "payment_id has half a character", _surrogate),
    _amounts(
        "payment-id-non-hex",
        "payment_id has 24 characters, not all hexadecimal",
        lambda x: x.answer(x.body(payment_id=x.charge.payment_id[:22] + "zz")),
    ),
    _amounts(
        "payment-id-uuid",
        "payment_id is a UUID",
        lambda x: x.answer(x.body(payment_id=x.charge.transaction_id)),
    ),
    _amounts(
        "payment-id-64",
        "payment_id has 64 characters, the most that is taken",
        lambda x: x.answer(x.body(payment_id=x.charge.payment_id + "-" * 40)),
    ),
    fault(
        "payment-id-repeated",
        "unknown",
        "payment_id is the one of the ledger's first charge (which must exist)",
        lambda x: x.answer(x.body(payment_id=(x.earlier or x.charge).payment_id)),
        charges=True,
        flagged=True,
    ),
)

ECHOES: tuple[Fault, ...] = (
    _approved("echo-differs", "another qr_code", _pays(qr_code="50502244301381336427")),
    _approved("echo-missing", "no qr_code", _lacks("qr_code")),
    _approved("phone-null", "client_phone_number is null", _pays(client_phone_number=None)),
    _approved("transaction-id-missing", "no transaction_id", _lacks("transaction_id")),
    _approved("message-missing", "no message", _lacks("message")),
    _approved(
        "message-hostile",
        "a message for terminals, spreadsheets and browsers to stumble over",
        _pays(message="=cmd|'/c calc'!A1\r\n\x1b]0;owned\x07<script>alert(1)</script>\u202e"),
    ),
    _approved("extra-fields", "fields that no document mentions", _pays(cashback={"sum": [1]})),
)

PAYMENTS: tuple[Fault, ...] = (*STATUSES, *AMOUNTS, *PAYMENT_IDS, *ECHOES)
