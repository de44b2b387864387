"""What the image's tests share: the image, a card with it, a sandbox, machines that end."""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

for folder in (PROJECT / "tests" / "crash", PROJECT / "tests", HERE):
    sys.path.insert(0, str(folder))

_spec = importlib.util.spec_from_file_location("shared_conftest", PROJECT / "tests/conftest.py")
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
if not os.environ.get("KIOSK_FIGURES"):
    pytest_configure = _shared.pytest_configure
    pytest_terminal_summary = _shared.pytest_terminal_summary
gateway = _shared.gateway

BOOTED_NEEDS = (
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("dtc", "device-tree-compiler"),
    ("mcopy", "mtools"),
    ("mksquashfs", "squashfs-tools"),
    ("debugfs", "e2fsprogs"),
    ("fsck.vfat", "dosfstools"),
)
# First what shows most of it; a power cut and an update take long.
ORDER = (
    "test_static",
    "test_harness",
    "test_virt",
    "test_config_error",
    "test_data_partition",
    "test_update",
    "test_power_cuts",
    "test_raspi3b",
)


def pytest_collection_modifyitems(items):
    """Files in the order above; within a file as written."""

    def place(item):
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else len(ORDER)

    items.sort(key=place)


def find_image():
    """The image that `make image` made last, or the one that KIOSK_IMAGE names."""
    if named := os.environ.get("KIOSK_IMAGE"):
        return Path(named)
    made = [*(PROJECT / "dist/image").glob("*.img"), *(PROJECT / "dist/image").glob("*.img.xz")]
    return max(made, key=lambda path: path.stat().st_mtime, default=None)


@pytest.fixture(scope="session")
def workshop():
    """A folder for cards, on a disk: they are sparse, and still some hundred megabytes each."""
    if kept := os.environ.get("KIOSK_IMAGE_KEEP"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(
        prefix="kiosk-image-", dir=os.environ.get("KIOSK_IMAGE_TMP")
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def image(workshop):
    """The raw image."""
    import card
    from tools import need

    for program, package in BOOTED_NEEDS:
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        need(shutil.which(program, path=path) is not None, f"sudo apt install {package}")
    found = find_image()
    need(found is not None, "there is no image; make one: make image")
    return card.unpacked(found, workshop)


@pytest.fixture(scope="session")
def trial(workshop):
    """The second disk, see `machine.make_trial_disk`."""
    import machine

    return machine.make_trial_disk(workshop, machine.SHOWN)


@pytest.fixture
def boot(trial, workshop, request):
    """Starts machines that end with the test; `boot(card, **how)`, see `machine.Machine`."""
    import machine

    made = []
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]

    def start(card, **how):
        folder = workshop / f"life-{name}-{len(made)}"
        made.append(machine.Machine(card, folder, trial, **how))
        return made[-1]

    yield start
    for one in made:
        one.cut()


@pytest.fixture(scope="session")
def aged(image, trial, workshop):
    """A card after its first start, see `days.first_life`: grown, filled, sold once, off.

    Tests that do not ask about the first start take a copy of its card.
    """
    import days

    return days.first_life(image, trial, workshop)
