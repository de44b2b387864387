"""Texts of strangers as cells of a table: shown by every spreadsheet, computed by none."""

import re
import unicodedata

_SIGNS = frozenset("=+-@")
# A file is cut at these as well: where the decimal sign is a comma, at semicolons.
_CUTS = frozenset(";\t|\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")

# In plain letters: a sign with nothing before it in its cell but what is overlooked.
_PERHAPS = re.compile(r"""^[\t\r]|(?:^|[;\t|\r\n\v\f\x1c-\x1e])["\s\x00-\x1f\x7f]*[=+\-@]""")


def harmless(text: str) -> str:
    """The text, with an apostrophe before each sign that would begin a formula.

    What spreadsheets overlook before a sign (blanks, quotes, invisible characters) does not hide
    it, nor do full-width forms.
    """
    if text.isascii() and not _PERHAPS.search(text):
        return text  # nearly every cell of a long table
    if text.startswith(("\t", "\r")):
        text = "'" + text
    safe, begins = "", True
    for sign in text:
        if begins and unicodedata.normalize("NFKC", sign) in _SIGNS:
            safe += "'"
            begins = False
        elif sign in _CUTS:
            begins = True
        elif not _is_overlooked(sign):
            begins = False
        safe += sign
    return safe


def _is_overlooked(sign: str) -> bool:
    return sign == '"' or sign.isspace() or unicodedata.category(sign) in ("Cc", "Cf")
