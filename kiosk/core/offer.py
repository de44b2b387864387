"""What is for sale now."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """An amount with its label.

    Attributes:
        amount_sum: Whole sums.
        reference: A host's own number for it; spent once it was paid or is unknown.
    """

    amount_sum: int
    label: str
    reference: str | None = None
