"""The firewall of the card: real nft, real sockets, a host, a router and one behind it.

What may pass passes and nothing else does, for each user; and where one rule is taken away, the
very same run says so.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tools
from appliance.firewall import rules_for

from kiosk.settings import GatewaySettings, OfferSettings, Settings
from kiosk.settings_device import DeviceSettings

STATIC = Path(__file__).parents[3] / "image-build/overlay/etc/nftables.conf"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"
USERS = {
    "root": 0,
    "kiosk": 61001,
    "stranger": 61002,
    "systemd-network": 61003,
    "systemd-resolve": 61004,
    "systemd-timesync": 61005,
    "kiosk-update": 61006,
}
PASSES_S, DOES_NOT_S = 2.0, 0.2
"""How long an answer is waited for, where there must be one and where there must be none."""
BOX, BOX6, FAR = "10.79.0.2", "fd79::2", "10.79.1.2"
KIOSK, KIOSK6 = "10.79.0.1", "fd79::1"


def settings(url=f"http://{BOX}:8080", **device):
    return Settings(
        gateway=GatewaySettings(url=url),
        offer=OfferSettings(amount_sum=15000),
        device=DeviceSettings(**device),
    )


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Host:
    """A network namespace with a prober in it."""

    def __init__(self, name, closing):
        self.name = name
        run("ip", "netns", "add", name)
        closing.callback(run, "ip", "netns", "del", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        self._prober = subprocess.Popen(
            [*self.within, sys.executable, str(Path(__file__).with_name("prober.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        closing.callback(self._close)

    @property
    def within(self):
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def ask(self, **order):
        self._prober.stdin.write(json.dumps(order) + "\n")
        self._prober.stdin.flush()
        return json.loads(self._prober.stdout.readline())

    def _close(self):
        self._prober.stdin.close()
        self._prober.wait(10)
        self._prober.stdout.close()


class Wires:
    """The kiosk, a router that is box, name server and the rest, and one host behind it."""

    def __init__(self, closing, folder):
        mark = os.getpid()
        self._loads = self._heard = 0
        self.kiosk, self.router, self.far = (
            Host(f"fw-{name}-{mark}", closing) for name in ("kiosk", "router", "far")
        )
        self._wire(self.kiosk, "k", (KIOSK, KIOSK6), self.router, "r", (BOX, BOX6))
        self._wire(self.router, "s", ("10.79.1.1", "fd7a::1"), self.far, "f", (FAR, "fd7a::2"))
        for host, via in ((self.kiosk, BOX), (self.far, "10.79.1.1")):
            run("ip", "-n", host.name, "route", "add", "default", "via", via)
        # Its packets to the far host have to be smaller, and it says so with an ICMP message.
        run("ip", "-n", self.router.name, "link", "set", "s", "mtu", "1300")
        run(*self.router.within, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.router.ask(
            do="serve", tcp_ports=[22, 53, 80, 443, 8080, 8443], udp_ports=[53, 67, 123]
        )
        self.far.ask(do="serve", tcp_ports=[8080], udp_ports=[])
        self.kiosk.ask(do="serve", tcp_ports=[22, 8080], udp_ports=[5353], silent=[68])
        # Ports of the system for users who are not root, as systemd gives them the right.
        run(*self.kiosk.within, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
        while not self.reach("udp", "root", BOX6, 53, passes=False):
            pass  # IPv6 takes a second until a new link counts
        # nft asks for users by name; those of the image are not on this machine.
        self._passwd = folder / "passwd"
        lines = [f"{name}:x:{uid}:{uid}::/:/bin/false\n" for name, uid in USERS.items()]
        self._passwd.write_text("".join(lines))

    def _wire(self, one, one_end, one_ips, other, other_end, other_ips):
        run("ip", "-n", one.name, "link", "add", one_end, "type", "veth", "peer", other_end,
            "netns", other.name)  # fmt: skip
        for host, end, ips in ((one, one_end, one_ips), (other, other_end, other_ips)):
            # Else the kernel tries for a second whether somebody else has the address.
            run(*host.within, "sysctl", "-qw", f"net.ipv6.conf.{end}.accept_dad=0")
            # Else one packet is as long as several.
            run(*host.within, "ip", "link", "set", end, "gso_max_segs", "1")
            for ip in ips:
                prefix = "64" if ":" in ip else "24"
                run("ip", "-n", host.name, "addr", "add", f"{ip}/{prefix}", "dev", end)
            run("ip", "-n", host.name, "link", "set", end, "up")

    def reach(self, kind, user, host, port, *, passes=True, **more):
        wait_s = PASSES_S if passes else DOES_NOT_S
        order = {"do": kind, "uid": USERS[user], "host": host, "port": port, "wait_s": wait_s}
        return self.kiosk.ask(**order, **more) == "ok"

    def heard(self):
        """Whether anything came to the port of DHCP clients since the last question."""
        before, self._heard = self._heard, self.kiosk.ask(do="heard", port=68)
        return self._heard > before

    def load(self, *texts):
        """What the kiosk's kernel is told, as one transaction each."""
        # The kernel remembers for half a minute who talked with whom by UDP.
        self._loads += 1
        self.dhcp, self.other_dhcp = (f"10.79.0.{n + self._loads}" for n in (9, 109))
        for ip in (self.dhcp, self.other_dhcp):
            run("ip", "-n", self.router.name, "addr", "add", f"{ip}/24", "dev", "r")
        bind = f"mount --bind {self._passwd} /etc/passwd && exec nft -f -"
        for text in texts:
            run(*self.kiosk.within, "unshare", "--mount", "sh", "-c", bind, text=text)
        for host in (self.kiosk, self.router):
            run("ip", "-n", host.name, "neigh", "flush", "all")
            run("ip", "-n", host.name, "route", "flush", "cache")


