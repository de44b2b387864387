"""Throw-away certificates for the sandbox: good ones, and each kind of bad one.

trustme makes them; it is needed only where TLS is asked for.
"""

import importlib
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

_NAMES = {"127.0.0.1", "localhost"}
_DAY = timedelta(days=1)


class MissingTrustmeError(Exception):
    """TLS was asked for, and the package that makes certificates is not installed."""


class Certificates:
    """A CA, its server certificates and, on request, a client's.

    Threads: `context` from any.

    Attributes:
        ca_file: What the client should trust (PEM).
        client_cert_file: For mutual TLS, else None.
        client_key_file: For mutual TLS, else None.
    """

    def __init__(
        self, folder: Path, *, mutual: bool, client_ca: Path | None, host: str = "127.0.0.1"
    ) -> None:
        """Write the files into `folder`, which lives as long as the sandbox.

        Args:
            folder: Exists, and is private: the client's key goes there.
            mutual: Whether clients must show a certificate; one is made for them.
            client_ca: A CA (PEM) whose clients are let in; implies that they must show one.
            host: The sandbox's address, which its certificates name beside those of loopback.

        Raises:
            MissingTrustmeError: trustme is not installed.
        """
        self._trustme = _import_trustme()
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._names = sorted(_NAMES | {host})
        self._ca = self._trustme.CA()
        self._client_cas = [self._ca.cert_pem.bytes().decode()] if mutual else []
        if client_ca is not None:
            self._client_cas.append(client_ca.read_text())
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))
        self.client_cert_file: Path | None = None
        self.client_key_file: Path | None = None
        if mutual:
            self._write_client(folder)

    def context(self, kind: str = "valid") -> ssl.SSLContext:
        """The server's context with a certificate of a kind.

        Args:
            kind: valid, expired, not-yet-valid, wrong-host or unknown-ca.
        """
        with self._lock:
            if kind not in self._contexts:
                self._contexts[kind] = self._make(kind)
            return self._contexts[kind]

    def _make(self, kind: str) -> ssl.SSLContext:
        now = datetime.now(UTC)
        match kind:
            case "valid":
                certificate = self._ca.issue_cert(*self._names)
            case "expired":
                certificate = self._ca.issue_cert(
                    *self._names, not_before=now - 60 * _DAY, not_after=now - _DAY
                )
            case "not-yet-valid":
                certificate = self._ca.issue_cert(*self._names, not_before=now + 60 * _DAY)
            case "wrong-host":
                certificate = self._ca.issue_cert("gateway.invalid")
            case "unknown-ca":
                certificate = self._trustme.CA().issue_cert(*self._names)
            case _:
                raise ValueError(f"no certificate is of the kind {kind!r}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate.configure_cert(context)
        if self._client_cas:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata="\n".join(self._client_cas))
        return context

    def _write_client(self, folder: Path) -> None:
        client = self._ca.issue_cert("kiosk.invalid")
        self.client_cert_file = folder / "client.pem"
        self.client_key_file = folder / "client.key"
        client.cert_chain_pems[0].write_to_path(str(self.client_cert_file))
        client.private_key_pem.write_to_path(str(self.client_key_file))


def _import_trustme() -> ModuleType:
    try:
        return importlib.import_module("trustme")
    except ModuleNotFoundError as error:
        raise MissingTrustmeError(
            "TLS in the sandbox needs trustme: pip install 'payme-kiosk[tls-sandbox]'"
        ) from error
