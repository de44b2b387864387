"""What the kiosk writes means what the technician's file meant, and the scanner sees its part."""

import re
from pathlib import Path

import yaml
from appliance.split import split, tree_of
from hypothesis import given
from hypothesis import strategies as st

from kiosk.settings import CameraSettings
from kiosk.settings_file import load_settings

ROOT = Path(__file__).parents[3]
SCANNERS = ROOT / "image-build/systemd/scanner.yaml"


def written(folder, source):
    texts = split(tree_of(source))
    paths = [folder / "in-force.yaml", folder / "board.yaml"]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    return paths


def test_the_documented_file_means_the_same_with_every_setting_uncommented(tmp_path):
    text = (ROOT / "config/kiosk.yaml").read_text()
    for active in (False, True):
        source = tmp_path / "kiosk.yaml"
        source.write_text(re.sub(r"(?m)^( *)#(?=\w)", r"\1", text) if active else text)

        paths = written(tmp_path, source)

        assert load_settings(paths).settings == load_settings([source]).settings


def test_the_scanner_reads_its_part_and_no_key_of_the_box(tmp_path):
    source = tmp_path / "kiosk.yaml"
    source.write_text(
        "gateway:\n  url: http://box\n  headers: {X-Api-Key: abcdef}\noffer:\n  amount_sum: 1500\n"
        "camera:\n  fps: 15\nscan:\n  engines: [zxing]\npanel:\n  led_pin: 5\n"
        "device:\n  wifi_ssid: a\n  wifi_password: abcdefgh\n"
    )

    _, board = written(tmp_path, source)
    settings = load_settings([SCANNERS, board]).settings

    assert settings.camera.fps == 15
    assert settings.scan.engines == ("zxing",)
    assert settings.panel.led_pin == 5
    assert "abcdef" not in board.read_text()
    assert set(yaml.safe_load(board.read_text())) == {"camera", "scan", "panel"}


def test_without_a_word_about_the_board_there_is_a_file_all_the_same(tmp_path):
    source = tmp_path / "kiosk.yaml"
    source.write_text("gateway:\n  url: http://box\noffer:\n  amount_sum: 1500\ncamera:\n")

    _, board = written(tmp_path, source)

    assert load_settings([SCANNERS, board]).settings.camera == CameraSettings()


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn", "Co", "Cf"]),
            min_size=1, max_size=64),
    st.floats(min_value=0.0001, max_value=30),
)  # fmt: skip  # two lines, not seven
def test_any_text_and_number_means_the_same(tmp_path_factory, label, seconds):
    folder = tmp_path_factory.mktemp("split")
    quoted = label.replace("'", "''")
    source = folder / "kiosk.yaml"
    source.write_text(
        f"gateway:\n  url: http://box\n  connect_timeout_s: {seconds:.8f}\n"
        f"offer:\n  amount_sum: 1500\n  label: '{quoted}'\n"
    )

    assert load_settings(written(folder, source)).settings == load_settings([source]).settings


def test_a_file_that_is_none_is_an_empty_tree(tmp_path):
    path = tmp_path / "kiosk.yaml"
    path.write_bytes(b"\xff\xfe")

    assert tree_of(path) == {}
