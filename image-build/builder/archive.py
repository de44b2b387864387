"""Debian's archive: which packages a recipe means today, and the very files that the lock names."""

import gzip
import hashlib
import lzma
import os
import re
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.download import AbsentError, get
from builder.lock import Deb
from builder.raspberry import RASPIOS_MIRROR, Raspberry
from builder.recipe import Recipe
from builder.trouble import BuildError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SNAPSHOT = "https://snapshot.debian.org/archive/debian/YYYYMMDDTHHMMSSZ"
AT_ONCE = 6
# apt counts itself as essential; the card has no apt.
ESSENTIAL = "?and(?essential, ?not(?exact-name(apt)))"


class Archive:
    """The mirrors of a recipe, or those of the environment (MIRROR, SECURITY_MIRROR).

    Attributes:
        raspberry: Raspberry Pi's archive, where the recipe takes something from there.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.mirror = os.environ.get("MIRROR") or recipe["mirror"]
        # A snapshot has both under one roof.
        beside = self.mirror.replace("/archive/debian/", "/archive/debian-security/")
        usual = beside if beside != self.mirror else recipe["security_mirror"]
        self.security_mirror = os.environ.get("SECURITY_MIRROR") or usual
        facts = recipe.facts.get("archive")
        self.raspberry = Raspberry(facts) if facts else None
        hosts = {urllib.parse.urlsplit(url).hostname for url in (self.mirror, self.security_mirror)}
        if self.raspberry and self.raspberry.host in hosts:
            raise BuildError(
                f"{RASPIOS_MIRROR} and MIRROR both name {self.raspberry.host}; apt tells the two "
                "archives apart by their host. Name another for one of them."
            )

    def _suites(self) -> Iterator[tuple[str, str]]:
        yield from ((self.mirror, suite) for suite in self.recipe["suites"])
        yield from ((self.security_mirror, suite) for suite in self.recipe["security_suites"])

    def sources(self) -> str:
        """The lines of a sources.list for Debian, signatures demanded."""
        components = " ".join(self.recipe["components"])
        # A snapshot of another day is as good as its hashes; its date of expiry has passed.
        options = f"[signed-by={KEYRING} check-valid-until=no]"
        return "".join(
            f"deb {options} {url} {suite} {components}\n" for url, suite in self._suites()
        )

    def preferences(self) -> str:
        """What apt may take from suites that are newer than the card's."""
        return "".join(
            f"Package: *\nPin: release n={suite}\nPin-Priority: -1\n\n"
            f"Package: {' '.join(f'src:{name}' for name in sources)}\n"
            f"Pin: release n={suite}\nPin-Priority: 900\n\n"
            for suite, sources in self.recipe["newer"].items()
            if sources
        )

    def places(self, arch: str) -> dict[str, str]:
        """Where each package of an architecture is, by its hash."""
        indexes = [
            (mirror, suite, component)
            for mirror, suite in self._suites()
            for component in self.recipe["components"]
        ]
        if self.raspberry and arch == "arm64":
            indexes += self.raspberry.suites()
        found = {}
        for mirror, suite, component in indexes:
            text = self._index(f"{mirror}/dists/{suite}/{component}/binary-{arch}/Packages")
            for stanza in text.split("\n\n"):
                path = re.search(r"^Filename: (\S+)$", stanza, re.MULTILINE)
                hash_ = re.search(r"^SHA256: (\S+)$", stanza, re.MULTILINE)
                if path and hash_:
                    found[hash_[1]] = f"{mirror}/{urllib.parse.quote(path[1])}"
        return found

    def _index(self, url: str) -> str:
        """An index, as Debian packs it, or as archives do that are kept with smaller tools."""
        try:
            return lzma.decompress(self.get(f"{url}.xz")).decode()
        except AbsentError:
            return gzip.decompress(self.get(f"{url}.gz")).decode()

    def get(self, url: str) -> bytes:
        """A file of one of the mirrors.

        Raises:
            BuildError: It cannot be had; the message names what chooses another mirror.
        """
        is_other = self.raspberry and url.startswith(self.raspberry.mirror)
        return get(url, RASPIOS_MIRROR if is_other else "MIRROR")


