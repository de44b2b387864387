"""The unit tests of cameras share the fakes of the contract tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))
