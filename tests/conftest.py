"""What all tests share: the harness of running kiosks, and how much hypothesis tries."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `--import-mode=importlib` gives test modules no neighbours; the harness is one.
for folder in ("integration", "crash", "network", "."):
    sys.path.insert(0, str(Path(__file__).parent / folder))

settings.register_profile(
    "ordinary",
    deadline=None,  # the machine may be busy; no test here is about time
    suppress_health_check=[HealthCheck.too_slow],  # for the same reason
    derandomize=True,  # the ordinary run says the same on every machine
    database=None,
)
settings.register_profile(
    "deep", parent=settings.get_profile("ordinary"), max_examples=20_000, derandomize=False
)
settings.load_profile("deep" if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else "ordinary")


def pytest_configure(config):
    """One file for the figures of all workers; they inherit its name."""
    if "KIOSK_FIGURES" not in os.environ:
        fd, os.environ["KIOSK_FIGURES"] = tempfile.mkstemp(prefix="kiosk-figures-")
        os.close(fd)
        config.add_cleanup(lambda: Path(os.environ.pop("KIOSK_FIGURES")).unlink())


def pytest_terminal_summary(terminalreporter):
    """What was tried, how often, and what came of it: see `tools.figure`."""
    lines = Path(os.environ["KIOSK_FIGURES"]).read_text(encoding="utf-8").splitlines()
    if lines:
        terminalreporter.section("figures")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture
def plant(tmp_path):
    """Code that each Python process of the test runs first; returns the environment for it."""

    def put(text):
        folder = tmp_path / f"plant-{len(list(tmp_path.glob('plant-*')))}"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
        return {"PYTHONPATH": str(folder)}

    return put


@pytest.fixture
def unmeasured(monkeypatch):
    """Processes of the test that leave no coverage, since they could not: see who asks for it."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)


@pytest.fixture
def gateway():
    """A sandbox gateway over real HTTP, and its ledger."""
    from kiosk.sandbox.gateway import SandboxGateway

    with SandboxGateway() as running:
        yield running


@pytest.fixture
def kiosk_at(tmp_path):
    """Makes kiosks, each in a folder of its own, and ends them."""
    from kiosk_process import Kiosk

    made = []

    def make(url, *, name="kiosk", **options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        made.append(Kiosk(folder, url, **options))
        return made[-1]

    yield make
    for kiosk in reversed(made):
        kiosk.close()


@pytest.fixture
def kiosk(kiosk_at, gateway):
    """A running kiosk before the sandbox."""
    return kiosk_at(gateway.url).start()
