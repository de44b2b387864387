"""`kiosk doctor --bundle FILE`: one file for whoever helps, without a secret in it.

Each part is taken by itself: a bundle is asked for when something is broken, and what is broken
must not keep the rest from being told.
"""

import contextlib
import dataclasses
import io
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from hardware.selftest import Finding
from kiosk.crashes import place_of
from kiosk.errors import KioskError, SettingsError, UsageError
from kiosk.redaction import Redaction, secrets_in_files
from kiosk.settings import Settings

LOG_LINES = 2000
MOST_BYTES_A_PART = 4 * 1024 * 1024
_MODEL = Path("/proc/device-tree/model")
_README = """\
What `kiosk doctor --bundle` found, for whoever helps.

about.json         versions: this program, Python, SQLite, packages, kernel, board
configuration.txt  every setting with its origin (headers hidden), or why it does not load
doctor.jsonl       the findings of `kiosk doctor`
state.json         what a running kiosk says of itself: state, reasons
journal.json       counts, format, integrity check, and the unresolved payments by their ids here
files.txt          the files beside the journal, the disk, and how it is mounted
log.txt            the last lines of the system's log about the kiosk
log-counts.txt     how often each of its messages came: restarts of the scanner, camera, gateway

Codes, phone numbers, header values, and the provider's payment ids are hidden. Texts that somebody
at the kiosk wrote (labels, host names, paths) are not: look into it before you send it.
"""


def write_bundle(config: Sequence[Path], findings: Sequence[Finding], file: Path) -> int:
    """Write the file, readable by its owner alone.

    Args:
        config: As for `load_settings`.
        findings: The doctor's.
        file: A `.tar.gz` that does not exist yet.

    Returns:
        Its size in bytes.

    Raises:
        UsageError: It cannot be written there.
    """
    try:
        # Made anew, for its owner alone, and through no link that somebody left there.
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz") as archive:
                for name, text in _parts(config, findings):
                    _add(archive, name, text)
            return out.tell()
    except FileExistsError as error:
        raise UsageError(f"{file} is there already; name a new file") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        raise UsageError(f"{file}: {error.strerror or error}") from error


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "replace")[-MOST_BYTES_A_PART:]
    entry = tarfile.TarInfo(f"kiosk-bundle/{name}")
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(data))


def _parts(config: Sequence[Path], findings: Sequence[Finding]) -> Iterable[tuple[str, str]]:
    from kiosk.settings_file import DEFAULT_PATH, load_settings

    settings: Settings | None = None
    with contextlib.suppress(SettingsError):
        settings = load_settings(config).settings
    secrets = secrets_in_files(config or [DEFAULT_PATH])
    if settings is not None:
        secrets += settings.gateway.headers.values()
        secrets += filter(None, [settings.device.wifi_password])
    hide = Redaction(secrets).apply
    log = _safely(_log)
    makers: dict[str, Callable[[], str]] = {
        "about.json": _about,
        "configuration.txt": lambda: _configuration(config),
        "doctor.jsonl": lambda: "".join(_line(f) for f in findings),
        "log.txt": lambda: log,
        "log-counts.txt": lambda: _counts(log),
    }
    if settings is not None:
        known = settings
        makers |= {
            "state.json": lambda: _state(known),
            "journal.json": lambda: _journal(Path(known.journal.path)),
            "files.txt": lambda: _files(Path(known.journal.path)),
        }
    yield "README.txt", _README
    for name, make in makers.items():
        yield name, hide(_safely(make))


