"""`kiosk replay`: what is printed and which exit code says what."""

import io
import json

import cv2
import numpy as np
import pytest
import segno

from kiosk.errors import UsageError
from kiosk.scanner import replay as replay_module
from kiosk.scanner.replay import replay
from kiosk.scanner.stages import ZxingStage
from kiosk.settings import GatewaySettings, OfferSettings, ScanSettings, Settings

CODE, OTHER = "50501234567890123456", "50509876543210987654"
SETTINGS = Settings(
    gateway=GatewaySettings(url="http://127.0.0.1:1"),
    offer=OfferSettings(amount_sum=1000),
    scan=ScanSettings(engines=("zxing", "opencv")),
)
FIELDS = ["file", "payloads", "expected", "ok", "stage", "frames", "ms"]


@pytest.fixture
def still(tmp_path, draw):
    """Writes a picture of these contents, with what is expected beside it."""

    def written(name, *contents, expected=None, luma=None):
        luma = draw(*contents) if luma is None else luma
        assert cv2.imwrite(str(tmp_path / name), luma)
        if expected is not None:
            (tmp_path / name).with_suffix(".txt").write_text(expected)
        return tmp_path / name

    return written


def run(*paths):
    """The exit code, the lines for the files, and the summary."""
    out = io.StringIO()
    code = replay(list(paths), SETTINGS, as_json=True, out=out)
    *lines, last = [json.loads(line) for line in out.getvalue().splitlines()]
    return code, lines, last["summary"]


def test_a_code_as_expected(still):
    path = still("a.png", CODE, expected=CODE + "\n")
    code, [line], summary = run(path)
    assert code == 0
    assert list(line) == FIELDS
    assert line["file"] == str(path)
    assert (line["payloads"], line["expected"], line["ok"]) == ([CODE], [CODE], True)
    assert (line["stage"], line["frames"]) == ("zxing", 1)
    assert list(summary) == ["files", "read", "wrong", "missed", "p50_ms", "p99_ms"]
    assert (summary["files"], summary["read"], summary["wrong"], summary["missed"]) == (1, 1, 0, 0)


def test_another_code_than_expected_is_wrong(still):
    code, [line], summary = run(still("a.png", CODE, expected=OTHER))
    assert (code, line["ok"], summary["wrong"], summary["missed"]) == (1, False, 1, 1)


def test_a_code_where_none_is_expected_is_wrong(still):
    code, _, summary = run(still("a.png", CODE, expected=""))
    assert (code, summary["wrong"], summary["missed"]) == (1, 1, 0)


def test_a_code_that_is_not_read_is_missed_after_all_stages_had_their_turn(still):
    code, [line], summary = run(still("a.png", expected=CODE))
    assert (code, line["ok"], line["stage"]) == (1, False, None)
    assert (summary["read"], summary["wrong"], summary["missed"]) == (0, 0, 1)


def test_no_code_as_expected(still):
    code, [line], _ = run(still("a.png", expected=""))
    assert (code, line["payloads"], line["expected"], line["ok"]) == (0, [], [], True)


def test_without_a_text_nothing_is_expected(still):
    code, [line], _ = run(still("a.png", CODE))
    assert (code, line["expected"], line["ok"]) == (0, None, None)


def test_nothing_found_at_all_is_not_a_success(still, tmp_path):
    assert run(still("a.png"))[0] == 1
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == (
        1,
        [],
        {"files": 0, "read": 0, "wrong": 0, "missed": 0, "p50_ms": None, "p99_ms": None},
    )


def test_two_codes_are_listed_in_order(still):
    code, [line], _ = run(still("a.png", OTHER, CODE, expected=f"{CODE}\n{OTHER}\n"))
    assert (code, line["payloads"]) == (0, [CODE, OTHER])


def test_one_of_two_codes_is_missed_not_wrong(still):
    code, _, summary = run(still("a.png", CODE, expected=f"{CODE}\n{OTHER}\n"))
    assert (code, summary["wrong"], summary["missed"]) == (1, 0, 1)


def test_payloads_are_shown_raw(still):
    _, [line], _ = run(still("a.png", "https://example.com/", expected="https://example.com/\n"))
    assert line["ok"]


