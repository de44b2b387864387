"""Other programs, run to their end."""

import subprocess
from collections.abc import Sequence


class ProgramError(Exception):
    """A program failed, is missing or took too long; the text is the last that it said."""


def run(command: Sequence[str], most_s: float = 60.0) -> str:
    """Run a program and return what it printed.

    Args:
        command: The program, found by PATH, and its arguments; no shell is between.
        most_s: How long it may take.

    Raises:
        ProgramError: See there.
    """
    try:
        done = subprocess.run(  # noqa: S603 the commands are ours, no shell takes them apart
            command, capture_output=True, text=True, errors="replace", timeout=most_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("LastError: ")] or lines
        last = told[-1].removeprefix("LastError: ") if told else f"status {done.returncode}"
        raise ProgramError(f"{command[0]}: {last}")
    return done.stdout
