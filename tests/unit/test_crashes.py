"""A crash tells its place; what was in memory stays there."""

import json
import subprocess
import sys

import pytest
from kiosk_process import leaks_in
from tools import figure

from kiosk.crashes import place_of

SECRET = "50509999888877776666"


def told_by(program, **env):
    """What a process says that starts to log as the kiosk does, and then does this."""
    begin = (
        "import gc, threading\n"
        "from kiosk.crashes import leave_no_core, tell_places_only\n"
        "from kiosk.logs import start_logging\n"
        "start_logging('debug')\n"
        "tell_places_only()\n"
        f"secret = '{SECRET}'\n"
        "def fails(*_):\n"
        "    raise ValueError(secret)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", begin + program],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=env,
    )
    return done.stdout, done.stderr


IN_A_THREAD = "t = threading.Thread(target=fails); t.start(); t.join()"
IN_A_DESTRUCTOR = "class A:\n    __del__ = fails\na = A()\ndel a\ngc.collect()"


@pytest.mark.parametrize("program", [IN_A_THREAD, IN_A_DESTRUCTOR])
def test_what_nobody_caught_is_one_line_without_its_text(program):
    _, stderr = told_by(program)
    (line,) = stderr.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("critical", "uncaught")
    assert entry["error"].startswith("ValueError at ")
    assert SECRET not in stderr
    assert leaks_in(stderr) == []


@pytest.mark.parametrize("program", [IN_A_THREAD, IN_A_DESTRUCTOR])
def test_python_by_itself_would_print_it(program):
    _, stderr = told_by(program, KIOSK_DEBUG="1")
    assert SECRET in stderr
    figure("secrets, control: an exception that nobody caught prints its text in Python's own way")


def test_a_place_has_files_lines_and_no_text():
    def fails():
        raise KeyError(SECRET)

    with pytest.raises(KeyError) as caught:
        fails()
    place = place_of(caught.value)
    assert place.startswith("KeyError at test_crashes.py:")
    assert SECRET not in place


def test_a_thread_that_is_told_to_end_is_no_crash():
    _, stderr = told_by("t = threading.Thread(target=exit); t.start(); t.join()")
    assert stderr == ""


def test_no_process_of_ours_dumps_its_memory():
    show = "import resource, subprocess, sys\nleave_no_core()\n"
    ask = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    stdout, _ = told_by(f"{show}subprocess.run([sys.executable, '-c', '{ask}'])")
    # 0 where the machine forbids it anyway; less than a page is no core either way.
    assert int(stdout) <= 1
