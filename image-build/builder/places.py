"""Where things are, and what an image is called."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from builder.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a build.

    Attributes:
        project: The repository.
        cache: What is kept between builds; may be deleted at any time.
        out: Where the image goes.
        recipe: What it is made of.
    """

    project: Path
    cache: Path
    out: Path
    recipe: Recipe

    @classmethod
    def usual(cls, out: Path | None = None, base: str = "debian") -> "Places":
        """This repository, and the cache that the environment names."""
        project = Path(__file__).resolve().parents[2]
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(os.environ.get("KIOSK_IMAGE_CACHE") or Path(home) / "kiosk-image")
        recipe = Recipe.read(project / "image-build" / "recipe", base)
        # Apart, so that the tests of the one image never look at the other.
        usual = project / "dist" / ("image" if base == "debian" else f"image-{base}")
        return cls(project, cache.absolute(), (out or usual).absolute(), recipe)

    @property
    def build(self) -> Path:
        """The folder image-build/."""
        return self.project / "image-build"

    @property
    def lock(self) -> Path:
        """Name, version and hash of every Debian package."""
        return self.project / ".lock" / f"image-{self.recipe.base}.txt"

    @property
    def debs(self) -> Path:
        """Downloaded packages, by hash. Kept over everything else: they are checked when used."""
        return self.cache / "debs"

    def names(self, file: str) -> list[str]:
        """The lines of a plain list of the recipe, without comments."""
        return self.recipe.lines(file)

    def version(self) -> str:
        """The version of the project."""
        with (self.project / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])