@pytest.fixture(scope="module")
def wires(tmp_path_factory):
    tools.need(os.geteuid() == 0, "network namespaces need root")
    tools.need("ip", "`ip` is missing: apt-get install iproute2")
    tools.need("nft", "`nft` is missing: apt-get install nftables")
    with contextlib.ExitStack() as closing:
        yield Wires(closing, tmp_path_factory.mktemp("firewall"))


OUT = [
    # what, who, where, and whether it must pass with everything configured
    ("tcp", "kiosk", BOX, 8080, True),
    ("tcp", "root", BOX, 8080, False),
    ("tcp", "stranger", BOX, 8080, False),
    ("tcp", "kiosk-update", BOX, 8080, False),
    ("tcp", "kiosk", FAR, 8080, False),
    ("tcp", "kiosk", BOX, 80, False),
    ("tcp", "kiosk", BOX, 8443, False),
    ("tcp", "kiosk", BOX, 22, False),
    ("tcp", "kiosk", BOX6, 8080, False),
    ("tcp", "root", BOX, 443, True),
    ("tcp", "kiosk-update", BOX6, 443, True),
    ("tcp", "kiosk", BOX, 443, False),
    ("tcp", "stranger", BOX, 443, False),
    ("udp", "systemd-resolve", BOX, 53, True),
    ("tcp", "systemd-resolve", BOX, 53, True),
    ("udp", "systemd-resolve", BOX6, 53, True),
    ("udp", "root", BOX, 53, False),
    ("udp", "kiosk", BOX, 53, False),
    ("udp", "systemd-resolve", BOX, 123, False),
    ("udp", "systemd-timesync", BOX, 123, True),
    ("udp", "systemd-timesync", BOX6, 123, True),
    ("udp", "root", BOX, 123, False),
    ("udp", "systemd-timesync", BOX, 53, False),
]
IN = [
    ("tcp", KIOSK, 22, True),
    ("tcp", KIOSK6, 22, True),
    ("tcp", KIOSK, 8080, False),
    ("udp", KIOSK, 5353, False),
]
EVERYTHING = settings(ssh_keys=(KEY,), update_url="https://updates.example/kiosk.raucb")


