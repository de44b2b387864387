"""A cell of an export is what stands in the journal, and never a formula."""

import csv
import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiosk.payment import journal_report as report
from kiosk.payment.journal_report import Entry, as_csv

# The full-width forms are what some spreadsheets read as the plain ones.
SIGNS = "=+-@＝＋－＠﹢﹣﹦﹫"
BREAKS = ",;\t|\r\n"
texts = st.text(
    alphabet=st.one_of(
        st.sampled_from(SIGNS + BREAKS + "\"' \u00a0\u200b\ufeffa1("), st.characters()
    ),
    max_size=12,
)
entries = st.builds(
    Entry,
    intent=st.just("K7Q2-9FDM-4RTA"),
    offer=texts,
    amount_sum=st.integers(0, 10**9),
    outcome=st.sampled_from(["approved", "unknown", None]),
    at=st.just("2026-11-24T10:00:00.000+00:00"),
    payment_id=st.none() | texts,
    transaction_id=st.none() | texts,
    flags=st.lists(texts, max_size=2),
    resolved_by=st.none() | texts,
    reference=st.none() | texts,
    detail=texts,
    why=st.none() | texts,
    inn=st.none() | texts,
)


def is_formula(cell):
    """As the most trusting spreadsheet takes it: what goes before the sign is no obstacle."""
    for sign in cell:
        if unicodedata.normalize("NFKC", sign) in tuple("=+-@"):
            return True
        if sign != '"' and not sign.isspace() and unicodedata.category(sign) not in ("Cc", "Cf"):
            return False
    return False


def cells_of(text, delimiter):
    """As a spreadsheet cuts a file into cells; in many countries it cuts at semicolons."""
    return [
        cell
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        for cell in row
    ]


def formulas_in(text):
    return [(mark, cell) for mark in ",;\t|" for cell in cells_of(text, mark) if is_formula(cell)]


def entry(**texts):
    return Entry(
        intent="I", offer="x", amount_sum=1, outcome=None, at="2026-11-24T10:00:00+00:00", **texts
    )


@given(entries)
@example(entry(detail="=1+1"))
@example(entry(detail=" =1+1", why="\t@SUM(1)", reference="\r+1", payment_id="\n-1"))
@example(entry(detail="＝1+1", why="\u200b=1", reference="\ufeff=1", payment_id='"=1'))
@example(
    entry(detail='x;=HYPERLINK("http://e")', why="a\t=1", reference="a|=1", payment_id="a\n=1")
)
@example(entry(detail='";=1;"', why=';"=1";', payment_id="a; =1"))
def test_no_text_of_any_origin_is_a_formula_in_a_spreadsheet(found):
    assert formulas_in(as_csv([found])) == []


@given(entries)
def test_a_cell_holds_what_stands_in_the_journal(found):
    head, row = csv.reader(io.StringIO(as_csv([found]), newline=""), strict=True)
    cells = dict(zip(head, row, strict=True))
    for name, value in found.as_dict().items():
        if isinstance(value, str):
            assert cells[name].replace("'", "") == value.replace("'", "")
    assert cells["amount_sum"] == str(found.amount_sum)


def test_what_only_looks_like_a_formula_inside_stays_as_it_is():
    plain = "https://e.uz/a=b+c 5-6 x@y.uz"
    _, row = csv.reader(io.StringIO(as_csv([entry(detail=plain)])))
    assert plain in row


@pytest.mark.parametrize(
    "careless", [str, lambda value: f"'{value}" if value[:1] == "=" else value]
)
def test_a_careless_export_would_be_noticed(careless, monkeypatch):
    monkeypatch.setattr(report, "_cell", lambda value: careless(str(value or "")))
    assert formulas_in(as_csv([entry(detail=" @SUM(1)")]))
    assert formulas_in(as_csv([entry(detail="a;=1")]))
