"""An answer of the box that ends, whatever the box does: everything of it is counted."""

import io
import re
from http.client import BadStatusLine, HTTPResponse, RemoteDisconnected
from typing import Any

from kiosk.payment.answer import MAX_BODY_BYTES
from kiosk.payment.gateway_trouble import UnreadableError

MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES
"""All that comes for one request: interim answers, head, chunk sizes, body, trailer.

http.client bounds a line and the headers of a head, but neither the number of interim answers
nor the trailer: at full speed they kept a processor busy for as long as the box liked.
"""
_MAX_LINE_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"(HTTP/1\.[0-9]) +([1-9][0-9]{2})(?: (.*))?")


class BoundedResponse(HTTPResponse):
    """http.client's own, on a socket that gives at most `MAX_ANSWER_BYTES`.

    Raises:
        UnreadableError: From any method that reads: more came.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_Counted(self.fp.detach()))

    def _read_status(self) -> tuple[str, int, str]:
        # http.client's own splits at every space of Latin-1 and reads 2_0_0 and +400 as numbers.
        line = self.fp.readline(_MAX_LINE_BYTES)
        if not line:
            raise RemoteDisconnected("the box closed the connection without an answer")
        found = _STATUS_LINE.fullmatch(line.rstrip(b"\r\n"))
        if found is None:
            raise BadStatusLine("no status line of HTTP/1")
        version, status, reason = (part.decode("latin-1") for part in found.groups(b""))
        return version, int(status), reason

    def begin(self) -> None:
        """Read the head; one with a line that is no header is not taken for a shorter one.

        What stands behind such a line is silently left out, a Content-Length among it.
        """
        super().begin()
        if self.headers.get_payload():
            raise UnreadableError("its head breaks the rules of HTTP")


class _Counted(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._left = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise UnreadableError("the answer is too large")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
