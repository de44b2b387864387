"""What every section of the settings is, and how it says what does not fit together."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class Problem(NamedTuple):
    """A rule broken by one key or by several together; `keys[0]` is the one to look at."""

    keys: tuple[str, ...]
    text: str


class SectionError(ValueError):
    """A section whose keys are fine one by one breaks rules of the whole."""

    def __init__(self, section: "Section", problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.keys[0]}: {problem.text}" for problem in problems))
        self.section = section
        self.problems = problems


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, and a key that nobody reads is an error."""

    def problems(self) -> Iterable[Problem]:
        """Rules that no single type can say, checked at construction."""
        return ()

    def __post_init__(self) -> None:
        if found := list(self.problems()):
            raise SectionError(self, found)
