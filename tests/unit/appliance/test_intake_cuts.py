"""Whatever is cut while a kiosk.yaml is taken, the next start ends where an undisturbed one would.

Killed before each thing that Python asks of the file system and at each fsync, with the card's
files overwritten in part; and, on a real ext4 that remembers its writes and flushes, in every
state that a power cut may leave.
"""

import os
import random
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import trustme
from blocks import MARK, Disk, Replay, mounted, own_mounts, sample, states_of
from cards import Card
from tools import figure, need

from kiosk.errors import SettingsError

STATES = int(os.environ.get("INTAKE_STATES", "80"))
OLD_SECRETS = ("old password of the net", "old-token-0123456789")
NEW_PASSWORD = "a newer, longer password"
TOKEN = OLD_SECRETS[1]


def text(amount, password, token):
    return (
        f"gateway:\n  url: https://box.example\n  headers: {{X-Api-Key: {token}}}\n"
        "  client_cert_file: client.pem\n  client_key_file: client-key.pem\n"
        f"offer:\n  amount_sum: {amount}\n"
        f"device:\n  wifi_ssid: Shop\n  wifi_password: {password}\n"
    ).encode()


def pair():
    found = trustme.CA().issue_cert("kiosk@shop.example")
    return {
        "client.pem": found.cert_chain_pems[0].bytes(),
        "client-key.pem": found.private_key_pem.bytes(),
    }


FIRST = {"kiosk.yaml": text(1500, *OLD_SECRETS), **pair()}
# The technician leaves one secret, writes another, and brings a new key.
SECOND = {"kiosk.yaml": text(2500, NEW_PASSWORD, "x" * len(TOKEN)), **pair()}


def left(files):
    """What a start leaves on the card of what a technician put there."""
    content = files["kiosk.yaml"]
    for secret in (*OLD_SECRETS, NEW_PASSWORD):
        content = content.replace(secret.encode(), b"x" * len(secret))
    key = b"x" * len(files["client-key.pem"])
    return {**files, "kiosk.yaml": content, "client-key.pem": key}


def put(card, files):
    for name, data in files.items():
        card.put(data, name)


def faults(card, amount):
    """What is wrong after a whole start, in words; `amount` is of what must be in force."""
    result = card.start()
    files = FIRST if amount == 1500 else SECOND
    password = OLD_SECRETS[0] if amount == 1500 else NEW_PASSWORD
    found = [] if result.ok else [f"not ok: {result.findings}"]
    if not result.in_force:
        return [*found, "nothing in force"]
    settings = card.in_force
    if settings.offer.amount_sum != amount:
        found.append(f"{settings.offer.amount_sum} in force")
    if settings.gateway.headers != {"X-Api-Key": TOKEN}:
        found.append("the token is lost")
    etc = card.places.config
    if (etc / "keys/client-key.pem").read_bytes() != files["client-key.pem"]:
        found.append("the key is lost")
    if password not in (etc / "current/taken/secrets.json").read_text():
        found.append("the password is lost")
    if {path.name: path.read_bytes() for path in card.fat.iterdir()} != left(files):
        found.append("the card has something else")
    if len(list((etc / "sets").iterdir())) != 1:
        found.append("another set was left")
    return found


