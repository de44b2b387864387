"""Where things are, and what an image is called."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a build.

    Attributes:
        project: The repository.
        cache: What is kept between builds; may be deleted at any time.
        out: Where the image goes.
    """

    project: Path
    cache: Path
    out: Path

    @classmethod
    def usual(cls, out: Path | None = None) -> "Places":
        """This repository, and the cache that the environment names."""
        project = Path(__file__).resolve().parents[2]
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(os.environ.get("KIOSK_IMAGE_CACHE") or Path(home) / "kiosk-image")
        return cls(project, cache.absolute(), (out or project / "dist" / "image").absolute())

    @property
    def build(self) -> Path:
        """The folder image-build/."""
        return self.project / "image-build"

    @property
    def recipe(self) -> Path:
        """What the image is made of."""
        return self.build / "recipe"

    @property
    def lock(self) -> Path:
        """Name, version and hash of every Debian package."""
        return self.project / ".lock" / "image-debian.txt"

    @property
    def debs(self) -> Path:
        """Downloaded packages, by hash. Kept over everything else: they are checked when used."""
        return self.cache / "debs"

    def debian(self) -> dict[str, Any]:
        """recipe/debian.toml."""
        with (self.recipe / "debian.toml").open("rb") as file:
            return tomllib.load(file)

    def names(self, file: str) -> list[str]:
        """The lines of a plain list of the recipe, without comments."""
        text = (self.recipe / file).read_text(encoding="utf-8")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return [line for line in lines if line]

    def version(self) -> str:
        """The version of the project."""
        with (self.project / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
