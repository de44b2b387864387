"""Milliseconds for a frame: the kiosk and the usual ways, frame by frame side by side.

A machine is never quite alone. So all take turns, and the middle one of a frame's repetitions
stands for it.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hardware.frame import Luma
from kiosk.bench.engines import FRAME_S, KIOSK, USUAL, ZXING, Kiosk, load_rivals, noisy
from kiosk.bench.figures import Figure, Measured, compared, percentile
from kiosk.bench.material import SMALL, committed_frames, unreadable_frames

OWN = "kiosk, own"
"""Without pyzbar and OpenCV: `fast`, `zxing` and the rescues."""
_VARIANTS = 4
_RIVALS_EVERY = 3
_RING = 4  # a driver has so many buffers
_STILL = 400
_IN_A_ROW = 20


@dataclass(slots=True)
class Times:
    """Milliseconds of the single calls, for each frame.

    Attributes:
        frames: All calls.
        firsts: Those before which another engine was at work: nothing of this one's was in the
            processor's caches.
    """

    frames: dict[int, list[float]] = field(default_factory=dict)
    firsts: dict[int, list[float]] = field(default_factory=dict)

    def add(self, frame: int, calls: Sequence[float]) -> None:
        """Note calls that followed each other."""
        self.frames.setdefault(frame, []).extend(calls)
        self.firsts.setdefault(frame, []).append(calls[0])

    @property
    def calls(self) -> list[float]:
        """All single calls."""
        return [one for calls in self.frames.values() for one in calls]

    @property
    def p50(self) -> float:
        """The median over frames of the median of each one's repetitions."""
        return statistics.median(statistics.median(calls) for calls in self.frames.values())

    @property
    def first(self) -> float:
        """As `p50`, of the first calls alone."""
        return statistics.median(statistics.median(calls) for calls in self.firsts.values())

    @property
    def p99(self) -> float:
        """Over all single calls."""
        return percentile(self.calls, 99)

    @property
    def longest(self) -> float:
        """Over all single calls."""
        return max(self.calls)


@dataclass(frozen=True, slots=True)
class Timing:
    """What was timed at one size.

    Attributes:
        size: Of the frames.
        hit: Times for each engine on easy frames.
        miss: The same on frames without a code, and on hard ones that nobody reads.
        gated_us: A still frame of which everything has been tried.
        memcpy_us: A copy of the same frame.
    """

    size: str
    hit: dict[str, Times]
    miss: dict[str, Times]
    gated_us: float
    memcpy_us: float


def time_frames(size: str, seed: int, *, hits: int, misses: int) -> Timing:
    """Time everything at one size.

    Args:
        size: Of the frames.
        seed: Of the scenes that nobody reads.
        hits: Repetitions of each easy frame.
        misses: Repetitions of each frame that gives nothing.
    """
    committed = committed_frames(size)
    easy = [frame.luma for frame in committed if frame.name.startswith("easy-")]
    nothing = [frame.luma for frame in committed if frame.name.startswith("none-")]
    # With thirteen scenes each stage in the rotation comes to each scene.
    nothing += unreadable_frames(seed, 13 - len(nothing), size)
    gated_us, memcpy_us = _time_idle(nothing[0])
    return Timing(size, _time_hits(easy, hits), _time_misses(nothing, misses), gated_us, memcpy_us)


