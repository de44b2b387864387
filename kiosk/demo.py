"""`kiosk demo`: a morning at a kiosk, on one machine and without hardware.

The kiosk is the real one, as processes of its own; only the camera shows recorded frames, the
pins are gpiozero's mock pins, and the gateway is the sandbox, over real HTTP.
"""

import contextlib
import json
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import msgspec

from kiosk.core.cues import Cue
from kiosk.core.money import format_sum
from kiosk.errors import KioskError
from kiosk.messages import Acknowledge, Command, Error, LineReader, Ok, Press, State, encode
from kiosk.payment.indicator import PATTERNS
from kiosk.sandbox.gateway import SandboxGateway

AMOUNT_SUM = 15_000
HESITATES_S = 0.75
"""A press that begins sooner after the cue belongs to the customer before."""
_CONFIG = """\
gateway: {{url: "{url}", connect_timeout_s: 1}}
offer: {{amount_sum: {amount}, label: "Coffee"}}
camera: {{backend: replay, path: stage, fps: 30}}
scan: {{rearm_s: 1}}
confirm: {{timeout_s: 2}}
panel: {{backend: simulated}}
scanner: {{socket: scanner.sock}}
control: {{socket: control.sock}}
journal: {{path: journal.db}}
locale: {{language: en}}
"""


@dataclass(slots=True)
class Told:
    """How one customer fared."""

    customer: str
    expected: str
    outcome: str = ""
    cues: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """It ended as scripted."""
        return self.outcome == self.expected


