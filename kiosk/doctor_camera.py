"""The camera's part of `kiosk doctor`: what it delivers, and how a code lies before it.

On a terminal a technician mends it meanwhile: holds a phone there, turns the lens, and reads one
line that is written anew twice a second. Elsewhere two seconds are looked at. What a code says
appears nowhere: whoever has it can charge the customer.
"""

import re
import shutil
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from hardware.camera import Camera
from hardware.frame import Frame
from hardware.selftest import Finding
from kiosk.core.code import PaymeCode, check_payload
from kiosk.scanner.aim import (
    LEAST_CONTRAST,
    MOST_CLIPPED,
    SHARP_EDGE_PX,
    SMEARED,
    Advice,
    Aim,
    advise,
    measure,
)
from kiosk.scanner.decoder import Decoder, build_decoder
from kiosk.settings import Settings

LIVE_S = 20.0
GLANCE_S = 2.0
FIRST_FRAME_S = 5.0
FINE_FOR_S = 1.0
_REWRITE_EVERY_S = 0.5
_MEASURE_EVERY_S = 0.1
_RECENT = 10  # measurements: a second of them
_ENOUGH = 5
_READ_TIMEOUT_S = 0.2
_LEAST_RATE = 0.6
_BLACK_MEAN, _WHITE_MEAN = 8, 245

HOLD_A_PHONE = "hold a phone with a QR code 15 cm before the camera"
_TRY_AGAIN = f"{HOLD_A_PHONE}, and run doctor again, best on a terminal"
_WHAT_TO_MOVE = {
    Advice.CLOSER: "bring the phone closer to the camera",
    Advice.FARTHER: "take the phone farther from the camera, so that all of the code is in view",
    Advice.HOLD_STILL: "hold the phone still",
    Advice.BRIGHTER: "make it brighter: the phone's screen, else the exposure (camera.exposure)",
    Advice.DARKER: "make it darker: keep lamps and sun off the glass, or expose less"
    " (camera.exposure)",
    Advice.TURN_THE_LENS: "turn the lens, the way that makes the edges narrower; a lens that"
    " turns by itself: camera.focus",
    Advice.FINE: "fine, leave all as it is",
}


@dataclass(slots=True)
class Seen:
    """What a session saw.

    Attributes:
        frames: How many frames came to us.
        size: Columns and rows of the last one.
        rate: Frames a second by the driver's own count; 0 where it cannot be told.
        mean: Mean level of the last frame.
        aims: Each measurement, None where nothing looked like a code.
        stage: The stage that read last.
        payable: Whether what was read last matches `scan.code_pattern`.
    """

    frames: int = 0
    size: tuple[int, int] = (0, 0)
    rate: float = 0.0
    mean: float = 0.0
    aims: list[Aim | None] = field(default_factory=list)
    stage: str | None = None
    payable: bool = False


