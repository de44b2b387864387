"""Reads YAML files into settings, each value with the file and line that it comes from.

A sound configuration takes the short way: one conversion of the merged tree. Only when that
fails does `settings_findings` walk the schema key by key, to report everything at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

import msgspec

from kiosk.errors import SettingsError
from kiosk.settings import FilePath, Settings
from kiosk.yaml_scalars import short
from kiosk.yaml_strict import Finding, Listing, Mapping, Node, Place, Scalar, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kiosk.settings_section import Section

DEFAULT_PATH = Path("/etc/kiosk/kiosk.yaml")
SECRET_KEYS = ("gateway.headers.", "device.wifi_password")
# Of these also what was written by mistake: the whole header, or the key itself for its file.
_NEVER_QUOTED = (
    *("gateway.headers", "gateway.client_key_file"),
    *("device.wifi_password", "device.ssh_keys", "wifi_password"),
)
MAX_FINDINGS = 50
_MAX_CHARACTERS = 600

# sizeof(sun_path) is 108 on Linux, the closing zero included.
_MAX_SOCKET_PATH = 107
_SYSTEM_ZONES = "/usr/share/zoneinfo"


class Loaded(NamedTuple):
    """Settings, and for each dotted key "kiosk.yaml:14" or "default"."""

    settings: Settings
    origins: dict[str, str]


def load_settings(paths: Sequence[Path]) -> Loaded:
    """Read files into settings; later files override earlier ones.

    Mappings merge by key, lists and scalars replace. Relative paths in a file belong to the
    folder of that file.

    Args:
        paths: The files, in order; none means `DEFAULT_PATH`.

    Raises:
        SettingsError: Everything that is wrong, not only the first finding.
    """
    if not paths and not DEFAULT_PATH.exists():
        raise SettingsError([f"no configuration: {DEFAULT_PATH} does not exist; give --config F"])
    named = _names([Path(path) for path in paths] or [DEFAULT_PATH])
    findings: list[Finding] = []
    roots: list[Mapping] = []
    for path, name in named:
        root, found = read_document(path, name)
        findings += found
        if root is not None:
            roots.append(root)
    merged = Mapping("", Place(named[0][1], 0, ""))
    for root in roots:
        _merge(merged, root)
    findings += _prepare(merged)
    settings = None if findings else _convert(merged)
    if settings is None:
        from kiosk.settings_findings import diagnose

        is_whole = len(roots) == len(named)
        findings += diagnose(merged, is_whole=is_whole)
    findings += _surroundings(merged)
    if findings or settings is None:
        raise SettingsError(_render(findings, [name for _, name in named]))
    places = dict(_places(merged))
    origins = {key: str(places.get(key, "default")) for key, _ in flatten(settings)}
    return Loaded(settings, origins)


def flatten(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Each effective setting by its dotted key, in the order of the schema."""
    for section in settings.__struct_fields__:
        values = getattr(settings, section)
        for name in values.__struct_fields__:
            value = getattr(values, name)
            if isinstance(value, dict) and value:
                yield from ((f"{section}.{name}.{key}", item) for key, item in value.items())
            else:
                yield f"{section}.{name}", value


def is_secret(key: str) -> bool:
    """Whether the value of a dotted key is shown to nobody."""
    return key.startswith(SECRET_KEYS)


def _names(paths: list[Path]) -> list[tuple[Path, str]]:
    """Call each file by its bare name, or by its path where two share one."""
    bare = [path.name for path in paths]
    return [
        (path, name if name and bare.count(name) == 1 else str(path))
        for path, name in zip(paths, bare, strict=True)
    ]


def _merge(into: Mapping, later: Mapping) -> None:
    for name, node in later.entries.items():
        old = into.entries.get(name)
        if isinstance(old, Mapping) and isinstance(node, Mapping):
            old.place = node.place
            _merge(old, node)
        elif not (isinstance(old, Mapping) and _is_null(node)):
            # `camera:` with all its keys commented out takes nothing away.
            into.entries[name] = node


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None and not node.refused


def _sections() -> Iterator[tuple[str, type[Section]]]:
    yield from Settings.__annotations__.items()


