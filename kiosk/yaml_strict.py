"""YAML without surprises: what two readers could take differently is refused, not guessed.

The parser's events are read instead of loaded objects: they still show anchors, tags,
duplicate keys and quotes, come one by one, and need no recursion.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec
import yaml

from kiosk.yaml_scalars import plain, short, surprise
from kiosk.yaml_source import SourceError, read_text, syntax_advice

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEPTH = 16

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Place(NamedTuple):
    """Where something stands; `file` is its name as shown to people, `folder` where it lies."""

    file: str
    line: int
    folder: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Finding(NamedTuple):
    """One thing to mend. `value` is apart from `text` because it may be a secret."""

    file: str
    line: int
    key: str
    value: str
    text: str


class Scalar(msgspec.Struct):
    """A value; `refused` where it was already reported, so that nobody reports it twice."""

    key: str
    place: Place
    value: bool | int | float | str | None = None
    quoted: bool = False
    refused: bool = False


class Listing(msgspec.Struct):
    """A YAML sequence."""

    key: str
    place: Place
    items: list[Node] = []


class Mapping(msgspec.Struct):
    """A YAML mapping; keys are always taken as the text that stands there."""

    key: str
    place: Place
    entries: dict[str, Node] = {}


Node = Scalar | Listing | Mapping


class _Stop(Exception):  # noqa: N818 - the rest of the file cannot be made sense of; no error
    """Reading ends here; the finding is already noted."""


def read_document(path: Path, name: str) -> tuple[Mapping | None, list[Finding]]:
    """Read one file.

    Args:
        path: The file.
        name: What to call it in findings and places.

    Returns:
        The top mapping, and what is wrong. It is None where nothing could be made of the
        file; values that were refused one by one stay in the tree, marked.
    """
    try:
        text = read_text(path)
    except SourceError as error:
        return None, [Finding(name, line, "", "", why) for line, why in error.troubles]
    findings: list[Finding] = []
    reader = _Reader(name, str(path.absolute().parent), findings)
    try:
        reader.read(text)
    except _Stop:
        return None, findings
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        line, why = syntax_advice(error)
        findings.append(Finding(name, line, "", "", why))
        return None, findings
    if isinstance(reader.root, Mapping):
        return reader.root, findings
    if not findings:
        if reader.root is None or (isinstance(reader.root, Scalar) and reader.root.value is None):
            shown = "holds no settings; begin with the file config/kiosk.yaml"
        else:
            shown = "is no list of settings; it begins with a section such as 'gateway:'"
        findings.append(Finding(name, 0, "", "", shown))
    return None, findings


class _Reader:
    """Builds the tree from events. Containers that are still open stand on a stack."""

    def __init__(self, name: str, folder: str, findings: list[Finding]) -> None:
        self.root: Node | None = None
        self._name = name
        self._folder = folder
        self._findings = findings
        self._open: list[Mapping | Listing] = []
        self._keys: list[tuple[str, int] | None] = []  # of each open mapping, awaiting its value
        self._lines: dict[str, int] = {}
        self._documents = 0

    def read(self, text: str) -> None:
        """Take all events; findings are noted on the way."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for event in yaml.parse(text, Loader=loader):
            self._take(event)

    def _take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        line = mark.line + 1 if mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(line, "", "a second document begins here ('---'); one file holds one")
            if event.tags:
                self._stop(line, "", "a %TAG line; delete it")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, yaml.NodeEvent):
            if self._is_key_next():
                self._take_key(event, line)
            else:
                self._take_value(event, line)

    def _is_key_next(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], Mapping) and self._keys[-1] is None

    def _take_key(self, event: yaml.NodeEvent, line: int) -> None:
        where = self._open[-1].key
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._stop(line, where, "an anchor or alias (& or *); write the key itself")
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None:
            self._stop(line, where, "a key that is no plain word")
        if event.value == "<<" and not event.style:
            self._stop(line, where, "a merge key (<<); write the keys out")
        if not event.value or not event.value.isprintable() or len(event.value) > 100:
            why = "a key is empty, too long, or holds what cannot be seen"
            self._stop(line, where, f"{why}: {event.value[:40]!r}")
        self._keys[-1] = (event.value, line)

    def _take_value(self, event: yaml.NodeEvent, line: int) -> None:
        key, line, is_new = self._next_key(line)
        place = Place(self._name, line, self._folder)
        node: Node
        if isinstance(event, yaml.AliasEvent):
            self._find(line, key, "", "an alias (*); write the value itself, or quote the text")
            node = Scalar(key, place, refused=True)
        elif isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, key, place)
        elif isinstance(event, yaml.MappingStartEvent):
            node = Mapping(key, place)
        else:
            node = Listing(key, place)
        if not isinstance(event, yaml.AliasEvent):
            self._refuse_marks(event, node)
        self._put(node, is_new=is_new)
        if isinstance(node, (Mapping, Listing)):
            if len(self._open) == MAX_DEPTH:
                self._stop(line, key, f"more than {MAX_DEPTH} levels; settings are never so deep")
            self._open.append(node)
            self._keys.append(None)

    def _next_key(self, line: int) -> tuple[str, int, bool]:
        """Name the value to come: dotted key, the line of its key, whether it is new."""
        if not self._open:
            return "", line, True
        parent = self._open[-1]
        if isinstance(parent, Listing):
            return f"{parent.key}[{len(parent.items)}]", line, True
        pending = self._keys[-1]
        assert pending is not None
        name, line = pending
        key = f"{parent.key}.{name}" if parent.key else name
        if name in parent.entries:
            first = self._lines[key]
            self._find(line, key, "", f"stands there twice, first in line {first}; delete one")
            return key, line, False
        self._lines[key] = line
        return key, line, True

    def _put(self, node: Node, *, is_new: bool) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Listing):
            parent.items.append(node)
            return
        pending, self._keys[-1] = self._keys[-1], None
        if pending and is_new:
            parent.entries[pending[0]] = node

    def _scalar(self, event: yaml.ScalarEvent, key: str, place: Place) -> Scalar:
        text: str = event.value
        quoted = bool(event.style)  # None or "" where plain: the two parsers differ
        ends = event.end_mark.line + 1 if event.end_mark else place.line
        starts = event.start_mark.line + 1 if event.start_mark else place.line
        if _CONTROL.search(text) or (not quoted and starts != ends):
            why = "runs over several lines or holds a control character; keep it on one line"
            self._find(place.line, key, short(text), why)
            return Scalar(key, place, refused=True)
        if quoted:
            return Scalar(key, place, text, quoted=True)
        if advice := surprise(text):
            self._find(place.line, key, short(text), advice)
            return Scalar(key, place, refused=True)
        return Scalar(key, place, plain(text))

    def _refuse_marks(self, event: yaml.NodeEvent, node: Node) -> None:
        anchor: str | None = event.anchor
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            what = f"the tag {tag[:40]!r}"
        elif anchor is not None:
            what = f"the anchor &{anchor[:40]}"
        else:
            return
        self._find(node.place.line, node.key, "", f"{what}; delete it, or quote the text")
        if isinstance(node, Scalar):
            node.refused = True

    def _find(self, line: int, key: str, value: str, text: str) -> None:
        self._findings.append(Finding(self._name, line, key, value, text))

    def _stop(self, line: int, key: str, text: str) -> NoReturn:
        self._find(line, key, "", text)
        raise _Stop
