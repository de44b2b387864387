"""`kiosk doctor`: what works here, and what to do about what does not.

Only looks: no request moves money, no pin is driven, no row is written.
"""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from hardware.errors import HardwareError
from hardware.selftest import Finding
from kiosk.crashes import place_of
from kiosk.errors import JournalError, SettingsError
from kiosk.settings import Settings

if TYPE_CHECKING:
    from kiosk.messages import State

FREE_BYTES = 200 * 1024 * 1024


def examine(config: Sequence[Path], *, as_json: bool, bundle: Path | None = None) -> int:
    """Run every check and print it; on a terminal the camera's is a session of some seconds.

    Args:
        config: As for `load_settings`.
        as_json: One object a line.
        bundle: Also leave everything that helps from afar in this file; see `kiosk.bundle`.

    Returns:
        0 where everything is as it should be, 1 where something is not.

    Raises:
        UsageError: The bundle cannot be written there.
    """
    found: list[Finding] = []
    live = None if as_json or not sys.stdout.isatty() else sys.stdout
    findings = _findings(config, live)
    for finding in findings if bundle is None else _whatever_happens(findings):
        found.append(finding)
        if as_json:
            print(json.dumps(dataclasses.asdict(finding), ensure_ascii=False), flush=True)
        else:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.detail}")
            if finding.advice:
                print(f"      -> {finding.advice}", flush=True)
    if bundle is not None:
        _leave(bundle, config, found, as_json=as_json)
    return 0 if all(finding.ok for finding in found) else 1


def _whatever_happens(findings: Iterator[Finding]) -> Iterator[Finding]:
    """A mistake of ours in a check must not keep the rest from being told."""
    try:
        yield from findings
    except Exception as error:  # noqa: BLE001 - see above
        advice = "please report this line"
        yield Finding("doctor", ok=False, detail=place_of(error), advice=advice)


def _leave(bundle: Path, config: Sequence[Path], found: list[Finding], *, as_json: bool) -> None:
    from kiosk.bundle import write_bundle

    size = write_bundle(config, found, bundle)
    if as_json:
        print(json.dumps({"bundle": str(bundle), "bytes": size}, ensure_ascii=False))
    else:
        print(f"\n{bundle}: {size} bytes, without codes, phones and tokens. Look into it, send it.")


def _findings(config: Sequence[Path], live: TextIO | None) -> Iterator[Finding]:
    from kiosk.settings_file import load_settings

    try:
        settings = load_settings(config).settings
    except SettingsError as error:
        for line in error.findings:
            yield Finding("configuration", ok=False, detail=line, advice="mend it, then again")
        return
    yield Finding("configuration", ok=True, detail="loads; see `kiosk check-config`")
    told: list[str] = []
    gateway = _gateway(settings, told.append)  # the box knows the time as well
    yield _clock(settings, told)
    yield _disk(settings)
    yield _journal(settings)
    yield gateway
    yield _zbar(settings)
    state = _running(settings)
    if state is not None:
        # Camera and pins belong to the kiosk that runs; it knows them better.
        yield state
        return
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "pins": lambda: _pins(settings),
        "camera": lambda: _camera(settings, live),
    }
    for name, check in checks.items():
        try:
            yield from check()
        except HardwareError as error:
            yield Finding(name, ok=False, detail=error.detail, advice=error.advice)
        except SettingsError as error:
            yield Finding(name, ok=False, detail=str(error), advice="mend the configuration")


def _clock(settings: Settings, told: list[str]) -> Finding:
    from kiosk.payment.clock import WallClock

    clock = WallClock(settings.locale.timezone)
    for time in told:
        clock.hear_box(time)
    trouble = clock.trouble(lambda: _newest_row_at(settings))
    detail = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if told:
        detail += f"; the box says {told[-1]} ({settings.locale.timezone})"
    if trouble is not None:
        what, _, advice = trouble.partition("; ")
        return Finding("clock", ok=False, detail=f"{detail}: {what}", advice=advice)
    if not clock.is_confirmed:
        advice = "neither a time server nor the box vouches for it; compare it with your phone's"
        return Finding("clock", ok=True, detail=detail, advice=advice)
    return Finding("clock", ok=True, detail=detail)


def _newest_row_at(settings: Settings) -> str | None:
    from kiosk.payment.journal import Journal
    from kiosk.payment.journal_sqlite import translated

    path = Path(settings.journal.path)
    try:
        with closing(Journal.open_to_read(path)) as db, translated(path):
            found = db.execute("SELECT at FROM row ORDER BY seq DESC LIMIT 1").fetchone()
    except (JournalError, PermissionError):
        return None  # its own check says so
    return None if found is None else str(found[0])


