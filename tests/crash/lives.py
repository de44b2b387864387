"""A kiosk that dies and comes back: many lives on one journal, against one ledger."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

from kiosk_process import WAIT_S, Kiosk

HERE = Path(__file__).parent


class Zygote:
    """The process that forks payment processes; see `zygote.py`."""

    def __init__(self):
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(WAIT_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "zygote.py"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def fork(self, argv, hooks, fds):
        request = json.dumps({"argv": argv, "hooks": hooks}).encode()
        socket.send_fds(self._ours, [request], fds)
        return json.loads(self._ours.recv(100))

    def reap(self, pid):
        self._ours.send(json.dumps({"wait": pid}).encode())
        return json.loads(self._ours.recv(100))

    def close(self):
        self._ours.close()
        self._process.wait(WAIT_S)


class Forked:
    """A child of the zygote, with the methods of `Popen` that the harness uses."""

    def __init__(self, zygote, argv, hooks, cue_fd):
        self._zygote = zygote
        stderr_r, stderr_w = os.pipe()
        self.pid = zygote.fork(argv, hooks, [stderr_w, cue_fd])
        os.close(stderr_w)
        self.stderr = os.fdopen(stderr_r, "rb", 0)  # the reader closes it
        self._pidfd = os.pidfd_open(self.pid)
        self._code = None

    def wait(self, timeout_s):
        if self._code is None:
            ready, _, _ = select.select([self._pidfd], [], [], timeout_s)
            assert ready, "it does not end"
            self._code = self._zygote.reap(self.pid)
            os.close(self._pidfd)
        return self._code

    def wait_for(self, seconds):
        """A moment of its life."""
        select.select([self._pidfd], [], [], seconds)

    def poll(self):
        if self._code is None and select.select([self._pidfd], [], [], 0)[0]:
            self.wait(0)
        return self._code

    def send_signal(self, number):
        if self._code is None:
            signal.pidfd_send_signal(self._pidfd, number)


class MortalKiosk(Kiosk):
    """The kiosk of the harness, in forked processes that may have a way to die.

    Attributes:
        cues: What lamp and buzzer told in this life, whole even after a SIGKILL.
    """

    def __init__(self, zygote, folder, url, **sections):
        sections["limits"] = {
            "unknown_pause_s": 0,
            "max_consecutive_unknown": 100,
            "max_unresolved": 10_000,
            **sections.get("limits", {}),
        }
        super().__init__(folder, url, **sections)
        self._zygote = zygote
        self._cue_r = -1
        self._hooks = {}

    def start(self, *, follow=True, **hooks):
        self._hooks = hooks
        return super().start(follow=follow)

    def _spawn(self, env, stdin):
        self._close_cues()
        self._cue_r, cue_w = os.pipe()
        try:
            return Forked(self._zygote, self.arguments(), self._hooks, cue_w)
        finally:
            os.close(cue_w)

    def dies(self):
        """It ends by its own hook."""
        assert self.process.wait(WAIT_S) == -signal.SIGKILL, self.stderr
        return self.last_cues()

    def last_cues(self):
        """The cues of a life that is over."""
        told = b""
        while data := os.read(self._cue_r, 65_536):
            told += data
        return told.decode().split()

    def _close_cues(self):
        if self._cue_r >= 0:
            os.close(self._cue_r)
            self._cue_r = -1

    def close(self):
        with contextlib.ExitStack() as last:
            last.callback(self._close_cues)
            super().close()
