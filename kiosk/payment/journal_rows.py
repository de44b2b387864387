"""Rows as they are read: by the payment process, by staff commands, by reports."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from kiosk.core.intent import RowKind, standing_of

_KINDS = {kind.value: kind for kind in RowKind}
_body = msgspec.json.Decoder(dict[str, Any]).decode


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
    try:
        return [
            Row(seq, intent, _KINDS[kind], at, boot, boot_s, amount, reference, pid, _body(body))
            for seq, intent, kind, at, boot, boot_s, amount, reference, pid, body in db.execute(
                query, values
            )
        ]
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError(f"a row cannot be read: {error}") from error


def rows_of(db: sqlite3.Connection, intents: Iterable[str]) -> list[Row]:
    """All rows of these intents, in the order of writing."""
    asked = json.dumps(list(intents))
    return rows_where(db, "intent IN (SELECT value FROM json_each(?))", asked)


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
        "SELECT intent, kind FROM row WHERE intent IN (SELECT intent FROM row"
        " WHERE kind IN ('unknown', 'resolved_approved', 'resolved_declined')) ORDER BY seq"
    )
    kinds: dict[str, list[RowKind]] = {}
    for intent_id, kind in db.execute(query):
        kinds.setdefault(intent_id, []).append(RowKind(kind))
    return [intent_id for intent_id, found in kinds.items() if standing_of(found).is_open]
