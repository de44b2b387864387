"""Reading YAML into settings: everything that is wrong is said at once, with file and line."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiosk import settings_file
from kiosk.errors import SettingsError
from kiosk.settings import Settings
from kiosk.settings_file import load_settings

GOOD = "gateway:\n  url: http://box:8080\noffer:\n  amount_sum: 15000\n"


@pytest.fixture
def write(tmp_path):
    def _write(content, name="kiosk.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def findings_of(*paths):
    with pytest.raises(SettingsError) as caught:
        load_settings(paths)
    return caught.value.findings


def test_a_minimal_file_loads_and_each_value_knows_where_it_comes_from(write):
    loaded = load_settings([write(GOOD)])

    assert loaded.settings.offer.amount_sum == 15000
    assert loaded.origins["gateway.url"] == "kiosk.yaml:2"
    assert loaded.origins["camera.fps"] == "default"


def test_later_files_override_key_by_key_and_replace_lists(write):
    first = write(
        "gateway:\n  url: http://box\n  headers: {X-A: a, X-B: b}\n"
        "offer:\n  amount_sum: 1000\n  label: Tea\nscan:\n  engines: [zxing, pyzbar]\n"
    )
    second = write(
        "gateway:\n  headers: {X-B: c}\noffer:\n  amount_sum: 2000\nscan:\n  engines: [opencv]\n",
        "site.yaml",
    )

    loaded = load_settings([first, second])

    assert loaded.settings.gateway.headers == {"X-A": "a", "X-B": "c"}
    assert loaded.settings.offer.amount_sum == 2000
    assert loaded.settings.offer.label == "Tea"
    assert loaded.settings.scan.engines == ("opencv",)
    assert loaded.origins["offer.amount_sum"] == "site.yaml:4"
    assert loaded.origins["gateway.headers.X-A"] == "kiosk.yaml:3"
    assert loaded.origins["gateway.headers.X-B"] == "site.yaml:2"


def test_null_takes_an_optional_value_away(write):
    menu = "offer:\n  source: menu\n  amount_sum: null\n  items: [{amount_sum: 1, label: a}]\n"

    loaded = load_settings([write(GOOD), write(menu, "menu.yaml")])

    assert loaded.settings.offer.amount_sum is None


def test_an_empty_section_list_or_mapping_changes_nothing(write):
    empty = "gateway:\n  headers:\noffer:\n  items:\ncamera:\nlog: ~\n"

    loaded = load_settings([write(GOOD), write(empty, "later.yaml")])

    assert loaded.settings == load_settings([write(GOOD)]).settings


def test_files_of_the_same_name_are_told_apart_by_their_path(tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "kiosk.yaml")
        paths[-1].write_text(GOOD)

    assert load_settings(paths).origins["gateway.url"] == f"{paths[1]}:2"


def test_a_relative_path_belongs_to_the_folder_of_the_file_that_names_it(write, tmp_path):
    (tmp_path / "boards").mkdir()
    board = write(
        "camera:\n  backend: replay\n  path: ../frames\n  device: video0\n", "boards/b.yaml"
    )
    main = write(GOOD.replace("url:", "ca_file: box.pem\n  url:") + "journal:\n  path: j/j.db\n")

    read = load_settings([main, board]).settings

    assert read.camera.path == str(tmp_path / "frames")
    assert read.camera.device == "video0"
    assert read.gateway.ca_file == str(tmp_path / "box.pem")
    assert read.journal.path == str(tmp_path / "j/j.db")
    assert read.control.socket == "/run/kiosk/control.sock"


def test_a_relative_file_name_is_relative_to_where_the_command_runs(write, tmp_path, monkeypatch):
    write(GOOD + "journal:\n  path: j.db\n")
    monkeypatch.chdir(tmp_path)

    assert load_settings([Path("kiosk.yaml")]).settings.journal.path == str(tmp_path / "j.db")


ONE_MISTAKE = [
    ("camera:\n  fps: 500", 6, "camera.fps: 500 is out of range (1 to 120)"),
    ("camera:\n  fps: 0", 6, "camera.fps: 0 is out of range (1 to 120)"),
    ("camera:\n  fps: 29.5", 6, "camera.fps: 29.5 is no whole number (1 to 120)"),
    ("camera:\n  stall_s: 0", 6, "camera.stall_s: 0 is out of range (above 0, up to 60)"),
    ("camera:\n  fsp: 5", 6, "camera.fsp: unknown key; did you mean camera.fps?"),
    ("fps: 5", 5, "fps: unknown key; did you mean camera.fps?"),
    ("camra:\n  fps: 5", 5, "camra: unknown key; did you mean camera?"),
    ("qqq: 5", 5, "qqq: unknown key; delete it, or use one of camera, confirm, control,"),
    ("log:\n  colour: red", 6, "log.colour: unknown key; delete it, or use one of level"),
    ('camera:\n  fps: "30"', 6, 'camera.fps: "30" is text; it wants a whole number (1 to 120): '
     "take the quotes away"),
    ("camera:\n  fps: 30 fps", 6, "camera.fps: 30 fps is text; it wants a whole number (1 to "
     "120): write 30 without a unit"),
    ("limits:\n  max_amount_sum: 5 000 000", 6, "write 5000000"),
    ("limits:\n  max_amount_sum: 5,000,000", 6, "write 5000000"),
    ("camera:\n  fps:", 6, "camera.fps: has no value; it wants a whole number (1 to 120), or "
     "delete the line for 30"),
    ("camera:\n  fps: [1]", 6, "camera.fps: is a list; it wants a whole number (1 to 120)"),
    ("camera:\n  fps:\n    a: 1", 6, "camera.fps: has keys below it; it wants a whole number"),
    ("camera:\n  fps: true", 6, "camera.fps: true is true or false; it wants a whole number"),
    ("camera:\n  loop: 1", 6, "camera.loop: 1 is a number; it wants true or false"),
    ("camera:\n  focus: near", 6, "camera.focus: near does not fit; it wants auto or a whole "
     "number (0 to 1000000)"),
    ("camera:\n  focus: -1", 6, "camera.focus: -1 is out of range (0 to 1000000)"),
    ("camera:\n  backend: v4l", 6, "camera.backend: v4l does not fit; it wants csi, replay or "
     "v4l2; did you mean v4l2?"),
    ("camera:\n  device: 0", 6, "camera.device: 0 is a number; it wants text: put it in quotes"),
    ("camera:\n  path: ''", 6, "camera.path: \"\" has 0 characters (1 to 1024 characters)"),
    ("camera: 5", 5, "camera: 5 is a number; it wants keys below it (backend, device,"),
    ("camera: fps:5", 5, "camera: fps:5 is text; it wants keys below it"),
    ("camera: [1]", 5, "camera: is a list; it wants keys below it"),
    ("scan:\n  engines: zxing", 6, "scan.engines: zxing does not fit; it wants a list"),
    ("scan:\n  engines: []", 6, "scan.engines: the list has 0 entries; it wants 1 to 5"),
    ("scan:\n  engines: [zxing, zbar]", 6, "scan.engines[1]: zbar does not fit; it wants fast, "
     "gate, opencv, pyzbar or zxing; did you mean pyzbar?"),
    ("panel:\n  press_after_s: 1", 6, "panel.press_after_s: presses by itself and exists for "
     "backend simulated only"),
    ("panel:\n  led_pin: 18", 6, "panel.buzzer_pin: 18 is the pin of led_pin as well"),
    ("limits:\n  max_amount_sum: 10000", 4, "offer.amount_sum: 15000 sum is above "
     "limits.max_amount_sum (10000)"),
    ("control:\n  socket: /run/kiosk-scanner/scanner.sock", 6, "control.socket: is also "
     "scanner.socket"),
    (f"control:\n  socket: /{'x' * 107}", 6, "has 108 bytes; the path of a socket has"),
    ("journal:\n  path: ~/j.db", 6, "journal.path: ~/j.db begins with ~"),
    ("locale:\n  timezone: asia/tashkent", 6, "locale.timezone: asia/tashkent is no time zone of "
     "this system; did you mean Asia/Tashkent?"),
    ("locale:\n  timezone: ../../etc/passwd", 6, "locale.timezone: ../../etc/passwd is no time"),
    ("locale:\n  timezone: Asia", 6, "locale.timezone: Asia is no time zone"),
]  # fmt: skip  # a table, one case a line


@pytest.mark.parametrize(("addition", "line", "expected"), ONE_MISTAKE)
def test_a_mistake_is_one_finding_with_line_key_value_and_what_to_do(
    write, addition, line, expected
):
    (finding,) = findings_of(write(GOOD + addition + "\n"))

    assert finding.startswith(f"kiosk.yaml:{line}: ")
    assert expected in finding


SURPRISES = [
    "010", "0x10", "0o17", "0b1", "1_000", "12:30:45", "12:30", "2024-01-31", "NO", "off", "yes",
    "On", "n", ".inf", "-.INF", "nan", ".NaN", "inf", "1e3", "1.5E-3", "+5", ".5", "5.", "01.5",
    "12345678901234567890", "=",
]  # fmt: skip  # words, not one a line


@pytest.mark.parametrize("text", SURPRISES)
@pytest.mark.parametrize("key", ["camera:\n  fps", "offer:\n  label", "camera:\n  loop"])
def test_what_yaml_readers_take_differently_is_refused_not_guessed(write, text, key):
    (finding,) = findings_of(write(GOOD), write(f"{key}: {text}\n", "site.yaml"))

    assert finding.startswith("site.yaml:2: ")
    assert f": {text} " in finding
    assert "in quotes" in finding


@pytest.mark.parametrize("text", [*SURPRISES, "null", "true", "15", "1.5", "<<", "*a", "&a", "!a"])
def test_in_quotes_the_same_is_text(write, text):
    site = write(f"offer:\n  label: '{text}'\n", "site.yaml")

    assert load_settings([write(GOOD), site]).settings.offer.label == text


NO_SETTINGS = [
    (b"", ": holds no settings"),
    (b"# only a note\n", ": holds no settings"),
    (b"---\n...\n", ": holds no settings"),
    (b"- a\n", ": is no list of settings"),
    (b"words\n", ": is no list of settings"),
    (b"a: 1\n---\nb: 2\n", ":2: a second document begins here"),
    (b"a: &x 1\n", ":1: a: the anchor &x"),
    (b"a: &x 1\nb: *x\n", ":2: b: an alias"),
    (b"a: !!str 1\n", ":1: a: the tag"),
    (b"a: !x {b: 1}\n", ":1: a: the tag"),
    (b"a: {<<: {b: 1}}\n", ":1: a: a merge key"),
    (b"%TAG ! tag:x:\n---\na: 1\n", "a %TAG line"),
    (b"? [a]\n: 1\n", ":1: a key that is no plain word"),
    (b"&x a: 1\n", ":1: an anchor or alias"),
    (b"'': 1\n", ":1: a key is empty"),
    (b"a:\n\tb: 1\n", ":2: a tab in the indentation"),
    (b"a:\n \xc2\xa0b: 1\n", ":2: a no-break space in the indentation"),
    (b"a:\n  b: \xff\n", ":2: byte 0xFF is no UTF-8"),
    ("a: 1\n".encode("utf-16"), ":1: is UTF-16; save it as UTF-8"),
    (b"a: 1\nb: \x00\n", ":2: the invisible character U+0000"),
    ("a: 1\nb: x\u2028y\n".encode(), ":2: the invisible character U+2028"),
    (b"a: b: c\n", ":1: is no YAML: mapping values are not allowed"),
    (b"a: 'b\n", "is no YAML"),
    (b"a: [b\n", "is no YAML"),
    (b"a: 1\n b: 2\n", "is no YAML"),
    (b"a: @b\n", ":1: is no YAML"),
    (b'a: "\\q"\n', ":1: is no YAML"),
    (b'a: "\\0"\n', ":1: a: '\\x00'... runs over several lines or holds a control character"),
    (b"a: |\n  b\n  c\n", ":1: a: 'b\\nc\\n'... runs over several lines"),
    (b"a: b\n  c\n", ":1: a: b c runs over several lines"),
    (b"[" * 100_000, "more than 16 levels"),
    (b"a: " + b"[" * 100_000, "more than 16 levels"),
    (b"{a: " * 50_000, "more than 16 levels"),
    (b"#" * 300_000, ": is larger than 256 KiB"),
]  # fmt: skip  # a table, one case a line


@pytest.mark.parametrize("with_libyaml", [True, False])
@pytest.mark.parametrize(("content", "expected"), NO_SETTINGS)
def test_what_is_no_settings_file_is_refused_with_the_reason(
    write, content, expected, with_libyaml, monkeypatch
):
    if not with_libyaml:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)

    assert any(expected in finding for finding in findings_of(write(content)))


def test_a_duplicate_key_names_both_lines(write):
    (finding,) = findings_of(write(GOOD + "log:\n  level: info\n  level: debug\n"))

    assert finding == "kiosk.yaml:7: log.level: stands there twice, first in line 6; delete one"


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_a_byte_order_mark_and_other_line_ends_are_fine(write, ends):
    path = write(b"\xef\xbb\xbf" + GOOD.replace("\n", ends).encode())

    assert load_settings([path]).origins["offer.amount_sum"] == "kiosk.yaml:4"


def test_what_is_missing_is_explained(write):
    assert findings_of(write("gateway:\n  ca_file: a\noffer:\n  label: b\n")) == [
        "kiosk.yaml:1: gateway.url is missing; it is the address of the fiscal box, such as "
        "http://192.168.1.50:8080",
        "kiosk.yaml:3: offer.amount_sum is missing; source fixed needs the price in whole sum, "
        "such as 15000",
    ]


def test_missing_sections_are_explained_as_their_keys(write):
    found = findings_of(write("log:\n  level: info\n"))

    assert [finding.partition(";")[0] for finding in found] == [
        "kiosk.yaml: gateway.url is missing",
        "kiosk.yaml: offer.amount_sum is missing",
    ]


def test_all_findings_are_reported_together_in_the_order_of_the_files(write):
    first = write(
        "gateway:\n  url: htp://box\n  read_timeout_s: 0\noffer:\n  source: menu\n"
        "  amount_sum: 1\n  items: [{amount_sum: 0, label: a}, {amount_sum: 5}, 7]\nlog: 5\n"
    )
    second = write("scan:\n  code_pattern: '['\n  rearm_s: off\ncamera:\n  fps: 0\n", "site.yaml")

    heads = [finding.partition(": ")[0] for finding in findings_of(first, second)]
    keys = [
        finding.split(": ")[1].partition(" is missing")[0] for finding in findings_of(first, second)
    ]

    assert heads == sorted(heads)
    assert keys == [
        "gateway.url", "gateway.read_timeout_s", "offer.amount_sum", "offer.items[0].amount_sum",
        "offer.items[1].label", "offer.items[2]", "log",
        "scan.code_pattern", "scan.rearm_s", "camera.fps",
    ]  # fmt: skip  # words, not one a line


def test_a_key_that_is_wrong_causes_no_further_findings(write):
    found = findings_of(write(GOOD + "panel:\n  led_pin: 99\n  button_pin: 17\n"))

    assert found == ["kiosk.yaml:6: panel.led_pin: 99 is out of range (0 to 53)"]


def test_with_one_file_unreadable_nothing_is_said_to_be_missing(write, tmp_path):
    found = findings_of(tmp_path / "gone.yaml", write("camera:\n  fps: 0\n"))

    assert found == [
        "gone.yaml: does not exist; name another with --config, or copy one there",
        "kiosk.yaml:2: camera.fps: 0 is out of range (1 to 120)",
    ]


def test_a_thousand_mistakes_are_cut_short(write):
    found = findings_of(write(GOOD + "".join(f"k{n}: 1\n" for n in range(1000))))

    assert len(found) == 51
    assert found[-1] == "... and 950 more findings"


def test_secrets_do_not_appear_in_findings(write):
    found = findings_of(
        write("gateway:\n  url: http://u:s3cret@box\n  headers: {A: 0123, B: 4567, C: ' s3cret'}\n")
    )

    assert len(found) == 5
    assert not any(secret in line for line in found for secret in ("s3cret", "0123", "4567"))


def test_a_folder_a_pipe_and_a_bad_name_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert "is a folder" in findings_of(tmp_path)[0]
    assert "is no ordinary file" in findings_of(tmp_path / "pipe")[0]
    assert (
        "cannot be read" in findings_of(Path("a\0b"))[0]
        or "does not exist" in findings_of(Path("a\0b"))[0]
    )
    assert "cannot be read" in findings_of(tmp_path / ("x" * 300))[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(write):
    path = write(GOOD)
    path.chmod(0)

    assert "may not be read by this user" in findings_of(path)[0]


def test_no_file_means_the_default_one(write, monkeypatch, tmp_path):
    monkeypatch.setattr(settings_file, "DEFAULT_PATH", tmp_path / "none.yaml")
    assert "none.yaml does not exist; give --config F" in findings_of()[0]

    monkeypatch.setattr(settings_file, "DEFAULT_PATH", write(GOOD))
    assert load_settings([]).settings.offer.amount_sum == 15000


def test_without_any_time_zones_it_says_how_to_get_them(write, monkeypatch):
    monkeypatch.setattr(settings_file, "_SYSTEM_ZONES", "/nowhere")
    monkeypatch.setattr("zoneinfo.ZoneInfo", _no_zone)
    monkeypatch.setattr("zoneinfo.available_timezones", set)

    (finding,) = findings_of(write(GOOD))

    assert finding.startswith("kiosk.yaml: locale.timezone: Asia/Tashkent ")
    assert "sudo apt install tzdata" in finding


def _no_zone(name):
    raise ValueError(name)


def test_a_zone_that_only_python_knows_is_fine(write, monkeypatch):
    monkeypatch.setattr(settings_file, "_SYSTEM_ZONES", "/nowhere")

    assert load_settings([write(GOOD)]).settings.locale.timezone == "Asia/Tashkent"


SECTIONS = Settings.__struct_fields__
WORDS = st.sampled_from(
    [*SECTIONS, "url", "fps", "items", "headers", "engines", "amount_sum", "label", "path",
     "source", "code_pattern", "timezone", "http://box", "menu", "null", "~", "no", "15000", "-1",
     "1.5", "[]", "{}", "'", '"', "&a", "*a", "!t", "<<", "---", "|", ">", "#", "?", "%TAG", "@",
     "(", "*"]
)  # fmt: skip  # words, not one a line
LINES = st.builds(
    lambda indent, key, sign, value: f"{' ' * indent}{key}{sign}{value}",
    st.integers(0, 6),
    WORDS,
    st.sampled_from([": ", ":", "", ": - ", ": [", ": {"]),
    WORDS | st.text(max_size=12),
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@pytest.fixture(scope="module")
def any_path(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "any.yaml"


def loads_or_explains(path, content):
    path.write_bytes(content)
    try:
        loaded = load_settings([path])
    except SettingsError as error:
        findings = error.findings
        assert all(finding.startswith("any.yaml") for finding in findings[:50])
    else:
        assert isinstance(loaded.settings, Settings)


# The machine may be busy; nothing here is about time.
ANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@ANY
@given(st.binary(max_size=300))
def test_any_bytes_give_settings_or_findings(any_path, content):
    loads_or_explains(any_path, content)


@ANY
@given(st.lists(LINES, max_size=12))
def test_any_lines_give_settings_or_findings(any_path, lines):
    loads_or_explains(any_path, "\n".join(lines).encode("utf-8", "replace"))


@ANY
@given(st.dictionaries(st.sampled_from(SECTIONS), st.dictionaries(WORDS, TREES, max_size=5)))
def test_any_tree_gives_settings_or_findings(any_path, tree):
    loads_or_explains(any_path, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"))
