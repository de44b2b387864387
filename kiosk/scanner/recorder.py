"""The recorder thread: what may be kept of the frames that were seen, checked, packed, written.

A picture of a payment code is the code: whoever has it can charge the customer. So a frame with
one is not kept, nor is what was seen shortly before and after, when the same code may stand there
too blurred for us but not for others. Each frame is held back for that long; the pictures wait
packed, in memory. Only who says that the codes are used up gets them all.
"""

import contextlib
import errno
import json
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import cv2

from hardware.frame import Luma
from kiosk.core.code import PaymeCode, check_payload, mask
from kiosk.messages import Symbol
from kiosk.scanner.aim import Aim, measure
from kiosk.scanner.decoder import Look
from kiosk.scanner.region import find_regions
from kiosk.scanner.rescues import RescueStage
from kiosk.scanner.stages import Stage, load_stages
from kiosk.settings import ENGINES, RESCUES

AROUND_S = 2.0
"""So long before and after a payment code was read, nothing is kept."""
MAX_WAITING = 8
"""Copies of frames that wait to be checked and packed; one of 640 x 480 takes 0.3 MB."""
MAX_HELD_BYTES = 64 << 20
"""Packed pictures held back: two seconds of 30 frames of 1920 x 1080."""

_PNG_LEVEL = 1  # a third larger than the best, and ten times as fast
_CODE, _NO_TIME = "code", "no time"


@dataclass(slots=True)
class Totals:
    """What became of the frames.

    Attributes:
        frames: How many came.
        read: In how many something was read.
        saved: Pictures written.
        codes: Left out because of a payment code.
        skipped: Left out because checking and saving could not keep up.
        failed: Why the recording ended early; empty where it did not.
    """

    frames: int = 0
    read: int = 0
    saved: int = 0
    codes: int = 0
    skipped: int = 0
    failed: str = ""


@dataclass(slots=True, eq=False)
class _Shot:
    """A frame on its way to the disk: its line, and its picture where there is to be one."""

    line: dict[str, Any]
    at_s: float
    has_code: bool
    luma: Luma | None
    packed: bytes | None = None

    def leave_out(self, why: str) -> None:
        """Forget the picture."""
        self.luma = self.packed = None
        self.line["left_out"] = why


