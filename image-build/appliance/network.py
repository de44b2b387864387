"""The network by the `device` section: systemd-networkd, wpa_supplicant, timesyncd, under /run.

Written at each start and gone with it; /etc has only what is the same on every kiosk.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kiosk.settings_device import DeviceSettings

ETHERNET = "systemd/network/20-kiosk-ethernet.network"
WIFI = "systemd/network/30-kiosk-wifi.network"
SUPPLICANT = "wpa_supplicant/kiosk.conf"
TIME = "systemd/timesyncd.conf.d/kiosk.conf"
FILES = (ETHERNET, WIFI, SUPPLICANT, TIME)
HOST_NAME = "/proc/sys/kernel/hostname"

_HEAD = "# Written at each start from `device` in kiosk.yaml.\n"
_DHCP = """
[DHCPv4]
# The machine's id is another one at each start.
ClientIdentifier=mac
# Its name is that of kiosk.yaml, whatever a router says.
UseHostname=no
RouteMetric={metric}

[DHCPv6]
DUIDType=link-layer

[IPv6AcceptRA]
RouteMetric={metric}
"""
_ONLY_DNS = "LLMNR=no\nMulticastDNS=no\n"
_CABLE_METRIC, _WIFI_METRIC = 100, 600


def files_for(device: DeviceSettings) -> dict[str, str]:
    """What to write below /run, by relative name; `SUPPLICANT` holds a secret."""
    found = {ETHERNET: _ethernet(device)}
    if device.wifi_ssid is not None and device.wifi_password is not None:
        found[WIFI] = _network("Type=wlan", "DHCP=yes\n") + _DHCP.format(metric=_WIFI_METRIC)
        found[SUPPLICANT] = _supplicant(device.wifi_ssid, device.wifi_password, device.wifi_country)
    if device.time_servers:
        found[TIME] = f"{_HEAD}[Time]\nNTP={' '.join(device.time_servers)}\n"
    return found


def _ethernet(device: DeviceSettings) -> str:
    # Kind: only a real card, no bridge and no tunnel.
    match = "Type=ether\nKind=!*"
    if device.ethernet_address is None:
        return _network(match, "DHCP=yes\n") + _DHCP.format(metric=_CABLE_METRIC)
    lines = ["DHCP=no\n", f"Address={device.ethernet_address}\n"]
    lines += [f"DNS={server}\n" for server in device.ethernet_name_servers]
    text = _network(match, "".join(lines))
    if device.ethernet_gateway is not None:
        text += f"\n[Route]\nGateway={device.ethernet_gateway}\nMetric={_CABLE_METRIC}\n"
    return text


def _network(match: str, lines: str) -> str:
    link = "[Link]\nRequiredForOnline=no\n"
    return f"{_HEAD}[Match]\n{match}\n\n{link}\n[Network]\n{lines}{_ONLY_DNS}"


def _supplicant(ssid: str, password: str, country: str) -> str:
    # As digits both pass whatever they hold; the key is what WPA makes of the password.
    key = password.lower()
    if len(password) != 64:
        key = hashlib.pbkdf2_hmac("sha1", password.encode(), ssid.encode(), 4096, 32).hex()
    return (
        f"{_HEAD}country={country}\nupdate_config=0\np2p_disabled=1\nnetwork={{\n"
        # Hidden networks are asked for by name.
        f"\tssid={ssid.encode().hex()}\n\tscan_ssid=1\n\tpsk={key}\n"
        # Protected management frames where the access point has them: WPA2/WPA3 mixed.
        "\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n\tieee80211w=1\n}\n"
    )


def set_host_name(name: str, file: Path) -> None:
    """Name this machine until the next start; /etc cannot be written.

    Raises:
        OSError: The kernel does not take it.
    """
    file.write_text(f"{name}\n", encoding="ascii")
