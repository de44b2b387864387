"""One process that forks kiosks for all crash runs of a worker."""

import pytest
from lives import MortalKiosk, Zygote


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
