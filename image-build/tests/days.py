"""What a technician, a customer and a day do to a card; shared by the booted tests."""

import pickle
import re
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import machine
from card import Card
from promises import faults_of

from kiosk.core.cues import Cue
from kiosk.payment.indicator import PATTERNS
from kiosk.sandbox.gateway import SandboxGateway

AMOUNT_SUM = 15000
TOKEN = "canary-token-7Qw4Zx9Lm2"
LED, BUZZER, BUTTON = 17, 18, 27
NOBODY = "none-01"
CODES = {
    name: (machine.FRAMES / f"{name}.txt").read_text().strip()
    for name in machine.SHOWN
    if name != NOBODY
}


def settings_for(url, *, more=""):
    """What a technician writes, with notes and the line ends of another system.

    Args:
        url: Of the gateway as the kiosk reaches it.
        more: Further lines.
    """
    text = f"""# kiosk 7, back entrance
gateway:
  url: {url}   # the box under the till
  headers:
    X-Api-Key: "{TOKEN}"   # from the vendor's letter
offer:
  amount_sum: {AMOUNT_SUM}
  label: Ticket
camera:
  fps: 15
device:
  host_name: kiosk-7
{more}"""
    return text.replace("\n", "\r\n")


def url_inside(gateway):
    """The gateway's address as the guest reaches it."""
    return gateway.url.replace("127.0.0.1", machine.HOST)


def pay(life, name, *, sees=("concluded",)):
    """A customer shows a code and presses; the intent's outcome.

    Args:
        life: A `machine.Machine` whose kiosk is ready.
        name: A frame of `machine.SHOWN` with a code.
        sees: States in which the customer goes away.
    """
    life.wait_until_ready()
    life.ask("show", name=name)
    life.wait_for_state(lambda s: s["state"] == "awaiting_confirm", f"{name} read")
    # A press that came with the cue would belong to whoever pressed before it.
    time.sleep(1.5)
    before = len(life.ask("history"))
    life.ask("press", line=BUTTON, for_s=0.3)
    life.wait(
        lambda: any(one["state"] in sees for _, one in life.ask("history")[before:]),
        f"the end of the payment with {name}",
    )
    life.ask("show", name=NOBODY)
    told = [one for _, one in life.ask("history")[before:] if one["state"] in sees]
    return told[0]["outcome"]


def faults_on(card, ledger, folder, told=()):
    """What is wrong with a card's journal against what the gateway really did, in words.

    Args:
        card: Of a machine without power.
        ledger: The sandbox's.
        folder: For the copy of the journal.
        told: (code, cue) of what customers were told.
    """
    journal = card.data(folder).journal(folder / "journal")
    if journal is None:
        return ["there is no journal"]
    return faults_of(journal, marks_of(ledger.requests, ledger.charges, told))


def marks_of(requests, charges, told=()):
    """A ledger as the judge of the crash tests reads it."""
    charged = {charge.qr_code: charge for charge in charges}
    marks = []
    for request in requests:
        charge = charged.get(request.code)
        body = charge and {"payment_id": charge.payment_id, "amount_sum": charge.amount_sum}
        marks.append({"sent": request.code, "charge": body})
    return marks + [{"told": code, "cue": cue} for code, cue in told]


def seconds_from_kernel(history, state):
    """When a state was first told, in seconds since the kernel began; None if never."""
    return next((at_s for at_s, one in history if one["state"] == state), None)


# Lamp and buzzer


def levels(edges, line, begin_s, end_s):
    """(level, seconds) of a line from one moment to another, the first and the last cut off."""
    own = [(at_s, level) for at_s, where, level in edges if where == line]
    inside = [(at_s, level) for at_s, level in own if begin_s <= at_s < end_s]
    stamps = [at_s for at_s, _ in inside] + [end_s]
    return [
        (level, later_s - at_s) for (at_s, level), later_s in zip(inside, stamps[1:], strict=True)
    ]


def without_dimming(steps, shortest_s=0.02):
    """The same where software PWM of a lamp that is fully on leaves short gaps."""
    joined = []
    for level, for_s in steps:
        if level == 0 and for_s < shortest_s and joined:
            joined[-1] = (1, joined[-1][1] + for_s)
        elif joined and joined[-1][0] == level:
            joined[-1] = (level, joined[-1][1] + for_s)
        else:
            joined.append((level, for_s))
    return joined


