"""What these runs found, each once more by name; every one of them failed when it was found."""

import socket
from http.client import BadStatusLine

import pytest

from kiosk.errors import SettingsError
from kiosk.messages import (
    MAX_LINE_BYTES,
    MAX_TEXT,
    CameraState,
    Error,
    LineReader,
    Ok,
    Press,
    State,
    encode,
)
from kiosk.payment import control as controls
from kiosk.payment.bounded import BoundedResponse
from kiosk.payment.control import Control
from kiosk.payment.gateway_trouble import UnreadableError
from kiosk.payment.mailbox import Mailbox
from kiosk.settings_file import MAX_FINDINGS, load_settings
from kiosk.yaml_source import MOST_TROUBLES, SourceError, read_text

GOOD = "gateway:\n  url: http://box:8080\noffer:\n  amount_sum: 15000\n"
WAIT_S = 30


@pytest.fixture
def findings_of(tmp_path):
    def find(text):
        path = tmp_path / "kiosk.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            load_settings([path])
        return caught.value.findings

    return find


@pytest.mark.parametrize("offer", ["amount_sum:15000", "15000", "[]", "true"])
def test_an_offer_that_is_no_section_is_a_finding_not_a_traceback(findings_of, offer):
    text = f"gateway:\n  url: http://box:8080\noffer: {offer}\npanel:\n  led_pwm: maybe\n"
    findings = findings_of(text)
    assert any(": offer: " in finding for finding in findings)
    assert any("panel.led_pwm" in finding for finding in findings)


@pytest.mark.parametrize("odd", ["\u00a0", "\u200b", "\u202e"])
def test_what_cannot_be_seen_in_a_key_is_shown(findings_of, odd):
    (finding,) = findings_of(f"gate{odd}way:\n  url: http://box:8080\n")
    assert finding.isprintable()
    assert ascii(odd).strip("'") in finding


def test_a_value_is_quoted_in_short(findings_of):
    (finding,) = findings_of(GOOD + f"locale:\n  timezone: {'A' * 15_000}\n")
    assert len(finding) < 300


def test_a_long_address_is_told_in_short_with_what_to_do(findings_of):
    (finding,) = findings_of(GOOD.replace("http://", "http" + "{" * 480 + "://"))
    assert len(finding) < 700
    assert "gateway.url" in finding
    assert finding.endswith("://box:8080?")


def test_a_file_of_nothing_but_mistakes_is_not_searched_to_its_end(tmp_path):
    path = tmp_path / "kiosk.yaml"
    path.write_bytes(b"\x01\n" * 100_000)
    with pytest.raises(SourceError) as caught:
        read_text(path)
    assert len(caught.value.troubles) == MOST_TROUBLES


def test_thousands_of_unknown_keys_get_no_advice_each(findings_of, monkeypatch):
    from kiosk import settings_findings

    asked = []
    monkeypatch.setattr(settings_findings, "nearest", lambda *args: asked.append(args))
    text = GOOD + "".join(f"key{n}: 1\n" for n in range(3000)) + "scan:\n  engines: ["
    findings = findings_of(text + "zxinq, " * 3000 + "]\n")
    assert len(findings) == MAX_FINDINGS + 1
    assert len(asked) <= settings_findings.MOST_ADVICE


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def control(tmp_path, mailbox):
    running = Control(tmp_path / "control.sock", mailbox.post)
    yield running
    running.stop()


@pytest.fixture
def client(control):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(WAIT_S)
        sock.connect(str(control._path))
        yield sock


def lines_to_the_end(sock):
    heard = b""
    while data := sock.recv(65_536):
        heard += data
    return heard.splitlines(keepends=True)


def test_whoever_says_much_and_hangs_up_still_gets_every_answer(control, client):
    count = 4000
    # Read at the end only: the answers find no room at first.
    client.sendall(b'{"type":"pay"}\n' * count)
    client.shutdown(socket.SHUT_WR)
    answers = lines_to_the_end(client)
    assert len(answers) == count
    assert all(b"not understood" in line for line in answers)


def test_a_program_gone_mad_does_not_fill_the_mailbox(control, client, mailbox):
    most = controls.MOST_UNANSWERED
    client.sendall(encode(Press()) * (most + 300))
    client.shutdown(socket.SHUT_WR)
    lines = client.makefile("rb")
    refused = encode(Error(message="too many commands at once; wait"))
    assert [lines.readline() for _ in range(300)] == [refused] * 300
    for _ in range(most):
        control.reply(mailbox.take(WAIT_S).request, None)
    assert lines.read() == encode(Ok()) * most
    assert mailbox.take(0) is None


def test_commands_of_clients_that_left_count_until_they_are_answered(control, mailbox):
    most = controls.MOST_UNANSWERED
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(WAIT_S)
            sock.connect(str(control._path))
            sock.sendall(encode(Press()) * (most + 1))
            assert b"too many" in sock.recv(100)  # it has taken what it takes
    taken = 0
    while (came := mailbox.take(0)) is not None:
        taken += 1
        control.reply(came.request, None)
    assert taken == most


@pytest.mark.parametrize("sign", ["x", "\u044f", "\U0001f600", '"', "\x01"])
def test_the_longest_texts_of_others_fit_into_a_line_of_ours(sign):
    text = sign * MAX_TEXT
    assert len(encode(CameraState(ok=False, detail=text))) <= MAX_LINE_BYTES
    state = State(state="out_of_service", details={"camera_down": text, "scanner_down": text})
    assert list(LineReader().feed(encode(state))) == [encode(state)[:-1]]


@pytest.mark.parametrize("line", [b"\rb\n", b"no header\r\n"])
def test_a_line_that_is_no_header_does_not_hide_those_behind_it(line):
    """Its Content-Length was left out, and a cut body would have passed for a whole one."""
    body = b'{"data":null,"error":{"code":1},"is_success":false}'
    head = b"HTTP/1.1 200 OK\r\n%sContent-Length: 999\r\n\r\n" % line
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head + body)
        theirs.shutdown(socket.SHUT_WR)
        with BoundedResponse(ours, method="POST") as answer, pytest.raises(UnreadableError):
            answer.begin()


ODD_STATUS_LINES = [
    b"HTTP/1.1\xa0400 No",
    b"HTTP/1.1 \x85400 No",
    b"HTTP/1.1 4_0_0 No",
    b"HTTP/1.1 +400 No",
    b"HTTP/1.1 0400 No",
    b"HTTP/2 400 No",
    b"HTTP/1.12 400 No",
    b" HTTP/1.1 400 No",
]


@pytest.mark.parametrize("line", ODD_STATUS_LINES)
def test_a_status_that_only_one_reader_sees_is_none(line):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line + b"\r\nContent-Length: 0\r\n\r\n")
        with BoundedResponse(ours, method="POST") as answer, pytest.raises(BadStatusLine):
            answer.begin()


@pytest.mark.parametrize("line", [b"HTTP/1.1 400", b"HTTP/1.0 400 ", b"HTTP/1.1  400 Nicht \xe4"])
def test_a_status_line_of_a_plain_box_is_read(line):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line + b"\r\nContent-Length: 0\r\n\r\n")
        with BoundedResponse(ours, method="POST") as answer:
            answer.begin()
            assert answer.status == 400
