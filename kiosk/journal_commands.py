"""`kiosk journal ...`: what staff do with the record.

Reading needs nobody's leave. Writing goes through the control socket of a running kiosk;
without one, the command takes the journal's lock.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from kiosk.core.money import format_sum
from kiosk.errors import JournalBusyError, JournalDamagedError, JournalError, UsageError
from kiosk.messages import Acknowledge, Error, Ok, Resolve

if TYPE_CHECKING:
    import sqlite3

    from kiosk.payment.journal_report import Entry
    from kiosk.settings import Settings

_EXPLAINED = {
    "approved": "the gateway said yes",
    "resolved_approved": "staff found them paid",
    "declined": "the gateway said no",
    "resolved_declined": "staff found them not paid",
    "unknown": "nobody knows yet: look into the provider's cabinet, then `kiosk journal resolve`",
    "conflict": "the gateway and staff contradict each other; counted as paid until resolved again",
    "not_sent": "nothing left the kiosk",
    "open": "a request is running",
}
_PAID = "approved, found paid, or in conflict: compare with the provider's cabinet"


def add_journal_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add `journal` with its own commands."""
    journal = commands.add_parser(
        "journal", help="the record of every payment", description="The record of every payment."
    )
    parts = journal.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def part(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = parts.add_parser(
            name, parents=[common], help=summary, description=summary, allow_abbrev=False
        )
        parser.set_defaults(run=run)
        return parser

    listed = part("list", _list, "every payment, oldest first")
    _add_day(listed, "only this day's, by the merchant's time zone")
    show = part("show", _show, "all rows of one payment")
    show.add_argument("intent", metavar="ID")
    _add_personal(show)
    export = part("export", _export, "every payment as a table or as JSON lines")
    export.add_argument("--format", choices=("csv", "json"), default="csv")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print it")
    _add_day(export, "only this day's, by the merchant's time zone")
    _add_personal(export)
    totals = part("totals", _totals, "number and sum of a day's payments")
    _add_day(totals, "default: today")
    part("unresolved", _unresolved, "payments whose end nobody knows")
    resolve = part("resolve", _resolve, "state how an unknown payment ended")
    resolve.add_argument("intent", metavar="ID")
    resolve.add_argument(
        "--outcome", choices=("approved", "declined"), required=True, help="how it really ended"
    )
    resolve.add_argument("--by", required=True, metavar="WHO", help="who found that out")
    resolve.add_argument("--why", required=True, metavar="TEXT", help="where it was found")
    resolve.add_argument("--payment-id", metavar="P", help="the provider's, where it was found")
    init = part(
        "init", _init, "go on with a new or another journal; codes known to be spent come along"
    )
    init.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="a backup or an older card's journal.db to put in force (its -wal beside it)",
    )


def _add_day(parser: argparse.ArgumentParser, summary: str) -> None:
    parser.add_argument("--day", type=_day, metavar="YYYY-MM-DD", help=summary)


def _add_personal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--with-personal-data",
        action="store_true",
        help="also whole codes, phone numbers and raw answers, as long as they are kept",
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2026-11-24") from None


def _settings(args: argparse.Namespace) -> "Settings":
    from kiosk.settings_file import load_settings

    return load_settings(list(args.config or [])).settings


@contextmanager
def _reading(settings: "Settings") -> Iterator["sqlite3.Connection"]:
    import sqlite3

    from kiosk.payment.journal import Journal

    path = Path(settings.journal.path)
    refuse_closed(path)
    with closing(Journal.open_to_read(path)) as db:
        try:
            yield db
        except (sqlite3.DatabaseError, ValueError) as error:
            told = f"{path} cannot be read: {error}; see the README, Journal"
            raise JournalDamagedError(told) from error


def refuse_closed(path: Path, advice: str = "run this as the user of the kiosk") -> None:
    """Refuse what stands in a folder that this user may not enter.

    By the version of Python, `Path.exists` fails there, or says that there is nothing.

    Raises:
        JournalError: It names the file, and the advice.
    """
    try:
        path.stat()
    except PermissionError as error:
        raise JournalError(f"{path}: {error.strerror}; {advice}") from error
    except OSError:
        return  # missing: whoever opens it says so


def _entries(db: "sqlite3.Connection", settings: "Settings", day: date | None) -> list["Entry"]:
    from kiosk.payment.journal_report import entries, entries_of

    zone = ZoneInfo(settings.locale.timezone)
    return list(entries(db)) if day is None else entries_of(db, day, zone)


def _list(args: argparse.Namespace) -> int:
    settings = _settings(args)
    with _reading(settings) as db:
        found = _entries(db, settings, args.day)
    return _print_entries(found, settings, as_json=args.json)


