"""The first process of the guest: mounts the disk, starts the kiosk on it, sells until it dies.

What is said on the console survives the guest: lines that begin with @. Started by `power.py`
with one argument, JSON in hexadecimal digits: `out` (a folder of the host), `path` (for
imports), `life`, `again` (a code that was shown before), `worse`, `options` of the mount.
"""

import contextlib
import ctypes
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

# The guest sees the host's files and may not write there; this folder is its own, in memory.
DISK, OUT = Path("/dev/disk"), Path("/dev/out")


def say(**what):
    os.write(1, b"@" + json.dumps(what).encode() + b"\n")


def mount(what, where, kind, options=""):
    where.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(what.encode(), bytes(where), kind.encode(), 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(where))


def copy_out(journal, copy):
    """The journal as it stands, page by page, to the host."""
    with (
        contextlib.closing(sqlite3.connect(journal)) as db,
        contextlib.closing(sqlite3.connect(copy)) as out,
    ):
        out.execute("PRAGMA synchronous = OFF").fetchall()
        db.backup(out)


def main(request):
    mount("proc", Path("/proc"), "proc")
    sys.path[:0] = request["path"]
    import customers

    mount("none", OUT, "hostfs", request["out"])
    say(mounting=True)
    mount("/dev/ubda", DISK, "ext4", request["options"])
    say(mounted=True)
    journal = DISK / "journal.db"
    life = request["life"]
    sale = customers.sell(journal, say, life, worse=request["worse"])
    try:
        till = next(sale)
    except customers.RefusedError as error:
        with contextlib.suppress(sqlite3.Error):
            copy_out(journal, OUT / f"{life}.db")
        say(refused=str(error))
        time.sleep(600)  # until the power goes
    copy_out(journal, OUT / f"{life}.db")
    say(recovered=True)
    if request["again"]:
        till.pay(request["again"])
    for _ in sale:
        pass


if __name__ == "__main__":
    main(json.loads(bytes.fromhex(sys.argv[1])))
