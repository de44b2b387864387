"""The kernel's modules: which of them a kiosk keeps."""

import fnmatch
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from builder.tree import Tree
from builder.trouble import BuildError


def kernel_of(tree: Tree) -> str:
    """The version of the one kernel in a tree.

    Raises:
        BuildError: There is none, or more than one.
    """
    found = {p.split("/")[3] for p in tree.entries if re.match(r"usr/lib/modules/[^/]+/kernel$", p)}
    if len(found) != 1:
        raise BuildError(f"The tree has {len(found)} kernels: {sorted(found)}.")
    return found.pop()


def name_of(path: str) -> str:
    """A module's name as `modprobe` knows it."""
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def needs(modules_dep: str) -> dict[str, list[str]]:
    """For each module's path, relative to the kernel's folder, those of all that it needs."""
    found = {}
    for line in modules_dep.splitlines():
        path, _, rest = line.partition(":")
        found[path] = rest.split()
    return found


def wanted(
    dep: dict[str, list[str]], patterns: Iterable[str], soft: str = "", builtin: str = ""
) -> set[str]:
    """The paths of the modules that a list means, with all that they need.

    Args:
        dep: From `needs`.
        patterns: A module's name, or a path below kernel/ as a shell pattern where it has a slash.
            With `?` before it, it may mean nothing.
        soft: modules.softdep: what others ask for by name without linking to it.
        builtin: modules.builtin: what is in the kernel itself, and so is there without a file.

    Raises:
        BuildError: A pattern means nothing.
    """
    by_name = {name_of(path): path for path in dep}
    found: set[str] = set()
    for pattern in patterns:
        match = _matcher(pattern.removeprefix("?"))
        hits = [path for path in dep if match(path)]
        if not hits and not pattern.startswith("?") and not any(map(match, builtin.splitlines())):
            raise BuildError(f"The kernel has no module {pattern} (modules.txt).")
        found.update(hits)
    softly: dict[str, list[str]] = {}
    for line in soft.splitlines():
        words = line.split()
        if words[:1] == ["softdep"]:
            softly.setdefault(words[1], []).extend(w for w in words[2:] if not w.endswith(":"))
    todo = list(found)
    while todo:
        path = todo.pop()
        more = list(dep[path])
        more += [by_name[n] for n in softly.get(name_of(path), []) if n in by_name]
        new = set(more) - found
        found |= new
        todo += new
    return found


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a module's path is what a line of the list means."""
    if "/" in pattern:
        return lambda path: fnmatch.fnmatch(path.removeprefix("kernel/"), pattern)
    return lambda path: name_of(path) == pattern.replace("-", "_")


def prune(tree: Tree, patterns: Iterable[str]) -> tuple[int, int]:
    """Take away the modules that no kiosk needs.

    Returns:
        How many there were and how many stay.
    """
    folder = f"usr/lib/modules/{kernel_of(tree)}"
    dep = needs(tree[f"{folder}/modules.dep"].read().decode())
    soft = tree[f"{folder}/modules.softdep"].read().decode()
    builtin = tree[f"{folder}/modules.builtin"].read().decode()
    keep = {f"{folder}/{path}" for path in wanted(dep, patterns, soft, builtin)}
    paths = [p for p, _ in tree.files(f"{folder}/kernel/*.ko*")]
    for path in paths:
        if path not in keep:
            tree.remove_one(path)
    return len(paths), len(keep)