def _safely(make: Callable[[], str]) -> str:
    try:
        return make()
    except (KioskError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
        return f"could not be had: {error}\n"
    except Exception as error:  # noqa: BLE001 - one part less is better than no bundle
        return f"could not be had: {place_of(error)}\n"


def _about() -> str:
    import kiosk

    with_version = {
        found.name: found.version for found in metadata.distributions() if found.name is not None
    }
    model = _MODEL.read_text().strip("\0 \n") if _MODEL.exists() else platform.machine()
    about = {
        "kiosk": kiosk.__version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "up_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "python": sys.version,
        "sqlite": sqlite3.sqlite_version,
        # Not the host's name: it may say where the kiosk stands.
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "board": model,
        "packages": dict(sorted(with_version.items())),
    }
    return json.dumps(about, indent=1) + "\n"


def _configuration(config: Sequence[Path]) -> str:
    from kiosk.settings_file import flatten, is_secret, load_settings
    from kiosk.settings_words import as_yaml

    try:
        loaded = load_settings(config)
    except SettingsError as error:
        return f"it does not load:\n{error}\n"
    return "".join(
        f"{key}: {'(hidden)' if is_secret(key) else as_yaml(value)}  # {loaded.origins[key]}\n"
        for key, value in flatten(loaded.settings)
    )


def _line(finding: Finding) -> str:
    return json.dumps(dataclasses.asdict(finding), ensure_ascii=False) + "\n"


def _state(settings: Settings) -> str:
    import msgspec

    from kiosk.doctor import ask_state

    state = ask_state(settings)
    if state is None:
        return "no kiosk answers on its control socket\n"
    return msgspec.json.format(msgspec.json.encode(state)).decode() + "\n"


def _journal(path: Path) -> str:
    from kiosk.payment.journal import Journal
    from kiosk.payment.journal_report import entries
    from kiosk.payment.journal_sqlite import translated

    with closing(Journal.open_to_read(path)) as db, translated(path):
        rows, first, last = db.execute("SELECT count(*), min(seq), max(seq) FROM row").fetchone()
        at = "SELECT at FROM row WHERE seq = ?"
        sound = [text for (text,) in db.execute("PRAGMA integrity_check(20)").fetchall()]
        found = list(entries(db))
        about = {
            "format": db.execute("PRAGMA user_version").fetchone()[0],
            "integrity_check": sound,
            "rows": rows,
            "first_at": rows and db.execute(at, (first,)).fetchone()[0],
            "last_at": rows and db.execute(at, (last,)).fetchone()[0],
            "boots": db.execute("SELECT count(DISTINCT boot) FROM row").fetchone()[0],
            "spent_codes": db.execute("SELECT count(*) FROM spent").fetchone()[0],
            "secrets_kept": db.execute("SELECT count(*) FROM secret").fetchone()[0],
            "payments": dict(Counter(entry.counted_as for entry in found)),
            "unresolved": [
                {"intent": e.intent, "at": e.at, "amount_sum": e.amount_sum, "flags": e.flags}
                for e in found
                if e.counted_as in ("unknown", "conflict")
            ],
        }
    return json.dumps(about, indent=1) + "\n"


def _files(path: Path) -> str:
    lines = []
    for file in sorted(path.parent.glob(path.name + "*")):
        about = file.lstat()
        changed = datetime.fromtimestamp(about.st_mtime, UTC).isoformat(timespec="seconds")
        lines.append(
            f"{about.st_size:>12}  {about.st_mode & 0o7777:04o}  {about.st_uid}:{about.st_gid}  "
            f"{changed}  {file.name}"
        )
    disk = os.statvfs(path.parent)
    free, size = (count * disk.f_frsize for count in (disk.f_bavail, disk.f_blocks))
    read_only = "read-only" if disk.f_flag & os.ST_RDONLY else "writable"
    lines.append(f"disk: {free} of {size} bytes free, {disk.f_favail} more files, {read_only}")
    lines.append(f"mounted: {_mount_of(path.parent)}")
    return "\n".join(lines) + "\n"


def _mount_of(folder: Path) -> str:
    """The line of /proc/self/mounts for the deepest mount above a folder."""
    best, found = -1, "?"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        mounted = Path(line.split(" ")[1])
        if folder.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, found = len(mounted.parts), line
    return found


def _log() -> str:
    units = ("-u", "kiosk", "-u", "kiosk-scanner")
    done = subprocess.run(  # noqa: S603 - constant arguments
        ["journalctl", *units, "-n", str(LOG_LINES), "-o", "cat", "--no-pager", "-q"],  # noqa: S607 - wherever the system has it
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0 or not text.strip():
        why = done.stderr.decode("utf-8", "replace").strip() or "it has no line about the kiosk"
        return f"journalctl: {why}; as root, or as a member of systemd-journal, it may be read\n"
    return text


def _counts(log: str) -> str:
    counts: Counter[str] = Counter()
    for line in log.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            counts[f"{entry['level']}  {entry['log']}  {entry['message']}"] += 1
    return "".join(f"{count:>6}  {what}\n" for what, count in counts.most_common())
