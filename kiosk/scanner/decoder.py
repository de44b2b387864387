"""From a luma plane to symbols: which stage looks at which frame."""

from collections.abc import Sequence

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner.kind_watch import KindWatch
from kiosk.scanner.stages import Stage


class Decoder:
    """The first stage looks at each frame, one of the others at each frame that it missed.

    A phone is held for many frames; spreading the slow stages over them keeps the time for
    one frame below its interval.
    """

    def __init__(self, stages: Sequence[Stage], watch: KindWatch | None = None) -> None:
        """Take the stages in their order; at least one."""
        self._first, *self._others = stages
        self._watch = watch if watch is not None else KindWatch()
        self._turn = 0

    @property
    def engines(self) -> list[str]:
        """The names of the stages, in their order."""
        return [stage.name for stage in (self._first, *self._others)]

    @property
    def turns(self) -> int:
        """How many missed frames of a still scene it takes until all has been tried."""
        return max(len(self._others), 2)

    def decode(self, luma: Luma, now_s: float) -> list[Symbol]:
        """Read a frame.

        Args:
            luma: uint8, shape (height, width); not kept.
            now_s: Seconds on the monotonic clock.

        Returns:
            The symbols that one stage read; kinds other than `qr` are not payable.
        """
        if symbols := self._first.decode(luma):
            return symbols
        if self._others:
            stage = self._others[self._turn % len(self._others)]
            self._turn += 1
            if symbols := stage.decode(luma):
                return symbols
        return self._watch.look(luma, now_s)
