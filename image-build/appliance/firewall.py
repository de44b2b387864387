"""The part of the firewall that depends on the configuration; /etc/nftables.conf has the rest.

That file drops whatever it does not name and is loaded first. This part is loaded on top by a
transaction of its own: where it fails, the kiosk is closed, not open.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiosk.settings import Settings

# RAUC streams an update as a user of its own; the keeper asks as root whether there is one.
_UPDATERS = '{ "root", "kiosk-update" }'
_KIOSK = '"kiosk"'
_SSH_PORT = 22


def rules_for(settings: Settings | None) -> str:
    """What `nft -f` is given at each start.

    Args:
        settings: In force; None opens nothing.
    """
    box: list[str] = []
    updates: list[str] = []
    inbound: list[str] = []
    if settings is not None:
        box.append(f"meta skuid {_KIOSK} {_towards(settings.gateway.url)}")
        if settings.device.update_url is not None:
            updates.append(f"meta skuid {_UPDATERS} {_towards(settings.device.update_url)}")
        if settings.device.ssh_keys:
            inbound.append(f"tcp dport {_SSH_PORT}")
    lines = ["# Written at each start from kiosk.yaml: what it opens.\n"]
    for chain, matches in (("to_box", box), ("to_updates", updates), ("from_outside", inbound)):
        lines.append(f"flush chain inet kiosk {chain}\n")
        lines += [f"add rule inet kiosk {chain} {match} accept\n" for match in matches]
    return "".join(lines)


def _towards(url: str) -> str:
    """The match for a checked address: by number where it has one, else by port alone."""
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?]", rest)[0]
    host, port = authority, ""
    if found := re.fullmatch(r"(.*):([0-9]+)", authority):
        host, port = found[1], found[2]
    number = int(port or (443 if scheme == "https" else 80))
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        # Where the name leads is known only when it is asked for, and may change.
        return f"tcp dport {number}"
    family = "ip" if address.version == 4 else "ip6"
    return f"{family} daddr {address} tcp dport {number}"