def _disk(settings: Settings) -> Finding:
    folder = Path(settings.journal.path).parent
    while not os.path.exists(folder):  # noqa: PTH110 - Path.exists fails in a closed folder
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free // (1024 * 1024)} MiB free at {folder}"
    if free < FREE_BYTES:
        return Finding("disk", ok=False, detail=detail, advice="free some space")
    if not os.access(folder, os.W_OK):
        advice = "mend owner and mode, or run doctor as the user of the kiosk"
        return Finding("disk", ok=False, detail=f"{folder} cannot be written", advice=advice)
    return Finding("disk", ok=True, detail=detail)


def _journal(settings: Settings) -> Finding:
    from kiosk.journal_commands import refuse_closed
    from kiosk.payment.journal import Journal
    from kiosk.payment.journal_files import traces_of_earlier
    from kiosk.payment.journal_rows import unresolved_in
    from kiosk.payment.journal_sqlite import translated

    path = Path(settings.journal.path)
    try:
        refuse_closed(path)
    except JournalError as error:
        detail, _, advice = str(error).partition("; ")
        return Finding("journal", ok=False, detail=detail, advice=advice)
    if not path.exists():
        if traces := traces_of_earlier(path):
            advice = "put it back, or begin anew with `kiosk journal init`"
            detail = f"{path} is missing, but {traces[0].name} tells of an earlier one"
            return Finding("journal", ok=False, detail=detail, advice=advice)
        return Finding("journal", ok=True, detail=f"{path} will be made at the first start")
    try:
        with closing(Journal.open_to_read(path)) as db, translated(path):
            sound = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            count = db.execute("SELECT COUNT(DISTINCT intent) FROM row").fetchone()[0]
            waiting = unresolved_in(db)
    except JournalError as error:
        return Finding("journal", ok=False, detail=str(error), advice="see the README, Journal")
    if sound != "ok":
        advice = "see the README, Journal"
        return Finding("journal", ok=False, detail=f"damaged: {sound}", advice=advice)
    detail = f"{path}: {count} payments"
    if waiting:
        detail += f", {len(waiting)} unresolved"
        return Finding("journal", ok=False, detail=detail, advice="kiosk journal unresolved")
    return Finding("journal", ok=True, detail=detail)


def _gateway(settings: Settings, hear_time: Callable[[str], None]) -> Finding:
    from kiosk.payment.gateway import Gateway, ask_ready
    from kiosk.payment.gateway_trouble import NotReadyError, UnreachableError

    try:
        said = ask_ready(Gateway.from_settings(settings.gateway), hear_time)
    except SettingsError as error:
        return Finding("gateway", ok=False, detail=str(error), advice="mend the configuration")
    except (NotReadyError, UnreachableError) as error:
        return Finding("gateway", ok=False, detail=str(error), advice="see the README, Gateway")
    return Finding("gateway", ok=True, detail=f"{settings.gateway.url}: {said}")


def _zbar(settings: Settings) -> Finding:
    from ctypes.util import find_library

    if "pyzbar" not in settings.scan.engines:
        return Finding("libzbar", ok=True, detail="not used (scan.engines)")
    if find_library("zbar") is None:
        detail = "missing; the other engines work without it"
        return Finding("libzbar", ok=True, detail=detail, advice="sudo apt install libzbar0")
    return Finding("libzbar", ok=True, detail="found")


def ask_state(settings: Settings) -> "State | None":
    """What a running kiosk says of itself; None where none answers."""
    import socket

    import msgspec

    from kiosk.messages import State

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect(settings.control.socket)
            line = sock.makefile("rb").readline()
            return msgspec.json.decode(line, type=State)
        except (OSError, msgspec.MsgspecError):
            return None


def _running(settings: Settings) -> Finding | None:
    state = ask_state(settings)
    if state is None:
        return None
    ok = state.state != "out_of_service"
    detail = f"running: {state.state}" + (f" ({', '.join(state.reasons)})" if state.reasons else "")
    return Finding("kiosk", ok=ok, detail=detail, advice="; ".join(state.details.values()))


def _pins(settings: Settings) -> Iterator[Finding]:
    from hardware.selftest import check_pins
    from kiosk.wiring import panel_pins

    simulated = settings.panel.backend == "simulated"
    factory = "simulated" if simulated else settings.panel.pin_factory
    yield from check_pins(panel_pins(settings), factory, settings.panel.chip)


def _camera(settings: Settings, live: TextIO | None) -> Iterator[Finding]:
    from kiosk.doctor_camera import check_camera  # loads numpy, OpenCV and the decoders

    yield from check_camera(settings, live=live)
