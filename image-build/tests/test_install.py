"""`install.sh` for real: on a fresh Debian tree, with the real archives, users, units and venv.

Needs root, mmdebstrap and the archives of Debian and PyPI. What is pretended: the two programs that
say "arm64" and "Raspberry Pi 4", and in the tests of a running kiosk `systemctl`, which notes what
it is asked for. `KIOSK_INSTALL_ARCH=arm64` takes a tree of that architecture (slow: emulated).
"""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tools import figure, need

REPOSITORY = Path(__file__).resolve().parents[2]
CODENAMES = ("trixie", "bookworm")
ARCH = os.environ.get("KIOSK_INSTALL_ARCH", "amd64")
STUBS = {
    "dpkg": """#!/bin/sh
[ "$1" = --print-architecture ] && { echo arm64; exit; }
exec /usr/bin/dpkg "$@"
""",
    "sed": """#!/bin/sh
for last; do :; done
[ "$last" = /proc/device-tree/model ] && { printf 'Raspberry Pi 4 Model B Rev 1.5'; exit; }
exec /usr/bin/sed "$@"
""",
}
SYSTEMCTL = """#!/bin/sh
# A service manager that only notes: /root/active and /root/enabled stand for the kiosk's state.
case "$*" in
  "is-active --quiet kiosk") [ -e /root/active ]; exit ;;
  "is-enabled kiosk") [ -e /root/enabled ] && echo enabled; exit ;;
esac
echo "$*" >>/root/asked
case "$*" in
  "start kiosk" | "restart kiosk") touch /root/active ;;
  "stop kiosk") rm -f /root/active ;;
  "enable --quiet kiosk") touch /root/enabled ;;
  "disable --quiet kiosk") rm -f /root/enabled ;;
esac
"""
ENTER = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
exec chroot "$0" "$@"
"""


class Tree:
    """A root file system on which the script runs."""

    def __init__(self, root):
        self.root = root

    def path(self, name):
        return self.root / name.lstrip("/")

    def command(self, words, *, network=True):
        namespaces = ["--mount", "--pid", "--fork", "--kill-child"] + ([] if network else ["--net"])
        return ["unshare", *namespaces, "sh", "-ec", ENTER, str(self.root), *words]

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        return {**kept, "PATH": "/root/stubs:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}

    def run(self, *words, network=True):
        """Exit code and all that was printed."""
        done = subprocess.run(
            self.command(words, network=network),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def install(self, *words, network=True):
        return self.run("/root/src/image-build/install.sh", *words, network=network)

    def cut_when(self, appears):
        """Run the script and kill it and all its children as soon as a file is there."""
        running = subprocess.Popen(
            self.command(["/root/src/image-build/install.sh"]),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while running.poll() is None and not appears():
            time.sleep(0.02)
        assert running.poll() is None, "it ended before it could be cut"
        running.send_signal(signal.SIGKILL)
        running.wait()

    def change_the_program(self, text):
        with self.path("/root/src/kiosk/__init__.py").open("a", encoding="utf-8") as file:
            file.write(f"# {text}\n")

    def state(self):
        """Hash, owner and mode of all that an installation is made of."""
        found = {}
        for folder in ("/opt/kiosk", "/etc", "/usr/local", "/var/lib/kiosk"):
            for path in sorted(self.path(folder).rglob("*")):
                info = path.lstat()
                kept = path.is_file() and not path.is_symlink()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if kept else ""
                name = str(path.relative_to(self.root))
                found[name] = (content, info.st_uid, info.st_mode, info.st_mtime_ns)
        return found


@pytest.fixture(scope="module", params=CODENAMES)
def bare(request, tmp_path_factory):
    """A stock system with the repository in /root/src; nothing of the kiosk on it."""
    need(os.geteuid() == 0, "only root can make a tree with users and mounts in it")
    need("mmdebstrap", "mmdebstrap is missing: apt install mmdebstrap")
    root = tmp_path_factory.mktemp(request.param) / "root"
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={ARCH}"),
            "--include=ca-certificates,systemd,systemd-sysv,udev,python3",
            *(request.param, str(root)),
        ],
        check=True,
    )
    tree = Tree(root)
    source = tree.path("/root/src")
    source.mkdir()
    for part in ("kiosk", "hardware", "config", "image-build", ".lock"):
        shutil.copytree(
            REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__", "venv")
        )
    for part in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / part, source / part)
    stubs = tree.path("/root/stubs")
    stubs.mkdir()
    for name, text in STUBS.items():
        (stubs / name).write_text(text, encoding="utf-8")
        (stubs / name).chmod(0o755)
    # This machine's own way to the archives.
    for file in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
        if Path(file).exists():
            shutil.copy(file, tree.path(file))
    return tree


@pytest.fixture(scope="module")
def refusals(bare):
    """What it said without a network, before anything was there."""
    before = bare.state()
    code, told = bare.install(network=False)
    return code, told, before, bare.state()


@pytest.fixture(scope="module")
def installed(bare, refusals):
    """Cut twice in the middle, then installed; a configuration and a journal were there before."""
    assert refusals[0] == 1
    bare.path("/etc/kiosk").mkdir()
    config = (REPOSITORY / "config/kiosk.yaml").read_text(encoding="utf-8")
    bare.path("/etc/kiosk/kiosk.yaml").write_text(
        config.replace("amount_sum: 15000", "amount_sum: 1000"), encoding="utf-8"
    )
    # As a clone under a strict umask, and its owner's: neither may stay.
    bare.path("/root/src/kiosk/cli.py").chmod(0o600)
    bare.cut_when(lambda: bare.path("/usr/bin/swig").exists())
    bare.cut_when(lambda: bare.path("/opt/kiosk/.venv/bin/python").is_symlink())
    started = time.monotonic()
    code, told = bare.install()
    assert code == 0, told
    took_s = time.monotonic() - started
    figure(f"install.sh on {bare.root.parent.name}: done {took_s:.0f} s after two cuts, {ARCH}")
    return bare


def test_without_a_network_it_says_so_and_leaves_nothing_behind(refusals):
    code, told, before, after = refusals

    assert code == 1
    assert told.rstrip().splitlines()[-1].startswith("The package archive cannot be reached.")
    assert after == before


def test_after_two_cuts_in_the_middle_all_of_it_is_there(installed):
    code, told = installed.run(
        "/opt/kiosk/.venv/bin/python",
        "-c",
        "import os; os.environ['LG_WD'] = '/tmp'\n"
        "import lgpio, cv2, zxingcpp, pyzbar.pyzbar, kiosk.cli; print(lgpio.gpiochip_open)",
    )

    assert code == 0, told
    assert installed.path("/usr/local/bin/kiosk").readlink() == Path("/opt/kiosk/.venv/bin/kiosk")
    assert list(installed.path("/opt/kiosk/kiosk/__pycache__").glob("cli.*.pyc"))
    assert not list(installed.path("/opt/kiosk").glob("*.new"))


def test_each_process_has_its_user_and_nobody_but_root_writes_the_program(installed):
    _, kiosk = installed.run("id", "kiosk")
    _, scanner = installed.run("id", "kiosk-scanner")

    assert all(group in kiosk for group in ("(gpio)", "(kiosk-scanner)", "(video)"))
    assert "(video)" in scanner
    assert "(gpio)" not in scanner
    for path in installed.path("/opt/kiosk").rglob("*"):
        info = path.lstat()
        assert info.st_uid == 0, path
        assert path.is_symlink() or info.st_mode & 0o022 == 0, path
        assert path.is_symlink() or info.st_mode & 0o004, path


def test_the_units_stand_and_the_real_systemd_has_nothing_against_them(installed):
    code, told = installed.run(
        "systemd-analyze", "verify", "kiosk.service", "kiosk-scanner.service"
    )

    assert (code, told) == (0, "")
    assert not installed.path("/etc/systemd/system/multi-user.target.wants/kiosk.service").exists()


def test_what_was_configured_stays_and_what_was_not_gets_its_file(installed):
    text = installed.path("/etc/kiosk/kiosk.yaml").read_text(encoding="utf-8")
    board = installed.path("/etc/kiosk/board.yaml")

    assert "amount_sum: 1000\n" in text
    assert board.read_bytes() == (REPOSITORY / "config/boards/pi-usb-camera.yaml").read_bytes()
    assert board.stat().st_mode & 0o777 == 0o644


def test_a_second_run_changes_nothing_and_needs_no_network(installed):
    journal = installed.path("/var/lib/kiosk/journal.db")
    journal.write_bytes(b"rows")
    os.chown(journal, *(journal.parent.stat().st_uid, journal.parent.stat().st_gid))
    before = installed.state()

    code, told = installed.install(network=False)

    assert code == 0, told
    assert installed.state() == before
    assert "System packages: all there" in told
    assert "Program in /opt/kiosk: unchanged" in told
    assert "Payment  1 000 so'm  ->  POST http://192.168.1.50:8080" in told


def test_the_journals_folder_is_its_users_alone(installed):
    info = installed.path("/var/lib/kiosk").stat()
    _, number = installed.run("id", "-u", "kiosk")

    assert (info.st_mode & 0o777, info.st_uid) == (0o700, int(number))


def test_a_configuration_with_a_mistake_is_named_with_its_line(installed):
    path = installed.path("/etc/kiosk/kiosk.yaml")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("amount_sum: 1000", "amount_sum: -1"), encoding="utf-8")

    code, told = installed.install(network=False)

    path.write_text(text, encoding="utf-8")
    assert code == 1
    assert "kiosk.yaml:42" in told
    assert told.rstrip().splitlines()[-1].startswith("The program is installed, the configuration")


def test_a_ribbon_cables_camera_is_refused_where_its_library_is_not_to_be_had(installed):
    board = installed.path("/etc/kiosk/board.yaml")
    text = board.read_bytes()
    board.unlink()

    code, told = installed.install("--board", "pi-camera-module")

    board.write_bytes(text)
    assert code == 1
    assert "needs python3-picamera2, which only Raspberry Pi OS has" in told
    assert not installed.path("/etc/systemd/system/kiosk-scanner.service.d").exists()


def test_another_board_than_the_one_in_force_is_not_written_over_it(installed):
    code, told = installed.install("--board", "pi5-usb-camera", network=False)

    assert code == 0, told
    assert "/etc/kiosk/board.yaml is another one, or was changed: it is kept." in told


@pytest.fixture
def selling(installed):
    """A kiosk that runs and starts with the machine, as far as `systemctl` tells."""
    installed.path("/root/stubs/systemctl").write_text(SYSTEMCTL, encoding="utf-8")
    installed.path("/root/stubs/systemctl").chmod(0o755)
    installed.path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    installed.path("/root/active").touch()
    installed.path("/root/enabled").touch()
    installed.path("/root/asked").write_text("", encoding="utf-8")
    yield installed
    installed.path("/root/stubs/systemctl").unlink()
    installed.path("/run/systemd/system").rmdir()


def asked(tree):
    return tree.path("/root/asked").read_text(encoding="utf-8").splitlines()


def test_a_kiosk_that_sells_is_not_touched_when_nothing_is_new(selling):
    code, told = selling.install(network=False)

    assert code == 0, told
    assert asked(selling) == []
    assert "Nothing was to be done; the kiosk runs on" in told


def test_a_new_program_goes_in_while_the_kiosk_stands_still(selling):
    selling.change_the_program("new")

    code, told = selling.install()

    assert code == 0, told
    assert asked(selling) == [
        "disable --quiet kiosk",
        "stop kiosk",
        "enable --quiet kiosk",
        "start kiosk",
    ]
    assert selling.path("/opt/kiosk/kiosk/__init__.py").read_text().endswith("# new\n")


def test_cut_in_an_update_the_kiosk_stays_out_until_the_next_run_brings_it_back(selling):
    selling.change_the_program("newer")
    # As a power cut: what was in the middle is gone, and the kiosk does not start with the machine.
    selling.cut_when(lambda: asked(selling)[-1:] == ["stop kiosk"])
    assert not selling.path("/root/enabled").exists()
    assert not selling.path("/root/active").exists()

    code, told = selling.install()

    assert code == 0, told
    assert selling.path("/root/enabled").exists()
    assert asked(selling)[-1] == "start kiosk"
    assert selling.path("/opt/kiosk/kiosk/__init__.py").read_text().endswith("# newer\n")


def test_an_update_without_a_network_says_that_the_kiosk_stands_still(selling):
    lock = selling.path("/root/src/.lock/run.txt")
    kept = lock.read_text(encoding="utf-8")
    lock.write_text(kept + "colorama==0.4.6 --hash=sha256:" + 64 * "0" + "\n", encoding="utf-8")

    code, told = selling.install(network=False)

    lock.write_text(kept, encoding="utf-8")
    assert code == 1
    assert told.rstrip().splitlines()[-1] == (
        "The kiosk was stopped for this and does not sell. Run this again."
    )
    again, told = selling.install()
    assert again == 0, told
    assert selling.path("/root/active").exists()
