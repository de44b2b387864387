"""What holds on the card and nowhere else: fixed paths, and files that lie beside kiosk.yaml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from appliance.secrets import are_taken, is_from
from kiosk.settings import ControlSettings, JournalSettings, ScannerSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_KEYS = ("ca_file", "client_cert_file", "client_key_file")
MAX_FILE_BYTES = 64 * 1024
_FIXED = {
    "journal.path": JournalSettings().path,
    "control.socket": ControlSettings().socket,
    "scanner.socket": ScannerSettings().socket,
}


class RuleError(ValueError):
    """A key whose value the card cannot do; the sentence says what to do instead."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key, self.text = key, text


def broken_rules(settings: Settings, card: Path) -> Iterator[RuleError]:
    """Find what the settings ask for and this card has not.

    Args:
        settings: As the loader gave them: relative paths lead to `card`.
        card: Where kiosk.yaml stands.
    """
    for key, only in _FIXED.items():
        section, name = key.split(".")
        given = getattr(getattr(settings, section), name)
        if given != only:
            yield RuleError(key, f"{given} cannot be; on the card it is {only}; delete the line")
    panel = settings.panel
    if panel.backend == "gpio" and panel.pin_factory != "lgpio":
        text = f"{panel.pin_factory} is not on the card; delete the line for lgpio"
        yield RuleError("panel.pin_factory", text)
    if re.match(r"https?://[^/?:]*\.local\.?([:/?]|$)", settings.gateway.url):
        # systemd-resolved asks no name server for such a name, and multicast is closed.
        text = "a name that ends in .local is not found from the card; give the box's address"
        yield RuleError("gateway.url", text)
    if settings.camera.path is not None and settings.camera.path.startswith(f"{card}/"):
        yield RuleError("camera.path", "the scanner cannot read files on this partition")


def named_files(settings: Settings, card: Path) -> dict[str, str]:
    """The files that the gateway's section names: key -> bare name.

    Raises:
        RuleError: One is not beside kiosk.yaml.
    """
    found = {}
    for name in FILE_KEYS:
        path = getattr(settings.gateway, name)
        if path is None:
            continue
        bare = path.removeprefix(f"{card}/")
        if "/" in bare or bare.startswith("."):
            text = f"{path} is not beside kiosk.yaml; copy the file there and give its bare name"
            raise RuleError(f"gateway.{name}", text)
        found[name] = bare
    return found


def read_named(key: str, path: Path, kept: bytes | None) -> bytes:
    """A file that the settings name; the kept one where the card has only x, or nothing, for it.

    Raises:
        RuleError: It is not there, cannot be read, or is none that could be meant.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if kept is not None:
            return kept
        raise RuleError(key, f"{path.name} is not on the card beside kiosk.yaml") from None
    except OSError as error:
        reason = error.strerror or error
        raise RuleError(key, f"{path.name} cannot be read: {reason}") from None
    if kept is not None and (are_taken(data) or is_from(data, kept)):
        return kept
    if are_taken(data):
        text = f"{path.name} was taken off this card by another kiosk; copy it there again"
        raise RuleError(key, text)
    if not data.strip():
        raise RuleError(key, f"{path.name} is empty")
    if len(data) > MAX_FILE_BYTES:
        raise RuleError(key, f"{path.name} is too large; a PEM file has a few thousand bytes")
    return data
