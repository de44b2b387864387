"""The scanner's deciding loop: frame, decoder, sighting."""

import logging
import select
import time
from collections.abc import Callable, Sequence

from hardware.frame import Frame
from kiosk.messages import MAX_TEXT, CameraState, Hello, Message, Pulse, Sighting, Symbol
from kiosk.scanner.capture import CameraReport, Capture
from kiosk.scanner.decoder import Decoder
from kiosk.scanner.exposure import Exposure
from kiosk.scanner.link import Link
from kiosk.watchdog import Watchdog

log = logging.getLogger(__name__)

PULSE_EVERY_S = 0.4
MAX_SYMBOLS = 8
MAX_PAYLOAD_BYTES = 4096
"""Longer than any QR Code (2953 bytes); eight of them fit into a message."""


class ScanLoop:
    """Waits for a frame or a wish, decodes, tells. Rests while no code is wanted.

    Threads: everything runs on the main thread; `stop` may be called by a signal handler.
    """

    def __init__(
        self,
        capture: Capture,
        decoder: Decoder,
        link: Link,
        hello: Hello,
        *,
        exposure: Exposure | None = None,
        watchdog: Watchdog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take everything over; `run` closes the link and stops the capture.

        Args:
            capture: Gives the newest frame.
            decoder: Reads it.
            link: To the payment process.
            hello: What a new peer is told first.
            exposure: Sets the camera's exposure; None leaves it to the camera.
            watchdog: Told that this thread is ready and alive; None as a child, whose parent
                hears the pulse.
            clock: Seconds on the monotonic clock.
        """
        self._capture = capture
        self._decoder = decoder
        self._link = link
        self._hello = hello
        self._exposure = exposure
        self._watchdog = watchdog
        self._clock = clock
        self._greeted = 0
        self._told: CameraReport | None = None
        self._pulse_at_s = clock()
        self._decoded = 0
        self._damage = ""
        self._stopping = False

    def run(self) -> int:
        """Work until stopped or, as a child, until the parent hangs up.

        Returns:
            The exit code, 0.

        Raises:
            Exception: What ended the capture thread.
            CaptureHungError: The camera's driver hangs.
        """
        try:
            self._greet()
            self._notify("READY=1")
            while not self._stopping and not self._link.ended:
                sources = [self._capture.fileno(), *self._link.sources()]
                wait_s = max(0.0, self._pulse_at_s - self._clock())
                ready, _, _ = select.select(sources, [], [], wait_s)
                if any(source != self._capture.fileno() for source in ready):
                    self._listen()
                self._greet()
                self._tell_state()
                if self._watchdog is not None:
                    self._watchdog.kick(self._clock())
                frame = self._capture.take()
                if frame is not None:
                    self._look(frame)
        finally:
            self._notify("STOPPING=1")
            self._capture.stop()
            self._link.close()
        return 0

    def stop(self) -> None:
        """End `run` soon."""
        self._stopping = True
        self._capture.wake()

    def _notify(self, message: str) -> None:
        if self._watchdog is not None:
            self._watchdog.tell(message)

    def _listen(self) -> None:
        for wish in self._link.receive():
            self._capture.want(wanted=wish.wanted)

    def _greet(self) -> None:
        """Tell a new peer who we are and how the camera is."""
        if self._greeted != self._link.joined:
            self._greeted = self._link.joined
            self._told = None
            self._link.send(self._hello)
            self._pulse_at_s = self._clock()
            self._tell_state()

    def _look(self, frame: Frame) -> None:
        try:
            look = self._decoder.decode(frame.luma, frame.captured_at_s)
            self._meter(frame, read=bool(look.symbols or look.waiting))
        except Exception as error:
            # A damaged frame, or native code over hostile pixels: the next one may do. Said once
            # for each kind of damage, since a camera that has gone mad sends thirty a second.
            if str(error) != self._damage:
                self._damage = str(error)
                log.exception("frame dropped", extra={"sequence": frame.sequence})
            return
        finally:
            frame.release()
        self._decoded += not look.gated
        if look.symbols:
            self._link.send(_sighting(frame, look.symbols))

    def _meter(self, frame: Frame, *, read: bool) -> None:
        """Let the exposure control judge the frame, a gated one too, and pass its wish on."""
        if self._exposure is None:
            return
        setting = self._capture.setting()
        wish = self._exposure.look(frame.luma, setting, read=read, now_s=frame.captured_at_s)
        if wish is not None:
            self._capture.expose(wish)

    def _tell_state(self) -> None:
        report = self._capture.report()
        if report is not None and report != self._told:
            self._told = report
            self._link.send(CameraState(ok=report.ok, detail=report.detail[:MAX_TEXT]))
        now_s = self._clock()
        if now_s >= self._pulse_at_s:
            self._pulse_at_s = now_s + PULSE_EVERY_S
            self._link.send(Pulse(frames=self._capture.frames, decoded=self._decoded))


def _sighting(frame: Frame, symbols: Sequence[Symbol]) -> Message:
    """Make the message; nothing that a stranger draws makes it longer than a line may be."""
    fitting = [symbol for symbol in symbols if len(symbol.payload) <= MAX_PAYLOAD_BYTES]
    return Sighting(
        sequence=frame.sequence,
        captured_at_s=frame.captured_at_s,
        symbols=fitting[:MAX_SYMBOLS],
    )
