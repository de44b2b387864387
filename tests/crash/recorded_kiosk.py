"""A kiosk of the harness whose system calls are recorded, life after life."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from kiosk_process import Kiosk
from recording import STRACE, Recording

SCRIPT = Path(__file__).with_name("recorded_life.py")


class RecordedKiosk(Kiosk):
    """One journal in a folder of its own, from before it was made.

    Attributes:
        recording: What was done, once `read` was called.
    """

    def __init__(self, folder, url, *, worse="", **sections):
        journal = folder / "record"
        journal.mkdir()
        super().__init__(
            folder,
            url,
            confirm={"mode": "automatic"},
            journal={"path": str(journal / "journal.db")},
            limits={"unknown_pause_s": 0, "max_consecutive_unknown": 100},
            **sections,
        )
        self._worse = worse
        self._cues = folder / "cues"
        self._logs = []
        self.recording = Recording(journal, self._cues)

    def _spawn(self, env, stdin):
        self._logs.append(self.folder / f"calls-{len(self._logs)}")
        script = [sys.executable, str(SCRIPT), str(self._cues), self._worse]
        return subprocess.Popen(
            [*STRACE, "-o", str(self._logs[-1]), *script, *self.arguments()],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # A process that may write no more cannot write its coverage either.
            env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
        )

    @property
    def pid(self):
        strace = self.process.pid
        (pid,) = Path(f"/proc/{strace}/task/{strace}/children").read_text().split()
        return int(pid)

    def limit_files(self, size_bytes=resource.RLIM_INFINITY):
        """No file grows beyond it."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def send_signal(self, number):
        # strace sees it die, writes its log to the end, and ends.
        os.kill(self.pid, number)

    def read_logs(self):
        for log in self._logs:
            self.recording.read(log)
        return self.recording.done
