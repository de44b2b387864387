"""A figure: what was measured, its bar where it has one, and how it is shown."""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
}
Measured = float | int | str | None
_NAME, _COLUMN, _BAR = 66, 15, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the bench.

    Attributes:
        figure: What it is.
        measured: The number; None where there is none.
        unit: Its unit; empty for a count or a ratio.
        bar: What it has to reach, such as `<= 2` or `none`; empty where it has no bar.
        engine: Who was measured, in a comparison of several; else empty.
        size: Of the frames, such as `640x480`, where it matters.
        detail: What else a reader of the JSON may want.
        notes: Sentences for below the table.
    """

    figure: str
    measured: Measured
    unit: str = ""
    bar: str = ""
    engine: str = ""
    size: str = ""
    detail: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def reached(self) -> bool | None:
        """Whether the bar is reached; None without a bar."""
        if not self.bar or self.measured is None:
            return None if not self.bar else False
        found = re.match(r"(<=|>=|=) ([0-9.]+)", self.bar)
        if found is None or isinstance(self.measured, str):
            return self.measured == self.bar
        return _RELATIONS[found[1]](self.measured, float(found[2]))

    def as_json(self) -> dict[str, object]:
        """The fields of its line of JSON."""
        line: dict[str, object] = {
            "figure": self.figure,
            "bar": self.bar,
            "measured": self.measured,
            "unit": self.unit,
            "reached": self.reached,
        }
        line |= {"size": self.size} if self.size else {}
        line |= {"engine": self.engine} if self.engine else {}
        return line | self.detail


def compared(
    figure: str, values: dict[str, Measured], *, unit: str = "", size: str = ""
) -> list[Figure]:
    """Make a line of a comparison: one figure for each engine."""
    return [
        Figure(figure=figure, measured=value, unit=unit, engine=engine, size=size)
        for engine, value in values.items()
    ]


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """Lay figures out: comparisons with a column for each engine, then those with bars, then notes.

    Args:
        figures: Of one part of the bench, in their order.
    """
    engines = list(dict.fromkeys(one.engine for one in figures if one.engine))
    if engines:
        yield " " * _NAME + "".join(f"{engine:>{_COLUMN}}" for engine in engines)
        rows: dict[tuple[str, str, str], dict[str, Figure]] = {}
        for one in figures:
            if one.engine:
                row = rows.setdefault((one.figure, one.size, one.unit), {})
                row[one.engine] = one
        for (name, size, unit), row in rows.items():
            cells = (_shown(row[engine].measured) if engine in row else "" for engine in engines)
            yield f"{_titled(name, size, unit):<{_NAME}}" + "".join(
                f"{cell:>{_COLUMN}}" for cell in cells
            )
        yield ""
    for one in figures:
        if not one.engine:
            yield _single(one)
    yield from _notes(figures)


def _single(one: Figure) -> str:
    verdict = {True: "reached", False: "NOT REACHED", None: ""}[one.reached]
    measured = f"{_shown(one.measured)} {one.unit}".rstrip()
    name = _titled(one.figure, one.size, "")
    return f"{name:<{_NAME}}{measured:>{_COLUMN}}   {one.bar:<{_BAR}}{verdict}".rstrip()


def _titled(name: str, size: str, unit: str) -> str:
    where = f" [{unit}]" if unit else ""
    return f"{size}  {name}{where}" if size else f"{name}{where}"


def _shown(measured: Measured) -> str:
    match measured:
        case None:
            return "-"
        case float() if abs(measured) >= 100:
            return f"{measured:.0f}"
        case float():
            return f"{measured:.3g}"
        case _:
            return str(measured)


def _notes(figures: Iterable[Figure]) -> Iterator[str]:
    for note in dict.fromkeys(note for one in figures for note in one.notes):
        yield f"  * {note}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent of the values lie; the largest for 100."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
