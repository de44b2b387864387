"""The text of a YAML file, and plain words for what is wrong with it."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 256 * 1024
MOST_TROUBLES = 100
"""Nobody reads more of them, and a file can be made to have as many as it has bytes."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BAD_INDENT = re.compile("^ *(?P<odd>[\t\u00a0])[ \t\u00a0]*(?=[^\\s#])", re.MULTILINE)


class SourceError(Exception):
    """There is no text to read YAML from; `troubles` are lines (0: none) with the reason."""

    def __init__(self, troubles: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(why for _, why in troubles))
        self.troubles = troubles


def read_text(path: Path) -> str:
    """Read a file as UTF-8 with plain line ends and nothing invisible in it.

    Raises:
        SourceError: It cannot be read, is too large, or holds what YAML or people misread.
    """
    data = _read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError([(1, "is UTF-16; save it as UTF-8")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        odd = data[error.start]
        raise SourceError([(line, f"byte 0x{odd:02X} is no UTF-8; save it as UTF-8")]) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    troubles = [
        (_line_of(text, sign.start()), f"the invisible character U+{ord(sign[0]):04X}; delete it")
        for sign in islice(_UNPRINTABLE.finditer(text), MOST_TROUBLES)
    ]
    for indent in islice(_BAD_INDENT.finditer(text), MOST_TROUBLES):
        kind = "a tab" if indent["odd"] == "\t" else "a no-break space"
        why = f"{kind} in the indentation; use ordinary spaces"
        troubles.append((_line_of(text, indent.start()), why))
    if troubles:
        raise SourceError(troubles)
    return text


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise SourceError([(0, "is a folder; name the file in it")])
        # A pipe or a device could block for ever.
        if path.exists() and not path.is_file():
            raise SourceError([(0, "is no ordinary file")])
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        why = "does not exist; name another with --config, or copy one there"
        raise SourceError([(0, why)]) from None
    except PermissionError:
        why = "may not be read by this user; run it as the user of the kiosk: sudo -u kiosk"
        raise SourceError([(0, why)]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError([(0, f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        why = f"is larger than {MAX_BYTES // 1024} KiB; this is no settings file"
        raise SourceError([(0, why)])
    return data


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


_ADVICE = (
    ("mapping values are not allowed", "a colon too many or a wrong indentation; text with ': '"),
    ("could not find expected ':'", "a key needs a colon and a space after it"),
    ("cannot start any token", "text that begins with this sign needs quotes"),
    ("unexpected end of stream", "a quote is opened and never closed"),
    ("end of stream", "a quote or bracket is opened and never closed"),
    ("expected ',' or", "a bracket is opened and never closed"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("block end", "the indentation does not fit the lines above"),
    ("did not find expected key", "the indentation does not fit the lines above"),
    ("escape", r"inside double quotes write \\ for a backslash, or use single quotes"),
    ("nesting", "too many brackets"),
)


def syntax_advice(error: Exception) -> tuple[int, str]:
    """Give the line and a sentence for what the YAML parser said."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or str(error).partition("\n")[0])
    advice = next((advice for sign, advice in _ADVICE if sign in problem), "see the line above too")
    if advice.endswith("': '"):
        advice += " in it needs quotes"
    return (mark.line + 1 if mark else 0), f"is no YAML: {problem}: {advice}"
