"""`kiosk bench`: the figures of the frame loop and of the payment path, beside the usual ways."""

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kiosk.bench.figures import Figure, percentile, table
from kiosk.errors import UsageError

if TYPE_CHECKING:
    from kiosk.bench.payments import Paid
    from kiosk.bench.recall import Reading
    from kiosk.bench.timing import Timing

STARTS = 5
Part = Literal["all", "frames", "payments"]
Section = tuple[str, Sequence[Figure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure, and how much of it.

    Attributes:
        part: The frame loop, the payment path, or both.
        payments: How many for each way of paying.
        seed: Of all that is drawn by lot.
        scenes: How many for recall at 640x480; a third of it at 1280x720.
        damaged: How many damaged and spliced codes.
        visits: How many simulated visits.
        hits: Repetitions of each frame that is read; half of it at 1280x720.
        misses: Repetitions of each that is not; half of it at 1280x720.
        sightings: How many for the time from sensor to event; half of it at 1280x720.
        workers: Processes for what is counted and not timed; None for all cores.
        photos: A folder of photographs.
        plot: Where to draw the picture.
    """

    part: Part = "all"
    payments: int = 200
    seed: int = 1
    scenes: int = 600
    damaged: int = 15_000
    visits: int = 60
    hits: int = 40
    misses: int = 24
    sightings: int = 240
    workers: int | None = None
    photos: Path | None = None
    plot: Path | None = None


def run_bench(options: Options, *, as_json: bool) -> int:
    """Measure and print, part by part.

    Args:
        options: What to measure.
        as_json: One object a line, `{figure, bar, measured, unit, reached}`, and `size` and
            `engine` where they matter.

    Returns:
        0; 1 if the kiosk read anything that is not there. A bar that a slow machine misses is
        said in the table.

    Raises:
        UsageError: A folder, a file or a library that was asked for is not there.
    """
    if options.part == "payments" and (options.photos or options.plot):
        raise UsageError("--photos and --plot belong to `kiosk bench frames`.")
    sections: list[Iterator[Section]] = []
    if options.part in ("all", "frames"):
        sections.append(frame_sections(options))
    if options.part in ("all", "payments"):
        sections.append(payment_sections(options))
    false_reads = 0
    for title, figures in (section for several in sections for section in several):
        if as_json:
            for one in figures:
                print(json.dumps(one.as_json()), flush=True)
        else:
            print(f"\n{title}\n{'-' * len(title)}")
            print("\n".join(table(figures)), flush=True)
        false_reads += sum(one.bar == "= 0" and one.reached is False for one in figures)
    return 1 if false_reads else 0


def frame_sections(options: Options) -> Iterator[Section]:
    """Measure the frame loop; yields each section when it is done."""
    # Here, and not above: `kiosk bench payments` needs no decoder.
    from kiosk.bench import corrupted, latency, photos, recall, spread, timing, visits
    from kiosk.bench.material import SIZES, SMALL

    folder, found = options.photos, []
    if folder is not None:
        found = photos.list_photos(folder)
    if options.plot is not None:
        from kiosk.bench.plot import check_plot

        check_plot(options.plot)
    spread.use_one_core()
    seed, workers = options.seed, options.workers or spread.cores()
    times: dict[str, Timing] = {}
    readings: dict[str, list[Reading]] = {}
    for size in SIZES:
        part = 1 if size == SMALL else 2
        times[size] = timing.time_frames(
            size, seed, hits=-(-options.hits // part), misses=-(-options.misses // part)
        )
        yield f"Time for a frame, {size}", timing.timing_figures(times[size])
    figures = recall.read_committed()
    for size in SIZES:
        count = options.scenes if size == SMALL else -(-options.scenes // 3)
        readings[size] = recall.read_corpus(seed, count, size, workers=workers)
        figures += recall.corpus_figures(readings[size], seed, size)
    yield "Recall", figures
    if options.plot is not None:
        from kiosk.bench.plot import draw

        draw(options.plot, readings[SMALL], times[SMALL], seed)
    if folder is not None:
        result = photos.read_photos(found, folder)
        yield f"Photographs, {folder}", photos.photo_figures(result)
    verdicts = corrupted.judge_damaged(seed, options.damaged, workers=workers)
    damaged = corrupted.damaged_figures(verdicts, seed)
    yield "False reads", [*corrupted.read_negatives(), *damaged]
    seen = visits.simulate_visits(seed, options.visits, workers=workers)
    yield "Simulated visits", visits.visit_figures(seen, seed)
    figures = []
    for size in SIZES:
        small = size == SMALL
        measured = latency.measure_latency(
            size,
            seed,
            sightings=options.sightings if small else -(-options.sightings // 2),
            starts=STARTS if small else 1,
        )
        figures += latency.latency_figures(measured)
    yield "The scanner process", figures


def payment_sections(options: Options) -> Iterator[Section]:
    """Measure the payment path."""
    from kiosk.bench.payments import pay
    from kiosk.bench.processes import start_kiosk

    tls = find_spec("trustme") is not None
    # Not /tmp, which may be memory: the journal's fsync must reach a disk.
    with tempfile.TemporaryDirectory(prefix=".kiosk-bench-", dir=Path.cwd()) as name:
        ours = pay(_folder(name, "warm"), options.payments, tls=tls, warm=True)
        usual = pay(_folder(name, "cold"), options.payments, tls=tls, warm=False)
    started = start_kiosk(STARTS)
    what = "TLS 1.3" if tls else "plain HTTP (trustme is missing)"
    yield "The payment path", payment_figures(ours, usual, started, options.payments, what)


def _folder(base: str, name: str) -> Path:
    folder = Path(base) / name
    folder.mkdir()
    return folder


def payment_figures(
    ours: "Paid", usual: "Paid", started: dict[str, object], payments: int, what: str
) -> list[Figure]:
    """The figures of the payment path."""

    def took(name: str, values: Sequence[float], at: float, bar: str = "") -> Figure:
        return Figure(figure=name, measured=round(percentile(values, at), 2), unit="ms", bar=bar)

    def most(values: Sequence[float], of: Callable[[Sequence[float]], float]) -> float:
        return round(of(values), 2)

    ready, rss = _numbers(started["ready_s"]), _numbers(started["payment_rss_mb"])
    written = round(ours.written_bytes / payments / 1024, 1)
    foreign = started["foreign"]
    assert isinstance(foreign, list)
    return [
        took(f"press to first request byte, {what}, p50", ours.to_request_ms, 50, "<= 5"),
        took(f"press to first request byte, {what}, p99", ours.to_request_ms, 99, "<= 20"),
        took("  the usual way (connect after the press), p50", usual.to_request_ms, 50),
        took("  the usual way, p99", usual.to_request_ms, 99),
        took("press to cue, sandbox's answer included, p50", ours.to_cue_ms, 50),
        took("press to cue, p99", ours.to_cue_ms, 99),
        Figure(
            figure="written to the device for each payment",
            measured=written,
            unit="KB",
            bar="<= 64",
        ),
        Figure(
            figure="kiosk run, exec to ready, median",
            measured=most(ready, statistics.median),
            unit="s",
            bar="<= 1.0",
        ),
        Figure(figure="kiosk run, exec to ready, slowest", measured=most(ready, max), unit="s"),
        Figure(
            figure="payment process, memory (RSS)", measured=most(rss, max), unit="MB", bar="<= 45"
        ),
        Figure(
            figure="numpy, cv2, decoders in the payment process",
            measured=", ".join(foreign) or "none",
            bar="none",
        ),
    ]


def _numbers(values: object) -> list[float]:
    assert isinstance(values, list)
    return [float(value) for value in values]
