"""The virtual machine's camera, put back in order before each test."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if not os.environ.get("KIOSK_VM"):
    collect_ignore_glob = ["test_*.py"]  # they need the machine that run.py boots


@pytest.fixture
def vivid():
    from vivid import Vivid

    driver = Vivid()
    driver.set("Percentage of Dropped Buffers", 0)
    driver.set("OSD Text Mode", 0)
    driver.select(0)
    return driver
