"""When a read counts that only a rescue made: not before something independent agrees."""

from collections.abc import Iterable

from hardware.frame import Luma
from kiosk.messages import Symbol

WITHIN_S = 1.0
_MANY = 16

_Read = tuple[bytes, str]


class Agreement:
    """Remembers for a second what rescues read.

    A second read agrees if it is from another frame, or from another stage on the same still.
    What was agreed on, or read by a stage that needs nobody's consent, goes on counting while it
    is read at least once a second.
    """

    def __init__(self) -> None:
        """Start with nothing read."""
        self._first: dict[_Read, tuple[str, bytes, float]] = {}
        self._counts: dict[_Read, float] = {}

    def trust(self, symbols: Iterable[Symbol], now_s: float) -> None:
        """Note what counts without more."""
        if len(self._counts) > _MANY:
            self._forget(now_s)
        for symbol in symbols:
            self._counts[symbol.payload, symbol.kind] = now_s

    def weigh(self, symbols: Iterable[Symbol], luma: Luma, now_s: float) -> list[Symbol]:
        """Take what a rescue read, and give back what of it counts.

        Args:
            symbols: From one stage.
            luma: The frame; a few pixels tell whether it is the same still as before.
            now_s: Seconds on the monotonic clock.
        """
        self._forget(now_s)
        look = luma[8::16, 8::16].tobytes()
        agreed = []
        for symbol in symbols:
            read = (symbol.payload, symbol.kind)
            stage, earlier, _ = self._first.get(read, (symbol.stage, look, now_s))
            if read in self._counts or symbol.stage != stage or look != earlier:
                self._counts[read] = now_s
                agreed.append(symbol)
            else:
                self._first[read] = (stage, earlier, now_s)
        return agreed

    def _forget(self, now_s: float) -> None:
        for read in [read for read, (_, _, at_s) in self._first.items() if now_s - at_s > WITHIN_S]:
            del self._first[read]
        for read in [read for read, at_s in self._counts.items() if now_s - at_s > WITHIN_S]:
            del self._counts[read]
