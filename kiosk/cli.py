"""The command line: thin, and lazy, since what a command does not need costs start-up time."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kiosk.crashes import leave_no_core, place_of, tell_places_only
from kiosk.errors import KioskError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done or all as expected; 1 not as expected or nothing found; 2 usage or configuration;
        3 pins missing; 4 the journal is in use; 70 internal error.
    """
    args = _parser().parse_args(argv)
    leave_no_core()
    try:
        code = int(args.run(args))
        sys.stdout.flush()  # here, where a reader that left is no mistake
    except KioskError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # `kiosk journal list | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - translated there
        return _unexpected(error)
    return code


def _unexpected(error: Exception) -> int:
    from hardware.errors import HardwareError, PinsError

    if os.environ.get("KIOSK_DEBUG"):
        raise error
    if isinstance(error, HardwareError):
        _complain(str(error))
        return 3 if isinstance(error, PinsError) else 1
    _complain(
        f"internal error ({place_of(error)}); please report this line; KIOSK_DEBUG=1 shows more"
    )
    return 70


def _complain(text: str) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"kiosk: {line}\n")


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="F",
        help="a YAML file; give it again to override (default: /etc/kiosk/kiosk.yaml)",
    )
    common.add_argument("--json", action="store_true", help="one JSON object a line")
    parser = argparse.ArgumentParser(
        prog="kiosk", description="A payment kiosk for Payme Go QR codes.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, parents=[common], help=summary, description=summary, allow_abbrev=False
        )
        sub.set_defaults(run=run)
        return sub

    run = command("run", _run, "the payment process, with its scanner")
    run.add_argument("--no-scanner", action="store_true", help="connect to scanner.socket instead")
    scanner = command("scanner", _scanner, "the scanner alone, serving scanner.socket")
    scanner.add_argument("--link-fd", type=int, help=argparse.SUPPRESS)
    demo = command("demo", _demo, "everything on one machine, without hardware")
    demo.add_argument("--keep", type=Path, metavar="DIR", help="leave journal and logs there")
    replay = command("replay", _replay, "decode recorded frames as the scanner would")
    replay.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    record = command("record", _record, "keep what the camera sees, as frames for replay")
    record.add_argument("folder", type=Path, metavar="DIR", help="new or empty")
    record.add_argument(
        "--seconds", type=_count, default=10, metavar="N", help="how long (default: 10)"
    )
    record.add_argument(
        "--with-codes", action="store_true", help="also pictures of payment codes: used ones only"
    )
    command("check-config", _check_config, "validate the configuration and show what it means")
    doctor = command("doctor", _doctor, "camera, pins, gateway, clock, disk, journal: what works")
    doctor.add_argument(
        "--bundle", type=Path, metavar="FILE", help="leave what helps from afar in a new .tar.gz"
    )
    _add_bench_options(
        command("bench", _bench, "the figures, measured here, beside those of the usual ways")
    )
    sandbox = command("sandbox", _sandbox, "a gateway that behaves like the real one")
    sandbox.add_argument("--port", type=int, default=0, metavar="N")
    sandbox.add_argument("--tls", action="store_true", help="HTTPS with a CA of its own")
    sandbox.add_argument("--fault", metavar="NAME", help="misbehave in this way from the start")
    from kiosk.journal_commands import add_journal_commands

    add_journal_commands(commands, common)
    return parser


def _add_bench_options(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "part",
        nargs="?",
        default="all",
        choices=("all", "frames", "payments"),
        help="the frame loop, the payment path, or both (default)",
    )
    for option, default, what in (
        ("--payments", 200, "of each kind"),
        ("--seed", 1, "of what is drawn by lot"),
        ("--scenes", 600, "rendered for recall"),
        ("--corrupted", 15_000, "codes that are damaged or spliced"),
    ):
        bench.add_argument(
            option, type=_count, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    bench.add_argument(
        "--photos", type=Path, metavar="DIR", help="photographs, each with its text in a .txt"
    )
    bench.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw recall and times: a .png or a .svg"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _config(args: argparse.Namespace) -> list[Path]:
    return list(args.config or [])


def _run(args: argparse.Namespace) -> int:
    from kiosk.logs import start_logging
    from kiosk.settings_file import load_settings
    from kiosk.wiring import build_payment

    settings = load_settings(_config(args)).settings
    start_logging(settings.log.level)
    tell_places_only()
    return build_payment(settings, _config(args), own_scanner=not args.no_scanner)


def _scanner(args: argparse.Namespace) -> int:
    from kiosk.logs import start_logging
    from kiosk.settings_file import load_settings
    from kiosk.wiring import build_scanner

    settings = load_settings(_config(args)).settings
    start_logging(settings.log.level)
    tell_places_only()
    return build_scanner(settings, args.link_fd)


def _demo(args: argparse.Namespace) -> int:
    from kiosk.demo import run_demo

    return run_demo(as_json=args.json, keep=args.keep)


def _replay(args: argparse.Namespace) -> int:
    from kiosk.scanner.replay import replay
    from kiosk.settings import GatewaySettings, OfferSettings, Settings
    from kiosk.settings_file import load_settings

    if args.config:
        settings = load_settings(_config(args)).settings
    else:
        # Only the scanner's sections count here; a laptop needs no configuration for it.
        settings = Settings(
            gateway=GatewaySettings(url="http://127.0.0.1"), offer=OfferSettings(amount_sum=1)
        )
    return replay(args.paths, settings, as_json=args.json)


def _record(args: argparse.Namespace) -> int:
    import signal
    import threading

    from kiosk.scanner.record import record
    from kiosk.settings_file import load_settings
    from kiosk.wiring import open_camera

    settings = load_settings(_config(args)).settings
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return record(
        open_camera(settings.camera),
        settings,
        args.folder,
        seconds=args.seconds,
        with_codes=args.with_codes,
        out=sys.stdout,
        as_json=args.json,
        stopped=ended.is_set,
    )


def _check_config(args: argparse.Namespace) -> int:
    from kiosk.check_config import check_config

    return check_config(_config(args), as_json=args.json)


def _doctor(args: argparse.Namespace) -> int:
    from kiosk.doctor import examine

    return examine(_config(args), as_json=args.json, bundle=args.bundle)


def _bench(args: argparse.Namespace) -> int:
    from kiosk.bench.command import Options, run_bench

    options = Options(
        part=args.part,
        payments=args.payments,
        seed=args.seed,
        scenes=args.scenes,
        damaged=args.corrupted,
        photos=args.photos,
        plot=args.plot,
    )
    return run_bench(options, as_json=args.json)


def _sandbox(args: argparse.Namespace) -> int:
    from kiosk.sandbox.command import run_sandbox

    return run_sandbox(args.port, "valid" if args.tls else None, args.fault)
