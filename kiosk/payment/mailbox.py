"""How other threads reach the one that decides."""

import queue
from dataclasses import dataclass

from kiosk.core.events import Event
from kiosk.messages import Command, FromScanner


@dataclass(frozen=True, slots=True)
class ScannerSaid:
    """A message of the scanner, not yet looked at."""

    message: FromScanner


@dataclass(frozen=True, slots=True)
class CommandCame:
    """A command of the control socket; `request` names whom to answer."""

    request: int
    command: Command


@dataclass(frozen=True, slots=True)
class BoxTold:
    """What the box says the time is, in its own words."""

    current_time: str


@dataclass(frozen=True, slots=True)
class ThreadDied:
    """A helper thread ended by an exception; it surfaces on the deciding thread."""

    thread: str
    error: BaseException


Post = Event | ScannerSaid | CommandCame | BoxTold | ThreadDied


class Mailbox:
    """One queue, oldest first; nothing posted is ever skipped.

    Threads: `post` from any thread and from signal handlers (SimpleQueue.put is reentrant),
    `take` from the main thread only. The scanner sends at most one sighting a frame, so the
    queue stays short by itself; sightings that waited too long are dropped where they are read.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Post] = queue.SimpleQueue()

    def post(self, item: Post) -> None:
        """Hand over a fact; returns at once."""
        self._queue.put(item)

    def take(self, timeout_s: float) -> Post | None:
        """The oldest item, or None after `timeout_s`."""
        try:
            return self._queue.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
