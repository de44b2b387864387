"""What the gateway's answer proves. A pure function of status and body.

The table is gateway-api.md section 3, "Outcomes". Whatever it does not name is unknown:
money may have moved.
"""

import json
import re
from dataclasses import replace
from typing import Any

from kiosk.core.code import mask_phone
from kiosk.core.intent import Answer, Outcome

MAX_BODY_BYTES = 64 * 1024
_PAYMENT_ID_USUAL = re.compile(r"[0-9a-fA-F]{24}")
# Refusals that are certain to precede the charge; 104 is also a billing error in one sample.
_CERTAIN_REFUSALS = frozenset({7, 333, 444})
_INVALID_ARGUMENT = 104
# Above the largest amount (in tiyin) and below every phone number with its country.
_MAX_AMOUNT = 100_000_000_000
_MAX_ERROR_CODE = 99_999_999
_SHORTEST_SECRET = 7
# Nine digits or more, also in groups: +998 (71) 256-50-09. A UUID has letters between them.
_LIKE_A_SECRET = re.compile(r"\d(?:[ ().-]*\d){8,}")


def read_answer(
    status: int, body: bytes, *, amount: int, code: str, trust_refusals: bool
) -> Answer:
    """Approved, declined, or unknown.

    Args:
        status: HTTP status.
        body: The whole body, identity encoding, at most `MAX_BODY_BYTES`.
        amount: As sent.
        code: As sent.
        trust_refusals: `gateway.trust_refusals`.
    """
    try:
        envelope = _parse(body)
    except ValueError as reason:
        return _unknown(f"HTTP {status}, and the answer cannot be read: {reason}", body)
    if not isinstance(envelope, dict):
        return _unknown(f"HTTP {status}, and the answer is no envelope", body)
    data, error = envelope.get("data", ...), envelope.get("error", ...)
    success = envelope.get("is_success")
    if status == 200 and success is True and error is None and isinstance(data, dict):
        hide = _Hide(code, data.get("client_phone_number"))
        if data.get("status") == "successfully":
            return _approved(data, body, hide, amount=amount, code=code)
        if data.get("status") == "failed":
            detail = hide.text(data.get("message")) or "failed"
            answer = Answer(
                Outcome.DECLINED,
                detail,
                payment_id=_payment_id_beside(data, code),
                facts=_facts(data, hide),
                raw=body,
            )
            return answer if trust_refusals else _doubted(answer)
    if status in (200, 400) and success is False and data is None and isinstance(error, dict):
        number = error.get("code")
        if type(number) is int:
            answer = _refused(number, _Hide(code, None).text(error.get("message")), body)
            certain = trust_refusals or _precedes_the_charge(number, error)
            return answer if certain else _doubted(answer)
    answer = _unknown(f"HTTP {status}, and the answer neither approves nor declines", body)
    return replace(answer, payment_id=_payment_id_beside(data, code))


def _approved(
    data: dict[str, Any], body: bytes, hide: "_Hide", *, amount: int, code: str
) -> Answer:
    payment_id, given = data.get("payment_id"), data.get("amount")
    if not isinstance(payment_id, str) or not _is_printable_id(payment_id):
        return _unknown("it says success, but carries no usable payment_id", body)
    flags = []
    if given != amount:
        flags.append("amount_differs")
    if not _PAYMENT_ID_USUAL.fullmatch(payment_id):
        flags.append("payment_id_unusual")
    if data.get("qr_code") != code:
        flags.append("echo_differs")
    phone = _printable(data.get("client_phone_number"))
    answer = Answer(
        Outcome.APPROVED,
        hide.text(data.get("message")),
        payment_id=payment_id,
        transaction_id=hide.known(data.get("transaction_id"))[:64] or None,
        facts=_facts(data, hide),
        flags=tuple(flags),
        phone=phone[:32] or None,
        raw=body,
    )
    if type(given) is not int:
        return answer.doubted("amount_unreadable", "it says success, but carries no usable amount")
    return answer


def _payment_id_beside(data: object, code: str) -> str | None:
    """The payment_id of an answer that approves nothing.

    If it was charged after all, this is the number that staff will need.
    """
    found = data.get("payment_id") if isinstance(data, dict) else None
    if isinstance(found, str) and _is_printable_id(found) and code not in found:
        return found
    return None


def _is_printable_id(text: str) -> bool:
    return 1 <= len(text) <= 64 and text.isprintable() and bool(text.strip())


def _refused(number: int, message: str, body: bytes) -> Answer:
    # A longer one could be the code itself or a phone number, and is no error of any document.
    shown = number if abs(number) <= _MAX_ERROR_CODE else "…"
    facts: dict[str, str | int | None] = {"error_code": shown}
    return Answer(Outcome.DECLINED, f"error {shown}: {message}", facts=facts, raw=body)


def _precedes_the_charge(number: int, error: dict[str, Any]) -> bool:
    billing = "billing" in json.dumps(error).lower()
    return number in _CERTAIN_REFUSALS or (number == _INVALID_ARGUMENT and not billing)


def _doubted(answer: Answer) -> Answer:
    return answer.doubted(
        "refusal_not_trusted", f"not certain to precede the charge: {answer.detail}"
    )


def _facts(data: dict[str, Any], hide: "_Hide") -> dict[str, str | int | None]:
    """What accountants search by; strings as received, leading zeros matter."""
    facts: dict[str, str | int | None] = {}
    for name in ("inn", "kkm_id", "device_id", "status"):
        if isinstance(data.get(name), str):
            facts[name] = hide.known(data[name])[:64]
    if type(given := data.get("amount")) is int:
        facts["amount"] = given if abs(given) <= _MAX_AMOUNT else "…"
    if isinstance(phone := data.get("client_phone_number"), str):
        facts["phone"] = mask_phone(_printable(phone))
    return facts


def _unknown(detail: str, body: bytes) -> Answer:
    return Answer(Outcome.UNKNOWN, detail, raw=body)


class _Hide:
    """Takes the code and the phone number out of a provider's texts."""

    def __init__(self, code: str, phone: object) -> None:
        # As it is written, and its digits alone: a box that takes fields for each other may keep
        # the one and the other.
        whole = str(phone) if type(phone) is int else _printable(phone)
        forms = (whole, "".join(c for c in whole if c.isdecimal()))
        self._secrets = [code, *(form for form in forms if len(form) >= _SHORTEST_SECRET)]

    def known(self, value: object) -> str:
        """A text as received, but printable and without these two."""
        line = _printable(value)
        for secret in self._secrets:
            line = line.replace(secret, "…")
        return line

    def text(self, value: object) -> str:
        """As a log may carry it: short, one line, nothing in it that looks like either."""
        return _LIKE_A_SECRET.sub("…", self.known(value))[:200]


def _printable(value: object) -> str:
    """In one line and storable: half a character of UTF-16 is legal JSON, but no text."""
    if not isinstance(value, str):
        return ""
    return "".join(c for c in " ".join(value.split()) if c.isprintable())


def _parse(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_no_twins, parse_constant=_no_constant
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        # Its text holds no part of the body; the exception itself would.
        raise ValueError(f"not JSON ({error.msg} at {error.pos})") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in it")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} in it is no JSON")
