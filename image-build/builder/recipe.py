"""The recipe of a base: debian.toml, and for Raspberry Pi OS raspios.toml laid over it.

`without` and `with` in the second change a list of the first, whichever list it is: packages,
modules, lines of config.txt. What is taken away must have been there.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builder.trouble import BuildError

BASES = ("debian", "raspios")
Change = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image of one base is made of.

    Attributes:
        base: One of BASES.
        folder: Where the files of the recipe are.
        facts: What the recipe says, differences of the base included.
    """

    base: str
    folder: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, base: str) -> "Recipe":
        """Read the recipe of a base.

        Raises:
            BuildError: The one file takes away what the other does not have.
        """
        facts = _toml(folder / "debian.toml")
        if base != "debian":
            facts = laid_over(facts, _toml(folder / f"{base}.toml"), f"{base}.toml")
        return cls(base, folder, facts)

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]

    def lines(self, file: str) -> list[str]:
        """The lines of a plain list, without comments, as this base has it."""
        text = (self.folder / file).read_text(encoding="utf-8")
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        return changed([li for li in lines if li], self.facts.get("lists", {}).get(file, {}), file)

    @property
    def lock_command(self) -> str:
        """What writes the lock of this base, for a sentence that says so."""
        return "make image-lock" + ("" if self.base == "debian" else f" BASE={self.base}")

    @property
    def lock_hint(self) -> str:
        """What to do where that lock is missing."""
        archive = self.facts.get("archive")
        reach = f", and must reach {urlsplit(archive['mirror']).hostname}" if archive else ""
        return f"`{self.lock_command}` writes it{reach}"


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One set of facts with the differences of another.

    Raises:
        BuildError: A `without` names what is not there.
    """
    found = dict(below)
    for name, value in above.items():
        old = found.get(name)
        if isinstance(old, list) and isinstance(value, dict):
            found[name] = changed(old, value, f"{where}, {name}")
        elif isinstance(old, dict) and isinstance(value, dict):
            found[name] = laid_over(old, value, f"{where}, {name}")
        else:
            found[name] = value
    return found


def changed(lines: Iterable[str], change: Change, where: str) -> list[str]:
    """A list without some of its lines and with others at its end.

    Raises:
        BuildError: A line that is to go is not there.
    """
    lines = list(lines)
    gone = change.get("without", [])
    if unknown := [line for line in gone if line not in lines]:
        raise BuildError(
            f"The recipe takes {', '.join(unknown)} away ({where}), which is not there."
        )
    return [line for line in lines if line not in gone] + change.get("with", [])


def _toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)
