"""Any bytes from a client of the control socket, over a real socket, into a real kiosk.

The kiosk sells what a host offers; one earlier payment is unknown, so that every command has
something to work on. No code is in view: nothing that a client says may start a payment.
"""

import collections
import contextlib
import json
import os
import queue
import select
import socket
import tempfile
from pathlib import Path

from desk import Desk, objects_in, types_in
from hypothesis import strategies as st
from planted import planted, sizes

from kiosk import messages
from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.messages import MAX_LINE_BYTES, encode
from kiosk.payment import control as controls
from kiosk.payment.control import Control
from kiosk.payment.mailbox import CommandCame

MOST_BYTES = 150_000
UNKNOWN = "K7Q2-9FDM-4RTA"
WAIT_S = 20


class Table:
    """The control socket with its real thread, and the deciding thread where this one is."""

    def __init__(self):
        self._posts = queue.SimpleQueue()
        self._wake_r, self._wake_w = os.pipe()
        self.path = Path(tempfile.mkdtemp(prefix="kiosk-fuzz-")) / "control.sock"
        self.control = Control(self.path, self._post)
        self.desk = Desk(offers=(), control=self.control)
        journal = self.desk.store.journal
        journal.record_sending(Intent(UNKNOWN, Offer(1000, "Tea"), PaymeCode("1" * 20)))
        journal.record_outcome(UNKNOWN, Answer(Outcome.UNKNOWN, "lost"))
        self.commands = []

    def _post(self, item):
        self._posts.put(item)
        os.write(self._wake_w, b"!")

    def talk(self, data):
        """Say it all, hang up half-way, hear the rest; returns what was heard."""
        self.commands.clear()
        heard, unsent = bytearray(), memoryview(data)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self.path))
            sock.setblocking(False)
            while True:
                if not unsent:
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_WR)
                writes = [sock] if unsent else []
                ready, writable, _ = select.select([sock, self._wake_r], writes, [], WAIT_S)
                assert ready or writable, "it neither reads nor answers"
                if self._wake_r in ready:
                    self._decide()
                if writable:
                    try:
                        unsent = unsent[sock.send(unsent) :]
                    except (BrokenPipeError, ConnectionResetError):
                        unsent = unsent[:0]
                if sock in ready:
                    try:
                        piece = sock.recv(65_536)
                    except ConnectionResetError:
                        piece = b""
                    if not piece:
                        return bytes(heard)
                    heard += piece

    def _decide(self):
        os.read(self._wake_r, 4096)
        while not self._posts.empty():
            item = self._posts.get()
            assert isinstance(item, CommandCame), item  # else its thread died
            self.commands.append(item.command)
            self.desk.loop._handle(item)


_table = Table()


def try_one(data):
    """Each line is answered once; nothing is charged; no line of any length harms anybody."""
    table = _table
    table.desk.begin()
    before = table.desk.rows()

    heard = table.talk(data)

    found = objects_in(data)
    _nothing_was_charged(table, before, found)
    assert {command.__struct_config__.tag for command in table.commands} <= types_in(found)
    _each_line_was_answered(data, heard)
    assert table.control._thread.is_alive()
    # Its last answer is out before the client sees the end, its memory is not.
    assert len(table.control._clients) <= 1


def _nothing_was_charged(table, before, found):
    assert table.desk.started.codes == []
    assert table.desk.started.submitted == 0
    new = {kind: n - before.get(kind, 0) for kind, n in table.desk.rows().items()}
    stated = sum("resolve" in line.every("type") for line in found)
    assert sum(new.values()) <= stated, new
    assert not any(n for kind, n in new.items() if not kind.startswith("resolved_")), new


def _each_line_was_answered(data, heard):
    lines = heard.split(b"\n")
    assert all(len(line) <= MAX_LINE_BYTES for line in lines), "a line that no client may read"
    told = collections.Counter(json.loads(line)["type"] for line in lines if line)
    whole = data.split(b"\n")
    too_long = next((n for n, line in enumerate(whole) if len(line) > MAX_LINE_BYTES), None)
    asked = sum(bool(line.strip()) for line in whole[:-1][:too_long])
    answered = told["ok"] + told["error"]
    if too_long is None:
        assert answered == asked, (answered, asked)
    else:
        # What it asked before may go unanswered: it is cut off at once.
        assert answered <= asked + 1
        assert len(_table.commands) <= asked


