"""What the processes say to each other: one JSON object a line, typed, size-capped.

The scanner link and the control socket both speak this, so that `socat` can read them.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_LINE_BYTES = 64 * 1024
"""A longer line is an error of the sender; its connection is closed."""

# What is told to one process is shown by others: no text of a hostile sender may make a line of
# ours too long, or fill a log.
Word = Annotated[str, Meta(max_length=64)]
Phrase = Annotated[str, Meta(max_length=300)]
MAX_TEXT = 2000
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages; `type` on the wire names the class."""


Corners = tuple[tuple[int, int], ...]

# From the scanner to the payment process


class Hello(Message, frozen=True, tag="hello"):
    """The scanner has its decoders and is about to open the camera."""

    version: Word
    engines: Annotated[list[Word], Meta(max_length=32)]
    camera: Text


class Symbol(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol found in a frame.

    Attributes:
        payload: The bytes inside, not yet trusted (base64 on the wire).
        kind: `qr` for a whole QR Code model 2; `part` for a part of a structured append, `gs1`
            for a GS1 label (one with 20 digits exists), `unclear` where the symbol does not
            tell; else the symbology's name in small letters, such as `microqr`.
        stage: The decoder stage that read it.
        corners: Where it is: four of x and y in pixels, around the symbol from its own upper
            left; empty where the stage does not tell.
    """

    payload: Annotated[bytes, Meta(max_length=4096)]
    kind: Word
    stage: Word
    corners: Corners = ()


class Sighting(Message, frozen=True, tag="sighting"):
    """One frame in which something was read.

    Attributes:
        captured_at_s: Seconds on the monotonic clock, which both processes share.
    """

    sequence: int
    captured_at_s: float
    symbols: Annotated[list[Symbol], Meta(max_length=16)]


class CameraState(Message, frozen=True, tag="camera"):
    """The camera delivers, or does not and why; sent at each change."""

    ok: bool
    detail: Text = ""


class Pulse(Message, frozen=True, tag="pulse"):
    """The scanner's deciding loop is alive; sent at least every half second."""

    frames: int
    decoded: int


# From the payment process to the scanner


class Want(Message, frozen=True, tag="want"):
    """Read codes, or rest."""

    wanted: bool


FromScanner = Hello | Sighting | CameraState | Pulse
ToScanner = Want

# On the control socket, from the payment process


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """The offer as other processes may see it."""

    amount_sum: int
    label: str
    reference: str | None = None


class State(Message, frozen=True, tag="state"):
    """Where the kiosk stands; sent on connect and at each change.

    Attributes:
        state: ready, awaiting_confirm, connecting, submitting, concluded, out_of_service.
        reasons: Why it is out of service, by name; `details` has a sentence for each.
        cue: What the customer should understand now.
        ends_in_s: Seconds until this state ends by itself, where it does.
        started_by_box_s: When this machine started, by the box's time (seconds since 1970); None
            where the box tells none. What it is now by the box: this and the time since then.
    """

    state: str
    reasons: list[str] = []
    details: dict[str, str] = {}
    offer: OfferView | None = None
    intent: str | None = None
    outcome: str | None = None
    cue: str = ""
    ends_in_s: float | None = None
    unresolved: int = 0
    scanner: bool = False
    receipt_url: str | None = None
    started_by_box_s: float | None = None


class Ok(Message, frozen=True, tag="ok"):
    """The command was done."""

    message: str = ""


class Error(Message, frozen=True, tag="error"):
    """The command was not done, and why."""

    message: str


# On the control socket, to the payment process


class Press(Message, frozen=True, tag="press"):
    """Press the simulated button."""


class Acknowledge(Message, frozen=True, tag="acknowledge"):
    """Staff have seen the unknown outcome; end its cue."""


class Resolve(Message, frozen=True, tag="resolve"):
    """Staff state how an unknown intent ended."""

    intent: Word
    outcome: Literal["approved", "declined"]
    by: Phrase
    why: Text
    payment_id: Word | None = None


class Offer(Message, frozen=True, tag="offer"):
    """A host sets what is for sale now; `reference` is spent once it is paid or unknown."""

    amount_sum: int
    label: Phrase
    reference: Phrase


class Cancel(Message, frozen=True, tag="cancel"):
    """A host takes its offer back; refused from the press on."""


Command = Press | Acknowledge | Resolve | Offer | Cancel
FromPayment = State | Ok | Error

_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """One message as one line, newline included."""
    return _encoder.encode(message) + b"\n"


class LineReader:
    """Cuts a byte stream into lines no longer than `MAX_LINE_BYTES`."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each whole line, without its newline.

        Raises:
            ValueError: A line passed the limit.
        """
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            if len(line) > MAX_LINE_BYTES:
                raise ValueError("line too long")
            yield line
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("line too long")
