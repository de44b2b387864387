"""Each fault on the wire, read by a client that follows the contract's table of outcomes.

The client here is written apart from the kiosk's, so that neither hides the other's mistakes.
"""

import itertools
import json
import select
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kiosk.sandbox.faults import FAULTS, Fault, Pace, UnknownFaultError, find
from kiosk.sandbox.gateway import SandboxGateway

PACE = Pace(stall_s=0.15, drip_s=0.02, late_s=0.05)
AMOUNT = 1000
LIMIT = 65_536
PATIENCE_S = 20.0
CODES = (f"5050204430138{number:07d}" for number in itertools.count())

at_payment = [fault for fault in FAULTS.values() if fault.place == "payment"]
at_info = [fault for fault in FAULTS.values() if fault.place == "info"]
at_connection = [fault for fault in FAULTS.values() if fault.place == "connection"]
at_handshake = [fault for fault in FAULTS.values() if fault.place == "tls"]


# --- a careful client ------------------------------------------------------------------------


class UnreadableError(Exception):
    """The answer breaks a rule of HTTP or JSON."""


@dataclass
class Verdict:
    outcome: str
    flagged: bool = False


def connect(gateway: SandboxGateway) -> socket.socket:
    host, _, port = gateway.url.rpartition("//")[2].partition(":")
    sock = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    if gateway.ca_file is None:
        return sock
    context = ssl.create_default_context(cafile=str(gateway.ca_file))
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


