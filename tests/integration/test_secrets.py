"""Codes, phone numbers, tokens and keys stay where they belong.

Every other run of the harness checks its log and its state lines too.
"""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from kiosk_process import CANARY_PHONES, CANARY_TOKEN, a_code, keep_secret, leaks_in
from tools import figure, need

from kiosk.messages import Acknowledge
from kiosk.sandbox.gateway import SandboxGateway

FAULTS = ("hang-up-charged", "json-none", "string-error", "error-103", "truncated-body")
FRAME = Path(__file__).parents[1] / "data" / "frames" / "easy-01.png"


def what_others_see(pid):
    """Command line, environment, state and thread names of a process and its children."""
    shown = ""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                status = (folder / "status").read_text()
                if folder.name == str(pid) or f"PPid:\t{pid}\n" in status:
                    for name in ("cmdline", "environ"):
                        shown += (folder / name).read_bytes().decode("utf-8", "replace")
                    shown += status
                    for thread in (folder / "task").iterdir():
                        shown += (thread / "comm").read_text()
    return shown


def files_with_secrets(*folders):
    """Whatever lies in these folders and holds a code, a phone number, the token or the key."""
    return {
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and leaks_in(path.read_bytes().decode("utf-8", "replace"))
    }


@pytest.fixture
def boxed_kiosk(kiosk_at, tmp_path):
    """A kiosk that shows its certificate, with a folder for what it lets lie about."""
    about = tmp_path / "about"
    about.mkdir()

    def make(gateway, **sections):
        files = {
            name: str(getattr(gateway, name))
            for name in ("ca_file", "client_cert_file", "client_key_file")
            if getattr(gateway, name) is not None
        }
        kiosk = kiosk_at(
            gateway.url,
            command=("env", f"--chdir={about}", f"TMPDIR={about}", f"LG_WD={about}"),
            gateway=files,
            log={"level": "debug"},
            confirm={"mode": "automatic"},
            limits={"unknown_pause_s": 0, "max_unresolved": 100},
            **sections,
        )
        kiosk.about = about
        return kiosk

    return make


def commands(kiosk, intents):
    """Every command that reads what a kiosk keeps, in its forms."""
    yield from (
        (*command, *form)
        for command in (
            ("journal", "list"),
            ("journal", "export"),
            ("journal", "unresolved"),
            ("journal", "totals"),
            ("check-config",),
            ("doctor",),
            *(("journal", "show", intent) for intent in intents),
        )
        for form in ((), ("--json",))
    )
    yield ("journal", "export", "--format", "json")


def test_no_secret_in_logs_states_process_lists_files_or_reports(boxed_kiosk):
    poor = a_code()
    with SandboxGateway(tls="mutual", decline=frozenset({poor})) as gateway:
        kiosk = boxed_kiosk(gateway)
        kiosk.start(env={"PYTHONDEVMODE": "1"})
        kiosk.pay(poor)
        code = a_code()
        kiosk.pay(code)
        shown = what_others_see(kiosk.process.pid)
        for fault in FAULTS:
            kiosk.ready()
            gateway.set_fault(fault, times=1)
            kiosk.pay(a_code())
            shown += what_others_see(kiosk.process.pid)
            kiosk.control.command(Acknowledge())
        gateway.set_fault(None)
        assert gateway.ledger.requests[0].headers["x-api-key"] == CANARY_TOKEN  # it was sent
        assert leaks_in(gateway.client_key_file.read_text())  # and would be noticed

        assert leaks_in(shown) == []
        assert leaks_in(kiosk.stderr + "".join(kiosk.control.raw)) == []
        intents = [entry["intent"] for entry in kiosk.as_json("journal", "list")]
        tried = 0
        for command in commands(kiosk, intents):
            done = kiosk.run(*command)
            assert leaks_in(done.stdout + done.stderr) == [], command
            tried += 1
        assert f"{code[:4]}…{code[-4:]}" in kiosk.run("journal", "export").stdout
        out = kiosk.about / "export.csv"
        assert kiosk.run("journal", "export", "-o", str(out)).returncode == 0
        kept = {"journal.db", "journal.db-wal", "kiosk.yaml"}
        assert files_with_secrets(kiosk.folder, kiosk.about) <= kept
        mode = kiosk.journal_path.stat().st_mode & 0o777
        assert mode == 0o600  # whole codes are in there
    figure(
        f"secrets: {len(intents)} payments over mutual TLS, {len(FAULTS)} faults, debug level, "
        f"{tried} commands, /proc of all processes, all files: no code, phone, token or key"
    )


