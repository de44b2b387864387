"""The disk fails on either side of the request, for real: files that cannot grow, a full tmpfs.

A limit on the size of files is put on the running process, and taken off again; where the
tests run as root, a tmpfs of its own is filled as well.
"""

import contextlib
import json
import resource
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from kiosk_process import WAIT_S, a_code
from tools import need

from kiosk.messages import Acknowledge, Ok
from kiosk.sandbox.gateway import SandboxGateway

NOTHING_GROWS = 0
ONLY_SMALL_FILES = 8192
"""The spill file fits, the journal does not."""
OUT_OF_SIGHT_S = 0.8
UNLIMITED = resource.RLIM_INFINITY


# A process that may write no more cannot write its coverage either, and says so aloud.
pytestmark = pytest.mark.usefixtures("unmeasured")


def limit_files(kiosk, size_bytes):
    resource.prlimit(kiosk.process.pid, resource.RLIMIT_FSIZE, (size_bytes, UNLIMITED))


def out_of_service_for(*reasons):
    return lambda state: state.state == "out_of_service" and set(reasons) <= set(state.reasons)


@pytest.fixture
def slow_gateway():
    with SandboxGateway(latency_s=1.0) as gateway:
        yield gateway


def spill_of(kiosk):
    path = kiosk.journal_path.with_name("journal.db.spill")
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [json.loads(line) for line in lines if line]


def test_no_row_no_request_and_it_recovers_by_itself(kiosk, gateway):
    code = a_code()
    kiosk.read(code)
    limit_files(kiosk, NOTHING_GROWS)
    kiosk.press()

    told = kiosk.control.wait("concluded")
    assert (told.outcome, told.cue) == ("not_sent", "not_sent")
    state = kiosk.control.wait(out_of_service_for("journal_unwritable"))
    assert "journal.db" in state.details["journal_unwritable"]
    assert gateway.ledger.requests == ()

    limit_files(kiosk, UNLIMITED)
    kiosk.ready()
    time.sleep(OUT_OF_SIGHT_S)  # a phone that was held up all the time starts nothing
    assert kiosk.pay(code).outcome == "approved"  # nothing was charged: the code is good still
    assert len(gateway.ledger.requests) == 1
    intent, *_ = kiosk.rows()[-1]
    assert kiosk.kinds(intent) == ["sending", "approved"]


def an_outcome_that_cannot_be_written(kiosk, gateway, code, size_bytes):
    kiosk.read(code)
    kiosk.press()
    assert gateway.ledger.wait_until(lambda ledger: ledger.charges, WAIT_S)
    limit_files(kiosk, size_bytes)
    told = kiosk.control.wait("concluded")
    assert (told.outcome, told.cue) == ("unknown", "unknown")
    assert "approved" not in kiosk.control.cues()
    return gateway.ledger.charges[0]


@pytest.mark.parametrize("size_bytes", [ONLY_SMALL_FILES, NOTHING_GROWS])
def test_an_outcome_that_cannot_be_written_is_kept_and_nothing_sold(
    size_bytes, kiosk_at, slow_gateway
):
    kiosk = kiosk_at(slow_gateway.url).start()
    charge = an_outcome_that_cannot_be_written(kiosk, slow_gateway, a_code(), size_bytes)
    if size_bytes:
        (spilled,) = spill_of(kiosk)
        assert spilled["answer"]["payment_id"] == charge.payment_id
    else:
        kiosk.logged("an outcome is in memory only; do not switch off")
    assert kiosk.kinds() == ["sending"]

    # Nothing is sold meanwhile, whatever is shown and pressed, and nobody may state otherwise.
    assert isinstance(kiosk.control.command(Acknowledge()), Ok)
    kiosk.control.wait(out_of_service_for("outcome_unsaved", "journal_unwritable"))
    kiosk.scanner.show(a_code())
    kiosk.press(after_s=0)
    intent = kiosk.rows()[0][0]
    refused = kiosk.run(
        *("journal", "resolve", intent, "--outcome", "declined", "--by", "A", "--why", "b")
    )
    assert refused.returncode == 1
    assert len(slow_gateway.ledger.requests) == 1

    limit_files(kiosk, UNLIMITED)
    kiosk.ready()
    assert kiosk.rows() == [
        (intent, "sending", None),
        (intent, "approved", charge.payment_id),
    ]
    assert spill_of(kiosk) == []
    assert kiosk.pay(a_code()).outcome == "approved"
    assert len(slow_gateway.ledger.charges) == 2


def test_killed_while_the_outcome_waits_beside_the_journal(kiosk_at, slow_gateway):
    kiosk = kiosk_at(slow_gateway.url).start()
    code = a_code()
    charge = an_outcome_that_cannot_be_written(kiosk, slow_gateway, code, ONLY_SMALL_FILES)
    kiosk.kill()
    assert kiosk.kinds() == ["sending"]
    assert len(spill_of(kiosk)) == 1

    kiosk.start()
    kiosk.ready()
    assert [row[1:] for row in kiosk.rows()] == [
        ("sending", None),
        ("approved", charge.payment_id),
    ]
    assert spill_of(kiosk) == []
    kiosk.show(code, lambda s: s.cue == "not_accepted")  # used
    assert len(slow_gateway.ledger.requests) == 1