def ask(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: kiosk\r\nAccept-Encoding: identity\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def payment(code: str) -> bytes:
    fields = json.dumps({"amount": AMOUNT, "qr_code": code}).encode()
    return ask("POST", "/payment/payme", fields)


def receive(sock: socket.socket, limit: int = 2 * LIMIT) -> tuple[bytes, bool]:
    """Everything up to the limit, and whether it ended in order."""
    data = b""
    try:
        while len(data) < limit:
            piece = sock.recv(65_536)
            if not piece:
                return data, True
            data += piece
    except OSError:
        return data, False
    return data, False


def pay(gateway: SandboxGateway, code: str) -> tuple[bytes, bool]:
    """Send one payment and read what comes until the connection ends."""
    with connect(gateway) as sock:
        try:
            sock.sendall(payment(code))
        except OSError:
            return b"", False
        return receive(sock)


def read_lengths(headers: list[tuple[str, str]]) -> int | None:
    lengths = [value for name, value in headers if name == "content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise UnreadableError("Content-Length")
    return int(lengths[0])


def read_chunks(rest: bytes) -> bytes:
    body = b""
    while True:
        line, found, rest = rest.partition(b"\r\n")
        digits = line.partition(b";")[0]
        if not found or not digits or set(digits.lower()) - set(b"0123456789abcdef"):
            raise UnreadableError("chunk size")
        size = int(digits, 16)
        if size == 0:
            return body
        if rest[size : size + 2] != b"\r\n":
            raise UnreadableError("chunk")
        body += rest[:size]
        rest = rest[size + 2 :]


def skip_interim(raw: bytes) -> bytes:
    while raw.startswith((b"HTTP/1.1 100 ", b"HTTP/1.1 103 ")):
        raw = raw.partition(b"\r\n\r\n")[2]
    return raw


def read_http(raw: bytes, in_order: bool) -> tuple[int, bytes]:
    head, found, rest = skip_interim(raw).partition(b"\r\n\r\n")
    if not found or len(head) > LIMIT:
        raise UnreadableError("no head")
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, after = first.partition(" ")
    digits = after[:3]
    if not (version in ("HTTP/1.0", "HTTP/1.1") and digits.isdigit() and after[3:4] == " "):
        raise UnreadableError("status line")
    status = int(digits)
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise UnreadableError("header")
        headers.append((name.lower(), value.strip()))
    known = dict(headers)
    if known.get("content-encoding", "identity") != "identity":
        raise UnreadableError("encoding")
    length = read_lengths(headers)
    if "transfer-encoding" in known:
        if length is not None:
            raise UnreadableError("two lengths")
        body = read_chunks(rest)
    elif length is not None:
        if len(rest) < length:
            raise UnreadableError("ended early")
        body = rest[:length]
    else:
        if not in_order:
            raise UnreadableError("broken off")
        body = rest
    if len(body) > LIMIT:
        raise UnreadableError("too large")
    return status, body


def refuse_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise UnreadableError("doubled key")
    return dict(pairs)


def refuse_constant(name: str) -> float:
    raise UnreadableError(name)


def read_json(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=refuse_doubles,
            parse_constant=refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise UnreadableError("JSON") from error
    if not isinstance(value, dict):
        raise UnreadableError("no object")
    return value


def is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def judge(raw: bytes, in_order: bool, earlier: set[str], *, trusting: bool = True) -> Verdict:
    """Section 3's table, line by line."""
    try:
        status, body = read_http(raw, in_order)
        envelope = read_json(body)
    except UnreadableError:
        return Verdict("unknown")
    data, error = envelope.get("data"), envelope.get("error")
    if status in (200, 400) and envelope.get("is_success") is False:
        if isinstance(error, dict) and is_integer(error.get("code")) and data is None:
            billing = "BILLING" in str(error.get("message"))
            before = error["code"] in (7, 333, 444) or (error["code"] == 104 and not billing)
            return Verdict("declined" if trusting or before else "unknown")
        return Verdict("unknown")
    paid = status == 200 and envelope.get("is_success") is True and isinstance(data, dict)
    if not paid or error is not None or not isinstance(data, dict):
        return Verdict("unknown")
    if data.get("status") == "failed":
        return Verdict("declined" if trusting else "unknown")
    payment_id, amount = data.get("payment_id"), data.get("amount")
    if data.get("status") != "successfully" or not is_integer(amount):
        return Verdict("unknown")
    if not isinstance(payment_id, str) or not 1 <= len(payment_id) <= 64:
        return Verdict("unknown")
    if not payment_id.isprintable():
        return Verdict("unknown")
    if payment_id in earlier:
        return Verdict("unknown", flagged=True)
    hexadecimal = len(payment_id) == 24 and not set(payment_id) - set("0123456789abcdefABCDEF")
    return Verdict("approved", flagged=amount != AMOUNT or not hexadecimal)


# --- the faults ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[None, "valid"], ids=["plain", "tls"])
def gateway(request: pytest.FixtureRequest) -> Iterator[SandboxGateway]:
    """One sandbox for all faults, with one ordinary payment behind it."""
    with SandboxGateway(tls=request.param, pace=PACE) as running:
        raw, in_order = pay_once(running, next(CODES))
        assert judge(raw, in_order, set()) == Verdict("approved")
        yield running


def pay_once(gateway: SandboxGateway, code: str) -> tuple[bytes, bool]:
    """An ordinary payment on a connection that the client closes after the answer."""
    with connect(gateway) as sock:
        sock.sendall(payment(code).replace(b"Host: kiosk", b"Host: kiosk\r\nConnection: close"))
        return receive(sock)


def earlier_ids(gateway: SandboxGateway) -> set[str]:
    return {charge.payment_id for charge in gateway.ledger.charges}


@pytest.mark.parametrize("fault", at_payment, ids=lambda fault: fault.name)
def test_a_fault_at_the_payment_does_what_its_row_says(gateway: SandboxGateway, fault: Fault):
    code, earlier, hits = next(CODES), earlier_ids(gateway), gateway.ledger.canary_hits
    gateway.set_fault(fault.name, times=1)

    raw, in_order = pay(gateway, code)

    verdict = judge(raw, in_order, earlier)
    assert fault.permits(verdict.outcome)
    if verdict.outcome == fault.outcome:
        assert verdict.flagged == fault.flagged
        assert judge(raw, in_order, earlier, trusting=False).outcome == fault.distrusted
    charges = [charge for charge in gateway.ledger.charges if charge.qr_code == code]
    assert len(charges) == fault.charges
    seen = gateway.ledger.requests[-1]
    assert seen.fault == fault.name
    assert seen.charged == fault.charges
    assert seen.code == (None if fault.unread else code)
    assert gateway.ledger.canary_hits == hits


def test_money_that_moved_is_never_a_refusal():
    for fault in at_payment:
        outcomes = {fault.outcome, fault.also, fault.distrusted}
        assert not (fault.charges and outcomes & {"declined", "not_sent"}), fault.name
        assert fault.charges or "approved" not in outcomes, fault.name


def test_no_fault_charges_a_code_twice():
    with SandboxGateway(pace=PACE) as gateway:
        code = next(CODES)
        pay_once(gateway, code)
        for fault in at_payment:
            if not fault.charges:
                continue
            gateway.set_fault(fault.name, times=1)

            raw, in_order = pay_once(gateway, code)

            assert judge(raw, in_order, set()) == Verdict("declined"), fault.name
            assert b"code already used" in raw, fault.name
        assert len(gateway.ledger.charges) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_who_follows_a_redirect_is_counted(gateway: SandboxGateway, status: int):
    gateway.set_fault(f"redirect-{status}", times=1)
    raw, _ = pay(gateway, next(CODES))
    before = gateway.ledger.canary_hits

    location = raw.split(b"Location: ")[1].split(b"\r\n")[0].decode()
    assert location.startswith(gateway.url)
    with connect(gateway) as sock:
        sock.sendall(ask("POST", location.removeprefix(gateway.url), b"{}"))
        sock.recv(10)

    assert gateway.ledger.canary_hits == before + 1


# --- around the payment ----------------------------------------------------------------------


def read_one(sock: socket.socket) -> bytes:
    """One answer that has a Content-Length, and whatever came with it."""
    raw = b""
    while True:
        head, found, rest = raw.partition(b"\r\n\r\n")
        if found:
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if len(rest) >= int(length or 0):
                return raw
        piece = sock.recv(65_536)
        if not piece:
            return raw
        raw += piece


def visit(gateway: SandboxGateway, code: str, *, closes: bool = False) -> str:
    """Ask for readiness, then pay on that connection if it still stands, else on another.

    With `closes` the hang-up that is on its way is awaited, so that the client needs no luck.
    """
    sock = connect(gateway)
    try:
        sock.sendall(ask("GET", "/info/"))
        try:
            raw = read_one(sock)
        except OSError:
            raw = b""
        if not raw:
            return "not_sent"
        if b'"code":102' in raw or b'"code":333' in raw:
            return "not_sent"
        wait_s = PATIENCE_S if closes else 0.0
        dropped = raw.count(b"HTTP/1.1 ") > 1 or bool(select.select([sock], [], [], wait_s)[0])
        if dropped:
            sock.close()
            sock = connect(gateway)
        earlier = earlier_ids(gateway)
        sock.sendall(payment(code).replace(b"Host: kiosk", b"Host: kiosk\r\nConnection: close"))
        return judge(*receive(sock), earlier).outcome
    finally:
        sock.close()


@pytest.mark.parametrize("fault", at_info, ids=lambda fault: fault.name)
def test_a_fault_of_readiness_does_what_its_row_says(gateway: SandboxGateway, fault: Fault):
    code = next(CODES)
    gateway.set_fault(fault.name)

    outcome = visit(gateway, code, closes=fault.name.startswith("info-closes"))

    gateway.set_fault(None)
    assert outcome == fault.outcome
    assert (gateway.ledger.charge_of(code) is not None) == fault.charges


@pytest.mark.parametrize("name", ["not-initialised", "subscription-expired"])
def test_a_box_that_is_not_ready_refuses_payments_as_well(gateway: SandboxGateway, name: str):
    code = next(CODES)
    gateway.set_fault(name)

    verdict = judge(*pay_once(gateway, code), set())

    gateway.set_fault(None)
    assert verdict == Verdict("declined")
    assert gateway.ledger.charge_of(code) is None


def test_what_lies_behind_the_answer_of_info_would_be_taken_for_the_next(gateway: SandboxGateway):
    gateway.set_fault("info-poisons", times=1)

    with connect(gateway) as sock:
        sock.sendall(ask("GET", "/info/"))
        raw = b""
        while raw.count(b"HTTP/1.1 200 OK") < 2 or not raw.endswith(b"}"):
            raw += sock.recv(65_536)

    assert b"insufficient funds" in raw


@pytest.mark.parametrize("fault", at_connection, ids=lambda fault: fault.name)
def test_a_fault_of_connections_lets_nothing_through(gateway: SandboxGateway, fault: Fault):
    code, before = next(CODES), len(gateway.ledger.requests)
    gateway.set_fault(fault.name)

    try:
        outcome = visit(gateway, code)
    except OSError:
        outcome = "not_sent"

    gateway.set_fault(None)
    assert fault.permits(outcome)
    assert len(gateway.ledger.requests) == before
    assert gateway.ledger.charge_of(code) is None


def test_a_box_that_is_down_refuses_and_comes_back_on_its_port(gateway: SandboxGateway):
    with connect(gateway) as kept:
        kept.sendall(ask("GET", "/info/"))
        assert b"200 OK" in read_one(kept)

        gateway.set_fault("down")

        assert receive(kept)[0] == b""
        with pytest.raises(ConnectionRefusedError):
            connect(gateway)
    gateway.set_fault(None)
    assert visit(gateway, next(CODES)) == "approved"


@pytest.fixture(scope="module")
def tls_gateway() -> Iterator[SandboxGateway]:
    with SandboxGateway(tls="valid", pace=PACE) as running:
        yield running


@pytest.mark.parametrize("fault", at_handshake, ids=lambda fault: fault.name)
def test_no_request_survives_a_failed_handshake(tls_gateway: SandboxGateway, fault: Fault):
    tls_gateway.set_fault(fault.name)

    with pytest.raises(OSError, match=r".*"):
        connect(tls_gateway)

    tls_gateway.set_fault(None)
    assert tls_gateway.ledger.requests == ()
    connect(tls_gateway).close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tls-expired", "expired"),
        ("tls-not-yet-valid", "not yet valid"),
        ("tls-wrong-host", "mismatch"),
        ("tls-unknown-ca", "unable to get local issuer|self-signed|self signed"),
    ],
)
def test_a_bad_certificate_is_bad_for_its_own_reason(
    tls_gateway: SandboxGateway, name: str, reason: str
):
    tls_gateway.set_fault(name, times=1)

    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        connect(tls_gateway)


# --- the table -------------------------------------------------------------------------------


def test_every_row_of_the_table_is_one_line():
    for name, fault in FAULTS.items():
        assert name == fault.name
        assert fault.description
        assert "\n" not in fault.description
        assert set(fault.row()) >= {"name", "description", "charges", "outcome"}


def test_the_table_holds_at_least_the_kinds_that_the_contract_names():
    assert len(FAULTS) >= 150
    assert {fault.outcome for fault in FAULTS.values()} == {
        "approved",
        "declined",
        "not_sent",
        "unknown",
    }


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownFaultError, match="hang-up-charged"):
        find("hangup-charged")


def test_a_name_that_is_like_no_other_says_where_the_list_is():
    with pytest.raises(UnknownFaultError, match="_sandbox/faults"):
        find("§§§§")
