"""What the card's programs hear of the kiosk: from its own socket, and believed in nothing."""

import socket
import threading
import time

import msgspec
import pytest
from appliance import control
from appliance.control import Kiosk, Listener, ask, plain, understood

from kiosk import messages
from kiosk.payment.control import Control
from kiosk.settings import ControlSettings

STATE = messages.State(
    state="out_of_service",
    reasons=["camera_down"],
    details={"camera_down": "unplugged"},
    unresolved=2,
    scanner=True,
    started_by_box_s=1.8e9,
)
HEARD = Kiosk("out_of_service", {"camera_down": "unplugged"}, 2, True, 1.8e9)


@pytest.fixture
def kiosk(tmp_path):
    served = Control(tmp_path / "control.sock", lambda post: None)
    yield served
    served.stop()


@pytest.fixture
def listener(tmp_path):
    listener = Listener(tmp_path / "control.sock")
    yield listener
    listener.close()


def heard(listener, wanted, most_s=10):
    until_s = time.monotonic() + most_s
    while listener.kiosk != wanted and time.monotonic() < until_s:
        listener.listen()
        time.sleep(0.01)
    return listener.kiosk


def test_it_hears_what_the_real_socket_says(kiosk, listener):
    kiosk.publish(STATE)

    assert heard(listener, HEARD) == HEARD
    kiosk.publish(msgspec.structs.replace(STATE, state="ready", reasons=[], details={}))
    ready = Kiosk("ready", {}, 2, True, 1.8e9)
    assert heard(listener, ready) == ready
    assert listener.fileno() is not None


def test_a_kiosk_that_ends_is_forgotten_and_one_that_comes_is_found(tmp_path, listener):
    listener.listen()
    assert (listener.kiosk, listener.fileno()) == (None, None)
    served = Control(tmp_path / "control.sock", lambda post: None)
    served.publish(STATE)
    assert heard(listener, HEARD) == HEARD

    served.stop()

    assert heard(listener, None) is None
    served = Control(tmp_path / "control.sock", lambda post: None)
    served.publish(STATE)
    assert heard(listener, HEARD) == HEARD
    served.stop()


def test_it_can_be_asked_once(kiosk, tmp_path):
    kiosk.publish(STATE)

    assert ask(tmp_path / "control.sock") == HEARD
    assert ask(tmp_path / "nobody.sock") is None


def test_where_it_stands_is_where_the_kiosk_puts_it():
    assert str(control.SOCKET) == ControlSettings().socket


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"5",
        b'{"type":"ok"}',
        b'{"type":"state"}',
        b'{"type":"state","state":"ready","reasons":5}',
        b'{"type":"state","state":"ready","details":[],"reasons":["x"]}',
        b'{"type":"state","state":"ready","unresolved":"many"}',
        b'{"type":"state","state":"ready","started_by_box_s":"noon"}',
        b"\xff\xfe",
        b"[" * 50_000,
    ],
)
def test_what_is_no_state_is_passed_over(line):
    assert understood(line) is None


def test_no_text_can_move_the_cursor_or_fill_the_screen():
    found = understood(
        b'{"type":"state","state":"ready","reasons":["a\\u001b[2J"],'
        b'"details":{"a\\u001b[2J":"x\\n\\u009b0m' + b"y" * 1000 + b'"}}'
    )

    (name, text), *rest = found.reasons.items()
    assert rest == []
    assert name == "a?[2J"
    assert text.startswith("x ?0myyy")
    assert len(text) == control.MOST_TEXT
    assert plain("\x1b\x00ok\t\r\n‮") == "??ok ?"


def test_a_line_without_end_is_no_line(tmp_path, listener):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        listener.listen()
        peer, _ = server.accept()

        def floods():
            peer.sendall(b"x" * 3 * control.MOST_LINE_BYTES)
            peer.sendall(b"\n" + messages.encode(STATE))

        thread = threading.Thread(target=floods)
        thread.start()
        assert heard(listener, HEARD) == HEARD
        thread.join()
        peer.close()
        assert heard(listener, None) is None


def test_a_broken_connection_is_no_kiosk(listener):
    class Broken:
        def recv(self, size):
            raise ConnectionResetError

        def close(self):
            pass

    listener._sock, listener.kiosk = Broken(), HEARD
    listener.listen()
    assert listener.kiosk is None


@pytest.mark.parametrize(
    ("state", "is_paying", "is_open"),
    [
        ("ready", False, True),
        ("awaiting_confirm", True, True),
        ("connecting", True, True),
        ("submitting", True, True),
        ("concluded", True, True),
        ("out_of_service", False, False),
    ],
)
def test_each_state_of_the_kiosk_is_known(state, is_paying, is_open):
    kiosk = Kiosk(state)
    assert (kiosk.is_paying, kiosk.is_open) == (is_paying, is_open)


def test_no_state_is_left_out():
    from typing import get_args

    from kiosk.core import states
    from kiosk.payment.view import state_name

    names = {state_name(each.__new__(each)) for each in get_args(states.State)}
    assert names == {"ready", "out_of_service", *control.PAYING}
