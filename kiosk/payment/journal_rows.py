"""Rows as they are read: by the payment process, by staff commands, by reports."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from kiosk.core.intent import RowKind, standing_of


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the journal.

    Attributes:
        at: Wall time, ISO 8601, UTC.
        boot, boot_s: Which boot of the machine and how far into it: order survives a clock step.
        body: What this kind of row tells; no code, no phone number.
    """

    seq: int
    intent: str
    kind: RowKind
    at: str
    boot: str
    boot_s: float
    amount_sum: int | None
    reference: str | None
    payment_id: str | None
    body: dict[str, Any]


def rows_where(db: sqlite3.Connection, condition: str, *values: object) -> list[Row]:
    """Rows in the order of writing. `condition` is a constant of this program, never input."""
    columns = "seq, intent, kind, at, boot, boot_s, amount_sum, reference, payment_id, body"
    query = f"SELECT {columns} FROM row WHERE {condition} ORDER BY seq"  # noqa: S608 - see above
    return [
        Row(seq, intent, RowKind(kind), at, boot, boot_s, amount, reference, pid, json.loads(body))
        for seq, intent, kind, at, boot, boot_s, amount, reference, pid, body in db.execute(
            query, values
        )
    ]


def personal_data(db: sqlite3.Connection, intent: str | None = None) -> dict[str, dict[str, str]]:
    """Whole codes, phone numbers and raw answers that are still kept, by intent.

    Args:
        db: The journal.
        intent: Only this one's.
    """
    query = "SELECT intent, code, phone, answer FROM secret WHERE ?1 IS NULL OR intent = ?1"
    return {
        found: {
            "whole_code": code or "",
            "phone": phone or "",
            "raw_answer": bytes(answer or b"").decode("utf-8", "backslashreplace"),
        }
        for found, code, phone, answer in db.execute(query, (intent,))
    }


def unresolved_in(db: sqlite3.Connection) -> list[str]:
    """Intents that wait for staff, oldest first."""
    query = (
        "SELECT intent FROM row"
        " WHERE kind IN ('unknown', 'resolved_approved', 'resolved_declined')"
        " GROUP BY intent ORDER BY MIN(seq)"
    )
    found = []
    for (intent_id,) in db.execute(query).fetchall():
        if standing_of(row.kind for row in rows_where(db, "intent = ?", intent_id)).is_open:
            found.append(intent_id)
    return found
