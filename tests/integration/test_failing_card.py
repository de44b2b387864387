"""A card that is full, read-only, slow or failing: noticed while nobody pays.

The card is an ext4 file system of its own on a loop device, in a mount namespace of the kiosk.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from injection import Strace, can_attach
from kiosk_process import WAIT_S, a_code
from tools import figure, need

from kiosk.payment.disk import PROBE_EVERY_S

CARD_BYTES = 16 * 1024 * 1024
OFTEN_S = 1.0
"""Instead of five seconds between two looks, and five minutes between two probes."""
PROBES_OFTEN = (
    f"import kiosk.payment.disk as disk; disk.LOOK_EVERY_S = disk.PROBE_EVERY_S = {OFTEN_S}\n"
)
NEVER_LOOKS = "disk.Disk.look = lambda self, journal, now_s, *, may_write: None\n"
SEND_WITHIN_S = float(os.environ.get("CARD_SEND_WITHIN_S", "1"))
"""Instead of five seconds; the long run takes the field's."""
SYNCS_IN_TIME = f"import kiosk.core.paying as paying; paying.SEND_WITHIN_S = {SEND_WITHIN_S}\n"
NEVER_TOO_LATE = "import kiosk.core.paying as paying; paying.SEND_WITHIN_S = 1000.0\n"
NEVER_SLOW = "import kiosk.payment.disk as disk; disk.Disk._refuse_slow = lambda self: None\n"
ON_CARD = 'mount -o loop,errors=remount-ro "$0" "$1" && shift && exec "$@"'
OUT_OF_SIGHT_S = 0.8


# A process on a full card cannot write its coverage either.
pytestmark = pytest.mark.usefixtures("unmeasured")


def can_mount_a_card():
    with contextlib.suppress(OSError):
        probe = ["unshare", "-m", "losetup", "--find"]
        return os.geteuid() == 0 and subprocess.run(probe, capture_output=True).returncode == 0
    return False


