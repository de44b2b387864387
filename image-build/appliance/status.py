"""What `kiosk-status.txt` and the screen say: how this kiosk is, for a person without Linux.

Only what a technician may act on. What changes by itself (the time, free space to the byte, which
payment runs) is not there or does not count: the file on the card is written when it says
something new, and flash that is written for nothing wears out for nothing.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.control import Kiosk, plain
from appliance.slots import Standing

FILE_BYTES = 4096
WIDTH = 78
LABEL = 13
MOST_LINES_SHOWN = 12
MOST_BYTES_OF_FINDINGS = 1600
FIREWALLS = frozenset({"nftables.service", "kiosk-firewall.service"})
PASSING = ("Written:", "Start:")
"""Lines that are no reason to write the file again."""

REMEDIES = {
    "journal_damaged": "keep this card; over SSH: kiosk journal init",
    "journal_newer": "install the later version again",
    "journal_missing": "put the journal back, or over SSH: kiosk journal init",
    "journal_replaced": "put the right journal back, or over SSH: kiosk journal init",
    "journal_unwritable": "free space on the card, or replace it: it may be worn out",
    "clock_implausible": "give it a network with a time server, or a box that tells the time",
    "gateway_unreachable": "is the box on, the cable in, gateway.url in kiosk.yaml right?",
    "gateway_not_ready": "the box says it cannot work: ask its vendor",
    "scanner_down": "wait some seconds; if it stays, restart, and send the log",
    "camera_down": "plug the camera in; is camera.device in kiosk.yaml right?",
    "outcome_unsaved": "do not switch off; free space on the card",
    "unknown_pause": "clear the unknown payments, or wait until the pause is over",
    "unresolved_limit": "clear the unknown payments, over SSH: kiosk journal unresolved",
}
"""What to do about each reason; the README's table says more, and how to get in by SSH."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network card: its name, its own address, and those it was given."""

    name: str
    mac: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is shown.

    Attributes:
        version: What version.json says.
        standing: Of the two systems; None where nobody can say.
        trial: What the keeper makes of a system on trial; "" for nothing.
        kiosk: What the kiosk says; None where it does not run.
        intake: What result.json says; None where it is missing.
        vouches: Who vouches for the clock: "server", "box", or "".
        free_bytes: Of the data partition; None where that is missing.
        is_journal_lost: The data partition is there, and what was on it is not.
        update: What the last look for an update came to; "" for nothing.
        ready_after_s: From the kernel's start until the kiosk was ready for the first time.
        unit: What systemd says of a kiosk that does not run: "condition" where its unit holds it
            back, "inactive" where something that it needs did not come, "" for neither.
        failed: Units that failed; asked for only where the kiosk is not open.
    """

    version: dict[str, Any]
    standing: Standing | None
    trial: str
    kiosk: Kiosk | None
    intake: dict[str, Any] | None
    host_name: str
    links: tuple[Link, ...]
    vouches: str
    free_bytes: int | None
    update: str
    board: str
    serial: str
    is_journal_lost: bool = False
    ready_after_s: float | None = None
    unit: str = ""
    failed: tuple[str, ...] = ()
    now_s: float = field(default_factory=time.time)


def text_of(facts: Facts) -> str:
    """All of it, in lines of at most `WIDTH` letters; a cut-off end loses the least."""
    version = facts.version
    made = str(version.get("built_at", ""))[:10]
    name = f"{version.get('version', '?')}, {version.get('base', '?')}"
    parts: list[str] = [plain(f"Payment kiosk {name}, made {made or '?'}"), ""]
    for label, lines in (
        ("Now", _now(facts)),
        ("kiosk.yaml", _configuration(facts.intake)),
        ("Sells", _sells(facts.intake)),
        ("Network", _network(facts)),
        ("Clock", [_CLOCK[facts.vouches]]),
        ("System", _system(facts)),
        ("Data", [_data(facts)]),
        ("Board", [f"{facts.board or 'unknown'}, serial {facts.serial or 'unknown'}"]),
        ("Start", _start(facts.ready_after_s)),
        ("Written", [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.now_s))]),
    ):
        parts += _labelled(label, list(lines))
    return "\n".join(parts) + "\n"


_CLOCK = {
    "server": "set by a time server",
    "box": "agrees with the box",
    "": "nobody vouches for it; payments are marked so",
}


def stable(text: str) -> list[str]:
    """The lines that make a difference; ends of lines and padding make none."""
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return [line for line in lines if not line.startswith(PASSING)]


def file_of(text: str) -> bytes:
    """As it stands on the card: exactly `FILE_BYTES`, readable by any editor of Windows."""
    lines = text.replace("\n", "\r\n").encode("utf-8", "replace")
    if len(lines) > FILE_BYTES:
        # Whole letters: an editor takes a file with half of one for something else than UTF-8.
        cut = lines[: FILE_BYTES - 7].decode("utf-8", "ignore").encode()
        lines = cut + b"\r\n...\r\n"
    return (
        lines.ljust(FILE_BYTES - 2) + b"\r\n"
        if len(lines) < FILE_BYTES - 2
        else lines.ljust(FILE_BYTES)
    )


def _now(facts: Facts) -> Iterator[str]:
    kiosk = facts.kiosk
    if kiosk is None:
        yield _why_not_running(facts)
        return
    yield "in service" if kiosk.is_open else "out of service"
    for name, detail in kiosk.reasons.items():
        yield f"* {name}: {detail}" if detail else f"* {name}"
        if name in REMEDIES:
            yield f"  -> {REMEDIES[name]}"
    if kiosk.unresolved:
        yield f"* {kiosk.unresolved} unknown payments wait for staff"
        yield "  -> over SSH: kiosk journal unresolved"


def _why_not_running(facts: Facts) -> str:
    if facts.free_bytes is None:
        return "does not start: the data partition of this card is missing or damaged"
    if facts.is_journal_lost:
        return "does not start: the journal is gone, and with it which codes were spent"
    if facts.intake is not None and not facts.intake.get("in_force"):
        return "does not start: there is no configuration that it can start with, see below"
    if facts.unit == "condition":
        return (
            "does not start: .card, which the image made, is gone from the journal's folder, so "
            "that the journal may be gone too; once it is back there, over SSH: "
            "sudo touch /var/lib/kiosk/.card"
        )
    if facts.unit == "inactive":
        named = f" ({', '.join(facts.failed)})" if facts.failed else ""
        return f"does not start: something that it needs failed{named}; restart"
    return "the kiosk does not run; it is started again and again by itself"


def _configuration(intake: dict[str, Any] | None) -> Iterator[str]:
    if intake is None:
        yield "not looked at: the start was cut short; restart"
        return
    if intake.get("ok"):
        yield "in force"
    elif intake.get("in_force"):
        yield "NOT TAKEN. The one before stays in force. What is wrong:"
    else:
        yield "NOT TAKEN, and there is none before it. What is wrong:"
    findings = intake.get("findings")
    for finding in _fitting(_texts(findings)):
        yield f"* {finding}"
    if isinstance(findings, list) and len(findings) > len(_fitting(_texts(findings))):
        yield "* ... and more; mend these first"
    for warning in _texts(intake.get("warnings")):
        yield f"- {warning}"


def _sells(intake: dict[str, Any] | None) -> list[str]:
    """The exact request: the mistake of sum for tiyin shows before a customer pays it."""
    return _texts((intake or {}).get("sells"))


def _texts(found: object) -> list[str]:
    return (
        [plain(str(each)) for each in found][:MOST_LINES_SHOWN] if isinstance(found, list) else []
    )


def _fitting(texts: list[str]) -> list[str]:
    """As many as leave room for the rest of the file, and the first in any case."""
    room, found = MOST_BYTES_OF_FINDINGS, list[str]()
    for text in texts:
        room -= len(text.encode())
        if found and room < 0:
            break
        found.append(text)
    return found


def _network(facts: Facts) -> Iterator[str]:
    yield f"this kiosk is called {facts.host_name}"
    for link in facts.links:
        yield f"{link.name} ({link.mac}): {', '.join(link.addresses) or 'no address'}"
    if not facts.links:
        yield "no network card"
    if FIREWALLS & set(facts.failed):
        yield "* the firewall did not load, and all that it would open is closed: restart"


def _system(facts: Facts) -> Iterator[str]:
    standing = facts.standing
    if standing is None:
        yield "nobody can say which of the two systems runs"
    elif standing.on_trial:
        yield f"slot {standing.running}, on trial; slot {standing.permanent} comes back otherwise"
    elif standing.to_try:
        yield f"slot {standing.running}; slot {standing.to_try} waits to be tried"
    else:
        yield f"slot {standing.running}"
    if standing is not None and standing.failed:
        yield f"the last update did not serve: {standing.failed}"
    if facts.trial:
        yield facts.trial
    if facts.failed:
        yield f"failed: {', '.join(facts.failed[:MOST_LINES_SHOWN])}"
    if facts.update:
        yield f"update: {facts.update}"


def _data(facts: Facts) -> str:
    if facts.free_bytes is None:
        return "MISSING. Keep this card, the journal is on it; sell with another one"
    if facts.is_journal_lost:
        return "LOST: a repair left nothing. Keep this card; sell with another one"
    mebibytes = facts.free_bytes >> 20
    if not mebibytes:
        return "FULL"
    # A power of two: what is used by the hour is no news.
    least = 1 << (mebibytes.bit_length() - 1)
    return f"at least {f'{least >> 10} GB' if least >= 1024 else f'{least} MB'} free"


def _start(ready_after_s: float | None) -> list[str]:
    return [] if ready_after_s is None else [f"ready {ready_after_s:.1f} s after the kernel began"]


def _labelled(label: str, lines: list[str]) -> Iterator[str]:
    head = f"{label}:"
    for line in lines:
        indent = len(line) - len(line.lstrip(" *->"))
        for number, piece in enumerate(_wrapped(line, WIDTH - LABEL, indent)):
            yield f"{head:<{LABEL}}{' ' * indent if number else ''}{piece}"
            head = ""


def _wrapped(line: str, width: int, indent: int) -> Iterator[str]:
    room = width
    while len(line) > room:
        at = line.rfind(" ", indent + 1, room + 1)
        at = at if at > 0 else room
        yield line[:at]
        line, room = line[at:].lstrip(" "), width - indent
    yield line


# What is asked of the machine


def links(sys_net: Path = Path("/sys/class/net")) -> tuple[Link, ...]:
    """The network cards that are hardware, with their addresses."""
    found = []
    names = sorted(os.listdir(sys_net)) if sys_net.is_dir() else []  # noqa: PTH208 - names are asked for
    by_name = _addresses()
    for name in names:
        if (sys_net / name / "device").exists():
            mac = _line(sys_net / name / "address")
            found.append(Link(name, mac, tuple(by_name.get(name, ()))))
    return tuple(found)


def _addresses() -> dict[str, list[str]]:
    """Addresses by network card, without those that only its own cable knows."""
    found: dict[str, list[str]] = {}
    for name, address in _told_by_kernel():
        if not address.startswith(("169.254.", "fe80:")):
            found.setdefault(name, []).append(address)
    return found


def _told_by_kernel() -> Iterator[tuple[str, str]]:
    """Ask the kernel by netlink (rtnetlink(7)): RTM_GETADDR, all families."""
    import socket
    import struct

    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(2)
            # nlmsghdr: length, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP; then an empty ifaddrmsg.
            sock.send(struct.pack("=IHHII8x", 24, 22, 0x301, 1, 0))
            while True:
                data = sock.recv(65_536)
                at = 0
                while at + 16 <= len(data):
                    length, kind = struct.unpack_from("=IH", data, at)
                    if kind != 20:  # RTM_NEWADDR; else the end, or an error
                        return
                    message = data[at + 16 : at + length]
                    yield from _address_in(message)
                    at += (length + 3) & ~3
    except OSError:
        return


def _address_in(message: bytes) -> Iterator[tuple[str, str]]:
    import socket
    import struct

    family, _, _, _, index = struct.unpack_from("=BBBBI", message)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    parts, at = {}, 8
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if length < 4:
            break
        parts[kind] = message[at + 4 : at + length]
        at += (length + 3) & ~3
    raw = parts.get(2, parts.get(1))  # IFA_LOCAL, else IFA_ADDRESS
    if raw is not None:
        yield socket.if_indextoname(index), socket.inet_ntop(family, raw)


def free_bytes(data: Path) -> int | None:
    """What is free on the data partition; None where it is not mounted."""
    if not data.is_mount():
        return None
    found = os.statvfs(data)
    return found.f_bavail * found.f_frsize


def is_journal_lost(data: Path) -> bool:
    """Whether a mounted data partition has lost the folder that the image made for the kiosk.

    What stands there then was made by systemd for its mount, and belongs to root.
    """
    try:
        return data.is_mount() and (data / "kiosk").stat().st_uid == 0
    except FileNotFoundError:
        return True


def board(tree: Path = Path("/proc/device-tree")) -> tuple[str, str]:
    """The board's name and serial number, where its device tree has them."""
    return _line(tree / "model"), _line(tree / "serial-number")


def json_in(path: Path) -> dict[str, Any] | None:
    """An object in a file; None where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _line(path: Path) -> str:
    try:
        return plain(path.read_bytes().decode("utf-8", "replace").strip("\0\n"))
    except OSError:
        return ""
