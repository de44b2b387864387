"""What a test needs of the machine, and the figures that a run leaves behind."""

import os
import shutil
from pathlib import Path

import pytest


def need(condition, reason):
    """Skip with a reason; in the checks before a change lands, where all must be there, fail.

    Args:
        condition: Whether what is needed is here, or the name of a program.
        reason: What is missing and how to get it.
    """
    if isinstance(condition, str):
        condition = shutil.which(condition) is not None
    if condition:
        return
    if os.environ.get("KIOSK_NO_SKIPS"):
        pytest.fail(f"this run may not skip: {reason}", pytrace=False)
    pytest.skip(reason)


def figure(text):
    """Leave one line for the end of the run: what was tried, how often, what came of it."""
    with Path(os.environ["KIOSK_FIGURES"]).open("a", encoding="utf-8") as out:
        out.write(text + "\n")
