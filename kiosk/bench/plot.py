"""`kiosk bench --plot`: recall against severity, and milliseconds for a frame, as one picture."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kiosk.bench.engines import ARUCO, KIOSK, OPENCV, USUAL, ZBAR, ZXING
from kiosk.bench.recall import CEILING, Reading, recall_by_severity
from kiosk.bench.timing import Timing
from kiosk.errors import UsageError

ENDINGS = (".png", ".svg")
# Okabe and Ito's colours, told apart with any colour vision; dashes and marks tell them twice.
_STYLES: dict[str, dict[str, Any]] = {
    CEILING: {"color": "0.45", "linestyle": ":", "linewidth": 1.8},
    KIOSK: {"color": "#0072B2", "linestyle": "-", "linewidth": 2.8, "marker": "o"},
    ZXING: {"color": "#D55E00", "linestyle": "-", "marker": "s"},
    ZBAR: {"color": "#009E73", "linestyle": "-", "linewidth": 4.0, "alpha": 0.5},
    USUAL: {"color": "#000000", "linestyle": "--", "marker": "x"},
    ARUCO: {"color": "#CC79A7", "linestyle": "-.", "marker": "D"},
    OPENCV: {"color": "#E69F00", "linestyle": "-.", "marker": "v"},
}
_ROWS = (KIOSK, ZXING, ARUCO, OPENCV, ZBAR, USUAL)
_HIT, _MISS = "#56B4E9", "#E69F00"
_FRAME_MS = 1000 / 30
_SIZE_INCHES = (10.5, 4.4)


def check_plot(file: Path) -> None:
    """Find out before the work whether the picture can be drawn after it.

    Raises:
        UsageError: Another ending, no such folder, or matplotlib is missing.
    """
    if file.suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot {file}: name a file that ends in {' or '.join(ENDINGS)}.")
    if not file.parent.is_dir():
        raise UsageError(f"--plot {file}: there is no folder {file.parent}.")
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--plot needs matplotlib, which a kiosk does not: pip install 'payme-kiosk[plot]'."
        )


def draw(file: Path, readings: Sequence[Reading], timing: Timing, seed: int) -> None:
    """Draw the picture; the same measurements give the same file.

    Args:
        file: Its ending decides the format.
        readings: Of the corpus at `timing.size`.
        timing: Of one size.
        seed: Of the corpus, for the title.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "kiosk",  # identifiers in the SVG that do not differ from run to run
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(settings):
        figure: Any = Figure(figsize=_SIZE_INCHES, layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_recall(left, readings, timing.size, seed)
        _draw_times(right, timing)
        # Without the date or the version of the program that wrote it.
        metadata = {"Date": None} if file.suffix.lower() == ".svg" else {"Software": None}
        figure.savefig(file, dpi=110, metadata=metadata)


def _draw_recall(axes: Any, readings: Sequence[Reading], size: str, seed: int) -> None:
    for name, style in _STYLES.items():
        points = recall_by_severity(readings, name)
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, [100 * share for share in y], label=name, markersize=4.5, **style)
    axes.set_title(f"Read of {len(readings)} rendered scenes, {size}, seed {seed}", fontsize=10)
    axes.set_xlabel("severity of the scene")
    axes.set_ylabel("read, %")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 102)
    axes.grid(visible=True, color="0.9")
    axes.legend(loc="lower left", frameon=False, fontsize=9)


def _draw_times(axes: Any, timing: Timing) -> None:
    """One row for each engine: how its milliseconds are spread, for hits and for misses."""
    rows = [name for name in _ROWS if name in timing.hit]
    calls = [
        one for times in (timing.hit, timing.miss) for name in rows for one in times[name].calls
    ]
    low, high = min(calls) / 1.3, max(*calls, _FRAME_MS) * 1.5
    edges = np.geomspace(low, high, 70)
    for row, name in enumerate(reversed(rows)):
        for times, colour in ((timing.hit, _HIT), (timing.miss, _MISS)):
            counts, _ = np.histogram(times[name].calls, edges)
            heights = row + 0.85 * counts / max(1, counts.max())
            axes.stairs(
                heights, edges, baseline=row, fill=True, color=colour, alpha=0.75, edgecolor="none"
            )
        axes.axhline(row, color="0.75", linewidth=0.8)
    axes.axvline(_FRAME_MS, color="0.3", linestyle=":", linewidth=1.2)
    axes.text(
        _FRAME_MS * 0.93,
        len(rows),
        "a frame at 30 fps",
        ha="right",
        va="top",
        fontsize=9,
        color="0.3",
    )
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(0, len(rows) + 0.05)
    axes.set_yticks([row + 0.4 for row in range(len(rows))], list(reversed(rows)))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.set_xlabel("milliseconds for a frame")
    axes.set_title(f"Time for one frame, {timing.size}", fontsize=10)
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=_HIT, label="code read"), Patch(color=_MISS, label="nothing to read")],
        loc="lower left",
        frameon=False,
        fontsize=9,
    )
