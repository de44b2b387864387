"""`kiosk bench`: all parts, in order, as a table and as JSON."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from tools import need

from kiosk import cli
from kiosk.bench import command, corrupted, latency, timing
from kiosk.bench.command import Options, payment_figures, run_bench
from kiosk.bench.corrupted import Verdict
from kiosk.bench.figures import Figure
from kiosk.bench.latency import Latency
from kiosk.bench.payments import Paid
from kiosk.bench.timing import OWN, Times, Timing

SMALL_ONE = Options(part="frames", scenes=3, damaged=5, visits=1, workers=1)


@pytest.fixture
def quick(monkeypatch):
    """What is timed, and the processes, have tests of their own."""

    def time_frames(size, seed, *, hits, misses):
        one = Times({0: [1.0]}, {0: [1.0]})
        names = (OWN, *timing_names())
        return Timing(size, dict.fromkeys(names, one), dict.fromkeys(names, one), 5.0, 10.0)

    monkeypatch.setattr(timing, "time_frames", time_frames)
    monkeypatch.setattr(
        latency, "measure_latency", lambda size, seed, **_: Latency(size, [1.0], [0.5], 60, 70)
    )


def timing_names():
    from kiosk.bench.engines import KIOSK, RIVALS

    return (KIOSK, *RIVALS)


def test_the_json_has_every_figure_with_its_bar(quick, capsys):
    assert run_bench(SMALL_ONE, as_json=True) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all({"figure", "bar", "measured", "unit", "reached"} <= line.keys() for line in lines)
    text = "\n".join(line["figure"] for line in lines)
    for part in (
        *("hit, p50", "hit, p99", "hit, max", "miss, p50", "miss, p99", "miss, max"),
        *("gated idle frame", "memcpy", "committed frames read", "rendered scenes read"),
        *("true corners", "nothing payable", "damaged or spliced", "visits", "sensor to event"),
        "memory (RSS)",
    ):
        assert part in text
    assert {line.get("size") for line in lines} >= {"640x480", "1280x720"}


def test_the_table_tells_of_each_bar_whether_it_is_reached(quick, capsys):
    assert run_bench(SMALL_ONE, as_json=False) == 0

    said = capsys.readouterr().out
    for title in ("Time for a frame, 1280x720", "Recall", "False reads", "Simulated visits"):
        assert f"\n{title}\n---" in said
    barred = [line for line in said.splitlines() if " <= " in line or " >= " in line]
    assert barred
    assert all(line.endswith(("reached", "NOT REACHED")) for line in barred)


def test_photographs_and_the_picture_when_asked_for(quick, tmp_path, capsys):
    need(find_spec("matplotlib") is not None, "the picture is an extra: plot")
    import cv2

    photos = tmp_path / "falsepositives"
    photos.mkdir()
    cv2.imwrite(str(photos / "1.png"), np.full((50, 50), 99, dtype=np.uint8))
    options = Options(
        part="frames", scenes=3, damaged=5, visits=1, workers=1, photos=photos,
        plot=tmp_path / "figures.svg",
    )  # fmt: skip  # words, not one a line

    assert run_bench(options, as_json=False) == 0

    assert "Photographs, " in capsys.readouterr().out
    assert (tmp_path / "figures.svg").stat().st_size > 1000


def test_a_false_read_is_not_as_expected(quick, monkeypatch, capsys):
    planted = [Verdict(frozenset(), frozenset({"kiosk"}))]
    monkeypatch.setattr(corrupted, "judge_damaged", lambda *_, **__: planted)

    assert run_bench(SMALL_ONE, as_json=True) == 1


def test_a_missed_bar_of_speed_is_said_and_no_failure(monkeypatch, capsys):
    slow = Figure(figure="f", measured=3.0, bar="<= 2")
    monkeypatch.setattr(command, "payment_sections", lambda _: iter([("P", [slow])]))

    assert run_bench(Options(part="payments"), as_json=False) == 0

    assert "NOT REACHED" in capsys.readouterr().out


def test_the_figures_of_the_payment_path_keep_their_names():
    paid = Paid([1.0, 2.0], [3.0, 4.0], 20_480)
    started = {"ready_s": [0.5, 2.0], "payment_rss_mb": [30.0], "foreign": ["numpy"]}

    figures = payment_figures(paid, paid, started, 2, "TLS 1.3")

    by_name = {one.figure: one for one in figures}
    assert by_name["press to first request byte, TLS 1.3, p50"].reached
    assert by_name["written to the device for each payment"].measured == 10.0
    assert by_name["kiosk run, exec to ready, median"].reached is False
    assert by_name["numpy, cv2, decoders in the payment process"].measured == "numpy"
    assert by_name["numpy, cv2, decoders in the payment process"].reached is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frames", "--photos", "no/such"], "kiosk: --photos no/such: there is no such folder.\n"),
        (["frames", "--plot", "a.gif"], "kiosk: --plot a.gif: name a file that ends in"),
        (["payments", "--plot", "a.svg"], "kiosk: --photos and --plot belong to"),
    ],
)
def test_a_wrong_call_is_a_sentence(words, said, capsys):
    assert cli.main(["bench", *words]) == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", [["both"], ["--scenes", "0"], ["--seed", "x"]])
def test_a_wrong_number_is_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", *words])
    assert ended.value.code == 2


def test_the_command_line_reaches_the_options(monkeypatch):
    asked = []

    def run(options, *, as_json):
        asked.append((options, as_json))
        return 0

    monkeypatch.setattr(command, "run_bench", run)

    assert cli.main(["bench"]) == 0
    words = ["--seed", "9", "--scenes", "7", "--corrupted", "8", "--payments", "6", "--json"]
    assert cli.main(["bench", "frames", *words]) == 0

    assert asked == [
        (Options(), False),
        (Options(part="frames", seed=9, scenes=7, damaged=8, payments=6), True),
    ]
