"""HTTP statuses on which nothing is believed, redirects among them."""

from kiosk.sandbox import answers
from kiosk.sandbox.faults.fault import Action, Exchange, Fault, fault
from kiosk.sandbox.http1 import JSON_TYPE, format_answer

_CANARY = "/_sandbox/canary"
_HTML = b"<html><body><h1>It did not work</h1></body></html>"
_ENVELOPE = answers.encode(answers.refusal(answers.PAYMENT_ERROR, "payment error"))


def _bare(status: int) -> Action:
    return lambda x: x.answer(_HTML, status, [("Content-Type", "text/html")])


def _refuses(status: int) -> Action:
    return lambda x: x.answer(_ENVELOPE, status)


def _redirects(status: int) -> Action:
    return lambda x: x.answer(b"", status, [("Location", x.base_url + _CANARY)])


def _redirects_elsewhere(status: int) -> Action:
    return lambda x: x.answer(b"", status, [("Location", x.elsewhere() + "/payment/payme")])


def _redirects_to_itself(status: int, *, relative: bool = False) -> Action:
    """To the very payment: who follows it pays once more."""

    def run(x: Exchange) -> None:
        base = "" if relative else x.base_url
        x.answer(b"", status, [("Location", base + "/payment/payme")])

    return run


def _redirects_with_refusal(x: Exchange) -> None:
    x.answer(_ENVELOPE, 307, [JSON_TYPE, ("Location", x.base_url + _CANARY)])


def _approves(status: int) -> Action:
    return lambda x: x.answer(x.body(), status)


def _retry_after(x: Exchange) -> None:
    x.answer(b"", 503, [("Retry-After", "0")])


def _interim(*statuses: int) -> Action:
    """Interim answers before the true one."""

    def run(x: Exchange) -> None:
        before = b"".join(f"HTTP/1.1 {status} Interim\r\n\r\n".encode() for status in statuses)
        x.send(before + format_answer(200, x.body(), [JSON_TYPE]))

    return run


# A proxy in front of the box says 5xx when the answer of a charge got lost behind it.
_BARE_UNCHARGED = (400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 413, 415, 422, 429, 431)
_BARE_CHARGED = (408, 421, 499, 500, 501, 502, 503, 504, 505, 520, 599)
_WITH_ENVELOPE = (401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
_APPROVED = (201, 202, 203, 206, 226, 299, 300, 304, 400, 402, 404, 500, 502, 503)
_REDIRECTS = (301, 302, 303, 307, 308)

STATUSES: tuple[Fault, ...] = (
    *(
        fault(f"http-{status}", "unknown", f"HTTP {status} without envelope", _bare(status))
        for status in _BARE_UNCHARGED
    ),
    *(
        fault(
            f"http-{status}",
            "unknown",
            f"charges and answers HTTP {status} without envelope",
            _bare(status),
            charges=True,
        )
        for status in _BARE_CHARGED
    ),
    *(
        fault(
            f"http-{status}-envelope",
            "unknown",
            f"charges and answers HTTP {status} around a refusal",
            _refuses(status),
            charges=True,
        )
        for status in _WITH_ENVELOPE
    ),
    *(
        fault(
            f"http-{status}-approved",
            "unknown",
            f"HTTP {status} around the answer of an approved payment",
            _approves(status),
            charges=True,
        )
        for status in _APPROVED
    ),
    *(
        fault(
            f"redirect-{status}",
            "unknown",
            f"HTTP {status} to the canary",
            _redirects(status),
        )
        for status in _REDIRECTS
    ),
    *(
        fault(
            f"redirect-{status}-elsewhere",
            "unknown",
            f"charges and answers HTTP {status} to a server where nobody may come",
            _redirects_elsewhere(status),
            charges=True,
        )
        for status in _REDIRECTS
    ),
    *(
        fault(
            f"redirect-{status}-loop",
            "unknown",
            f"charges and answers HTTP {status} to the very payment",
            _redirects_to_itself(status),
            charges=True,
        )
        for status in (307, 308)
    ),
    fault(
        "redirect-308-relative",
        "unknown",
        "charges and answers HTTP 308 to the very payment, without a host",
        _redirects_to_itself(308, relative=True),
        charges=True,
    ),
    fault(
        "redirect-with-refusal",
        "unknown",
        "charges and answers HTTP 307 to the canary around a refusal",
        _redirects_with_refusal,
        charges=True,
    ),
    fault(
        "retry-after",
        "unknown",
        "charges and answers HTTP 503 that asks for a second try at once",
        _retry_after,
        charges=True,
    ),
    fault(
        "http-204",
        "unknown",
        "charges and answers HTTP 204",
        lambda x: x.answer(b"", 204, ()),
        charges=True,
    ),
    fault(
        "http-205",
        "unknown",
        "charges and answers HTTP 205 without a body",
        lambda x: x.answer(b"", 205, ()),
        charges=True,
    ),
    fault(
        "http-101",
        "unknown",
        "charges and answers HTTP 101",
        lambda x: x.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        charges=True,
    ),
    fault(
        "continue-first",
        "approved",
        "HTTP 100 comes before the true answer",
        _interim(100),
        charges=True,
    ),
    fault(
        "continue-five",
        "approved",
        "HTTP 100 comes five times before the true answer",
        _interim(*[100] * 5),
        charges=True,
    ),
    fault(
        "early-hints",
        "approved",
        "HTTP 103 comes before the true answer; not every client knows it",
        _interim(103),
        charges=True,
        also="unknown",
    ),
)
