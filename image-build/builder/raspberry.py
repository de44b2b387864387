"""Raspberry Pi's archive, beside Debian's: what may be taken from it, and whether it is the one.

Nothing that came over the network says which key to trust. The key is in a package whose hash
stands in the recipe, and has the fingerprint that stands there too; apt then believes that one key
and no other of the package.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from builder.download import AbsentError, get
from builder.trouble import BuildError

RASPIOS_MIRROR = "RASPIOS_MIRROR"


class Raspberry:
    """The archive of a recipe, or a mirror of it that the environment names (RASPIOS_MIRROR)."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self.mirror = os.environ.get(RASPIOS_MIRROR) or str(facts["mirror"])
        self.host = urlsplit(self.mirror).hostname or ""

    def suites(self) -> Iterator[tuple[str, str, str]]:
        """Mirror, suite and component of each index."""
        for suite in self._facts["suites"]:
            for component in self._facts["components"]:
                yield self.mirror, suite, component

    def sources(self, keyring: Path) -> str:
        """The lines of a sources.list; only what the key in `keyring` signed is believed."""
        return "".join(
            f"deb [signed-by={keyring}] {url} {suite} {component}\n"
            for url, suite, component in self.suites()
        )

    def preferences(self) -> str:
        """What apt may take: the packages built from the named sources, and nothing else.

        apt tells the archive by its host, which nobody has to look up.
        """
        pin = f'Pin: origin "{self.host}"'
        named = " ".join(f"src:{name}" for name in self._facts["sources"])
        rest, priority = self._facts["priority_of_the_rest"], self._facts["priority"]
        return (
            f"Package: *\n{pin}\nPin-Priority: {rest}\n\n"
            f"Package: {named}\n{pin}\nPin-Priority: {priority}\n"
        )

    def keyring(self, folder: Path) -> Path:
        """Fetch the key, and believe it where it is the one of the recipe.

        Args:
            folder: Where it may work, and where the key stays.

        Returns:
            A keyring with that one key.

        Raises:
            BuildError: The package has another hash, or no such key in it.
        """
        key = self._facts["key"]
        url = f"{self.mirror}/{quote(key['package'])}"
        try:
            data = get(url, RASPIOS_MIRROR)
        except AbsentError as error:
            raise BuildError(
                f"{url} is gone. [archive.key] of recipe/raspios.toml names the keyring package: "
                "write there the path and the SHA-256 of the present one, from a source you trust."
            ) from error
        if (found := hashlib.sha256(data).hexdigest()) != key["sha256"]:
            raise BuildError(
                f"{url} has the SHA-256 {found}, and recipe/raspios.toml says {key['sha256']}. "
                "Its key is not believed, and nothing is taken from that archive."
            )
        package = folder / "keyring.deb"
        package.write_bytes(data)
        subprocess.run(  # noqa: S603 - ours
            ["/usr/bin/dpkg-deb", "--extract", str(package), str(folder / "keyring")], check=True
        )
        files = sorted((folder / "keyring").glob(key["file"]))
        if not files:
            raise BuildError(f"{url} has no {key['file']}, where recipe/raspios.toml has its key.")
        return _only(files[0], key["fingerprint"], folder / "raspberrypi.gpg", url)


def _only(file: Path, fingerprint: str, target: Path, url: str) -> Path:
    """Write the one key of a keyring that has this fingerprint.

    Raises:
        BuildError: There is none.
    """
    gpg = shutil.which("gpg")
    if not gpg:
        raise BuildError("A key's fingerprint is looked at with gpg: sudo apt install gpg")
    home = target.with_suffix(".home")
    home.mkdir(mode=0o700)
    words = [gpg, "--homedir", str(home), "--batch", "--quiet", "--no-autostart"]
    subprocess.run([*words, "--import", str(file)], check=False, capture_output=True)  # noqa: S603
    listed = subprocess.run(  # noqa: S603
        [*words, "--with-colons", "--list-keys"], check=False, capture_output=True, text=True
    ).stdout
    # The fingerprint of a key follows its own line; those of subkeys are no key that signs for it.
    found = re.findall(r"^pub:.*\nfpr:+([0-9A-F]+):", listed, re.MULTILINE)
    if fingerprint not in found:
        raise BuildError(
            f"{url} holds the key {', '.join(found) or 'of nobody'}, and recipe/raspios.toml says "
            f"{fingerprint}. It is not believed, and nothing is taken from that archive."
        )
    subprocess.run(  # noqa: S603
        [*words, "--output", str(target), "--export", fingerprint], check=True, capture_output=True
    )
    return target