def _unresolved(args: argparse.Namespace) -> int:
    from kiosk.payment.journal_report import entries
    from kiosk.payment.journal_rows import unresolved_in

    settings = _settings(args)
    with _reading(settings) as db:
        waiting = list(entries(db, unresolved_in(db)))
    if not waiting and not args.json:
        print("No payment waits for staff.")
        return 0
    _print_entries(waiting, settings, as_json=args.json)
    if waiting and not args.json:
        print(
            "\nLook for each in the provider's cabinet (time, sum, masked code), then state it:\n"
            f"  kiosk journal resolve {waiting[0].intent} --outcome approved --by YOU --why TEXT"
            " --payment-id ID"
        )
    return 0


def _print_entries(found: list["Entry"], settings: "Settings", *, as_json: bool) -> int:
    if as_json:
        from kiosk.payment.journal_report import as_json_lines

        sys.stdout.write(as_json_lines(found))
        return 0
    zone = ZoneInfo(settings.locale.timezone)
    if not found:
        print("There are no such payments.")
    else:
        print(f"Times of {settings.locale.timezone}")
    for entry in found:
        at = datetime.fromisoformat(entry.at).astimezone(zone)
        told = entry.outcome or "running"
        if entry.resolved_by is not None:
            told += f" (resolved by {entry.resolved_by})"
        flags = f"  ! {' '.join(entry.flags)}" if entry.flags else ""
        print(
            f"{at:%Y-%m-%d %H:%M:%S}  {entry.intent}  {format_sum(entry.amount_sum):>15}  "
            f"{entry.offer}  {told}  {entry.payment_id or '-'}{flags}"
        )
    return 0


def _show(args: argparse.Namespace) -> int:
    from kiosk.payment.journal_rows import rows_where

    settings = _settings(args)
    zone = ZoneInfo(settings.locale.timezone)
    with _reading(settings) as db:
        rows = rows_where(db, "intent = ?", args.intent)
        kept = _personal_data(db, args, args.intent)
    if not rows:
        sys.stderr.write(f"kiosk: there is no payment {args.intent}; see `kiosk journal list`\n")
        return 1
    for row in rows:
        line: dict[str, object] = {
            "seq": row.seq,
            "intent": row.intent,
            "kind": row.kind.value,
            "at": row.at,
            "boot": row.boot,
            "boot_s": row.boot_s,
            "amount_sum": row.amount_sum,
            "reference": row.reference,
            "payment_id": row.payment_id,
            **row.body,
        }
        if args.json:
            print(json.dumps(line, ensure_ascii=False))
        else:
            at = datetime.fromisoformat(row.at).astimezone(zone)
            print(f"{at:%Y-%m-%d %H:%M:%S%z}  {row.kind.value}")
            for name, value in line.items():
                if name not in ("at", "kind", "intent") and value not in (None, "", {}, []):
                    print(f"    {name}: {value}")
    for data in kept.values():
        print(json.dumps(data, ensure_ascii=False) if args.json else f"personal data: {data}")
    return 0


def _personal_data(
    db: "sqlite3.Connection", args: argparse.Namespace, intent: str | None = None
) -> dict[str, dict[str, str]]:
    """What is still kept of customers, by intent, where it was asked for."""
    if not args.with_personal_data:
        return {}
    from kiosk.payment.journal_rows import personal_data

    sys.stderr.write(
        "kiosk: this holds personal data (codes, phone numbers, raw answers): keep it for the "
        "dispute it is needed for, and delete it then\n"
    )
    return personal_data(db, intent)


def _export(args: argparse.Namespace) -> int:
    from kiosk.payment.journal_report import as_csv, as_json_lines

    settings = _settings(args)
    with _reading(settings) as db:
        found = _entries(db, settings, args.day)
        kept = _personal_data(db, args) if args.with_personal_data else None
    zone = ZoneInfo(settings.locale.timezone)
    text = as_csv(found, zone, kept) if args.format == "csv" else as_json_lines(found, kept)
    if args.output is None:
        sys.stdout.write(text)
        return 0
    # A spreadsheet takes UTF-8 for UTF-8 only with this mark.
    encoding = "utf-8-sig" if args.format == "csv" else "utf-8"
    try:
        if kept is None:
            args.output.write_text(text, encoding=encoding, newline="")
        else:
            args.output.unlink(missing_ok=True)  # its mode would stay
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(args.output, flags, 0o600), "wb") as file:
                file.write(text.encode(encoding))
    except OSError as error:
        raise UsageError(f"{args.output}: {error.strerror}") from error
    return 0


