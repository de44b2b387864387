"""Starts payment processes fast: loads the program once, then forks a process for each life.

Run as a script by `lives.py`, with the number of a socket. Each child runs the very
`kiosk run`, in a session of its own, after `hooks.install` was asked for a way to die.
"""

import json
import os
import socket
import sys

import hooks


def main(control_fd):
    import gpiozero.pins.mock  # noqa: F401 - what `kiosk run` would load by itself, only earlier

    import kiosk.payment.loop
    import kiosk.settings_file
    import kiosk.wiring  # noqa: F401 - as above

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
