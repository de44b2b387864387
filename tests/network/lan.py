"""A kiosk's host and a box's host in network namespaces of their own, with a cable between them.

What loopback cannot show is done to the cable by the kernel: packets vanish, are refused with a
reset, or wait their turn. Unix sockets pass between namespaces, so that nothing here needs the
cable but the payments.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import audit
import tools
from kiosk_process import WAIT_S, Kiosk

HERE = Path(__file__).parent
KIOSK_IP, BOX_IP = "10.77.0.1", "10.77.0.2"
NAME = "box.kiosk.test"
_numbers = itertools.count()


def lay():
    """A new cable; skips where the machine does not let us."""
    tools.need(os.geteuid() == 0, "network namespaces need root")
    for program in ("ip", "tc"):
        tools.need(program, f"`{program}` is missing: apt-get install iproute2")
    tools.need("nft", "`nft` is missing: apt-get install nftables")
    return Lan()


def _run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, (command, text, done.stderr)
    return done.stdout


class Lan:
    """Two namespaces and the box in one of them; a context manager.

    Attributes:
        box: The sandbox.
    """

    def __init__(self):
        mark = f"{os.getpid()}-{next(_numbers)}"
        self._spaces = {"kiosk": f"kiosk-{mark}", "box": f"box-{mark}"}
        self._closing = contextlib.ExitStack()
        try:
            self._lay(f"k{mark}", f"b{mark}")
            self.box = Box(self.within("box"))
            self._closing.callback(self.box.close)
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends what runs on it."""
        self._closing.close()

    def _lay(self, kiosk_end, box_end):
        for space in self._spaces.values():
            _run("ip", "netns", "add", space)
            self._closing.callback(_run, "ip", "netns", "del", space)
        kiosk, box = self._spaces["kiosk"], self._spaces["box"]
        _run(
            "ip",
            "-n",
            kiosk,
            "link",
            "add",
            kiosk_end,
            "type",
            "veth",
            "peer",
            box_end,
            "netns",
            box,
        )
        self._ends = {"kiosk": kiosk_end, "box": box_end}
        for side, ip in (("kiosk", KIOSK_IP), ("box", BOX_IP)):
            space, end = self._spaces[side], self._ends[side]
            _run("ip", "-n", space, "addr", "add", f"{ip}/28", "dev", end)
            for link in ("lo", end):
                _run("ip", "-n", space, "link", "set", link, "up")
            # Else one packet is as long as several, and counts as one.
            _run(*self.within(side), "ip", "link", "set", end, "gso_max_segs", "1")

    def within(self, side):
        """A command's first words, so that it runs on that host."""
        return ["nsenter", f"--net=/run/netns/{self._spaces[side]}"]

    def filter(self, side, *rules):
        """What leaves that host meets these rules of nftables, and no earlier ones."""
        lines = ["add table inet road", "delete table inet road", "add table inet road"]
        lines.append("add chain inet road out { type filter hook output priority 0; }")
        lines += [f"add rule inet road out {rule}" for rule in rules]
        _run(*self.within(side), "nft", "-f", "-", text="\n".join(lines) + "\n")

    def clear(self):
        """Every packet passes again."""
        for side in self._spaces:
            self.filter(side)
            self.link(side, "up")

    def narrow(self, rate):
        """So many bits a second in either direction, such as `16kbit`."""
        for side, end in self._ends.items():
            limit = ["tbf", "rate", rate, "burst", "1600", "latency", "2s"]
            _run(*self.within(side), "tc", "qdisc", "add", "dev", end, "root", *limit)

    def link(self, side, state):
        """Pull the cable out on a side (`down`), or plug it in (`up`)."""
        _run("ip", "-n", self._spaces[side], "link", "set", self._ends[side], state)

    def also_at(self, ip):
        """One more address of the box."""
        _run("ip", "-n", self._spaces["box"], "addr", "add", f"{ip}/28", "dev", self._ends["box"])

    def kiosk(self, folder, *, by_name=False, confirm_s=30, **gateway):
        """The real `kiosk run` on its host, waiting for a code."""
        command = self.within("kiosk")
        if by_name:
            resolv = folder / "resolv.conf"
            resolv.write_text(f"nameserver {BOX_IP}\noptions timeout:30 attempts:1\n")
            bind = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
            command = [*command, "unshare", "--mount", "sh", "-c", bind, "sh"]
        found = Kiosk(
            folder,
            f"http://{NAME if by_name else BOX_IP}:{self.box.port}",
            command=command,
            gateway={"connect_timeout_s": 1, "read_timeout_s": 1.5, "deadline_s": 2, **gateway},
            confirm={"timeout_s": confirm_s},
            limits={"unknown_pause_s": 0, "max_consecutive_unknown": 100},
        )
        self._closing.callback(found.close)
        found.start()
        found.ready()
        return found


class Box:
    """The sandbox on its host; it is asked over pipes, whatever became of the cable."""

    def __init__(self, within):
        self._process = subprocess.Popen(
            [*within, sys.executable, str(HERE / "box_process.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.port = json.loads(self._process.stdout.readline())["port"]

    def ask(self, **order):
        """Do one thing; what it answers."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the box died"
        return json.loads(line)

    def ledger(self):
        """A copy, with the attributes of the sandbox's own."""
        found = self.ask(do="ledger")
        copy = SimpleNamespace(canary_hits=found["canary_hits"])
        for name in ("charges", "requests", "connections"):
            setattr(copy, name, [SimpleNamespace(**entry) for entry in found[name]])
        copy.charge_of = {charge.qr_code: charge for charge in copy.charges}.get
        return copy

    def wait(self, of, count):
        """Until it has seen so many `requests`, `charges` or `connections`, or questions `asked`
        of its name server or `told`; returns how many."""
        seen = self.ask(do="wait", of=of, count=count)[of]
        assert seen >= count, (of, seen)
        return seen

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(WAIT_S)


def faults_of(kiosk, lan, told):
    """What journal, ledger and customer disagree about, in words; `told` is [(code, cues)]."""
    return [*audit.faults_of(kiosk.journal_path, lan.box.ledger(), told)]
