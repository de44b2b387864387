"""`kiosk record`: what the camera sees, and what the scanner makes of it, kept as a fixture."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import msgspec

from hardware.camera import Camera, CameraBusyError, CameraError
from kiosk import __version__
from kiosk.errors import UsageError
from kiosk.scanner.decoder import Decoder, build_decoder
from kiosk.scanner.recorder import AROUND_S, Recorder, Totals, new_file, reason, write_all
from kiosk.settings import Settings

FORMAT = 1
REPORT = "scan.jsonl"

_READ_TIMEOUT_S = 0.2
_ASK_EXPOSURE_EVERY_S = 1.0
_WARNING = (
    "With --with-codes the pictures hold payment codes: give them to nobody, and delete them when"
    " they have served."
)


def record(
    camera: Camera,
    settings: Settings,
    folder: Path,
    *,
    seconds: float,
    with_codes: bool,
    out: TextIO,
    as_json: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Record for some seconds, and tell what was kept.

    Args:
        camera: Opened and closed here.
        settings: `scan` is used; `camera` is noted.
        folder: New or empty.
        seconds: How long.
        with_codes: Keep pictures of payment codes too.
        out: Where to tell.
        as_json: One object instead of sentences.
        stopped: Asked between two frames; True ends the recording.
        clock: Seconds on the monotonic clock.

    Returns:
        0 if something was kept and nothing went wrong, else 1.

    Raises:
        UsageError: The folder cannot be used.
        CameraError: There is no camera, or something else holds it.
        SettingsError: None of the engines is there.
    """
    decoder = build_decoder(settings.scan.engines, settings.scan.rescues)
    made = _prepare(folder)
    totals, failed = Totals(), ""
    try:
        _open(camera)
        with new_file(folder / REPORT, private=with_codes) as report:
            write_all(report, _header(camera, settings, with_codes=with_codes))
            if not as_json:
                print(f"Recording {seconds:g} s from {camera.name}; Ctrl-C ends it.", file=out)
                if with_codes:
                    print(_WARNING, file=out)
                out.flush()
            recorder = Recorder(
                report, folder, pattern=settings.scan.code_pattern, with_codes=with_codes
            )
            totals = recorder.totals
            try:
                _scan(camera, decoder, recorder, clock() + seconds, stopped, clock)
            except CameraError as error:
                failed = str(error)
            finally:
                recorder.finish()
    except OSError as error:
        failed = reason(error, folder)
    finally:
        camera.close()
        _tidy(folder, made=made)
    totals.failed = totals.failed or failed
    if as_json:
        print(json.dumps({"folder": str(folder), **asdict(totals)}, ensure_ascii=False), file=out)
    else:
        for sentence in _sentences(totals, folder, camera.name):
            print(sentence, file=out)
    return 0 if totals.saved and not totals.failed else 1


def _open(camera: Camera) -> None:
    try:
        camera.open()
    except CameraBusyError as error:
        raise CameraBusyError(
            error.detail,
            advice="Where the kiosk runs, the kiosk holds it. Stop it first: sudo systemctl stop"
            " kiosk; and start it again afterwards: sudo systemctl start kiosk.",
        ) from error


def _scan(
    camera: Camera,
    decoder: Decoder,
    recorder: Recorder,
    until_s: float,
    stopped: Callable[[], bool],
    clock: Callable[[], float],
) -> None:
    """Look at each frame as the scanner does, and hand it to the recorder."""
    exposure: int | None = None
    ask_at_s = float("-inf")
    while (now_s := clock()) < until_s and not stopped() and not recorder.failed:
        if now_s >= ask_at_s:
            ask_at_s = now_s + _ASK_EXPOSURE_EVERY_S
            limits = camera.exposure_range()
            exposure = None if limits is None else limits.now
        frame = camera.read(_READ_TIMEOUT_S)
        if frame is None:
            continue
        try:
            at_s, sequence = frame.captured_at_s, frame.sequence
            look = decoder.decode(frame.luma, at_s)
            luma = frame.luma.copy()
        finally:
            frame.release()
        at = datetime.now(UTC) - timedelta(seconds=max(0.0, clock() - at_s))
        about = {
            "at": at.isoformat(timespec="milliseconds"),
            "sequence": sequence,
            "exposure": exposure,
        }
        recorder.add(luma, at_s, look, about)


def _header(camera: Camera, settings: Settings, *, with_codes: bool) -> bytes:
    line = {
        "recording": FORMAT,
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "camera_name": camera.name,
        "with_codes": with_codes,
        "camera": msgspec.to_builtins(settings.camera),
        "scan": msgspec.to_builtins(settings.scan),
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _prepare(folder: Path) -> bool:
    """Make the folder, for its owner only; tell whether it was not there before."""
    try:
        made = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not made and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty. Name a new folder, or an empty one.")
        folder.chmod(0o700)
    except OSError as error:
        raise UsageError(_capital(reason(error, folder))) from error
    return made


def _tidy(folder: Path, *, made: bool) -> None:
    """Where there is not one line about a frame, leave nothing behind."""
    report = folder / REPORT
    with contextlib.suppress(OSError):
        if report.read_bytes().count(b"\n") <= 1:
            report.unlink()
    if made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _sentences(totals: Totals, folder: Path, name: str) -> Iterator[str]:
    if totals.failed:
        yield f"The recording ended early: {totals.failed}"
    if not totals.frames:
        yield f"No frame came from {name}; nothing was recorded."
        return
    yield (
        f"{_frames(totals.frames)} seen, {totals.read} with a code that was read;"
        f" {_frames(totals.saved)} saved in {folder}."
    )
    if totals.skipped:
        yield (
            f"{_frames(totals.skipped)} not saved, because checking and saving could not keep up;"
            f" {REPORT} has a line for each."
        )
    if totals.codes:
        yield (
            f"{_frames(totals.codes)} showed a payment code, or came within {AROUND_S:g} s of one,"
            " and were not kept; record with a test code (any QR code whose text is not 20"
            " digits), or, with a code that has been used up, add --with-codes."
        )
    if totals.saved:
        yield (
            "To make a fixture: beside each picture wanted put a .txt of the same name with the"
            f" text that should be read (empty: no code), then: kiosk replay {folder}"
        )


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