def _time_hits(frames: Sequence[Luma], repetitions: int) -> dict[str, Times]:
    """On each frame each engine works several times in a row, then the next one.

    The kiosk sees them thirty a second, as of phones that follow each other.
    """
    rivals, ours = load_rivals(), Kiosk()
    times = {KIOSK: Times()} | {one.name: Times() for one in rivals}
    for round_ in range(-1, -(-repetitions // _IN_A_ROW)):  # the first is not counted
        for number, luma in enumerate(frames):
            took = {KIOSK: [_time_next(ours, luma) for _ in range(_IN_A_ROW)]}
            for one in rivals:
                given = one.prepare(luma)
                took[one.name] = [_timed(one.read, given) for _ in range(_IN_A_ROW)]
            if round_ >= 0:
                for name, calls in took.items():
                    times[name].add(number, calls)
    return times


def _time_next(ours: Kiosk, luma: Luma) -> float:
    ours.now_s += FRAME_S
    return _timed(ours.decoder.decode, luma, ours.now_s)


def _time_misses(frames: Sequence[Luma], repetitions: int) -> dict[str, Times]:
    """Thirty frames a second, each of another scene than the one before, each with its own noise.

    So the gate finds a change in each frame and stays open, while the rotation goes on from
    frame to frame: all of its turns are among the calls. One pass over all scenes is one
    engine's, the next one the next engine's.
    """
    rng = np.random.default_rng(len(frames))
    variants = [[noisy(luma, rng) for _ in range(_VARIANTS)] for luma in frames]
    rivals = load_rivals()
    kiosks = {KIOSK: Kiosk(), OWN: Kiosk(without=("pyzbar", "opencv"))}
    times = {name: Times() for name in (*kiosks, *(one.name for one in rivals))}
    for repetition in range(repetitions):
        lumas = [several[repetition % _VARIANTS] for several in variants]
        for name, ours in kiosks.items():
            for number, luma in enumerate(lumas):
                ours.now_s += FRAME_S
                began_ns = time.perf_counter_ns()
                look = ours.decoder.decode(luma, ours.now_s)
                milliseconds = (time.perf_counter_ns() - began_ns) / 1e6
                if not look.symbols and not look.gated:
                    times[name].add(number, [milliseconds])
        if repetition % _RIVALS_EVERY == 0:
            for one in rivals:
                for number, given in enumerate([one.prepare(luma) for luma in lumas]):
                    times[one.name].add(number, [_timed(one.read, given)])
    return times


def _time_idle(luma: Luma) -> tuple[float, float]:
    """Medians, in microseconds, of a gated look and of a copy, over a driver's ring of buffers."""
    ours = Kiosk()
    ring = [luma.copy() for _ in range(_RING)]
    target = np.empty_like(luma)
    while True:
        ours.read_next(ring[0])
        if ours.decoder.done:
            break
    gated: list[float] = []
    copied: list[float] = []
    while len(gated) < _STILL:
        for still in ring:
            ours.now_s += FRAME_S
            began_ns = time.perf_counter_ns()
            look = ours.decoder.decode(still, ours.now_s)
            between_ns = time.perf_counter_ns()
            if look.gated:
                gated.append((between_ns - began_ns) / 1e3)
        # In a pass of its own: what was just looked at would be in the cache.
        for still in ring:
            began_ns = time.perf_counter_ns()
            np.copyto(target, still)
            copied.append((time.perf_counter_ns() - began_ns) / 1e3)
    return statistics.median(gated), statistics.median(copied)


def _timed(call: Callable[..., object], *given: object) -> float:
    began_ns = time.perf_counter_ns()
    call(*given)
    return (time.perf_counter_ns() - began_ns) / 1e6


def timing_figures(timing: Timing) -> list[Figure]:
    """The figures of one size; the bars are for 640x480."""
    size = timing.size
    figures: list[Figure] = []
    for what, times in (("hit", timing.hit), ("miss", timing.miss)):
        for point in ("p50", "p99", "longest"):
            values = {name: round(getattr(one, point), 3) for name, one in times.items()}
            label = f"{what}, {'max' if point == 'longest' else point}"
            figures += compared(label, values, unit="ms", size=size)
    colds: dict[str, Measured] = {name: round(one.first, 3) for name, one in timing.hit.items()}
    figures += compared("hit, p50 with cold caches", colds, unit="ms", size=size)
    usual_hit, usual_miss = timing.hit[USUAL].p50, timing.miss[USUAL].p50
    ours, miss = timing.hit[KIOSK].p50, timing.miss

    def ratio(figure: str, measured: float, bar: str, **parts: float) -> Figure:
        detail: dict[str, object] = {name: round(part, 3) for name, part in parts.items()}
        shown_bar = bar if size == SMALL else ""
        return Figure(
            figure=figure, measured=round(measured, 3), bar=shown_bar, size=size, detail=detail
        )

    return [
        *figures,
        Figure(figure="gated idle frame", measured=round(timing.gated_us, 2), unit="us", size=size),
        Figure(
            figure="memcpy of the frame", measured=round(timing.memcpy_us, 2), unit="us", size=size
        ),
        ratio("gated idle frame / memcpy", timing.gated_us / timing.memcpy_us, "<= 2"),
        ratio("hit, p50: usual loop / kiosk", usual_hit / ours, ">= 120"),
        ratio("hit, p50: plain zxing-cpp / kiosk", timing.hit[ZXING].p50 / ours, ">= 4"),
        ratio("miss, p50, everything on / usual loop", miss[KIOSK].p50 / usual_miss, "<= 0.1"),
        ratio(
            "miss, p99, own stages and rescues / usual loop's p50",
            miss[OWN].p99 / usual_miss,
            "<= 0.25",
        ),
        ratio(
            "miss, p99, pyzbar and OpenCV too / usual loop's p50",
            miss[KIOSK].p99 / usual_miss,
            "<= 1",
        ),
    ]
