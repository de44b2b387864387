"""The script that strace watches: the very `kiosk run`, or a worse one.

recorded_life.py FILE-FOR-CUES WORSE-OR-NOTHING ARGUMENTS-OF-KIOSK...
"""

import os
import sys

import hooks
from worse_kiosks import MISBEHAVIOURS

TIDY_EVERY_S = 0.2  # an hour, in the product


def with_pragma(pragma):
    """A journal that is set up as it should be, and then less strict."""

    def arrange():
        from kiosk.payment import journal

        set_up = journal.set_up

        def less_strict(db, path, at):
            set_up(db, path, at)
            db.execute(f"PRAGMA {pragma}").fetchall()

        journal.set_up = less_strict

    return arrange


def without_folder_sync():
    """A spill file whose name may be gone after a power cut."""
    from kiosk.payment import journal_files

    journal_files.sync_folder = lambda path: None


WORSE = {
    "synchronous=NORMAL": with_pragma("synchronous=NORMAL"),
    "synchronous=OFF": with_pragma("synchronous=OFF"),
    "journal_mode=DELETE": with_pragma("journal_mode=DELETE"),
    "no sync of the folder": without_folder_sync,
    **MISBEHAVIOURS,
}


def main(cues, worse, *argv):
    from kiosk.cli import main as kiosk
    from kiosk.payment import loop

    loop.TIDY_AFTER_S = loop.TIDY_EVERY_S = TIDY_EVERY_S
    hooks.install(os.open(cues, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    if worse:
        WORSE[worse]()
    return kiosk(argv)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
