"""Well-formed HTTP and JSON whose envelope is not the one of an approved payment."""

from kiosk.sandbox import answers
from kiosk.sandbox.answers import Json
from kiosk.sandbox.faults.fault import Action, Exchange, Fault, Outcome, fault

_ERROR: Json = {"code": answers.PAYMENT_ERROR, "message": "payment error", "data": None}


def _says(envelope: Json, status: int = 200) -> Action:
    return lambda x: x.answer(answers.encode(envelope), status)


def _refuses(**changes: object) -> Action:
    return _says({"data": None, "error": _ERROR, "is_success": False, **changes})


def _claims(**changes: object) -> Action:
    """The approving envelope with some of its three fields changed."""
    return lambda x: x.answer(answers.encode({**x.envelope(), **changes}))


def _without_is_success(x: Exchange) -> None:
    envelope = x.envelope()
    del envelope["is_success"]
    x.answer(answers.encode(envelope))


def _refusal(
    name: str, code: int, message: str, distrusted: Outcome = "unknown", status: int = 200
) -> Fault:
    return fault(
        name,
        "declined",
        f"HTTP {status}, error {code} {message}",
        _says(answers.refusal(code, message), status),
        distrusted=distrusted,
    )


REFUSALS: tuple[Fault, ...] = (
    _refusal("declined", answers.PAYMENT_ERROR, "insufficient funds"),
    _refusal("declined-400", answers.INVALID_ARGUMENT, "INVALID_ARGUMENT", "declined", 400),
    _refusal("declined-400-payment", answers.PAYMENT_ERROR, "payment error", status=400),
    _refusal("error-7", answers.INVALID_FIELDS, '{"qr_code": ["unknown code"]}', "declined"),
    _refusal("error-101", 101, "PRINTER_ERROR"),
    _refusal("error-102", answers.NOT_INITIALISED, "FISCAL_MODULE_NOT_INITIALIZED"),
    _refusal("error-103", 103, "INTERNAL_ERROR"),
    _refusal("error-104", answers.INVALID_ARGUMENT, "INVALID_ARGUMENT", "declined"),
    _refusal("error-104-billing", answers.INVALID_ARGUMENT, "BILLING_ERROR"),
    _refusal("error-105", 105, "BILLING_ERROR"),
    _refusal("error-303", 303, "ORDER_NOT_SAVED"),
    _refusal("error-333", answers.SUBSCRIPTION_EXPIRED, "SUBSCRIPTION_EXPIRED", "declined"),
    _refusal("error-444", 444, "ACCESS_FROM_ANOTHER_IP", "declined"),
    _refusal("error-unheard-of", -31050, "no such error in the documents"),
)

_SHAPES: tuple[tuple[str, str, Action], ...] = (
    ("string-error", "is_success false, error a string", _refuses(error="payment error")),
    ("no-error", "is_success false, error null", _refuses(error=None)),
    ("error-empty", "is_success false, error an empty object", _refuses(error={})),
    ("error-list", "is_success false, error a list", _refuses(error=[_ERROR])),
    ("error-code-string", 'error.code is "106"', _refuses(error={**_ERROR, "code": "106"})),
    ("error-code-true", "error.code is true", _refuses(error={**_ERROR, "code": True})),
    ("error-code-null", "error.code is null", _refuses(error={**_ERROR, "code": None})),
    ("error-code-fraction", "error.code is 106.5", _refuses(error={**_ERROR, "code": 106.5})),
    ("false-with-empty-data", "a refusal whose data is {}", _refuses(data={})),
    ("refusal-false-string", 'a refusal with is_success "false"', _refuses(is_success="false")),
    ("refusal-zero", "a refusal with is_success 0", _refuses(is_success=0)),
    ("refusal-null", "a refusal with is_success null", _refuses(is_success=None)),
    (
        "false-with-data",
        "is_success false and an error beside the data of a payment",
        _claims(is_success=False, error=_ERROR),
    ),
    (
        "false-with-data-no-error",
        "is_success false and no error beside the data of a payment",
        _claims(is_success=False),
    ),
    ("success-false-string", 'a payment with is_success "false"', _claims(is_success="false")),
    ("success-true-string", 'a payment with is_success "true"', _claims(is_success="true")),
    ("success-one", "a payment with is_success 1", _claims(is_success=1)),
    ("success-null", "a payment with is_success null", _claims(is_success=None)),
    ("success-missing", "a payment without is_success", _without_is_success),
    ("success-with-error", "a payment beside an error object", _claims(error=_ERROR)),
    ("success-with-string", "a payment beside a string error", _claims(error="warning")),
    ("success-without-data", "is_success true, data null", _claims(data=None)),
    ("success-empty-data", "is_success true, data {}", _claims(data={})),
    ("data-list", "is_success true, data a list", _claims(data=[])),
    ("data-string", "is_success true, data a string", _claims(data="successfully")),
)

ENVELOPES: tuple[Fault, ...] = (
    *REFUSALS,
    # The money moves in each of them: a client that took one for a refusal would be found out.
    *(fault(name, "unknown", text, run, charges=True) for name, text, run in _SHAPES),
)
