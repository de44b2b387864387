"""Which of the card's two systems starts, and how another one is tried without risk.

Two letters on the FAT decide, each in one sector of a file that is the same otherwise:
`os_prefix=` in config.txt names the permanent slot, in tryboot.txt the one for the single start
that `reboot "0 tryboot"` asks the firmware for. Equal letters: there is nothing to try.

    at rest             config a  tryboot a   B may be empty, half written, anything
    B is complete       config a  tryboot b   only asked for by name; every other start is A
    B ran and is good   config b  tryboot b

Each step is one write of one sector, and none touches what the letter in config.txt names. So
wherever the power is cut, the next start is the permanent slot, and that one is whole.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from appliance import card, slot_record
from appliance.card import CardError
from appliance.slot_record import Record, Trial

Slot = Literal["A", "B"]
DISK = "6b696f73"
PARTITIONS: dict[Slot, int] = {"A": 2, "B": 3}
MOST_TRIALS = 2
"""A pulled plug during the trial is nobody's fault; twice in a row it is the system's."""

_WRITTEN = "written-by-rauc"
_LETTER = re.compile(rb"^os_prefix=([ab])/[ \t]*\r?$", re.MULTILINE)
_RUNNING = re.compile(r"(?:^|\s)rauc\.slot=([AB])(?=\s|$)")


class SlotError(Exception):
    """The slots are not in a state in which that may be done; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is; other than these in tests only.

    Attributes:
        firmware: The FAT, mounted read-only.
        kept: Root's folder on the data partition.
        run: For locks and for what is forgotten with the next start.
        proc: The kernel's own files.
        devices: Where those of the card that this system is on are named by `PARTUUID`; a second
            card, in a reader, has the same ones.
        boot_files: What the running system would have on the FAT.
    """

    firmware: Path = Path("/boot/firmware")
    kept: Path = Path("/data/appliance")
    run: Path = Path("/run/kiosk-slots")
    proc: Path = Path("/proc")
    devices: Path = Path("/dev/kiosk")
    boot_files: Path = Path("/usr/lib/kiosk/boot")

    @property
    def record(self) -> Path:
        """The file of `slot_record`."""
        return self.kept / "slots.json"

    def device(self, slot: Slot) -> Path:
        """The partition of a slot."""
        return self.devices / f"{DISK}-{PARTITIONS[slot]:02}"

    def prefix(self, slot: Slot) -> Path:
        """The folder on the FAT that the firmware starts this slot from."""
        return self.firmware / slot.lower()


HERE = Places()


@dataclass(frozen=True, slots=True)
class Standing:
    """How this start came about and what is to do.

    Attributes:
        running: The slot of this system.
        permanent: The slot that starts by itself.
        to_try: A complete system that waits for its trial, and may still have one.
        on_trial: This system is the one being tried; say `mark_good` or `give_up`.
        failed: Why the last trial came to nothing, if it did since the last start.
    """

    running: Slot
    permanent: Slot
    to_try: Slot | None
    on_trial: bool
    failed: str | None = None


def running(places: Places = HERE) -> Slot:
    """The slot that the kernel was started with.

    Raises:
        SlotError: The command line names none.
    """
    line = (places.proc / "cmdline").read_text(encoding="utf-8", errors="replace")
    found = _RUNNING.findall(line)
    if len(found) != 1:
        raise SlotError("the kernel's command line does not say which slot runs")
    return _slot(found[0])


def permanent(places: Places = HERE) -> Slot:
    """The slot that starts by itself.

    Raises:
        CardError: config.txt cannot be read or names none.
    """
    return _letter(places.firmware / "config.txt")


def next_to_start(places: Places = HERE) -> Slot:
    """The slot that a start by `tryboot` takes: RAUC's primary one."""
    return _letter(places.firmware / "tryboot.txt")


def other(slot: Slot) -> Slot:
    """The one of the two that is not this."""
    return "B" if slot == "A" else "A"


def started_by_tryboot(places: Places = HERE) -> bool | None:
    """What the firmware says of this start; None where it says nothing. Only to be shown."""
    flag = places.proc / "device-tree/chosen/bootloader/tryboot"
    try:
        return int.from_bytes(flag.read_bytes(), "big") != 0
    except OSError:
        return None


def is_good(slot: Slot, places: Places = HERE) -> bool:
    """Whether a slot is complete as far as anyone knows; the permanent one is by definition."""
    return slot == permanent(places) or slot_record.load(places.record).is_good(slot)


def standing(places: Places = HERE) -> Standing:
    """Look at the letters and the record; changes nothing but a trial that has failed.

    Raises:
        SlotError, CardError: The command line or the two files do not say.
    """
    here, stays = running(places), permanent(places)
    if here != stays:
        return Standing(here, stays, to_try=None, on_trial=True)
    candidate = next_to_start(places)
    record = slot_record.load(places.record)
    # A cut may have left a letter behind the record: what is not known to be whole is not tried.
    if candidate == stays or not record.is_good(candidate):
        why = record.refused.get(record.trial.version) if record.trial else None
        return Standing(here, stays, to_try=None, on_trial=False, failed=why)
    if record.trial and record.trial.starts >= MOST_TRIALS:
        why = f"started {record.trial.starts} times to be tried, it never came to serve"
        refuse(candidate, record.trial.version, why, places)
        return Standing(here, stays, to_try=None, on_trial=False, failed=why)
    return Standing(here, stays, to_try=candidate, on_trial=False)