class Recorder:
    """Takes frames from the scanning thread; checks, packs and writes them on one of its own.

    Threads: `add`, `failed` and `finish` belong to the caller's thread, which only adds to
    `frames` and `read`; all else to the one started here. A frame that comes while too many
    wait becomes a line without a picture.
    """

    def __init__(self, report: FileIO, folder: Path, *, pattern: str, with_codes: bool) -> None:
        """Begin; the folder is there and nobody else writes to it.

        Args:
            report: Where the lines go, unbuffered.
            folder: Where the pictures go.
            pattern: `scan.code_pattern`.
            with_codes: Keep all, unchecked.
        """
        self.totals = Totals()
        self._report = report
        self._folder = folder
        self._with_codes = with_codes
        self._pattern = re.compile(pattern.encode("ascii"))
        # Every engine that is here, whatever `scan.engines` says, and every rescue.
        self._engines = [] if with_codes else load_stages(ENGINES)
        self._rescues = [] if with_codes else [RescueStage(name) for name in RESCUES]
        self._ready = threading.Condition()
        self._waiting: deque[_Shot] = deque()
        self._copies = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._held: deque[_Shot] = deque()
        self._code_at_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, luma: Luma, at_s: float, look: Look, about: dict[str, Any]) -> None:
        """Take a frame and what was seen in it.

        Args:
            luma: A copy, ours from now on.
            at_s: When it was captured, on the monotonic clock.
            look: What the decoder made of it.
            about: What else belongs into its line.
        """
        self.totals.frames += 1
        self.totals.read += bool(look.symbols)
        seen = [*look.symbols, *look.waiting]
        aim = measure(luma, look.symbols or look.waiting)
        line = {
            "file": f"{self.totals.frames:06}.png",
            "captured_at_s": round(at_s, 6),
            **about,
            "tried": look.tried,
            "gated": look.gated,
            "symbols": [self._masked(symbol) for symbol in look.symbols],
            "waiting": [self._masked(symbol) for symbol in look.waiting],
            "aim": None if aim is None else _rounded(aim),
        }
        shot = _Shot(line, at_s, has_code=self._any_code(seen), luma=luma)
        with self._ready:
            if self._copies >= MAX_WAITING or (shot.has_code and not self._with_codes):
                shot.luma = None
            self._copies += shot.luma is not None
            self._waiting.append(shot)
            self._ready.notify()

    @property
    def failed(self) -> bool:
        """Nothing more can be written; the caller ends."""
        return bool(self.totals.failed) or self._failure is not None

    def finish(self) -> Totals:
        """Write what may be written, and end.

        Raises:
            BaseException: What ended the thread.
        """
        with self._ready:
            self._ended = True
            self._ready.notify()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self.totals

    def _run(self) -> None:
        try:
            for shot in self._arriving():
                self._hold(shot)
                # With all codes wanted there is nothing to wait for.
                self._write_older_than(float("inf") if self._with_codes else shot.at_s - AROUND_S)
            self._write_older_than(float("inf"))
        except OSError as error:
            self.totals.failed = reason(error, self._folder)
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`
            self._failure = error

    def _arriving(self) -> Iterator[_Shot]:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                shot = self._waiting.popleft()
                copied = shot.luma is not None
            yield shot
            with self._ready:
                self._copies -= copied

    def _hold(self, shot: _Shot) -> None:
        """Check and pack a frame, and hold it back; take out what is near a code."""
        if shot.luma is not None and not self._with_codes:
            shot.has_code = shot.has_code or self._shows_code(shot.luma)
        if shot.has_code and not self._with_codes:
            self._code_at_s = shot.at_s
            for earlier in self._held:
                if shot.at_s - earlier.at_s <= AROUND_S:
                    earlier.leave_out(_CODE)
        if shot.at_s - self._code_at_s <= AROUND_S:
            shot.leave_out(_CODE)
        elif shot.luma is None or sum(len(x.packed or b"") for x in self._held) > MAX_HELD_BYTES:
            shot.leave_out(_NO_TIME)
        else:
            _, data = cv2.imencode(".png", shot.luma, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
            shot.luma, shot.packed = None, data.tobytes()
        self._held.append(shot)

    def _write_older_than(self, at_s: float) -> None:
        while self._held and self._held[0].at_s < at_s:
            self._write(self._held.popleft())

    def _write(self, shot: _Shot) -> None:
        """Write a picture and its line; after a failure neither is there, not even a part."""
        picture = self._folder / shot.line["file"]
        if shot.packed is None:
            shot.line["file"] = None
        line = json.dumps(shot.line, ensure_ascii=False).encode() + b"\n"
        end = self._report.tell()
        try:
            if shot.packed is not None:
                with new_file(picture, private=self._with_codes) as file:
                    write_all(file, shot.packed)
            write_all(self._report, line)
        except OSError:
            picture.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._report.truncate(end)
            raise
        self.totals.saved += shot.packed is not None
        self.totals.codes += shot.line.get("left_out") == _CODE
        self.totals.skipped += shot.line.get("left_out") == _NO_TIME

    def _shows_code(self, luma: Luma) -> bool:
        """Look with all there is, at once: more than the scanner has time for."""
        parts = [luma[region] for region in find_regions(luma)]
        looks: list[tuple[Stage, Luma]] = [(engine, luma) for engine in self._engines]
        for part in parts:
            looks += [(stage, part) for stage in [*self._engines, *self._rescues]]
        for stage, plane in looks:
            # Native code over hostile pixels: one that fails is passed over.
            with contextlib.suppress(Exception):
                if self._any_code(stage.decode(plane)):
                    return True
        return False

    def _any_code(self, symbols: Iterable[Symbol]) -> bool:
        return any(self._is_code(symbol) for symbol in symbols)

    def _is_code(self, symbol: Symbol) -> bool:
        """Whatever its kind: who holds the digits of a code can charge it."""
        return isinstance(check_payload(symbol.payload, "qr", self._pattern), PaymeCode)

    def _masked(self, symbol: Symbol) -> dict[str, Any]:
        return {
            "payload": mask(symbol.payload.decode("utf-8", errors="backslashreplace")),
            "bytes": len(symbol.payload),
            "is_code": self._is_code(symbol),
            "kind": symbol.kind,
            "stage": symbol.stage,
            "corners": symbol.corners,
        }


def _rounded(aim: Aim) -> dict[str, Any]:
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in asdict(aim).items()
    }


def new_file(path: Path, *, private: bool) -> FileIO:
    """Make a file that has its mode before it has content; unbuffered.

    Raises:
        OSError: It is there already, or cannot be.
    """
    mode = 0o600 if private else 0o644
    return FileIO(path, "x", opener=lambda name, flags: os.open(name, flags, mode))


def write_all(file: FileIO, content: bytes) -> None:
    """Write to an unbuffered file, which may take less than it is given."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def reason(error: OSError, folder: Path) -> str:
    """What a refusal of the disk means, in a sentence or two."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk is full ({folder}). Free some space, or record fewer seconds."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{folder} may not be written by this user. Name another folder."
        case _:
            return f"{folder}: {error.strerror or error}."
