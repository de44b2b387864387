"""A `GET /info/` that does not say that the box is ready."""

from kiosk.sandbox import answers
from kiosk.sandbox.faults.fault import Action, Exchange, Fault, fault
from kiosk.sandbox.http1 import JSON_TYPE, format_answer, format_head


def _keep(x: Exchange, body: bytes, status: int = 200) -> None:
    x.send(format_answer(status, body, [JSON_TYPE], close=False))


def _not_ready(name: str, code: int, message: str) -> Fault:
    refusal = answers.encode(answers.refusal(code, message))
    return fault(
        name,
        "not_sent",
        f"the box is not ready: /info/ and payments are answered with error {code}",
        lambda x: _keep(x, refusal),
        also="declined",
        place="info",
        box_error=(code, message),
    )


def _closes(x: Exchange) -> None:
    _keep(x, answers.encode(x.info()))
    x.connection.hang_up()


def _closes_politely(x: Exchange) -> None:
    x.answer(answers.encode(x.info()))
    x.connection.hang_up()


def _hangs_up(x: Exchange) -> None:
    x.connection.hang_up()


def _stalls(x: Exchange) -> None:
    x.connection.pause(x.pace.stall_s)
    x.connection.hang_up()


def _redirects(x: Exchange) -> None:
    headers = [("Location", f"{x.base_url}/_sandbox/canary"), ("Content-Length", "0")]
    x.send(format_head(302, headers))


def _oversized(x: Exchange) -> None:
    _keep(x, answers.encode(x.info()) + b" " * 1_000_000)


def _poisons(x: Exchange) -> None:
    refusal = answers.encode(answers.refusal(answers.PAYMENT_ERROR, "insufficient funds"))
    # In one piece, so that the second answer lies ready when the first has been read.
    first = format_answer(200, answers.encode(x.info()), [JSON_TYPE], close=False)
    x.send(first + format_answer(200, refusal, [JSON_TYPE], close=False))


def _info(name: str, description: str, run: Action) -> Fault:
    """The payment itself goes well: readiness is merely not available."""
    return fault(name, "approved", description, run, charges=True, place="info")


READINESS: tuple[Fault, ...] = (
    _not_ready("not-initialised", answers.NOT_INITIALISED, "FISCAL_MODULE_NOT_INITIALIZED"),
    _not_ready("subscription-expired", answers.SUBSCRIPTION_EXPIRED, "SUBSCRIPTION_EXPIRED"),
    fault(
        "info-hang-up",
        "not_sent",
        "/info/ is not answered: the connection is closed",
        _hangs_up,
        also="approved",
        place="info",
    ),
    fault(
        "info-stall",
        "not_sent",
        "/info/ is not answered: the connection stays silent",
        _stalls,
        also="approved",
        place="info",
    ),
    _info("no-info", "/info/ answers 404", lambda x: _keep(x, b"", 404)),
    _info("info-405", "/info/ answers 405", lambda x: _keep(x, b"", 405)),
    _info("info-500", "/info/ answers 500", lambda x: _keep(x, b"", 500)),
    _info("info-garbage", "/info/ answers with no JSON", lambda x: _keep(x, b"<html>ready")),
    _info("info-oversized", "/info/ answers with a megabyte", _oversized),
    _info("info-redirect", "/info/ redirects to the canary", _redirects),
    _info("info-closes", "closes the connection after /info/ without a word", _closes),
    _info("info-closes-politely", "announces and closes after /info/", _closes_politely),
    _info(
        "info-poisons",
        "sends a refusal behind the answer of /info/, for the next request to find",
        _poisons,
    ),
)
