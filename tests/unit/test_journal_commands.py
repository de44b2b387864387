"""`kiosk journal ...` and the doctor where the user who asks may not enter a folder."""

import errno
import json
from pathlib import Path

import pytest

from kiosk import cli

STATE = ("--outcome", "declined", "--by", "Dilnoza", "--why", "not in the cabinet")


@pytest.fixture
def config(tmp_path):
    """A configuration whose journal would be in the folder `closed`."""
    path = tmp_path / "kiosk.yaml"
    path.write_text(
        "gateway: {url: 'http://127.0.0.1:9'}\noffer: {amount_sum: 1000}\n"
        "journal: {path: closed/j.db}\ncontrol: {socket: closed/c.sock}\n"
        "panel: {backend: simulated}\ncamera: {backend: replay, path: gone.png}\n"
    )
    return path


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder that may not be entered; by its mode root still could."""
    folder, stat = tmp_path / "closed", Path.stat
    folder.mkdir()

    def refusing(path, **follow):
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **follow)

    monkeypatch.setattr(Path, "stat", refusing)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        *(("list",), ("totals",), ("unresolved",), ("show", "X"), ("export",), ("init",)),
        ("resolve", "X", *STATE),
    ],
    ids=lambda words: words[0],
)
def test_a_journal_in_a_closed_folder_is_no_mistake_of_the_program(words, config, closed, capsys):
    assert cli.main(["journal", *words, "--config", str(config)]) == 1

    told = f"kiosk: {closed / 'j.db'}: Permission denied; run this as the user of the kiosk\n"
    assert capsys.readouterr().err == told


def test_a_copy_in_a_closed_folder_is_to_be_copied_out(config, closed, tmp_path, capsys):
    config.write_text(config.read_text().replace("closed/", ""))
    copy = closed / "journal.db"

    assert cli.main(["journal", "init", "--from", str(copy), "--config", str(config)]) == 1

    assert f"{copy}: Permission denied; copy it to where" in capsys.readouterr().err
    assert not (tmp_path / "j.db").exists()


def test_the_doctor_goes_on_beside_a_closed_folder(config, closed, capsys):
    assert cli.main(["doctor", "--json", "--config", str(config)]) == 1

    found = {line["check"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert not found["journal"]["ok"]
    assert found["journal"]["advice"] == "run this as the user of the kiosk"
    assert "camera" in found
