"""Which stage looks at which frame, what a read is worth, and when nothing looks at all."""

import itertools

import numpy as np
import pytest
import segno

from kiosk.messages import Symbol
from kiosk.scanner.decoder import DECODE_EVERY_S, Decoder, build_decoder
from kiosk.scanner.gate import Gate
from kiosk.settings import ENGINES, RESCUES

CODE = b"50501234567890123456"


def a_frame(seed=0):
    """Something with edges, else no stage has a turn; another seed is another frame."""
    return np.random.default_rng(seed).integers(0, 256, (480, 640), dtype=np.uint8)


class FakeStage:
    """Reads what it is told to, and counts how often it looked."""

    def __init__(self, name, *, reads=()):
        self.name = name
        self.reads = reads
        self.looks = 0

    def decode(self, luma):
        self.looks += 1
        reads = self.reads(self.looks) if callable(self.reads) else self.reads
        return [Symbol(payload=payload, kind="qr", stage=self.name) for payload in reads]


class Once:
    """Reads at the looks that are named, as chance does."""

    def __init__(self, *looks, payload=CODE):
        self.looks = looks
        self.payload = payload

    def __call__(self, look):
        return [self.payload] if look in self.looks else []


def a_decoder(stages, rescues=(), *, gate=None):
    return Decoder(stages, rescues, gate=gate)


def test_the_first_engine_looks_at_each_frame_and_the_others_take_turns():
    stages = [FakeStage("a"), FakeStage("b"), FakeStage("c")]
    decoder = a_decoder(stages)

    for frame in range(6):
        assert not decoder.decode(a_frame(), frame / 30).symbols

    assert [stage.looks for stage in stages] == [6, 3, 3]
    assert decoder.engines == ["a", "b", "c"]


def test_fast_and_the_engine_after_it_look_at_each_frame_and_rescues_come_before_the_rest():
    stages = [FakeStage("fast"), FakeStage("zxing"), FakeStage("pyzbar")]
    decoder = a_decoder(stages, [FakeStage("r1"), FakeStage("r2")])

    tried = [decoder.decode(a_frame(), frame / 30).tried for frame in range(4)]

    always = ("fast", "zxing")
    assert tried == [(*always, one) for one in ("r1", "r2", "pyzbar", "r1")]


def test_a_read_of_an_engine_that_sees_each_frame_counts_and_costs_the_others_nothing():
    stages = [FakeStage("a", reads=[CODE]), FakeStage("b")]

    look = a_decoder(stages).decode(a_frame(), 0)

    assert [one.stage for one in look.symbols] == ["a"]
    assert stages[1].looks == 0


def test_one_engine_is_enough():
    assert not a_decoder([FakeStage("a")]).decode(a_frame(), 0).symbols


def test_where_nothing_has_edges_no_rescue_has_a_turn():
    rescue = FakeStage("r")
    decoder = a_decoder([FakeStage("a")], [rescue])

    decoder.decode(np.full((480, 640), 90, np.uint8), 0)

    assert rescue.looks == 0
    assert decoder.done


# What only a rescue read


def test_a_read_by_chance_never_counts():
    rescue = FakeStage("r", reads=Once(1))
    decoder = a_decoder([FakeStage("a")], [rescue])

    looks = [decoder.decode(a_frame(frame), frame / 30) for frame in range(60)]

    assert [one.payload for one in looks[0].waiting] == [CODE]
    assert not any(look.symbols for look in looks)


def test_two_frames_agree():
    # The 2nd look is the one closer at the first frame.
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=Once(1, 3))])

    assert not decoder.decode(a_frame(1), 0.0).symbols
    assert [one.payload for one in decoder.decode(a_frame(2), 0.1).symbols] == [CODE]


def test_two_frames_a_second_apart_do_not_agree():
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=Once(1, 3, 5))])

    assert decoder.decode(a_frame(1), 0.0).waiting
    assert decoder.decode(a_frame(2), 1.1).waiting
    assert decoder.decode(a_frame(3), 2.2).waiting


def test_the_same_still_does_not_agree_with_itself():
    still = a_frame()
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=Once(1, 3, 5))])

    assert not any(decoder.decode(still, frame / 30).symbols for frame in range(6))


