"""The users of the kiosk, with numbers that never change."""

from collections.abc import Iterable
from dataclasses import replace

from builder.tree import Tree, of_bytes
from builder.trouble import BuildError

FILES = ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow")


def add(tree: Tree, lines: Iterable[str]) -> None:
    """Add the users and groups of a list to a tree; none of them has a password.

    Raises:
        BuildError: A line means nothing, or a number is taken.
    """
    texts = {path: tree[path].read().decode().splitlines() for path in FILES}
    taken = {line.split(":")[2] for path in FILES[:2] for line in texts[path]}

    def group(name: str, number: str) -> None:
        if number in taken:
            raise BuildError(f"The number {number} of {name} belongs to another already.")
        texts["etc/group"].append(f"{name}:x:{number}:")
        texts["etc/gshadow"].append(f"{name}:!*::")

    for line in lines:
        match line.split(maxsplit=5):
            case ["group", name, number]:
                group(name, number)
            case ["user", name, number, home, shell, comment]:
                group(name, number)
                texts["etc/passwd"].append(f"{name}:x:{number}:{number}:{comment}:{home}:{shell}")
                texts["etc/shadow"].append(f"{name}:!*:::::::")
            case ["member", name, of]:
                _join(texts["etc/group"], name, of, 3)
                _join(texts["etc/gshadow"], name, of, 3)
            case _:
                raise BuildError(f"users.txt: {line!r} means nothing.")
    for path in FILES:
        data = ("\n".join(texts[path]) + "\n").encode()
        old = tree[path]
        tree.put(path, replace(old, size=len(data), read=of_bytes(data).read))
    lock_root(tree)


def _join(lines: list[str], name: str, of: str, column: int) -> None:
    for at, line in enumerate(lines):
        fields = line.split(":")
        if fields[0] == of:
            members = [one for one in fields[column].split(",") if one]
            fields[column] = ",".join([*members, name])
            lines[at] = ":".join(fields)
            return
    raise BuildError(f"users.txt: there is no group {of}.")


def lock_root(tree: Tree) -> None:
    """Take root's password away, and the days since a change, which differ from build to build."""
    lines = []
    for line in tree["etc/shadow"].read().decode().splitlines():
        name = line.split(":")[0]
        lines.append(f"{name}:!*:::::::")
    data = ("\n".join(lines) + "\n").encode()
    tree.put("etc/shadow", replace(tree["etc/shadow"], size=len(data), read=of_bytes(data).read))
