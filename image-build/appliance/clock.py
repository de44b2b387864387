"""The clock at a start: never earlier than what is known to have been.

A Pi has no clock of its own. Without a time server it starts at the time at which its system was
built, which is wrong by months. What is known is later: the last payment, and the time that was
kept each hour and at each stop. The clock is only ever moved forward here; decision 0014 says
who is believed after that.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from kiosk.payment.clock import EARLIEST, LATEST

# Named tuples, and no module that can be spared: the kiosk waits for this at each start.

MOST_ASKING_S = 5
"""A card that fails must not keep the kiosk from starting; other times are known as well."""
CHILD_FAILED = 1


class Places(NamedTuple):
    """Where times are known from; other than these in tests only.

    Attributes:
        version: Of the image; says when it was built.
        journal: Of the kiosk.
        kept: Its time of change is the time that was kept. No content: nothing can be torn.
        floor: For the keeper: no time before this is plausible.
    """

    version: Path = Path("/usr/lib/kiosk/version.json")
    journal: Path = Path("/var/lib/kiosk/journal.db")
    kept: Path = Path("/data/appliance/clock")
    floor: Path = Path("/run/kiosk-clock/floor")


HERE = Places()


def set_clock(to_s: float) -> None:
    """Set the wall clock, in seconds since 1970. Raises OSError."""
    time.clock_settime(time.CLOCK_REALTIME, to_s)


def floor(places: Places) -> tuple[float, str]:
    """The latest time that is known to have been, and how it is known."""
    known = {
        "this kiosk's release": EARLIEST.timestamp(),
        "the build of the image": built_at(places.version),
        "the last payment": last_row_at(places.journal),
        "the time that was kept": kept_at(places.kept),
    }
    found = {name: at for name, at in known.items() if at is not None}
    # What is far ahead was never a time, whoever wrote it down.
    possible = {name: at for name, at in found.items() if at <= LATEST.timestamp()}
    how = max(possible, key=lambda name: possible[name])
    return possible[how], how


def built_at(version: Path) -> float | None:
    """When the image was made; None where it does not say."""
    try:
        return datetime.fromisoformat(json.loads(version.read_bytes())["built_at"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_at(kept: Path) -> float | None:
    """The time that `keep` left; None before the first."""
    try:
        return kept.stat().st_mtime
    except OSError:
        return None


def keep(kept: Path) -> None:
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


def last_row_at(journal: Path) -> float | None:
    """When the newest row was written, by the clock of then; None where nothing can be asked.

    Asked as the journal's owner, in a process of its own: SQLite makes companions of a journal
    that it only reads, and the kiosk could not write to those of root.
    """
    try:
        owner = journal.parent.stat()  # inside, root without its rights could not even look
    except OSError:
        return None
    answer, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(MOST_ASKING_S)  # its end: root without its rights cannot end another's process
        os._exit(_answer_as(journal, owner, tell))
    os.close(tell)
    with os.fdopen(answer, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    try:
        return datetime.fromisoformat(said.decode("ascii")).timestamp()
    except ValueError:
        return None


def _answer_as(journal: Path, owner: os.stat_result, tell: int) -> int:
    """In the child: give up what the owner has not, and ask."""
    import sqlite3  # loaded here, so that the memory goes with the child

    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
            os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
        if journal.stat().st_size == 0:
            return CHILD_FAILED  # the kiosk has its own word for that
        db = sqlite3.connect(journal.absolute().as_uri() + "?mode=ro", uri=True)
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
        places.floor.write_text(f"{at_s:.0f}\n", encoding="ascii")
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
