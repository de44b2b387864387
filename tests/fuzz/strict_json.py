"""A second reader of JSON, by the letter of RFC 8259: what it refuses, nobody has to believe.

Written apart from the product and shares nothing with it, the standard library's parser included.
"""

import re

MAX_DEPTH = 150
_SPACE = b" \t\n\r"
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_ESCAPES = {
    b'"': '"',
    b"\\": "\\",
    b"/": "/",
    b"b": "\b",
    b"f": "\f",
    b"n": "\n",
    b"r": "\r",
    b"t": "\t",
}
_HEX = re.compile(rb"[0-9a-fA-F]{4}")


class RefusedError(Exception):
    """This is no JSON, or has a key twice."""


class TooDeepError(Exception):
    """This reader gives no verdict."""


def read(data):
    """The value; numbers with a fraction or an exponent come as float, others as int."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("not UTF-8") from None
    value, at = _value(data, _skip(data, 0), 0)
    if _skip(data, at) != len(data):
        raise RefusedError("something follows")
    return value


def _skip(data, at):
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


def _value(data, at, depth):
    if depth > MAX_DEPTH:
        raise TooDeepError
    first = data[at : at + 1]
    if first == b"{":
        return _object(data, at, depth)
    if first == b"[":
        return _array(data, at, depth)
    if first == b'"':
        return _string(data, at)
    for word, value in ((b"true", True), (b"false", False), (b"null", None)):
        if data.startswith(word, at):
            return value, at + len(word)
    found = _NUMBER.match(data, at)
    if found is None:
        raise RefusedError("no value")
    is_whole = found[1] is None and found[2] is None
    if len(found[0]) > 4000:
        raise RefusedError("too long a number")
    return (int(found[0]) if is_whole else float(found[0])), found.end()


def _object(data, at, depth):
    members = {}
    at = _skip(data, at + 1)
    if data[at : at + 1] == b"}":
        return members, at + 1
    while True:
        if data[at : at + 1] != b'"':
            raise RefusedError("no key")
        key, at = _string(data, at)
        at = _skip(data, at)
        if data[at : at + 1] != b":":
            raise RefusedError("no colon")
        if key in members:
            raise RefusedError("a key twice")
        members[key], at = _value(data, _skip(data, at + 1), depth + 1)
        at = _skip(data, at)
        if data[at : at + 1] == b"}":
            return members, at + 1
        if data[at : at + 1] != b",":
            raise RefusedError("no comma")
        at = _skip(data, at + 1)


def _array(data, at, depth):
    items = []
    at = _skip(data, at + 1)
    if data[at : at + 1] == b"]":
        return items, at + 1
    while True:
        value, at = _value(data, _skip(data, at), depth + 1)
        items.append(value)
        at = _skip(data, at)
        if data[at : at + 1] == b"]":
            return items, at + 1
        if data[at : at + 1] != b",":
            raise RefusedError("no comma")
        at += 1


def _string(data, at):
    text, at = "", at + 1
    while True:
        plain = _PLAIN.match(data, at)
        text += plain[0].decode()
        at = plain.end()
        sign = data[at : at + 1]
        if sign == b'"':
            # Two halves of UTF-16 make one sign; one alone stays what it is.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"), at + 1
        if sign != b"\\":
            raise RefusedError("a string without an end, or with a control character")
        escape = data[at + 1 : at + 2]
        if escape == b"u":
            four = _HEX.match(data, at + 2)
            if four is None:
                raise RefusedError("no escape")
            text += chr(int(four[0], 16))
            at += 6
        elif escape in _ESCAPES:
            text += _ESCAPES[escape]
            at += 2
        else:
            raise RefusedError("no escape")
