"""However often a trouble repeats, the log stays small, and says how much it left out.

A camera that flaps, a scanner that comes and goes, commands that mean nothing, and codes that
change in every frame; all at once, before a running kiosk.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections import Counter

from kiosk_process import a_code
from tools import figure

from kiosk.log_limit import A_MINUTE, BURST

FLAPS = int(os.environ.get("LOG_FLAPS", "400"))
A_LINE_BYTES = 400
UNLIMITED = "import kiosk.log_limit as limit; limit.BURST = 10**9"


def hostile_clients(path, ended):
    """Clients that never read, and clients that send what is no command."""
    while not ended.is_set():
        with contextlib.ExitStack() as closing, contextlib.suppress(OSError):
            for _ in range(8):
                sock = closing.enter_context(socket.socket(socket.AF_UNIX))
                sock.settimeout(1)
                sock.connect(str(path))
                sock.sendall(b'{"type": "rubbish"}\n' * 3000 + b"\xff\x00\n" * 50)
        time.sleep(0.02)


def flap(kiosk, times):
    """A camera that comes and goes, with other codes in each frame while it is there."""
    for count in range(times):
        kiosk.scanner.camera(ok=count % 2 == 1, detail="" if count % 2 else f"no. {count} is gone")
        if count % 2:
            kiosk.scanner.show(*(a_code() for _ in range(1 + count % 3)), "rubbish")
        if count % 100 == 99:
            kiosk.scanner.hang_up()
        time.sleep(0.004)


def messages_in(kiosk):
    """How often each message came, by the process's own words; and all their bytes."""
    lines = [json.loads(line) for line in kiosk.stderr.splitlines()]
    return Counter(line["message"] for line in lines), lines


def flapped(kiosk, gateway):
    kiosk.ready()
    began_s = time.monotonic()
    ended = threading.Event()
    threads = [
        threading.Thread(target=hostile_clients, args=(kiosk.folder / "control.sock", ended))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    try:
        flap(kiosk, FLAPS)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    kiosk.scanner.camera(ok=True)
    kiosk.follow()  # a client of its own, since the kiosk may have taken it for a hostile one
    kiosk.ready()
    time.sleep(0.8)
    assert kiosk.pay(a_code()).outcome == "approved"
    assert kiosk.stop() == 0
    return (time.monotonic() - began_s) / 60


def test_a_trouble_that_repeats_does_not_fill_the_card(kiosk, gateway):
    minutes = flapped(kiosk, gateway)

    counts, lines = messages_in(kiosk)
    most = BURST + A_MINUTE * minutes + 1
    assert {message: n for message, n in counts.items() if n > most} == {}
    # What was left out is said, and what tells of money was not left out.
    notes = [line for line in lines if line["message"] == "messages suppressed"]
    suppressed = Counter()
    for note in notes:
        suppressed[note["of"]] += note["count"]
    assert suppressed["camera"] > 0
    assert counts["sending"] == counts["outcome"] == len(gateway.ledger.requests) == 1
    assert len(kiosk.stderr) < len(lines) * A_LINE_BYTES
    figure(
        f"log under {FLAPS} flaps of camera and codes with hostile clients: {len(lines)} lines,"
        f" {len(kiosk.stderr)} bytes, {sum(suppressed.values())} messages suppressed and counted"
    )


def test_control_a_log_without_the_limit_is_noticed(kiosk_at, gateway, plant):
    kiosk = kiosk_at(gateway.url).start(env=plant(UNLIMITED))

    minutes = flapped(kiosk, gateway)

    counts, _ = messages_in(kiosk)
    assert counts["camera"] > BURST + A_MINUTE * minutes + 1