def test_stopped_while_the_outcome_waits_it_is_there_at_the_next_start(kiosk_at, slow_gateway):
    kiosk = kiosk_at(slow_gateway.url).start()
    charge = an_outcome_that_cannot_be_written(kiosk, slow_gateway, a_code(), ONLY_SMALL_FILES)
    assert kiosk.stop() == 0

    kiosk.start()
    kiosk.ready()
    assert kiosk.rows()[-1][1:] == ("approved", charge.payment_id)


def test_it_does_not_end_while_an_outcome_is_in_memory_only(kiosk_at, slow_gateway):
    kiosk = kiosk_at(slow_gateway.url).start()
    charge = an_outcome_that_cannot_be_written(kiosk, slow_gateway, a_code(), NOTHING_GROWS)
    kiosk.send_signal(signal.SIGTERM)
    kiosk.control.wait(out_of_service_for("outcome_unsaved"))
    assert kiosk.process.poll() is None

    limit_files(kiosk, UNLIMITED)
    assert kiosk.wait_for_exit() == 0
    assert kiosk.rows()[-1][1:] == ("approved", charge.payment_id)


# A disk that is full


def can_mount():
    probe = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0"', "/mnt"]
    with contextlib.suppress(OSError):
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return False


ON_TMPFS = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=3m none "$0" && exec "$@"']


@pytest.fixture
def small_disk(kiosk_at):
    """A kiosk whose journal is on a file system of 3 MB that nobody else sees."""
    need(can_mount(), "mounting a tmpfs needs root")

    def make(gateway):
        def where(kiosk):
            return kiosk.folder / "disk"

        kiosk = kiosk_at(gateway.url, journal={"path": "disk/journal.db"})
        where(kiosk).mkdir()
        kiosk.command = [*ON_TMPFS, str(where(kiosk))]
        kiosk.start()
        kiosk.disk = type(kiosk.folder)(f"/proc/{kiosk.process.pid}/root{where(kiosk)}")
        kiosk.rows = lambda: rows_on(kiosk.disk, kiosk.folder / "copy")
        return kiosk

    return make


def rows_on(disk, copy):
    """SQLite finds its way out of a foreign mount namespace, so it gets a copy."""
    copy.mkdir(exist_ok=True)
    # Not the -shm: it comes and goes with whoever reads, and is made anew from the log.
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (copy / name).unlink(missing_ok=True)
    for part in disk.glob("journal.db*"):
        if not part.name.endswith("-shm"):
            shutil.copyfile(part, copy / part.name)
    with contextlib.closing(sqlite3.connect(copy / "journal.db")) as db:
        return db.execute("SELECT intent, kind, payment_id FROM row ORDER BY seq").fetchall()


class Filler:
    """Takes every byte that becomes free, until it is told to stop."""

    def __init__(self, disk):
        self._path = disk / "somebody-elses-file"
        self._stopping = threading.Event()
        self._file = self._path.open("wb", buffering=0)
        self._fill()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _fill(self):
        for size in (65_536, 4096, 1):
            with contextlib.suppress(OSError):
                while self._file.write(bytes(size)):
                    pass

    def _run(self):
        while not self._stopping.is_set():
            self._fill()
            time.sleep(0.0005)

    def stop(self):
        self._stopping.set()
        self._thread.join()
        self._file.close()
        self._path.unlink()


def test_a_full_disk_before_the_request(small_disk, gateway):
    kiosk = small_disk(gateway)
    kiosk.read(a_code())
    filler = Filler(kiosk.disk)
    try:
        kiosk.press()
        assert kiosk.control.wait("concluded").outcome == "not_sent"
        assert "free some space" in kiosk.logged("journal out of use")["detail"]
        assert gateway.ledger.requests == ()
    finally:
        filler.stop()
    assert kiosk.pay(a_code()).outcome == "approved"


def test_a_full_disk_between_request_and_answer(small_disk, slow_gateway):
    kiosk = small_disk(slow_gateway)
    kiosk.read(a_code())
    kiosk.press()
    assert slow_gateway.ledger.wait_until(lambda ledger: ledger.charges, WAIT_S)
    filler = Filler(kiosk.disk)
    try:
        assert kiosk.control.wait("concluded").outcome == "unknown"
    finally:
        filler.stop()
    # The space held back, or the one that is free again, takes it.
    assert isinstance(kiosk.control.command(Acknowledge()), Ok)
    kiosk.ready()
    payment_id = slow_gateway.ledger.charges[0].payment_id
    assert [row[1:] for row in kiosk.rows()] == [("sending", None), ("approved", payment_id)]
    assert kiosk.pay(a_code()).outcome == "approved"
