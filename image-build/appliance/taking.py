"""Takes a new kiosk.yaml off the card: in force here first, then its secrets overwritten there.

Whatever is cut in between, the next start finds the old configuration in force or the new one,
and each secret on the card or on the data partition; doing it again ends in the same place.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from appliance.card import CardError
from appliance.card_rules import RuleError, broken_rules, named_files, read_named
from appliance.secrets import (
    HEADERS_KEY,
    PASSWORD_KEY,
    SpreadError,
    are_taken,
    in_place_of,
    is_between,
    is_from,
    is_taken,
    secrets_of,
    spans_of,
    without,
)
from appliance.split import split, tree_of
from appliance.store import BOARD, KEYS, KIOSK, Kept, Store
from kiosk.errors import SettingsError
from kiosk.settings_file import Loaded, load_settings
from kiosk.yaml_source import MAX_BYTES

if TYPE_CHECKING:
    from kiosk.settings import Settings

# What editors and downloads make of the name.
_SIMILAR = re.compile(r"(?i)kiosk[^-]*\.ya?ml(\.txt)?|kiosk\.txt")

Overwrite = Callable[[Path, bytes], object]
"""Gives a file on the card other content of the same size; raises CardError."""


@dataclass(slots=True)
class Taking:
    """What came of it.

    Attributes:
        findings: What is wrong with the file on the card; empty where it is in force now.
        warnings: What else staff should know.
        is_new: Another configuration came in force.
        secrets_taken: How many values and files were overwritten on the card.
        is_data_broken: The data partition could not be written or read.
    """

    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_new: bool = False
    secrets_taken: int = 0
    is_data_broken: bool = False


def take(card: Path, store: Store, config: Path, overwrite: Overwrite) -> Taking:
    """Bring what is in force up to what is on the card.

    Args:
        card: The FAT, mounted read-only.
        store: The sets on the data partition.
        config: Where the kiosk sees the set in force.
        overwrite: See `Overwrite`.
    """
    taking = Taking()
    kept: Kept | None = None
    try:
        kept = store.kept()
    except (OSError, ValueError, KeyError) as error:
        taking.warnings.append(f"what was kept of the last kiosk.yaml cannot be read: {error}")
    try:
        whole = _read(card)
        if kept is None or not _is_same(card, whole, kept):
            kept = _new(card, whole, kept, config)
            _put(store, kept)
            taking.is_new = True
        _clear(card, whole, kept, overwrite, taking)
    except SettingsError as error:
        taking.findings = error.findings
    except OSError as error:
        taking.is_data_broken = True
        taking.findings = [f"the data partition cannot be written: {error.strerror or error}"]
    with contextlib.suppress(OSError):
        store.tidy()
    return taking


def _read(card: Path) -> bytes:
    path = card / KIOSK
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        text = f"{KIOSK} is not on the card; copy it there again"
        names = sorted(each.name for each in card.iterdir()) if card.is_dir() else []
        if near := [name for name in names if _SIMILAR.fullmatch(name)]:
            text += f", or give {near[0]} the name {KIOSK}"
        raise SettingsError([text]) from None
    except OSError as error:
        raise SettingsError([f"{KIOSK} cannot be read: {error.strerror or error}"]) from None


def _is_same(card: Path, whole: bytes, kept: Kept) -> bool:
    """Whether the card has what was taken, with or without its secrets, or half of each."""
    if not is_between(whole, kept.whole, kept.left):
        return False
    for name, data in kept.files.items():
        try:
            found = (card / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError:
            return False
        if found != data and not is_from(found, data) and not are_taken(found):
            return False
    return True


def _new(card: Path, whole: bytes, kept: Kept | None, config: Path) -> Kept:
    """Check what is on the card and make a set of it.

    Raises:
        SettingsError: Everything that is wrong with it.
    """
    path = card / KIOSK
    loaded = load_settings([path])
    settings = loaded.settings
    broken = list(broken_rules(settings, card))
    secrets = secrets_of(settings)
    for key, value in list(secrets.items()):
        known = kept.secrets.get(key) if kept is not None else None
        if known is not None and (is_taken(value) or is_from(value.encode(), known.encode())):
            secrets[key] = known
        elif is_taken(value):
            text = "was taken off this card, and this kiosk does not have it; write it in again"
            broken.append(RuleError(key, text))
    files: dict[str, bytes] = {}
    names: dict[str, str] = {}
    left = whole
    try:
        names = named_files(settings, card)
        for key, name in names.items():
            present = kept.files.get(name) if kept is not None else None
            files[name] = read_named(f"gateway.{key}", card / name, present)
        left = without(whole, spans_of(whole, set(secrets)))
    except RuleError as error:
        broken.append(error)
    except SpreadError as error:
        raise SettingsError([f"{KIOSK}:{error.line}: {error}"]) from error
    if broken:
        raise SettingsError([_sentence(loaded, error) for error in broken])
    private = {name for name, data in files.items() if b"PRIVATE KEY" in data}
    if "client_key_file" in names:
        private.add(names["client_key_file"])
    tree = tree_of(path)
    for key, name in names.items():
        tree["gateway"][key] = str(config / KEYS / name)
    for key, value in secrets.items():
        if key == PASSWORD_KEY:
            # Only root needs it, and the payment process reads this file.
            tree["device"]["wifi_password"] = in_place_of(value)
        else:
            tree["gateway"]["headers"][key.removeprefix(f"{HEADERS_KEY}.")] = value
    kiosk, board = split(tree)
    return Kept(whole, left, secrets, kiosk, board, files, frozenset(private))


def _sentence(loaded: Loaded, error: RuleError) -> str:
    origin = loaded.origins.get(error.key, "default")
    return f"{KIOSK if origin == 'default' else origin}: {error}"


def _put(store: Store, kept: Kept) -> None:
    """Put a set in force, once it has been read back as the kiosk will read it."""
    folder = store.prepare(kept)
    settings = load_settings([folder / KIOSK, folder / BOARD]).settings
    _try_tls(settings, folder)
    store.put(folder)


def _try_tls(settings: Settings, folder: Path) -> None:
    """Refuse certificates and keys that the gateway thread could not use.

    Raises:
        SettingsError: With the reason.
    """
    gateway = settings.gateway
    named = {name: getattr(gateway, name) for name in ("ca_file", "client_cert_file")}
    if not gateway.url.startswith("https://") or not any(named.values()):
        return
    from kiosk.payment.tls import tls_context

    here = {
        name: None if path is None else str(folder / KEYS / Path(path).name)
        for name, path in {**named, "client_key_file": gateway.client_key_file}.items()
    }
    try:
        tls_context(msgspec.structs.replace(gateway, **here))
    except SettingsError as error:
        lines = [line.replace(f"{folder / KEYS}/", "") for line in error.findings]
        raise SettingsError([f"{KIOSK}: {line}" for line in lines]) from error


def _clear(card: Path, whole: bytes, kept: Kept, overwrite: Overwrite, taking: Taking) -> None:
    """Overwrite on the card what is safe here; what fails is tried again at the next start."""
    try:
        if whole != kept.left:
            overwrite(card / KIOSK, kept.left)
            taking.secrets_taken += len(kept.secrets)
        for name in sorted(kept.private):
            try:
                found = (card / name).read_bytes()
            except FileNotFoundError:
                continue
            if not are_taken(found):
                overwrite(card / name, b"x" * len(found))
                taking.secrets_taken += 1
    except (CardError, OSError) as error:
        taking.warnings.append(f"secrets are still on the card: {error}")
