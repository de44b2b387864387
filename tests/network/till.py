"""The process that pays, as a test has it: see `till_process.py`."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import audit

HERE = Path(__file__).parent
GRACE_S = 0.5
"""So much later than the deadline may a customer be told, beside what the machine itself costs."""
MOST_GROWN_KB = 64 * 1024


@dataclass(frozen=True)
class Payment:
    """What came of one payment.

    Attributes:
        outcome: As the customer was told it; `cues` are all, in order.
        waited_s: From the submit to the word; where nothing was submitted, from the code.
        promised_s: How long that may take.
        delayed_s: How long the kernel let the threads wait for a processor meanwhile.
        grown_kb: The most memory above what was resident before.
        is_listening: Whether a thread still waited for an answer when the customer was told.
        is_left: Whether one was still there after it was told to end.
        began: What the client itself says: a byte of the request may have left.
    """

    intent: str
    outcome: str
    cues: list[str]
    waited_s: float
    promised_s: float
    delayed_s: float
    grown_kb: int
    is_listening: bool
    is_left: bool
    began: bool

    def broken_promises(self):
        """Of time and memory, in words."""
        if self.waited_s > self.promised_s + GRACE_S + self.delayed_s:
            yield f"told after {self.waited_s:.2f} s; {self.delayed_s:.2f} s of it the machine's"
        if self.grown_kb > MOST_GROWN_KB:
            yield f"needed {self.grown_kb // 1024} MB"
        if self.is_left:
            yield "its thread does not end"


class Till:
    """A child process that pays at one gateway, with a journal of its own.

    Attributes:
        journal: That of the last payment; readable beside the process that writes it.
    """

    def __init__(
        self,
        sandbox,
        *,
        url=None,
        client="ours",
        connect_s=0.5,
        read_s=0.25,
        deadline_s=0.6,
        within_s=None,
        journal_of=10_000,
        within=(),
    ):
        """A till that is ready.

        Args:
            sandbox: Where it pays, or something with the same `url` and `ca_file`.
            url: Of what stands before the sandbox.
            client: A name of `other_clients.CLIENTS`.
            connect_s, read_s, deadline_s: As in the `gateway:` section.
            within_s: What is promised instead of `deadline_s`, for a till that ignores it.
            journal_of: A journal is replaced after so many payments: each counts the unknown
                ones before it.
            within: First words of its command line.
        """
        # In memory where there is such a place: a slow disk is another test's subject.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="kiosk-till-", dir=memory)
        self._journal_of, self._payments = journal_of, 0
        self._process = subprocess.Popen(
            [*within, sys.executable, str(HERE / "till_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._say(
            {
                "url": url or sandbox.url,
                "ca_file": None if sandbox.ca_file is None else str(sandbox.ca_file),
                "client": client,
                "connect_s": connect_s,
                "read_s": read_s,
                "deadline_s": deadline_s,
                "within_s": within_s or deadline_s,
            }
        )

    def pay(self, code, *, trusting=True):
        """One payment, to its end."""
        if self._payments % self._journal_of == 0:
            self.journal = Path(self._folder.name) / f"journal-{self._payments}.db"
            self._say({"journal": str(self.journal)})
        self._payments += 1
        self._say({"code": code, "trusting": trusting})
        line = self._process.stdout.readline()
        assert line, "the till died"
        return Payment(**json.loads(line))

    def rows(self, intent):
        """[(kind, payment_id, body)], oldest first."""
        query = "SELECT kind, payment_id, body FROM row WHERE intent = ? ORDER BY seq"
        return audit.read(self.journal, query, intent)

    def _say(self, order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)
        self._folder.cleanup()
