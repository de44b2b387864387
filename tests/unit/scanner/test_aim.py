"""The advice is right where the scene is known: what is wrong with each was drawn into it."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kiosk.messages import Symbol
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import corners, render
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.symbols import Kind
from kiosk.scanner.aim import Advice, advise, measure
from kiosk.scanner.decoder import build_decoder
from kiosk.settings import RESCUES

CODE = "50501234567890123456"


def scene(*, place=5, payload=CODE, **how):
    """A phone held well before a good lens, but for what is said."""
    fields = {field.name for field in dataclasses.fields(Phone)}
    phone = {name: how.pop(name) for name in fields & how.keys()}
    phone = {"payload": payload, "module_px": 6.3, "rotation_deg": 4} | phone
    return Scene(phones=(Phone(**phone),), place=place, **how)


def read(luma):
    """What the scanner reads, given the time for all of its rescues."""
    decoder = build_decoder(["fast", "zxing"], RESCUES)
    now_s = 0.0
    symbols = decoder.decode(luma, now_s).symbols
    while not symbols and not decoder.done:
        now_s += 0.5
        symbols = decoder.decode(luma, now_s).symbols
    return symbols


def aim_at(shown, seed=1):
    luma = render(shown, seed)
    return measure(luma, read(luma))


def unread(shown, seed=1):
    return measure(render(shown, seed))


GOOD = [{}, {"module_px": 4.1}, {"module_px": 12}, {"exposure": 0.3}, {"ambient": 0.05}]


@pytest.mark.parametrize(
    "how", [*GOOD, {"ec_level": "H"}, {"tilt_x_deg": 35}, {"rotation_deg": 45}, {"inverted": True}]
)
def test_a_phone_held_well_is_fine(how):
    assert advise([aim_at(scene(**how))]) is Advice.FINE


@pytest.mark.parametrize("how", GOOD)
@pytest.mark.parametrize("defocus_px", [2.5, 3, 4])
def test_before_a_lens_out_of_focus_the_lens_is_to_be_turned(how, defocus_px):
    assert advise([aim_at(scene(defocus_px=defocus_px, **how))]) is Advice.TURN_THE_LENS


@pytest.mark.parametrize(("defocus_px", "advice"), [(1, "fine"), (5, "turn the lens")])
def test_the_finer_pixels_of_a_larger_frame_need_no_finer_lens(defocus_px, advice):
    large = {"width_px": 1280, "height_px": 960, "module_px": 13}

    assert advise([aim_at(scene(defocus_px=defocus_px, **large))]) == advice


def test_focus_is_judged_without_a_read_as_well():
    assert advise([unread(scene(defocus_px=4))]) is Advice.TURN_THE_LENS


def test_the_width_of_edges_grows_with_the_defocus_and_with_little_else():
    widths = [
        [unread(scene(defocus_px=blur, **how)).edge_px for how in GOOD] for blur in (0, 1.5, 3)
    ]

    for sharper, softer in itertools.pairwise(widths):
        assert max(sharper) < min(softer)


@pytest.mark.parametrize("motion_deg", [0, 30, 90, 160])
@pytest.mark.parametrize("how", GOOD)
def test_a_phone_that_moved_by_its_modules_is_to_be_held_still(how, motion_deg):
    modules = 1.2
    shown = scene(motion_px=modules * how.get("module_px", 6.3), motion_deg=motion_deg, **how)

    assert advise([unread(shown)]) is Advice.HOLD_STILL


def test_along_the_diagonal_one_frame_may_blame_the_lens_but_several_tell():
    """A short path along the diagonal blurs both directions of a code as a lens would."""
    blurs = [(4, 0.50), (7.5, 0.52), (3, 0.55), (7.5, 0.53)]
    aims = [aim_at(scene(motion_px=px, motion_deg=49, centre_x=x, module_px=9)) for px, x in blurs]

    assert advise(aims[-1:]) is Advice.TURN_THE_LENS
    assert advise(aims) is Advice.HOLD_STILL


def test_a_phone_held_still_before_a_bad_lens_is_not_told_to_be_still():
    aims = [aim_at(scene(defocus_px=3, centre_x=x), seed) for seed, x in enumerate((0.5, 0.502))]

    assert advise(aims * 4) is Advice.TURN_THE_LENS


@pytest.mark.parametrize("module_px", [2.2, 2.8, 3.2])
def test_a_far_phone_is_to_come_closer(module_px):
    assert advise([aim_at(scene(module_px=module_px))]) is Advice.CLOSER


def test_a_far_phone_is_to_come_closer_though_it_was_not_read():
    assert advise([unread(scene(module_px=2.8))]) is Advice.CLOSER


@pytest.mark.parametrize(
    "how", [{"module_px": 20.5}, {"module_px": 26}, {"module_px": 11, "centre_x": 0.1}]
)
def test_what_does_not_fit_is_to_go_farther(how):
    assert advise([aim_at(scene(**how))]) is Advice.FARTHER


def test_a_phone_that_is_about_to_come_in_is_not_sent_away():
    assert advise([unread(scene(centre_x=0.05))]) is Advice.HOLD_STILL


@pytest.mark.parametrize("how", [{"exposure": 0.015}, {"brightness": 0.05}])
def test_a_dim_code_is_to_be_brighter(how):
    assert advise([aim_at(scene(**how))]) is Advice.BRIGHTER


@pytest.mark.parametrize("exposure", [12, 20])
@pytest.mark.parametrize("ambient", [0.05, 1])
def test_a_code_that_burns_out_is_to_be_darker(exposure, ambient):
    assert advise([aim_at(scene(exposure=exposure, ambient=ambient))]) is Advice.DARKER


def test_what_has_nothing_wrong_but_was_not_read_is_given_time():
    luma = render(scene(), 1)

    assert advise([measure(luma)]) is Advice.HOLD_STILL
    assert advise([measure(luma, read(luma)), measure(luma)]) is Advice.FINE


def test_where_there_is_no_code_there_is_no_advice():
    assert advise([]) is None
    assert advise([aim_at(scene()), None]) is None


def test_shops_customers_and_phones_without_a_code_are_none():
    rng = np.random.default_rng(7)
    found = 0
    for seed in range(60):
        phone = Phone(payload="", kind=Kind.NONE, module_px=float(rng.uniform(3, 9)))
        shown = Scene(
            phones=(phone,) * (seed % 2),
            place=seed,
            clutter=float(rng.random()),
            ambient=float(rng.uniform(0.1, 4)),
        )
        found += measure(render(shown, seed)) is not None
    assert found <= 1


@pytest.mark.parametrize("how", [{}, {"module_px": 3.4}, {"module_px": 15}, {"rotation_deg": 40}])
def test_the_size_is_true_whether_read_or_not(how):
    shown = scene(**how)
    x, y = corners(shown).T
    side_px = float(np.sqrt(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2))

    assert aim_at(shown).side_px == pytest.approx(side_px, rel=0.04)
    assert unread(shown).side_px == pytest.approx(side_px, rel=0.1)


@pytest.mark.parametrize(
    ("payload", "ec_level"), [(CODE, "L"), (CODE, "H"), ("https://example.org/a/longer/one", "M")]
)
@pytest.mark.parametrize("how", [{}, {"tilt_y_deg": 30}, {"rotation_deg": 200}])
def test_modules_are_counted(payload, ec_level, how):
    shown = scene(payload=payload, ec_level=ec_level, **how)
    columns, _ = shown.phones[0].columns_and_rows
    aim = aim_at(shown)

    assert aim.side_px / aim.module_px == pytest.approx(columns)


def test_padded_rows_and_scattered_pixels_make_no_difference():
    luma = render(scene(), 1)
    packed = np.zeros((*luma.shape, 2), np.uint8)
    packed[..., 0] = luma

    assert measure(packed[..., 0], read(luma)) == measure(luma, read(luma))
    assert measure(packed[..., 0]) is not None


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 130), st.integers(1, 130))),
    st.lists(st.tuples(st.integers(-50, 200), st.integers(-50, 200)), max_size=5),
)
def test_no_frame_and_no_corners_are_too_odd(luma, places):
    symbol = Symbol(payload=b"x", kind="qr", stage="any", corners=tuple(places))

    advise([measure(luma), measure(luma, [symbol])])