def test_two_rescues_agree_on_one_still():
    still = a_frame()
    rescues = [FakeStage("r1", reads=Once(1, 3, 5)), FakeStage("r2", reads=[CODE])]
    decoder = a_decoder([FakeStage("a")], rescues)

    assert not decoder.decode(still, 0.0).symbols
    assert [one.payload for one in decoder.decode(still, 0.0).symbols] == [CODE]


def test_two_rescues_that_read_different_things_do_not_agree():
    rescues = [
        FakeStage("r1", reads=Once(1, 3, 5, 7)),
        FakeStage("r2", reads=Once(1, 3, payload=CODE[::-1])),
    ]
    decoder = a_decoder([FakeStage("a")], rescues)

    looks = [decoder.decode(a_frame(), 0.0) for _ in range(4)]

    assert not any(look.symbols for look in looks)


def test_a_second_look_from_closer_agrees_at_once():
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=[CODE])])

    [symbol] = decoder.decode(a_frame(), 0.0).symbols

    assert (symbol.payload, symbol.stage) == (CODE, "r, closer")


def test_who_read_the_last_frame_looks_first_at_the_next():
    good = FakeStage("good", reads=[CODE])
    decoder = a_decoder([FakeStage("a")], [good, *(FakeStage(f"r{n}") for n in range(5))])

    tried = [decoder.decode(a_frame(frame), frame / 30).tried[1:] for frame in range(4)]

    assert tried == [("good",)] * 4


def test_a_rescue_that_reads_one_still_for_ever_does_not_keep_the_others_from_it():
    rescues = [FakeStage("lone", reads=lambda look: [CODE] if look % 2 else [])]
    rescues += [FakeStage("blind"), FakeStage("other", reads=[CODE])]
    decoder = a_decoder([FakeStage("a")], rescues)

    assert any(decoder.decode(a_frame(), 0.0).symbols for _ in range(6))


def test_what_an_engine_read_a_moment_ago_needs_no_consent():
    engine = FakeStage("a", reads=Once(1))
    decoder = a_decoder([engine], [FakeStage("r", reads=Once(1))])

    assert decoder.decode(a_frame(1), 0.0).symbols
    assert [one.stage for one in decoder.decode(a_frame(2), 0.1).symbols] == ["r"]


def test_a_new_scene_forgets_what_was_read():
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=Once(1, 3))])

    assert decoder.decode(a_frame(1), 0.0).waiting
    decoder.forget()
    assert decoder.decode(a_frame(2), 0.1).waiting


def test_a_wall_of_codes_does_not_fill_the_memory():
    payloads = (b"%020d" % n for n in itertools.count())
    decoder = a_decoder([FakeStage("a", reads=lambda look: [next(payloads)])])

    for frame in range(300):
        decoder.decode(a_frame(), float(frame))

    assert len(decoder._agreement._counts) < 30


# Other kinds


def test_other_kinds_take_turns_between_the_rescues():
    rescues = [FakeStage(f"r{n}") for n in range(4)]
    kinds = [FakeStage("k0"), FakeStage("k1")]
    decoder = Decoder([FakeStage("a")], rescues, kinds=kinds)

    tried = [decoder.decode(a_frame(), frame / 30).tried[-1] for frame in range(6)]

    assert tried == ["r0", "r1", "k0", "r2", "r3", "k1"]


def test_a_wrong_kind_is_told_and_what_is_no_code_is_not(draw):
    decoder = build_decoder(("zxing",), RESCUES)
    luma = draw(segno.make("12345", micro=True), scale=8)

    read = [one for n in range(40) for one in decoder.decode(luma, n / 30).symbols]

    assert {(one.kind, one.payload) for one in read} == {("microqr", b"12345")}


# The gate


def test_a_still_scene_rests_once_all_have_looked_and_is_looked_at_five_times_a_second():
    stage = FakeStage("a")
    rescues = [FakeStage("r1"), FakeStage("r2")]
    decoder = a_decoder([stage], rescues, gate=Gate())
    still = a_frame()

    looks = [decoder.decode(still, frame / 30) for frame in range(90)]

    gated = [look.gated for look in looks]
    first = gated.index(True)
    assert all(rescue.looks >= 1 for rescue in rescues)
    assert first <= 6
    awake = [frame for frame in range(first, 90) if not gated[frame]]
    every = round(DECODE_EVERY_S * 30)
    assert {later - earlier for earlier, later in itertools.pairwise(awake)} <= {every, every + 1}


