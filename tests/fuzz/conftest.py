"""The targets are plain modules, so that a fuzzer can load them without pytest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
