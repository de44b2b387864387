"""Which journal may be opened, by whom, and what stands beside it."""

import contextlib
import errno
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from tools import need

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Intent
from kiosk.core.offer import Offer
from kiosk.errors import (
    JournalBusyError,
    JournalDamagedError,
    JournalError,
    JournalMissingError,
    JournalNewerError,
    JournalWriteError,
)
from kiosk.payment import journal_files as files
from kiosk.payment import journal_schema as schema
from kiosk.payment.journal import Journal

INTENT = Intent("intent-1", Offer(1000, "Payment"), PaymeCode("50502044301381396427"))
ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def make(path: Path, rows: int = 0) -> None:
    journal = Journal.open(path)
    for number in range(rows):
        journal.record_sending(
            Intent(f"intent-{number}", INTENT.offer, PaymeCode(f"50502{number:015d}"))
        )
    journal.close()


def python(script: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the kiosk in a process of its own."""
    return subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )


# --- who may open ----------------------------------------------------------------------------


def test_one_process_writes(path: Path):
    journal = Journal.open(path)

    with pytest.raises(JournalBusyError, match="in use by another process"):
        Journal.open(path)
    other = python(f"""
        from pathlib import Path
        from kiosk.errors import JournalBusyError
        from kiosk.payment.journal import Journal
        try:
            Journal.open(Path({str(path)!r}))
        except JournalBusyError as error:
            print(error.exit_code)
    """)

    assert other.stdout == "4\n"
    journal.record_sending(INTENT)
    journal.close()
    Journal.open(path).close()


def test_a_writer_that_was_killed_leaves_no_lock(path: Path):
    killed = python(f"""
        import os, signal
        from pathlib import Path
        from kiosk.payment.journal import Journal
        journal = Journal.open(Path({str(path)!r}))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert killed.returncode == -9

    Journal.open(path).close()


def test_a_child_of_the_writer_does_not_hold_the_lock(path: Path):
    journal = Journal.open(path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        journal.close()
        Journal.open(path).close()
        child.kill()


def test_a_lock_that_cannot_be_had_for_another_reason(path: Path, monkeypatch: pytest.MonkeyPatch):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)

    with pytest.raises(JournalWriteError, match="No locks available"):
        Journal.open(path)


# --- a beginning -----------------------------------------------------------------------------


def test_a_first_journal_is_made_with_its_folder_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "deep" / "er" / "journal.db"

    Journal.open(path).close()

    names = sorted(entry.name for entry in path.parent.iterdir())
    assert names == ["journal.db", "journal.db.lock", "journal.db.made"]
    for entry in path.parent.iterdir():
        assert entry.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("left", ["", "nothing in it"])
@pytest.mark.parametrize("trace", [".made", "-wal", "-shm", ".spill", ".aside-20260101T000000Z"])
def test_where_something_tells_of_an_earlier_journal_staff_decide(
    path: Path, trace: str, left: str
):
    files.beside(path, trace).write_bytes(b"x")
    if left:
        path.touch()

    with pytest.raises(JournalMissingError, match=r"tells of an earlier one.*kiosk journal init"):
        Journal.open(path)
    with pytest.raises(JournalMissingError):
        Journal.open(path)

    Journal.open(path, new=True).close()
    Journal.open(path).close()
    if trace == ".spill":  # the new one takes the outcomes in it
        assert files.beside(path, trace).read_bytes() == b"x"
    elif trace != ".made":
        assert any(b"x" in entry.read_bytes() for entry in path.parent.glob("*.aside-*"))


def test_a_journal_that_lost_its_content_is_not_begun_anew_in_silence(path: Path):
    make(path, rows=1)
    path.write_bytes(b"")

    with pytest.raises(JournalMissingError, match="missing or empty"):
        Journal.open(path)


@pytest.mark.parametrize("step", ["before", "header", "wal"])
def test_a_power_cut_while_the_first_journal_is_made_is_no_damage(path: Path, step: str):
    if step == "before":
        path.touch()
    else:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA page_size = 2048")
        db.execute("PRAGMA journal_mode = WAL")
        if step == "wal":
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE device (id)")
        db.close()

    make(path, rows=1)

    with contextlib.closing(Journal.open_to_read(path)) as db:
        assert db.execute("SELECT count(*) FROM row").fetchone() == (1,)


def test_the_parts_of_a_journal_are_put_aside_whole(path: Path):
    from datetime import UTC, datetime

    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert files.move_aside(path, now) == []
    path.write_bytes(b"db")
    files.beside(path, "-wal").write_bytes(b"wal")

    moved = files.move_aside(path, now)

    assert [part.read_bytes() for part in moved] == [b"db", b"wal"]
    assert moved[1].name == "journal.db.aside-20260102T030405Z-wal"
    assert files.traces_of_earlier(path)


def test_a_folder_that_is_gone_has_no_traces(tmp_path: Path):
    assert files.traces_of_earlier(tmp_path / "nowhere" / "journal.db") == []
    assert files.size_of(tmp_path / "nowhere") == 0


# --- damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["noise", "truncated", "page", "header", "foreign", "no-table"])
def test_a_damaged_journal_is_refused_and_left_as_it_is(path: Path, harm: str):
    make(path, rows=200)
    content = bytearray(path.read_bytes())
    match harm:
        case "noise":
            content = bytearray(random.Random(1).randbytes(50_000))
        case "truncated":
            del content[len(content) // 2 :]
        case "page":
            content[2048 * 3 : 2048 * 6] = random.Random(2).randbytes(2048 * 3)
        case "header":
            content[:16] = b"SQLite format 4\0"
        case "foreign":
            path.unlink()
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("CREATE TABLE t (x)")
            content = bytearray(path.read_bytes())
        case "no-table":
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("DROP TABLE device")
            content = bytearray(path.read_bytes())
    path.write_bytes(content)

    with pytest.raises(JournalDamagedError):
        Journal.open(path)

    assert path.read_bytes() == bytes(content)
    with pytest.raises(JournalDamagedError):
        Journal.open(path)  # not because the lock was kept


def test_a_journal_without_its_key_would_know_no_spent_code(path: Path):
    make(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM device")

    with pytest.raises(JournalDamagedError, match="lost the key"):
        Journal.open(path)


def test_a_journal_of_a_later_format_is_left_alone(path: Path):
    make(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA user_version = {(schema.MAJOR + 1) * 1000}")
    before = path.read_bytes()

    with pytest.raises(JournalNewerError, match="install that version again"):
        Journal.open(path)
    with pytest.raises(JournalNewerError):
        Journal.open_to_read(path)

    assert path.read_bytes() == before


# --- a disk that does not take it ------------------------------------------------------------

NOBODY = 65534


@pytest.mark.parametrize("what", ["folder", "file", "lock"])
def test_a_folder_or_file_that_may_not_be_written(what: str):
    # Not under pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="kiosk-test-") as above:
        folder = Path(above) / "journal"
        path = folder / "journal.db"
        make(path)
        if os.geteuid() == 0:  # who may write everywhere, so somebody else tries
            Path(above).chmod(0o755)
            for entry in (folder, *folder.iterdir()):
                os.chown(entry, NOBODY, NOBODY)
        match what:
            case "folder":
                files.beside(path, ".lock").unlink()
                folder.chmod(0o500)
            case "file":
                path.chmod(0o400)
            case "lock":
                files.beside(path, ".lock").chmod(0o400)

        done = python(f"""
            import os
            from pathlib import Path
            from kiosk.errors import JournalError
            from kiosk.payment.journal import Journal
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid({NOBODY})
                os.setuid({NOBODY})
            try:
                Journal.open(Path({str(path)!r}))
            except JournalError as error:
                print(type(error).__name__, error)
        """)

        folder.chmod(0o700)
    assert done.stdout.startswith("JournalWriteError "), done.stderr
    assert "this folder" in done.stdout or "owner and mode" in done.stdout


def test_a_file_that_may_not_grow(path: Path):
    """What a quota does, for those who cannot mount a small disk."""
    make(path)
    done = python(f"""
        import resource
        from pathlib import Path
        from kiosk.core.code import PaymeCode
        from kiosk.core.intent import Answer, Intent, Outcome
        from kiosk.core.offer import Offer
        from kiosk.errors import JournalError
        from kiosk.payment.journal import Journal
        journal = Journal.open(Path({str(path)!r}))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
        for number in range(100):
            intent = Intent(str(number), Offer(1000, "x"), PaymeCode(f"50502{{number:015d}}"))
            try:
                journal.record_sending(intent)
            except JournalError as error:
                print(type(error).__name__, error)
                break
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        durable = len(journal.announced_without_outcome())
        print(durable == number > 0)
    """)
    assert done.stdout.splitlines()[-1] == "True", done.stderr
    assert done.stdout.startswith("JournalWriteError ")


FULL_DISK = """
import errno, os, sys
from pathlib import Path
from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.payment import journal_files as files
from kiosk.payment.store import Store
from kiosk.errors import JournalError

store = Store(Path(sys.argv[1]) / "journal.db")
assert files.beside(store.path, ".reserve").stat().st_size == files.RESERVE_BYTES
intents = [Intent(str(n), Offer(1000, "x"), PaymeCode(f"50502{n:015d}")) for n in range(4000)]
store.usable().record_sending(intents[0])
# Somebody fills the disk while the request is running.
fd = os.open(Path(sys.argv[1]) / "filler", os.O_WRONLY | os.O_CREAT)
for size in (65536, 512):
    try:
        while True:
            os.write(fd, b"x" * size)
    except OSError as error:
        assert error.errno == errno.ENOSPC
os.close(fd)
answer = Answer(Outcome.APPROVED, payment_id="p" * 24, raw=b"r" * 60_000)
try:
    store.usable().record_outcome("0", answer)
except JournalError as error:
    print("refused", type(error).__name__, error)
    store.fail(error)
    store.keep("0", answer, late=False)
    print("spilled", len(files.read_spill(store.path)))
    print("saved", store.try_again())
    print("trouble", store.trouble)
    assert store.journal.rows("0")[-1].payment_id == "p" * 24
    # Nothing is sold while there is no reserve for the next outcome.
    try:
        store.usable()
    except JournalError as error:
        print("closed", error)
    os.unlink(Path(sys.argv[1]) / "filler")
    print("again", store.try_again(), store.trouble)
    store.usable().record_sending(intents[1])
store.close()
print(sorted(p.name for p in Path(sys.argv[1]).glob("journal.db*")))
"""


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_an_outcome_finds_room_on_a_full_disk(tmp_path: Path, kind: str):
    need(os.geteuid() == 0, "a small disk is mounted by root in a namespace of its own")
    need("unshare", "no unshare: sudo apt install util-linux")
    (tmp_path / "full.py").write_text(FULL_DISK)
    disk, image = tmp_path / "disk", tmp_path / "image"
    disk.mkdir()
    if kind == "ext4":
        need("mkfs.ext4", "no mkfs.ext4: sudo apt install e2fsprogs")
        image.touch()
        os.truncate(image, 8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        mount = f"mount -o loop {image} {disk}"
    else:
        mount = f"mount -t tmpfs -o size=3m none {disk}"
    script = f"{mount} || exit 77; exec {sys.executable} {tmp_path / 'full.py'} {disk}"

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    refused = done.returncode in (1, 77) and not done.stdout
    need(not refused, f"no mount here: {done.stderr.strip()[:100]}")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("refused JournalWriteError")
    assert "free some space" in said[0]
    assert said[1] == "spilled 1"
    assert said[2] == "saved ['0']"
    assert "this disk is full; free some space" in said[3]
    assert said[4].startswith("closed")
    assert said[5] == "again [] None"
    assert ".spill" not in said[6]
    assert "journal.db.reserve" in said[6]


# --- spill and reserve -----------------------------------------------------------------------


def test_lines_of_the_spill_survive_one_that_was_torn(path: Path):
    files.append_spill(path, b"first")
    with files.beside(path, ".spill").open("ab") as spill:
        spill.write(b"\ntor")  # a disk that was full
    files.append_spill(path, b"second")
    with files.beside(path, ".spill").open("ab") as spill:
        spill.write(b"\nnever promised")

    assert files.read_spill(path) == [b"first", b"tor", b"second"]
    files.clear_spill(path)
    files.clear_spill(path)
    assert files.read_spill(path) == []
    assert not files.beside(path, ".spill").exists()


def test_a_spill_is_written_whole_whatever_the_kernel_takes_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    files.append_spill(path, b"a longer line")
    assert files.read_spill(path) == [b"a longer line"]


def test_the_reserve_is_taken_given_and_taken_again(path: Path):
    reserve = files.beside(path, ".reserve")
    files.keep_reserve(path)
    files.keep_reserve(path)
    assert reserve.stat().st_blocks * 512 >= files.RESERVE_BYTES

    files.release_reserve(path)
    files.release_reserve(path)
    assert not reserve.exists()

    reserve.write_bytes(b"a part of one")
    files.keep_reserve(path)
    assert reserve.stat().st_size == files.RESERVE_BYTES


@pytest.mark.parametrize(
    ("number", "is_full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EOPNOTSUPP, False)]
)
def test_a_reserve_that_cannot_be_had(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_full: bool
):
    def fallocate(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fallocate)

    if is_full:
        with pytest.raises(JournalWriteError, match="this disk is full; free some space"):
            files.keep_reserve(path)
    else:
        files.keep_reserve(path)

    assert not files.beside(path, ".reserve").exists()


# --- what it costs ---------------------------------------------------------------------------


def syncs(tmp_path: Path, script: str) -> int:
    """How often a script had the kernel wait for the disk."""
    need("strace", "no strace: sudo apt install strace")
    trace = tmp_path / "trace"
    done = python(
        script, "strace", "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync,sync_file_range"
    )
    need("ptrace" not in done.stderr, "strace may not trace here")
    assert done.returncode == 0, done.stderr
    return trace.read_text().count("sync(")


def test_an_opening_and_a_payment_wait_for_the_disk_as_often_as_they_must(tmp_path: Path):
    path = tmp_path / "journal.db"
    make(path)
    opening = f"""
        import os
        from pathlib import Path
        from kiosk.core.code import PaymeCode
        from kiosk.core.intent import Answer, Intent, Outcome
        from kiosk.core.offer import Offer
        from kiosk.payment.journal import Journal
        journal = Journal.open(Path({str(path)!r}))
    """
    paying = """
        for number in range(3):
            code = PaymeCode(f"50502{number:015d}")
            journal.record_sending(Intent(str(number), Offer(1000, "x"), code))
            journal.record_outcome(str(number), Answer(Outcome.APPROVED, payment_id="p"))
    """
    leaving = """
        os._exit(0)
    """
    mark = files.beside(path, ".made").read_bytes()
    opened = syncs(tmp_path, opening + leaving)
    # Without its WAL it is an older copy of itself, which its mark tells: so that is older too.
    for beside in ("-wal", "-shm"):
        files.beside(path, beside).unlink()
    files.beside(path, ".made").write_bytes(mark)
    paid = syncs(tmp_path, opening + paying + leaving)

    assert opened <= 5
    assert paid - opened == 6  # two durable commits a payment


def test_a_journal_that_fails_to_open_leaks_no_file(path: Path):
    make(path, rows=3)
    path.write_bytes(b"noise" * 1000)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(20):
        with pytest.raises(JournalError):
            Journal.open(path)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_spill_that_cannot_be_read_is_not_forgotten(path: Path):
    files.beside(path, ".spill").mkdir()

    with pytest.raises(JournalWriteError, match="holds outcomes"):
        files.read_spill(path)
    with pytest.raises(JournalWriteError):
        files.clear_spill(path)
