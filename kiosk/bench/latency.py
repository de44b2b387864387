"""From the sensor to the payment process's event, through the real scanner process.

The bench stands in the payment process's place, with that process's own parts: the link that
starts the scanner as a child, the mailbox, and the informant that asks a journal and makes the
event. Frames come thirty a second; each carries the time at which the camera handed it over.
"""

import contextlib
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from hardware.frame import Luma
from kiosk import messages
from kiosk.bench.figures import Figure, percentile
from kiosk.bench.material import SMALL, committed_frames, unreadable_frames
from kiosk.bench.processes import memory_mb
from kiosk.payment.informant import Informant
from kiosk.payment.mailbox import Mailbox, ScannerSaid, ThreadDied
from kiosk.payment.scanner_link import Child, ScannerLink
from kiosk.payment.store import Store
from kiosk.settings import ScanSettings

_CONFIG = """\
gateway: {{url: "http://127.0.0.1:9"}}
offer: {{amount_sum: 1000}}
camera: {{backend: replay, path: "{frames}", fps: 30}}
log: {{level: warning}}
"""
FRAME_MS = 1000 / 30
_HELLO_WITHIN_S = 60.0
_SIGHTING_WITHIN_S = 10.0
_WARM_UP = 30


@dataclass(slots=True)
class Latency:
    """What was measured.

    Attributes:
        size: Of the frames.
        to_event_ms: From a frame's timestamp to the event, for each frame that was read.
        ready_s: From exec to hello, each start.
        rss_mb: Memory of the scanner after the last frame.
        peak_mb: The most that it ever had.
    """

    size: str
    to_event_ms: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    peak_mb: float = 0.0


def measure_latency(size: str, seed: int, *, sightings: int, starts: int = 1) -> Latency:
    """Run scanners before recorded frames.

    They are the committed frames with payment codes. Each third frame cannot be read, so that all
    engines and rescues have work in between.

    Args:
        size: Of the frames.
        seed: Of those that cannot be read.
        sightings: How many to wait for; the first thirty are not counted.
        starts: How often to start a scanner; the last one is that which reads.

    Raises:
        TimeoutError: The scanner does not do its part.
    """
    latency = Latency(size)
    with tempfile.TemporaryDirectory(prefix="kiosk-bench-") as name:
        folder = Path(name)
        pattern = re.compile(ScanSettings().code_pattern)
        codes = [
            frame.luma
            for frame in committed_frames(size)
            if frame.payloads and all(pattern.fullmatch(payload) for payload in frame.payloads)
        ]
        _lay_out(folder / "frames", codes, unreadable_frames(seed, 4, size))
        config = folder / "kiosk.yaml"
        config.write_text(_CONFIG.format(frames=folder / "frames"), encoding="utf-8")
        for start in range(starts):
            with _scanner(config, latency) as (mailbox, child):
                if start < starts - 1:
                    continue
                with contextlib.closing(Store(folder / "journal.db")) as store:
                    informant = Informant(store, ScanSettings().code_pattern)
                    _listen(mailbox, informant, latency, _WARM_UP + sightings)
                latency.rss_mb, latency.peak_mb = memory_mb(_pid(child))
    return latency


def _lay_out(folder: Path, codes: Sequence[Luma], unreadable: Sequence[Luma]) -> None:
    """Two frames with codes, then one that is not read; the gate sees a change each time."""
    folder.mkdir()
    order = []
    for number, luma in enumerate(codes):
        order.append(luma)
        if number % 2:
            order.append(unreadable[number // 2 % len(unreadable)])
    for number, luma in enumerate(order):
        _, packed = cv2.imencode(".png", luma, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        (folder / f"{number:03d}.png").write_bytes(packed.tobytes())


@contextlib.contextmanager
def _scanner(config: Path, latency: Latency) -> Iterator[tuple[Mailbox, Child]]:
    """A scanner that has said hello and is wanted."""
    mailbox = Mailbox()
    child = Child([sys.executable, "-m", "kiosk", "scanner", "--config", str(config), "--link-fd"])
    link = ScannerLink(child, mailbox.post)
    began_s = time.monotonic()
    link.open_early()
    link.start()
    try:
        _await_hello(mailbox)
        latency.ready_s.append(time.monotonic() - began_s)
        link.want(True)
        yield mailbox, child
    finally:
        link.stop()


def _await_hello(mailbox: Mailbox) -> None:
    until_s = time.monotonic() + _HELLO_WITHIN_S
    while time.monotonic() < until_s:
        if isinstance(_said(mailbox, 1.0), messages.Hello):
            return
    raise TimeoutError("the scanner does not start")


def _listen(mailbox: Mailbox, informant: Informant, latency: Latency, sightings: int) -> None:
    """Do what the loop of the payment process does up to the event, and note when it is there."""
    for number in range(sightings):
        until_s = time.monotonic() + _SIGHTING_WITHIN_S
        while True:
            message = _said(mailbox, 1.0)
            if isinstance(message, messages.Sighting):
                break
            if time.monotonic() > until_s:
                raise TimeoutError("the scanner reads nothing")
        event = informant.look(message, time.monotonic())
        arrived_s = time.monotonic()
        if event is None or not event.codes:
            raise TimeoutError("the scanner's sighting is too old or has no code")
        if number >= _WARM_UP:
            latency.to_event_ms.append((arrived_s - message.captured_at_s) * 1e3)


def _said(mailbox: Mailbox, timeout_s: float) -> object:
    item = mailbox.take(timeout_s)
    if isinstance(item, ThreadDied):
        raise item.error
    return item.message if isinstance(item, ScannerSaid) else None


def _pid(child: Child) -> int:
    process = child._process  # noqa: SLF001 - the product needs nobody to know it
    assert process is not None
    return process.pid


def latency_figures(latency: Latency) -> list[Figure]:
    """The figures of one size; the bars are for 640x480."""
    size, calls = latency.size, latency.to_event_ms
    bars = size == SMALL
    figures = [
        Figure(
            figure=f"sensor to event, {point}",
            measured=round(value, 2),
            unit="ms",
            size=size,
            bar=bar if bars else "",
            detail={"sightings": len(calls)},
        )
        for point, value, bar in (
            ("p50", statistics.median(calls), ""),
            ("p99", percentile(calls, 99), "<= 33.3"),
            ("max", max(calls), ""),
        )
    ]
    figures.append(
        Figure(
            figure="scanner process, memory (RSS), all engines at work",
            measured=round(latency.rss_mb, 1),
            unit="MB",
            size=size,
            bar="<= 90" if bars else "",
            detail={"peak_mb": round(latency.peak_mb, 1)},
        )
    )
    if len(latency.ready_s) > 1:
        figures += [
            Figure(
                figure="scanner process, exec to hello, median",
                measured=round(statistics.median(latency.ready_s), 2),
                unit="s",
                bar="<= 0.8",
            ),
            Figure(
                figure="scanner process, exec to hello, slowest",
                measured=round(max(latency.ready_s), 2),
                unit="s",
            ),
        ]
    return figures
