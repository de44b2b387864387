"""One JSON object a line, and no traceback unless asked for."""

import io
import json
import logging
import sys

import pytest

from kiosk.logs import JsonFormatter, start_logging


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    levels = {n: logging.getLogger(n).level for n in ("kiosk", "hardware", "urllib3")}
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines_of(level, act, monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    start_logging(level)
    act()
    return [json.loads(line) for line in stderr.getvalue().splitlines()]


def test_fields_stand_beside_a_constant_message(monkeypatch):
    def act():
        logging.getLogger("kiosk.x").info("sending", extra={"intent": "ID-1", "why": {1, 2}})
        logging.getLogger("kiosk.x").debug("too much")
        logging.getLogger("somebody.else").info("chatter")
        logging.getLogger("somebody.else").warning("a\nb")

    first, second = lines_of("info", act, monkeypatch)
    assert first["message"] == "sending"
    assert first["intent"] == "ID-1"
    assert first["level"] == "info"
    assert first["at"].endswith("+00:00")
    assert second["message"] == "a\nb"


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_traceback_is_for_the_debug_level_only(level, monkeypatch):
    def act():
        try:
            int("x")
        except ValueError:
            logging.getLogger("kiosk.x").exception("failed")

    (line,) = lines_of(level, act, monkeypatch)
    assert ("traceback" in line) == (level == "debug")


def test_a_stderr_that_is_gone_is_no_error(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    start_logging("info")
    logging.getLogger("kiosk.x").warning("nobody hears it")


def test_a_record_without_extras():
    record = logging.makeLogRecord({"msg": "plain %s", "args": ("text",), "levelname": "INFO"})
    assert json.loads(JsonFormatter().format(record))["message"] == "plain text"


def test_a_text_from_outside_is_cut(monkeypatch):
    def act():
        logging.getLogger("kiosk.x").warning("scanner gone", extra={"detail": "x" * 60_000})

    (line,) = lines_of("info", act, monkeypatch)
    assert len(line["detail"]) < 2100
    assert line["detail"].endswith("(60000 characters)")