def check_camera(
    settings: Settings,
    *,
    live: TextIO | None = None,
    open_camera: Callable[[], Camera] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:
    """Look at what the camera sees and judge it.

    Args:
        settings: `camera` and `scan` are used.
        live: A terminal to write to while someone holds a phone; None for a glance.
        open_camera: Makes the camera; by default that of `camera.backend`.
        clock: Seconds on the monotonic clock.

    Yields:
        `camera`, `focus`, `exposure` and `code size`.

    Raises:
        HardwareError: There is no camera, or it is gone.
        SettingsError: None of the engines is there.
    """
    if open_camera is None:
        from kiosk import wiring

        def open_camera() -> Camera:
            return wiring.open_camera(settings.camera)

    camera = open_camera()
    decoder = build_decoder(settings.scan.engines, settings.scan.rescues)
    session = _Session(decoder, settings.scan.code_pattern.encode("ascii"), clock)
    try:
        camera.open()
        session.look(camera, live)
        exposure = camera.exposure_range()
    finally:
        camera.close()
    seen = session.seen
    if not seen.frames:
        advice = "unplug and plug the camera, then again"
        yield Finding("camera", ok=False, detail=f"{camera.name}: no frame", advice=advice)
        return
    yield _judge_camera(camera.name, seen, settings.camera.fps)
    set_to = ""
    if exposure is not None:
        set_to = f"; exposure {exposure.now} of {exposure.lowest} to {exposure.highest}"
    yield from _judge_code(seen, set_to)


class _Session:
    """Looks until all is fine, the time is up, or someone presses Ctrl-C."""

    def __init__(self, decoder: Decoder, pattern: bytes, clock: Callable[[], float]) -> None:
        self.seen = Seen()
        self._decoder = decoder
        self._pattern = re.compile(pattern)
        self._clock = clock
        self._recent: deque[Aim | None] = deque(maxlen=_RECENT)
        self._first = (0, 0.0)  # sequence and time of the first frame
        self._measured_at_s = float("-inf")

    def look(self, camera: Camera, live: TextIO | None) -> None:
        """Look at frames, and write a line about them where there is someone to read it."""
        began_s = self._clock()
        until_s = began_s + FIRST_FRAME_S
        fine_since_s: float | None = None
        write_at_s = began_s
        if live is not None:
            print(f"{HOLD_A_PHONE}; Ctrl-C ends this", file=live, flush=True)
        try:
            while (now_s := self._clock()) < until_s:
                if self._take(camera.read(_READ_TIMEOUT_S)) and self.seen.frames == 1:
                    until_s = self._clock() + (GLANCE_S if live is None else LIVE_S)
                if live is None:
                    continue
                advice = advise(self._recent)
                if advice is not Advice.FINE:
                    fine_since_s = None
                elif fine_since_s is None:
                    fine_since_s = now_s
                elif now_s - fine_since_s >= FINE_FOR_S:
                    break
                if now_s >= write_at_s:
                    write_at_s = now_s + _REWRITE_EVERY_S
                    _rewrite(live, self._line(advice))
        except KeyboardInterrupt:
            pass  # the technician has seen enough, and gets what was found
        if live is not None:
            _rewrite(live, self._line(advise(self._recent)))
            print(file=live, flush=True)

    def _take(self, frame: Frame | None) -> bool:
        """Look at a frame and give it back; tell whether there was one."""
        if frame is None:
            return False
        seen = self.seen
        try:
            now_s = frame.captured_at_s
            look = self._decoder.decode(frame.luma, now_s)
            # What is held quite still is not decoded each time, and is as it was.
            if now_s - self._measured_at_s >= _MEASURE_EVERY_S and not look.gated:
                self._measured_at_s = now_s
                aim = measure(frame.luma, look.symbols or look.waiting)
                self._recent.append(aim)
                seen.aims.append(aim)
                seen.mean = float(frame.luma[::8, ::8].mean())
            if look.symbols:
                symbol = look.symbols[0]
                seen.stage = symbol.stage
                checked = check_payload(symbol.payload, symbol.kind, self._pattern)
                seen.payable = isinstance(checked, PaymeCode)
            height, width = frame.luma.shape
            seen.size = (width, height)
        finally:
            frame.release()
        seen.frames += 1
        if seen.frames == 1:
            self._first = (frame.sequence, now_s)
        elif now_s > self._first[1]:
            seen.rate = (frame.sequence - self._first[0]) / (now_s - self._first[1])
        return True

    def _line(self, advice: Advice | None) -> str:
        aim = self._recent[-1] if self._recent else None
        if aim is None:
            return f"{self.seen.frames} frames, no code in view: {HOLD_A_PHONE}"
        edges = "edges -" if aim.edge_px is None else f"edges {aim.edge_px:.1f} px"
        how = self.seen.stage if aim.read and self.seen.stage else "not read"
        light = f"contrast {aim.contrast:.0f} white {aim.clipped:.0%}"
        return f"{advice}  {how}  {edges}  {light}  {_size(aim)}"


def _rewrite(live: TextIO, line: str) -> None:
    # A line longer than the terminal would not be overwritten by the next one.
    columns = shutil.get_terminal_size().columns
    live.write(f"\r\x1b[K{line[: max(columns - 1, 20)]}")
    live.flush()


def _size(aim: Aim) -> str:
    modules = "" if aim.module_px is None else f", {aim.module_px:.1f} a module"
    return f"{aim.side_px:.0f} px{modules}"


def _judge_camera(name: str, seen: Seen, fps: int) -> Finding:
    detail = f"{name}: {seen.size[0]}x{seen.size[1]}, {seen.rate:.1f} of {fps} frames a second"
    if seen.rate and seen.rate < _LEAST_RATE * fps:
        advice = (
            "more light, or a shorter camera.exposure: in the dark many cameras deliver fewer;"
            " else set camera.fps to what it can do"
        )
        return Finding("camera", ok=False, detail=detail, advice=advice)
    if not _BLACK_MEAN <= seen.mean <= _WHITE_MEAN:
        what, advice = "white", "keep the light out of the lens, or a shorter camera.exposure"
        if seen.mean < _BLACK_MEAN:
            what, advice = "black", "is the lens covered? Else a longer camera.exposure"
        detail += f", but the picture is {what}"
        return Finding("camera", ok=False, detail=detail, advice=advice)
    return Finding("camera", ok=True, detail=detail)


def _judge_code(seen: Seen, exposure: str) -> Iterator[Finding]:
    """Judge what was read; failing that, what looked like a code most of the time."""
    known = [aim for aim in seen.aims if aim is not None]
    aims = [aim for aim in known if aim.read]
    if not aims and len(known) >= max(_ENOUGH, len(seen.aims) / 2):
        aims = known
    if not aims:
        nothing = "not judged: no code in view"
        yield Finding("focus", ok=True, detail=nothing, advice=_TRY_AGAIN)
        yield Finding("exposure", ok=True, detail=f"{nothing}{exposure}", advice=_TRY_AGAIN)
        yield Finding("code size", ok=True, detail=nothing, advice=_TRY_AGAIN)
        return
    yield _judge_focus(aims)
    yield _judge_exposure(aims, exposure)
    yield _judge_size(aims, seen)


def _judge_focus(aims: Sequence[Aim]) -> Finding:
    # A lens is as good as its best frame: a hand spoils the others.
    still = [aim.edge_px for aim in aims if aim.edge_px is not None and aim.smear < SMEARED]
    if not still:
        detail = "not judged: the phone was never still"
        return Finding("focus", ok=True, detail=detail, advice=_TRY_AGAIN)
    edge_px = sorted(still)[len(still) // 5]
    detail = f"edges {edge_px:.1f} px wide; at most {SHARP_EDGE_PX:g} with a lens in focus"
    advice = "" if edge_px <= SHARP_EDGE_PX else _WHAT_TO_MOVE[Advice.TURN_THE_LENS]
    return Finding("focus", ok=not advice, detail=detail, advice=advice)


def _judge_exposure(aims: Sequence[Aim], exposure: str) -> Finding:
    contrast = statistics.median(aim.contrast for aim in aims)
    clipped = statistics.median(aim.clipped for aim in aims)
    black = statistics.median(aim.black for aim in aims)
    detail = (
        f"contrast {contrast:.0f}, {clipped:.0%} white, {black:.0%} black in the code{exposure}"
    )
    if clipped > MOST_CLIPPED:
        advice = _WHAT_TO_MOVE[Advice.DARKER]
    else:
        advice = "" if contrast >= LEAST_CONTRAST else _WHAT_TO_MOVE[Advice.BRIGHTER]
    return Finding("exposure", ok=not advice, detail=detail, advice=advice)


def _judge_size(aims: Sequence[Aim], seen: Seen) -> Finding:
    aim = sorted(aims, key=lambda aim: aim.side_px)[len(aims) // 2]
    if not aim.read:
        detail = f"what looks like a code of {_size(aim)} was not read"
        said = [word for aim in aims if (word := advise([aim])) is not None]
        word = max(set(said), key=said.count)
        return Finding("code size", ok=False, detail=detail, advice=_WHAT_TO_MOVE[word])
    matches = "matches" if seen.payable else "does not match"
    detail = f"{_size(aim)}; read by {seen.stage}; {matches} scan.code_pattern"
    word = advise([aim])
    if word in (Advice.CLOSER, Advice.FARTHER):
        return Finding("code size", ok=False, detail=detail, advice=_WHAT_TO_MOVE[word])
    return Finding("code size", ok=True, detail=detail)
