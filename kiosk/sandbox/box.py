"""The box on a good day: which payments it takes, and what it answers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kiosk.sandbox import answers
from kiosk.sandbox.answers import Json, RefusedError
from kiosk.sandbox.http1 import Head
from kiosk.sandbox.ledger import AlreadyChargedError, Charge, Ledger

AmountUnit = Literal["sum", "tiyin"]
_TIYIN_PER_SUM = 100
_MAX_CODE_LENGTH = 256


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """A `POST /payment/payme` that passed validation; `amount` in the box's unit."""

    amount: int
    qr_code: str


class Box:
    """Takes payments into a ledger.

    Threads: any.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        amount_unit: AmountUnit,
        decline: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        """Codes in `decline` have no money; `clock` is the box's, in seconds since 1970."""
        self._ledger = ledger
        self._amount_unit = amount_unit
        self._decline = decline
        self._clock = clock

    def info(self) -> Json:
        """The answer of `GET /info/`."""
        return answers.success(answers.info_data(self._clock(), len(self._ledger.charges)))

    def read_payment(self, head: Head, body: bytes) -> PaymentRequest:
        """Check a request as the box does.

        Raises:
            RefusedError: 104 for something that is no JSON object, 7 for a wrong field.
        """
        if head.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise RefusedError(answers.INVALID_ARGUMENT, "Content-Type must be application/json")
        fields = _read_object(body)
        amount, code = fields.get("amount"), fields.get("qr_code")
        wrong: dict[str, list[str]] = {}
        if isinstance(amount, bool) or not isinstance(amount, int):
            wrong["amount"] = ["a whole number is required"]
        elif amount <= 0:
            wrong["amount"] = ["must be positive"]
        elif self._amount_unit == "tiyin" and amount % _TIYIN_PER_SUM:
            wrong["amount"] = ["whole sums are required, in tiyin"]
        if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE_LENGTH:
            wrong["qr_code"] = ["a string is required"]
        if wrong or not isinstance(amount, int) or not isinstance(code, str):
            raise RefusedError(answers.INVALID_FIELDS, json.dumps(wrong))
        return PaymentRequest(amount, code)

    def take(self, payment: PaymentRequest, *, really: bool) -> Charge:
        """Move the money, or with `really` false only imagine it.

        Raises:
            RefusedError: 106, the code was charged before or has no money.
        """
        if not really:
            return self.imagine(payment)
        if payment.qr_code in self._decline:
            raise RefusedError(answers.PAYMENT_ERROR, "insufficient funds")
        amount_sum = self._in_sum(payment.amount)
        try:
            return self._ledger.charge(payment.qr_code, payment.amount, amount_sum)
        except AlreadyChargedError as error:
            raise RefusedError(answers.PAYMENT_ERROR, "code already used") from error

    def imagine(self, payment: PaymentRequest) -> Charge:
        """A charge that does not happen, for a fault to speak of."""
        return self._ledger.imagine(payment.qr_code, payment.amount, self._in_sum(payment.amount))

    def _in_sum(self, amount: int) -> int:
        return amount // _TIYIN_PER_SUM if self._amount_unit == "tiyin" else amount


def _read_object(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body, object_pairs_hook=_refuse_doubles)
    except (ValueError, RecursionError) as error:
        raise RefusedError(answers.INVALID_ARGUMENT, "the body is not JSON") from error
    if not isinstance(fields, dict):
        raise RefusedError(answers.INVALID_ARGUMENT, "the body is not an object")
    return fields


def _refuse_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice")
    return fields
