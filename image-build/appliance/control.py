"""What the kiosk says on its control socket, as far as the card's own programs need it.

Not through `kiosk.messages`: what reads it there costs a small machine memory, and here it is
read as root. So nothing is believed of its form, and no text can move a screen's cursor.
"""

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOCKET = Path("/run/kiosk/control.sock")
MOST_LINE_BYTES = 64 * 1024
MOST_TEXT = 300
MOST_REASONS = 32
PAYING = frozenset({"awaiting_confirm", "connecting", "submitting", "concluded"})
"""States in which a customer is being served; `concluded` still tells them how it ended."""


@dataclass(frozen=True, slots=True)
class Kiosk:
    """Where the kiosk stands, by its own word.

    Attributes:
        state: As `kiosk.messages.State` has it.
        reasons: Why it is out of service, each with its sentence.
        unresolved: Unknown payments that wait for staff.
        scanner: The scanner has said hello.
        started_by_box_s: See `kiosk.messages.State`.
    """

    state: str
    reasons: dict[str, str] = field(default_factory=dict)
    unresolved: int = 0
    scanner: bool = False
    started_by_box_s: float | None = None

    @property
    def is_paying(self) -> bool:
        """A customer is being served; nothing may be stopped now."""
        return self.state in PAYING

    @property
    def is_open(self) -> bool:
        """It serves customers, now or the next one."""
        return self.state == "ready" or self.is_paying


def understood(line: bytes) -> Kiosk | None:
    """What a line of the socket says; None where it is no state."""
    try:
        told: Any = json.loads(line)
        if told["type"] != "state":
            return None
        details = told.get("details", {})
        box = told.get("started_by_box_s")
        return Kiosk(
            state=plain(str(told["state"]))[:64],
            reasons={
                plain(str(name))[:64]: plain(str(details.get(name, "")))
                for name in told.get("reasons", [])[:MOST_REASONS]
            },
            unresolved=int(told.get("unresolved", 0)),
            scanner=bool(told.get("scanner", False)),
            started_by_box_s=None if box is None else float(box),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def plain(text: str) -> str:
    """Printable, on one line, and not long."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:MOST_TEXT]


class Listener:
    """Stays connected as far as there is something to connect to; never waits.

    Attributes:
        kiosk: The last that it said; None while nobody answers there.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._sock: socket.socket | None = None
        self._rest = b""
        self.kiosk: Kiosk | None = None

    def fileno(self) -> int | None:
        """To wait for; None while not connected."""
        return None if self._sock is None else self._sock.fileno()

    def listen(self) -> None:
        """Take what has come, or try to connect."""
        if self._sock is None:
            self._connect()
        try:
            while self._sock is not None:
                data = self._sock.recv(MOST_LINE_BYTES)
                if not data:
                    self.close()
                    return
                self._take(data)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Nobody answers there any more."""
        if self._sock is not None:
            self._sock.close()
        self._sock, self._rest, self.kiosk = None, b"", None

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            return
        self._sock = sock

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MOST_LINE_BYTES:
            self._rest = b""  # what follows is no line then, and is passed over
        for line in lines:
            self.kiosk = understood(line) or self.kiosk


def ask(path: Path = SOCKET, timeout_s: float = 5.0) -> Kiosk | None:
    """Ask once; None where nobody answers in time."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
            with sock.makefile("rb") as lines:
                return understood(lines.readline(MOST_LINE_BYTES))
    except OSError:
        return None
