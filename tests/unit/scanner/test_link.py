"""The link never waits for its peer, lets one in at a time, and survives what it says."""

import json
import os
import socket
import stat

import pytest

from kiosk.errors import UsageError
from kiosk.messages import MAX_LINE_BYTES, CameraState, Pulse, Sighting, Symbol, Want
from kiosk.scanner.link import ParentLink, ServingLink

PULSE = Pulse(frames=1, decoded=1)


def a_sighting(size=20):
    symbol = Symbol(payload=b"5" * size, kind="qr", stage="zxing")
    return Sighting(sequence=1, captured_at_s=1.0, symbols=[symbol])


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    link = ParentLink(ours)
    theirs.settimeout(10)
    yield link, theirs
    link.close()
    theirs.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scanner.sock"


def connect(path):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(os.fspath(path))
    return peer


def test_messages_go_out_one_a_line(pair):
    link, peer = pair
    link.send(PULSE)
    link.send(a_sighting())
    lines = peer.recv(65536).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["pulse", "sighting"]


def test_wishes_come_in_even_in_pieces(pair):
    link, peer = pair
    peer.sendall(b'{"type":"want","wanted":true}\n{"type":"wa')
    assert link.receive() == [Want(wanted=True)]
    peer.sendall(b'nt","wanted":false}\n')
    assert link.receive() == [Want(wanted=False)]
    assert link.receive() == []


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"no json", b'{"type":"pay"}', b'{"type":"want"}', b"[" * 50_000, b"\xff\xfe", b"null"],
)
def test_nonsense_is_skipped(pair, nonsense):
    link, peer = pair
    peer.sendall(nonsense + b'\n{"type":"want","wanted":true}\n')
    assert link.receive() == [Want(wanted=True)]
    assert not link.ended


def test_an_endless_line_ends_the_link(pair):
    link, peer = pair
    peer.setblocking(False)
    wants = []
    while not link.ended:
        peer.send(b"x" * 4096)
        wants = link.receive()
    assert wants == [Want(wanted=False)]


def test_a_parent_that_leaves_ends_the_link_and_means_rest(pair):
    link, peer = pair
    peer.close()
    link.send(PULSE)
    link.send(PULSE)
    assert link.receive() == [Want(wanted=False)]
    assert link.ended


def test_a_peer_that_does_not_read_costs_sightings_not_time(pair):
    link, peer = pair
    for _ in range(5000):
        link.send(a_sighting(2953))
    link.send(CameraState(ok=False, detail="gone"))

    received = b""
    while b'"camera"' not in received:
        received += peer.recv(65536)
        link.send(PULSE)
    sightings = received.count(b'"sighting"')
    assert 0 < sightings < 500
    for line in received.splitlines()[:-1]:
        json.loads(line)  # nothing was cut in two


def test_a_message_too_long_for_a_line_is_not_sent(pair):
    link, peer = pair
    link.send(a_sighting(MAX_LINE_BYTES))
    link.send(PULSE)
    assert json.loads(peer.recv(65536))["type"] == "pulse"


def test_the_socket_is_for_user_and_group_only(path):
    link = ServingLink(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert list(path.parent.iterdir()) == [path]
    finally:
        link.close()
    assert not path.exists()


def test_one_peer_at_a_time(path):
    link = ServingLink(path)
    try:
        link.send(PULSE)  # nobody is there
        with connect(path) as first:
            assert link.receive() == []
            assert link.joined == 1
            with connect(path) as second:
                link.receive()
                assert second.recv(1) == b""
            link.send(PULSE)
            assert json.loads(first.recv(4096))["type"] == "pulse"
            assert len(link.sources()) == 2
        assert link.receive() == [Want(wanted=False)]
        assert len(link.sources()) == 1
        with connect(path) as third:
            link.receive()
            assert link.joined == 2
            third.sendall(b'{"type":"want","wanted":true}\n')
            assert link.receive() == [Want(wanted=True)]
    finally:
        link.close()


def test_a_socket_left_by_a_dead_scanner_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    link = ServingLink(path)
    connect(path).close()
    link.close()


def test_a_socket_that_is_served_is_not_taken_away(path):
    link = ServingLink(path)
    try:
        with pytest.raises(UsageError, match="Another scanner"):
            ServingLink(path)
        connect(path).close()
    finally:
        link.close()


def test_a_file_that_is_no_socket_is_not_taken_away(path):
    path.write_text("precious")
    with pytest.raises(UsageError, match="no socket"):
        ServingLink(path)
    assert path.read_text() == "precious"


def test_a_folder_that_is_missing_is_a_clear_error(tmp_path):
    with pytest.raises(UsageError, match="folder must exist"):
        ServingLink(tmp_path / "none" / "scanner.sock")


def test_a_successors_socket_is_not_taken_away(path):
    link = ServingLink(path)
    path.unlink()
    path.write_text("another's")
    link.close()
    assert path.exists()
