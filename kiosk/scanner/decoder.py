"""From a luma plane to symbols: which stage looks at which frame, and what counts.

Gate, then the stages that look at each frame, then, where these miss, one rescue or one further
engine in turn. A phone is held for many frames; spreading the slow stages over them keeps the
time for one frame far below its interval.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from hardware.frame import Luma
from kiosk.messages import Symbol
from kiosk.scanner.agreement import Agreement
from kiosk.scanner.gate import Gate
from kiosk.scanner.kind_stages import kind_stages
from kiosk.scanner.region import Region, find_regions
from kiosk.scanner.rescues import RescueStage, placed
from kiosk.scanner.stages import Stage, load_stages
from kiosk.settings import RescueName

log = logging.getLogger(__name__)

DECODE_EVERY_S = 0.2
"""A still scene is decoded so often all the same: what changed may lie between the samples."""
AWAKE_S = 1.0
"""After a read the gate stays open so long: a code that is held still is read again and again."""
SECOND_LOOK = 1.2
"""A rescue's read is checked at this scale: what is really there is read there as well, what
chance made of noise is not."""
MAX_PIXELS = 1 << 26
COMPLAIN_EVERY = 1000


class Look(NamedTuple):
    """What came of one frame.

    Attributes:
        symbols: What was read and counts; kinds other than `qr` are not payable.
        waiting: What only a rescue read, and nothing else agreed to yet.
        gated: The scene was still; nothing was tried.
        tried: The stages that looked, in order.
    """

    symbols: Sequence[Symbol] = ()
    waiting: Sequence[Symbol] = ()
    gated: bool = False
    tried: tuple[str, ...] = ()


_GATED = Look(gated=True)


class Decoder:
    """Takes frames one after the other, and remembers what the last second showed.

    Attributes:
        failures: How often each stage failed; one that never did is not in it.

    `fast` and the first other engine look at each whole frame, and what they read counts. The
    rescues and the other engines take turns on the region of a frame that these missed, one a
    frame; what they read counts when two frames agree, or two looks at one.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        rescues: Sequence[Stage] = (),
        *,
        kinds: Sequence[Stage] = (),
        gate: Gate | None = None,
    ) -> None:
        """Take the stages in their order.

        Args:
            stages: The engines; at least one.
            rescues: What else is tried on a region, before the further engines.
            kinds: Notice codes of other kinds; they take turns with the rescues.
            gate: Skips still scenes; without one each frame is decoded.
        """
        count = 1 + next((i for i, stage in enumerate(stages) if stage.name != "fast"), 0)
        self._always, further = list(stages[:count]), list(stages[count:])
        self._in_turn = _spread([*rescues, *further], kinds)
        self._engines = [stage.name for stage in stages]
        self._gate = gate
        self.failures: dict[str, int] = {}
        self._again: Stage | None = None
        self.forget()

    @property
    def engines(self) -> list[str]:
        """The names of the engines, in their order."""
        return self._engines

    @property
    def done(self) -> bool:
        """Everything has been tried on the scene as it stands."""
        return self._unseen <= 0

    def forget(self) -> None:
        """Start anew: what comes next has nothing to do with what was seen so far."""
        self._agreement = Agreement()
        self._again = None
        self._turn = 0
        self._unseen = self._turns()
        self._read_at_s = self._decoded_at_s = float("-inf")

    def decode(self, luma: Luma, now_s: float) -> Look:
        """Read a frame.

        Args:
            luma: uint8, shape (height, width), any strides; not kept.
            now_s: Seconds on the monotonic clock.

        Returns:
            What came of it; owned by the caller, except one that was gated.

        Raises:
            ValueError: That is no luma plane.
        """
        if luma.dtype.char != "B" or luma.ndim != 2 or not 0 < luma.size <= MAX_PIXELS:
            raise ValueError(f"a frame is uint8, height x width; not {luma.dtype} {luma.shape}")
        if self._gate is not None and now_s - self._read_at_s > AWAKE_S:
            if not self._gate.still(luma):
                self._unseen = self._turns()
            elif self.done and now_s - self._decoded_at_s < DECODE_EVERY_S:
                return _GATED
            self._gate.remember(luma)
            self._decoded_at_s = now_s
        for stage in self._always:
            if symbols := self._try(stage, luma):
                self._read_at_s = now_s
                self._agreement.trust(symbols, now_s)
                return Look(symbols, tried=(stage.name,))
        return self._rescue(luma, now_s)

    def _rescue(self, luma: Luma, now_s: float) -> Look:
        """Give the next in turn, and before it who read the last frame, a look at the region."""
        tried = [stage.name for stage in self._always]
        regions = find_regions(luma)
        if not regions:
            self._unseen = 0
            return Look(tried=tuple(tried))
        # Counted for two regions; where there is but one, each turn is worth both.
        self._unseen -= 3 - len(regions)
        waiting: list[Symbol] = []
        again, self._again = self._again, None
        for stage, region in self._due(regions, again):
            part = luma[region]
            tried.append(stage.name)
            if not (symbols := self._try(stage, part)):
                continue
            self._again = stage
            self._read_at_s = now_s
            counts = self._weigh(symbols, region, luma, now_s)
            if not counts:
                closer = self._try(stage, _enlarge(part))
                second = [_signed_closer(placed(symbol, SECOND_LOOK, 0, 0)) for symbol in closer]
                counts = self._weigh(second, region, luma, now_s)
            if counts:
                return Look(counts, tried=tuple(tried))
            waiting += _in_frame(symbols, region)
        return Look(waiting=waiting, tried=tuple(tried))

    def _due(self, regions: list[Region], again: Stage | None) -> list[tuple[Stage, Region]]:
        """Who looks now: who read the last frame, and whose turn it is."""
        if not self._in_turn:
            return []
        rounds, number = divmod(self._turn, len(self._in_turn))
        self._turn += 1
        stage, region = self._in_turn[number], regions[rounds % len(regions)]
        if again is None or again is stage:
            return [(stage, region)]
        return [(again, regions[0]), (stage, region)]

    def _turns(self) -> int:
        """Until each has seen two regions."""
        return 2 * len(self._in_turn)

    def _weigh(
        self, symbols: list[Symbol], region: Region, luma: Luma, now_s: float
    ) -> list[Symbol]:
        return _in_frame(self._agreement.weigh(symbols, luma, now_s), region)

    def _try(self, stage: Stage, luma: Luma) -> list[Symbol]:
        """Let a stage look. One that fails is passed over: the others may still read."""
        try:
            return stage.decode(luma)
        except Exception:
            # Native code over hostile pixels. Rarely said, or a stage that always fails would
            # fill the disk.
            count = self.failures[stage.name] = self.failures.get(stage.name, 0) + 1
            if count % COMPLAIN_EVERY == 1:
                log.exception(
                    "decoder stage failed, passed over",
                    extra={"stage": stage.name, "shape": luma.shape, "times": count},
                )
            return []


