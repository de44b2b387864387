"""The bytes of the one request that moves money."""

import json

from kiosk.core.money import amount_for_gateway
from kiosk.payment.request import PATH, request_body

CODE = "50502044301381396427"


def test_the_body_is_the_contract_and_nothing_else():
    assert PATH == "/payment/payme"
    assert request_body(1000, CODE) == b'{"amount":1000,"qr_code":"50502044301381396427"}'


def test_the_amount_is_an_integer_in_the_merchants_unit():
    assert json.loads(request_body(amount_for_gateway(1000, "tiyin"), CODE))["amount"] == 100_000


def test_a_code_of_a_merchants_own_pattern_stays_one_string():
    assert json.loads(request_body(1, 'a"\\b'))["qr_code"] == 'a"\\b'
