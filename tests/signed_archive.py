"""An apt archive on this machine, signed with a key that is made for the test and dies with it."""

import hashlib
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from pathlib import Path

POOL = "pool/main"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, *args):
        pass


def serve(folder):
    """A server of this machine for a folder; `.shutdown()` and `.server_close()` end it."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def packages_of(www):
    """The text of an index of all packages below a folder."""
    stanzas = []
    for deb in sorted(www.glob("pool/**/*.deb")):
        control = subprocess.run(
            ["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True
        ).stdout
        stanzas.append(
            f"{control}Filename: {deb.relative_to(www)}\nSize: {deb.stat().st_size}\n"
            f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
        )
    return "\n".join(stanzas)


def release_of(index):
    """The text of the Release file over an index: the files in a suite's main/binary-arm64."""
    lines = [
        f" {hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_size} "
        f"main/binary-arm64/{file.name}\n"
        for file in sorted(index.iterdir())
    ]
    return (
        "Origin: A rehearsal\nSuite: stable\nCodename: trixie\nArchitectures: arm64\n"
        f"Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{''.join(lines)}"
    )


class SignedArchive:
    """One suite, trixie, with the component main, for arm64.

    Attributes:
        url: Where it is.
        fingerprint: Of the key that signs it.
    """

    def __init__(self, folder):
        self.www = folder / "www"
        self.www.mkdir(parents=True)
        self._scratch = folder / "packages"
        # Short: the agent of gpg has a socket in it, whose path may have 108 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="gpg-"))
        self.fingerprint = self.new_key("Rehearsal of an archive")
        self._server = serve(self.www)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        subprocess.run(
            ["gpgconf", "--homedir", self._home, "--kill", "gpg-agent"],
            check=False,
            capture_output=True,
        )
        shutil.rmtree(self._home, ignore_errors=True)

    def gpg(self, *words):
        return subprocess.run(
            ["gpg", "--homedir", self._home, "--batch", "--yes", "--quiet", *words],
            check=True,
            capture_output=True,
        ).stdout

    def new_key(self, name):
        """Make a key; its fingerprint."""
        self.gpg("--passphrase", "", "--quick-gen-key", name, "rsa2048", "sign", "never")
        listed = self.gpg("--with-colons", "--list-keys", f"={name}").decode().splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def add(
        self, name, version="1.0", *, source="", depends="", files=None, arch="arm64", scripts=None
    ):
        """Build a package into the pool.

        Args:
            name: Of the package.
            version: Its version.
            source: Of what source it says to be; its own name where empty.
            depends: As it stands in its control file.
            files: Path -> contents, or a folder that is taken as it is.
            arch: Of what architecture.
            scripts: Name -> text of what runs when it is installed.

        Returns:
            Its file.
        """
        root = files if isinstance(files, Path) else self._scratch / name
        control = root / "DEBIAN"
        control.mkdir(parents=True, exist_ok=True)
        fields = f"Source: {source}\n" if source else ""
        fields += f"Depends: {depends}\n" if depends else ""
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: A test\n"
            f"{fields}Description: Stands in for a package\n"
        )
        for script, text in (scripts or {}).items():
            (control / script).write_text(text)
            (control / script).chmod(0o755)
        for path, data in ({} if isinstance(files, Path) else files or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        plain = version.partition(":")[2] or version
        made = self.www / POOL / (source or name)[0] / (source or name)
        made.mkdir(parents=True, exist_ok=True)
        made /= f"{name}_{plain}_{arch}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", root, made],
            check=True,
            capture_output=True,
            # The same package has the same hash each time: what is built of it is kept.
            env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
        )
        shutil.rmtree(root)
        return made

    def add_keyring(self, *fingerprints):
        """Build the package that holds the archive's key, as Raspberry Pi's does.

        Returns:
            What the recipe says of it: package, sha256, file, fingerprint.
        """
        path = "usr/share/keyrings/raspberrypi-archive-keyring"
        keys = self.gpg("--export", *(fingerprints or [self.fingerprint]))
        made = self.add(
            "raspberrypi-archive-keyring", "1+rpt1", arch="all", files={f"{path}.pgp": keys}
        )
        return {
            "package": str(made.relative_to(self.www)),
            "sha256": hashlib.sha256(made.read_bytes()).hexdigest(),
            "file": f"{path}.*",
            "fingerprint": self.fingerprint,
        }

    def publish(self, key=None):
        """Write the index and sign it, with another key where one is named."""
        suite = self.www / "dists/trixie"
        index = suite / "main/binary-arm64"
        index.mkdir(parents=True, exist_ok=True)
        # As gzip only: the builder has to take what is there.
        (index / "Packages").write_text(packages_of(self.www))
        subprocess.run(["gzip", "-nkf", index / "Packages"], check=True)
        (suite / "Release").write_text(release_of(index))
        self.gpg(
            *("--local-user", key or self.fingerprint, "--digest-algo", "SHA512"),
            *("--output", suite / "InRelease", "--clearsign", suite / "Release"),
        )
