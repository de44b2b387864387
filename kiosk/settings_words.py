"""Words for a value that does not fit: what it is, what is wanted, what is near."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import inspect

from kiosk.yaml_scalars import short
from kiosk.yaml_strict import Listing, Mapping, Node

if TYPE_CHECKING:
    from collections.abc import Sequence


def nearest(name: str, prefix: str, siblings: Sequence[str], known: Sequence[str]) -> str | None:
    """Name the known dotted key that was most likely meant, or None."""
    import difflib

    word = name.lower().replace("-", "_")
    if near := difflib.get_close_matches(word, siblings, n=1, cutoff=0.6):
        return prefix + near[0]
    leaves: dict[str, str] = {}
    for key in known:
        leaves.setdefault(key.rpartition(".")[2], key)
    near = difflib.get_close_matches(word, leaves, n=1, cutoff=0.75)
    return leaves[near[0]] if near else None


def leaf_words(node: Node, info: inspect.Type, default: Any) -> tuple[str, str]:
    """Give the value as shown, and what is wrong with it in one sentence."""
    wants = f"it wants {wanted(info)}"
    if isinstance(node, Mapping):
        return "", f"has keys below it; {wants}"
    if isinstance(node, Listing):
        return "", f"is a list; {wants}"
    value = node.value
    types = _alternatives(info)
    if value is None:
        keep = "" if default is None else f", or delete the line for {as_yaml(default)}"
        return "", f"has no value; {wants}{keep}"
    shown = f'"{short(value)}"' if node.quoted and isinstance(value, str) else short(as_yaml(value))
    if isinstance(value, str):
        return shown, _text_words(value, types, wants, is_quoted=node.quoted)
    if isinstance(value, bool):
        return shown, f"is true or false; {wants}"
    if any(isinstance(each, inspect.StrType) for each in types):
        return shown, f"is a number; {wants}: put it in quotes"
    for each in types:
        if isinstance(each, inspect.IntType) and isinstance(value, float):
            return shown, f"is no whole number ({limits(each)})"
        if isinstance(each, (inspect.IntType, inspect.FloatType)):
            return shown, f"is out of range ({limits(each)})"
    return shown, f"is a number; {wants}"


def _text_words(value: str, types: list[inspect.Type], wants: str, *, is_quoted: bool) -> str:
    import difflib

    if any(isinstance(each, (inspect.StructType, inspect.DictType)) for each in types):
        spaced = "; after a key's colon stands a space" if re.match(r"\w+:\S", value) else ""
        return f"is text; {wants}{spaced}"
    for each in types:
        if isinstance(each, inspect.StrType):
            return f"has {len(value)} characters ({limits(each)})"
    words = [
        str(word) for each in types if isinstance(each, inspect.LiteralType) for word in each.values
    ]
    numeric = any(isinstance(each, (inspect.IntType, inspect.FloatType)) for each in types)
    if numeric and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value) and is_quoted:
        return f"is text; {wants}: take the quotes away"
    digits = re.sub(r"[ ,.'_\u00a0]", "", value)
    if numeric and re.fullmatch(r"[0-9]{1,3}([ ,.'_\u00a0][0-9]{3})+", value):
        return f"is text; {wants}: write {digits}"
    if numeric and (unit := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?[A-Za-z']+", value)):
        return f"is text; {wants}: write {unit[1]} without a unit"
    near = difflib.get_close_matches(value.lower(), words, n=1, cutoff=0.5)
    return f"does not fit; {wants}" + (f"; did you mean {near[0]}?" if near else "")


def wanted(info: inspect.Type) -> str:
    """Describe a type of the schema: "a whole number (1 to 120)"."""
    types = _alternatives(info)
    words = [
        str(word) for each in types if isinstance(each, inspect.LiteralType) for word in each.values
    ]
    phrases = [" or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))] if words else []
    for each in types:
        match each:
            case inspect.IntType():
                phrases.append(f"a whole number ({limits(each)})")
            case inspect.FloatType():
                phrases.append(f"a number ({limits(each)})")
            case inspect.BoolType():
                phrases.append("true or false")
            case inspect.StrType():
                phrases.append(f"text ({limits(each)})" if limits(each) else "text")
            case inspect.VarTupleType():
                phrases.append(f"a list, each line '- ' and {wanted(each.item_type)}")
            case inspect.DictType():
                phrases.append("lines of 'name: text' below it")
            case inspect.StructType():
                names = ", ".join(field.name for field in each.fields)
                phrases.append(f"keys below it ({names})")
            case _:
                pass
    return " or ".join(phrases)


def limits(info: inspect.Type) -> str:
    """Describe a range: "1 to 120", "above 0, up to 30", "1 to 64 characters"."""
    if isinstance(info, inspect.StrType):
        low, high = info.min_length, info.max_length
        if low is None and high is None:
            return ""
        return f"{low or 0} to {high} characters" if high else f"at least {low} characters"
    if not isinstance(info, (inspect.IntType, inspect.FloatType)):
        return ""
    if info.gt is not None:
        return f"above {info.gt}, up to {info.le}"
    return f"{info.ge} to {info.le}"


def _alternatives(info: inspect.Type) -> list[inspect.Type]:
    if isinstance(info, inspect.Metadata):
        return _alternatives(info.type)
    if isinstance(info, inspect.UnionType):
        return [kind for each in info.types for kind in _alternatives(each)]
    return [info]


def as_yaml(value: Any) -> str:
    """A value as it would stand in the file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(as_yaml(each) for each in value)}]"
    if isinstance(value, (dict, msgspec.Struct)):
        pairs = value.items() if isinstance(value, dict) else msgspec.structs.asdict(value).items()
        return f"{{{', '.join(f'{name}: {as_yaml(each)}' for name, each in pairs)}}}"
    return str(value)
