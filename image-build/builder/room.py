"""The tree of tools, and running commands inside it."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import host
from builder.trouble import BuildError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


@dataclass(frozen=True, slots=True)
class Room:
    """A tree of trixie for this machine's processor; everything that makes bytes runs inside.

    Attributes:
        root: The tree.
        as_user: Whether an ordinary user enters it, by a user namespace.
    """

    root: Path
    as_user: bool

    def run(
        self,
        *argv: str | Path,
        binds: Mapping[str, Path] | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        cwd: str = "/",
    ) -> str:
        """Run a command inside.

        Args:
            argv: The command, with paths as they are inside.
            binds: Folders of this machine by their place inside, like {"/job": folder}.
            env: Added to a small, fixed environment.
            log: Where its stderr goes; told in the error where not given.
            cwd: The folder inside where it starts.

        Returns:
            Its stdout.

        Raises:
            BuildError: It failed.
        """
        root = shlex.quote(str(self.root))
        script = [
            "set -e",
            "mount --make-rprivate /",
            f"mkdir -p {root}/proc {root}/sys {root}/dev {root}/tmp",  # noqa: S108 - inside
            f"mount --rbind {root} {root}",
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount --rbind /sys {root}/sys",
        ]
        for inside, folder in (binds or {}).items():
            target = f"{root}{inside}"
            script += [
                f"mkdir -p {target}",
                f"mount --bind {shlex.quote(str(folder))} {target}",
            ]
        words = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp", **(env or {})}  # noqa: S108 - inside
        inside_words = " ".join(shlex.quote(str(word)) for word in argv)
        sets = " ".join(f"{k}={shlex.quote(v)}" for k, v in words.items())
        enter = f"cd {shlex.quote(cwd)} && exec env -i {sets} {inside_words}"
        script.append(f"exec chroot {root} /bin/sh -c {shlex.quote(enter)}")
        return execute(
            [*host.namespace(as_user=self.as_user), "/bin/sh", "-c", "\n".join(script)],
            str(argv[0]),
            log,
        )

    def outside(self, *argv: str | Path, log: Path | None = None) -> str:
        """Run a command of this machine as the owner of the tree, who may delete it too."""
        words = [*host.namespace(as_user=self.as_user), *map(str, argv)]
        return execute(words, str(argv[0]), log)


def execute(argv: list[str], name: str, log: Path | None = None) -> str:
    """Run a command of this machine.

    Raises:
        BuildError: It failed; the last lines that it said are in the message.
    """
    if log is None:
        done = subprocess.run(argv, capture_output=True, check=False)  # noqa: S603 - ours
        said = done.stderr
    else:
        with log.open("wb") as file:
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=file, check=False)  # noqa: S603
        said = log.read_bytes()
    if done.returncode:
        text = (said or done.stdout).decode(errors="replace").strip()
        tail = "\n    ".join(text.splitlines()[-15:])
        where = f"; all of it in {log}" if log else ""
        raise BuildError(f"{name} failed ({done.returncode}){where}:\n    {tail}")
    return re.sub(r"\r\n", "\n", done.stdout.decode(errors="replace"))
