"""What a process may leave behind when it crashes: the place, and no copy of its memory.

The text of a foreign error may hold a code or a token; so may every byte of a core dump.
"""

import logging
import os
import resource
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def leave_no_core() -> None:
    """No core dump of this process or of its children, whoever would collect it."""
    # 1, not 0: for a program that collects dumps the kernel takes 0 for no limit, 1 for none.
    soft, most = resource.getrlimit(resource.RLIMIT_CORE)
    if soft != 0 or most != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, most))


def place_of(error: BaseException) -> str:
    """Kind and place: `ValueError at loop.py:12 > journal.py:34`."""
    found = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in found]
    return f"{type(error).__name__} at {' > '.join(places[-4:])}"


def tell_places_only() -> None:
    """Log what nobody caught in a thread or in a destructor without its text.

    KIOSK_DEBUG leaves Python's way, which shows everything.
    """
    if not os.environ.get("KIOSK_DEBUG"):
        threading.excepthook = _uncaught
        sys.unraisablehook = _uncaught


def _uncaught(what: Any) -> None:
    if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
        log.critical("uncaught", extra={"error": place_of(what.exc_value)})
