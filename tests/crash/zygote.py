"""Starts payment processes fast: loads the program once, then forks a process for each life.

Run as a script by `lives.py`, with the number of a socket. Each child runs the very
`kiosk run`, in a session of its own, after `hooks.install` was asked for a way to die.
"""

import gc
import importlib
import json
import os
import socket
import sys

import hooks

LOADED = (
    # What `kiosk run` with a simulated panel would load by itself, only earlier.
    *("encodings.utf_8_sig", "gpiozero.pins.mock", "zoneinfo"),
    *("hardware.panel", "hardware.pins", "hardware.simulation"),
    *("kiosk.cli", "kiosk.journal_commands", "kiosk.logs", "kiosk.settings_file"),
    *("kiosk.payment.control", "kiosk.payment.loop", "kiosk.watchdog", "kiosk.wiring"),
)


def load():
    """Everything, and what Python compiles and keeps with the first command line."""
    for name in LOADED:
        importlib.import_module(name)
    from kiosk.cli import _parser

    _parser()
    # A child that collects garbage would else copy every page of what is loaded.
    gc.collect()
    gc.freeze()


def main(control_fd):
    load()
    control = socket.socket(fileno=control_fd)
    while True:
        data, fds, _, _ = socket.recv_fds(control, 65_536, 2)
        if not data:
            return 0
        request = json.loads(data)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            control.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            run(request, *fds)
        for fd in fds:
            os.close(fd)
        control.send(json.dumps(pid).encode())


def run(request, stderr_fd, cue_fd):
    code = 70
    try:
        os.setsid()
        os.dup2(stderr_fd, 2)
        os.close(stderr_fd)
        hooks.install(cue_fd, **request["hooks"])
        from kiosk.cli import main as kiosk

        code = kiosk(request["argv"])
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
