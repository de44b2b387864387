"""What happens on one connection: requests in, answers or faults out."""

import logging
from collections.abc import Callable, Mapping

from kiosk.core.code import mask
from kiosk.sandbox import answers
from kiosk.sandbox.active_fault import ActiveFault
from kiosk.sandbox.answers import RefusedError
from kiosk.sandbox.box import Box, PaymentRequest
from kiosk.sandbox.faults import Exchange, Fault, Pace
from kiosk.sandbox.http1 import JSON_TYPE, BadRequestError, Head, format_answer
from kiosk.sandbox.ledger import Charge, Ledger
from kiosk.sandbox.wire import Connection, ConnectionLostError

log = logging.getLogger(__name__)

# Given a request's head, answers it; its body is still to be read.
Handler = Callable[[Connection, Head], None]
_LINGER_S = 0.5


class Service:
    """The box's endpoints. Fiscal ones join as further `routes`.

    Threads: `serve` on one thread for each connection.
    """

    def __init__(
        self,
        ledger: Ledger,
        box: Box,
        active: ActiveFault,
        *,
        pace: Pace,
        latency_s: float,
        elsewhere: Callable[[], str],
        info_fault: Fault | None,
    ) -> None:
        """`latency_s` lies between a charge and its answer; `info_fault` stays on.

        `elsewhere` names the server that nobody may contact, for faults that redirect to it.
        """
        self._ledger = ledger
        self._box = box
        self._active = active
        self._pace = pace
        self._latency_s = latency_s
        self._elsewhere = elsewhere
        self._info_fault = info_fault
        self.base_url = ""
        self.routes: dict[str, Mapping[str, Handler]] = {
            "/payment/payme": {"POST": self._pay},
            "/info/": {"GET": self._inform},
        }
        self.prefixes: dict[str, Handler] = {}

    def serve(self, connection: Connection) -> None:
        """Answer requests until one side closes."""
        try:
            while not connection.closed:
                head = connection.read_head()
                if head is None:
                    return
                self._ledger.saw_asking(connection.number)
                self._handler(head)(connection, head)
                if not head.wants_more:
                    return
        except BadRequestError as error:
            log.info("request refused", extra={"status": error.status, "reason": str(error)})
            connection.send(format_answer(error.status))
            connection.drain(_LINGER_S)

    def _handler(self, head: Head) -> Handler:
        for prefix, handler in self.prefixes.items():
            if head.path.startswith(prefix):
                return handler
        methods = self.routes.get(head.path)
        if methods is None:
            return _refuse_with(404)
        return methods.get(head.method) or _refuse_with(405, ("Allow", ", ".join(methods)))

    def _pay(self, connection: Connection, head: Head) -> None:
        fault = self._active.take("payment")
        fault_name = None if fault is None else fault.name
        place = self._ledger.saw_request(
            connection.number, head.headers, head.received_bytes, fault_name
        )
        if fault is not None and fault.unread:
            charge = self._box.imagine(PaymentRequest(0, ""))
            self._misbehave(fault, connection, charge, None)
            return
        body = connection.read_body(head)
        self._ledger.amend_request(place, received_bytes=head.received_bytes + len(body))
        try:
            self._refuse_if_not_ready()
            payment = self._box.read_payment(head, body)
            self._ledger.amend_request(place, code=payment.qr_code, amount=payment.amount)
            earlier = next(iter(self._ledger.charges), None)
            charge = self._box.take(payment, really=fault is None or fault.charges)
            self._ledger.amend_request(place, charged=fault is None or fault.charges)
        except RefusedError as error:
            log.info("payment refused", extra={"error": error.code})
            refusal = answers.encode(answers.refusal(error.code, str(error)))
            connection.send(_answer(refusal, head))
            return
        log.info(
            "payment taken",
            extra={"code": mask(payment.qr_code), "fault": fault_name},
        )
        connection.pause(self._latency_s)
        if fault is not None:
            self._misbehave(fault, connection, charge, earlier)
            return
        approval = answers.encode(answers.success(answers.payment_data(charge)))
        self._approve(charge, lambda: connection.send(_answer(approval, head)))

    def _refuse_if_not_ready(self) -> None:
        fault = self._active.at("info") or self._info_fault
        if fault is not None and fault.box_error is not None:
            raise RefusedError(*fault.box_error)

    def _inform(self, connection: Connection, head: Head) -> None:
        connection.read_body(head)
        fault = self._active.take("info") or self._info_fault
        if fault is not None and fault.run is not None:
            imagined = self._box.imagine(PaymentRequest(0, ""))
            fault.run(self._exchange(connection, imagined, None))
            return
        connection.send(_answer(answers.encode(self._box.info()), head))

    def _misbehave(
        self, fault: Fault, connection: Connection, charge: Charge, earlier: Charge | None
    ) -> None:
        exchange = self._exchange(connection, charge, earlier)

        def run() -> None:
            if fault.run is not None:
                fault.run(exchange)
            connection.hang_up()

        if fault.outcome == "approved":
            self._approve(charge, run)
        else:
            run()

    def _exchange(self, connection: Connection, charge: Charge, earlier: Charge | None) -> Exchange:
        return Exchange(
            connection=connection,
            charge=charge,
            earlier=earlier,
            pace=self._pace,
            base_url=self.base_url,
            elsewhere=self._elsewhere,
            info=self._box.info,
            mark_answered=lambda: self._ledger.mark_answered(charge, answered=True),
        )

    def _approve(self, charge: Charge, answer: Callable[[], None]) -> None:
        # Noted before the last byte leaves: who has read the answer finds it in the ledger.
        self._ledger.mark_answered(charge, answered=True)
        try:
            answer()
        except ConnectionLostError:
            self._ledger.mark_answered(charge, answered=False)
            raise


def _answer(body: bytes, head: Head) -> bytes:
    return format_answer(200, body, [JSON_TYPE], close=not head.wants_more)


def _refuse_with(status: int, *headers: tuple[str, str]) -> Handler:
    def refuse(connection: Connection, head: Head) -> None:
        connection.read_body(head)
        connection.send(format_answer(status, b"", headers, close=not head.wants_more))

    return refuse
