"""Any bytes as a configuration file: settings, or findings in plain words.

What is accepted must be what every reader of YAML would read: by the rules of YAML 1.1 (PyYAML)
and by those of YAML 1.2 (its core schema, written down here once more).
"""

import functools
import os
import re
import sys
from pathlib import Path

import yaml
from hypothesis import strategies as st
from msgspec import inspect
from planted import planted, sizes

from kiosk import settings_file, yaml_strict
from kiosk.errors import SettingsError
from kiosk.settings import FilePath, Settings

sys.path.append(str(Path(__file__).parents[1] / "unit"))
import test_settings_file as written

MOST_BYTES = 20_000
MOST_CHARACTERS = 1_000
"""Of one finding: a technician reads it on a small screen."""

# The schema is the same in every try; looking it up anew takes most of the time of one.
inspect.type_info = functools.cache(inspect.type_info)
_fd = os.memfd_create("kiosk.yaml", os.MFD_CLOEXEC)
_path = Path(f"/proc/self/fd/{_fd}")


def try_one(data):
    """Settings that mean the same to everybody, or findings that can be read."""
    os.ftruncate(_fd, 0)
    os.pwrite(_fd, data, 0)
    try:
        loaded = settings_file.load_settings([_path])
    except SettingsError as error:
        _can_be_read(error.findings)
    else:
        assert isinstance(loaded.settings, Settings)
        _judge(data, loaded.settings)


def _can_be_read(findings):
    assert 1 <= len(findings) <= settings_file.MAX_FINDINGS + 1
    for finding in findings:
        assert finding.startswith((_path.name, "... and ")), finding
        assert finding.isprintable(), finding
        assert len(finding) <= MOST_CHARACTERS, len(finding)


def _judge(data, settings):
    text = data.decode("utf-8-sig")
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        assert not isinstance(event, yaml.AliasEvent), text
        assert getattr(event, "anchor", None) is None, text
    loader = yaml.CSafeLoader(text)
    try:
        tree = loader.get_single_node()
        for old in (True, False):
            for name, section in _plain(tree, loader, old=old).items():
                for key, value in (section or {}).items():
                    taken = getattr(getattr(settings, name), key)
                    if value is not None and not _is_path(settings, name, key):
                        assert _same(value, taken), (text, name, key, value, taken)
    finally:
        loader.dispose()


def _is_path(settings, name, key):
    hint = type(getattr(settings, name)).__annotations__[key]
    return FilePath in (hint, *getattr(hint, "__args__", ()))


def _plain(node, loader, *, old):
    if isinstance(node, yaml.MappingNode):
        return {key.value: _plain(value, loader, old=old) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, loader, old=old) for item in node.value]
    if old:
        return loader.construct_object(node)
    return node.value if node.style else core_schema(node.value)


