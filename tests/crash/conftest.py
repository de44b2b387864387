"""What crash runs share: a process that forks kiosks, kiosks that die, and where they live."""

import os
import tempfile
from pathlib import Path

import pytest
from lives import MortalKiosk, Zygote

RAM = Path("/dev/shm")


@pytest.fixture(scope="session")
def zygote():
    running = Zygote()
    yield running
    running.close()


@pytest.fixture
def mortal_at(zygote, tmp_path):
    made = []

    def make(url, **sections):
        made.append(MortalKiosk(zygote, tmp_path, url, **sections))
        return made[-1]

    yield make
    for kiosk in made:
        kiosk.close()


@pytest.fixture
def quick_folder(tmp_path):
    """In memory where there is such a place: a SIGKILL cannot tell, and no fsync has to wait."""
    if not os.access(RAM, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="kiosk-", dir=RAM) as folder:
        yield Path(folder)


@pytest.fixture
def shared_folder(tmp_path_factory):
    """One for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