def _totals(args: argparse.Namespace) -> int:
    from kiosk.payment.journal_report import paid_in, together, totals

    settings = _settings(args)
    zone = ZoneInfo(settings.locale.timezone)
    day = args.day or datetime.now(zone).date()
    with _reading(settings) as db:
        found = _entries(db, settings, day)
    sums = totals(found, day, zone)
    if args.json:
        where = {"day": day.isoformat(), "timezone": settings.locale.timezone}
        checks = {"paid": paid_in(sums), "all": together(sums)}
        payments = [
            {
                "counted_as": entry.counted_as,
                "payment_id": entry.payment_id,
                "amount_sum": entry.amount_sum,
                "intent": entry.intent,
                "at": entry.at,
            }
            for entry in found
        ]
        print(json.dumps({**where, **sums, **checks, "payments": payments}))
        return 0
    print(f"{day:%Y-%m-%d}, {settings.locale.timezone}")
    for name, line in sums.items():
        if line["count"] or name in ("approved", "declined", "unknown"):
            print(
                f"  {name:<18}{line['count']:>5}  {format_sum(line['amount_sum']):>18}"
                f"   {_EXPLAINED[name]}"
            )
    paid = paid_in(sums)
    print(f"  {'= paid':<18}{paid['count']:>5}  {format_sum(paid['amount_sum']):>18}   {_PAID}")
    return 0


def _resolve(args: argparse.Namespace) -> int:
    settings = _settings(args)
    command = Resolve(
        intent=args.intent,
        outcome=args.outcome,
        by=args.by,
        why=args.why,
        payment_id=args.payment_id,
    )
    error = (
        _ask_running(settings, command)
        if _is_running(settings)
        else _resolve_here(settings, command)
    )
    if error is not None:
        sys.stderr.write(f"kiosk: {error}\n")
        return 1
    if args.json:
        print(json.dumps({"resolved": args.intent, "outcome": args.outcome}))
    else:
        print(f"{args.intent} is recorded as {args.outcome}, by {args.by}.")
    return 0


def _is_running(settings: "Settings") -> bool:
    try:
        return Path(settings.control.socket).is_socket()
    except PermissionError:
        return False  # the journal is closed as well, and says so


def _ask_running(settings: "Settings", command: Resolve) -> str | None:
    from kiosk.payment.control import ask

    socket = Path(settings.control.socket)
    try:
        answer, shown = ask(socket, command)
        if isinstance(answer, Ok) and shown is not None and shown.intent == command.intent:
            ask(socket, Acknowledge())  # its cue may still be on
    except ConnectionRefusedError:
        return _resolve_here(settings, command)  # a dead socket: nobody runs
    except OSError as error:
        return f"{settings.control.socket}: {error.strerror or error}"
    return answer.message if isinstance(answer, Error) else None


def _resolve_here(settings: "Settings", command: Resolve) -> str | None:
    from kiosk.core import effects
    from kiosk.core.memory import Memory, Policy
    from kiosk.core.staff import resolve
    from kiosk.payment.informant import Informant
    from kiosk.payment.recovery import recover
    from kiosk.payment.store import Store

    path = Path(settings.journal.path)
    refuse_closed(path)
    if not path.exists():
        return f"there is no journal at {path}"
    _act_as_owner(path)
    try:
        store = Store(path)
    except JournalBusyError as error:
        raise JournalBusyError(f"{error}, and its control socket does not answer") from error
    try:
        journal = store.usable()
        recover(journal, 0.0, Policy(offers=()))
        asked = Informant(store, settings.scan.code_pattern).resolving(0, command)
        (wish,) = resolve(Memory(), asked)
        if isinstance(wish, effects.RecordResolution):
            journal.record_resolution(
                wish.intent_id, wish.outcome, wish.by, wish.why, wish.payment_id
            )
            return None
        assert isinstance(wish, effects.Reply)
        return wish.error
    finally:
        store.close()


def _init(args: argparse.Namespace) -> int:
    from kiosk.payment.journal_replace import put_in_force

    path = Path(_settings(args).journal.path)
    refuse_closed(path)
    _act_as_owner(path)
    if args.source is not None:
        refuse_closed(args.source, "copy it to where the user of the kiosk may read and write")
    told = put_in_force(path, args.source)
    if told is None:
        if not args.json:
            print(f"{path} is sound; nothing to do.")
        return 0
    for line in told:
        sys.stderr.write(f"kiosk: {line}\n")
    sys.stderr.write("kiosk: restart a kiosk that is running: sudo systemctl restart kiosk\n")
    return 0


def _act_as_owner(path: Path) -> None:
    """As root, become the owner of the journal's folder: the kiosk must be able to open it."""
    if os.geteuid() == 0 and path.parent.is_dir():
        owner = path.parent.stat()
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
