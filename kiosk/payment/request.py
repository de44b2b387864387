"""The one request that moves money, as bytes."""

import json

PATH = "/payment/payme"


def request_body(amount: int, code: str) -> bytes:
    """The body of `POST /payment/payme` (gateway-api.md section 1).

    Args:
        amount: In the gateway's unit, see `core.money.amount_for_gateway`.
        code: The whole code.
    """
    return json.dumps({"amount": amount, "qr_code": code}, separators=(",", ":")).encode("ascii")
