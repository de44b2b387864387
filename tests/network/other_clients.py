"""The client under test, and others that break its rules: each must be caught by the same runs."""

import threading
from dataclasses import replace

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from kiosk.core import events
from kiosk.core.intent import Outcome
from kiosk.payment import bounded
from kiosk.payment import gateway as gateway_module
from kiosk.payment.answer import read_answer
from kiosk.payment.gateway_thread import Attempts
from kiosk.payment.request import PATH, request_body


class Pool:
    """The usual way: a pool, and the exception's class is taken for what happened."""

    retries = None
    """urllib3's own default: three, and redirects are followed."""

    def __init__(self, gateway, post):
        self._settings = gateway.settings
        self._post = post
        self._attempts = {}

    def connect(self, intent_id):
        self._post(events.Connected(intent_id))

    def submit(self, intent, send_before_s):
        threading.Thread(target=self._pay, args=(intent,)).start()

    def abandon(self, intent_id):
        pass

    def hang_up_overdue(self, now_s):
        pass

    def _pay(self, intent):
        settings = self._settings
        timeout = urllib3.Timeout(connect=settings.connect_timeout_s, read=settings.read_timeout_s)
        manager = urllib3.PoolManager(
            ca_certs=settings.ca_file, timeout=timeout, retries=self.retries
        )
        code = intent.code.digits
        try:
            response = manager.request(
                "POST",
                settings.url + PATH,
                body=request_body(1000, code),
                headers={"Content-Type": "application/json"},
            )
        except ReadTimeoutError:
            self._post(events.AnswerLost(intent.id, "no answer", None))
        except HTTPError as error:
            # "The connection failed, so nothing was sent": true of most of them, not of all.
            self._post(events.NotSent(intent.id, type(error).__name__))
        else:
            answer = read_answer(
                response.status, response.data, amount=1000, code=code, trust_refusals=True
            )
            self._post(events.OutcomeKnown(intent.id, answer))
        finally:
            manager.clear()


class PoolWithoutRetries(Pool):
    """The same with `retries=False`."""

    retries = False


class Hasty(Pool):
    """Sends as soon as a connection is there, whether anybody still wants it or not."""

    def connect(self, intent_id):
        threading.Thread(target=self._send).start()

    def _send(self):
        urllib3.PoolManager(timeout=20.0, retries=False).request(
            "POST",
            self._settings.url + PATH,
            body=request_body(1000, self.code),
            headers={"Content-Type": "application/json"},
        )


class Doubter(Attempts):
    """Takes whatever does not approve for a refusal."""

    def __init__(self, gateway, post):
        def believe(word):
            if isinstance(word, events.AnswerLost):
                answer = read_answer(
                    200,
                    b'{"data":null,"error":{"code":106},"is_success":false}',
                    amount=1000,
                    code="",
                    trust_refusals=True,
                )
                word = events.OutcomeKnown(word.intent_id, answer)
            if isinstance(word, events.OutcomeKnown):
                answer = word.answer
                if answer.outcome is Outcome.UNKNOWN:
                    word = replace(word, answer=replace(answer, outcome=Outcome.DECLINED))
            post(word)

        super().__init__(gateway, believe)


class Glutton(Attempts):
    """Reads a hundred megabytes where they come."""

    def __init__(self, gateway, post):
        bounded.MAX_ANSWER_BYTES = gateway_module.MAX_BODY_BYTES = 100 * 1024 * 1024
        super().__init__(gateway, post)


CLIENTS = {
    "ours": Attempts,
    "pool": Pool,
    "pool without retries": PoolWithoutRetries,
    "hasty": Hasty,
    "doubter": Doubter,
    "glutton": Glutton,
}