def fetch(debs: Iterable[Deb], folder: Path, archive: Archive) -> int:
    """Have every package in the folder, each file named by its hash.

    Returns:
        How many had to be downloaded.

    Raises:
        BuildError: The mirror has a package no more, or has other bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = sorted({deb for deb in debs if not (folder / deb.sha256).exists()})
    places: dict[str, str] = {}
    for arch in sorted({deb.arch if deb.arch != "all" else "arm64" for deb in missing}):
        places.update(archive.places(arch))
    gone = [deb for deb in missing if deb.sha256 not in places]
    if gone:
        names = ", ".join(f"{deb.name} {deb.version}" for deb in gone[:4])
        more = f" and {len(gone) - 4} more" if len(gone) > 4 else ""
        raise BuildError(
            f"The mirror has {names}{more} no more. Either `{archive.recipe.lock_command}` takes "
            f"what it has now, or MIRROR={SNAPSHOT} with the day of the lock builds exactly what "
            "is locked."
        )

    def one(deb: Deb) -> None:
        data = archive.get(places[deb.sha256])
        if hashlib.sha256(data).hexdigest() != deb.sha256:
            raise BuildError(f"{places[deb.sha256]} is not the file that the lock names.")
        half = folder / f"{deb.sha256}.{os.getpid()}"
        half.write_bytes(data)
        half.rename(folder / deb.sha256)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, missing))
    return len(missing)


def repository(debs: Iterable[Deb], store: Path, folder: Path) -> None:
    """A little archive of exactly these packages: apt cannot choose anything else.

    Args:
        debs: The packages.
        store: The folder that `fetch` filled.
        folder: Made new, with a file for each package and a Packages index.
    """
    folder.mkdir(parents=True)
    stanzas = []
    for deb in sorted(debs):
        # A hard link where both are on one file system, else a copy.
        # Named by the hash: apt quotes what is in a version twice.
        target = folder / f"{deb.sha256}.deb"
        try:
            os.link(store / deb.sha256, target)
        except OSError:
            target.write_bytes((store / deb.sha256).read_bytes())
        control = subprocess.run(  # noqa: S603 - a file of ours
            ["/usr/bin/dpkg-deb", "--field", str(target)],
            capture_output=True,
            check=True,
            text=True,
        ).stdout.rstrip("\n")
        stanzas.append(
            f"{control}\nFilename: ./{target.name}\n"
            f"Size: {target.stat().st_size}\nSHA256: {deb.sha256}\n"
        )
    index = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(index)
    # mmdebstrap looks for essential packages in a suite of the name that it was given.
    (folder / "Release").write_text(
        "Suite: trixie\nCodename: trixie\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n",
        encoding="utf-8",
    )


class Resolver:
    """apt with folders of its own, asked what it would install on an empty machine."""

    def __init__(self, archive: Archive, arch: str, folder: Path) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        sources, preferences = archive.sources(), archive.preferences()
        if archive.raspberry and arch == "arm64":
            sources += archive.raspberry.sources(archive.raspberry.keyring(folder))
            preferences += archive.raspberry.preferences()
        (folder / "etc/sources.list").write_text(sources, encoding="utf-8")
        (folder / "etc/preferences").write_text(preferences, encoding="utf-8")
        options = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Install-Recommends": "false",
            "Dir::Etc": folder / "etc",
            "Dir::Etc::Parts": "/none",
            "Dir::Etc::SourceParts": "/none",
            "Dir::Etc::PreferencesParts": "/none",
            "Dir::Etc::TrustedParts": "/none",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::ForceHash": "SHA256",
            "APT::Sandbox::User": "",
        }
        self._options = [part for k, v in options.items() for part in ("-o", f"{k}={v}")]
        self._apt("update", "-qq", "-o", "APT::Update::Error-Mode=any")

    def _apt(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603 - words of the recipe
            ["/usr/bin/apt-get", *self._options, *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "APT_CONFIG": "/dev/null"},
        )
        if done.returncode:
            # Beside its errors it warns of the settings that it was given to keep it from others.
            said = re.findall(r"^E: (.*)", done.stderr, re.MULTILINE) or [done.stderr.strip()]
            raise BuildError(f"apt cannot resolve the recipe: {' '.join(said)}")
        return done.stdout

    def install(self, role: str, names: Iterable[str]) -> list[Deb]:
        """What installing these beside the essential packages would take."""
        said = self._apt("install", "--print-uris", "-y", ESSENTIAL, *names)
        return [_deb(role, line) for line in said.splitlines() if line.startswith("'")]

    def named(self, role: str, names: Iterable[str]) -> list[Deb]:
        """These packages alone, without what they need."""
        said = self._apt("download", "--print-uris", *names)
        return [_deb(role, line) for line in said.splitlines() if line.startswith("'")]


def _deb(role: str, line: str) -> Deb:
    match = re.fullmatch(r"'\S+' ([^_\s]+)_(\S+)_(\w+)\.deb \d+ SHA256:([0-9a-f]{64})\s*", line)
    if not match:
        raise BuildError(f"apt named no hash of a package: {line}")
    return Deb(role, match[1], match[3], urllib.parse.unquote(match[2]), match[4])


def resolve(archive: Archive) -> list[Deb]:
    """What the recipe means today."""
    if not KEYRING.exists():
        raise BuildError(
            "The keys of Debian's archive are missing here: sudo apt install debian-archive-keyring"
        )
    recipe = archive.recipe
    with tempfile.TemporaryDirectory() as folder:
        card = Resolver(archive, "arm64", Path(folder) / "arm64")
        debs = card.install("card", recipe["card"])
        kernel = next(d.name for d in debs if re.fullmatch(r"linux-image-[0-9].*", d.name))
        number = kernel.removeprefix("linux-image-")
        debs += card.named("card_files", _of_kernel(recipe["card_files"], number))
        tools = Resolver(archive, "amd64", Path(folder) / "amd64")
        debs += tools.install("tools", recipe["tools"])
        if recipe["tools_files"]:
            debs += tools.named("tools_files", _of_kernel(recipe["tools_files"], number))
    return debs


def _of_kernel(names: Iterable[str], number: str) -> list[str]:
    """Headers and build tools under the names that they have for one kernel."""
    version = number.removesuffix("-arm64")
    real = {
        "linux-headers-arm64": [f"linux-headers-{number}", f"linux-headers-{version}-common"],
        "linux-kbuild": [f"linux-kbuild-{version}"],
    }
    return [one for name in names for one in real.get(name, [name])]