def surprises(wires):
    """Each try that ended otherwise than the tables say."""
    for kind, user, host, port, passes in OUT:
        if wires.reach(kind, user, host, port, passes=passes) != passes:
            yield f"{kind} by {user} to {host} {port}"
    for kind, host, port, passes in IN:
        wait_s = PASSES_S if passes else DOES_NOT_S
        answer = wires.router.ask(do=kind, uid=0, host=host, port=port, wait_s=wait_s)
        if (answer == "ok") != passes:
            yield f"{kind} from outside to {host} {port}"
    # DHCP: renewed by systemd-networkd alone, answered by whoever has the server's port.
    for user, passes in (("root", False), ("systemd-network", True)):
        reached = wires.reach("udp", user, wires.dhcp, 67, passes=passes, source=68)
        if reached != passes:
            yield f"dhcp by {user}"
    for source, passes in ((67, True), (6767, False)):
        wires.router.ask(do="tell", host=KIOSK, port=68, by=wires.other_dhcp, source=source)
        wires.router.ask(do="udp", uid=0, host=KIOSK, port=5353, wait_s=DOES_NOT_S)
        if wires.heard() != passes:
            yield f"an answer of dhcp from port {source}"


def test_with_everything_configured_what_may_pass_passes_and_nothing_else(wires):
    wires.load(STATIC.read_text(), rules_for(EVERYTHING))

    assert list(surprises(wires)) == []
    tools.figure(f"firewall: {len(OUT) + len(IN) + 4} tries over real sockets, all as they must be")


CONTROLS = [
    # what is taken away, or put in its place: what must be noticed
    ("policy drop;", "policy accept;", "tcp from outside to 10.79.0.1 8080"),
    ("counter reject with icmpx admin-prohibited", "accept", "tcp by stranger to 10.79.0.2 8080"),
    ('meta skuid "kiosk" ip daddr', "ip daddr", "tcp by root to 10.79.0.2 8080"),
    (f"ip daddr {BOX} tcp", "tcp", "tcp by kiosk to 10.79.1.2 8080"),
    (f"ip daddr {BOX} tcp dport 8080", f"ip daddr {BOX}", "tcp by kiosk to 10.79.0.2 22"),
    (', "kiosk-update"', "", "tcp by kiosk-update to fd79::2 443"),
    ('meta skuid "systemd-resolve" ', "", "udp by kiosk to 10.79.0.2 53"),
    ("{ tcp, udp } th", "{ tcp } th", "udp by systemd-resolve to 10.79.0.2 53"),
    ('meta skuid "systemd-timesync" ', "", "udp by root to 10.79.0.2 123"),
    ("udp dport 123 accept", "udp dport 124 accept", "udp by systemd-timesync to 10.79.0.2 123"),
    ("ct state established,related", "ct state related", "tcp by kiosk to 10.79.0.2 8080"),
    ("nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert", "nd-router-advert",
     "tcp by kiosk-update to fd79::2 443"),
    ("nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit", "nd-router-solicit",
     "tcp by kiosk-update to fd79::2 443"),
    ("tcp dport 22 accept", "tcp dport 23 accept", "tcp from outside to 10.79.0.1 22"),
    ("tcp dport 22 accept", "accept", "udp from outside to 10.79.0.1 5353"),
    ('meta skuid "systemd-network" udp sport 68', "udp sport 68", "dhcp by root"),
    ("udp sport 68 udp dport 67", "udp sport 68 udp dport 66", "dhcp by systemd-network"),
    ("udp sport 67 udp dport 68 accept", "udp dport 68 accept", "an answer of dhcp from port 6767"),
    ("udp sport 67 udp dport 68 accept", "", "an answer of dhcp from port 67"),
]  # fmt: skip  # a table, one case a line


