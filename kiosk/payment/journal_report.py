"""The journal as staff and accountants read it: one line an intent, totals of a day, exports."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from kiosk.core.intent import RowKind, standing_of
from kiosk.payment.csv_cells import harmless
from kiosk.payment.journal_rows import Row, rows_of, rows_where

_RESOLUTIONS = (RowKind.RESOLVED_APPROVED, RowKind.RESOLVED_DECLINED)
_COUNTED_AS_PAID = ("approved", "resolved_approved", "conflict")
_TEXTS = (
    *("intent", "offer", "payment_id", "transaction_id", "resolved_by", "reference", "detail"),
    *("why", "inn", "kkm_id", "device_id"),
)
_PERSONAL = ("whole_code", "phone", "raw_answer")
_MONTHS = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    "|янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек"
)
# Digits without letters; 12e34; a month with digits; an hour; a word of logic.
_MISREAD = re.compile(
    r"[\W\d_]*\d[\W\d_]*|[\d.,\s]*\d[\d.,\s]*[ed][+-]?\d+|[\W\d_]*\d\s*[ap]m?|true|false"
    rf"|(?=.*\d)[\W\d_]*({_MONTHS})[^\W\d_]*[\W\d_]*",
    re.IGNORECASE,
)
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
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(one.name for one in fields(Entry))


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


def entries(db: sqlite3.Connection, intents: Iterable[str] | None = None) -> Iterator[Entry]:
    """Every intent, or these, oldest first."""
    # One pass: a query for each intent took eight times as long with 100,000 of them.
    rows: dict[str, list[Row]] = {}
    for row in rows_where(db, "1") if intents is None else rows_of(db, intents):
        rows.setdefault(row.intent, []).append(row)
    for intent_id in list(rows):
        yield entry_of(rows.pop(intent_id))


def entries_of(db: sqlite3.Connection, day: date, zone: tzinfo) -> list[Entry]:
    """The intents that were announced on a day, oldest first.

    Args:
        db: The journal.
        day: In the merchant's time zone.
        zone: The merchant's time zone.
    """
    # Wide enough for any zone and any step of its clocks; who belongs to the day is asked below.
    noon = datetime.combine(day, time(12), UTC)
    query = "SELECT DISTINCT intent FROM row WHERE at BETWEEN ? AND ?"
    bounds = [(noon + timedelta(days=step)).isoformat() for step in (-2, 2)]
    near = [intent_id for (intent_id,) in db.execute(query, bounds)]
    return [entry for entry in entries(db, near) if _is_on(entry, day, zone)]


def _is_on(entry: Entry, day: date, zone: tzinfo) -> bool:
    return datetime.fromisoformat(entry.at).astimezone(zone).date() == day


def totals(found: Iterable[Entry], day: date, zone: tzinfo) -> dict[str, dict[str, int]]:
    """Number and sum of a day's intents, each heading apart.

    Args:
        found: Entries of any days.
        day: In the merchant's time zone; an intent belongs to the day it was announced on.
        zone: The merchant's time zone.
    """
    sums = {name: {"count": 0, "amount_sum": 0} for name in COUNTED}
    for entry in found:
        if _is_on(entry, day, zone):
            sums[entry.counted_as]["count"] += 1
            sums[entry.counted_as]["amount_sum"] += entry.amount_sum
    return sums


def paid_in(sums: Mapping[str, dict[str, int]]) -> dict[str, int]:
    """What should stand in the provider's cabinet for the day of these `totals`."""
    return together({name: sums[name] for name in _COUNTED_AS_PAID})


def together(sums: Mapping[str, dict[str, int]]) -> dict[str, int]:
    """Every heading of `totals` in one: the check sum against the list of the day's payments."""
    return {part: sum(line[part] for line in sums.values()) for part in ("count", "amount_sum")}


def as_csv(
    found: Iterable[Entry], zone: tzinfo = UTC, kept: Mapping[str, dict[str, str]] | None = None
) -> str:
    """A table that a spreadsheet opens: sums are numbers, ids are text, no cell is a formula.

    Args:
        found: A line each.
        zone: The merchant's; `day` and `time` are told in it, in the way that spreadsheets take
            for a date and a time.
        kept: Personal data by intent, where it was asked for; see `personal_data`.
    """
    out = io.StringIO()
    names = [*Entry.__dataclass_fields__, "counted_as", "day", "time"]
    writer = csv.DictWriter(out, [*names, *(_PERSONAL if kept is not None else ())], restval="")
    writer.writeheader()
    for entry in found:
        at = datetime.fromisoformat(entry.at).astimezone(zone)
        line = {name: _cell(value) for name, value in entry.as_dict().items()}
        line |= {name: _text_cell(line[name]) for name in _TEXTS}
        line["counted_as"] = entry.counted_as
        line |= {"day": f"{at:%Y-%m-%d}", "time": f"{at:%H:%M:%S}"}
        for name, text in (kept or {}).get(entry.intent, {}).items():
            line[name] = _text_cell(_cell(text))
        writer.writerow(line)
    return out.getvalue()


def as_json_lines(found: Iterable[Entry], kept: Mapping[str, dict[str, str]] | None = None) -> str:
    """One object a line; with `kept`, personal data as well."""
    lines = (entry.as_dict() | (kept or {}).get(entry.intent, {}) for entry in found)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = " ".join(str(part) for part in value)
    if isinstance(value, str):
        return harmless(value)
    return "" if value is None else value


def _text_cell(value: object) -> object:
    """Text, also where a spreadsheet would see a number or a date.

    00000011 would lose its zeros, 1-2 would be a day in February, and no quotes prevent it.
    """
    if not isinstance(value, str) or value.startswith("'"):
        return value
    return f"'{value}" if _MISREAD.fullmatch(value.strip()) else value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
