"""The sandbox on a good day, its ledger, its own endpoints and its command."""

import http.client
import json
import logging
import signal
import socket
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from kiosk.sandbox import certificates, command
from kiosk.sandbox.certificates import Certificates, MissingTrustmeError
from kiosk.sandbox.faults import FAULTS, Pace, UnknownFaultError
from kiosk.sandbox.gateway import SandboxGateway

CODE = "50502044301381396427"
OTHER_CODE = "50502044301381396428"
PATIENCE_S = 20.0


@pytest.fixture
def gateway() -> Iterator[SandboxGateway]:
    with SandboxGateway() as running:
        yield running


def address(gateway: SandboxGateway) -> tuple[str, int]:
    host, _, port = gateway.url.rpartition("/")[2].partition(":")
    return host, int(port)


def ask(gateway: SandboxGateway, method: str, path: str, **options: object) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    with urllib3.PoolManager(retries=False) as pool:
        answer = pool.request(method, gateway.url + path, timeout=PATIENCE_S, **options)
        return answer.status, answer.data


def pay(gateway: SandboxGateway, code: object = CODE, amount: object = 1000) -> dict:
    status, body = ask(gateway, "POST", "/payment/payme", json={"amount": amount, "qr_code": code})
    assert status == 200
    return json.loads(body)


def send_raw(gateway: SandboxGateway, raw: bytes) -> bytes:
    with socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
        return answer


# --- payments --------------------------------------------------------------------------------


def test_a_payment_is_answered_in_the_shape_of_the_contract(gateway: SandboxGateway):
    envelope = pay(gateway)

    charge = gateway.ledger.charge_of(CODE)
    assert envelope == {
        "data": {
            "amount": 1000,
            "transaction_id": charge.transaction_id,
            "payment_id": charge.payment_id,
            "inn": "123456789",
            "qr_code": CODE,
            "kkm_id": "00000011",
            "device_id": "00000011",
            "status": "successfully",
            "message": "successfully payment",
            "client_phone_number": charge.client_phone_number,
        },
        "error": None,
        "is_success": True,
    }
    assert len(charge.payment_id) == 24
    assert not set(charge.payment_id) - set("0123456789abcdef")
    assert str(uuid.UUID(charge.transaction_id)) == charge.transaction_id
    assert len(charge.client_phone_number) == 12


def test_the_ledger_knows_what_was_charged_and_what_was_asked(gateway: SandboxGateway):
    pay(gateway)

    (charge,) = gateway.ledger.charges
    assert (charge.qr_code, charge.amount, charge.amount_sum) == (CODE, 1000, 1000)
    assert charge.answered
    (request,) = gateway.ledger.requests
    assert (request.code, request.amount, request.charged) == (CODE, 1000, True)
    assert request.headers["content-type"] == "application/json"
    assert request.received_bytes > 100


def test_a_code_pays_once(gateway: SandboxGateway):
    pay(gateway)

    refusal = pay(gateway)

    assert refusal == {
        "data": None,
        "error": {"code": 106, "message": "code already used", "data": None},
        "is_success": False,
    }
    assert len(gateway.ledger.charges) == 1
    assert [request.charged for request in gateway.ledger.requests] == [True, False]


def test_a_customer_without_money_is_declined():
    with SandboxGateway(decline=frozenset({CODE})) as gateway:
        refusal = pay(gateway)
        pay(gateway, OTHER_CODE)

        assert refusal["error"]["code"] == 106
        assert refusal["error"]["message"] == "insufficient funds"
        assert [charge.qr_code for charge in gateway.ledger.charges] == [OTHER_CODE]


def test_a_box_that_counts_in_tiyin_says_so_in_its_ledger():
    with SandboxGateway(amount_unit="tiyin") as gateway:
        assert pay(gateway, amount=100_000)["data"]["amount"] == 100_000

        (charge,) = gateway.ledger.charges
        assert (charge.amount, charge.amount_sum) == (100_000, 1000)
        assert pay(gateway, OTHER_CODE, amount=150)["error"]["code"] == 7


def test_an_answer_may_take_its_time():
    with SandboxGateway(latency_s=0.02) as gateway:
        assert pay(gateway)["is_success"] is True


