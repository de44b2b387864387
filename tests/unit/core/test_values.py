"""Codes, amounts and masks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk.core.code import (
    MARK_BYTES,
    PaymeCode,
    Refusal,
    check_payload,
    mark_of,
    mask,
    mask_phone,
)
from kiosk.core.intent import Answer, Outcome
from kiosk.core.money import amount_for_gateway, format_sum, is_payable

PATTERN = re.compile(rb"[0-9]{20}")
DIGITS = b"50502044301381396427"


def test_twenty_digits_in_a_qr_code_are_a_code():
    assert check_payload(DIGITS, "qr", PATTERN) == PaymeCode(DIGITS.decode())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        DIGITS + b"\n",
        b"\n" + DIGITS,
        DIGITS[:-1],
        DIGITS + b"1",
        DIGITS + b"\x00",
        b"https://payme.uz/" + DIGITS,
        "٥٠٥٠٢٠٤٤٣٠١٣٨١٣٩٦٤٢٧".encode(),
        "５０５０２０４４３０１３８１３９６４２７".encode(),
        DIGITS.decode().encode("utf-16"),
        b"\xff" * 20,
    ],
)
def test_anything_else_is_not_payme(payload):
    assert check_payload(payload, "qr", PATTERN) is Refusal.NOT_PAYME


@pytest.mark.parametrize("kind", ["micro_qr", "aztec", "code128", "other", ""])
def test_another_symbology_with_the_right_digits_is_refused(kind):
    assert check_payload(DIGITS, kind, PATTERN) is Refusal.NOT_QR


def test_a_part_of_a_larger_message_is_refused():
    assert check_payload(DIGITS, "part", PATTERN) is Refusal.PART


def test_even_a_careless_pattern_lets_only_ascii_pass():
    assert check_payload("код".encode(), "qr", re.compile(rb".*")) is Refusal.NOT_PAYME


@given(st.binary(max_size=30), st.sampled_from(["qr", "part", "other"]))
def test_only_twenty_ascii_digits_ever_pass(payload, kind):
    checked = check_payload(payload, kind, PATTERN)

    is_code = kind == "qr" and len(payload) == 20 and set(payload) <= set(b"0123456789")
    assert isinstance(checked, PaymeCode) == is_code


@given(st.from_regex(r"\A[0-9]{20}\Z"))
def test_a_code_keeps_its_digits_and_shows_eight_of_them(digits):
    code = check_payload(digits.encode(), "qr", PATTERN)

    assert code.digits == digits
    assert code.mark == digits.encode()
    assert str(code) == code.masked == f"{digits[:4]}…{digits[-4:]}"
    assert digits not in repr(code)


def test_a_long_payload_leaves_a_short_mark():
    assert len(mark_of(b"x" * 4000)) == MARK_BYTES


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("", "…"), ("12345678901", "…"), ("123456789012", "1234…9012"), ("5" * 20, "5555…5555")],
)
def test_a_mask_shows_both_ends_of_long_secrets_only(secret, shown):
    assert mask(secret) == shown


@pytest.mark.parametrize(
    ("phone", "shown"), [("998712565009", "9987…09"), ("12345678", "…"), ("", "…")]
)
def test_a_phone_number_is_masked(phone, shown):
    assert mask_phone(phone) == shown


@pytest.mark.parametrize(
    ("amount_sum", "payable"),
    [(-1, False), (0, False), (1, True), (500, True), (501, False)],
)
def test_amounts_are_one_up_to_the_limit(amount_sum, payable):
    assert is_payable(amount_sum, 500) is payable


def test_the_unit_is_converted_in_one_place():
    assert amount_for_gateway(1000, "sum") == 1000
    assert amount_for_gateway(1000, "tiyin") == 100_000


def test_sums_are_written_as_people_here_write_them():
    assert re.sub(r"\s", " ", format_sum(1_215_000)) == "1 215 000 so'm"
    assert format_sum(500) == "500 so'm"


def test_personal_data_of_an_answer_stays_out_of_logs():
    answer = Answer(Outcome.APPROVED, phone="998712565009", raw=b"998712565009")

    assert "998712565009" not in repr(answer)


def test_a_doubted_answer_keeps_its_facts():
    doubted = Answer(Outcome.APPROVED, payment_id="p", flags=("a",)).doubted("b", "why")

    assert doubted == Answer(Outcome.UNKNOWN, "why", payment_id="p", flags=("a", "b"))
