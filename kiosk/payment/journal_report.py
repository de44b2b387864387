"""The journal as staff and accountants read it: one line an intent, totals of a day, exports."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, tzinfo

from kiosk.core.intent import RowKind, standing_of
from kiosk.payment.csv_cells import harmless
from kiosk.payment.journal_rows import Row, rows_where

_RESOLUTIONS = (RowKind.RESOLVED_APPROVED, RowKind.RESOLVED_DECLINED)
COUNTED = (
    "approved",
    "resolved_approved",
    "declined",
    "resolved_declined",
    "unknown",
    "conflict",
    "not_sent",
    "open",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One intent, as `kiosk journal list --json` prints it; the names are a contract.

    Attributes:
        outcome: None while the request may still be running.
        at: When it was announced, ISO 8601, UTC.
    """

    intent: str
    offer: str
    amount_sum: int
    outcome: str | None
    at: str
    payment_id: str | None = None
    transaction_id: str | None = None
    flags: list[str] = field(default_factory=list)
    resolved_by: str | None = None
    reference: str | None = None
    detail: str = ""
    code: str = ""
    outcome_at: str | None = None
    late: bool = False
    why: str | None = None
    inn: str | None = None
    kkm_id: str | None = None
    device_id: str | None = None

    @property
    def counted_as(self) -> str:
        """Under which heading the day's totals have it."""
        if self.outcome is None:
            return "open"
        if "conflict" in self.flags:
            return "conflict"
        if self.resolved_by is not None:
            return f"resolved_{self.outcome}"
        return self.outcome

    def as_dict(self) -> dict[str, object]:
        """In the order of the contract."""
        return asdict(self)


def entry_of(rows: list[Row]) -> Entry:
    """Fold the rows of one intent, oldest first."""
    first, last = rows[0], rows[-1]
    standing = standing_of(row.kind for row in rows)
    flags: list[str] = []
    facts: dict[str, object] = {}
    found: dict[str, str | None] = {}
    for row in rows:
        flags += [flag for flag in row.body.get("flags", []) if flag not in flags]
        facts |= row.body.get("facts", {})
        found["payment_id"] = row.payment_id or found.get("payment_id")
        found["transaction_id"] = row.body.get("transaction_id") or found.get("transaction_id")
        found["detail"] = row.body.get("detail") or found.get("detail")
        if row.kind in _RESOLUTIONS:
            found["by"], found["why"] = row.body["by"], row.body["why"]
    if standing.conflict:
        flags.append("conflict")
    return Entry(
        intent=first.intent,
        offer=str(first.body.get("offer", "")),
        amount_sum=first.amount_sum or 0,
        outcome=standing.outcome.value if standing.outcome else None,
        at=first.at,
        payment_id=found.get("payment_id"),
        transaction_id=found.get("transaction_id"),
        flags=flags,
        resolved_by=found.get("by"),
        reference=first.reference,
        detail=found.get("detail") or "",
        code=str(first.body.get("code", "")),
        outcome_at=last.at if standing.outcome else None,
        late=any(row.body.get("late") for row in rows),
        why=found.get("why"),
        inn=_text(facts.get("inn")),
        kkm_id=_text(facts.get("kkm_id")),
        device_id=_text(facts.get("device_id")),
    )


def entries(db: sqlite3.Connection) -> Iterator[Entry]:
    """Every intent, oldest first."""
    query = "SELECT intent FROM row GROUP BY intent ORDER BY MIN(seq)"
    for (intent_id,) in db.execute(query).fetchall():
        yield entry_of(rows_where(db, "intent = ?", intent_id))


def totals(found: Iterable[Entry], day: date, zone: tzinfo) -> dict[str, dict[str, int]]:
    """Number and sum of a day's intents, each heading apart.

    Args:
        found: Entries of any days.
        day: In the merchant's time zone; an intent belongs to the day it was announced on.
        zone: The merchant's time zone.
    """
    sums = {name: {"count": 0, "amount_sum": 0} for name in COUNTED}
    for entry in found:
        if datetime.fromisoformat(entry.at).astimezone(zone).date() == day:
            sums[entry.counted_as]["count"] += 1
            sums[entry.counted_as]["amount_sum"] += entry.amount_sum
    return sums


def as_csv(found: Iterable[Entry]) -> str:
    """A table that a spreadsheet opens; no cell of it is a formula."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for entry in found:
        line = {name: _cell(value) for name, value in entry.as_dict().items()}
        if writer is None:
            writer = csv.DictWriter(out, fieldnames=list(line), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow(line)
    if writer is None:
        names = list(Entry.__dataclass_fields__)
        csv.DictWriter(out, fieldnames=names, lineterminator="\r\n").writeheader()
    return out.getvalue()


def as_json_lines(found: Iterable[Entry]) -> str:
    """One object a line."""
    return "".join(json.dumps(e.as_dict(), ensure_ascii=False) + "\n" for e in found)


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = " ".join(str(part) for part in value)
    if isinstance(value, str):
        return harmless(value)
    return "" if value is None else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
