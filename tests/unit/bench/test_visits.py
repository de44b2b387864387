"""Simulated visits: from the phone's first frame to the first read."""

from kiosk.bench import visits
from kiosk.bench.engines import KIOSK, USUAL, ZXING
from kiosk.bench.visits import First, visit_figures


def test_a_visit_is_its_seed_and_the_kiosk_is_not_later_than_plain_zxing():
    (visit,) = visits.simulate_visits(4, 1)
    (again,) = visits.simulate_visits(4, 1)

    assert {name: (one.frames, one.right) for name, one in visit.items()} == {
        name: (one.frames, one.right) for name, one in again.items()
    }
    assert visit[KIOSK].right
    if ZXING in visit:
        assert visit[KIOSK].frames <= visit[ZXING].frames


def test_a_visit_that_was_not_read_counts_as_endless():
    right = First(3, 70.0, right=True)
    seen = [{KIOSK: right, USUAL: First(9, 300.0, right=False)}, {KIOSK: right}, {KIOSK: right}]

    figures = {
        (one.figure.split(": ")[1], one.engine): one.measured for one in visit_figures(seen, 1)
    }

    assert figures["read within 60 frames", KIOSK] == 3
    assert figures["read within 60 frames", USUAL] == 0
    assert figures["first read is wrong", USUAL] == 1
    assert figures["frames until the first read, median", KIOSK] == 3
    assert figures["ms until the first read, p90", KIOSK] == 70.0
    assert figures["frames until the first read, median", USUAL] is None
    assert figures["frames until the first read, median", ZXING] is None
