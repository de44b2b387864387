"""A till and a sandbox with the cutting proxy between them, and every way to cut."""

import contextlib
import itertools
from collections import Counter

import judge
from cutting_proxy import Cut, CuttingProxy
from till import Till

from kiosk.payment.gateway import Gateway
from kiosk.sandbox.gateway import SandboxGateway
from kiosk.settings import GatewaySettings

ALERT = 24
"""Bytes of an alert under TLS 1.3, with which a client may take its leave; no request."""
_POOR = [f"50509{number:015d}" for number in range(10_000)]


@contextlib.contextmanager
def open_road(*, tls, client="ours"):
    """A `Road`, measured."""
    with contextlib.ExitStack() as closing:
        sandbox = SandboxGateway(tls="valid" if tls else None, decline=frozenset(_POOR))
        closing.callback(sandbox.close)
        proxy = CuttingProxy(sandbox.url)
        closing.callback(proxy.close)
        # Nothing here is slow; a time-out would only hide that a cut was not noticed.
        times = {"connect_s": 5.0, "read_s": 10.0, "deadline_s": 20.0}
        # Each payment counts the unknown ones before it: a fresh journal keeps that short.
        till = Till(sandbox, url=proxy.url, client=client, journal_of=8, **times)
        closing.callback(till.close)
        if tls:
            proxy.bare_at = _sent_by_ours(proxy, sandbox, asks=False)
            proxy.payment_at = _sent_by_ours(proxy, sandbox, asks=True)
        if client.startswith("pool"):
            proxy.payment_at = proxy.bare_at  # it asks nothing before
        yield Road(sandbox, proxy, till)


def _sent_by_ours(proxy, sandbox, *, asks):
    """How much our client sends before a payment: the handshake, and its question."""
    settings = GatewaySettings(url=proxy.url, ca_file=str(sandbox.ca_file))
    call = Gateway.from_settings(settings).call()
    proxy.arm(None)
    call.connect()
    if asks:
        call.ask_info()
    call.close()
    (passage,) = proxy.passages()
    return len(passage.sent)


class Road:
    """Where a payment is cut.

    Attributes:
        before, sent: Bytes of the client before the payment request, and in all.
        info, approval, refusal: Bytes of the server: before the payment, and its two answers.
        runs, outcomes: What was tried, and what the customers were told.
    """

    def __init__(self, sandbox, proxy, till):
        self.sandbox, self.proxy, self.till = sandbox, proxy, till
        self.runs, self.outcomes = 0, Counter()
        self._goodbye = ALERT if sandbox.ca_file else 0
        self._rich, self._poor = (f"50502{n:015d}" for n in itertools.count()), iter(_POOR)
        passage = self._undisturbed(next(self._rich), "approved")
        self.sent = len(passage.sent)
        self.before = proxy.payment_at or passage.sent.find(b"POST ")
        self.approval = passage.answered
        self.info = passage.passed["server"] - self.approval
        self.refusal = self._undisturbed(next(self._poor), "declined").answered

    def _undisturbed(self, code, outcome):
        self.proxy.arm(None)
        assert self.till.pay(code).outcome == outcome
        (passage,) = self.proxy.passages()
        return passage

    def cuts(self, *, every_byte):
        """(cut, whether the box refuses), over all bytes or over those of the payment."""
        for by in ("fin", "rst"):
            for n in range(0 if every_byte else self.before, self.sent + 1):
                yield Cut("client", n, by, at_once=True), False
            # The first byte, and that of the payment, left the client and went nowhere.
            for n in (0, self.before):
                yield Cut("client", n, by), False
            if every_byte:
                for n in range(self.info + 1):
                    yield Cut("server", n, by), False
            for whole, refuses in ((self.approval, False), (self.refusal, True)):
                for n in range(whole):
                    yield Cut("server", n, by, from_payment=True), refuses
                yield Cut("server", whole, by, from_payment=True, at_once=True), refuses

    def meet(self, cut, *, refuses):
        """One payment on a road that is cut; what is wrong with it, in words."""
        code = next(self._poor if refuses else self._rich)
        self.proxy.arm(cut)
        payment = self.till.pay(code)
        begun = [count for count in self.proxy.payment_bytes() if count > self._goodbye]
        self.runs += 1
        self.outcomes[payment.outcome] += 1
        yield from judge.faults_of(payment, code, self.till, self.sandbox.ledger)
        if len(begun) > 1:
            yield f"a payment request began to leave on {len(begun)} connections"
        if payment.outcome == "not_sent" and begun:
            yield f"told that nothing was sent, and {begun[0]} bytes left"
        if payment.outcome != "not_sent" and not begun and cut.by == "fin":
            yield f"told {payment.outcome}, and nothing left"
        whole, known = self._is_answered_whole(refuses=refuses), ("approved", "declined")
        if payment.outcome in known and not whole:
            yield f"told {payment.outcome} without a whole answer"
        # A reset may throw away what had arrived.
        if payment.outcome not in known and whole and cut.by == "fin":
            yield f"told {payment.outcome}, and the answer came whole"

    def _is_answered_whole(self, *, refuses):
        whole = self.refusal if refuses else self.approval
        return any(
            passage.answered == whole and not passage.withheld["server"]
            for passage in self.proxy.passages()
        )
