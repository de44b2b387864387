"""The `device:` section: what the machine around the kiosk is to be.

Only the SD card image reads it; `kiosk run` checks it like every other section and ignores it.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from kiosk.settings_device_rules import (
    address_problems,
    host_name_problem,
    host_problem,
    password_problem,
    ssh_key_problem,
    ssid_problem,
    update_url_problem,
)
from kiosk.settings_section import Problem, Section

Host = Annotated[str, Meta(min_length=1, max_length=253)]
Address = Annotated[str, Meta(min_length=2, max_length=64)]
SshKey = Annotated[str, Meta(min_length=1, max_length=4096)]


class DeviceSettings(Section, frozen=True):
    """The `device:` section. Without a word in it: Ethernet by DHCP, and no way in."""

    host_name: Annotated[str, Meta(min_length=1, max_length=63)] = "kiosk"
    ethernet_address: Address | None = None  # with its prefix; None is DHCP
    ethernet_gateway: Address | None = None
    ethernet_name_servers: Annotated[tuple[Address, ...], Meta(min_length=0, max_length=3)] = ()
    wifi_ssid: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    wifi_password: Annotated[str, Meta(min_length=8, max_length=64)] | None = None
    wifi_country: Annotated[str, Meta(min_length=2, max_length=2)] = "UZ"
    time_servers: Annotated[tuple[Host, ...], Meta(min_length=0, max_length=4)] = ()
    update_url: Annotated[str, Meta(min_length=9, max_length=512)] | None = None
    ssh_keys: Annotated[tuple[SshKey, ...], Meta(min_length=0, max_length=8)] = ()

    def problems(self) -> Iterator[Problem]:
        """What is written as it must be, and what belongs together."""
        yield from _each("host_name", self.host_name, host_name_problem)
        for keys, text in address_problems(
            self.ethernet_address, self.ethernet_gateway, self.ethernet_name_servers
        ):
            yield Problem(keys, text)
        yield from self._wifi_problems()
        yield from _each("time_servers", self.time_servers, host_problem)
        yield from _each("update_url", self.update_url, update_url_problem)
        yield from _each("ssh_keys", self.ssh_keys, ssh_key_problem)

    def _wifi_problems(self) -> Iterator[Problem]:
        if (self.wifi_ssid is None) != (self.wifi_password is None):
            pair = ("wifi_ssid", "wifi_password")
            given, other = pair if self.wifi_password is None else pair[::-1]
            yield Problem((given, other), f"{given} needs {other} beside it; give both or neither")
        yield from _each("wifi_ssid", self.wifi_ssid, ssid_problem)
        yield from _each("wifi_password", self.wifi_password, password_problem)
        if not (self.wifi_country.isascii() and self.wifi_country.isupper()):
            text = f"{self.wifi_country!r} is no country; two capital letters such as UZ"
            yield Problem(("wifi_country",), text)


def _each(key: str, given: str | tuple[str, ...] | None, problem_of: Any) -> Iterator[Problem]:
    """What is wrong with a value, or with each entry of a list."""
    if given is None:
        return
    entries = {key: given} if isinstance(given, str) else _numbered(key, given)
    for name, value in entries.items():
        if text := problem_of(value):
            yield Problem((name,), text)


def _numbered(key: str, values: tuple[str, ...]) -> dict[str, str]:
    return {f"{key}[{number}]": value for number, value in enumerate(values)}
