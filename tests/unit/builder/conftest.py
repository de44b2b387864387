"""A room without a tree of its own: what the builder runs inside, run here, in the same folders."""

import os
import subprocess
from pathlib import Path

import pytest
from builder.places import Places
from builder.trouble import BuildError


class HostRoom:
    """Runs each command with this machine's programs; places inside become the folders bound there.

    Attributes:
        ran: Every command, as the builder said it.
        plays: What a program that is not here would leave: name -> function(argv, binds).
    """

    root = Path("/nowhere/tools-of-a-test")
    as_user = False

    def __init__(self):
        self.ran = []
        self.plays = {}

    def run(self, *argv, binds=None, env=None, log=None, cwd="/"):
        argv = [str(word) for word in argv]
        self.ran.append(argv)
        for name, play in self.plays.items():
            if any(name in word for word in argv):
                return play(argv, binds or {}) or ""
        for inside, outside in (binds or {}).items():
            argv = [word.replace(inside, str(outside)) for word in argv]
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **(env or {})},
        )
        if done.returncode:
            raise BuildError(f"{argv[0]} failed: {done.stderr}")
        return done.stdout

    def outside(self, *argv, log=None):
        self.ran.append([str(word) for word in argv])
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def room():
    return HostRoom()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The true recipe, and a cache of the test's own."""
    monkeypatch.setenv("KIOSK_IMAGE_CACHE", str(tmp_path / "cache"))
    found = Places.usual(tmp_path / "out")
    found.cache.mkdir()
    return found


@pytest.fixture
def as_root():
    from tools import need

    need(os.geteuid() == 0, "owners of files are set by root: run as root")
