"""Everything that is wrong with a configuration, key by key, in words for a technician.

msgspec stops at its first error and knows neither files nor lines. This walk over the same
schema does not stop; a key that is wrong is replaced by a stand-in, so that rules over several
keys are still checked where they can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from kiosk.settings import Settings
from kiosk.settings_section import SectionError
from kiosk.settings_words import leaf_words, nearest
from kiosk.yaml_strict import Finding, Listing, Mapping, Node, Place, Scalar

if TYPE_CHECKING:
    from kiosk.settings_section import Problem

MOST_ADVICE = 100
"""Looking for the nearest word takes its time; of more mistakes than these none is shown."""


def diagnose(merged: Mapping, *, is_whole: bool) -> list[Finding]:
    """Find everything wrong in a merged tree.

    Args:
        merged: What the files say; values marked as refused were reported already.
        is_whole: False where a file could not be read: then what seems missing may stand
            there, and nothing is said about it.
    """
    walk = _Walk(merged, is_whole=is_whole)
    walk.section(Settings, merged)
    return walk.findings


class _Walk:
    def __init__(self, merged: Mapping, *, is_whole: bool) -> None:
        self.findings: list[Finding] = []
        self._is_whole = is_whole
        self._bad: set[str] = set()
        self._places: dict[str, Place] = {}
        self._known = _dotted_keys(inspect.type_info(Settings), "")
        self._top = merged.place

    def section(self, cls: Any, node: Mapping) -> Any:
        """Check a mapping against a struct and build it, with stand-ins where needed."""
        fields = {each.name: each for each in msgspec.structs.fields(cls)}
        for name, child in node.entries.items():
            if name not in fields:
                self._unknown(child, name, sorted(fields), node.key)
        values = {}
        for name, each in fields.items():
            key = f"{node.key}.{name}" if node.key else name
            info = _bare(inspect.type_info(each.type))
            given = node.entries.get(name)
            if given is None and each.required and isinstance(info, inspect.StructType):
                given = Mapping(key, node.place)
            if given is not None:
                values[name] = self._value(given, each.type, _stand_in(each))
            elif each.required:
                self._missing(key, each.type, node.place)
                values[name] = _stand_in(each)
        if any(values[name] is None for name, each in fields.items() if each.required):
            return None  # a whole section is something else; rules between sections must wait
        try:
            return cls(**values)
        except SectionError as error:
            for problem in error.problems:
                self._problem(problem, node)
            return error.section

    def _value(self, node: Node, hint: Any, stand_in: Any) -> Any:
        self._places[node.key] = node.place
        info = _bare(inspect.type_info(hint))
        if isinstance(node, Scalar) and node.refused:
            self._bad.add(node.key)
            return stand_in
        if isinstance(info, inspect.StructType) and isinstance(node, Mapping):
            return self.section(info.cls, node)
        if isinstance(info, inspect.VarTupleType) and isinstance(node, Listing):
            return self._listing(node, hint, info, stand_in)
        if isinstance(info, inspect.DictType) and isinstance(node, Mapping):
            return {name: self._value(child, str, "") for name, child in node.entries.items()}
        if isinstance(node, Scalar):
            try:
                return msgspec.convert(node.value, hint)
            except msgspec.ValidationError:
                pass
        value, text = "", "does not fit"
        if len(self.findings) < MOST_ADVICE:
            value, text = leaf_words(node, info, stand_in)
        self._find(node.place, node.key, value, text)
        return stand_in

    def _listing(self, node: Listing, hint: Any, info: inspect.VarTupleType, stand_in: Any) -> Any:
        item = _bare(info.item_type)
        if isinstance(item, inspect.StructType):
            values = tuple(
                self._value(child, item.cls, _example_of(item.cls)) for child in node.items
            )
        else:
            item_hint = hint.__origin__.__args__[0] if hasattr(hint, "__origin__") else str
            values = tuple(self._value(child, item_hint, None) for child in node.items)
        if any(child.key in self._bad for child in node.items):
            self._bad.add(node.key)
            return stand_in
        try:
            return msgspec.convert(values, hint)
        except msgspec.ValidationError:
            few, many = info.min_length or 0, info.max_length
            text = f"the list has {len(values)} entries; it wants {few} to {many}"
            self._find(node.place, node.key, "", text)
            return stand_in

    def _unknown(self, node: Node, name: str, siblings: list[str], parent: str) -> None:
        if len(self.findings) >= MOST_ADVICE:
            self._find(node.place, node.key, "", "unknown key; delete it")
            return
        prefix = f"{parent.partition('[')[0]}." if parent else ""
        meant = nearest(name, prefix, siblings, self._known)
        text = f"unknown key; did you mean {meant}?" if meant else "unknown key; delete it"
        if not meant and len(siblings) <= 20:
            text += f", or use one of {', '.join(siblings)}"
        self._find(node.place, node.key, "", text)

    def _missing(self, key: str, hint: Any, place: Place) -> None:
        self._bad.add(key)
        if self._is_whole:
            meta = hint.__metadata__[0]
            text = f"is missing; it is {meta.description}, such as {meta.examples[0]}"
            self._find(place, key, "", text)

    def _problem(self, problem: Problem, node: Mapping) -> None:
        prefix = f"{node.key}." if node.key else ""
        keys = [prefix + key for key in problem.keys]
        if any(key in self._bad for key in keys) or not (self._is_whole or len(keys) == 1):
            return
        place = next((self._places[key] for key in keys if key in self._places), node.place)
        self._find(place, keys[0], "", problem.text)

    def _find(self, place: Place, key: str, value: str, text: str) -> None:
        self._bad.add(key)
        self.findings.append(Finding(place.file, place.line, key, value, text))


def _bare(info: inspect.Type) -> inspect.Type:
    return info.type if isinstance(info, inspect.Metadata) else info


def _stand_in(each: msgspec.structs.FieldInfo) -> Any:
    if not each.required:
        default = each.default
        return default if default is not msgspec.NODEFAULT else each.default_factory()
    return None if isinstance(each.type, type) else each.type.__metadata__[0].examples[0]


def _example_of(cls: Any) -> Any:
    return cls(**{each.name: _stand_in(each) for each in msgspec.structs.fields(cls)})


def _dotted_keys(info: inspect.Type, prefix: str) -> list[str]:
    info = _bare(info)
    if isinstance(info, inspect.VarTupleType):
        info = _bare(info.item_type)
    if not isinstance(info, inspect.StructType):
        return [prefix]
    inner = [
        key
        for each in info.fields
        for key in _dotted_keys(each.type, f"{prefix}.{each.name}" if prefix else each.name)
    ]
    return [prefix, *inner] if prefix else inner


def zone_advice(name: str) -> str:
    """Say what to do about a time zone that is not there."""
    import difflib
    import zoneinfo

    known = zoneinfo.available_timezones()
    if not known:
        return "is not there, nor is any other time zone; sudo apt install tzdata"
    by_lower = {zone.lower(): zone for zone in sorted(known)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    meant = by_lower[near[0]] if near else "Asia/Tashkent"
    return f"is no time zone of this system; did you mean {meant}?"