def test_the_scanner_does_not_log_what_it_reads(kiosk_at, gateway):
    code = FRAME.with_suffix(".txt").read_text("utf-8").strip()
    keep_secret(code)
    kiosk = kiosk_at(
        gateway.url, own_scanner=True, log={"level": "debug"}, panel={"press_after_s": 0.8}
    )
    (kiosk.folder / "stage").mkdir()
    shutil.copy(FRAME, kiosk.folder / "stage")
    kiosk.start()
    assert kiosk.control.wait("concluded").outcome == "approved"
    shown = what_others_see(kiosk.process.pid)
    assert "scanner" in shown
    assert leaks_in(shown + kiosk.stderr + "".join(kiosk.control.raw)) == []


# Crashes

PLANTS = {
    "main thread": """
from kiosk.payment.journal import Journal
def planted(self, intent):
    code = intent.code.digits
    raise RuntimeError(f"planted for {code}")
Journal.record_sending = planted
""",
    "gateway thread": """
from kiosk.payment.gateway import Call
def planted(self, amount_sum, code, send_before_s):
    headers = self._gateway.settings.headers
    raise RuntimeError(f"planted for {code} {headers}")
Call.submit = planted
""",
    "control thread": """
from kiosk.payment.control import Control
real = Control.publish
def planted(self, state):
    if state.state == "connecting":
        self._receive = self._accept = None
        self._empty_outbox = None
    real(self, state)
Control.publish = planted
""",
}


def plant(kiosk, text):
    """A mistake in the program, made before it starts; returns the environment for it."""
    folder = kiosk.folder / "planted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def crashes(kiosk, env, code=70):
    kiosk.start(env=env)
    kiosk.ready()
    kiosk.scanner.hold_up(a_code())
    assert kiosk.wait_for_exit() == code
    said, kiosk.stderr = kiosk.stderr, ""
    return said


@pytest.mark.parametrize("where", PLANTS)
def test_a_mistake_of_ours_tells_its_place_and_no_secret(boxed_kiosk, where):
    with SandboxGateway(tls="mutual") as gateway:
        kiosk = boxed_kiosk(gateway)
        said = crashes(kiosk, plant(kiosk, PLANTS[where]))
        assert "internal error (" in said
        assert leaks_in(said + "".join(kiosk.control.raw)) == []
        assert files_with_secrets(kiosk.about) == set()


def test_what_a_debugger_asks_for_would_be_noticed(boxed_kiosk):
    with SandboxGateway(tls="mutual") as gateway:
        kiosk = boxed_kiosk(gateway)
        env = {**plant(kiosk, PLANTS["main thread"]), "KIOSK_DEBUG": "1"}
        said = crashes(kiosk, env, code=1)
        found = leaks_in(said)
        assert "Traceback" in found
        assert len(found) == 2  # and the code in it
    figure("secrets, control: a crash that prints its traceback shows the code and is caught")


ABORTS = "import os; secret = 'core-canary-' + '%s'; os.abort()"


def test_a_killed_process_prints_no_memory_and_leaves_no_core(boxed_kiosk, tmp_path):
    need("prlimit", "no prlimit: apt install util-linux")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    need(pattern == "core", f"core dumps go elsewhere here: {pattern}")
    unlimited = ("prlimit", "--core=unlimited")

    careless = tmp_path / "careless"
    careless.mkdir()
    subprocess.run([*unlimited, sys.executable, "-c", ABORTS % "5Kq"], cwd=careless, check=False)
    (core,) = careless.iterdir()
    assert b"core-canary-5Kq" in core.read_bytes()  # what would lie about otherwise
    core.unlink()

    with SandboxGateway(tls="mutual") as gateway:
        kiosk = boxed_kiosk(gateway)
        kiosk.command += unlimited
        kiosk.start(env={"PYTHONDEVMODE": "1", "PYTHONFAULTHANDLER": "1"})
        kiosk.ready()
        gateway.set_fault("stall-charged")
        kiosk.show(a_code(), "submitting")
        # Python may trip over its own report of the threads; a core is due either way.
        assert kiosk.stop(signal.SIGABRT) in (-signal.SIGABRT, -signal.SIGSEGV)
        said, kiosk.stderr = kiosk.stderr, ""
        assert "Fatal Python error: Aborted" in said
        assert leaks_in(said) == []
        assert list(kiosk.about.iterdir()) == []
    figure("secrets: SIGABRT in a request, no core; control: one without the limit leaves its core")


# What is written by mistake


