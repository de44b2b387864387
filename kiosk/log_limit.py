"""Bounds the log: a trouble that repeats must not fill the card, nor hide what came before it."""

import logging
import time
from collections.abc import Callable
from typing import TextIO

BURST = 120
"""Lines of one message that may come at once: a rush hour of twenty payments."""
A_MINUTE = 20
"""Lines of one message a minute, for as long as it goes on."""
TELL_EVERY_S = 60.0


class _Allowance:
    __slots__ = ("at_s", "left", "suppressed")

    def __init__(self, now_s: float) -> None:
        self.left, self.at_s, self.suppressed = float(BURST), now_s, 0


class SparingHandler(logging.StreamHandler[TextIO]):
    """Writes each message so often and no oftener, and says how many it did not write.

    What counts is the constant text of the message, so one that repeats silences no other. Of
    other people's loggers, whose texts vary, all messages count as one.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._allowances: dict[tuple[str, str], _Allowance] = {}
        self._tell_at_s = clock() + TELL_EVERY_S

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or count it. Called under the handler's lock."""
        now_s = self._clock()
        if now_s >= self._tell_at_s:
            self._tell_at_s = now_s + TELL_EVERY_S
            self._tell_suppressed()
        if self._is_allowed(record, now_s):
            super().emit(record)

    def close(self) -> None:
        """Say at the end what was not said."""
        self.acquire()
        try:
            self._tell_suppressed()
        finally:
            self.release()
        super().close()

    def _is_allowed(self, record: logging.LogRecord, now_s: float) -> bool:
        is_ours = record.name.partition(".")[0] in ("kiosk", "hardware")
        key = (record.name, str(record.msg) if is_ours else "")
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = self._allowances[key] = _Allowance(now_s)
        passed_s = now_s - allowance.at_s
        allowance.left = min(BURST, allowance.left + passed_s * A_MINUTE / 60)
        allowance.at_s = now_s
        if allowance.left < 1:
            allowance.suppressed += 1
            return False
        allowance.left -= 1
        return True

    def _tell_suppressed(self) -> None:
        for (name, message), allowance in self._allowances.items():
            count, allowance.suppressed = allowance.suppressed, 0
            if count:
                about = {"name": name, "levelno": logging.WARNING, "levelname": "WARNING"}
                told = {"msg": "messages suppressed", "count": count, "of": message or "(any)"}
                super().emit(logging.makeLogRecord(about | told))