def test_a_change_opens_the_gate_until_all_have_looked_again():
    rescues = [FakeStage("r1"), FakeStage("r2")]
    decoder = a_decoder([FakeStage("a")], rescues, gate=Gate())
    for frame in range(30):
        decoder.decode(a_frame(), frame / 30)
    looks = [rescue.looks for rescue in rescues]

    for frame in range(30, 32):
        assert not decoder.decode(a_frame(1), frame / 30).gated

    assert all(rescue.looks > before for rescue, before in zip(rescues, looks, strict=True))


def test_a_code_that_is_held_still_is_read_at_each_frame():
    decoder = a_decoder([FakeStage("a", reads=[CODE])], gate=Gate())

    looks = [decoder.decode(a_frame(), frame / 30) for frame in range(90)]

    assert all(look.symbols for look in looks)


def test_what_waits_for_consent_keeps_the_gate_open():
    decoder = a_decoder([FakeStage("a")], [FakeStage("r", reads=Once(20, 22))], gate=Gate())
    frames = [a_frame()] * 200

    looks = [decoder.decode(frame, n / 30) for n, frame in enumerate(frames)]

    waited = next(n for n, look in enumerate(looks) if look.waiting)
    assert not any(look.gated for look in looks[waited : waited + 30])


def test_without_a_gate_each_frame_is_decoded():
    decoder = a_decoder([FakeStage("a")])
    assert not any(decoder.decode(a_frame(), 0.0).gated for _ in range(9))


# What is bad


@pytest.mark.parametrize(
    "luma",
    [
        np.zeros((0, 0), np.uint8),
        np.zeros((480, 0), np.uint8),
        np.zeros((480, 640), np.uint16),
        np.zeros((480, 640), np.int8),
        np.zeros((480, 640), np.float32),
        np.zeros((480, 640), np.bool_),
        np.zeros((480, 640, 3), np.uint8),
        np.zeros(640, np.uint8),
        np.broadcast_to(np.zeros((1, 1), np.uint8), (1 << 14, 1 << 13)),
    ],
    ids=lambda luma: f"{luma.dtype}-{luma.shape}",
)
def test_what_is_no_frame_is_refused(luma):
    with pytest.raises(ValueError, match="a frame is uint8"):
        a_decoder([FakeStage("a")]).decode(luma, 0.0)


def test_a_stage_that_fails_is_passed_over_and_said_rarely(caplog):
    def fail(look):
        raise RuntimeError("broken")

    stages = [FakeStage("fast", reads=fail), FakeStage("zxing", reads=[CODE])]
    decoder = a_decoder(stages)

    for frame in range(100):
        assert decoder.decode(a_frame(frame), frame / 30).symbols

    assert decoder.failures == {"fast": 100}
    assert [record.getMessage() for record in caplog.records] == [
        "decoder stage failed, passed over"
    ]


# As it is built


def test_the_decoder_of_the_settings_has_every_engine_and_rescue(draw):
    decoder = build_decoder(ENGINES, RESCUES)

    assert decoder.engines[:2] == ["fast", "zxing"]
    assert [one.stage for one in decoder.decode(draw(CODE.decode()), 0.0).symbols] == ["fast"]


def test_a_region_that_begins_far_from_the_corner_gives_corners_in_the_frame(draw):
    luma = np.full((480, 640), 200, np.uint8)
    luma[200:400, 300:500] = draw(CODE.decode())[:200, :200]
    decoder = Decoder([FakeStage("a")], build_decoder(("zxing",), RESCUES)._in_turn)

    for frame in range(20):
        if symbols := decoder.decode(luma, frame / 30).symbols:
            break

    xs, ys = zip(*symbols[0].corners, strict=True)
    assert abs(min(xs) - 340) < 9
    assert abs(min(ys) - 240) < 9
