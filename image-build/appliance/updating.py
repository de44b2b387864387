"""One look for an update: on the USB sticks, or at the address of kiosk.yaml.

Started by systemd, when a stick is plugged in and once a day. It only installs; when the new
system is tried, the keeper decides.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path

from appliance import control, slots, update
from appliance.card import CardError
from appliance.slots import SlotError
from appliance.update import BusyError, UpdateError

SAID = Path("/run/kiosk-update/said")
CONFIG = Path("/etc/kiosk/kiosk.yaml")
MOST_WAIT_S = 900.0
LOOK_EVERY_S = 2.0


def is_idle(socket: Path = control.SOCKET, most_s: float = MOST_WAIT_S) -> bool:
    """Whether no customer is being served, once the present one has been."""
    until_s = time.monotonic() + most_s
    while (kiosk := control.ask(socket)) is not None and kiosk.is_paying:
        if time.monotonic() >= until_s:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def from_sticks() -> str:
    """Install the newest wanted bundle of the sticks; "" where there is no bundle at all."""
    with update.on_sticks() as (bundle, passed_over):
        if bundle is None:
            return f"USB stick: {'; '.join(passed_over)}" if passed_over else ""
        done = _install(bundle.source)
    return f"{bundle.version} from a USB stick: {done}"


def from_url(config: Path = CONFIG) -> str:
    """Install what is at the address, where that is news; "" where it is none or not set."""
    from kiosk.errors import SettingsError
    from kiosk.settings_file import load_settings

    try:
        url = load_settings([config]).settings.device.update_url
    except SettingsError:
        return ""  # intake says so
    if url is None:
        return ""
    bundle = update.check_url(url)
    if bundle is None:
        return ""
    return f"{bundle.version}: {_install(bundle.source)}"


def _install(source: str) -> str:
    # A first start fills the other slot for minutes; refused then, a stick would not be looked at
    # again before it is pulled out.
    with slots.locked(slots.HERE.run / "fill.lock"):
        pass
    return update.install(source, is_idle)


def look(where: str) -> str:
    """A sentence about what came of it; "" for nothing new.

    Args:
        where: `sticks` or `url`.
    """
    try:
        with slots.locked(slots.HERE.run / "updating.lock", wait=False):
            return from_sticks() if where == "sticks" else from_url()
    except BlockingIOError:
        return ""  # another one looks, and says what it found
    except BusyError:
        return "found one, but customers came one after the other; it is looked for again tomorrow"
    except (UpdateError, SlotError, CardError, OSError) as error:
        return f"not installed: {error}"


def main(arguments: list[str] | None = None, said: Path = SAID) -> int:
    """`python -m appliance.updating sticks|url`; what it says is for the keeper."""
    match sys.argv[1:] if arguments is None else arguments:
        case ["sticks" | "url" as where]:
            found = look(where)
        case _:
            sys.stderr.write(f"{main.__doc__}\n")
            return 2
    if found:
        sys.stderr.write(f"{found}\n")
        with suppress(OSError):
            said.parent.mkdir(mode=0o755, exist_ok=True)
            said.write_text(f"{found}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
