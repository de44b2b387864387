"""Composition root of each process: from settings to objects.

Imports stand inside the functions: the payment process must not load what the scanner needs.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kiosk.settings import CameraSettings, Settings

if TYPE_CHECKING:
    from hardware.camera import Camera
    from hardware.panel import PanelPins
    from kiosk.core.memory import Policy
    from kiosk.payment.mailbox import Mailbox, ThreadDied
    from kiosk.payment.scanner_link import Source


def build_payment(settings: Settings, config: Sequence[Path], *, own_scanner: bool) -> int:
    """Run the payment process until it is told to end.

    Args:
        settings: All sections.
        config: The files they came from; the scanner child reads them again.
        own_scanner: Start the scanner as a child, instead of connecting to `scanner.socket`.

    Returns:
        The exit code.

    Raises:
        JournalBusyError: Another process writes this journal.
        HardwareError: The pins cannot be had.
        KioskError: What else keeps it from starting.
    """
    import contextlib
    import signal

    from kiosk.core.events import StopRequested
    from kiosk.payment.mailbox import Mailbox
    from kiosk.payment.scanner_link import ScannerLink
    from kiosk.payment.store import Store

    mailbox = Mailbox()
    # From the start: what it opens is closed again, whenever it is told to stop.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: mailbox.post(StopRequested()))
    with contextlib.ExitStack() as closing:
        store = Store(Path(settings.journal.path))
        closing.callback(store.close)
        link = ScannerLink(_scanner_source(settings, config, own_scanner=own_scanner), mailbox.post)
        link.open_early()
        closing.callback(link.stop)

        # While the scanner loads its decoders.
        from hardware.panel import Panel
        from hardware.pins import open_pin_factory
        from kiosk.core import events
        from kiosk.payment.clock import WallClock
        from kiosk.payment.control import Control
        from kiosk.payment.gateway import Gateway
        from kiosk.payment.gateway_thread import Attempts, Readiness
        from kiosk.payment.indicator import Indicator
        from kiosk.payment.informant import Informant
        from kiosk.payment.loop import Loop, Outside
        from kiosk.watchdog import Watchdog

        simulated = settings.panel.backend == "simulated"
        pins = panel_pins(settings)
        # Before any thread starts: importing lgpio moves the working directory for a moment.
        factory = open_pin_factory(
            "simulated" if simulated else settings.panel.pin_factory, settings.panel.chip
        )
        closing.callback(factory.close)
        panel = Panel(
            pins,
            pin_factory=factory,
            on_edge=lambda pressed, at_s: mailbox.post(
                events.ButtonPressed(at_s) if pressed else events.ButtonReleased(at_s)
            ),
            on_error=lambda error: mailbox.post(_died("button", error)),
        )
        closing.callback(panel.close)
        hands = None
        if simulated:
            from hardware.simulation import SimulatedHands

            hands = SimulatedHands(factory, pins)
        gateway = Gateway.from_settings(settings.gateway)
        readiness = Readiness(gateway, mailbox.post)
        control = Control(Path(settings.control.socket), mailbox.post)
        closing.callback(control.stop)
        outside = Outside(
            mailbox=mailbox,
            store=store,
            attempts=Attempts(gateway, mailbox.post),
            readiness=readiness,
            link=link,
            indicator=Indicator(panel),
            control=control,
            watchdog=(watchdog := Watchdog()),
            informant=Informant(store, settings.scan.code_pattern),
            hands=hands,
            press_after_s=settings.panel.press_after_s,
            keep_days=settings.journal.keep_days,
            wall_clock=WallClock(settings.locale.timezone),
        )
        link.start()
        readiness.start()
        closing.callback(readiness.stop)
        if hands is not None and sys.stdin is not None and sys.stdin.isatty():
            _listen_to_terminal(mailbox)
        Loop(outside, policy_of(settings)).run()
        watchdog.tell("STOPPING=1")
    return 0


def policy_of(settings: Settings) -> "Policy":
    """The settings that the rules of a payment need."""
    from kiosk.core.memory import Policy
    from kiosk.core.offer import Offer
    from kiosk.payment.gateway import INFO_TIMEOUT_S

    match settings.offer.source:
        case "fixed":
            assert settings.offer.amount_sum is not None
            offers: tuple[Offer, ...] = (Offer(settings.offer.amount_sum, settings.offer.label),)
        case "menu":
            offers = tuple(Offer(item.amount_sum, item.label) for item in settings.offer.items)
        case "host":
            offers = ()
    return Policy(
        offers=offers,
        max_amount_sum=settings.limits.max_amount_sum,
        confirm_automatic=settings.confirm.mode == "automatic",
        confirm_timeout_s=settings.confirm.timeout_s,
        rearm_s=settings.scan.rearm_s,
        # TCP, TLS, and the question whether the box is ready.
        connecting_s=2 * settings.gateway.connect_timeout_s + INFO_TIMEOUT_S,
        deadline_s=settings.gateway.deadline_s,
        max_consecutive_unknown=settings.limits.max_consecutive_unknown,
        unknown_pause_s=settings.limits.unknown_pause_s,
        max_unresolved=settings.limits.max_unresolved,
    )


def panel_pins(settings: Settings) -> "PanelPins":
    """The `panel:` section as the hardware understands it."""
    from hardware.panel import PanelPins

    return PanelPins(
        led_pin=settings.panel.led_pin,
        led_pwm=settings.panel.led_pwm,
        buzzer_pin=settings.panel.buzzer_pin,
        buzzer=settings.panel.buzzer,
        button_pin=settings.panel.button_pin,
    )


def _scanner_source(settings: Settings, config: Sequence[Path], *, own_scanner: bool) -> "Source":
    from kiosk.payment.scanner_link import Child, Served

    if not own_scanner:
        return Served(Path(settings.scanner.socket))
    files = [part for path in config for part in ("--config", str(path))]
    return Child([sys.executable, "-m", "kiosk", "scanner", *files, "--link-fd"])


def _died(thread: str, error: BaseException) -> "ThreadDied":
    from kiosk.payment.mailbox import ThreadDied

    return ThreadDied(thread, error)


def _listen_to_terminal(mailbox: "Mailbox") -> None:
    """On a terminal, `press` and Enter presses the simulated button."""
    import threading

    from kiosk.messages import Press
    from kiosk.payment.mailbox import CommandCame

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "press":
                mailbox.post(CommandCame(0, Press()))

    threading.Thread(target=listen, name="terminal", daemon=True).start()


def build_scanner(settings: Settings, link_fd: int | None) -> int:
    """Run the scanner process until it is told to end.

    Args:
        settings: `camera`, `scan` and `scanner` are used.
        link_fd: A connected stream socket inherited from the payment process, whose end is
            the scanner's end; None to serve `scanner.socket`.

    Returns:
        The exit code.

    Raises:
        KioskError: No engine is there, or the socket cannot be served.
    """
    import signal
    import socket
    from pathlib import Path

    # Until the loop can be stopped in order there is nothing to put in order.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # In a terminal Ctrl-C reaches parent and child; the parent ends the child when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN if link_fd is not None else lambda *_: os._exit(0))
    _use_one_core()

    from kiosk import __version__
    from kiosk.messages import Hello
    from kiosk.scanner.capture import Capture
    from kiosk.scanner.link import Link, ParentLink, ServingLink, die_with_parent

    link: Link
    if link_fd is not None:
        die_with_parent()
        link = ParentLink(socket.socket(fileno=link_fd))
    else:
        link = ServingLink(Path(settings.scanner.socket))
    camera = settings.camera
    by_screen = camera.exposure == "screen"
    capture = Capture(
        lambda: open_camera(camera), fps=camera.fps, stall_s=camera.stall_s, exposes=by_screen
    )
    capture.start()

    # After the start of the capture thread, which loads its driver meanwhile.
    from kiosk.scanner.decoder import build_decoder
    from kiosk.scanner.exposure import Exposure
    from kiosk.scanner.loop import ScanLoop
    from kiosk.watchdog import Watchdog

    decoder = build_decoder(settings.scan.engines, settings.scan.rescues)
    where = camera.path if camera.backend == "replay" else camera.device
    name = "csi" if camera.backend == "csi" else f"{camera.backend} {where}"
    hello = Hello(version=__version__, engines=decoder.engines, camera=name)
    exposure = Exposure(fps=camera.fps) if by_screen else None
    # A child's environment names the watchdog of its parent.
    watchdog = Watchdog() if link_fd is None else None
    loop = ScanLoop(capture, decoder, link, hello, exposure=exposure, watchdog=watchdog)
    signal.signal(signal.SIGTERM, lambda *_: loop.stop())
    if link_fd is None:
        signal.signal(signal.SIGINT, lambda *_: loop.stop())
    return loop.run()


def _use_one_core() -> None:
    """Keep numpy and OpenCV from starting a worker for each core, before they are loaded.

    The filters here take less time than waking the workers, whose stacks and buffers a Pi
    with 512 MB can use better, and whose cores the payment process and the screen need.
    """
    for library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(library, "1")


def open_camera(settings: CameraSettings) -> "Camera":
    """Make the camera of `camera.backend`."""
    from pathlib import Path

    match settings.backend:
        case "replay":
            from hardware.cameras.replay import ReplayCamera

            assert settings.path is not None
            return ReplayCamera(Path(settings.path), fps=settings.fps, loop=settings.loop)
        case "csi":
            from hardware.cameras.csi import CsiCamera

            return CsiCamera(
                settings.device,
                width=settings.width,
                height=settings.height,
                fps=settings.fps,
                exposure=settings.exposure,
                gain=settings.gain,
                focus=settings.focus,
            )
        case "v4l2":
            from hardware.cameras.v4l2 import V4l2Camera

            return V4l2Camera(
                settings.device,
                width=settings.width,
                height=settings.height,
                fps=settings.fps,
                exposure=settings.exposure,
                gain=settings.gain,
                focus=settings.focus,
            )
