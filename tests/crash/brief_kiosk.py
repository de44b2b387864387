"""A kiosk that lives for milliseconds, thousands of times over.

Followed by its pipe of cues and marks alone: a client and threads of ours for each life would
cost more than the life.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import time

from kiosk_process import CANARY_PHONES, CANARY_TOKEN, WAIT_S, configuration
from lives import MortalKiosk
from marks import words_of

from kiosk.messages import Acknowledge, encode

WHOLE_CODE = re.compile(r"\d{20}")
BUTTON, HASTY = "button.yaml", "hasty.yaml"
DEADLINE_S = 0.02
"""Of the hasty kiosk: it gives up on every answer that takes a little longer."""


class BriefKiosk(MortalKiosk):
    """See above.

    Attributes:
        heard: Cues and marks of this life so far; whole once it is over.
        said: What this life logged, once it is over.
    """

    def __init__(self, zygote, folder, url):
        super().__init__(zygote, folder, url, confirm={"mode": "automatic"})
        self.heard, self.said = [], ""
        self._rest = b""
        for name, sections in (
            (BUTTON, {"confirm": {"mode": "button"}}),
            (HASTY, {"gateway": {"deadline_s": DEADLINE_S}}),
        ):
            written = configuration(folder, url, **{**self.sections, **sections})
            (folder / name).write_text(json.dumps(written), encoding="utf-8")

    def begin(self, config=None, **hooks):
        """Fork it; returns at once."""
        self._hooks = {"marked": True, **hooks}
        own, self.config = self.config, self.folder / config if config else self.config
        self.heard, self.said, self._rest = [], "", b""
        try:
            self.process = self._spawn((), None)
        finally:
            self.config = own

    def hear_until(self, *words, after=0, within_s=WAIT_S):
        """Follow it until it tells one of these; False where it ended, or never did.

        Args:
            words: Cues and marks.
            after: How many of those heard do not count.
            within_s: So long.
        """
        until_s = time.monotonic() + within_s
        while not set(words) & set(words_of(self.heard[after:])):
            left_s = until_s - time.monotonic()
            if not select.select([self._cue_r], [], [], max(0.0, left_s))[0] or not self._hear():
                return False
        return True

    def live_on(self, seconds):
        """A moment of its life."""
        self.process.wait_for(seconds)

    def acknowledge(self):
        """Staff have seen the unknown payment; then the next customer may come."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self.folder / "control.sock"))
            sock.sendall(encode(Acknowledge()))
            return self.hear_until("ready")  # the socket stands until it was heard

    def terminate(self):
        """As systemd asks it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """Kill it, unless it has ended; returns the exit code, with all that it told."""
        self.process.send_signal(signal.SIGKILL)
        code = self.process.wait(WAIT_S)
        while self._hear():
            pass
        with self.process.stderr as stderr:
            self.said = stderr.read().decode("utf-8", "replace")
        self.process = None
        return code

    def leaks(self):
        """What stands in its log that no log may hold."""
        found = WHOLE_CODE.findall(self.said) + CANARY_PHONES.findall(self.said)
        return found + [word for word in (CANARY_TOKEN, "Traceback") if word in self.said]

    def _hear(self):
        data = os.read(self._cue_r, 65_536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.heard += [line.decode() for line in lines]
        return bool(data)

    def close(self):
        with contextlib.ExitStack() as last:
            last.callback(super().close)
            if self.process is not None:
                self.end()
