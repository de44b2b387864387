"""Updates: where a bundle may come from, whether it is wanted, how it is installed and tried.

RAUC proves the signature, the board and the payload, and writes the slot that does not run;
`appliance.bootloader` has the boot files written and the trial prepared. Here is the rest:
bundles on USB sticks or at an address, only newer ones, none that failed here before, and
never while a payment runs.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance import boot_files, programs, slots, versions
from appliance.card import CardError
from appliance.programs import ProgramError
from appliance.slots import Places, SlotError

log = logging.getLogger(__name__)

STICK = Path("/run/kiosk-stick")
STICK_BUNDLES = "kiosk-*-arm64.raucb"
STICK_FILE_SYSTEMS = ("vfat", "exfat")
MOST_ON_A_STICK = 20
INSPECT_S = 60.0
INSTALL_S = 3600.0
RELEASED_WITHIN_S = 10
TRY = "0 tryboot"
"""What the kernel hands to the firmware: partition 0, the one before, and its word for once."""
_BUS = ("de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer")

Idle = Callable[[], bool]


class UpdateError(Exception):
    """Nothing was installed, or nothing is tried; the sentence is for a person."""


class BusyError(UpdateError):
    """A payment is under way; ask again later."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature holds.

    Attributes:
        source: A path or an https address.
        version: Of the system inside.
        compatible: The board and base that it is for.
    """

    source: str
    version: str
    compatible: str


@dataclass(frozen=True, slots=True)
class System:
    """The running system, as far as updates are concerned.

    Attributes:
        root: Its root file system.
        places: See there.
        config: RAUC's configuration.
        sysfs: The kernel's block devices.
    """

    root: Path = Path("/")
    places: Places = field(default_factory=Places)
    config: Path = Path("/etc/rauc/system.conf")
    sysfs: Path = Path("/sys/class/block")

    @property
    def version(self) -> str:
        """Of the running system."""
        return boot_files.version_of(self.root)

    @property
    def compatible(self) -> str:
        """What a bundle must be for."""
        for line in self.config.read_text(encoding="utf-8").splitlines():
            if line.startswith("compatible="):
                return line.partition("=")[2].strip()
        raise UpdateError(f"{self.config} names no board")


HERE = System()


def inspect(source: str) -> Bundle:
    """Ask RAUC what a bundle is; it looks at the signature, not yet at the payload.

    Raises:
        UpdateError: It cannot be read, or was not signed by whom this kiosk trusts.
    """
    call = ["busctl", "--json=short", f"--timeout={INSPECT_S:.0f}", "call", *_BUS]
    said = _run([*call, "InspectBundle", "sa{sv}", source, "0"], INSPECT_S + 10)
    try:
        # Each value of the answer is a variant, which has a type of its own.
        update: Any = json.loads(said)["data"][0]["update"]["data"]["data"]
        return Bundle(source, update["version"]["data"], update["compatible"]["data"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UpdateError(f"{source} does not name its version") from error


def why_not(bundle: Bundle, system: System = HERE) -> str | None:
    """Why a bundle is not installed without being asked for; None where it is."""
    if bundle.compatible != system.compatible:
        return f"{bundle.version} is for another kind of kiosk ({bundle.compatible})"
    if not versions.is_newer(bundle.version, system.version):
        return f"{bundle.version} is not newer than the running {system.version}"
    if why := slots.refused(system.places).get(bundle.version):
        return f"{bundle.version} failed here ({why}); kiosk-update install takes it all the same"
    return None


def check_url(url: str, system: System = HERE) -> Bundle | None:
    """Look at the bundle at an address; None where it is nothing new.

    Raises:
        UpdateError: It cannot be read, or was not signed by whom this kiosk trusts.
    """
    bundle = inspect(url)
    return bundle if why_not(bundle, system) is None else None


@contextmanager
def on_sticks(system: System = HERE) -> Iterator[tuple[Bundle | None, list[str]]]:
    """The newest wanted bundle on any USB stick; the stick is mounted while the block runs.

    Yields:
        The bundle if there is one, and why others are not taken, a sentence each: whoever plugged
        the stick in sees nothing else.
    """
    passed_over: list[str] = []
    for device in sticks(system):
        with _mounted_stick(device) as folder:
            bundle = _newest(folder, system, passed_over) if folder else None
            if bundle:
                yield bundle, passed_over
                return
    yield None, passed_over


def sticks(system: System = HERE) -> list[Path]:
    """Partitions on USB that are not those of the kiosk's own card."""
    own = {_disk(device) for device in system.places.devices.glob(f"{slots.DISK}-*")}
    found = []
    for entry in sorted(system.sysfs.glob("*")):
        real = entry.resolve()
        # A stick without a partition table is a file system itself.
        whole = not (entry / "partition").exists()
        if not any(part.startswith("usb") for part in real.parts):
            continue
        if whole and any(real.glob(f"{entry.name}*/partition")):
            continue
        if (entry.name if whole else real.parent.name) not in own:
            found.append(Path("/dev") / entry.name)
    return found