@pytest.mark.parametrize(
    "gateway",
    [
        {"headers": {"X-Api-Key": [CANARY_TOKEN]}},
        {"headers": {"X-Api-Key": {"value": CANARY_TOKEN}}},
        {"headers": {"X-Api-Key": CANARY_TOKEN + "\n"}},
        {"headers": {"X-Api-Key": CANARY_TOKEN + "\u00e9"}},
        {"headers": {"Content-Length": CANARY_TOKEN}},
        {"headers": f"X-Api-Key: {CANARY_TOKEN}"},
        {"headers": [f"X-Api-Key: {CANARY_TOKEN}"]},
        {"header": {"X-Api-Key": CANARY_TOKEN}},
        {"headers": CANARY_TOKEN},
        {"url": f"http://kiosk:{CANARY_TOKEN}@127.0.0.1:9"},
        {"client_key_file": f"-----BEGIN EC PRIVATE KEY-----\n{CANARY_TOKEN}\n-----END-----\n"},
        {"client_key_file": CANARY_TOKEN},
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["run", "check-config"])
def test_a_configuration_that_is_wrong_is_not_quoted_with_its_token(kiosk_at, command, gateway):
    kiosk = kiosk_at("http://127.0.0.1:9", gateway=gateway)
    done = kiosk.run(command)
    assert done.returncode == 2
    assert "gateway." in done.stderr
    assert leaks_in(done.stdout + done.stderr) == []


def test_a_token_without_quotes_is_not_quoted_either(kiosk_at):
    kiosk = kiosk_at("http://127.0.0.1:9")
    number = "73219876543210987654321"
    keep_secret(number)
    for line in (f"X-Api-Key: {number}", f"X-Api-Key {CANARY_TOKEN}", f"X-Api-Key:{CANARY_TOKEN}"):
        kiosk.config.write_text(f"gateway:\n  url: http://127.0.0.1:9\n  headers:\n    {line}\n")
        done = kiosk.run("check-config")
        assert done.returncode == 2
        assert leaks_in(done.stdout + done.stderr) == [], line


# What staff may ask for, and what leaves the house


def test_only_who_asks_for_personal_data_is_given_it(boxed_kiosk):
    flag = "--with-personal-data"
    with SandboxGateway(tls="mutual") as gateway:
        kiosk = boxed_kiosk(gateway).start()
        code = a_code()
        kiosk.pay(code)
        for form in ("csv", "json"):
            plain = kiosk.run("journal", "export", "--format", form).stdout
            assert leaks_in(plain) == []
            asked = kiosk.run("journal", "export", "--format", form, flag).stdout
            assert code in asked
            assert CANARY_PHONES.search(asked)
            assert CANARY_TOKEN not in asked
            out = kiosk.about / f"export.{form}"
            kiosk.run("journal", "export", "--format", form, flag, "-o", str(out))
            assert out.stat().st_mode & 0o077 == 0


def everything_in(path):
    """The bundle as it is, and each file in it, unpacked."""
    yield path.read_bytes()
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as bundle:
            for member in bundle:
                yield member.name.encode()
                if member.isfile():
                    yield bundle.extractfile(member).read()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            for name in bundle.namelist():
                yield name.encode()
                yield bundle.read(name)


def test_a_support_bundle_tells_much_and_no_secret(boxed_kiosk):
    with SandboxGateway(tls="mutual") as gateway:
        kiosk = boxed_kiosk(gateway).start()
        kiosk.pay(a_code())
        kiosk.ready()
        gateway.set_fault("hang-up-charged", times=1)
        kiosk.pay(a_code())
        path = kiosk.about / "support.bundle"
        done = kiosk.run("doctor", "--bundle", str(path))
        assert path.exists(), done.stderr
        parts = [part.decode("utf-8", "replace") for part in everything_in(path)]
        assert len(parts) > 2
        for part in (*parts, done.stdout, done.stderr):
            assert leaks_in(part) == []
        intents = [entry["intent"] for entry in kiosk.as_json("journal", "list")]
        assert intents[1] in "".join(parts)  # it is of use
    figure(
        f"secrets: a support bundle of {len(parts) - 1} parts holds no code, phone, token or key"
    )


def test_an_outcome_beside_the_journal_is_for_its_owner_only(tmp_path):
    from kiosk.payment import journal_files

    old = os.umask(0)
    try:
        journal_files.append_spill(tmp_path / "journal.db", b"{}")
    finally:
        os.umask(old)
    assert (tmp_path / "journal.db.spill").stat().st_mode & 0o777 == 0o600


def test_on_a_terminal_press_and_enter_presses(kiosk_at, gateway):
    kiosk = kiosk_at(gateway.url)
    ours, theirs = pty.openpty()
    try:
        kiosk.start(stdin=theirs)
        os.close(theirs)
        kiosk.read(a_code())
        time.sleep(0.75)
        os.write(ours, b"nonsense\npress\n")
        assert kiosk.control.wait("concluded").outcome == "approved"
        assert kiosk.stop(signal.SIGINT) == 0
    finally:
        os.close(ours)
