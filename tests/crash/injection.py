"""strace at a running kiosk: it makes the n-th call of a kind fail or the last one, and tells."""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kiosk_process import WAIT_S

_CALL = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+|\?)(.*)$")
_UNFINISHED = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")


@functools.cache
def can_attach():
    """Whether strace is here and may watch a process that it did not start."""
    if shutil.which("strace") is None:
        return False
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with Strace(sleeper.pid, os.devnull, [], watched=("write",)):
            return True
    except AssertionError:
        return False
    finally:
        sleeper.kill()
        sleeper.wait()


class Strace:
    """Attached to a process, and to those that it forks; ends with it."""

    def __init__(self, pid, log, injections, *, watched, paths=()):
        """Wait until it watches.

        Args:
            pid: Of a running process.
            log: The file for what it sees.
            injections: In strace's words, such as `fdatasync:error=EIO:when=2`.
            watched: Names of calls, beside those of the injections.
            paths: Only calls on these files are watched, counted and injected.
        """
        self._log = log
        calls = ",".join({*watched, *(i.partition(":")[0] for i in injections)})
        arguments = ["strace", "-f", "-y", "-s", "200", "-o", str(log), "-e", f"trace={calls}"]
        arguments += [part for i in injections for part in ("-e", f"inject={i}")]
        arguments += [part for path in paths for part in ("-P", str(path))]
        self._process = subprocess.Popen(
            [*arguments, "-p", str(pid)], stderr=subprocess.PIPE, encoding="utf-8"
        )
        for line in self._process.stderr:
            if "attached" in line:
                return
        self._process.communicate(timeout=WAIT_S)
        raise AssertionError("strace cannot attach")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Leave the process alone, alive or dead."""
        self._process.terminate()
        self._process.communicate(timeout=WAIT_S)

    def calls(self):
        """What it saw, once it has left."""
        return calls_in(self._log)


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        injected: strace made it fail; it never reached the kernel.
    """

    name: str
    arguments: str
    failed: bool
    injected: bool


def calls_in(log):
    """What strace saw: in the order in which the calls ended, what is sent when it began."""
    found, begun = [], {}

    def add(line):
        if call := _CALL.match(line):
            name, arguments, result, rest = call.groups()
            failed = result == "?" or int(result) < 0
            found.append(Call(name, arguments, failed, "(INJECTED)" in rest))

    for line in Path(log).read_text(encoding="utf-8", errors="replace").splitlines():
        if started := _UNFINISHED.match(line):
            begun[started[1]] = started[2]
            if started[2].startswith("sendto"):
                add(f"{started[1]} {started[2]}) = 0")
        elif resumed := _RESUMED.match(line):
            add(f"{resumed[1]} {begun.pop(resumed[1], '(')}{resumed[2]}")
        else:
            add(line)
    return found
