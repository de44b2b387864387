"""Amounts: whole sums, never floats.

The gateway wants sums on one copy of its page and tiyin on another (gateway-api.md
section 1), so the unit is a setting and is converted in one place, here.
"""

from typing import Literal

TIYIN_PER_SUM = 100


def is_payable(amount_sum: int, max_amount_sum: int) -> bool:
    """Whether an amount may be asked for: 1 up to the limit, both included."""
    return 1 <= amount_sum <= max_amount_sum


def amount_for_gateway(amount_sum: int, unit: Literal["sum", "tiyin"]) -> int:
    """The number that the request carries for this many sums."""
    return amount_sum * TIYIN_PER_SUM if unit == "tiyin" else amount_sum


def format_sum(amount_sum: int) -> str:
    """As people here write it: `15 000 so'm`."""
    return f"{amount_sum:,} so'm".replace(",", " ")
