"""What the kiosk knows of its two systems, kept on the data partition in one small file.

Losing it costs nothing but a copy: a slot of which nothing is known counts as bad, and is
filled anew from the one that runs.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Trial:
    """A system that was installed and is to be started once, to see whether it serves.

    Attributes:
        slot: A or B.
        version: Of the system in it.
        starts: How often it was started for this so far.
    """

    slot: str
    version: str
    starts: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One state of the record; changes are made with `dataclasses.replace`.

    Attributes:
        states: Slot -> good or bad. Bad: not complete, or it failed.
        digests: Slot -> SHA-256 of its squashfs, where a copy of the running one was made.
        trial: What is to be tried, or being tried now.
        refused: Version -> the sentence that says why it is not installed by itself again.
    """

    states: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    refused: dict[str, str] = field(default_factory=dict)

    def with_state(self, slot: str, state: str) -> Self:
        """The same with another state for one slot."""
        return replace(self, states=self.states | {slot: state})

    def is_good(self, slot: str) -> bool:
        """Whether this slot is known to be complete."""
        return self.states.get(slot) == "good"


def load(path: Path) -> Record:
    """Read the record; one that is missing or damaged says nothing."""
    try:
        read = json.loads(path.read_bytes())
        trial = read["trial"]
        return Record(
            states=_texts(read["states"]),
            digests=_texts(read["digests"]),
            trial=Trial(str(trial["slot"]), str(trial["version"]), int(trial["starts"]))
            if trial
            else None,
            refused=_texts(read["refused"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()


def save(path: Path, record: Record) -> None:
    """Replace the record; when this returns, the new one outlives a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("wb") as out:
        out.write(json.dumps(asdict(record), indent=1, sort_keys=True).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _texts(value: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()}
