"""A message that repeats is written so often and no oftener, and what was left out is counted."""

import io
import logging

import pytest

from kiosk.log_limit import A_MINUTE, BURST, TELL_EVERY_S, SparingHandler


class Log:
    """What was written, at a time that is told."""

    def __init__(self):
        self.now_s = 1000.0
        self.stream = io.StringIO()
        self.handler = SparingHandler(self.stream, clock=lambda: self.now_s)
        self.handler.setFormatter(logging.Formatter("%(message)s"))
        self.notes = []
        write = self.handler.format

        def note(record):
            if record.getMessage() == "messages suppressed":
                self.notes.append((record.name, record.of, record.count))
            return write(record)

        self.handler.format = note

    def says(self, message, times=1, name="kiosk.x"):
        for _ in range(times):
            self.handler.handle(logging.makeLogRecord({"name": name, "msg": message}))

    def count(self, message):
        return self.stream.getvalue().splitlines().count(message)


@pytest.fixture
def log():
    return Log()


def test_a_rush_is_written_whole_and_a_flood_is_not(log):
    log.says("camera", BURST)
    assert log.count("camera") == BURST

    log.says("camera", 1000)
    assert log.count("camera") == BURST


def test_a_flood_silences_no_other_message(log):
    log.says("camera", 10_000)
    log.says("outcome")
    log.says("camera", name="kiosk.y")

    assert log.count("outcome") == 1
    assert log.count("camera") == BURST + 1


def test_what_was_left_out_is_told_once_a_minute(log):
    log.says("camera", BURST + 7)
    log.now_s += TELL_EVERY_S
    log.says("outcome")
    log.says("outcome")

    assert log.notes == [("kiosk.x", "camera", 7)]


def test_what_was_left_out_is_told_at_the_end(log):
    log.says("camera", BURST + 7)
    log.handler.close()

    assert log.notes == [("kiosk.x", "camera", 7)]


def test_a_day_of_flapping_is_written_at_the_slow_pace(log):
    times = 24 * 60 * 60
    for _ in range(times):
        log.now_s += 1
        log.says("camera", 2)

    a_day = BURST + A_MINUTE * 24 * 60
    assert log.count("camera") <= a_day
    log.handler.close()
    assert log.count("camera") + sum(count for _, _, count in log.notes) == 2 * times


def test_of_others_loggers_all_texts_count_as_one(log):
    """Theirs are not constant: each would be a message of its own."""
    for number in range(1000):
        log.says(f"text {number}", name="urllib3.x")

    assert len(log.stream.getvalue().splitlines()) == BURST
