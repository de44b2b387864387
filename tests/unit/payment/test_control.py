"""The control socket's thread, apart from the kiosk; with one, see tests/integration."""

import socket
import stat
import threading
from pathlib import Path

import pytest

from kiosk.errors import UsageError
from kiosk.messages import Acknowledge, Error, Ok, Press, State, encode
from kiosk.payment import control as control_module
from kiosk.payment.control import Control, ask, listen
from kiosk.payment.mailbox import CommandCame, Mailbox, ThreadDied

WAIT_S = 30


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def control(tmp_path, mailbox):
    control = Control(tmp_path / "sub" / "control.sock", mailbox.post)
    yield control
    if control._thread.is_alive():
        control.stop()


def connect(control):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(WAIT_S)
    sock.connect(str(control._path))
    return sock


def test_its_folder_is_made_and_the_socket_has_its_mode(control):
    assert stat.S_IMODE(control._path.stat().st_mode) == 0o660


def test_a_command_comes_and_its_answer_goes_to_whoever_asked(control, mailbox):
    control.publish(State(state="ready"))
    with connect(control) as one, connect(control) as two:
        one.sendall(encode(Press()))
        came = mailbox.take(WAIT_S)
        assert isinstance(came, CommandCame)
        control.reply(came.request, None)
        control.reply(came.request, "twice")  # nobody waits for a second answer
        with one.makefile("rb") as lines:
            assert b'"ready"' in lines.readline()
            assert lines.readline() == encode(Ok())
        two.setblocking(True)
        assert b'"ready"' in two.recv(1000)


def test_the_last_words_still_go_out(tmp_path, mailbox):
    for _ in range(20):
        control = Control(tmp_path / "control.sock", mailbox.post)
        with connect(control) as sock:
            sock.sendall(encode(Acknowledge()))
            came = mailbox.take(WAIT_S)
            control.reply(came.request, "goodbye")
            control.stop()
            heard = b""
            while data := sock.recv(1000):
                heard += data
            assert encode(Error(message="goodbye")) in heard
        assert not (tmp_path / "control.sock").exists()


def test_a_stopped_one_leaves_no_descriptor(tmp_path, mailbox):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(5):
        Control(tmp_path / "control.sock", mailbox.post).stop()
    assert descriptors() == before


def test_its_death_is_told(control, mailbox, monkeypatch):
    def fails(*args):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(control, "_accept", fails)
    connect(control).close()
    died = mailbox.take(WAIT_S)
    assert isinstance(died, ThreadDied)
    assert died.thread == "control"


def test_a_socket_of_the_dead_is_replaced_one_of_the_living_is_not(tmp_path):
    path = tmp_path / "control.sock"
    listen(path).close()
    second = listen(path)
    try:
        with pytest.raises(UsageError, match="another process"):
            listen(path)
    finally:
        second.close()


def test_a_socket_whose_owner_hangs_is_not_taken_over(tmp_path):
    path = tmp_path / "control.sock"
    hung = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    hung.bind(str(path))
    hung.listen(0)
    waiting = []
    try:
        for _ in range(2):  # until its queue is full
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            waiting.append(sock)
            try:
                sock.connect(str(path))
            except BlockingIOError:
                break
        with pytest.raises(UsageError, match="does not answer"):
            listen(path)
        assert path.exists()
    finally:
        for sock in (hung, *waiting):
            sock.close()


@pytest.mark.parametrize("kind", ["file", "in a file", "long"])
def test_where_no_socket_can_be(kind, tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    path = {"file": file, "in a file": file / "x", "long": tmp_path / ("y" * 200)}[kind]
    with pytest.raises(UsageError, match=r"control\.socket"):
        listen(path)
    assert file.read_text() == "kept"


def test_asking_a_kiosk_that_hangs_up(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def hang_up():
            sock, _ = listener.accept()
            sock.sendall(encode(State(state="ready")))
            sock.recv(1000)
            sock.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ConnectionError, match="without an answer"):
            ask(path, Press())
        thread.join()
    with pytest.raises(OSError, match="refused"):
        ask(path, Press())
    path.unlink()
    with pytest.raises(FileNotFoundError):
        ask(path, Press())


def test_a_client_that_does_not_read_is_dropped(control, mailbox, monkeypatch):
    monkeypatch.setattr(control_module, "UNREAD_BYTES", 10_000)
    with connect(control) as deaf:
        deaf.sendall(encode(Press()))
        assert mailbox.take(WAIT_S)
        for n in range(20_000):
            control.publish(State(state=f"state-{n}"))
        heard = b""
        while data := deaf.recv(65_536):
            heard += data
        assert b"state-19999" not in heard
