"""The payment process's end of the scanner link; with real processes, see tests/integration."""

import contextlib
import socket
import sys
from pathlib import Path

import pytest

from kiosk.core import events
from kiosk.core.cues import Reason
from kiosk.messages import Hello, Pulse, encode
from kiosk.payment import scanner_link
from kiosk.payment.mailbox import Mailbox, ScannerSaid, ThreadDied
from kiosk.payment.scanner_link import Child, ScannerLink, Served

WAIT_S = 30


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_program_that_is_not_there_leaves_nothing_behind():
    before = descriptors()
    child = Child(["/no/such/program"])
    with pytest.raises(FileNotFoundError):
        child.open()
    assert descriptors() == before
    assert child.end() == "it was not running"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        (
            "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "import socket; socket.socket(fileno=int(sys.argv[1])).send(b'up'); time.sleep(99)",
            "killed by SIGKILL",
        ),
    ],
)
def test_how_a_child_ended_is_told(program, said, monkeypatch):
    monkeypatch.setattr(scanner_link, "STOP_WITHIN_S", 0.2)
    child = Child([sys.executable, "-c", program])
    with child.open() as sock:
        sock.recv(10)  # it is up, or it is gone
        if said.startswith("exit"):
            child._process.wait(WAIT_S)
        assert child.end() == said


class Peer:
    """A scanner that is played, one connection after the other."""

    most_back_off_s = 0.02

    def __init__(self):
        self.theirs = []
        self.ended = 0
        self.absent = False

    def open(self):
        if self.absent:
            raise OSError("nobody there")
        ours, theirs = socket.socketpair()
        self.theirs.append(theirs)
        return ours

    def end(self):
        self.ended += 1
        return "it ended somehow"


@pytest.fixture
def linked(monkeypatch):
    monkeypatch.setattr(scanner_link, "FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr(scanner_link, "HELLO_WITHIN_S", 0.5)
    monkeypatch.setattr(scanner_link, "SILENT_FOR_S", 0.5)
    peer, mailbox = Peer(), Mailbox()
    link = ScannerLink(peer, mailbox.post)
    yield peer, mailbox, link
    link.stop()
    for sock in peer.theirs:
        sock.close()


def test_hello_wishes_silence_and_a_new_life(linked):
    peer, mailbox, link = linked
    link.open_early()
    link.start()
    (theirs,) = peer.theirs
    theirs.settimeout(WAIT_S)
    theirs.sendall(encode(Hello(version="1", engines=[], camera="x")))
    assert mailbox.take(WAIT_S) == events.TroubleEnded(Reason.SCANNER_DOWN)
    assert isinstance(mailbox.take(WAIT_S), ScannerSaid)
    link.want(True)
    link.want(True)
    assert theirs.recv(1000) == b'{"type":"want","wanted":true}\n'
    # It falls silent: it is left, and the next one hears the wish as well.
    assert "does not answer" in mailbox.take(WAIT_S).detail
    while len(peer.theirs) < 2:
        pass
    peer.theirs[1].settimeout(WAIT_S)
    assert b'"wanted":true' in peer.theirs[1].recv(1000)


@pytest.mark.parametrize("data", [b"garbage\n", b"[" * 9000 + b"\n", b"x" * 100_000])
def test_what_is_no_message_ends_the_connection_not_the_thread(linked, data):
    peer, mailbox, link = linked
    link.start()
    while not peer.theirs:
        pass
    peer.theirs[0].sendall(data)
    assert "no message" in mailbox.take(WAIT_S).detail
    while len(peer.theirs) < 2:
        pass


def test_it_waits_longer_each_time_while_nobody_is_there(linked, monkeypatch):
    peer, mailbox, link = linked
    peer.absent = True
    link.open_early()
    link.start()
    for _ in range(4):
        assert mailbox.take(WAIT_S) == events.TroubleBegan(
            Reason.SCANNER_DOWN, "scanner: nobody there"
        )
    link.want(True)
    peer.absent = False
    while not peer.theirs:
        pass


def test_a_mistake_of_ours_surfaces(linked, monkeypatch):
    _, mailbox, link = linked

    def fails():
        raise RuntimeError("a mistake")

    monkeypatch.setattr(link, "_one_life", fails)
    link.start()
    died = mailbox.take(WAIT_S)
    assert isinstance(died, ThreadDied)


def test_a_peer_that_hung_up_is_no_listener(linked):
    peer, mailbox, link = linked
    link.start()
    while not peer.theirs:
        pass
    peer.theirs[0].close()
    link.want(True)
    assert mailbox.take(WAIT_S).reason is Reason.SCANNER_DOWN


def test_a_link_that_was_never_started_ends_its_early_child(linked):
    peer, _, link = linked
    link.open_early()
    link.stop()
    assert peer.ended == 1


def test_pulses_keep_a_connection(linked):
    peer, mailbox, link = linked
    link.start()
    while not peer.theirs:
        pass
    for _ in range(3):
        peer.theirs[0].sendall(encode(Pulse(frames=1, decoded=0)))
        assert isinstance(mailbox.take(WAIT_S), ScannerSaid)


def test_a_hung_scanner_whose_queue_is_full_is_not_waited_for(tmp_path):
    path = tmp_path / "scanner.sock"
    with pytest.raises(OSError, match="no scanner"):
        Served(path).open()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(path))
        hung.listen(0)
        served = Served(path)
        waiting = [served.open()]

        def fill():
            waiting.extend(served.open() for _ in range(3))

        with pytest.raises(OSError, match="no scanner"):
            fill()
        for sock in waiting:
            sock.close()
        assert served.end()


def test_a_scanner_that_was_taken_over_cannot_fill_the_mailbox(linked):
    peer, mailbox, link = linked
    link.open_early()
    (theirs,) = peer.theirs
    theirs.setblocking(False)
    flood = encode(Pulse(frames=1, decoded=1)) * 2000
    link.start()
    with contextlib.suppress(OSError):
        while flood:
            flood = flood[theirs.send(flood) :]
    heard = 0
    while isinstance(item := mailbox.take(WAIT_S), ScannerSaid):
        heard += 1
    assert heard <= scanner_link.MOST_MESSAGES_A_S
    assert "too much" in item.detail


def test_a_scanner_that_others_restart_is_asked_for_again_and_again(monkeypatch, caplog):
    monkeypatch.setattr(scanner_link, "FIRST_BACK_OFF_S", 0.01)
    peer, mailbox = Peer(), Mailbox()
    peer.absent = True
    link = ScannerLink(peer, mailbox.post)
    link.start()
    for _ in range(5):
        assert mailbox.take(WAIT_S) is not None
    link.stop()

    pauses = [r.again_in_s for r in caplog.records if r.message == "scanner gone"]
    assert pauses[:5] == [0.01, 0.02, 0.02, 0.02, 0.02]
    assert Served.most_back_off_s < Child.most_back_off_s