def core_schema(text):
    """What YAML 1.2.2, section 10.3.2, makes of an unquoted value."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if re.fullmatch(r"true|True|TRUE|false|False|FALSE", text):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text


def _same(read, taken):
    if isinstance(read, list):
        return len(read) == len(taken) and all(map(_same, read, taken))
    if isinstance(read, dict):
        ours = taken if isinstance(taken, dict) else {key: getattr(taken, key) for key in read}
        return read.keys() == ours.keys() and all(_same(read[key], ours[key]) for key in read)
    if isinstance(read, bool) or isinstance(taken, (bool, str)):
        return type(read) is type(taken) and read == taken
    return read == taken


GOOD = written.GOOD
_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)
_TEXTS = [
    GOOD,
    (Path(__file__).parents[2] / "config" / "kiosk.yaml").read_text(encoding="utf-8"),
    (Path(__file__).parents[2] / "config" / "demo.yaml").read_text(encoding="utf-8"),
    *(
        GOOD + _BOMB,
        GOOD + "limits: &a {max_unresolved: 5}\n",
        "[" * 9000,
        "a: " * 3000,
        "- " * 5000,
    ),
    GOOD + "limits:\n  max_unresolved: &n 9\nscan:\n  rearm_s: *n\n",
    *(
        GOOD + f"limits:\n  unknown_pause_s: {n}\n"
        for n in ("1e3", "0x10", "010", "9" * 400, ".inf")
    ),
    *(GOOD + f"panel:\n  led_pwm: {word}\n" for word in ("no", "true", "y", "~", "!!bool yes")),
    *("\x01" * 15_000, "\n\tx" * 5000, GOOD + "".join(f"k{i}: 1\n" for i in range(1500))),
    *(
        GOOD + "scan: {engines: [" + "zxinq," * 2000 + "]}\n",
        "? [" * 2000,
        "{" * 2000,
        "--- \n" * 900,
    ),
    GOOD + "locale:\n  timezone: " + "A" * 15_000 + "\n",
    f"gateway: {{url: http://b, headers: {{{'X' * 15_000}: 1}}}}\n",
    *(opened * 3000 + closed * 3000 for opened, closed in ("[]", "{}")),
    *(GOOD + "limits: " + "[" * n + "]" * n + "\n" for n in (8, 15, 2000)),
    GOOD + "limits:\n  max_unresolved: " + "{a: " * 2000 + "}" * 2000 + "\n",
    GOOD + "offer: {amount_sum: 1}\n<<: {a: b}\n%TAG ! x\n",
]
SEEDS = [text.encode() for text in _TEXTS] + [b"\xff\xfe" + GOOD.encode("utf-16-le"), b"\x00"]
WORDS = [
    *(f"{name}:".encode() for name in written.SECTIONS),
    *(
        b"url: ",
        b"amount_sum: ",
        b"headers: ",
        b"items:",
        b"source: menu",
        b"&a ",
        b"*a",
        b"!!str ",
    ),
    *(
        b"<<: ",
        b"---",
        b"...",
        b"| ",
        b"> ",
        b"? ",
        b"- ",
        b"\xef\xbb\xbf",
        b"\xc2\xa0",
        b"%YAML 1.1",
    ),
    *(b"true", b"yes", b"0x1F", b"010", b"1_000", b"1e3", b".nan", b"12:30:45", b"2026-11-24"),
]

_values = st.one_of(
    st.sampled_from(
        [
            "1",
            "0",
            "-1",
            "1.5",
            "010",
            "0x1F",
            "1e3",
            "1_000",
            "12:30",
            ".inf",
            "yes",
            "no",
            "on",
            "true",
            "True",
            "~",
            "null",
        ]
    ),
    st.sampled_from(
        [
            "*a",
            "&a",
            "!!int",
            "[]",
            "{}",
            "=",
            "<<",
            "zxing",
            "uz",
            "2026-11-24",
            "999999999999999999999",
        ]
    ),
    st.sampled_from(['"1"', "'no'", "|\n  x", "[zxing, gate]", "A: b", "text # rest", "!!int 1"]),
    st.text(max_size=10),
    st.builds(lambda sign, times: sign * times, st.sampled_from("A9.~"), sizes),
)
_KEYS = [
    (name, key)
    for name, hint in Settings.__annotations__.items()
    for key in hint.__annotations__
    if name not in ("gateway", "offer")
]


def _file(lines):
    """A sound file, with these lines in their sections."""
    sections = {}
    for (name, key), value in lines:
        sections.setdefault(name, {})[key] = value
    return GOOD + "".join(
        f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in section.items())
        for name, section in sections.items()
    )


_opening = ["[", "{", "- ", "? ", "a: ", "&a ", "*a ", "'", '"', "\t", "\x01", "!", "a:\n", ","]
inputs = st.one_of(
    st.lists(st.tuples(st.sampled_from(_KEYS), _values), max_size=5).map(_file),
    st.lists(written.LINES, max_size=12).map("\n".join),
    st.dictionaries(
        st.sampled_from(written.SECTIONS),
        st.dictionaries(written.WORDS, written.TREES, max_size=5),
        max_size=4,
    ).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)),
    st.builds(lambda text, times: text * times, st.sampled_from(_opening), sizes),
    st.builds(
        lambda pair, times: GOOD + "limits: " + pair[0] * times + pair[1] * times + "\n",
        st.sampled_from([("[", "]"), ("{a: ", "}"), ("[[", "]]"), ("- ", "")]),
        sizes,
    ),
).map(lambda text: text.encode("utf-8", "replace")[:MOST_BYTES])


# Faults


def _obeys_aliases():
    """Expands them first, as a loader of objects does."""
    real = yaml_strict.read_text

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    def read_text(path):
        text = real(path)
        if "*" not in text or len(text) > 3000 or text.count("*") > 20:
            return text
        try:
            return yaml.dump(yaml.safe_load(text), Dumper=Dumper)
        except (yaml.YAMLError, ValueError, TypeError, AttributeError):
            return text

    return planted(yaml_strict, read_text=read_text)


def _guesses():
    """As PyYAML: `no` is false, `010` is eight."""

    def plain(text):
        try:
            return yaml.safe_load(text) if text else None
        except (yaml.YAMLError, ValueError):
            return text

    return planted(yaml_strict, plain=plain, surprise=lambda _text: None)


def _quotes_whole_values():
    # Behind it stands the limit of a whole finding.
    return planted(settings_file, short=lambda text: text, _MAX_CHARACTERS=10**9)


def _looks_deeper():
    return planted(yaml_strict, MAX_DEPTH=10**9)


FAULTS = {
    "obeys an alias": _obeys_aliases,
    "guesses what `no` and `010` mean": _guesses,
    "quotes a value of any length": _quotes_whole_values,
    "looks into any depth": _looks_deeper,
}