@pytest.mark.parametrize(("rule", "instead", "expected"), CONTROLS)
def test_a_rule_that_is_not_as_it_should_be_is_noticed(wires, rule, instead, expected):
    text = STATIC.read_text() + rules_for(EVERYTHING)
    assert rule in text
    wires.load(text.replace(rule, instead))

    assert expected in surprises(wires)


def test_before_the_configuration_is_read_nothing_but_names_and_the_time_goes_out(wires):
    wires.load(STATIC.read_text())

    found = set(surprises(wires))

    assert found == {
        "tcp by kiosk to 10.79.0.2 8080", "tcp by root to 10.79.0.2 443",
        "tcp by kiosk-update to fd79::2 443", "tcp from outside to 10.79.0.1 22",
        "tcp from outside to fd79::1 22",
    }  # fmt: skip  # words, not one a line
    assert "flush chain" in rules_for(None)
    wires.load(rules_for(None))
    assert set(surprises(wires)) == found


def test_a_box_with_a_name_is_reached_by_its_port_alone(wires):
    wires.load(STATIC.read_text(), rules_for(settings("https://box.example:8443/base")))

    assert wires.reach("tcp", "kiosk", BOX, 8443)
    assert wires.reach("tcp", "kiosk", BOX6, 8443)
    assert not wires.reach("tcp", "root", BOX, 8443, passes=False)
    assert not wires.reach("tcp", "kiosk", BOX, 443, passes=False)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        (f"http://{BOX}", BOX, 80),
        (f"https://{BOX}/a:1/", BOX, 443),
        (f"http://[{BOX6}]:8080", BOX6, 8080),
        (f"https://[{BOX6}]", BOX6, 443),
    ],
)
def test_a_box_with_an_address_is_reached_there_alone(wires, url, host, port):
    wires.load(STATIC.read_text(), rules_for(settings(url)))
    other = BOX6 if host == BOX else BOX

    assert wires.reach("tcp", "kiosk", host, port)
    assert not wires.reach("tcp", "kiosk", other, port, passes=False)
    assert not wires.reach("tcp", "kiosk", host, 22, passes=False)


def test_loading_a_second_time_leaves_what_a_first_time_would(wires):
    wires.load(STATIC.read_text(), rules_for(EVERYTHING), rules_for(EVERYTHING))
    wires.load(rules_for(settings()))

    listed = run(*wires.kiosk.within, "nft", "list", "ruleset")

    assert listed.count("dport 8080") == 1
    assert "dport 22 " not in listed
    assert "dport 443" not in listed


def test_where_the_variable_part_is_broken_the_kiosk_is_closed(wires):
    wires.load(STATIC.read_text())
    broken = rules_for(EVERYTHING) + "add rule inet kiosk to_box meta skuid nobody-knows accept\n"

    with pytest.raises(AssertionError):
        wires.load(broken)

    assert not wires.reach("tcp", "kiosk", BOX, 8080, passes=False)
    assert not wires.reach("tcp", "root", BOX, 443, passes=False)


@pytest.mark.parametrize(("rule", "arrives"), [(None, True), (",related", False)])
def test_a_network_with_smaller_packets_is_heard(wires, rule, arrives):
    text = STATIC.read_text() + rules_for(settings(f"http://{FAR}:8080"))
    wires.load(text.replace(rule, "") if rule else text)

    assert wires.reach("tcp", "kiosk", FAR, 8080, send=50_000) == arrives


def test_a_program_that_may_not_is_told_at_once(wires):
    wires.load(STATIC.read_text())

    answer = wires.kiosk.ask(do="tcp", uid=USERS["kiosk"], host=BOX, port=8080, wait_s=PASSES_S)

    assert answer == f"OSError {errno.EHOSTUNREACH}"