class Kiosk:
    """The running kiosk as somebody standing there has it: frames to show, a button, cues."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self.say = say
        self._states: queue.SimpleQueue[State | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Ok | Error] = queue.SimpleQueue()
        self.state = State(state="")
        self.cues: list[str] = []
        self.config = folder / "kiosk.yaml"
        self._log = (folder / "kiosk.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "kiosk", "run", "--config", str(self.config)],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
        )
        self._socket = self._connect()
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def _connect(self) -> socket.socket:
        path = str(self._folder / "control.sock")
        for _ in range(1000):
            if self._process.poll() is not None:
                break
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(path)
            except OSError:
                sock.close()
                time.sleep(0.02)
            else:
                return sock
        self._process.kill()
        self._process.wait()
        self._log.close()
        raise KioskError(f"the kiosk did not start; see {self._folder / 'kiosk.log'}")

    def _listen(self) -> None:
        decoder: msgspec.json.Decoder[State | Ok | Error] = msgspec.json.Decoder(State | Ok | Error)
        lines = LineReader()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65_536):
                for line in lines.feed(data):
                    message = decoder.decode(line)
                    if isinstance(message, State):
                        self._states.put(message)
                    else:
                        self._answers.put(message)
        self._states.put(None)

    def remark(self) -> str:
        """What the kiosk's log says about this machine, such as a missing libzbar."""
        log = (self._folder / "kiosk.log").read_text(encoding="utf-8").splitlines()
        warnings = [
            entry["message"] for entry in map(json.loads, log) if entry["level"] == "warning"
        ]
        return "".join(f"  ({message})\n" for message in warnings).rstrip("\n")

    def hold_up(self, name: str) -> None:
        """Show a recorded frame to the camera, until another one is shown."""
        with resources.as_file(
            resources.files("kiosk.sandbox") / "frames" / f"{name}.png"
        ) as frame:
            fresh = self._folder / "fresh.png"
            shutil.copyfile(frame, fresh)
        (self._folder / "stage").mkdir(exist_ok=True)
        fresh.replace(self._folder / "stage" / "now.png")

    def press(self, after_s: float = HESITATES_S) -> None:
        """Press the button, after the moment that people need."""
        time.sleep(after_s)
        self.say("    presses the button")
        self.command(Press())

    def command(self, command: Command) -> None:
        """Send a command and wait for its answer."""
        self._socket.sendall(encode(command))
        try:
            answer = self._answers.get(timeout=10)
        except queue.Empty:
            raise KioskError("the kiosk does not answer") from None
        if isinstance(answer, Error):
            raise KioskError(answer.message)

    def wait(self, wanted: Callable[[State], bool], within_s: float = 12.0) -> State:
        """Follow the cues until a state comes.

        Raises:
            KioskError: It did not come, or the kiosk ended.
        """
        until_s = time.monotonic() + within_s
        while not wanted(self.state):
            try:
                state = self._states.get(timeout=max(0.01, until_s - time.monotonic()))
            except queue.Empty:
                raise KioskError(f"the kiosk stays in {self.state.state}") from None
            if state is None:
                raise KioskError("the kiosk ended")
            if state.cue != self.state.cue:
                self.cues.append(state.cue)
                self.say(f"      {PATTERNS[Cue(state.cue)].words}  [{state.cue}]")
            self.state = state
        return self.state

    def cut_power(self) -> None:
        """End it as a pulled plug would: whatever the customers were told is on disk."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._log.close()


def _is(name: str) -> Callable[[State], bool]:
    return lambda state: state.state == name


def _concluded(state: State) -> bool:
    return state.state == "concluded"


def _pays(kiosk: Kiosk, frame: str) -> str:
    kiosk.hold_up(frame)
    kiosk.wait(_is("awaiting_confirm"))
    kiosk.press()
    outcome = kiosk.wait(_concluded).outcome or ""
    kiosk.hold_up("nobody")
    return outcome


def _approved(kiosk: Kiosk, _gateway: SandboxGateway) -> str:
    outcome = _pays(kiosk, "approved")
    kiosk.wait(_is("ready"))
    return outcome


def _used(kiosk: Kiosk, _gateway: SandboxGateway) -> str:
    kiosk.hold_up("approved")
    kiosk.wait(lambda state: state.cue == Cue.NOT_ACCEPTED.value)
    kiosk.hold_up("nobody")
    kiosk.wait(lambda state: state.cue == Cue.READY.value)
    return "not_accepted"


def _declined(kiosk: Kiosk, _gateway: SandboxGateway) -> str:
    outcome = _pays(kiosk, "declined")
    kiosk.wait(_is("ready"))
    return outcome


def _left(kiosk: Kiosk, _gateway: SandboxGateway) -> str:
    kiosk.hold_up("left")
    kiosk.wait(_is("awaiting_confirm"))
    kiosk.hold_up("nobody")
    kiosk.wait(_is("ready"))
    return "nothing_charged"


def _lost_answer(kiosk: Kiosk, gateway: SandboxGateway) -> str:
    gateway.set_fault("hang-up-charged", times=1)
    outcome = _pays(kiosk, "lost-answer")
    gateway.set_fault(None)
    intent = kiosk.state.intent or ""
    charge = gateway.ledger.charges[-1]
    kiosk.say("    staff find the payment in the provider's cabinet and state it:")
    resolved = subprocess.run(  # noqa: S603 - our own program
        [
            *(sys.executable, "-m", "kiosk", "journal", "resolve", intent),
            *("--config", str(kiosk.config), "--outcome", "approved", "--by", "Dilnoza"),
            *("--why", "found in the cabinet", "--payment-id", charge.payment_id),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    kiosk.say(f"      {(resolved.stdout or resolved.stderr).strip()}")
    kiosk.command(Acknowledge())
    kiosk.wait(_is("ready"))
    return f"{outcome}, resolved" if resolved.returncode == 0 else outcome


def _gateway_down(kiosk: Kiosk, gateway: SandboxGateway) -> str:
    kiosk.hold_up("gateway-down")
    kiosk.wait(_is("awaiting_confirm"))
    time.sleep(HESITATES_S / 2)
    kiosk.say("    (the gateway loses its network)")
    gateway.set_fault("down")
    kiosk.press(HESITATES_S / 2)
    outcome = kiosk.wait(_concluded).outcome or ""
    kiosk.hold_up("nobody")
    gateway.set_fault(None)
    kiosk.say("    (the network is back)")
    kiosk.wait(_is("ready"))
    return outcome


def _second(kiosk: Kiosk, _gateway: SandboxGateway) -> str:
    return _pays(kiosk, "second")


SCRIPT: tuple[tuple[str, str, str, Callable[[Kiosk, SandboxGateway], str]], ...] = (
    ("approved", "approved", "pays", _approved),
    ("used-code", "not_accepted", "shows the code of the first one again", _used),
    ("declined", "declined", "has no money", _declined),
    ("lost-answer", "unknown, resolved", "pays, and the answer is lost", _lost_answer),
    ("left", "nothing_charged", "shows a code and walks away", _left),
    ("gateway-down", "not_sent", "presses while the gateway is down", _gateway_down),
    ("after-it-came-back", "approved", "pays once it is back", _second),
)


def run_demo(*, as_json: bool, keep: Path | None) -> int:
    """Play the script, then print the journal.

    Returns:
        0 if every customer's payment ended as scripted and journal and ledger agree, else 1.
    """

    def say(text: str) -> None:
        if not as_json:
            print(text, flush=True)

    with _folder(keep) as folder, _gateway() as gateway:
        config = _CONFIG.format(url=gateway.url, amount=AMOUNT_SUM)
        (folder / "kiosk.yaml").write_text(config, encoding="utf-8")
        (folder / "stage").mkdir(exist_ok=True)
        say(f"A kiosk sells coffee for {format_sum(AMOUNT_SUM)}; gateway {gateway.url}")
        kiosk = Kiosk(folder, say)
        try:
            kiosk.hold_up("nobody")
            kiosk.wait(_is("ready"), within_s=30)
            say(kiosk.remark())
            told = [_serve(kiosk, gateway, *line, as_json=as_json) for line in SCRIPT]
            say("\n  (somebody pulls the plug)")
        finally:
            kiosk.cut_power()
        say("\nThe journal:")
        code = subprocess.run(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "kiosk", "journal", "list"),
                *("--config", str(kiosk.config)),
                *(["--json"] if as_json else []),
            ],
            check=False,
        ).returncode
        agree = _agree(folder / "journal.db", gateway)
        say(f"\nWhat the gateway charged and the journal {'agree' if agree else 'DO NOT AGREE'}.")
        all_ok = all(line.ok for line in told) and agree and code == 0
        say("All ended as scripted." if all_ok else "NOT all ended as scripted.")
        return 0 if all_ok else 1


def _serve(
    kiosk: Kiosk,
    gateway: SandboxGateway,
    customer: str,
    expected: str,
    does: str,
    play: Callable[[Kiosk, SandboxGateway], str],
    *,
    as_json: bool,
) -> Told:
    if not as_json:
        print(f"\n  A customer {does}:", flush=True)
    kiosk.cues = []
    told = Told(customer, expected)
    try:
        told.outcome = play(kiosk, gateway)
    except KioskError as error:
        told.outcome = f"failed: {error}"
    told.cues = kiosk.cues
    if as_json:
        line = {
            "customer": told.customer,
            "expected": told.expected,
            "outcome": told.outcome,
            "ok": told.ok,
            "cues": told.cues,
        }
        print(json.dumps(line), flush=True)
    else:
        print(f"    -> {told.outcome}" + ("" if told.ok else f"  EXPECTED {expected}"), flush=True)
    return told


def _agree(path: Path, gateway: SandboxGateway) -> bool:
    """Whether each charge has its payment_id in an approved intent, and no other has one."""
    from kiosk.payment.journal import Journal
    from kiosk.payment.journal_report import entries

    with contextlib.closing(Journal.open_to_read(path)) as db:
        approved = sorted(e.payment_id or "" for e in entries(db) if e.outcome == "approved")
    return approved == sorted(charge.payment_id for charge in gateway.ledger.charges)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="kiosk-demo-") as name:
        yield Path(name)


@contextlib.contextmanager
def _gateway() -> Iterator[SandboxGateway]:
    declined = (resources.files("kiosk.sandbox") / "frames" / "declined.txt").read_text().strip()
    # The cues of the demo are for people; what the sandbox logs is not.
    with SandboxGateway(decline=frozenset({declined})) as gateway:
        yield gateway