def misses(steps, expected, *, tolerance_s=0.15):
    """Where a rhythm is not the expected one, in words.

    An emulated machine is late by some hundredths; a kiosk that plays another cue is off by more.

    Args:
        steps: (level, seconds) as seen.
        expected: (on, seconds) as promised, as many as are looked at.
        tolerance_s: By how much a step may be shorter or longer.
    """
    if len(steps) < len(expected):
        return [f"{len(steps)} steps where {len(expected)} are promised: {steps}"]
    return [
        f"step {number}: {level} for {for_s:.2f} s where {on} for {wanted_s} s is promised"
        for number, ((level, for_s), (on, wanted_s)) in enumerate(
            zip(steps, expected, strict=False)
        )
        if bool(level) != on or abs(for_s - wanted_s) > tolerance_s
    ]


def lamp_of(cue):
    """What the lamp promises for a cue."""
    return PATTERNS[Cue(cue)].lamp


def sound_of(cue):
    """What the buzzer promises for a cue: from the first sound to the last."""
    steps = PATTERNS[Cue(cue)].sound
    return steps[:-1] if steps and not steps[-1][0] else steps


# Lives


@dataclass
class FirstLife:
    """What was seen of a card's first start; the card is out of the machine again.

    Attributes:
        card: Switched off in order.
        written: kiosk.yaml as the technician wrote it.
        ledger: The sandbox's.
        history: (seconds since the kernel began, state) as the control socket told it.
        edges: (seconds, line, level) of the header.
        seen: What was asked inside, by name.
    """

    card: Card
    written: bytes
    ledger: object
    history: list
    edges: list
    outcome: str
    end: str
    console: str
    seen: dict = field(default_factory=dict)


_first = {}


def first_life(image, trial, folder):
    """Flash, configure, plug in, sell once, wait until slot B is full, switch off."""
    kept = folder / "first.pickle"
    if image not in _first and kept.exists():  # KIOSK_IMAGE_KEEP, see README.md
        _first[image] = pickle.loads(kept.read_bytes())
    if image in _first:
        return _first[image]
    card = Card.flashed(image, folder / "first.img")
    with SandboxGateway() as gateway:
        written = settings_for(url_inside(gateway)).encode()
        card.put("kiosk.yaml", written)
        with machine.Machine(card, folder / "first-life", trial) as life:
            life.wait_until_ready()
            seen = {
                "memory": life.sh("cat /proc/meminfo"),
                "agent": life.sh("grep VmRSS /proc/$(pgrep -of agent.py)/status"),
                "processes": life.sh("ps -eo rss=,args= --sort=-rss | head -n 12"),
            }
            life.ask("watch")
            outcome = pay(life, "easy-01")
            life.wait_until_ready()
            # A first start writes the second system; nothing may fail until that is done.
            life.wait(lambda: is_filled(life), "the end of kiosk-fill")
            seen |= {
                "failed": life.sh("systemctl --failed --no-legend --plain"),
                "fill": life.sh("systemctl show kiosk-fill -p Result,ExecMainStatus"),
                "log": life.sh("journalctl -b -o short-monotonic --no-pager -p warning"),
                "mounts": life.sh("cat /proc/mounts"),
                "blame": life.sh("systemd-analyze"),
                "data": life.sh("df -B1 --output=size /data | tail -n 1"),
                "listening": life.sh("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp"),
                "host_name": life.sh("cat /proc/sys/kernel/hostname"),
            }
            history, edges = life.ask("history"), life.ask("edges")
            life.power_off()
            console = life.said().decode(errors="replace")
        ledger = SimpleNamespace(requests=gateway.ledger.requests, charges=gateway.ledger.charges)
    _first[image] = FirstLife(
        card=card,
        written=written,
        ledger=ledger,
        history=history,
        edges=edges,
        outcome=outcome,
        end="Power down",
        console=console,
        seen=seen,
    )
    kept.write_bytes(pickle.dumps(_first[image]))
    return _first[image]


def is_filled(life):
    """Whether nobody copies a system into the other slot, now or later in this life."""
    told = life.sh("systemctl show kiosk-fill -p SubState,Job --value").split()
    return told in (["dead"], ["exited"], ["failed"])


def fields(text):
    """`Name: 12 kB` lines as numbers of bytes."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)
    return {name: int(number) * 1024 for name, number in found}