_resolve = messages.Resolve(intent=UNKNOWN, outcome="approved", by="Aziza", why="seen")
_offer = messages.Offer(amount_sum=1000, label="Tea", reference="r-1")
COMMANDS = [messages.Press(), messages.Acknowledge(), messages.Cancel(), _offer, _resolve]
_LINES = [encode(command) for command in COMMANDS]
SEEDS = [
    *_LINES,
    b"".join(_LINES),
    b"".join(_LINES)[:-7],
    *(b"x" * n + b"\n" + _LINES[0] for n in (65_535, 65_536, 65_537, 140_000)),
    _LINES[3].replace(b"Tea", b"T" * 65_450),
    _LINES[4].replace(b"seen", b"s" * 65_000),
    _LINES[0] * 3000,
    b"[" * 60_000 + b"\n" + _LINES[0],
    *(
        b"[]\n",
        b"\xff\xfe\n",
        b"\n\n \n",
        b'{"type":"press","type":"cancel"}\n',
        b'{"type":"pay"}\n',
    ),
    b'{"type":"offer","amount_sum":1e400,"label":"\\ud800","reference":""}\n',
    b'{"type":"offer","amount_sum":-9223372036854775808,"label":"","reference":"x"}\n',
]
WORDS = [
    *(f'"{word}"'.encode() for word in ("type", "press", "acknowledge", "cancel", "offer")),
    *(b'"resolve"', b'"intent"', b'"outcome"', b'"approved"', b'"by"', b'"why"', b'"payment_id"'),
    *(b'"amount_sum"', b'"label"', b'"reference"', b"\n", UNKNOWN.encode(), b"null", b"1e999"),
]

_long = st.builds(lambda sign, n: sign * n, st.sampled_from('aя\U0001f600\x00"'), sizes)
_values = st.none() | st.booleans() | st.integers() | st.floats() | st.just([])
_anything = _values | st.text(max_size=20) | st.text(max_size=20) | _long


@st.composite
def _lines(draw):
    """A command, whole or with a field that is something else; or what is none."""
    kind = draw(st.integers(0, 15))
    if kind == 0:
        return draw(st.binary(max_size=40)) + b"\n"
    if kind == 1:
        return draw(st.sampled_from([b"[", b'"', b"x", b" ", b"{"])) * draw(sizes) + b"\n"
    line = json.loads(draw(st.sampled_from(_LINES)))
    for name in draw(st.lists(st.sampled_from(sorted(line)), max_size=1 + kind % 2)):
        line[name] = draw(_anything)
    return json.dumps(line, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace") + b"\n"


inputs = st.builds(
    lambda lines, cut: b"".join(lines)[: -cut or None][:MOST_BYTES],
    st.lists(_lines(), max_size=6),
    st.sampled_from([0, 0, 0, 1, 5]),
)


# Faults


class _Endless(messages.LineReader):
    def feed(self, data):
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            yield line


def _dies_of_other_lines():
    def hear(self, client, line):
        assert line.split(b'"')[3]
        real(self, client, line)

    real = Control._hear
    return planted(Control, _hear=hear)


def _presses_at_everything():
    class Lenient:
        def decode(self, line):
            try:
                return real.decode(line)
            except Exception:  # noqa: BLE001 - that is the fault
                return messages.Press()

    real = controls._decoder
    return planted(controls, _decoder=Lenient())


def _repeats_any_label():
    loose = messages.msgspec.defstruct(
        "Loose", [("amount_sum", int), ("label", str), ("reference", str)], tag="offer"
    )

    class Loose:
        def decode(self, line):
            with contextlib.suppress(messages.msgspec.MsgspecError):
                found = messages.msgspec.json.decode(line, type=loose)
                return messages.Offer(
                    amount_sum=found.amount_sum, label=found.label, reference=found.reference
                )
            return real.decode(line)

    real = controls._decoder
    return planted(controls, _decoder=Loose())


FAULTS = {
    "has no limit for a line": lambda: planted(controls, LineReader=_Endless),
    "dies of a line that is no command": _dies_of_other_lines,
    "takes anything for a press": _presses_at_everything,
    "repeats a label of any length": _repeats_any_label,
}
