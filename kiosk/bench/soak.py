"""`make soak`: a million frames through the scanner, and what that does to its memory.

The camera, the capture thread, the loop, the decoder and the link are those of the scanner
process; only the camera's frames come as fast as they are taken.
"""

import argparse
import itertools
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hardware.camera import ExposureRange
from hardware.frame import Frame, Luma
from hardware.recordings import list_recordings, load_luma
from kiosk.messages import Hello, Want, encode
from kiosk.scanner.capture import Capture
from kiosk.scanner.decoder import build_decoder
from kiosk.scanner.link import ParentLink
from kiosk.scanner.loop import ScanLoop
from kiosk.settings import ENGINES, RESCUES

WARM_UP_SHARE = 0.1
"""Until then the allocators fill their pools; what grows after that is a leak."""
GROWTH_BYTES = 4 * 1024 * 1024
"""Less than what one frame in twenty thousand would leave behind in a million."""
REPORTS = 10
SCENES = 64


@dataclass(frozen=True, slots=True)
class Report:
    """How much memory the process held after so many frames."""

    frames: int
    rss_bytes: int


class EagerCamera:
    """Hands out the next frame as soon as the last one was given back."""

    name = "soak"

    def __init__(self, lumas: Iterator[Luma]) -> None:
        """Take the frames, which never end."""
        self._lumas = lumas
        self._free = threading.Semaphore(1)
        self._sequence = 0

    def open(self) -> None:
        """Do nothing."""

    def read(self, timeout_s: float) -> Frame | None:
        """Wait until the last frame was given back, and hand out the next."""
        if not self._free.acquire(timeout=timeout_s):
            return None
        self._sequence += 1
        return Frame(next(self._lumas), time.monotonic(), self._sequence, self._free.release)

    def exposure_range(self) -> ExposureRange | None:
        """None: nothing to set."""
        return None

    def expose(self, value: int) -> int:
        """Take any value."""
        return value

    def close(self) -> None:
        """Do nothing."""


def soak(lumas: Sequence[Luma], frames: int, *, seed: int = 1) -> Iterator[Report]:
    """Send frames through the scanner; the first report is the one after the warm-up.

    Args:
        lumas: Scenes; each is shown for some frames, with other noise each time.
        frames: How many.
        seed: Of the order and the noise.
    """
    ours, theirs = socket.socketpair()
    capture = Capture(lambda: EagerCamera(_shown(lumas, seed)), fps=30, stall_s=5)
    decoder = build_decoder(ENGINES, RESCUES)
    hello = Hello(version="soak", engines=decoder.engines, camera="soak")
    loop = ScanLoop(capture, decoder, ParentLink(ours), hello)
    reader = threading.Thread(target=_read_all, args=(theirs,), daemon=True)
    reader.start()
    theirs.sendall(encode(Want(wanted=True)))
    capture.start()
    runner = threading.Thread(target=loop.run, name="loop")
    runner.start()
    steps = [WARM_UP_SHARE + (1 - WARM_UP_SHARE) * step / REPORTS for step in range(REPORTS + 1)]
    try:
        for goal in (int(frames * step) for step in steps):
            while capture.frames < goal:
                if not runner.is_alive():
                    raise RuntimeError("the scanner's loop ended")
                time.sleep(0.02)
            yield Report(capture.frames, _rss_bytes())
    finally:
        loop.stop()
        runner.join()
        theirs.close()


def grown_bytes(reports: Sequence[Report]) -> int:
    """How much more memory there is at the end than after the warm-up."""
    return reports[-1].rss_bytes - reports[0].rss_bytes


def _shown(lumas: Sequence[Luma], seed: int) -> Iterator[Luma]:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 7, (8, *lumas[0].shape), dtype=np.uint8)
    for count in itertools.count():
        luma = lumas[int(rng.integers(len(lumas)))]
        for number in range(int(rng.integers(1, 40))):
            if luma.shape != noise.shape[1:]:
                yield luma
            else:
                # A still scene now and then, for the gate.
                noisy = cv2.add(luma, noise[number % 8 if count % 4 else 0])
                yield np.asarray(noisy, dtype=np.uint8)


def _read_all(peer: socket.socket) -> None:
    while True:
        try:
            if not peer.recv(65536):
                return
        except OSError:
            return


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _scenes(folder: Path | None) -> list[Luma]:
    if folder is not None:
        return [load_luma(file) for file in list_recordings(folder)]
    from kiosk.sandbox import corpus, renderer

    rng = np.random.default_rng(0)
    severities = [number / SCENES for number in range(SCENES)]
    scenes = [corpus.random_scene(rng, severity) for severity in severities]
    return [renderer.render(scene, seed) for seed, scene in enumerate(scenes)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, print, and fail if the memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="recorded frames instead of drawn ones")
    options = parser.parse_args(arguments)
    # As in the scanner process.
    cv2.setNumThreads(1)
    logging.basicConfig(level=logging.ERROR)
    began_s = time.monotonic()
    reports = []
    for report in soak(_scenes(options.folder), options.frames):
        reports.append(report)
        passed_s = time.monotonic() - began_s
        mib = report.rss_bytes / 1024 / 1024
        sys.stdout.write(f"{report.frames:>9} frames  {mib:7.1f} MiB  {passed_s:6.0f} s\n")
        sys.stdout.flush()
    grown = grown_bytes(reports)
    flat = grown <= GROWTH_BYTES
    sys.stdout.write(f"{'flat' if flat else 'GROWS'}: {grown / 1024 / 1024:+.1f} MiB\n")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
