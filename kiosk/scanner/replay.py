"""`kiosk replay`: recorded frames through the very stages of the scanner."""

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from hardware.errors import HardwareError
from hardware.frame import Luma
from hardware.recordings import is_video, list_recordings, load_luma, video_lumas
from kiosk.errors import UsageError
from kiosk.scanner.decoder import Decoder, build_decoder
from kiosk.settings import Settings

log = logging.getLogger(__name__)

STILL_STEP_S = 0.5
"""A still stands for a phone held still: its presentations are so far apart in the decoder's
time, so that the stages that look only now and then have their turn too."""


@dataclass(kw_only=True)
class Result:
    """What became of one file.

    Attributes:
        payloads: What was read in QR Codes model 2, sorted, without duplicates.
        expected: From the `.txt` beside the file: payloads sorted, none for "no code"; None
            without such a file.
        stage: The stage that read first.
        frames: How many frames were presented until the first read, or at all.
        ms: Milliseconds of decoding over these frames.
        refused: Kinds of what was seen but is no whole QR Code, such as `part`.
        error: Why the file could not be read.
    """

    file: str
    payloads: list[bytes] = field(default_factory=list)
    expected: list[bytes] | None = None
    stage: str | None = None
    frames: int = 0
    ms: float = 0.0
    refused: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def ok(self) -> bool | None:
        """As expected; None where nothing is expected."""
        if self.error is not None:
            return False
        return None if self.expected is None else not (self.wrong or self.missed)

    @property
    def wrong(self) -> bool:
        """Something was read that is not there."""
        return self.expected is not None and not set(self.payloads) <= set(self.expected)

    @property
    def missed(self) -> bool:
        """Something that is there was not read."""
        return self.expected is not None and not set(self.expected) <= set(self.payloads)


def replay(
    paths: Sequence[Path],
    settings: Settings,
    *,
    as_json: bool = False,
    out: TextIO | None = None,
) -> int:
    """Decode recorded frames and compare with what is expected.

    Args:
        paths: Pictures, planes, videos, folders (recursive, in order of name).
        settings: `scan.engines` and `camera.fps` are used.
        as_json: One object a line instead of a line for people.
        out: Where to print; standard output by default.

    Returns:
        0 if all was as expected; 1 if not, or if nothing was found.

    Raises:
        UsageError: A path does not exist.
        SettingsError: No engine is there.
    """
    out = out if out is not None else sys.stdout
    files = [file for path in paths for file in _files(path)]
    decoder = build_decoder(settings.scan.engines, settings.scan.rescues)
    results = []
    for file in files:
        result = Result(file=str(file))
        decoder.forget()
        _decode_file(file, decoder, result, 1 / settings.camera.fps)
        results.append(result)
        print(_as_json(result) if as_json else _as_text(result), file=out, flush=True)
    summary = _summary(results)
    if as_json:
        print(json.dumps({"summary": summary}), file=out)
    else:
        print(
            "{files} files, {read} read, {wrong} wrong, {missed} missed; "
            "p50 {p50_ms} ms, p99 {p99_ms} ms".format(**summary),
            file=out,
        )
    if any(result.ok is False for result in results):
        return 1
    return 0 if any(result.ok or result.payloads for result in results) else 1


def _files(path: Path) -> list[Path]:
    try:
        return list_recordings(path)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}. Name a picture, a video or a folder of them."
        ) from error


def _decode_file(file: Path, decoder: Decoder, result: Result, interval_s: float) -> None:
    """Present the file's frames and fill in the result."""
    now_s = 0.0
    try:
        text = _expected(file)
        if text is not None:
            result.expected = sorted(set(text.split(b"\n"))) if text else []
        frames: Iterable[Luma] = (
            video_lumas(file) if is_video(file) else _held_still(load_luma(file), decoder)
        )
        failures = dict(decoder.failures)
        payloads: set[bytes] = set()
        refused: set[str] = set()
        for luma in frames:
            now_s += interval_s
            began_s = time.perf_counter()
            try:
                symbols = decoder.decode(luma, now_s).symbols
            except Exception as error:
                log.exception("decoder failed", extra={"file": str(file)})
                result.error = f"a decoder failed: {error}"
                break
            if decoder.failures != failures:
                result.error = f"stages failed: {', '.join(decoder.failures)}"
            if not payloads:
                result.ms += (time.perf_counter() - began_s) * 1000
                result.frames += 1
            for symbol in symbols:
                if symbol.kind == "qr":
                    payloads.add(symbol.payload)
                    result.stage = result.stage or symbol.stage
                else:
                    refused.add(symbol.kind)
            if symbols and not is_video(file):
                break
        if text is not None and payloads == {text}:
            result.expected = [text]  # its line ends are its own
        result.payloads = sorted(payloads)
        result.refused = sorted(refused)
    except (HardwareError, OSError) as error:
        result.error = str(error)
        log.warning("unreadable file", extra={"file": str(file), "why": str(error)})


def _held_still(luma: Luma, decoder: Decoder) -> Iterator[Luma]:
    yield luma
    while not decoder.done:
        yield luma


def _expected(file: Path) -> bytes | None:
    """Read the `.txt` beside a file: a payload, or one a line; empty for "no code"."""
    try:
        return file.with_suffix(".txt").read_bytes().removesuffix(b"\n")
    except FileNotFoundError:
        return None


def _shown(payload: bytes) -> str:
    """A payload as text; bytes that are no UTF-8 are escaped."""
    return payload.decode("utf-8", errors="backslashreplace")


def _as_json(result: Result) -> str:
    line: dict[str, object] = {
        "file": result.file,
        "payloads": [_shown(payload) for payload in result.payloads],
        "expected": None
        if result.expected is None
        else [_shown(payload) for payload in result.expected],
        "ok": result.ok,
        "stage": result.stage,
        "frames": result.frames,
        "ms": round(result.ms, 3),
    }
    if result.refused:
        line["refused"] = result.refused
    if result.error is not None:
        line["error"] = result.error
    return json.dumps(line, ensure_ascii=False)


def _as_text(result: Result) -> str:
    mark = {True: "ok   ", False: "WRONG" if result.wrong else "MISS ", None: "     "}[result.ok]
    if result.error is not None:
        return f"ERROR {result.file}: {result.error}"
    read = " ".join(ascii(_shown(payload))[1:-1] for payload in result.payloads) or "-"
    how = f"{result.stage}, " if result.stage else ""
    seen = f", refused: {' '.join(result.refused)}" if result.refused else ""
    count = f"{result.frames} frame{'s' * (result.frames != 1)}"
    return f"{mark} {result.file}: {read} ({how}{count}, {result.ms:.1f} ms{seen})"


def _summary(results: Sequence[Result]) -> dict[str, object]:
    times_ms = sorted(result.ms for result in results if result.error is None)
    return {
        "files": len(results),
        "read": sum(bool(result.payloads) for result in results),
        "wrong": sum(result.wrong for result in results),
        "missed": sum(result.missed for result in results),
        "p50_ms": _percentile(times_ms, 50),
        "p99_ms": _percentile(times_ms, 99),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 3)
