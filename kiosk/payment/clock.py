"""Whether the wall clock may be believed. A Raspberry Pi has none of its own.

The session runs on monotonic time; the wall clock stands in rows, where accountants look for it.
A wrong one loses nothing, and yet a payment of "1970" is one that nobody finds again.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kiosk import RELEASED

EARLIEST = datetime.fromisoformat(RELEASED).replace(tzinfo=UTC)
LATEST = EARLIEST + timedelta(days=20 * 365)
BOX_AGREES_S = 300.0
"""By how much the box itself lets a receipt's time differ from its own."""
NOBODY_SETS_IT_S = 180.0
"""Since the machine started. A kiosk must not stay dead because no time server can be reached."""
BACKWARDS_S = 300.0
LONGEST_WAIT_S = 3600.0
"""Behind the last payment: systems that keep no clock save theirs once an hour, so by then it was
rather the last payment's that was wrong."""
BOX_MOVED_S = 5.0
"""The box tells whole seconds, some time after it looked; less is no news."""
STEADY_S = 6 * 3600.0
"""Without a step for so long, a clock that nobody vouches for may erase by age: of a step that
somebody made by mistake, somebody thinks better by then."""
_BY_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_STA_UNSYNC = 0x40


class WallClock:
    """Asked about once a second by the deciding thread, which owns it.

    Attributes:
        is_confirmed: The kernel or the box vouched for it at the last check.
        started_by_box_s: When this machine started, by the box's time (seconds since 1970); None
            while the box tells none. It does not follow our own clock.
    """

    def __init__(
        self,
        zone: str = "Asia/Tashkent",
        *,
        wall_s: Callable[[], float] = time.time,
        up_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        is_set: Callable[[], bool] | None = None,
    ) -> None:
        """Ask this machine.

        Args:
            zone: The merchant's; the box tells the time of its wall.
            wall_s: Seconds since 1970.
            up_s: Seconds since the machine started.
            is_set: Whether a time server set the wall clock.
        """
        self._zone = zone
        self._wall_s = wall_s
        self._up_s = up_s
        self._is_set = is_set or is_set_by_a_server
        self._box_ahead_s: float | None = None
        self.started_by_box_s: float | None = None
        self.is_confirmed = False
        self._is_believed = False
        self._offset_s = wall_s() - up_s()
        self._steady_since_s = up_s()

    @property
    def may_erase(self) -> bool:
        """Whether what is old by it is old; a clock that jumped years ahead erases too early."""
        return self._is_believed and (self.is_confirmed or self._steady_s() >= STEADY_S)

    def _steady_s(self) -> float:
        """How long nobody has stepped it, as far as this process saw."""
        return self._up_s() - self._steady_since_s

    def hear_box(self, told: str) -> None:
        """Take what `GET /info/` just said as `current_time`; it vouches for nothing otherwise.

        Args:
            told: `YYYY-MM-DD hh:mm:ss` in the merchant's time zone.
        """
        from zoneinfo import ZoneInfo  # only once a box tells a time

        try:
            box = datetime.strptime(told, "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZoneInfo(self._zone))
        except ValueError:
            self._box_ahead_s = self.started_by_box_s = None
            return
        # Against the time since the start, so that a later step of our clock shows at once.
        self._box_ahead_s = box.timestamp() - self._up_s()
        known_s = self.started_by_box_s
        if known_s is None or abs(self._box_ahead_s - known_s) > BOX_MOVED_S:
            self.started_by_box_s = round(self._box_ahead_s, 1)

    def trouble(self, newest_row: Callable[[], str | None]) -> str | None:
        """Why the clock cannot be believed now, and what to do; None where it can.

        Args:
            newest_row: Asked only where nobody vouches: when the last row was written, by the
                clock of then (ISO 8601).
        """
        said = self._trouble(newest_row)
        self._is_believed = said is None
        return said

    def _trouble(self, newest_row: Callable[[], str | None]) -> str | None:
        now_s = self._wall_s()
        self.is_confirmed = False
        if abs(now_s - self._up_s() - self._offset_s) > BOX_AGREES_S:
            self._offset_s, self._steady_since_s = now_s - self._up_s(), self._up_s()
        if not EARLIEST.timestamp() <= now_s <= LATEST.timestamp():
            year = time.gmtime(now_s).tm_year
            return f"the clock is not set (it says {year}); {_ADVICE}"
        self.is_confirmed = self._is_set() or self._box_agrees(now_s)
        if self.is_confirmed:
            return None
        if self._up_s() < NOBODY_SETS_IT_S:
            return f"nobody has set the clock since the machine started; {_ADVICE}"
        row = newest_row() if self._steady_s() < LONGEST_WAIT_S else None
        if row is not None and now_s < datetime.fromisoformat(row).timestamp() - BACKWARDS_S:
            return f"the clock is behind the last payment ({row[:16]} UTC); {_ADVICE}"
        return None

    def _box_agrees(self, now_s: float) -> bool:
        if self._box_ahead_s is None:
            return False
        return abs(self._box_ahead_s + self._up_s() - now_s) <= BOX_AGREES_S


_ADVICE = "give the kiosk a network with a time server, or set it: sudo timedatectl set-time"


def is_set_by_a_server() -> bool:
    """Whether a time server has set this machine's clock, by all that tells of it.

    The kernel tells of any server (chrony, ntpd); under systemd's ProtectClock it may not be
    asked, and then systemd-timesyncd's own mark is left.
    """
    return _BY_TIMESYNCD.exists() or _kernel_says_so()


def _kernel_says_so() -> bool:
    import ctypes  # loaded after the kiosk is ready

    # struct timex of adjtimex(2), at most 208 bytes: `modes` (0: set nothing) padded to a long, and
    # four longs stand before `status`.
    timex = ctypes.create_string_buffer(512)
    try:
        ended = ctypes.CDLL(None).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    long_bytes = ctypes.sizeof(ctypes.c_long)
    status = int.from_bytes(timex.raw[5 * long_bytes :][:4], sys.byteorder)
    return ended >= 0 and not status & _STA_UNSYNC