def _spread(stages: Sequence[Stage], kinds: Sequence[Stage]) -> list[Stage]:
    """Put the kinds between the stages, in even steps."""
    steps = [(number / len(stages), stage) for number, stage in enumerate(stages)]
    steps += [((number + 0.9) / len(kinds), kind) for number, kind in enumerate(kinds)]
    return [stage for _, stage in sorted(steps, key=lambda step: step[0])]


def _enlarge(luma: Luma) -> Luma:
    plane = np.ascontiguousarray(luma)
    large = cv2.resize(plane, None, fx=SECOND_LOOK, fy=SECOND_LOOK)
    return np.asarray(large, dtype=np.uint8)


def _signed_closer(symbol: Symbol) -> Symbol:
    return Symbol(
        payload=symbol.payload,
        kind=symbol.kind,
        stage=f"{symbol.stage}, closer",
        corners=symbol.corners,
    )


def _in_frame(symbols: list[Symbol], region: Region) -> list[Symbol]:
    rows, columns = region
    return [placed(symbol, 1.0, columns.start, rows.start) for symbol in symbols]


def build_decoder(engines: Sequence[str], rescues: Sequence[RescueName]) -> Decoder:
    """Make the decoder of `scan.engines` and `scan.rescues`.

    Raises:
        SettingsError: None of the engines is there.
    """
    return Decoder(
        load_stages(engines),
        [RescueStage(name) for name in rescues],
        kinds=kind_stages(),
        gate=Gate() if "gate" in engines else None,
    )