def try_next(slot: Slot, version: str, places: Places = HERE) -> None:
    """A complete slot is to be tried; it is not started by this.

    Raises:
        SlotError: It is the permanent one.
        CardError: tryboot.txt was not written.
    """
    with changing(places):
        if slot == permanent(places):
            raise SlotError(f"slot {slot} is the permanent one; there is nothing to try")
        record = slot_record.load(places.record).with_state(slot, "good")
        refused = {key: why for key, why in record.refused.items() if key != version}
        digests = {key: sha for key, sha in record.digests.items() if key != slot}
        slot_record.save(
            places.record,
            replace(record, trial=Trial(slot, version), refused=refused, digests=digests),
        )
        _set_letter(places.firmware / "tryboot.txt", slot)


def try_nothing(places: Places = HERE) -> None:
    """Forget what was to be tried; the permanent slot stays what starts in any case."""
    with changing(places):
        _set_letter(places.firmware / "tryboot.txt", permanent(places))
        record = slot_record.load(places.record)
        if record.trial:
            slot_record.save(places.record, replace(record, trial=None))


def count_start(places: Places = HERE) -> None:
    """To be called right before the restart that tries the other slot."""
    record = slot_record.load(places.record)
    trial = record.trial or Trial(next_to_start(places), "unknown")
    slot_record.save(places.record, replace(record, trial=replace(trial, starts=trial.starts + 1)))


def mark_good(places: Places = HERE) -> bool:
    """The running slot becomes the permanent one.

    Returns:
        Whether that was a change.

    Raises:
        SlotError, CardError: It cannot be done; the permanent slot is the one that it was.
    """
    with changing(places):
        here = running(places)
        change = here != permanent(places)
        if change:
            # Usually it has this letter. If not, this order leaves the good slot to be tried by
            # a cut between the two, the other order one that nobody asked for.
            _set_letter(places.firmware / "tryboot.txt", here)
            _set_letter(places.firmware / "config.txt", here)
        record = slot_record.load(places.record)
        tried = record.trial is not None and record.trial.slot == here
        wanted = replace(record.with_state(here, "good"), trial=None if tried else record.trial)
        if change or tried:
            # It was the permanent one until now, and stays for whoever wants to go back.
            wanted = wanted.with_state(other(here), "good")
        if wanted != record:
            # The letter is what counts: a full data partition does not take the slot back.
            with suppress(OSError):
                slot_record.save(places.record, wanted)
    return change


def give_up(why: str, places: Places = HERE) -> None:
    """The running slot is on trial and does not serve; the next start is the permanent one.

    Raises:
        SlotError: This is the permanent slot.
    """
    here = running(places)
    if here == permanent(places):
        raise SlotError(f"slot {here} is the permanent one and cannot be given up")
    record = slot_record.load(places.record)
    refuse(here, record.trial.version if record.trial else "unknown", why, places)


def refuse(slot: Slot, version: str, why: str, places: Places = HERE) -> None:
    """This version failed in this slot: nothing is to be tried, and it does not come by itself."""
    with changing(places):
        record = slot_record.load(places.record).with_state(slot, "bad")
        trial = record.trial or Trial(slot, version)
        refused = record.refused | {version: why}
        slot_record.save(places.record, replace(record, refused=refused, trial=trial))
        _set_letter(places.firmware / "tryboot.txt", permanent(places))


def refused(places: Places = HERE) -> dict[str, str]:
    """Versions that failed here, each with its reason."""
    return slot_record.load(places.record).refused


def begin_writing(slot: Slot, places: Places = HERE) -> None:
    """This slot is about to be overwritten: it counts as bad from now on, and is not tried.

    Raises:
        SlotError: It is the running or the permanent one, or a copy into it is under way.
        CardError: tryboot.txt was not written.
    """
    with changing(places):
        if slot in {permanent(places), running(places)}:
            raise SlotError(
                f"slot {slot} is the one that this kiosk runs from or would go back to; "
                "wait until the running system has been made permanent"
            )
        _set_letter(places.firmware / "tryboot.txt", permanent(places))
        record: Record = slot_record.load(places.record).with_state(slot, "bad")
        digests = {key: sha for key, sha in record.digests.items() if key != slot}
        # Why the last trial failed is told until there is another one.
        told = record.trial and record.trial.version in record.refused
        trial = replace(record.trial, starts=0) if record.trial and told else None
        slot_record.save(places.record, replace(record, digests=digests, trial=trial))


def mark_written(places: Places = HERE) -> None:
    """RAUC writes the other slot: until the next start nobody else does, also where it fails."""
    places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    (places.run / _WRITTEN).touch()


def is_marked_written(places: Places = HERE) -> bool:
    """Whether RAUC began to write the other slot since the start of this machine."""
    return (places.run / _WRITTEN).exists()


@contextmanager
def changing(places: Places) -> Iterator[None]:
    """One change of letters and record at a time."""
    with locked(places.run / "letters.lock"):
        yield


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that ends with the process at the latest.

    Raises:
        BlockingIOError: Another has it, and `wait` is false.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        with suppress(OSError):
            os.close(lock)


def _slot(text: str) -> Slot:
    return "A" if text.upper() == "A" else "B"


def _letter(path: Path) -> Slot:
    try:
        found = _LETTER.findall(path.read_bytes())
    except OSError as error:
        raise CardError(f"{path}: {error.strerror}") from error
    if len(found) != 1:
        raise CardError(f"{path} has no line os_prefix=a/ or os_prefix=b/, or more than one")
    return _slot(found[0].decode())


def _set_letter(path: Path, slot: Slot) -> None:
    """Change the one byte that differs, so that one sector is written."""
    if _letter(path) == slot:
        return
    text = bytearray(path.read_bytes())
    found = _LETTER.search(text)
    assert found is not None
    text[found.start(1)] = ord(slot.lower())
    card.overwrite(path, bytes(text))
