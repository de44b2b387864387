"""What the values of `device:` must look like, with a sentence for each mistake."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kiosk.settings_rules import authority_problem

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
HIDDEN_SECRET = re.compile("x+")
"""What stands in the place of a secret that the kiosk took away from its card."""


def host_name_problem(name: str) -> str | None:
    """A name for one machine: a single label."""
    if re.fullmatch(_LABEL, name):
        return None
    return f"{name!r} is no host name; letters, digits and hyphens, such as kiosk-3"


def host_problem(host: str) -> str | None:
    """A name, or the address, of another machine."""
    if re.fullmatch(r"[0-9.]+", host) or ":" in host:
        return _address(host)[1]
    if re.fullmatch(rf"{_LABEL}(\.{_LABEL})*\.?", host):
        return None
    return f"{host!r} is no host name and no address; such as pool.ntp.org or 192.168.1.1"


def address_problems(
    address: str | None, gateway: str | None, name_servers: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a fixed address and what goes with it: keys, sentence."""
    others = {f"ethernet_name_servers[{n}]": text for n, text in enumerate(name_servers)}
    if gateway is not None:
        others["ethernet_gateway"] = gateway
    if address is None:
        for key in others:
            text = "goes with a fixed ethernet_address; by DHCP it comes from the network"
            yield (key, "ethernet_address"), text
        return
    for key, text in others.items():
        if wrong := _address(text)[1]:
            yield (key,), wrong
    wrong = _interface_problem(address)
    if wrong:
        yield ("ethernet_address",), wrong
    elif gateway is not None and (router := _address(gateway)[0]):
        from ipaddress import ip_interface

        ours = ip_interface(address)
        if router.version != ours.version or router not in ours.network:
            text = f"{gateway} is not in the network of ethernet_address ({ours.network})"
            yield ("ethernet_gateway", "ethernet_address"), text
        elif router == ours.ip:
            yield ("ethernet_gateway", "ethernet_address"), "is the kiosk's own address"


def _interface_problem(text: str) -> str | None:
    such_as = "write it like 192.168.1.60/24"
    bare, slash, prefix = text.partition("/")
    address, wrong = _address(bare)
    if address is None:
        return wrong
    if not slash or not re.fullmatch("[0-9]{1,3}", prefix):
        return f"{text!r} has no prefix length after a slash; {such_as}"
    if not 1 <= int(prefix) <= address.max_prefixlen:
        return f"{text!r}: the prefix length is 1 to {address.max_prefixlen}; {such_as}"
    from ipaddress import ip_network

    network = ip_network(text, strict=False)
    ends = (network.network_address, network.broadcast_address)
    if address.version == 4 and network.prefixlen < 31 and address in ends:
        return f"{text!r} is the address of the network itself; {such_as}"
    return None


def _address(text: str) -> "tuple[IPv4Address | IPv6Address | None, str | None]":
    """An address that a machine can have, or what is wrong."""
    from ipaddress import ip_address

    try:
        found = ip_address(text)
    except ValueError:
        return None, f"{text!r} is no address; four numbers such as 192.168.1.1"
    if "%" in text or found.is_multicast or found.is_unspecified or found.is_loopback:
        return None, f"{text} is no address of a machine in a network"
    return found, None


def ssid_problem(ssid: str) -> str | None:
    """The name of a wireless network; it counts bytes."""
    length = len(ssid.encode())
    return f"has {length} bytes; the name of a network has at most 32" if length > 32 else None


def password_problem(password: str) -> str | None:
    """WPA's password, or its key; never repeats it."""
    if HIDDEN_SECRET.fullmatch(password):
        return None
    if len(password) == 64:
        fits = re.fullmatch("[0-9A-Fa-f]{64}", password)
        return None if fits else "has 64 characters; such a long one is a key of 64 digits 0 to f"
    if not re.fullmatch("[ -~]+", password):
        return "has a character that is not on a Latin keyboard; 8 to 63 of those"
    return None


def update_url_problem(url: str) -> str | None:
    """Where updates come from; never repeats a password in it."""
    such_as = "write it like https://updates.example/kiosk.raucb"
    if "@" in url:
        return f"names a user or has a stray @; {such_as}"
    if odd := re.search(r"[^!-~]", url):
        return f"{url!r} has {odd[0]!r} in it, which no address has; {such_as}"
    if not url.startswith("https://"):
        return f"{url!r} does not begin with https://; {such_as}"
    if odd := re.search(r"[#\\\"'<>]", url):
        return f"{url!r} has a {odd[0]!r}; {such_as}"
    return authority_problem(url, re.split("[/?]", url[len("https://") :])[0])


def ssh_key_problem(key: str) -> str | None:
    """A public key as it stands in a .pub file; never repeats it, it may be the private one."""
    import base64
    import binascii

    if "PRIVATE" in key:
        return "is a private key, which belongs to nobody but you; give the line of the .pub file"
    kind, _, rest = key.partition(" ")
    if kind not in _KEY_TYPES:
        known = ", ".join(_KEY_TYPES[:2])
        return f"does not begin with a kind of key ({known}, ...); give the line of the .pub file"
    if not re.fullmatch(r"[!-~]+( [ -~]*)?", rest):
        return "is no line of a .pub file: kind, key, and a comment in Latin letters"
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except binascii.Error:
        return "is cut off or mistyped; give the whole line of the .pub file"
    parts = _ssh_strings(blob)
    if parts is None or len(parts) < 2 or parts[0] != kind.encode():
        return "is cut off or mistyped; give the whole line of the .pub file"
    return None


def _ssh_strings(blob: bytes) -> list[bytes] | None:
    """The length-prefixed strings of a key (RFC 4251, section 5); None where they do not add up."""
    found, at = [], 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4])
        found.append(blob[at + 4 : at + 4 + size])
        at += 4 + size
    return found if at == len(blob) else None