def test_who_leaves_before_the_answer_has_paid_all_the_same():
    with SandboxGateway(latency_s=PATIENCE_S) as gateway:
        body = json.dumps({"amount": 1000, "qr_code": CODE}).encode()
        with socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock:
            sock.sendall(
                b"POST /payment/payme HTTP/1.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            assert gateway.ledger.wait_until(lambda ledger: bool(ledger.charges), PATIENCE_S)

        assert not gateway.ledger.charges[0].answered


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"qr_code": CODE}, "amount"),
        ({"amount": 1000}, "qr_code"),
        ({"amount": "1000", "qr_code": CODE}, "amount"),
        ({"amount": 1000.5, "qr_code": CODE}, "amount"),
        ({"amount": True, "qr_code": CODE}, "amount"),
        ({"amount": 0, "qr_code": CODE}, "amount"),
        ({"amount": -5, "qr_code": CODE}, "amount"),
        ({"amount": 1000, "qr_code": 5}, "qr_code"),
        ({"amount": 1000, "qr_code": ""}, "qr_code"),
        ({"amount": 1000, "qr_code": "5" * 257}, "qr_code"),
        ({}, "amount"),
    ],
)
def test_a_wrong_field_is_refused_with_http_200(
    gateway: SandboxGateway, fields: dict[str, object], wrong: str
):
    status, body = ask(gateway, "POST", "/payment/payme", json=fields)

    envelope = json.loads(body)
    assert status == 200
    assert (envelope["data"], envelope["is_success"]) == (None, False)
    assert envelope["error"]["code"] == 7
    assert wrong in json.loads(envelope["error"]["message"])
    assert gateway.ledger.charges == ()
    assert len(gateway.ledger.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"amount": 1000, "amount": 2000, "qr_code": "50502044301381396427"}',
    ],
    ids=["empty", "open", "array", "null", "bytes", "deep", "doubled"],
)
def test_a_body_that_is_no_object_is_refused_with_http_200(gateway: SandboxGateway, body: bytes):
    status, answer = ask(
        gateway,
        "POST",
        "/payment/payme",
        body=body,
        headers={"Content-Type": "application/json", "Content-Length": str(len(body))},
    )

    assert status == 200
    assert json.loads(answer)["error"]["code"] == 104
    assert gateway.ledger.charges == ()


def test_a_body_of_another_type_is_refused(gateway: SandboxGateway):
    body = json.dumps({"amount": 1000, "qr_code": CODE})

    status, answer = ask(
        gateway, "POST", "/payment/payme", body=body, headers={"Content-Type": "text/plain"}
    )

    assert (status, json.loads(answer)["error"]["code"]) == (200, 104)


def test_one_code_shown_to_many_boxes_at_once_is_charged_once(gateway: SandboxGateway):
    with ThreadPoolExecutor(8) as kiosks:
        answers = list(kiosks.map(lambda _: pay(gateway), range(16)))

    assert sum(answer["is_success"] for answer in answers) == 1
    assert len(gateway.ledger.charges) == 1
    assert len(gateway.ledger.requests) == 16


def test_many_customers_at_once_get_an_id_each(gateway: SandboxGateway):
    codes = [f"5050204430138139{number:04d}" for number in range(40)]

    with ThreadPoolExecutor(8) as kiosks:
        answers = list(kiosks.map(lambda code: pay(gateway, code), codes))

    told = {answer["data"]["qr_code"]: answer["data"]["payment_id"] for answer in answers}
    assert told == {charge.qr_code: charge.payment_id for charge in gateway.ledger.charges}
    assert len(set(told.values())) == 40


# --- readiness and other paths ---------------------------------------------------------------


