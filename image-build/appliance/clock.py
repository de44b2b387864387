"""The clock at a start: never earlier than what is known to have been.

A Pi has no clock of its own. Without a time server it starts at the time at which its system was
built, which is wrong by months. What is known is later: the last payment, and the time that was
kept each hour and at each stop. The clock is only ever moved forward here; decision 0014 says
who is believed after that.
"""

from __future__ import annotations

import os
import sys
import time
from _signal import alarm  # type: ignore[import-not-found]  # signal itself loads enum
from datetime import UTC, datetime

from kiosk import RELEASED

# Files by their names, and no module that can be spared (json, pathlib, typing and signal are more
# than half of a start of Python): the kiosk waits for this at each start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EARLIEST_S = datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp()
LATEST_S = EARLIEST_S + 20 * 365 * 86_400
"""As `kiosk.payment.clock` has them; a test says so."""
MOST_ASKING_S = 5
"""A card that fails must not keep the kiosk from starting; other times are known as well."""
CHILD_FAILED = 1


class Places:
    """Where times are known from; other than these in tests only.

    Attributes:
        version: Of the image; says when it was built.
        journal: Of the kiosk.
        kept: Its time of change is the time that was kept. No content: nothing can be torn.
        floor: For the keeper: no time before this is plausible.
    """

    def __init__(
        self,
        version: str = "/usr/lib/kiosk/version.json",
        journal: str = "/var/lib/kiosk/journal.db",
        kept: str = "/data/appliance/clock",
        floor: str = "/run/kiosk-clock/floor",
    ) -> None:
        """Other ones in tests only."""
        self.version, self.journal, self.kept, self.floor = version, journal, kept, floor


HERE = Places()


def set_clock(to_s: float) -> None:
    """Set the wall clock, in seconds since 1970. Raises OSError."""
    time.clock_settime(time.CLOCK_REALTIME, to_s)


def floor(places: Places) -> tuple[float, str]:
    """The latest time that is known to have been, and how it is known."""
    known = {
        "this kiosk's release": EARLIEST_S,
        "the build of the image": built_at(places.version),
        "the last payment": last_row_at(places.journal),
        "the time that was kept": kept_at(places.kept),
    }
    found = {name: at for name, at in known.items() if at is not None}
    # What is far ahead was never a time, whoever wrote it down.
    possible = {name: at for name, at in found.items() if at <= LATEST_S}
    how = max(possible, key=lambda name: possible[name])
    return possible[how], how


def built_at(version: str) -> float | None:
    """When the image was made; None where it does not say."""
    try:
        with open(version, encoding="utf-8") as file:  # noqa: PTH123 - no pathlib here
            said = file.read().partition('"built_at"')[2]
        return datetime.fromisoformat(said.split('"')[1]).timestamp()
    except (OSError, ValueError, IndexError):
        return None


def kept_at(kept: str) -> float | None:
    """The time that `keep` left; None before the first."""
    try:
        return os.stat(kept).st_mtime  # noqa: PTH116 - no pathlib here
    except OSError:
        return None


def keep(kept: str) -> None:
    """Leave the present time for the next start.

    Raises:
        OSError: It cannot be kept there.
    """
    fd = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(fd)
        os.fsync(fd)
    finally:
        os.close(fd)


def last_row_at(journal: str) -> float | None:
    """When the newest row was written, by the clock of then; None where nothing can be asked.

    Asked as the journal's owner, in a process of its own: SQLite makes companions of a journal
    that it only reads, and the kiosk could not write to those of root.
    """
    try:
        # Inside, root without its rights could not even look.
        owner = os.stat(os.path.dirname(journal))  # noqa: PTH116, PTH120 - no pathlib here
    except OSError:
        return None
    answer, tell = os.pipe()
    child = os.fork()
    if child == 0:
        # Its end: root without its rights cannot end another's process.
        alarm(MOST_ASKING_S)
        os._exit(_answer_as(journal, owner, tell))
    os.close(tell)
    said = os.read(answer, 100)
    os.close(answer)
    os.waitpid(child, 0)
    try:
        return datetime.fromisoformat(said.decode("ascii")).timestamp()
    except ValueError:
        return None


def _answer_as(journal: str, owner: os.stat_result, tell: int) -> int:
    """In the child: give up what the owner has not, and ask."""
    import sqlite3  # loaded here, so that the memory goes with the child

    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
            os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
        if os.stat(journal).st_size == 0:  # noqa: PTH116 - no pathlib here
            return CHILD_FAILED  # the kiosk has its own word for that
        name = os.path.abspath(journal).replace("%", "%25").replace("?", "%3f").replace("#", "%23")  # noqa: PTH100
        db = sqlite3.connect(f"file:{name}?mode=ro", uri=True)
        found = db.execute("SELECT at FROM row ORDER BY seq DESC LIMIT 1").fetchone()
        db.close()
        os.write(tell, str(found[0]).encode() if found else b"")
    except (sqlite3.Error, OSError, ValueError):
        return CHILD_FAILED
    return 0


def main(
    places: Places = HERE,
    read: Callable[[], float] = time.time,
    step: Callable[[float], None] = set_clock,
) -> int:
    """Move the clock to the floor if it is before it."""
    at_s, how = floor(places)
    now_s = read()
    try:
        with open(places.floor, "w", encoding="ascii") as file:  # noqa: PTH123 - no pathlib here
            file.write(f"{at_s:.0f}\n")
    except OSError as error:
        sys.stderr.write(f"{places.floor}: {error.strerror}\n")
    if now_s >= at_s:
        sys.stderr.write("the clock is later than all that is known; it stays\n")
        return 0
    try:
        step(at_s)
    except OSError as error:
        sys.stderr.write(f"the clock cannot be set: {error.strerror}\n")
        return 1
    sys.stderr.write(f"the clock was {at_s - now_s:.0f} s before {how}; it begins there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