def _prepare(merged: Mapping) -> list[Finding]:
    """Make paths absolute and forget what is empty: sections, lists, mappings."""
    findings: list[Finding] = []
    for name, section in _sections():
        node = merged.entries.get(name)
        if node is not None and _is_null(node):
            del merged.entries[name]
        if not isinstance(node, Mapping):
            continue
        for key, hint in section.__annotations__.items():
            leaf = node.entries.get(key)
            if not isinstance(leaf, Scalar) or leaf.refused:
                continue
            origin: Any = get_origin(hint)
            if leaf.value is None and origin in {dict, tuple}:
                del node.entries[key]
            if FilePath in (hint, *get_args(hint)) and isinstance(leaf.value, str) and leaf.value:
                findings += _absolute(leaf)
    return findings


def _absolute(leaf: Scalar) -> Iterator[Finding]:
    path = str(leaf.value)
    if path.startswith("~"):
        text = "begins with ~, which is another folder for each user; write the path out"
        yield Finding(leaf.place.file, leaf.place.line, leaf.key, short(path), text)
        leaf.refused = True
    else:
        # pathlib keeps `..`, and here links are not to be followed.
        leaf.value = os.path.abspath(os.path.join(leaf.place.folder, path))  # noqa: PTH100, PTH118 - see above


def _convert(merged: Mapping) -> Settings | None:
    try:
        return msgspec.convert(_values(merged), Settings)
    except msgspec.ValidationError:
        return None


def _values(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {name: _values(child) for name, child in node.entries.items()}
    if isinstance(node, Listing):
        return [_values(child) for child in node.items]
    return node.value


def _places(node: Mapping) -> Iterator[tuple[str, Place]]:
    for child in node.entries.values():
        yield child.key, child.place
        if isinstance(child, Mapping):
            yield from _places(child)


def _surroundings(merged: Mapping) -> Iterator[Finding]:
    """Check what depends on this machine: the time zone's data, the length of socket paths."""
    zone, place = _text_at(merged, "locale", "timezone")
    if zone and not _is_time_zone(zone):
        from kiosk.settings_findings import zone_advice

        yield Finding(place.file, place.line, "locale.timezone", short(zone), zone_advice(zone))
    for section in ("scanner", "control"):
        path, place = _text_at(merged, section, "socket")
        length = len(os.fsencode(path))
        if length > _MAX_SOCKET_PATH:
            text = f"has {length} bytes; the path of a socket has at most {_MAX_SOCKET_PATH}"
            yield Finding(place.file, place.line, f"{section}.socket", short(path), text)


def _text_at(merged: Mapping, section: str, key: str) -> tuple[str, Place]:
    node = merged.entries.get(section)
    leaf = node.entries.get(key) if isinstance(node, Mapping) else None
    if leaf is None:
        return getattr(dict(_sections())[section](), key), merged.place
    if isinstance(leaf, Scalar) and isinstance(leaf.value, str) and not leaf.refused:
        return leaf.value, leaf.place
    return "", leaf.place


def _is_time_zone(name: str) -> bool:
    # Importing zoneinfo costs more than the rest of the load; most zones are found without.
    if re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name):
        try:
            with open(f"{_SYSTEM_ZONES}/{name}", "rb") as stream:  # noqa: PTH123 - a plain string
                return stream.read(4) == b"TZif"
        except OSError:
            pass
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _render(findings: list[Finding], files: list[str]) -> list[str]:
    order = {name: index for index, name in enumerate(files)}
    findings = sorted(set(findings), key=lambda each: (order[each.file], each.line, each.key))
    lines = [_sentence(finding) for finding in findings[:MAX_FINDINGS]]
    if len(findings) > MAX_FINDINGS:
        lines.append(f"... and {len(findings) - MAX_FINDINGS} more findings")
    return lines


def _sentence(finding: Finding) -> str:
    where = f"{finding.file}:{finding.line}" if finding.line else finding.file
    text = finding.text
    if finding.value:
        value = "(hidden)" if finding.key.startswith(_NEVER_QUOTED) else finding.value
        text = f"{value} {text}"
    if finding.key:
        text = f"{finding.key}{' ' if text.startswith('is missing') else ': '}{text}"
    half = _MAX_CHARACTERS // 2
    if len(text) > _MAX_CHARACTERS:
        # A name or an address of hundreds of characters; what to do stands at the end.
        text = f"{text[:half]} [...] {text[-half:]}"
    return f"{where}: {text}"