def test_info_tells_the_health_of_the_box():
    with SandboxGateway(clock=lambda: 1_700_000_000) as gateway:
        pay(gateway)

        status, body = ask(gateway, "GET", "/info/")

    data = json.loads(body)["data"]
    assert status == 200
    assert data["current_time"] == "2023-11-15 03:13:20"
    assert data["receipt_count"] == 1
    assert data["receipt_max_count"] > 1
    assert data["zreport_count"] < data["zreport_max_count"]
    assert data["terminal_id"]
    assert data["version_code"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/payment/payme/", 404),
        ("GET", "/info", 404),
        ("POST", "/order/create/", 404),
        ("GET", "/payment/payme", 405),
        ("DELETE", "/info/", 405),
        ("HEAD", "/info/", 405),
    ],
)
def test_other_paths_and_methods_get_no_envelope(
    gateway: SandboxGateway, method: str, path: str, status: int
):
    options = {"body": b"{}"} if method == "POST" else {"headers": {"Content-Length": "0"}}

    assert ask(gateway, method, path, **options) == (status, b"")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET /info/ HTTP/9.9\r\n\r\n", b"400"),
        (b"GET info HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /info/ HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"POST /payment/payme HTTP/1.1\r\n\r\n", b"411"),
        (b"POST /payment/payme HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /payment/payme HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST /payment/payme HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"POST /payment/payme HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"501"),
        (b"GET /info/ HTTP/1.1\r\nX: " + b"a" * 70_000, b"431"),
    ],
)
def test_what_is_no_http_is_refused_in_http(gateway: SandboxGateway, raw: bytes, status: bytes):
    answer = send_raw(gateway, raw)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert gateway.ledger.charges == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"POST /payment",
        b"POST /payment/payme HTTP/1.1\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_who_leaves_in_the_middle_gets_no_charge(gateway: SandboxGateway, raw: bytes):
    send_raw(gateway, raw)

    assert gateway.ledger.charges == ()
    assert pay(gateway)["is_success"] is True


