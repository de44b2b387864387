"""Which units start on the card, as symbolic links; what `systemctl enable` and `mask` would do."""

import re
from collections.abc import Iterable

from builder.tree import Tree, link
from builder.trouble import BuildError

ADMIN = "etc/systemd/system"
PLACES = (ADMIN, "usr/lib/systemd/system")


def apply(tree: Tree, lines: Iterable[str]) -> None:
    """Enable, disable and mask the units of a list.

    Raises:
        BuildError: A unit is not there, or says not where it belongs.
    """
    for line in lines:
        word, _, unit = line.partition(" ")
        if word == "enable":
            _enable(tree, unit)
        elif word == "disable":
            _find(tree, unit)
            _disable(tree, unit)
        elif word == "mask":
            _disable(tree, unit)
            tree.put(f"{ADMIN}/{unit}", link("/dev/null"))
        else:
            raise BuildError(f"units.txt: {line!r} means nothing.")


def _find(tree: Tree, unit: str) -> str:
    for place in PLACES:
        if f"{place}/{unit}" in tree:
            return f"{place}/{unit}"
    raise BuildError(f"units.txt: there is no unit {unit}.")


def _enable(tree: Tree, unit: str) -> None:
    path = _find(tree, unit)
    text = tree[path].read().decode()
    install = text.partition("\n[Install]")[2]
    found = re.findall(r"^(WantedBy|RequiredBy|Alias|Also)=(.+)$", install, re.MULTILINE)
    if not found:
        raise BuildError(f"units.txt: {unit} says not where it belongs ([Install]).")
    for word, names in found:
        for name in names.split():
            if word == "Alias":
                tree.put(f"{ADMIN}/{name}", link(f"/{path}"))
            elif word == "Also":
                _enable(tree, name)
            else:
                folder = "wants" if word == "WantedBy" else "requires"
                tree.put(f"{ADMIN}/{name}.{folder}/{unit}", link(f"/{path}"))


def _disable(tree: Tree, unit: str) -> None:
    for path in list(tree.entries):
        if not path.startswith(ADMIN + "/"):
            continue
        entry = tree.entries[path]
        if entry.kind == "link" and (
            entry.target.endswith(f"/{unit}") or path.endswith(f"/{unit}")
        ):
            del tree.entries[path]
