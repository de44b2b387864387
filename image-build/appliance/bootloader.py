"""RAUC's bootloader: it asks here which slot is which, and tells here what it wants.

    get-primary | set-primary SLOT | get-state SLOT | set-state SLOT good|bad | get-current

For RAUC an installed slot becomes the primary one. Here that means: it is complete, its boot
files stand on the FAT, and it is to be tried once. `good` for the running slot makes it the
permanent one. What is refused, RAUC's installation fails with; the reason is on stderr, and in
a file for whoever asked for the installation.
"""

import sys
from contextlib import suppress

from appliance import boot_files, slots
from appliance.card import CardError
from appliance.slots import Places, Slot, SlotError

USAGE = "get-primary, set-primary SLOT, get-state SLOT, set-state SLOT good|bad, get-current"


def main(arguments: list[str] | None = None, places: Places = slots.HERE) -> int:
    """One question or wish of RAUC; 0 done, 1 refused or failed, 2 not understood."""
    why = places.run / "refused"
    try:
        answer = _answer(sys.argv[1:] if arguments is None else arguments, places)
    except (SlotError, CardError, OSError) as error:
        with suppress(OSError):
            why.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            why.write_text(f"{error}\n", encoding="utf-8")
        sys.stderr.write(f"kiosk: {error}\n")
        return 1
    if answer is None:
        sys.stderr.write(f"{USAGE}\n")
        return 2
    if answer:
        sys.stdout.write(f"{answer}\n")
    return 0


def _answer(arguments: list[str], places: Places) -> str | None:
    match arguments:
        case ["get-primary"]:
            return slots.next_to_start(places)
        case ["get-current"]:
            return slots.running(places)
        case ["get-state", ("A" | "B") as slot]:
            return "good" if slots.is_good(slot, places) else "bad"
        case ["set-primary", ("A" | "B") as slot]:
            return _set_primary(slot, places)
        case ["set-state", ("A" | "B") as slot, "bad"]:
            return _set_bad(slot, places)
        case ["set-state", ("A" | "B") as slot, "good"]:
            return _set_good(slot, places)
        case _:
            return None


def _set_primary(slot: Slot, places: Places) -> str:
    if slot == slots.permanent(places):
        slots.try_nothing(places)
        return ""
    with boot_files.mounted(places.device(slot), places.run / "root") as root:
        version = boot_files.version_of(root)
        boot_files.deploy(root / boot_files.FOLDER, slot, places)
    slots.try_next(slot, version, places)
    return ""


def _set_bad(slot: Slot, places: Places) -> str:
    try:
        with slots.locked(places.run / "fill.lock", wait=False):
            slots.begin_writing(slot, places)
            # From now on RAUC writes, and holds no lock.
            slots.mark_written(places)
    except BlockingIOError:
        raise SlotError(
            f"slot {slot} is being filled from the running one; try again in some minutes"
        ) from None
    return ""


def _set_good(slot: Slot, places: Places) -> str:
    if slot == slots.running(places):
        slots.mark_good(places)
    elif not slots.is_good(slot, places):
        raise SlotError(f"slot {slot} does not run; only a system that runs can be called good")
    return ""


if __name__ == "__main__":
    sys.exit(main())
