"""What was tried and what came of it, added up over tests that run in several workers."""

import json
from collections import Counter
from dataclasses import dataclass, field

from marks import PHASES


@dataclass
class Tally:
    """Counts of lives and deaths, over any number of epochs."""

    kills: int = 0
    ended: int = 0
    restarts: int = 0
    requests: int = 0
    charges: int = 0
    kinds: Counter = field(default_factory=Counter)
    phases: Counter = field(default_factory=Counter)
    outcomes: Counter = field(default_factory=Counter)

    def add(self, counts):
        """Those of another one, as a mapping."""
        for name, count in counts.items():
            if isinstance(count, int):
                setattr(self, name, getattr(self, name) + count)
            else:
                getattr(self, name).update(count)

    def __str__(self):
        died = ", ".join(
            f"{self.phases[phase]} {phase}" for phase in dict.fromkeys(PHASES.values())
        )
        lived, came = (
            ", ".join(f"{count} {what}" for what, count in counts.most_common())
            for counts in (self.kinds, self.outcomes)
        )
        return (
            f"{self.kills} kills and {self.ended} orderly ends (lives: {lived}), {self.restarts}"
            f" audits after a restart, {self.requests} requests, {self.charges} charges (intents:"
            f" {came}); died: {died}"
        )


def gathered(folder, name, part, parts, counts):
    """What all parts of a test have counted, for the one that ends last; None for the others.

    Args:
        folder: One for all workers.
        name: Of the test.
        part: Which one of the `parts` this is.
        parts: How many there are; where not all are run, nobody gets the sum.
        counts: Of this part, as JSON can hold it.
    """
    written = folder / f"{name}-{part}.new"
    written.write_text(json.dumps(counts), encoding="utf-8")
    written.rename(written.with_suffix(".counts"))
    found = list(folder.glob(f"{name}-*.counts"))
    if len(found) < parts:
        return None
    try:
        (folder / f"{name}.gathered").touch(exist_ok=False)
    except FileExistsError:  # another one ended in the same moment
        return None
    return [json.loads(path.read_text(encoding="utf-8")) for path in found]
