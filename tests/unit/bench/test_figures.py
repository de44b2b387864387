"""Bars and tables."""

import pytest

from kiosk.bench.figures import Figure, compared, percentile, table


@pytest.mark.parametrize(
    ("bar", "measured", "reached"),
    [
        ("<= 2", 2.0, True),
        ("<= 2", 2.1, False),
        (">= 1.13", 1.2, True),
        (">= 1.13", 1.12, False),
        ("= 0", 0, True),
        ("= 0", 1, False),
        ("none", "none", True),
        ("none", "numpy", False),
        (">= 1", None, False),  # what could not be measured is not reached
        ("", 3, None),
    ],
)
def test_a_figure_tells_whether_its_bar_is_reached(bar, measured, reached):
    assert Figure(figure="f", measured=measured, bar=bar).reached is reached


def test_the_json_names_size_and_engine_where_they_matter():
    plain = Figure(figure="f", measured=1, unit="ms", bar="<= 2").as_json()
    sized = Figure(figure="f", measured=1, engine="e", size="s", detail={"n": 3}).as_json()

    assert plain == {"figure": "f", "bar": "<= 2", "measured": 1, "unit": "ms", "reached": True}
    assert (sized["engine"], sized["size"], sized["n"]) == ("e", "s", 3)


def test_a_comparison_is_one_line_with_a_column_for_each_engine():
    figures = [
        *compared("read", {"a": 1, "b": 2}, size="640x480"),
        *compared("took", {"a": 0.5, "b": None}, unit="ms"),
        Figure(figure="ratio", measured=0.25, bar="<= 0.3", notes=("a note",)),
        Figure(figure="other ratio", measured=0.4, bar="<= 0.3", notes=("a note",)),
    ]

    lines = [line.split() for line in table(figures)]

    assert lines == [
        ["a", "b"],
        ["640x480", "read", "1", "2"],
        ["took", "[ms]", "0.5", "-"],
        [],
        ["ratio", "0.25", "<=", "0.3", "reached"],
        ["other", "ratio", "0.4", "<=", "0.3", "NOT", "REACHED"],
        ["*", "a", "note"],
    ]


def test_percentiles():
    assert percentile(range(200), 99) == 198
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([1.0], 100) == 1.0
