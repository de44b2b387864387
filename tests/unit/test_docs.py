"""What the documents must explain, and that what they point to is there."""

import argparse
import re
from pathlib import Path

import pytest

from kiosk import cli
from kiosk.core.cues import Cue, Reason
from kiosk.payment.indicator import PATTERNS

ROOT = Path(__file__).parents[2]
ROOMS = ("kiosk", "hardware", "config", "tests", "image-build")
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXPLAINED = README + (ROOT / "kiosk/README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(f for room in ROOMS for f in (ROOT / room).rglob("*.md"))]
)
RECORDS = sorted((ROOT / "kiosk/decisions").glob("*.md"))

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def commands(parser, name="kiosk"):
    """Each command's full name with its options; a group of commands is none itself."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        options = [
            action.option_strings
            for action in parser._actions
            if action.option_strings and argparse.SUPPRESS not in (action.help, action.dest)
        ]
        yield name, [strings for strings in options if "--help" not in strings]
    for group in groups:
        for word, sub in group.choices.items():
            yield from commands(sub, f"{name} {word}")


COMMANDS = dict(commands(cli._parser()))
COMMON = {"--config", "--json"}


def lines_about(command):
    """Lines that name a command, as a whole: `kiosk journal` is not `kiosk journal list`."""
    return [line for line in EXPLAINED.splitlines() if re.search(rf"{command}(?![\w-])", line)]


def test_the_walk_finds_commands_within_commands_and_no_hidden_option():
    assert "kiosk journal resolve" in COMMANDS
    assert "kiosk journal" not in COMMANDS
    assert ["-o", "--output"] in COMMANDS["kiosk journal export"]
    assert all("--link-fd" not in strings for strings in COMMANDS["kiosk scanner"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command):
    lines = lines_about(f"`{command}")

    assert lines, f"no line about `{command}`"
    for strings in COMMANDS[command]:
        if not COMMON.intersection(strings):
            assert all(any(s in line for line in lines) for s in strings), strings


def test_the_common_options_are_explained():
    assert all(f"`{option}" in README for option in COMMON)


@pytest.mark.parametrize("cue", Cue)
def test_every_cue_is_explained_with_what_one_sees_and_hears(cue):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{cue.value}` |")]

    assert PATTERNS[cue].words in row


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_to_do(reason):
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{reason.value}` |")]

    assert len(row.split("|")[2].strip()) > 10


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 70])
def test_every_exit_code_is_explained(code):
    assert re.search(rf"^\| {code} \| \w", README, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document):
    for target in LINK.findall(FENCED.sub("", document.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there), target


def anchors(document):
    """The names that a heading gets: small letters, hyphens for spaces, no other signs."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_says_what_it_is_for_and_what_may_not_enter(room):
    text = (ROOT / room / "README.md").read_text(encoding="utf-8")

    assert "may not enter" in text.lower()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_every_decision_is_short_and_has_its_three_parts(record):
    lines = record.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 40
    assert lines[0].startswith(f"# {record.name[:4]} ")
    assert [line for line in lines if line.startswith("## ")] == [
        "## Context",
        "## Decision",
        "## Consequences",
    ]


def test_decisions_are_numbered_without_a_gap():
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_no_figure_is_left_open():
    assert re.findall(r"FIGURE:\w+", README) == []


def test_the_wiring_is_drawn():
    assert "](hardware/wiring.svg)" in README


def test_the_unit_starts_a_command_that_exists():
    unit = (ROOT / "image-build/systemd/kiosk.service").read_text(encoding="utf-8")
    (words,) = re.findall(r"^ExecStart=\S+/kiosk (.+)$", unit, re.MULTILINE)

    args = cli._parser().parse_args(words.split())

    assert [str(path) for path in args.config] == ["/etc/kiosk/kiosk.yaml", "/etc/kiosk/board.yaml"]