def install(source: str, idle: Idle, system: System = HERE, *, ca_file: Path | None = None) -> str:
    """Install a bundle into the slot that does not run.

    Args:
        source: A path or an https address.
        idle: Whether no payment is under way.
        system: The running one.
        ca_file: Whom to trust as the server instead of the usual authorities.

    Returns:
        A sentence; the new system is to be tried with `reboot_into_new`.

    Raises:
        BusyError: A payment is under way; nothing was begun.
        UpdateError: RAUC refused or failed; what runs and what starts next are as before.
    """
    if not idle():
        raise BusyError("a payment is under way")
    refused = system.places.run / "refused"
    refused.unlink(missing_ok=True)
    trust = [f"--tls-ca={ca_file}"] if ca_file else []
    try:
        _run(["rauc", "install", *trust, source], INSTALL_S)
    except UpdateError as error:
        with suppress(OSError):
            raise UpdateError(refused.read_text(encoding="utf-8").strip()) from error
        raise
    standing = slots.standing(system.places)
    return f"installed into slot {standing.to_try}, to be tried"


def reboot_into_new(idle: Idle, system: System = HERE) -> None:
    """Restart once into the slot that waits for its trial.

    Raises:
        BusyError: A payment is under way; nothing happened.
        UpdateError: There is nothing to try, or systemd does not restart.
    """
    if slots.standing(system.places).to_try is None:
        raise UpdateError("there is nothing to try")
    if not idle():
        raise BusyError("a payment is under way")
    slots.count_start(system.places)
    _run(["systemctl", "reboot", f"--reboot-argument={TRY}"], INSPECT_S)


def main(arguments: Sequence[str] | None = None, system: System = HERE) -> int:
    """`kiosk-update [install SOURCE | try]`: what is, or one step by hand."""
    try:
        match list(sys.argv[1:] if arguments is None else arguments):
            case []:
                said = _what_is(system)
            case ["install", source]:
                said = install(source, lambda: True, system)
            case ["try"]:
                reboot_into_new(lambda: True, system)
                said = "restarting"
            case _:
                sys.stderr.write(f"{main.__doc__}\n")
                return 2
    except (UpdateError, SlotError, CardError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


def _what_is(system: System) -> str:
    standing = slots.standing(system.places)
    lines = [
        f"version {system.version}, running from slot {standing.running}",
        f"permanent slot: {standing.permanent}"
        + (" (the running one is on trial)" if standing.on_trial else ""),
        f"waiting to be tried: {standing.to_try or 'nothing'}",
    ]
    lines += [f"failed here: {v}: {why}" for v, why in slots.refused(system.places).items()]
    return "\n".join(lines)


def _newest(folder: Path, system: System, passed_over: list[str]) -> Bundle | None:
    newest: Bundle | None = None
    for path in sorted(folder.glob(STICK_BUNDLES))[:MOST_ON_A_STICK]:
        try:
            bundle = inspect(str(path))
        except UpdateError as error:
            passed_over.append(f"{path.name}: {error}")
            continue
        if why := why_not(bundle, system):
            passed_over.append(why)
        elif newest is None or versions.is_newer(bundle.version, newest.version):
            newest = bundle
    return newest


@contextmanager
def _mounted_stick(device: Path) -> Iterator[Path | None]:
    """Mounted by systemd, so that RAUC's service sees it too; None where it is not readable."""
    options = "ro,nodev,nosuid,noexec,uid=0,gid=0,umask=0077"
    mount = ["systemd-mount", "--quiet", "--no-ask-password", "--collect", "--fsck=no"]
    for kind in STICK_FILE_SYSTEMS:
        try:
            _run([*mount, f"--type={kind}", f"--options={options}", str(device), str(STICK)], 30)
        except UpdateError:
            continue
        break
    else:
        yield None
        return
    try:
        yield STICK
    finally:
        _unmount_stick()


def _unmount_stick() -> None:
    """RAUC lets go of a bundle a moment after it said that it is done."""
    for _ in range(RELEASED_WITHIN_S):
        with suppress(UpdateError):
            _run(["systemd-umount", "--quiet", str(STICK)], 30)
            return
        time.sleep(1)
    log.warning("the stick stays mounted, read-only; the next one is not seen before a restart")


def _disk(device: Path) -> str:
    number = device.stat().st_rdev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().parent.name


def _run(command: list[str], most_s: float) -> str:
    try:
        return programs.run(command, most_s)
    except ProgramError as error:
        raise UpdateError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