def test_only_one_newline_does_not_belong_to_the_payload(still):
    symbol = segno.make(CODE + "\n", micro=False)
    assert run(still("a.png", symbol, expected=CODE + "\n\n"))[0] == 0
    assert run(still("b.png", symbol, expected=CODE + "\n"))[0] == 1


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        (segno.make_sequence(CODE * 2, symbol_count=2)[0], "part"),
        (segno.make("12345", micro=True), "microqr"),
    ],
)
def test_what_is_no_whole_qr_code_is_refused_and_named(still, symbol, kind):
    code, [line], _ = run(still("a.png", symbol, expected=""))
    assert (code, line["payloads"], line["refused"]) == (0, [], [kind])


def test_a_wrong_kind_in_one_file_does_not_confirm_that_in_the_next(still, tmp_path, monkeypatch):
    monkeypatch.setattr(replay_module.Decoder, "done", True)
    for name in ("a.png", "b.png"):
        still(name, segno.make("12345", micro=True))
    _, lines, _ = run(tmp_path)
    assert all("refused" not in line for line in lines)


def test_a_folder_is_replayed_in_order_of_name(still, tmp_path):
    for name in ("b.png", "a.png"):
        still(name, CODE, expected=CODE)
    _, lines, _ = run(tmp_path)
    assert [line["file"] for line in lines] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_an_unreadable_file_is_named_and_the_others_go_on(still, tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(b"garbage")
    still("b.png", CODE, expected=CODE)
    code, [bad, good], summary = run(tmp_path)
    assert code == 1
    assert "a.png" in bad["error"]
    assert (bad["ok"], good["ok"], summary["files"]) == (False, True, 2)
    assert "unreadable file" in caplog.text


def test_a_decoder_that_fails_is_not_as_expected(still, monkeypatch):
    def fail(self, luma, now_s):
        raise RuntimeError("broken")

    monkeypatch.setattr(replay_module.Decoder, "decode", fail)
    code, [line], _ = run(still("a.png", expected=""))
    assert (code, line["ok"]) == (1, False)
    assert "broken" in line["error"]


def test_a_stage_that_fails_is_named(still, monkeypatch):
    def fail(self, luma):
        raise RuntimeError("broken")

    monkeypatch.setattr(ZxingStage, "decode", fail)
    code, [line], _ = run(still("a.png", expected=""))
    assert (code, line["ok"]) == (1, False)
    assert "zxing" in line["error"]


def test_a_payload_of_several_lines_is_one(still):
    code, [line], _ = run(still("a.png", "one\ntwo", expected="one\ntwo\n"))
    assert (code, line["ok"], line["expected"]) == (0, True, ["one\ntwo"])


def test_a_video_is_looked_at_frame_by_frame(draw, tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for luma in (draw(), draw(), draw(CODE), draw(OTHER), draw()):
        writer.write(cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR))
    writer.release()
    path.with_suffix(".txt").write_text(f"{CODE}\n{OTHER}\n")

    code, [line], _ = run(path)

    assert (code, line["payloads"], line["frames"]) == (0, [CODE, OTHER], 3)


def test_a_saved_plane_is_replayed(draw, tmp_path):
    np.save(tmp_path / "a.npy", draw(CODE))
    assert run(tmp_path / "a.npy")[1][0]["payloads"] == [CODE]


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="none"):
        run(tmp_path / "none")


def test_people_get_lines_they_can_read(still, tmp_path, capsys):
    still("a.png", CODE, expected=CODE)
    still("b.png", CODE, expected=OTHER)
    still("c.png", expected=CODE)
    still("d.png", segno.make_sequence(CODE * 2, symbol_count=2)[0], expected="")
    still("e.png", "\x1b[31mred")
    (tmp_path / "f.png").write_bytes(b"")

    assert replay([tmp_path], SETTINGS) == 1

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["ok", "WRONG", "MISS", "ok"]
    assert "(zxing, 1 frame, " in lines[0]
    assert "refused: part" in lines[3]
    assert "\x1b" not in lines[4]  # a payload does not speak to the terminal
    assert lines[5].startswith("ERROR")
    assert lines[6].startswith("6 files, 3 read, 1 wrong, 2 missed; p50 ")
