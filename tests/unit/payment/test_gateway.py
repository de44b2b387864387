"""One connection to a box that is there, not there, or not what it should be."""

import contextlib
import json
import logging
import resource
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import trustme

from kiosk.core.cues import Reason
from kiosk.core.intent import Outcome
from kiosk.errors import NoAnswerError, NotSentError, SettingsError
from kiosk.payment import gateway as gateway_module
from kiosk.payment.gateway import Call, Gateway, ask_ready
from kiosk.payment.gateway_trouble import NotReadyError, UnreachableError, trouble_of
from kiosk.sandbox.faults import Pace
from kiosk.sandbox.gateway import SandboxGateway
from kiosk.settings import GatewaySettings

CODE = "50502044301381396427"
TOKEN = "Bearer canary-of-a-secret"
READY = {"data": {"terminal_id": "UZ1"}, "error": None, "is_success": True}
PATIENCE_S = 20.0
Serve = Callable[[socket.socket], None]


class RawBox:
    """A server whose every byte is the test's; each connection is served on a thread."""

    def __init__(
        self, serve: Serve, tls: ssl.SSLContext | None = None, family: int = socket.AF_INET
    ) -> None:
        self._serve, self._tls = serve, tls
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind((host, 0))
        self._listener.listen(16)
        self.port: int = self._listener.getsockname()[1]
        named = f"[{host}]" if family == socket.AF_INET6 else host
        self.url = f"{'https' if tls else 'http'}://{named}:{self.port}"
        self.accepted = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            if self._tls is not None:
                closing.callback(sock.close)
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            closing.callback(sock.close)
            sock.settimeout(PATIENCE_S)
            self._serve(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for sock in self._open:
            sock.close()


def read_request(sock: socket.socket) -> bytes:
    """One request, head and body."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = sock.recv(65_536)
        if not piece:
            return raw
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    while len(body) < length:
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body


def answer_of(body: object, *headers: str, status: str = "200 OK") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(raw)}", "", ""]
    return "\r\n".join(lines).encode() + raw


def says(*answers: bytes) -> Serve:
    """Answers one request after the other, then waits for the client to close."""

    def serve(sock: socket.socket) -> None:
        for answer in answers:
            if not read_request(sock):
                return
            sock.sendall(answer)
        sock.recv(1)

    return serve


def gateway_to(url: str, **changes: Any) -> Gateway:
    return Gateway.from_settings(
        GatewaySettings(url=url, **{"connect_timeout_s": 5.0, "read_timeout_s": 5.0, **changes})
    )


def to_sandbox(sandbox: SandboxGateway, **changes: Any) -> Gateway:
    ca_file = None if sandbox.ca_file is None else str(sandbox.ca_file)
    return gateway_to(sandbox.url, ca_file=ca_file, **changes)


def soon() -> float:
    return time.monotonic() + PATIENCE_S


def pay(call: Call) -> Outcome:
    return call.submit(1000, CODE, soon()).outcome


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


# --- the way there ---------------------------------------------------------------------------


def test_a_payment_goes_over_one_connection():
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()
        assert call.ask_info() == "ready"
        assert call.stands()

        assert pay(call) is Outcome.APPROVED

        (connection,) = sandbox.ledger.connections
        assert connection.requests == 2
        assert not call.stands()


def test_headers_of_the_merchant_go_with_every_request():
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        heard.append(read_request(sock))
        sock.sendall(answer_of(READY))
        heard.append(read_request(sock))

    with RawBox(serve) as box:
        call = gateway_to(box.url + "/api/", headers={"Authorization": TOKEN}).call()
        call.connect()
        call.ask_info()
        with pytest.raises(NoAnswerError):
            call.submit(1000, CODE, soon())

    info, payment = heard
    assert info.startswith(b"GET /api/info/ HTTP/1.1\r\n")
    assert payment.startswith(b"POST /api/payment/payme HTTP/1.1\r\n")
    for request in heard:
        assert f"Authorization: {TOKEN}\r\n".encode() in request
        assert b"Accept-Encoding: identity\r\n" in request
        assert f"Host: 127.0.0.1:{box.port}\r\n".encode() in request
        assert b"Expect" not in request
    assert payment.count(b"Content-Type: application/json\r\n") == 1
    assert payment.endswith(b'\r\n\r\n{"amount":1000,"qr_code":"' + CODE.encode() + b'"}')


def test_the_amount_goes_in_the_unit_of_the_merchants_box():
    with SandboxGateway(amount_unit="tiyin") as sandbox:
        call = to_sandbox(sandbox, amount_unit="tiyin").call()
        call.connect()

        answer = call.submit(1000, CODE, soon())

        assert (answer.outcome, answer.flags) == (Outcome.APPROVED, ())
        assert sandbox.ledger.charges[0].amount_sum == 1000


def test_a_box_in_the_next_address_family_is_reached():
    try:
        box = RawBox(says(answer_of(READY)), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    with box:
        assert ask_ready(gateway_to(box.url)) == "ready"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_no_proxy_of_the_environment_is_used(name: str, monkeypatch: pytest.MonkeyPatch):
    with RawBox(says()) as trap, SandboxGateway() as sandbox:
        monkeypatch.setenv(name, trap.url)

        assert ask_ready(to_sandbox(sandbox)) == "ready"

        assert trap.accepted == 0


def test_ports_that_go_without_saying():
    assert gateway_to("http://box.example").port == 80
    assert gateway_to("https://box.example").port == 443


# --- nobody there ----------------------------------------------------------------------------


def test_a_name_that_is_unknown(monkeypatch: pytest.MonkeyPatch):
    def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(UnreachableError, match=r"box\.example:80: this name is unknown: check"):
        gateway_to("http://box.example").call().connect()


def test_a_closed_port():
    with RawBox(says()) as box:
        pass

    with pytest.raises(UnreachableError, match=f"{box.port}: refused: is the box on"):
        gateway_to(box.url).call().connect()


def test_a_box_that_does_not_answer_the_door():
    with socket.socket() as listener, contextlib.ExitStack() as filling:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = filling.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        gateway = gateway_to(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=0.2)

        with pytest.raises(UnreachableError, match="no answer: is the box on"):
            gateway.call().connect()


def test_a_network_that_is_down(monkeypatch: pytest.MonkeyPatch):
    def connect(*_: object, **__: object) -> socket.socket:
        raise OSError(113, "No route to host")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)

    with pytest.raises(UnreachableError, match=r"http://192\.0\.2\.1:80: No route to host"):
        gateway_to("http://192.0.2.1").call().connect()


# --- TLS -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("expired", "expired: check the clock of this kiosk, then renew"),
        ("not-yet-valid", "not yet valid: check the clock of this kiosk"),
        ("wrong-host", "for another address: use the name in the certificate"),
        ("unknown-ca", "unknown CA signed the certificate: name it in gateway.ca_file"),
        ("plain", "should gateway.url begin with http://"),
    ],
)
def test_a_handshake_that_fails_says_what_to_do(fault: str, advice: str):
    with SandboxGateway(tls=fault) as sandbox:
        gateway = to_sandbox(sandbox, headers={"Authorization": TOKEN})

        with pytest.raises(UnreachableError) as caught:
            gateway.call().connect()

        assert advice in str(caught.value)
        assert TOKEN not in str(caught.value)
        assert TOKEN not in repr(gateway)
        assert sandbox.ledger.requests == ()


def test_a_self_signed_certificate_is_named_as_such(
    server_tls: ssl.SSLContext, tmp_path: Path, ca: trustme.CA
):
    with (
        RawBox(says(), tls=server_tls) as box,
        pytest.raises(UnreachableError, match=r"name it in gateway\.ca_file"),
    ):
        gateway_to(box.url).call().connect()


def test_a_hang_up_in_the_handshake():
    with SandboxGateway(tls="hang-up") as sandbox, pytest.raises(UnreachableError, match="hung up"):
        to_sandbox(sandbox).call().connect()


def test_a_stall_in_the_handshake():
    with (
        SandboxGateway(tls="stall", pace=Pace(stall_s=PATIENCE_S)) as sandbox,
        pytest.raises(UnreachableError, match="no answer: is the box on"),
    ):
        to_sandbox(sandbox, connect_timeout_s=0.2).call().connect()


def test_a_box_that_is_older_than_tls_1_2_is_refused(server_tls: ssl.SSLContext, ca_file: str):
    with warnings.catch_warnings():
        # That these versions are old is what is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        server_tls.minimum_version = ssl.TLSVersion.TLSv1
        server_tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with contextlib.suppress(ssl.SSLError):
        server_tls.set_ciphers("ALL:@SECLEVEL=0")

    with (
        RawBox(says(), tls=server_tls) as box,
        pytest.raises(UnreachableError, match=r"no TLS from 1\.2 on: update the box"),
    ):
        gateway_to(box.url, ca_file=ca_file).call().connect()


def test_the_context_refuses_old_tls_whatever_openssl_thinks(ca_file: str):
    context = gateway_to("https://box.example", ca_file=ca_file).tls

    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_both_sides_show_a_certificate():
    with SandboxGateway(tls="mutual") as sandbox:
        gateway = to_sandbox(
            sandbox,
            client_cert_file=str(sandbox.client_cert_file),
            client_key_file=str(sandbox.client_key_file),
        )
        call = gateway.call()
        call.connect()
        assert call.ask_info() == "ready"

        assert pay(call) is Outcome.APPROVED


def test_a_box_that_misses_our_certificate_gets_no_payment():
    with SandboxGateway(tls="mutual") as sandbox:
        with pytest.raises(UnreachableError, match=r"gateway\.client_cert_file|hung up"):
            ask_ready(to_sandbox(sandbox))
        assert sandbox.ledger.requests == ()


def test_a_plain_client_at_a_tls_port_learns_it(server_tls: ssl.SSLContext):
    with RawBox(says(), tls=server_tls) as box:
        gateway = gateway_to(box.url.replace("https", "http"))

        with pytest.raises(UnreachableError, match=r"no answer to GET /info/"):
            ask_ready(gateway)


def test_an_answer_of_another_protocol():
    def greet(sock: socket.socket) -> None:
        sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        read_request(sock)

    with RawBox(greet) as box, pytest.raises(UnreachableError, match="no HTTP: check the port"):
        ask_ready(gateway_to(box.url))


# --- files that the settings name ------------------------------------------------------------


def test_a_ca_file_that_is_missing():
    with pytest.raises(SettingsError, match=r"gateway\.ca_file: /nowhere/ca\.pem: No such file"):
        gateway_to("https://box.example", ca_file="/nowhere/ca.pem")


def test_a_ca_file_that_is_none(tmp_path: Path):
    (tmp_path / "ca.pem").write_text("canary")

    with pytest.raises(SettingsError, match=r"gateway\.ca_file") as caught:
        gateway_to("https://box.example", ca_file=str(tmp_path / "ca.pem"))

    assert "canary" not in str(caught.value)


def client_files(ca: trustme.CA, folder: Path) -> tuple[Path, Path]:
    client = ca.issue_cert("kiosk.example")
    cert, key = folder / "client.pem", folder / "client.key"
    client.cert_chain_pems[0].write_to_path(str(cert))
    client.private_key_pem.write_to_path(str(key))
    return cert, key


def test_a_key_that_is_missing(ca: trustme.CA, tmp_path: Path):
    cert, key = client_files(ca, tmp_path)
    key.unlink()

    with pytest.raises(SettingsError, match=r"gateway\.client_cert_file: .*No such file"):
        gateway_to("https://b.example", client_cert_file=str(cert), client_key_file=str(key))


def test_a_key_of_another_certificate(ca: trustme.CA, tmp_path: Path):
    cert, key = client_files(ca, tmp_path)
    ca.issue_cert("other.example").private_key_pem.write_to_path(str(key))

    with pytest.raises(SettingsError, match=r"(?i)key values mismatch"):
        gateway_to("https://b.example", client_cert_file=str(cert), client_key_file=str(key))


def test_a_key_with_a_password_is_refused_not_asked_for(ca: trustme.CA, tmp_path: Path):
    from cryptography.hazmat.primitives import serialization

    cert, key = client_files(ca, tmp_path)
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    with pytest.raises(SettingsError, match="the key has a password; store it without one"):
        gateway_to("https://b.example", client_cert_file=str(cert), client_key_file=str(key))


# --- readiness -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"), [(102, "is not initialised"), (333, "subscription expired")]
)
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal"])
def test_a_box_that_says_it_is_not_ready(code: int, text: str, status: str):
    refusal = {"data": None, "error": {"code": code, "message": "x"}, "is_success": False}
    with RawBox(says(answer_of(refusal, status=status))) as box:
        with pytest.raises(NotReadyError, match=f"error {code}: .*{text}") as caught:
            ask_ready(gateway_to(box.url))

        assert trouble_of(caught.value)[0] is Reason.GATEWAY_NOT_READY


@pytest.mark.parametrize(
    "answer",
    [
        answer_of(b"", status="404 Not Found"),
        answer_of(b"", status="405 Method Not Allowed"),
        answer_of(b"<html>"),
        answer_of([]),
        answer_of({"error": {"code": 101}, "is_success": False}),
        answer_of({"error": {"code": [102]}, "is_success": False}),
        answer_of({"error": {"code": {"102": 333}}, "is_success": False}),
        answer_of({"error": {"code": 102.0}, "is_success": False}),
        answer_of({"error": {"code": "102"}, "is_success": False}),
        answer_of(READY, status="201 Created"),
        answer_of(b"[" * 60_000),
        answer_of(b"9" * 5_000),
        answer_of(b"\xff\xfe\x00"),
        answer_of(b" " * 70_000),
        answer_of(READY, "Content-Encoding: gzip"),
        answer_of(READY, "Transfer-Encoding: chunked"),
        answer_of(READY, "Content-Length: 12"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_readiness_that_is_not_available_does_not_keep_it_from_selling(answer: bytes):
    with RawBox(says(answer)) as box:
        assert "it sells all the same" in ask_ready(gateway_to(box.url))


def test_a_box_that_hangs_up_instead_of_answering():
    def hang_up(sock: socket.socket) -> None:
        read_request(sock)

    with RawBox(hang_up) as box, pytest.raises(UnreachableError, match="it hung up"):
        ask_ready(gateway_to(box.url))


def test_a_box_that_is_silent_when_asked():
    gateway = None
    with RawBox(lambda sock: (read_request(sock), sock.recv(1))[1] and None) as box:
        gateway = gateway_to(box.url, read_timeout_s=0.1)
        with pytest.raises(UnreachableError, match="GET /info/: it took too long") as caught:
            ask_ready(gateway)
    assert trouble_of(caught.value)[0] is Reason.GATEWAY_UNREACHABLE


def drips(first: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(first)
        while True:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" if not first else b" ")
            time.sleep(0.01)

    return serve


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["continues", "header", "body", "last-body"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_box_that_drips_is_not_listened_to_forever(
    first: bytes,
    tls: bool,
    server_tls: ssl.SSLContext,
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(gateway_module, "_ASK_WITHIN_S", 0.3)

    with (
        RawBox(drips(first), tls=server_tls if tls else None) as box,
        pytest.raises(UnreachableError, match="it took too long"),
    ):
        ask_ready(gateway_to(box.url, ca_file=ca_file))


def test_asking_without_a_connection():
    with pytest.raises(UnreachableError, match="not connected"):
        gateway_to("http://127.0.0.1:1").call().ask_info()


# --- the request -----------------------------------------------------------------------------


def test_nothing_is_sent_without_a_connection():
    call = gateway_to("http://127.0.0.1:1").call()

    with pytest.raises(NotSentError):
        call.submit(1000, CODE, soon())

    assert not call.began_to_send
    call.hang_up()
    call.close()


def test_nothing_is_sent_too_late():
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()

        with pytest.raises(NotSentError, match="too long"):
            call.submit(1000, CODE, time.monotonic())

        call.close()
        assert sandbox.ledger.requests == ()


def test_how_long_a_row_takes_does_not_make_a_connection_stale(monkeypatch: pytest.MonkeyPatch):
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()
        call.ask_info()
        monkeypatch.setattr(gateway_module, "WARM_FOR_S", -1.0)
        assert not call.stands()

        assert pay(call) is Outcome.APPROVED


def test_an_answer_may_take_longer_than_a_connection():
    with SandboxGateway(latency_s=0.5) as sandbox:
        call = to_sandbox(sandbox, connect_timeout_s=0.2, read_timeout_s=10.0).call()
        call.connect()
        call.ask_info()

        assert pay(call) is Outcome.APPROVED


def test_a_box_that_is_gone_between_row_and_request_gets_nothing():
    closed = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer_of(READY))
        sock.close()
        closed.set()

    with RawBox(serve) as box:
        call = gateway_to(box.url).call()
        call.connect()
        call.ask_info()
        assert closed.wait(PATIENCE_S)
        while call.stands():
            time.sleep(0.001)

        with pytest.raises(NotSentError, match="closed the connection before the request"):
            call.submit(1000, CODE, soon())

        call.close()
        assert not call.began_to_send
        assert box.accepted == 1


def test_an_unasked_answer_on_the_connection_is_never_taken_for_ours():
    refusal = {"data": None, "error": {"code": 106, "message": "no"}, "is_success": False}

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer_of(READY))
        time.sleep(0.05)
        sock.sendall(answer_of(refusal))
        sock.recv(1)

    with RawBox(serve) as box:
        call = gateway_to(box.url).call()
        call.connect()
        call.ask_info()
        while call.stands():
            time.sleep(0.001)

        with pytest.raises(NotSentError):
            call.submit(1000, CODE, soon())
        call.close()


def test_what_breaks_before_the_first_byte_is_not_sent(monkeypatch: pytest.MonkeyPatch):
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()

        def explode(*_: object, **__: object) -> None:
            raise ValueError("a header that cannot be sent")

        monkeypatch.setattr(call._line, "putrequest", explode)

        with pytest.raises(NotSentError, match="nothing was sent: ValueError"):
            call.submit(1000, CODE, soon())

        assert not call.began_to_send
        assert sandbox.ledger.requests == ()


@pytest.mark.parametrize("after", [0, 1], ids=["head", "body"])
def test_what_breaks_while_sending_is_no_answer(monkeypatch: pytest.MonkeyPatch, after: int):
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()
        assert call._line is not None
        whole, calls = call._line.sock.sendall, []

        class Sock:
            def sendall(self, data: bytes) -> None:
                calls.append(data)
                if len(calls) > after:
                    raise BrokenPipeError(32, "Broken pipe")
                whole(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        real = call._line.sock
        call._line.sock = Sock()

        with pytest.raises(NoAnswerError, match="it hung up"):
            call.submit(1000, CODE, soon())

        assert call.began_to_send


def test_one_call_makes_one_request():
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.connect()
        pay(call)

        with pytest.raises(NotSentError):
            call.submit(1000, CODE, soon())
        with pytest.raises(AssertionError):
            call.connect()

        call.close()
        assert call.began_to_send
        assert len(sandbox.ledger.requests) == 1


def test_what_came_before_a_hang_up_is_kept():
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        whole = answer_of({"data": {"payment_id": "696e0246c9a128176d5934d8", "status": "s"}})
        sock.sendall(whole[:-10])

    with RawBox(serve) as box:
        call = gateway_to(box.url).call()
        call.connect()

        with pytest.raises(NoAnswerError, match="it broke off"):
            call.submit(1000, CODE, soon())

        assert b"696e0246c9a128176d5934d8" in call.received


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "it hung up"),
        (b"nonsense\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "HTTPException"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "LineTooLong"),
        (answer_of(b"{}", "Content-Length: 5"), "doubled"),
        (answer_of(b"{}", "Transfer-Encoding: chunked"), "two lengths"),
        (answer_of(b"{}", "Content-Encoding: gzip"), "encoded"),
        (answer_of(b" " * 65_537), "too large"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 70_000, "too large"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_an_answer_that_cannot_be_trusted_is_no_answer(raw: bytes, text: str):
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(raw)

    with RawBox(serve) as box:
        call = gateway_to(box.url).call()
        call.connect()

        with pytest.raises(NoAnswerError, match=text):
            call.submit(1000, CODE, soon())


def test_a_secret_that_comes_back_in_a_broken_header_is_not_logged(
    caplog: pytest.LogCaptureFixture,
):
    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nno header: x\r\n " + CODE.encode() + b"\r\nbad\r\n\r\n{}")

    with caplog.at_level(logging.DEBUG), RawBox(serve) as box:
        call = gateway_to(box.url).call()
        call.connect()
        with contextlib.suppress(NoAnswerError):
            call.submit(1000, CODE, soon())

    assert CODE not in caplog.text


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [(b"", INTERIM), (b"HTTP/1.1 100 Continue\r\n", b"X: y\r\n"), (CHUNKS, b"X: y\r\n")],
    ids=["interim answers", "headers of one", "trailers"],
)
def test_all_that_comes_for_one_request_is_bounded(first: bytes, again: bytes):
    """http.client counts neither; each of them kept a processor busy until the box had enough."""
    sent, block = 0, again * 1000

    def serve(sock: socket.socket) -> None:
        nonlocal sent
        read_request(sock)
        sock.sendall(first)
        while sent < 64 * 1024 * 1024:
            sock.sendall(block)
            sent += len(block)

    with RawBox(serve) as box:
        call = gateway_to(box.url, read_timeout_s=PATIENCE_S).call()
        call.connect()
        with pytest.raises(NoAnswerError, match=r"too large|HTTPException"):
            call.submit(1000, CODE, soon())

    # What the kernel takes into its buffers counts as well.
    assert sent < 16 * 1024 * 1024
    assert len(call.received) <= 64 * 1024


@pytest.mark.parametrize("fault", ["body-huge", "chunked-endless", "endless-header-line"])
def test_a_flood_does_not_fill_the_memory(fault: str):
    with SandboxGateway() as sandbox:
        sandbox.set_fault(fault)
        call = to_sandbox(sandbox).call()
        call.connect()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        with pytest.raises(NoAnswerError):
            call.submit(1000, CODE, soon())

        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        assert grown_kb < 32 * 1024
        assert len(call.received) <= 64 * 1024


# --- hanging up ------------------------------------------------------------------------------


def test_who_hung_up_connects_and_sends_no_more():
    with SandboxGateway() as sandbox:
        call = to_sandbox(sandbox).call()
        call.hang_up()
        with pytest.raises(UnreachableError):
            call.connect()
        assert not call.stands()

        second = to_sandbox(sandbox).call()
        second.connect()
        second.hang_up()
        with pytest.raises(NotSentError):
            second.submit(1000, CODE, soon())

        second.close()
        assert not second.began_to_send
        assert sandbox.ledger.requests == ()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_end_of_our_own_making_is_no_end_of_the_answer(
    tls: bool, server_tls: ssl.SSLContext, ca_file: str
):
    told = threading.Event()

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        # No length: only a hang-up ends it, and http.client has let go of the socket by then.
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(READY).encode())
        told.set()
        sock.recv(1)

    with RawBox(serve, tls=server_tls if tls else None) as box:
        call = gateway_to(box.url, ca_file=ca_file, read_timeout_s=PATIENCE_S).call()
        call.connect()
        patience = threading.Thread(target=lambda: (told.wait(PATIENCE_S), call.hang_up()))
        patience.start()

        with pytest.raises(NoAnswerError, match=r"did not end in time|broke off"):
            call.submit(1000, CODE, soon())

        patience.join()
        assert call.received == json.dumps(READY).encode()


def test_hanging_up_under_tls_lets_nothing_leave_in_clear(server_tls: ssl.SSLContext, ca_file: str):
    with RawBox(says(answer_of(READY)), tls=server_tls) as box:
        call = gateway_to(box.url, ca_file=ca_file).call()
        call.connect()
        line = call._line
        assert line is not None

        call.hang_up()

        assert isinstance(line.sock, ssl.SSLSocket)
        assert line.sock.version() is not None  # its TLS state is still there
        call.close()


@pytest.fixture(autouse=True)
def _no_socket_leaks() -> Iterator[None]:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    yield
    until_s = time.monotonic() + 5.0
    while count() > before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert count() <= before