def test_a_client_that_waits_for_100_is_told_to_go_on(gateway: SandboxGateway):
    body = json.dumps({"amount": 1000, "qr_code": CODE}).encode()

    answer = send_raw(
        gateway,
        b"POST /payment/payme HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    )

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


# --- connections -----------------------------------------------------------------------------


def test_readiness_and_payment_share_a_connection(gateway: SandboxGateway):
    connection = http.client.HTTPConnection(*address(gateway), timeout=PATIENCE_S)
    connection.connect()
    connection.auto_open = 0

    connection.request("GET", "/info/")
    assert connection.getresponse().read()
    body = json.dumps({"amount": 1000, "qr_code": CODE})
    connection.request("POST", "/payment/payme", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()

    assert json.loads(answer.read())["is_success"] is True
    assert [seen.requests for seen in gateway.ledger.connections] == [2]
    connection.close()


def test_requests_that_arrive_together_are_answered_in_order(gateway: SandboxGateway):
    answer = send_raw(
        gateway,
        b"GET /nothing HTTP/1.1\r\n\r\nGET /info/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200 OK" in answer
    assert answer.endswith(b'"is_success":true}')


def test_a_client_that_says_close_is_closed(gateway: SandboxGateway):
    with socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock:
        sock.sendall(b"GET /info/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece

    assert b"Connection: close" in answer


def test_an_idle_connection_is_closed_by_the_box():
    with (
        SandboxGateway(idle_s=0.05) as gateway,
        socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock,
    ):
        assert sock.recv(1) == b""


@pytest.mark.parametrize("fault", [None, "stall-charged", "blackhole", "endless-headers"])
def test_closing_ends_every_thread(fault: str | None):
    before = set(threading.enumerate())
    gateway = SandboxGateway(pace=Pace(stall_s=600))
    gateway.set_fault(fault)
    body = json.dumps({"amount": 1000, "qr_code": CODE}).encode()
    with socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock:
        sock.sendall(
            b"POST /payment/payme HTTP/1.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert gateway.ledger.wait_until(lambda ledger: bool(ledger.connections), PATIENCE_S)

        gateway.close()
        gateway.close()

    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(gateway), timeout=PATIENCE_S)


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind(gateway: SandboxGateway):
    before = set(threading.enumerate())

    with pytest.raises(OSError, match="in use"):
        SandboxGateway(port=address(gateway)[1])

    assert set(threading.enumerate()) <= before


# --- TLS -------------------------------------------------------------------------------------


def test_tls_with_a_ca_of_its_own():
    with SandboxGateway(tls="valid") as gateway:
        assert gateway.url.startswith("https://")
        for name in ("127.0.0.1", "localhost"):
            with urllib3.PoolManager(retries=False, ca_certs=str(gateway.ca_file)) as pool:
                url = gateway.url.replace("127.0.0.1", name)
                assert pool.request("GET", f"{url}/info/", timeout=PATIENCE_S).status == 200
        folder = gateway.ca_file.parent

    assert not folder.exists()


def test_a_client_that_trusts_nobody_gets_nowhere():
    with SandboxGateway(tls="valid") as gateway:
        context = ssl.create_default_context()
        with (
            socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(sock, server_hostname="127.0.0.1")
        assert gateway.ledger.requests == ()


def test_a_tls_fault_may_be_there_from_the_start():
    with SandboxGateway(tls="expired") as gateway:
        context = ssl.create_default_context(cafile=str(gateway.ca_file))
        with (
            socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock,
            pytest.raises(ssl.SSLCertVerificationError, match="expired"),
        ):
            context.wrap_socket(sock, server_hostname="127.0.0.1")


def test_a_client_that_stays_silent_in_the_handshake_does_not_hold_up_closing():
    before = set(threading.enumerate())
    with (
        SandboxGateway(tls="valid") as gateway,
        socket.create_connection(address(gateway), timeout=PATIENCE_S),
    ):
        assert gateway.ledger.wait_until(lambda ledger: bool(ledger.connections), PATIENCE_S)
        gateway.close()

    assert set(threading.enumerate()) <= before


def ask_over_mutual_tls(gateway: SandboxGateway, cert: Path | None, key: Path | None) -> bytes:
    context = ssl.create_default_context(cafile=str(gateway.ca_file))
    if cert is not None:
        context.load_cert_chain(str(cert), str(key))
    with (
        socket.create_connection(address(gateway), timeout=PATIENCE_S) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET /info/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        return secure.recv(65_536)


def test_mutual_tls_lets_in_only_who_shows_a_certificate():
    with SandboxGateway(tls="mutual") as gateway:
        cert, key = gateway.client_cert_file, gateway.client_key_file

        assert ask_over_mutual_tls(gateway, cert, key).startswith(b"HTTP/1.1 200")
        # Under TLS 1.3 the client learns of it only when it reads.
        with pytest.raises(OSError, match=r".*"):
            assert ask_over_mutual_tls(gateway, None, None) == b"refused"


def test_a_ca_of_the_merchants_own_may_vouch_for_the_clients(tmp_path: Path):
    theirs = Certificates(tmp_path, mutual=True, client_ca=None)

    with SandboxGateway(tls="valid", client_ca=theirs.ca_file) as gateway:
        answer = ask_over_mutual_tls(gateway, theirs.client_cert_file, theirs.client_key_file)

    assert answer.startswith(b"HTTP/1.1 200")


def test_without_trustme_tls_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(certificates.importlib, "import_module", missing)

    with pytest.raises(MissingTrustmeError, match=r"payme-kiosk\[tls-sandbox\]"):
        SandboxGateway(tls="valid")


def test_a_certificate_of_no_known_kind_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="sideways"):
        Certificates(tmp_path, mutual=False, client_ca=None).context("sideways")


# --- faults on demand ------------------------------------------------------------------------


def test_a_fault_stays_for_so_many_requests(gateway: SandboxGateway):
    gateway.set_fault("declined", times=2)

    answers = [pay(gateway, OTHER_CODE), pay(gateway, OTHER_CODE), pay(gateway, OTHER_CODE)]

    assert [answer["is_success"] for answer in answers] == [False, False, True]


def test_a_fault_without_a_number_stays_until_it_is_replaced(gateway: SandboxGateway):
    gateway.set_fault("declined")
    assert not any(pay(gateway)["is_success"] for _ in range(3))

    gateway.set_fault(None)

    assert pay(gateway)["is_success"] is True


def test_a_fault_of_the_payment_leaves_readiness_alone(gateway: SandboxGateway):
    gateway.set_fault("declined", times=1)

    assert ask(gateway, "GET", "/info/")[0] == 200
    assert pay(gateway)["is_success"] is False


def test_a_fault_of_readiness_may_stand_beside_one_of_the_payment():
    with SandboxGateway(info_fault="no-info") as gateway:
        gateway.set_fault("declined", times=1)

        assert ask(gateway, "GET", "/info/")[0] == 404
        assert pay(gateway)["is_success"] is False
        assert ask(gateway, "GET", "/info/")[0] == 404


def test_a_fault_may_be_over_by_itself(gateway: SandboxGateway):
    gateway.set_fault("declined", for_s=1e-9)

    assert pay(gateway)["is_success"] is True


def test_a_box_that_is_down_may_come_back_by_itself(gateway: SandboxGateway):
    gateway.set_fault("down", for_s=0.05)

    while True:
        try:
            socket.create_connection(address(gateway), timeout=PATIENCE_S).close()
        except ConnectionRefusedError:
            continue
        break

    assert pay(gateway)["is_success"] is True


@pytest.mark.parametrize(
    ("name", "times", "reason"),
    [("no-such-fault", None, "nearest"), ("down", 2, "for_s"), ("tls-expired", None, "TLS")],
)
def test_a_fault_that_cannot_be_is_an_error(
    gateway: SandboxGateway, name: str, times: int | None, reason: str
):
    with pytest.raises(ValueError, match=reason):
        gateway.set_fault(name, times)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tls": "sideways"}, UnknownFaultError),
        ({"info_fault": "no-such-fault"}, UnknownFaultError),
        ({"info_fault": "declined"}, ValueError),
    ],
)
def test_a_gateway_with_a_wrong_fault_does_not_start(
    options: dict[str, str], error: type[Exception]
):
    with pytest.raises(error):
        SandboxGateway(**options)


# --- the sandbox's own endpoints -------------------------------------------------------------


def test_the_ledger_over_http_is_the_ledger(gateway: SandboxGateway):
    pay(gateway)

    status, body = ask(gateway, "GET", "/_sandbox/ledger")

    told = json.loads(body)
    assert status == 200
    assert [charge["qr_code"] for charge in told["charges"]] == [CODE]
    assert told["charges"][0]["answered"] is True
    assert told["requests"][0]["amount"] == 1000
    assert [seen["requests"] for seen in told["connections"]] == [1, 1]
    assert told["canary_hits"] == 0


def test_every_fault_is_listed_with_a_line(gateway: SandboxGateway):
    status, body = ask(gateway, "GET", "/_sandbox/faults")

    assert status == 200
    assert {row["name"] for row in json.loads(body)} == set(FAULTS)


def test_a_fault_may_be_ordered_over_http(gateway: SandboxGateway):
    order = {"fault": "declined", "times": 1}

    status, body = ask(gateway, "PUT", "/_sandbox/fault", json=order)

    assert (status, json.loads(body)) == (200, {**order, "for_s": None})
    assert pay(gateway)["is_success"] is False
    assert pay(gateway)["is_success"] is True


def test_the_fault_may_be_ended_over_http(gateway: SandboxGateway):
    gateway.set_fault("declined")

    assert ask(gateway, "PUT", "/_sandbox/fault", json={"fault": None})[0] == 200
    assert pay(gateway)["is_success"] is True


def test_who_orders_the_box_down_still_gets_an_answer(gateway: SandboxGateway):
    order = {"fault": "down", "for_s": 600}

    assert ask(gateway, "PUT", "/_sandbox/fault", json=order)[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(gateway), timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (b"{}", "fault"),
        (b"", "truncated"),
        (b"[" * 50_000, "array"),
        (b'{"fault": 5}', "fault"),
        (b'{"fault": "declined", "times": 0}', "times"),
        (b'{"fault": "declined", "often": 2}', "often"),
        (b'{"fault": "declned"}', "declined"),
        (b'{"fault": "down"}', "for_s"),
        (b'{"fault": "down", "times": 3}', "for_s"),
        (b'{"fault": "blackhole"}', "for_s"),
    ],
)
def test_a_wrong_order_is_refused_with_the_reason(
    gateway: SandboxGateway, order: bytes, reason: str
):
    headers = {"Content-Length": str(len(order))}

    status, body = ask(gateway, "PUT", "/_sandbox/fault", body=order, headers=headers)

    assert status == 400
    assert reason in json.loads(body)["message"]
    assert pay(gateway)["is_success"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_sandbox/", 404),
        ("GET", "/_sandbox/fault", 405),
        ("PUT", "/_sandbox/ledger", 405),
        ("DELETE", "/_sandbox/faults", 405),
    ],
)
def test_wrong_paths_of_the_sandbox_say_so(
    gateway: SandboxGateway, method: str, path: str, status: int
):
    assert ask(gateway, method, path, headers={"Content-Length": "0"})[0] == status


# --- personal data and the command -----------------------------------------------------------


def test_codes_and_phone_numbers_stay_out_of_the_log(
    gateway: SandboxGateway, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    phone = pay(gateway)["data"]["client_phone_number"]
    pay(gateway)

    told = " ".join(str(vars(record)) for record in caplog.records if "kiosk" in record.name)
    assert "5050…6427" in told
    assert CODE not in told
    assert phone not in told


def start_command(*arguments: str) -> "subprocess.Popen[str]":
    call = (
        "import sys; from kiosk.sandbox.command import run_sandbox; "
        f"sys.exit(run_sandbox({', '.join(arguments)}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", call],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_is_and_ends_when_told(end: signal.Signals):
    with start_command("0", "None", "None") as process:
        place = json.loads(process.stdout.readline())
        assert place["ca_file"] is None
        with urllib3.PoolManager(retries=False) as pool:
            assert pool.request("GET", f"{place['url']}/info/", timeout=PATIENCE_S).status == 200

        process.send_signal(end)
        rest, errors = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, rest, errors) == (0, "", "")


def test_the_command_with_mutual_tls_names_its_files_and_takes_a_fault():
    with start_command("0", "'mutual'", "'declined'") as process:
        place = json.loads(process.stdout.readline())
        with urllib3.PoolManager(
            retries=False,
            ca_certs=place["ca_file"],
            cert_file=place["client_cert_file"],
            key_file=place["client_key_file"],
        ) as pool:
            fields = {"amount": 1000, "qr_code": CODE}
            answer = pool.request("POST", f"{place['url']}/payment/payme", json=fields)
            assert answer.json()["is_success"] is False

        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_a_tls_fault_of_the_command_turns_tls_on():
    with start_command("0", "None", "'tls-unknown-ca'") as process:
        place = json.loads(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=PATIENCE_S)

    assert place["url"].startswith("https://")
    assert place["ca_file"]


def test_the_command_leaves_the_signals_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    announce, before = command._announce, signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def announce_and_end(gateway: SandboxGateway) -> None:
        announce(gateway)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    monkeypatch.setattr(command, "_announce", announce_and_end)

    assert command.run_sandbox(0, "mutual", "tls-stall") == 0

    assert json.loads(capsys.readouterr().out)["client_key_file"]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize(
    ("fault", "advice"), [("hangup-charged", "hang-up-charged"), ("§§§§", "_sandbox/faults")]
)
def test_the_command_refuses_an_unknown_fault_with_the_nearest(
    capsys: pytest.CaptureFixture[str], fault: str, advice: str
):
    assert command.run_sandbox(0, None, fault) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert advice in told.err


def test_the_command_refuses_a_port_that_is_taken(
    gateway: SandboxGateway, capsys: pytest.CaptureFixture[str]
):
    assert command.run_sandbox(address(gateway)[1], None, None) == 2
    assert "in use" in capsys.readouterr().err


def test_who_goes_elsewhere_is_counted():
    with SandboxGateway() as gateway:
        host, _, port = gateway._elsewhere.url().removeprefix("http://").partition(":")
        assert gateway.ledger.canary_hits == 0

        with socket.create_connection((host, int(port)), timeout=10) as sock:
            assert sock.recv(1) == b""

        assert gateway.ledger.canary_hits == 1
        assert gateway._elsewhere.url().endswith(port)


def test_it_serves_on_an_address_of_a_tests_own():
    with SandboxGateway(tls="valid", host="127.0.0.2") as gateway:
        assert gateway.url.startswith("https://127.0.0.2:")
