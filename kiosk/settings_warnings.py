"""Settings that are allowed and still deserve a second look."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from kiosk.core.money import format_sum
from kiosk.settings import ScanSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kiosk.settings import GatewaySettings, Settings

# Below, one taps a button for less than a bus ticket costs; above, the price may be in tiyin.
SMALL_SUM = 500
LARGE_SUM = 1_000_000
LONGEST_STOP_S = 85.0
"""TimeoutStopSec of the systemd unit, less what the end of a process takes."""

_LOCAL_SUFFIXES = (".local", ".lan", ".internal", ".localdomain", ".home.arpa")


def prices(settings: Settings) -> Iterator[tuple[str, str, int]]:
    """Each configured price: its key, its label, its amount in sum."""
    offer = settings.offer
    if offer.amount_sum is not None:
        yield "offer.amount_sum", offer.label, offer.amount_sum
    for index, item in enumerate(offer.items):
        yield f"offer.items[{index}].amount_sum", item.label, item.amount_sum


def warnings_about(settings: Settings) -> Iterator[str]:
    """Say what a technician should look at once more, one sentence each."""
    yield from _gateway(settings.gateway)
    if settings.confirm.mode == "automatic":
        yield "confirm.mode: automatic charges as soon as a code is read; nobody presses a button"
    if settings.panel.press_after_s is not None:
        yield "panel.press_after_s: the simulated button presses by itself; for tests only"
    elif settings.panel.backend == "simulated":
        yield "panel.backend: simulated has no lamp, no buzzer and no button for a customer"
    if settings.camera.backend == "replay":
        yield "camera.backend: replay shows recorded frames; no customer can show a phone"
        if not os.path.exists(settings.camera.path or ""):  # noqa: PTH110 - a plain string
            yield f"camera.path: {settings.camera.path} does not exist"
    default = ScanSettings().code_pattern
    if settings.scan.code_pattern != default:
        yield f"scan.code_pattern is not {default}; Payme Go shows twenty digits"
    for key, _, amount_sum in prices(settings):
        yield from _price(key, amount_sum)


def _price(key: str, amount_sum: int) -> Iterator[str]:
    if amount_sum < SMALL_SUM:
        yield f"{key}: {format_sum(amount_sum)} is very little; is a thousand missing?"
    if amount_sum >= LARGE_SUM:
        text = f"{key}: {format_sum(amount_sum)} is much; is this sum or tiyin?"
        if amount_sum % 100 == 0:
            text += f" {amount_sum} tiyin are {format_sum(amount_sum // 100)}"
        yield text


def _gateway(gateway: GatewaySettings) -> Iterator[str]:
    waits_s = gateway.connect_timeout_s + gateway.read_timeout_s
    if gateway.deadline_s < waits_s:
        yield (
            f"gateway.deadline_s ({gateway.deadline_s:g}) ends before connect_timeout_s + "
            f"read_timeout_s ({waits_s:g}); slow answers become unknown payments"
        )
    if gateway.deadline_s > LONGEST_STOP_S:
        yield (
            f"gateway.deadline_s ({gateway.deadline_s:g}) is longer than systemd waits for the end "
            "of a payment: raise TimeoutStopSec=90 in kiosk.service too"
        )
    is_plain = gateway.url.startswith("http://")
    if is_plain and not is_near(host_of(gateway.url)):
        yield f"gateway.url: {gateway.url} sends codes as plain text over the internet; use https"
    for name in ("ca_file", "client_cert_file", "client_key_file"):
        path = getattr(gateway, name)
        if path is None:
            continue
        if is_plain:
            yield f"gateway.{name} is not used; gateway.url begins with http://"
        yield from _file(f"gateway.{name}", path, is_private=name == "client_key_file")


def _file(key: str, path: str, *, is_private: bool) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a plain string, looked at once
    except OSError as error:
        yield f"{key}: {path}: {error.strerror or error}; the kiosk will be out of service"
        return
    if not stat.S_ISREG(mode):
        yield f"{key}: {path} is no ordinary file; the kiosk will be out of service"
    elif not os.access(path, os.R_OK):
        yield f"{key}: {path} may not be read by this user; the kiosk's user must be able to"
    elif is_private and mode & (stat.S_IROTH | stat.S_IWOTH):
        yield f"{key}: everybody on this machine can use {path}; chmod 640 and its owner kiosk"


def host_of(url: str) -> str:
    """The host in a checked gateway address, without port and brackets."""
    authority = url.partition("://")[2].partition("/")[0]
    return re.sub(r":[0-9]*$", "", authority).strip("[]").lower().rstrip(".")


def is_near(host: str) -> bool:
    """Whether a host is this machine or in the network around it, as far as its name tells."""
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local
