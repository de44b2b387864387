"""TLS to the merchant's box: from 1.2 on, its certificate checked, ours shown where it asks."""

import errno
import ssl

from urllib3.util.ssl_ import create_urllib3_context

from kiosk.errors import SettingsError
from kiosk.payment.gateway_trouble import kind_of
from kiosk.settings import GatewaySettings


def tls_context(settings: GatewaySettings) -> ssl.SSLContext:
    """What both sides of a TLS connection to the box must be.

    Raises:
        SettingsError: A certificate or key file cannot be used.
    """
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    try:
        if settings.ca_file is not None:
            context.load_verify_locations(settings.ca_file)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError([f"gateway.ca_file: {settings.ca_file}: {kind_of(error)}"]) from error
    if settings.client_cert_file is not None:
        try:
            context.load_cert_chain(
                settings.client_cert_file, settings.client_key_file, _no_password
            )
        except (OSError, ssl.SSLError) as error:
            files = f"{settings.client_cert_file}, {settings.client_key_file}"
            raise SettingsError([f"gateway.client_cert_file: {files}: {kind_of(error)}"]) from error
    return context


def _no_password() -> str:
    raise OSError(errno.EACCES, "the key has a password; store it without one, mode 0600")
