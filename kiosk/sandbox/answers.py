"""The envelopes of the gateway, in the vendor's shapes.

Source: the payment page and the fiscal API of the vendor; every answer is
`{"data", "error", "is_success"}`.
"""

import json
from datetime import datetime, timedelta, timezone

from kiosk.sandbox.ledger import Charge

Json = dict[str, object]

_KKM_ID = "00000011"
# The box shows local time without saying so, and Uzbekistan keeps no summer time.
_TASHKENT = timezone(timedelta(hours=5))

INVALID_FIELDS = 7
NOT_INITIALISED = 102
INVALID_ARGUMENT = 104
PAYMENT_ERROR = 106
SUBSCRIPTION_EXPIRED = 333


class RefusedError(Exception):
    """The box says no, and nothing was charged.

    Attributes:
        code: The box's error code.
    """

    def __init__(self, code: int, message: str) -> None:
        """The box's error code and message."""
        super().__init__(message)
        self.code = code


def success(data: object) -> Json:
    """The envelope of something that worked."""
    return {"data": data, "error": None, "is_success": True}


def refusal(code: int, message: str) -> Json:
    """The envelope of something that did not; it arrives with HTTP 200 all the same."""
    error = {"code": code, "message": message, "data": None}
    return {"data": None, "error": error, "is_success": False}


def payment_data(charge: Charge) -> Json:
    """`data` of an approved payment."""
    return {
        "amount": charge.amount,
        "transaction_id": charge.transaction_id,
        "payment_id": charge.payment_id,
        "inn": "123456789",
        "qr_code": charge.qr_code,
        "kkm_id": _KKM_ID,
        "device_id": _KKM_ID,
        "status": "successfully",
        "message": "successfully payment",
        "client_phone_number": charge.client_phone_number,
    }


def info_data(now_s: float, receipt_count: int) -> Json:
    """`data` of `GET /info/`.

    Args:
        now_s: The box's clock, in seconds since 1970.
        receipt_count: Receipts not yet sent to the tax office.
    """
    return {
        "terminal_id": "UZ240000000011",
        "kkm_id": _KKM_ID,
        "current_time": datetime.fromtimestamp(now_s, _TASHKENT).strftime("%Y-%m-%d %H:%M:%S"),
        "receipt_count": receipt_count,
        "receipt_max_count": 864,
        "zreport_count": 12,
        "zreport_max_count": 832,
        "applet_version": "0400",
        "version_code": 128,
        "version_name": "sandbox",
    }


def encode(envelope: object) -> bytes:
    """JSON as the box writes it: UTF-8, nothing escaped that need not be."""
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
