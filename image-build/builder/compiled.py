"""Compiles Python files for the card on this machine; bytecode knows no processor."""

import tempfile
from pathlib import Path

from builder.room import Room
from builder.tree import Tree, of_bytes

# One process, one order: what a .pyc looks like depends on what was compiled before it.
PROGRAM = """
import importlib._bootstrap_external as b, importlib.util, os, sys
os.chdir("/job")
for line in open("/job/.list", encoding="utf-8"):
    path = line.rstrip("\\n")
    source = open(path, "rb").read()
    try:
        code = compile(source, "/" + path, "exec", dont_inherit=True, optimize=0)
    except SyntaxError:
        continue  # a file of tests or templates that no Python reads
    target = importlib.util.cache_from_source(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    data = b._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
    open(target, "wb").write(data)
"""


def add(tree: Tree, room: Room, scratch: Path, pattern: str = "*.py") -> int:
    """Put a .pyc beside each Python file of a tree.

    They are never checked against their source when they are read ("unchecked hash"): the root
    file system is read-only, and nothing then reads the sources at all.

    Returns:
        How many there are.
    """
    paths = [path for path, _ in tree.files(pattern)]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        work = Path(folder)
        tree.extract(work, paths)
        (work / ".list").write_text("\n".join(paths) + "\n", encoding="utf-8")
        room.run(
            *("python3", "-B", "-S", "-W", "ignore", "-c", PROGRAM),
            binds={"/job": work},
            env={"PYTHONHASHSEED": "0"},
        )
        made = sorted(work.rglob("*.pyc"))
        for file in made:
            tree.put(str(file.relative_to(work)), of_bytes(file.read_bytes()))
    return len(made)
