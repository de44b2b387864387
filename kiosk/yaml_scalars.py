"""Unquoted YAML values: what each is, and which are refused because readers disagree."""

import re


def short(text: str) -> str:
    """A value for a message: on one line and not too long."""
    return text if len(text) <= 60 and text.isprintable() else f"{text[:60]!r}..."


_INT = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def plain(text: str) -> bool | int | float | str | None:
    """Read an unquoted value as every YAML reader would."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


_TOGGLES = frozenset({"yes", "no", "on", "off", "y", "n"})
_NO_NUMBERS = frozenset({"inf", "infinity", "nan"})
# Not compiled in advance: most files hold no value that gets so far, and loading is timed.
_SURPRISES = (
    (r"[-+]?[0-9]{19,}", "has more digits than a number keeps"),
    (r"[-+]?0[0-9_]+", "is octal to some readers; write it without the leading zero"),
    (r"[-+]?0[xXoObB][0-9A-Fa-f_]*", "is no decimal number; write it with the digits 0 to 9"),
    (r"[-+]?(?=[0-9._]*_)[0-9][0-9._]*", "has an underscore in it; write digits only"),
    (r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9_]*)?", "is a number to base 60 to some readers"),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?", "is a date to some readers"),
    (r"(?i)[-+.]*(inf|infinity|nan)", "is no number that can be waited for or paid"),
    (r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+", "is text to some readers; write it out"),
    (r"\+[0-9.]+|-?\.[0-9]+|-?[0-9]+\.|[-+]?0[0-9]+\.[0-9]*", "write it like 0.5 or 5"),
    (r"-?[0-9]+\.[0-9]+", "has more digits than a number keeps"),
    (r"=|<<", "means something else to some readers"),
)


def surprise(text: str) -> str | None:
    """Say why an unquoted value is refused, or None."""
    if text in _WORDS or _INT.fullmatch(text) or _FLOAT.fullmatch(text):
        return None
    why = None
    if text.lower() in _TOGGLES:
        why = "is true or false to some readers; write true or false"
    elif text[0] in "0123456789+-.=<" or text.lower() in _NO_NUMBERS:
        why = next((why for pattern, why in _SURPRISES if re.fullmatch(pattern, text)), None)
    return f"{why}, or put it in quotes where text is meant" if why else None
