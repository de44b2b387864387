"""What the gateway's answer proves. A pure function of status and body.

The table is gateway-api.md section 3, "Outcomes". Whatever it does not name is unknown:
money may have moved.
"""

import json
import re
from typing import Any

from kiosk.core.code import mask_phone
from kiosk.core.intent import Answer, Outcome

MAX_BODY_BYTES = 64 * 1024
_PAYMENT_ID_USUAL = re.compile(r"[0-9a-fA-F]{24}")
# Refusals that are certain to precede the charge; 104 is also a billing error in one sample.
_CERTAIN_REFUSALS = frozenset({7, 333, 444})
_INVALID_ARGUMENT = 104


def read_answer(
    status: int, body: bytes, *, amount: int, code: str, trust_refusals: bool
) -> Answer:
    """Approved, declined, or unknown.

    Args:
        status: HTTP status.
        body: The whole body, identity encoding, at most `MAX_BODY_BYTES`.
        amount, code: As sent.
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
        if data.get("status") == "successfully":
            return _approved(data, body, amount=amount, code=code)
        if data.get("status") == "failed":
            return _refused(
                _declined(None, _text(data.get("message"), code) or "failed", body, data, code),
                trust_refusals=trust_refusals,
            )
    if status in (200, 400) and success is False and data is None and isinstance(error, dict):
        number = error.get("code")
        if type(number) is int:
            message = _text(error.get("message"), code)
            return _refused(
                _declined(number, message, body, {}, code), trust_refusals=trust_refusals
            )
    return _unknown(f"HTTP {status}, and the answer neither approves nor declines", body)


def _approved(data: dict[str, Any], body: bytes, *, amount: int, code: str) -> Answer:
    payment_id = data.get("payment_id")
    if not isinstance(payment_id, str) or not _is_printable_id(payment_id):
        return _unknown("it says success, but carries no usable payment_id", body)
    flags = []
    if type(data.get("amount")) is not int or data["amount"] != amount:
        flags.append("amount_differs")
    if not _PAYMENT_ID_USUAL.fullmatch(payment_id):
        flags.append("payment_id_unusual")
    if data.get("qr_code") != code:
        flags.append("echo_differs")
    phone = data.get("client_phone_number")
    transaction_id = data.get("transaction_id")
    return Answer(
        Outcome.APPROVED,
        _text(data.get("message"), code),
        payment_id=payment_id,
        transaction_id=transaction_id[:64] if isinstance(transaction_id, str) else None,
        facts=_facts(data, code),
        flags=tuple(flags),
        phone=phone[:32] if isinstance(phone, str) else None,
        raw=body,
    )


def _is_printable_id(text: str) -> bool:
    return 1 <= len(text) <= 64 and text.isprintable() and bool(text.strip())


def _declined(
    number: int | None, message: str, body: bytes, data: dict[str, Any], code: str
) -> Answer:
    facts = _facts(data, code)
    if number is not None:
        facts["error_code"] = number
    detail = f"error {number}: {message}" if number is not None else message
    return Answer(Outcome.DECLINED, detail, facts=facts, raw=body)


def _refused(answer: Answer, *, trust_refusals: bool) -> Answer:
    """A refusal, believed as far as the merchant configured."""
    number = answer.facts.get("error_code")
    billing = "billing" in answer.detail.lower()
    certain = number in _CERTAIN_REFUSALS or (number == _INVALID_ARGUMENT and not billing)
    if trust_refusals or certain:
        return answer
    return answer.doubted(
        "refusal_not_trusted", f"not certain to precede the charge: {answer.detail}"
    )


def _facts(data: dict[str, Any], code: str) -> dict[str, str | int | None]:
    """What accountants search by; strings as received, leading zeros matter."""
    facts: dict[str, str | int | None] = {}
    for name in ("inn", "kkm_id", "device_id", "status"):
        if isinstance(data.get(name), str):
            facts[name] = data[name].replace(code, "…")[:64]
    if type(data.get("amount")) is int:
        facts["amount"] = data["amount"]
    if isinstance(phone := data.get("client_phone_number"), str):
        facts["phone"] = mask_phone(phone)
    return facts


def _unknown(detail: str, body: bytes) -> Answer:
    return Answer(Outcome.UNKNOWN, detail, raw=body)


def _text(value: object, code: str) -> str:
    """A provider's text as a log may carry it: short, one line, no digits of code or phone."""
    if not isinstance(value, str):
        return ""
    line = " ".join(value.split())[:200].replace(code, "…")
    line = "".join(c for c in line if c.isprintable())
    return re.sub(r"\d{9,}", "…", line)


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
