"""The picture: same measurements, same file."""

from importlib.util import find_spec

import pytest
from tools import need

from kiosk.bench import plot
from kiosk.bench.engines import KIOSK, RIVALS
from kiosk.bench.material import SMALL
from kiosk.bench.recall import CEILING, Reading
from kiosk.bench.timing import Times, Timing
from kiosk.errors import UsageError


@pytest.fixture
def measured():
    names = (KIOSK, *RIVALS)
    readings = [
        Reading(step / 40, frozenset((*names[: 6 - step // 8], CEILING)), frozenset())
        for step in range(40)
    ]
    hit, miss = {}, {}
    for factor, name in enumerate(names, 1):
        hit[name], miss[name] = Times(), Times()
        hit[name].add(0, [0.1 * factor, 0.12 * factor, 0.11 * factor])
        miss[name].add(0, [0.9 * factor, 1.2 * factor, 2.1 * factor])
    return readings, Timing(SMALL, hit, miss, 5.0, 10.0)


@pytest.mark.parametrize(("ending", "begin"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_same_measurements_give_the_same_small_file(measured, tmp_path, ending, begin):
    need(find_spec("matplotlib") is not None, "the picture is an extra: plot")
    files = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for file in files:
        plot.draw(file, *measured, seed=1)

    one, again = (file.read_bytes() for file in files)
    assert one == again
    assert one.startswith(begin)
    assert len(one) < 200_000


def test_a_missing_matplotlib_is_said_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'payme-kiosk\[plot\]'"):
        plot.check_plot(tmp_path / "a.svg")


@pytest.mark.parametrize(("name", "said"), [("a.gif", ".png or .svg"), ("no/a.svg", "no folder")])
def test_what_cannot_be_drawn_is_said_before_the_work(tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        plot.check_plot(tmp_path / name)
