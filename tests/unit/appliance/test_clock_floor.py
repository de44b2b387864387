"""The clock at a start: where it begins, and that asking leaves the journal the kiosk's."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from appliance import clock
from appliance.clock import Places
from tools import need

from kiosk.core.code import PaymeCode
from kiosk.core.intent import Intent
from kiosk.core.offer import Offer
from kiosk.payment.clock import EARLIEST, LATEST
from kiosk.payment.journal import Journal

BUILT = EARLIEST + timedelta(days=30)
NOBODY = 65534


@pytest.fixture
def places(tmp_path):
    (tmp_path / "journal").mkdir()
    found = Places(
        version=tmp_path / "version.json",
        journal=tmp_path / "journal/journal.db",
        kept=tmp_path / "clock",
        floor=tmp_path / "floor",
    )
    found.version.write_text(json.dumps({"built_at": BUILT.isoformat()}), encoding="utf-8")
    return found


def sold_at(monkeypatch, places, moment):
    """A journal with one row of then, as a kiosk that was killed leaves it: all in the `-wal`."""
    from kiosk.payment import journal as module

    monkeypatch.setattr(module, "_now", lambda: moment.isoformat(timespec="milliseconds"))
    journal = Journal.open(places.journal)
    journal.record_sending(Intent("ID-1", Offer(1000, "Tea"), PaymeCode("5" * 20)))
    journal._lock.close()
    return journal


def sees(places, now):
    """What the start makes of a machine whose clock says `now`."""
    steps = []
    code = clock.main(places, now.timestamp, steps.append)
    assert code == 0
    return datetime.fromtimestamp(steps[0], UTC) if steps else now


def test_without_anything_it_begins_at_the_build_of_the_image(places):
    assert sees(places, datetime(1970, 1, 1, tzinfo=UTC)) == BUILT


def test_the_limits_are_those_of_the_kiosk():
    assert EARLIEST.timestamp() == clock.EARLIEST_S
    assert LATEST.timestamp() == clock.LATEST_S


@pytest.mark.parametrize("module", ["json", "pathlib", "re", "typing", "enum", "sqlite3"])
def test_a_start_loads_nothing_that_it_can_spare(module):
    script = f"import sys; from appliance import clock; sys.exit({module!r} in sys.modules)"
    here = {"PYTHONPATH": "image-build:."}

    done = subprocess.run([sys.executable, "-S", "-c", script], env=here, check=False)

    assert done.returncode == 0


def test_without_even_that_at_the_release(places):
    places.version.unlink()

    assert sees(places, datetime(1970, 1, 1, tzinfo=UTC)) == EARLIEST


def test_the_last_payment_is_later_than_the_build(places, monkeypatch):
    paid = BUILT + timedelta(days=100)
    sold_at(monkeypatch, places, paid)

    assert sees(places, BUILT) == paid


def test_the_time_that_was_kept_is_later_than_both(places, monkeypatch):
    sold_at(monkeypatch, places, BUILT + timedelta(days=1))
    kept = BUILT + timedelta(days=2)
    clock.keep(places.kept)
    os.utime(places.kept, (kept.timestamp(), kept.timestamp()))

    assert sees(places, BUILT) == kept


def test_a_clock_that_is_later_than_all_stays(places, monkeypatch):
    sold_at(monkeypatch, places, BUILT + timedelta(days=1))
    now = BUILT + timedelta(days=200)

    assert sees(places, now) == now


def test_a_row_of_a_clock_gone_mad_is_no_time(places, monkeypatch):
    sold_at(monkeypatch, places, LATEST + timedelta(days=1))

    assert sees(places, BUILT - timedelta(days=1)) == BUILT


def test_the_keeper_learns_the_floor(places):
    sees(places, BUILT)

    assert float(places.floor.read_text()) == BUILT.timestamp()


def test_a_place_without_room_for_the_floor_does_not_stop_the_start(places, capsys):
    sees(Places(places.version, places.journal, places.kept, places.kept / "nowhere"), BUILT)

    assert "nowhere" in capsys.readouterr().err


def test_a_clock_that_cannot_be_set_is_told(places, capsys):
    def refuses(to_s):
        raise PermissionError(1, "Operation not permitted")

    assert clock.main(places, lambda: 0.0, refuses) == 1
    assert "cannot be set" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["", "{}", "[]", '{"built_at": 5}', '{"built_at": "soon"}', "\0"])
def test_a_version_that_says_nothing(places, said):
    places.version.write_text(said, encoding="utf-8")

    assert sees(places, datetime(1970, 1, 1, tzinfo=UTC)) == EARLIEST


# Asking the journal


@pytest.mark.parametrize("content", [b"", b"no database, but long enough to be one" * 100])
def test_a_journal_that_is_none_tells_no_time(places, content):
    places.journal.write_bytes(content)

    assert clock.last_row_at(places.journal) is None


def test_a_journal_without_a_row_tells_no_time(places):
    Journal.open(places.journal).close()

    assert clock.last_row_at(places.journal) is None


def test_no_folder_at_all(tmp_path):
    assert clock.last_row_at(tmp_path / "nowhere/journal.db") is None


def test_asking_changes_no_byte_of_it_and_leaves_nothing_that_is_not_the_owners(
    places, monkeypatch
):
    need(os.geteuid() == 0, "only root can be another user: run the tests as root")
    paid = BUILT + timedelta(days=5)
    sold_at(monkeypatch, places, paid)
    with tempfile.TemporaryDirectory() as outside:  # pytest's own folders let nobody else in
        Path(outside).chmod(0o711)
        folder = Path(outside) / "kiosk"
        folder.mkdir()
        for suffix in ("", "-wal", ".made"):
            shutil.copy(f"{places.journal}{suffix}", folder)
        kept = _bytes_of(folder)
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        folder.chmod(0o700)

        assert clock.last_row_at(folder / places.journal.name) == paid.timestamp()

        left = _bytes_of(folder)
        assert {name: left[name] for name in kept} == kept
        assert {path.stat().st_uid for path in folder.iterdir()} == {NOBODY}


def _bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("is_there", "said"), [(True, True), (False, False)])
def test_what_the_child_answers(places, monkeypatch, is_there, said):
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)  # it has nothing to give up
    if is_there:
        sold_at(monkeypatch, places, BUILT)._db.close()
    answer, tell = os.pipe()

    code = clock._answer_as(places.journal, places.journal.parent.stat(), tell)

    os.close(tell)
    with os.fdopen(answer, "rb") as pipe:
        assert bool(pipe.read()) == said
    assert code == (0 if said else clock.CHILD_FAILED)


def test_the_kiosk_opens_it_afterwards_as_if_nobody_had_asked(places, monkeypatch):
    sold_at(monkeypatch, places, BUILT + timedelta(days=5))._db.close()

    clock.last_row_at(places.journal)

    journal = Journal.open(places.journal)
    assert [row.kind.value for row in journal.rows("ID-1")] == ["sending"]
    journal.close()


def test_a_card_that_does_not_answer_ends_the_asking(places, tmp_path):
    script = (
        "from pathlib import Path; from appliance import clock; clock.MOST_ASKING_S = 1;"
        f"print(clock.last_row_at(Path({str(places.journal)!r})))"
    )
    Journal.open(places.journal).close()
    (tmp_path / "sqlite3.py").write_text(
        "import time\n"  # in the place of the real one: a read that the disk does not answer
        "class Error(Exception): pass\n"
        "def connect(*a, **k): time.sleep(60)\n"
    )
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{tmp_path}:image-build:."},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "None\n"
    assert time.monotonic() - began_s < 30


# Keeping


def test_the_kept_time_is_that_of_the_clock(places):
    clock.keep(places.kept)
    first = clock.kept_at(places.kept)
    clock.keep(places.kept)

    assert abs(clock.kept_at(places.kept) - time.time()) < 60
    assert clock.kept_at(places.kept) >= first
    assert places.kept.read_bytes() == b""


def test_the_real_clock_is_only_touched_with_the_right_to(monkeypatch):
    asked = []
    monkeypatch.setattr(time, "clock_settime", lambda *args: asked.append(args))

    clock.set_clock(5.0)

    assert asked == [(time.CLOCK_REALTIME, 5.0)]