class Card:
    """A file system in a file, on which a kiosk keeps its journal."""

    def __init__(self, kiosk):
        self.kiosk = kiosk
        self.image = kiosk.folder / "card.img"
        self.folder = kiosk.folder / "disk"
        self.folder.mkdir()
        with self.image.open("wb") as file:
            file.truncate(CARD_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(self.image)], check=True)
        kiosk.command = ["unshare", "-m", "sh", "-c", ON_CARD, str(self.image), str(self.folder)]
        kiosk.rows = self.rows

    @property
    def here(self):
        """The card as the kiosk sees it."""
        return Path(f"/proc/{self.kiosk.process.pid}/root{self.folder}")

    def device(self):
        about = self.here.stat().st_dev
        return Path(f"/sys/dev/block/{os.major(about)}:{os.minor(about)}").resolve().name

    def fill(self):
        """A file of somebody else that takes every byte."""
        path = self.here / "somebody-elses-file"
        with path.open("wb", buffering=0) as file:
            for size in (65_536, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        return path

    def ask(self, query):
        """SQLite finds its way out of a foreign mount namespace, so it gets a copy."""
        copy = self.kiosk.folder / "copy"
        copy.mkdir(exist_ok=True)
        # Not the -shm: it comes and goes with whoever reads, and is made anew from the log.
        for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
            (copy / name).unlink(missing_ok=True)
        for part in self.here.glob("journal.db*"):
            if not part.name.endswith("-shm"):
                shutil.copyfile(part, copy / part.name)
        with contextlib.closing(sqlite3.connect(copy / "journal.db")) as db:
            return db.execute(query).fetchall()

    def rows(self):
        return self.ask("SELECT intent, kind, payment_id FROM row ORDER BY seq")

    def probes(self):
        return self.ask("SELECT probed FROM device")[0][0]

    def check(self):
        """What a start does with a card that had errors."""
        subprocess.run(["e2fsck", "-p", str(self.image)], capture_output=True, check=False)
        done = subprocess.run(["e2fsck", "-fn", str(self.image)], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def card(kiosk_at, gateway, plant):
    """A kiosk on a card; `planted` is code that its process runs first."""
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("losetup", "mount")):
        need(program, f"{program} is not here: sudo apt install {package}")
    need(can_mount_a_card(), "mounting a card needs root and loop devices")
    need(can_attach(), "strace is not here, or may not attach: sudo apt install strace")

    def make(planted=""):
        kiosk = kiosk_at(gateway.url, journal={"path": "disk/journal.db"})
        made = Card(kiosk)
        kiosk.start(env=plant(planted))
        kiosk.ready()
        return made

    return make


def out_of_service(state):
    return state.state == "out_of_service" and "journal_unwritable" in state.reasons


def noticed(kiosk, within_s=WAIT_S):
    """Out of service for the card, before anyone is invited; what is said of it."""
    state = kiosk.control.wait(lambda s: s.state != "ready", within_s=within_s)
    assert out_of_service(state), state
    kiosk.scanner.show(a_code())
    kiosk.press(after_s=0)
    return state.details["journal_unwritable"]


def sells_again(kiosk, gateway):
    kiosk.ready()
    time.sleep(OUT_OF_SIGHT_S)
    assert kiosk.pay(a_code()).outcome == "approved"
    assert len(gateway.ledger.requests) == 1


def test_a_card_that_fills_up_is_noticed_before_a_customer_is_invited(card, gateway):
    made = card()
    began = time.monotonic()
    file = made.fill()

    said = noticed(made.kiosk)

    after_s = time.monotonic() - began
    assert "free some space" in said
    assert gateway.ledger.requests == ()
    time.sleep(2.5)  # while it is full, it stays out of service and does not try in vain
    assert out_of_service(made.kiosk.control.state)
    file.unlink()
    sells_again(made.kiosk, gateway)
    figure(f"a card filled while idle: out of service {after_s:.1f} s later, back by itself")


def test_a_card_that_becomes_read_only_is_noticed_and_sells_after_its_check(card, gateway):
    made = card()
    trigger = Path("/sys/fs/ext4") / made.device() / "trigger_fs_error"
    need(trigger.exists(), "this kernel cannot make an ext4 fail")
    trigger.write_text("a planted error")

    said = noticed(made.kiosk)

    assert "Read-only" in said
    assert gateway.ledger.requests == ()
    made.kiosk.kill()
    made.check()
    made.kiosk.start()
    sells_again(made.kiosk, gateway)


def failing(kiosk, log, injection):
    return Strace(kiosk.process.pid, log, [injection], watched=("fdatasync",))


def test_a_card_that_fails_is_noticed_by_a_write_and_it_comes_back(card, gateway, tmp_path):
    made = card(PROBES_OFTEN)
    with failing(made.kiosk, tmp_path / "strace.log", "fdatasync:error=EIO") as strace:
        said = noticed(made.kiosk)

    assert "replace the card" in said
    assert any(call.injected for call in strace.calls())
    assert gateway.ledger.requests == ()
    sells_again(made.kiosk, gateway)


@pytest.mark.parametrize("fault", ["full", "failing"])
def test_control_a_kiosk_that_does_not_look_invites_customers_in_vain(
    card, gateway, tmp_path, fault
):
    made = card(PROBES_OFTEN + NEVER_LOOKS)
    with contextlib.ExitStack() as faults:
        if fault == "full":
            made.fill()
        else:
            log = tmp_path / "strace.log"
            faults.enter_context(failing(made.kiosk, log, "fdatasync:error=EIO"))
        with pytest.raises(AssertionError, match="it did not come"):
            noticed(made.kiosk, within_s=4 * OFTEN_S)
        assert made.kiosk.show(a_code(), "awaiting_confirm")


def pays_on_a_slow_card(made, log, share):
    """Press, row and request while each fdatasync takes this share of the time; how it ended."""
    made.kiosk.read(a_code())
    delay = round(share * SEND_WITHIN_S * 1e6)
    with failing(made.kiosk, log, f"fdatasync:delay_exit={delay}us"):
        made.kiosk.press_without_waiting()
        ended = made.kiosk.control.wait("concluded")
        return ended, made.kiosk.control.wait(lambda s: s.state in ("ready", "out_of_service"))


def test_on_a_card_that_is_slow_a_payment_takes_longer_and_no_more(card, gateway, tmp_path):
    made = card(SYNCS_IN_TIME)

    ended, state = pays_on_a_slow_card(made, tmp_path / "strace.log", 0.6)

    assert (ended.outcome, state.state) == ("approved", "ready")
    assert len(gateway.ledger.requests) == 1
    assert [kind for _, kind, _ in made.rows()] == ["sending", "approved"]


def test_on_a_card_that_is_too_slow_nothing_is_sent_and_nobody_is_invited(card, gateway, tmp_path):
    made = card(SYNCS_IN_TIME)

    ended, state = pays_on_a_slow_card(made, tmp_path / "strace.log", 1.2)

    assert ended.outcome == "not_sent"
    assert out_of_service(state)
    assert re.search(r"took \d+ s for a row", state.details["journal_unwritable"])
    assert gateway.ledger.requests == ()
    assert [kind for _, kind, _ in made.rows()] == ["sending", "not_sent"]
    sells_again(made.kiosk, gateway)
    fast_s, slow_s = 0.6 * SEND_WITHIN_S, 1.2 * SEND_WITHIN_S
    figure(
        f"a slow card, request to leave within {SEND_WITHIN_S:g} s: syncs of {fast_s:g} s approved"
        f" once; of {slow_s:g} s not sent, then out of service"
    )


def test_control_a_kiosk_that_never_finds_it_too_late_is_noticed(card, gateway, tmp_path):
    made = card(NEVER_TOO_LATE + NEVER_SLOW)

    ended, state = pays_on_a_slow_card(made, tmp_path / "strace.log", 1.2)

    assert (ended.outcome, state.state) == ("approved", "ready")
    assert len(gateway.ledger.requests) == 1


def test_the_probes_of_a_day_wear_the_card_little(card):
    """Written by the device itself, file system included."""
    made = card(PROBES_OFTEN)
    stat = Path("/sys/block") / made.device() / "stat"

    def written_bytes():
        os.sync()
        return int(stat.read_text().split()[6]) * 512

    before_bytes, before = written_bytes(), made.probes()
    for _ in range(round(6 * OFTEN_S / 0.25)):
        time.sleep(0.25)
        os.sync()  # as the file system does in the minutes between two
    a_probe = (written_bytes() - before_bytes) / (made.probes() - before)
    a_day = a_probe * 24 * 3600 / PROBE_EVERY_S
    assert a_day < 16 * 1024 * 1024
    figure(f"an idle kiosk's probes: {a_probe / 1024:.0f} KB each, {a_day / 2**20:.1f} MB a day")


@pytest.mark.parametrize("exchanged", [False, True])
def test_a_journal_that_leaves_its_place_is_noticed_while_nobody_pays(kiosk, gateway, exchanged):
    """SQLite would go on writing into a file that nobody finds again."""
    kiosk.ready()
    away = kiosk.journal_path.with_name("away.db")
    kiosk.journal_path.rename(away)
    if exchanged:
        shutil.copyfile(away, kiosk.journal_path)

    state = kiosk.control.wait(lambda s: s.state != "ready")

    assert state.reasons == ["journal_replaced"]
    kiosk.scanner.show(a_code())
    assert kiosk.stop() == 0
    assert gateway.ledger.requests == ()
