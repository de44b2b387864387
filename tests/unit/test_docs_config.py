"""Every key of the schema stands in config/kiosk.yaml, with its default and its range."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml
from msgspec import NODEFAULT, inspect

from kiosk.settings import Settings
from kiosk.settings_file import load_settings
from kiosk.settings_words import limits

CONFIG = Path(__file__).parents[2] / "config"
MAIN = CONFIG / "kiosk.yaml"
BOARDS = sorted((CONFIG / "boards").glob("*.yaml"))

SECTION = re.compile(r"(\w+):")
SETTING = re.compile(r"  #?(\w+): (.*)")
NOTE = re.compile(r"  # ?(.*)")


def documented():
    """Each key with what stands behind its colon and the note above it."""
    keys, section, note, was_setting = {}, "", [], False
    for line in MAIN.read_text().splitlines():
        if match := SECTION.match(line):
            section, note = match[1], []
        elif match := SETTING.fullmatch(line):
            keys[f"{section}.{match[1]}"] = (match[2], " ".join(note))
            was_setting = True
        elif match := NOTE.fullmatch(line):
            # A note holds for all settings that follow it directly.
            note = [match[1]] if was_setting else [*note, match[1]]
            was_setting = False
    return keys


FIELDS = {
    f"{section.name}.{field.name}": field
    for section in inspect.type_info(Settings).fields
    for field in section.type.fields
}


def parts(info):
    """A type and the types within it that a value has to fit."""
    info = info.type if isinstance(info, inspect.Metadata) else info
    yield info
    if isinstance(info, inspect.UnionType):
        for each in info.types:
            yield from parts(each)
    elif isinstance(info, inspect.VarTupleType):
        yield from parts(info.item_type)
    elif isinstance(info, inspect.StructType):
        for field in info.fields:
            yield from parts(field.type)


def words_for(info):
    """What the note has to say about a type."""
    match info:
        case inspect.IntType() | inspect.FloatType() | inspect.StrType():
            return [limits(info)]
        case inspect.LiteralType():
            return [str(value) for value in info.values]
        case inspect.BoolType():
            return ["true or false"]
        case inspect.VarTupleType(min_length=int(few), max_length=int(many)):
            return [f"{few} to {many} entries"]
        case _:
            return []


def test_the_file_names_every_key_and_no_other():
    assert set(documented()) == set(FIELDS)


@pytest.mark.parametrize("key", FIELDS)
def test_a_key_is_documented_with_default_and_range(key):
    field = FIELDS[key]
    value, note = documented()[key]

    for info in parts(field.type):
        for word in words_for(info):
            assert word.lower() in note.lower()
    default = field.default if field.default is not NODEFAULT else field.default_factory
    if default is NODEFAULT:
        assert "Must be set." in note
    elif default is None:
        assert "None by default" in note or "Must be set there." in note
    else:
        shown = default() if callable(default) else default
        assert yaml.safe_load(value) == msgspec.json.decode(msgspec.json.encode(shown))


def test_a_key_with_a_default_is_not_active():
    active = set(re.findall(r"^  (\w+):", MAIN.read_text(), re.MULTILINE))

    assert active == {"url", "amount_sum"}


def test_the_file_loads_as_it_stands():
    settings = load_settings([MAIN]).settings

    assert settings.offer.source == "fixed"
    assert settings.offer.amount_sum == 15000


def test_the_file_loads_with_every_setting_uncommented(tmp_path):
    path = tmp_path / "kiosk.yaml"
    path.write_text(re.sub(r"(?m)^( *)#(?=\w)", r"\1", MAIN.read_text()))

    origins = load_settings([path]).origins

    assert {key for key, origin in origins.items() if origin == "default"} <= {
        "gateway.headers",
        "offer.items",
    }


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: path.stem)
def test_a_board_lies_over_the_file_with_pins_and_camera_only(board):
    origins = load_settings([MAIN, board]).origins

    keys = {key for key, origin in origins.items() if origin.startswith(board.name)}
    assert {key.partition(".")[0] for key in keys} == {"panel", "camera"}


def test_there_are_boards():
    assert BOARDS


def test_the_demo_needs_no_hardware_and_no_root():
    settings = load_settings([CONFIG / "demo.yaml"]).settings

    assert settings.camera.backend == "replay"
    assert settings.camera.path == str(CONFIG.parent / "tests" / "data" / "frames")
    assert settings.panel.backend == "simulated"
    for path in (settings.journal.path, settings.control.socket, settings.scanner.socket):
        assert path.startswith("/tmp/payme-kiosk/")
