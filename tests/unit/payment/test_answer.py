"""The outcome table of the gateway's answers, row by row, and over anything a box may say."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiosk.core.intent import Answer, Outcome
from kiosk.payment.answer import read_answer
from kiosk.payment.recovery import Spilled

CODE = "50502044301381396427"
PHONE = "998712565009"
AMOUNT = 1000
PAYMENT_ID = "696e0246c9a128176d5934d8"
TRANSACTION_ID = "a12fc00f-5af5-65b8-adf8-74bff44680ee"
DATA = {
    "amount": AMOUNT,
    "transaction_id": TRANSACTION_ID,
    "payment_id": PAYMENT_ID,
    "inn": "123456789",
    "qr_code": CODE,
    "kkm_id": "00000011",
    "device_id": "00000011",
    "status": "successfully",
    "message": "successfully payment",
    "client_phone_number": PHONE,
}
ABSENT = object()


def read(body: object, status: int = 200, *, trusting: bool = True) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer(status, raw, amount=AMOUNT, code=CODE, trust_refusals=trusting)


def paid(**changes: object) -> dict[str, object]:
    data = {name: value for name, value in {**DATA, **changes}.items() if value is not ABSENT}
    return {"data": data, "error": None, "is_success": True}


def refused(code: object, message: object = "no", **changes: object) -> dict[str, object]:
    error = {"code": code, "message": message, "data": None}
    return {"data": None, "error": error, "is_success": False, **changes}


# --- approved --------------------------------------------------------------------------------


def test_the_answer_of_the_contract_approves():
    answer = read(paid())

    assert answer.outcome is Outcome.APPROVED
    assert answer.payment_id == PAYMENT_ID
    assert answer.transaction_id == TRANSACTION_ID
    assert answer.facts == {
        "inn": "123456789",
        "kkm_id": "00000011",
        "device_id": "00000011",
        "status": "successfully",
        "amount": AMOUNT,
        "phone": "9987…09",
    }
    assert answer.flags == ()
    assert answer.phone == PHONE
    assert json.loads(answer.raw or b"") == paid()


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"amount": AMOUNT + 1}, "amount_differs"),
        ({"amount": AMOUNT * 100}, "amount_differs"),
        ({"amount": 0}, "amount_differs"),
        ({"amount": -AMOUNT}, "amount_differs"),
        ({"amount": 10**30}, "amount_differs"),
        ({"payment_id": TRANSACTION_ID}, "payment_id_unusual"),
        ({"payment_id": "x"}, "payment_id_unusual"),
        ({"payment_id": "z" * 64}, "payment_id_unusual"),
        ({"payment_id": PAYMENT_ID + "\u00e9"}, "payment_id_unusual"),
        ({"qr_code": "50502244301381336427"}, "echo_differs"),
        ({"qr_code": ABSENT}, "echo_differs"),
    ],
)
def test_what_is_odd_about_an_approval_is_flagged(changes: dict[str, object], flag: str):
    answer = read(paid(**changes))

    assert answer.outcome is Outcome.APPROVED
    assert answer.flags == (flag,)


@pytest.mark.parametrize(
    "payment_id",
    [ABSENT, None, "", " ", 696024, True, [PAYMENT_ID], "a" * 65, "a\nb", "a\x00b", "a\u202eb"],
)
def test_success_without_a_usable_payment_id_is_unknown(payment_id: object):
    answer = read(paid(payment_id=payment_id))

    assert answer.outcome is Outcome.UNKNOWN
    assert answer.raw is not None


@pytest.mark.parametrize("amount", [ABSENT, None, str(AMOUNT), 1000.0, True, [AMOUNT]])
def test_success_with_an_amount_of_another_type_is_unknown_and_keeps_the_payment_id(
    amount: object,
):
    answer = read(paid(amount=amount))

    assert answer.outcome is Outcome.UNKNOWN
    assert "amount_unreadable" in answer.flags
    assert answer.payment_id == PAYMENT_ID


# --- declined --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("code", [7, 101, 102, 103, 104, 105, 106, 303, 333, 444, 0, -31050])
def test_an_error_with_a_number_and_no_data_declines(status: int, code: int):
    answer = read(refused(code), status)

    assert answer.outcome is Outcome.DECLINED
    assert answer.facts == {"error_code": code}
    assert answer.detail == f"error {code}: no"
    assert answer.payment_id is None


def test_status_failed_declines():
    assert read(paid(status="failed")).outcome is Outcome.DECLINED
    assert read(paid(status="failed", message=ABSENT)).detail == "failed"
    assert read(paid(status="failed"), trusting=False).outcome is Outcome.UNKNOWN
    assert read(paid(status="failed"), 400).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "message", "believed"),
    [
        (7, "{}", True),
        (333, "SUBSCRIPTION_EXPIRED", True),
        (444, "ACCESS_FROM_ANOTHER_IP", True),
        (104, "INVALID_ARGUMENT", True),
        (104, "BILLING_ERROR", False),
        (104, "x" * 300 + " billing", False),
        (105, "BILLING_ERROR", False),
        (106, "insufficient funds", False),
        (101, "PRINTER_ERROR", False),
        (0, "", False),
    ],
)
def test_a_merchant_may_believe_only_what_precedes_the_charge(
    code: int, message: str, believed: bool
):
    answer = read(refused(code, message), trusting=False)

    assert (answer.outcome is Outcome.DECLINED) == believed
    assert (answer.flags == ("refusal_not_trusted",)) != believed


def test_a_billing_error_may_stand_in_the_data_of_an_error():
    error = {"code": 104, "message": "INVALID_ARGUMENT", "data": "BILLING_ERROR"}

    answer = read({"data": None, "error": error, "is_success": False}, trusting=False)

    assert answer.outcome is Outcome.UNKNOWN


# --- unknown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        paid(status=ABSENT),
        paid(status=None),
        paid(status="processing"),
        paid(status="SUCCESSFULLY"),
        paid(status="successfully "),
        paid(status=True),
        {**paid(), "is_success": 1},
        {**paid(), "is_success": "true"},
        {**paid(), "is_success": None},
        {**paid(), "error": {"code": 106}},
        {**paid(), "error": ""},
        {**paid(), "error": False},
        {**paid(), "data": None},
        {**paid(), "data": [DATA]},
        {"data": DATA, "is_success": True},
        refused("106"),
        refused(True),
        refused(None),
        refused(106.0),
        refused(106, is_success=0),
        refused(106, is_success="false"),
        refused(106, is_success=None),
        refused(106, data={}),
        refused(106, data=DATA),
        refused(106, error="payment error"),
        refused(106, error=None),
        refused(106, error=[{"code": 106}]),
        refused(106, error={}),
        {"error": {"code": 106}, "is_success": False},
        {},
        [],
        "successfully",
        None,
        200,
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_everything_else_is_unknown(body: object, status: int):
    assert read(body, status).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [100, 101, 201, 202, 204, 206, 301, 302, 307, 401, 404, 500])
@pytest.mark.parametrize("body", [paid(), refused(106), paid(status="failed")])
def test_nothing_is_believed_on_another_status(status: int, body: dict[str, object]):
    assert read(body, status).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("body", "status"),
    [(paid(), 502), (paid(status="processing"), 200), ({**paid(), "is_success": False}, 200)],
)
def test_the_payment_id_of_an_answer_that_is_not_believed_is_not_lost(
    body: dict[str, object], status: int
):
    answer = read(body, status)

    assert (answer.outcome, answer.payment_id) == (Outcome.UNKNOWN, PAYMENT_ID)


def test_a_code_is_no_payment_id():
    assert read(paid(payment_id=f"x{CODE}"), 502).payment_id is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + json.dumps(paid()).encode(),
        json.dumps(paid()).encode("utf-16"),
        json.dumps(paid()).encode() * 2,
        b"[" * 60_000,
        json.dumps(paid()).replace("1000", "NaN").encode(),
        json.dumps(paid()).replace("1000", "-Infinity").encode(),
        json.dumps(paid()).replace("1000", "1" * 5000).encode(),
        json.dumps(paid()).replace('"is_success"', '"is_success": false, "is_success"').encode(),
        json.dumps(paid()).replace('"status"', r'"st\u0061tus": "failed", "status"').encode(),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_breaks_the_rules_of_json_is_unknown(body: bytes):
    answer = read(body)

    assert answer.outcome is Outcome.UNKNOWN
    assert answer.raw == body


# --- any bytes, any JSON ---------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=70)
    | st.sampled_from(
        [
            CODE,
            PHONE,
            PAYMENT_ID,
            "successfully",
            "failed",
            AMOUNT,
            int(CODE),
            int(PHONE),
            1,
            0,
            "true",
            "false",
            10**40,
            "�",
            f"+{PHONE}",
            f"{CODE[:7]}\u200b{CODE[7:]}",
            "+998 (71) 256-50-09",
            f"x{CODE}y{PHONE}",
            " ".join(PHONE),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def envelopes(draw: st.DrawFn) -> dict[str, Any]:
    """Near the contract: each field is right, something else, or missing."""
    data: dict[str, Any] = {}
    for name, right in DATA.items():
        match draw(st.sampled_from(["right", "right", "right", "odd", "missing"])):
            case "right":
                data[name] = right
            case "odd":
                data[name] = draw(values)
    if draw(st.booleans()):
        data["status"] = draw(st.sampled_from(["successfully", "failed", "created"]))
    envelope: dict[str, Any] = {}
    error = st.fixed_dictionaries({"code": values | st.integers(), "message": values})
    for name, choice in {
        "data": st.just(data) | st.none() | values,
        "error": st.none() | error | values,
        "is_success": st.booleans() | values,
    }.items():
        if draw(st.integers(0, 9)):
            envelope[name] = draw(choice)
    return envelope


statuses = st.sampled_from([200, 200, 200, 400, 204, 302, 500])


def digits_of(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and c not in " ().-")


def check(answer: Answer, envelope: object, status: int) -> None:
    """What holds whatever a box said."""
    parts: dict[str, Any] = envelope if isinstance(envelope, dict) else {}
    data = parts.get("data")
    is_success = parts.get("is_success")
    if answer.outcome is Outcome.APPROVED:
        assert status == 200
        assert is_success is True
        assert parts["error"] is None
        assert isinstance(data, dict)
        assert data["status"] == "successfully"
        assert answer.payment_id == data["payment_id"]
        assert 1 <= len(data["payment_id"]) <= 64
        assert data["payment_id"].isprintable()
    if answer.outcome is Outcome.DECLINED:
        success = is_success is True and isinstance(data, dict)
        assert not (success and data.get("status") == "successfully")
        assert status in (200, 400)
        assert type(is_success) is bool
    assert answer.outcome is not Outcome.NOT_SENT
    shown = f"{answer.detail} {answer.facts} {answer.transaction_id}"
    assert CODE not in shown
    # In an answer that does not say whose phone it was, these digits may be a taxpayer's number.
    named = data.get("client_phone_number") if isinstance(data, dict) else PHONE
    if digits_of(str(named)).lstrip("+") == PHONE:
        assert PHONE not in shown
    assert CODE not in digits_of(answer.detail)
    assert PHONE not in digits_of(answer.detail)
    # Whatever stands in it can be stored: UTF-8, 64 bits.
    again = msgspec.json.decode(
        msgspec.json.encode(Spilled(intent="i", answer=answer)), type=Spilled
    )
    assert again.answer == answer


@given(envelopes(), statuses, st.booleans())
@example(refused(int(CODE), CODE), 200, True)
@example(refused(int(PHONE), f"+{PHONE}"), 400, True)
@example(paid(amount=int(CODE)), 200, True)
@example(paid(inn=CODE, kkm_id=PHONE, device_id="\ud800"), 200, True)
@example(paid(client_phone_number=f"+{PHONE}", kkm_id=PHONE), 200, True)
@example(paid(client_phone_number="+998 (71) 256-50-09", kkm_id=f"1{PHONE}2"), 200, True)
@example(paid(client_phone_number=int(PHONE), inn=PHONE), 200, True)
@example(paid(client_phone_number=None, inn=f"123{PHONE}89"), 200, True)
@example(paid(transaction_id="\udfff", client_phone_number="\ud800" * 40), 200, True)
@example(paid(message=f"{CODE[:9]}\u200b{CODE[9:]} of +998 (71) 256-50-09"), 200, True)
@example(paid(message=f"{PHONE[:6]}....{PHONE[6:]}"), 200, True)
def test_no_json_is_taken_for_more_than_it_proves(
    envelope: dict[str, Any], status: int, trusting: bool
):
    answer = read(envelope, status, trusting=trusting)

    check(answer, json.loads(json.dumps(envelope)), status)


@given(values, statuses)
def test_any_json_value_is_read_without_an_error(value: object, status: int):
    answer = read(value, status)

    assert answer.outcome is Outcome.UNKNOWN or isinstance(value, dict)
    check(answer, value, status)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()), statuses)
def test_any_bytes_are_read_without_an_error(body: bytes, status: int):
    try:
        envelope = json.loads(body)
    except ValueError:
        envelope = None
    check(read(body, status), envelope, status)


@given(st.data())
def test_a_byte_that_is_flipped_never_declines_a_payment(data: st.DataObject):
    body = bytearray(json.dumps(paid()).encode())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))

    assert read(bytes(body)).outcome is not Outcome.DECLINED


def test_a_code_that_is_no_number_is_hidden_too():
    body = paid(message="spent: ab\u200bc-def", inn="abc-def", qr_code="abc-def")

    answer = read_answer(
        200, json.dumps(body).encode(), amount=AMOUNT, code="abc-def", trust_refusals=True
    )

    assert answer.outcome is Outcome.APPROVED
    assert answer.detail == "spent: …"
    assert answer.facts["inn"] == "…"


def test_no_phone_is_no_phone():
    for phone in (None, ABSENT, 998712565009):
        answer = read(paid(client_phone_number=phone))
        assert (answer.phone, "phone" in answer.facts) == (None, False)


def test_a_long_text_becomes_short():
    answer = read(paid(message="word " * 500, transaction_id="t" * 500))

    assert len(answer.detail) == 200
    assert answer.transaction_id == "t" * 64


def test_the_payment_id_of_a_failed_payment_is_kept():
    data = {"status": "failed", "payment_id": "696e0246c9a128176d5934d8", "amount": 1000}
    body = json.dumps({"data": data, "error": None, "is_success": True}).encode()

    answer = read_answer(200, body, amount=1000, code="50502044301381396427", trust_refusals=True)

    assert answer.outcome is Outcome.DECLINED
    assert answer.payment_id == "696e0246c9a128176d5934d8"