class Clock:
    """Ends this process before the n-th thing that it does."""

    def __init__(self):
        self.left = None
        sys.addaudithook(self._hear)

    def _hear(self, event, args):
        if self.left is not None and (event == "open" or event.startswith(("os.", "shutil."))):
            self.tick()

    def tick(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os._exit(9)


CLOCK = Clock()


def overwrite_slowly(path, data):
    """A piece at a time, and a cut may come between any two."""
    step = max(1, len(data) // 3)
    with path.open("r+b") as file:
        for at in range(0, len(data), step):
            CLOCK.tick()
            file.seek(at)
            file.write(data[at : at + step])
            file.flush()
    CLOCK.tick()


def was_cut(card, after):
    """A start that is killed after so many steps; False where it ended before."""
    child = os.fork()
    if child == 0:
        real = os.fsync

        def fsync(fd):
            CLOCK.tick()
            real(fd)
            CLOCK.tick()

        os.fsync = fsync
        CLOCK.left = after
        card.start(overwrite=overwrite_slowly)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize(
    ("before", "files", "amount"), [(None, FIRST, 1500), (FIRST, SECOND, 2500)]
)
def test_killed_at_any_step_it_is_done_by_the_next_start(tmp_path, before, files, amount):
    made = tmp_path / "made"
    made.mkdir()
    card = Card(made)
    if before is not None:
        put(card, before)
        assert card.start().ok
    put(card, files)
    steps = 0
    while True:
        again = tmp_path / f"{steps}"
        shutil.copytree(made, again, symlinks=True)
        card = Card(again)
        if not was_cut(card, steps):
            break
        try:
            amount_now = card.in_force.offer.amount_sum
        except SettingsError:
            amount_now = None
        assert amount_now in (amount, None if before is None else 1500)

        assert faults(card, amount) == [], steps

        shutil.rmtree(again)
        steps += 1
    assert steps > 80
    figure(f"intake: killed at each of {steps} steps, every secret kept ({amount})")


@pytest.fixture
def folder():
    need(os.geteuid() == 0, "needs root, for mounts and loop devices")
    need(Path("/dev/fuse").exists(), "needs /dev/fuse")
    need(Path("/dev/loop-control").exists(), "needs loop devices")
    need("mkfs.ext4", "needs e2fsprogs")
    need("fusermount3", "needs fuse3")
    need(find_spec("mfusepy") is not None, "needs mfusepy")
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="kiosk-intake-", dir=memory if memory.is_dir() else None))
    with own_mounts():
        yield made
    shutil.rmtree(made)


def on_disk(folder, root):
    """A card whose data partition is this file system."""
    folder.mkdir(exist_ok=True)
    (folder / "data").symlink_to(root)
    return Card(folder)


def recorded(folder):
    """Two configurations taken on a disk that remembers, with what happened to the card between."""
    disk = Disk(folder)

    def tell(what):
        disk.marks.write_bytes(f'{{"{what[0]}": "{what[1]}"}}'.encode())

    def overwrite(path, data):
        tell(("about", path.name))
        path.write_bytes(data)
        tell(("done", path.name))

    with disk.recording():
        card = on_disk(folder / "kiosk", disk.root)
        for number, files in enumerate((FIRST, SECOND)):
            put(card, files)
            tell(("edited", number))
            assert card.start(overwrite=overwrite).ok
    return disk, disk.entries()


def card_at(marks, chance):
    """What the card holds after these marks, and the amount that must come of it."""
    files, amount = dict(FIRST), 1500
    for mark in marks:
        match next(iter(mark.items())):
            case ("edited", number):
                files = dict(SECOND if number == "1" else FIRST)
                amount = 2500 if number == "1" else 1500
            case ("done", name):
                files[name] = left(files)[name]
            case ("about", name) if mark is marks[-1]:
                # Its sectors are old or new; a small file has one.
                pairs = zip(files[name], left(files)[name], strict=True)
                files[name] = bytes(chance.choice(two) for two in pairs)
    return files, amount


def first_fault(folder, disk, entries, states, chance):
    replay = Replay(disk.base, entries)
    for number, state in enumerate(states):
        if not any("edited" in mark for mark in state.marks):
            continue
        image, here = folder / f"cut-{number}.img", folder / f"at-{number}"
        replay.build(state, image)
        files, amount = card_at(state.marks, chance)
        with mounted(image, folder / "cut") as root:
            card = on_disk(here, root)
            put(card, files)
            found = faults(card, amount)
        image.unlink()
        shutil.rmtree(here)
        if found:
            return f"{state.what} {state.marks}: {found}"
    return None


def test_no_power_cut_loses_a_secret(folder):
    chance = random.Random(5)
    disk, entries = recorded(folder)
    marks = [next(iter(data)) for kind, _, data in entries if kind == MARK]
    assert marks.count("done") == 4
    states = sample(states_of(entries, chance), chance, STATES)

    assert first_fault(folder, disk, entries, states, chance) is None

    figure(f"intake: {len(states)} states of an ext4 after a power cut, every secret kept")


def test_without_fsync_the_same_run_finds_a_lost_secret(folder, monkeypatch):
    chance = random.Random(5)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda fd: None)
        disk, entries = recorded(folder)
    states = sample(states_of(entries, chance), chance, STATES)

    assert "is lost" in first_fault(folder, disk, entries, states, chance)
