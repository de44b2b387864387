"""The first screen: shows the status where other computers have a login."""

import os
from contextlib import suppress
from pathlib import Path

TTY = Path("/dev/tty1")
ROWS, COLUMNS = 24, 80
# console_codes(4): never blank, no cursor, all white on black, empty, from the upper left.
_BEGIN = "\x1b[9;0]\x1b[?25l\x1b[0m\x1b[2J\x1b[H"


def screen(text: str) -> bytes:
    """The text as the console shows it: what does not fit is left out, nothing scrolls.

    Args:
        text: Without control characters but newlines.
    """
    lines = [line[:COLUMNS] for line in text.splitlines()]
    if len(lines) > ROWS - 1:
        lines = [*lines[: ROWS - 2], "... the rest is in kiosk-status.txt on the card"]
    return (_BEGIN + "\r\n".join(lines)).encode("utf-8", "replace")


def show(text: str, tty: Path = TTY) -> None:
    """Put it on the screen; where there is none, nothing happens."""
    with suppress(OSError):
        # NOCTTY: nobody types here. NONBLOCK: a screen that was stopped must not stop us.
        fd = os.open(tty, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, screen(text))
        finally:
            os.close(fd)
