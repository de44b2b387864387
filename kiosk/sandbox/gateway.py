"""A gateway over real sockets that behaves like the real one, until it is told not to."""

import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from kiosk.sandbox import admin, faults
from kiosk.sandbox.active_fault import ActiveFault
from kiosk.sandbox.box import AmountUnit, Box
from kiosk.sandbox.certificates import Certificates
from kiosk.sandbox.elsewhere import Elsewhere
from kiosk.sandbox.faults import Fault, Pace
from kiosk.sandbox.faults.handshakes import PREFIX
from kiosk.sandbox.greeting import greet
from kiosk.sandbox.http1 import Head
from kiosk.sandbox.ledger import Ledger
from kiosk.sandbox.listener import Listener
from kiosk.sandbox.service import Service
from kiosk.sandbox.wire import Connection, ConnectionLostError

log = logging.getLogger(__name__)

_JOIN_S = 5.0


class SandboxGateway:
    """A running sandbox; a context manager that closes with its connections.

    One thread accepts, one serves each connection.

    Threads: `set_fault`, `ledger` and `close` from any.

    Attributes:
        ledger: What it really charged.
        url: The base URL, without a path.
        ca_file: What to trust (PEM), None without TLS.
        client_cert_file: For mutual TLS, else None.
        client_key_file: For mutual TLS, else None.
    """

    def __init__(
        self,
        port: int = 0,
        tls: str | None = None,
        amount_unit: AmountUnit = "sum",
        decline: frozenset[str] = frozenset(),
        latency_s: float = 0.0,
        *,
        pace: Pace | None = None,
        info_fault: str | None = None,
        client_ca: Path | None = None,
        idle_s: float = 60.0,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the port and serve.

        Args:
            port: On `host`; 0 takes a free one.
            tls: None, `valid`, `mutual`, or a TLS fault (`expired` or `tls-expired`).
            amount_unit: Of `amount` on the wire.
            decline: Codes of customers without money.
            latency_s: Between the charge and its answer.
            pace: Durations of the slow faults.
            info_fault: A fault of `GET /info/` that stays on beside any other.
            client_ca: With TLS: let in only clients with a certificate of this CA (PEM).
            idle_s: After so long the sandbox closes an idle connection.
            host: An IPv4 address of this machine. Others than loopback let strangers in.
            clock: The box's, in seconds since 1970.

        Raises:
            OSError: The port is taken.
            UnknownFaultError: `tls` or `info_fault` names no fault.
            ValueError: `info_fault` is none of `GET /info/`.
            MissingTrustmeError: TLS without trustme.
        """
        self.ledger = Ledger()
        self._idle_s = idle_s
        self._pace = pace or Pace()
        self._active = ActiveFault()
        self._elsewhere = Elsewhere(self.ledger.saw_canary)
        self._service = Service(
            self.ledger,
            Box(self.ledger, amount_unit=amount_unit, decline=decline, clock=clock),
            self._active,
            pace=self._pace,
            latency_s=latency_s,
            elsewhere=self._elsewhere.url,
            info_fault=_find_info_fault(info_fault),
        )
        self._service.prefixes[admin.PREFIX] = self._administer
        self._lock = threading.Lock()
        self._serving: dict[Connection, threading.Thread] = {}
        self._accepted = 0
        self._closing = False
        self._stop, self._stopper = socket.socketpair()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._certificates: Certificates | None = None
        try:
            tls_fault = self._set_up_tls(tls, client_ca, host)
            self._listener = Listener(port, host)
        except BaseException:
            self._release()
            raise
        scheme = "http" if self._certificates is None else "https"
        self.url = self._service.base_url = f"{scheme}://{host}:{self._listener.port}"
        if tls_fault is not None:
            self.set_fault(tls_fault.name)
        self._accepting = threading.Thread(
            target=self._listener.accept_all, args=(self._accept,), name="sandbox-accept"
        )
        self._accepting.start()

    def __enter__(self) -> Self:
        """The running gateway."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def ca_file(self) -> Path | None:
        """What a client should trust."""
        return None if self._certificates is None else self._certificates.ca_file

    @property
    def client_cert_file(self) -> Path | None:
        """What a client should show, with `tls="mutual"`."""
        return None if self._certificates is None else self._certificates.client_cert_file

    @property
    def client_key_file(self) -> Path | None:
        """The key that belongs to it."""
        return None if self._certificates is None else self._certificates.client_key_file

    def set_fault(
        self, name: str | None, times: int | None = None, for_s: float | None = None
    ) -> None:
        """Replace the fault; None ends it.

        `down` also breaks the connections that exist, as a box without power does.

        Args:
            name: A key of `FAULTS`.
            times: After so many requests (or connections) it is over.
            for_s: After so many seconds it is over.

        Raises:
            UnknownFaultError: There is no fault of that name.
            ValueError: `times` with `down`, or a TLS fault without TLS.
        """
        self._set_fault(name, times, for_s, spared=None)

    def close(self) -> None:
        """Hang up everywhere and give the port back; a second call does nothing."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            serving = dict(self._serving)
        self._listener.close()
        self._elsewhere.close()
        self._stopper.close()
        for connection in serving:
            connection.abort()
        for thread in (self._accepting, *serving.values()):
            thread.join(_JOIN_S)
        self._listener.release()
        self._release()

    def _set_up_tls(self, tls: str | None, client_ca: Path | None, host: str) -> Fault | None:
        if tls is None:
            return None
        fault = None
        if tls not in ("valid", "mutual"):
            fault = faults.find(PREFIX + tls.removeprefix(PREFIX))
        self._folder = tempfile.TemporaryDirectory(prefix="kiosk-sandbox-")
        self._certificates = Certificates(
            Path(self._folder.name), mutual=tls == "mutual", client_ca=client_ca, host=host
        )
        return fault

    def _release(self) -> None:
        self._stop.close()
        self._stopper.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _set_fault(
        self, name: str | None, times: int | None, for_s: float | None, spared: Connection | None
    ) -> None:
        fault = None if name is None else faults.find(name)
        if fault is not None and fault.place == "tls" and self._certificates is None:
            raise ValueError(f"{name} needs a sandbox with TLS")
        if fault is not None and fault.place == "listener":
            if times is not None:
                raise ValueError(f"{name} cannot be counted: give for_s")
            self._active.set(None, None, None)
            self._listener.shut(for_s)
            with self._lock:
                broken = [connection for connection in self._serving if connection is not spared]
            for connection in broken:
                connection.abort()
            return
        self._active.set(fault, times, for_s)
        self._listener.open()

    def _administer(self, connection: Connection, head: Head) -> None:
        body = connection.read_body(head)

        def set_fault(name: str | None, times: int | None, for_s: float | None) -> None:
            self._set_fault(name, times, for_s, spared=connection)

        connection.send(admin.answer(self.ledger, set_fault, head, body))

    def _accept(self, sock: socket.socket) -> None:
        with self._lock:
            if self._closing:
                sock.close()
                return
            self._accepted += 1
            connection = Connection(sock, self._stop, self._accepted)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"sandbox-{self._accepted}"
            )
            self._serving[connection] = thread
        self.ledger.saw_connection(connection.number)
        thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            greet(connection, self._active, self._certificates, self._pace)
            connection.allow_idle(self._idle_s)
            self._service.serve(connection)
        except ConnectionLostError as error:
            log.debug("connection lost", extra={"reason": str(error)})
        finally:
            connection.hang_up()
            with self._lock:
                self._serving.pop(connection, None)


def _find_info_fault(name: str | None) -> Fault | None:
    fault = None if name is None else faults.find(name)
    if fault is not None and fault.place != "info":
        raise ValueError(f"{name} is no fault of GET /info/")
    return fault
