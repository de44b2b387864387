"""One file of the technician's, two of the kiosk's: what the scanner may read stands apart."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kiosk.yaml_strict import Listing, Mapping, Node, read_document

if TYPE_CHECKING:
    from pathlib import Path

# Pins are no secret, and belong to the board as the camera does.
BOARD_SECTIONS = ("camera", "panel", "scan", "scanner")
_HEAD = "# Written by the kiosk from kiosk.yaml on its card; what is changed here is lost.\n"


def tree_of(path: Path) -> dict[str, Any]:
    """What a file says, without places; {} where nothing can be made of it."""
    root, _ = read_document(path, path.name)
    tree = _plain(root) if root is not None else {}
    return {name: keys for name, keys in tree.items() if isinstance(keys, dict)}


def _plain(node: Node) -> Any:
    if isinstance(node, Mapping):
        return {name: _plain(child) for name, child in node.entries.items()}
    if isinstance(node, Listing):
        return [_plain(child) for child in node.items]
    return node.value


def split(tree: dict[str, Any]) -> tuple[bytes, bytes]:
    """The text of kiosk.yaml and of board.yaml for a tree of sections."""
    board = {name: keys for name, keys in tree.items() if name in BOARD_SECTIONS}
    rest = {name: keys for name, keys in tree.items() if name not in BOARD_SECTIONS}
    # A file without any key is a mistake to the loader.
    return _text(rest), _text(board or {"camera": {}})


def _text(tree: dict[str, Any]) -> bytes:
    lines = [_HEAD]
    for section, keys in tree.items():
        lines.append(f"{section}:\n")
        lines += [f"  {_value(name)}: {_value(value)}\n" for name, value in keys.items()]
    return "".join(lines).encode()


def _value(value: Any) -> str:
    """As JSON, which YAML readers agree on."""
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"  # never 1e-05, which the loader refuses
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_value(name)}: {_value(each)}' for name, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
