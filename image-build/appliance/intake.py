"""Run once at each start, before the network: what is on the card comes in force, and is rendered.

It always ends with a result for the other programs of the card, whatever is on it: a file that is
wrong is answered with sentences, and what was in force stays so.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from appliance import again, firewall, network
from appliance.secrets import PASSWORD_KEY
from appliance.split import tree_of
from appliance.store import BOARD, KEYS, KIOSK, Store
from appliance.taking import Overwrite, Taking, take
from kiosk.check_config import sold
from kiosk.errors import SettingsError
from kiosk.settings import PanelSettings, Settings
from kiosk.settings_device import DeviceSettings
from kiosk.settings_file import load_settings
from kiosk.settings_warnings import warnings_about

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = "kiosk-intake"
RESULT, RULES, AUTHORIZED, WELL = (
    f"{OWN}/{n}" for n in ("result.json", "nftables.nft", "authorized_keys", "well")
)
"""The last is there where there is no trouble: then no signal is started."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are; other folders in tests.

    Attributes:
        config: Where the kiosk sees what is in force.
        host_name: What the kernel is told its name in.
    """

    card: Path = Path("/boot/firmware")
    data: Path = Path("/data")
    run: Path = Path("/run")
    config: Path = Path("/etc/kiosk")
    host_name: Path = Path(network.HOST_NAME)
    version: Path = Path("/usr/lib/kiosk/version.json")


@dataclass(slots=True)
class Result:
    """What `/run/kiosk-intake/result.json` says.

    Attributes:
        ok: What is on the card is in force.
        taken: It came in force at this start.
        in_force: There is a configuration that the kiosk can start with.
        is_journal_lost: The kiosk does not start all the same.
        trouble: Which rhythm the lamp shows; None for none.
        findings: What is wrong, one sentence each, without secrets.
        warnings: What deserves a second look.
        sells: What is sold by what is in force, a line for each price with its request.
        secrets_taken: How many secrets were overwritten on the card at this start.
        sha256: Of kiosk.yaml as it is on the card now; "" where there is none.
        panel: The `panel` section as far as it is known, for the rhythm.
        at: When, by the clock as it was; ISO 8601.
    """

    ok: bool = False
    taken: bool = False
    in_force: bool = False
    is_journal_lost: bool = False
    trouble: Literal["config", "data"] | None = None
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sells: list[str] = field(default_factory=list)
    secrets_taken: int = 0
    sha256: str = ""
    panel: dict[str, Any] = field(default_factory=dict)
    at: str = ""


def run(
    places: Places,
    *,
    overwrite: Overwrite,
    group: int | None,
    is_mounted: Callable[[Path], bool] = Path.is_mount,
) -> Result:
    """Take what is on the card and render what is in force.

    Args:
        places: Where things are.
        overwrite: Gives a file on the card other content of the same size.
        group: That of the payment process; None changes no group.
        is_mounted: Whether a folder is a mounted file system.
    """
    result = Result()
    rendering = again.Rendering()
    store = Store(places.data / "etc", group=group)
    settings: Settings | None = None
    # Never the memory below a mount point that is missing: it would forget spent codes.
    if not is_mounted(places.data):
        result.trouble = "data"
        result.findings = ["the data partition is missing or damaged; it has the journal: keep it"]
    else:
        _report(result, _take(places, store, overwrite))
        settings = _in_force(store, result)
        if _is_journal_lost(places.data):
            result.trouble, result.is_journal_lost = "data", True
            result.findings.append("the journal is gone from the data partition; see Data")
    result.in_force = settings is not None
    result.ok = result.in_force and not result.findings
    if not result.ok and result.trouble is None:
        result.trouble = "config"
    try:
        _render(places, store, settings, result, rendering)
    except Exception as error:  # noqa: BLE001 - the kiosk may still sell, and staff must be told
        result.warnings.append(f"the network was not set up: {type(error).__name__}: {error}")
    panel = settings.panel if settings is not None else _panel_in(places.card / KIOSK)
    result.panel = msgspec.to_builtins(panel)
    with contextlib.suppress(OSError):
        result.sha256 = hashlib.sha256((places.card / KIOSK).read_bytes()).hexdigest()
    result.at = datetime.now(UTC).isoformat(timespec="seconds")
    _write(places.run / RESULT, _told(result), 0o644)
    well = places.run / WELL
    if result.trouble is None:
        _write(well, "", 0o644)
    else:
        well.unlink(missing_ok=True)
    if settings is not None and result.ok and result.warnings == list(warnings_about(settings)):
        # Nothing is left to do, and nothing might go better the next time.
        _keep(places, store, rendering, result)
    return result


def _told(result: Result) -> str:
    return json.dumps(asdict(result), ensure_ascii=False) + "\n"


def _keep(places: Places, store: Store, rendering: again.Rendering, result: Result) -> None:
    """Let the next start be short, if nothing changes until then; see `again`."""
    with contextlib.suppress(OSError, ValueError):
        kept, folder = store.kept(), store.folder
        if kept is None or folder is None or (places.card / KIOSK).read_bytes() != kept.left:
            return
        rendering.looked_at(str(places.version))
        for name in (KIOSK, *kept.files):
            rendering.looked_at(str(places.card / name))
        for name in (KIOSK, BOARD, *(f"{KEYS}/{name}" for name in kept.files)):
            rendering.looked_at(str(folder / name))
        told = _told(replace(result, taken=False, secrets_taken=0, at=""))
        rendering.told(str(places.run / RESULT), told.encode(), 0o644)
        rendering.wrote(str(places.run / WELL), b"", 0o644)
        rendering.keep(str(places.data))


def _take(places: Places, store: Store, overwrite: Overwrite) -> Taking:
    try:
        return take(places.card, store, places.config, overwrite)
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not end a kiosk that sells
        # Its class alone: what it says may quote the file.
        return Taking(findings=[f"kiosk.yaml could not be taken: {type(error).__name__}"])


def _report(result: Result, taking: Taking) -> None:
    result.findings, result.warnings = taking.findings, taking.warnings
    result.taken, result.secrets_taken = taking.is_new, taking.secrets_taken
    if taking.is_data_broken:
        result.trouble = "data"


def _in_force(store: Store, result: Result) -> Settings | None:
    folder = store.folder
    if folder is None:
        return None
    try:
        settings = load_settings([folder / KIOSK, folder / BOARD]).settings
    except SettingsError as error:
        # An update that knows fewer keys than the version before it.
        result.findings += [f"in force: {line}" for line in error.findings]
        return None
    result.warnings += warnings_about(settings)
    result.sells = sold(settings)
    return settings


def _is_journal_lost(data: Path) -> bool:
    """Whether a repair of the file system left the kiosk's folder to be made anew, by root."""
    try:
        return (data / "kiosk").stat().st_uid == 0
    except FileNotFoundError:
        return True


