"""A cell of an export is what stands in the journal, and never a formula."""

import csv
import io
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiosk.payment import csv_cells
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


MISREAD = [
    *("00000011", "1234567890e12", "1E+5", "998712565009", "50502044301381396427"),
    *("1-2", "3/4", "12:30", "2026-11-24", "1.5", "1,5", "10 000", "5 %", "$5"),
    *("MAR-12", "12 Jan", "Jan 2026", "12 мая", "12 pm", "TRUE", "false"),
]
TAKEN_AS_TEXT = [
    "696e0246c9a128176d5934d8",
    "order-42",
    "Tea 2",
    "Чай 2",
    "K7Q2-9FDM-4RTA",
    "March",
]


def a_row(**texts):
    head, row = csv.reader(io.StringIO(as_csv([entry(**texts)]), newline=""))
    return dict(zip(head, row, strict=True))


@pytest.mark.parametrize("text", MISREAD)
def test_text_that_a_spreadsheet_would_change_has_an_apostrophe(text):
    """Quotes do not prevent it: LibreOffice 7.4 made 11 of "00000011", Excel does so too."""
    row = a_row(payment_id=text, kkm_id=text, reference=text, why=text)
    assert {row[name] for name in ("payment_id", "kkm_id", "reference", "why")} == {"'" + text}
    assert row["amount_sum"] == "1"


@pytest.mark.parametrize("text", TAKEN_AS_TEXT)
def test_text_that_is_taken_as_it_is_has_none(text):
    assert a_row(payment_id=text, reference=text)["payment_id"] == text


def test_an_apostrophe_is_enough(monkeypatch):
    assert a_row(reference="+5")["reference"] == "'+5"
    monkeypatch.setattr(report, "_text_cell", lambda value: value)
    assert a_row(kkm_id="00000011")["kkm_id"] == "00000011"  # which is what it prevents


@given(texts)
def test_a_quick_look_at_plain_text_finds_what_the_long_one_finds(text):
    quick = csv_cells.harmless(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_cells, "_PERHAPS", re.compile(""))
        assert csv_cells.harmless(text) == quick