def _render(
    places: Places,
    store: Store,
    settings: Settings | None,
    result: Result,
    rendering: again.Rendering,
) -> None:
    """Write what the rest of the machine is to be, without what an earlier run left."""
    device = settings.device if settings is not None else DeviceSettings()
    files = {RULES: (firewall.rules_for(settings), 0o600)}
    if device.wifi_password is not None:
        device = _with_password(store, device, result)
    for name, text in network.files_for(device).items():
        files[name] = (text, 0o600 if name == network.SUPPLICANT else 0o644)
    try:
        network.set_host_name(device.host_name, places.host_name)
    except OSError as error:
        result.warnings.append(f"device.host_name: {error.strerror or error}")
    rendering.named(str(places.host_name), f"{device.host_name}\n".encode())
    if device.ssh_keys:
        from appliance import access

        try:
            access.make_host_key(places.data / "ssh")
        except Exception as error:  # noqa: BLE001 - without a way in the kiosk still sells
            result.warnings.append(f"device.ssh_keys: no host key: {error}")
        else:
            files[AUTHORIZED] = (access.authorized(device.ssh_keys), 0o644)
        rendering.needs(str(places.data / "ssh" / access.HOST_KEY))
    gone = [places.run / name for name in (*network.FILES, RULES, AUTHORIZED) if name not in files]
    for path in gone:
        path.unlink(missing_ok=True)
    rendering.left_out(map(str, gone))
    for name, (text, mode) in files.items():
        _write(places.run / name, text, mode)
        rendering.wrote(str(places.run / name), text.encode(), mode)


def _with_password(store: Store, device: DeviceSettings, result: Result) -> DeviceSettings:
    """The section with the real password, which the payment process cannot read."""
    try:
        kept = store.kept()
        assert kept is not None
        password = kept.secrets[PASSWORD_KEY]
    except (OSError, ValueError, KeyError) as error:
        result.warnings.append(f"{PASSWORD_KEY} cannot be read; write it in again: {error}")
        return msgspec.structs.replace(device, wifi_ssid=None, wifi_password=None)
    return msgspec.structs.replace(device, wifi_password=password)


def _panel_in(path: Path) -> PanelSettings:
    """The pins of a file that is not in force, where that part of it is right."""
    try:
        return msgspec.convert(tree_of(path).get("panel", {}), PanelSettings)
    except (msgspec.ValidationError, OSError, ValueError):
        return PanelSettings()


def _write(path: Path, text: str, mode: int) -> None:
    again.write(str(path), text.encode(), mode)


def main() -> int:
    """Run it on the card."""
    from appliance.card import overwrite

    result = run(Places(), overwrite=overwrite, group=grp.getgrnam("kiosk").gr_gid)
    for line in (*result.findings, *result.warnings):
        sys.stderr.write(f"{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
