"""The renderer draws what the scene says, and nothing else decides."""

import dataclasses

import cv2
import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk.sandbox.corpus import random_scene
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import corners, render, see, take
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.symbols import Kind, draw_modules

CODE = "50501234567890123456"
PHONE = Phone(payload=CODE)
SCENE = Scene(phones=(PHONE,), place=3)


def showing(**changes) -> Scene:
    """The usual scene with changes to its phone."""
    return dataclasses.replace(SCENE, phones=(dataclasses.replace(PHONE, **changes),))


def taken(**changes) -> Scene:
    """The usual scene with changes to the place or the camera."""
    return dataclasses.replace(SCENE, **changes)


def read(luma):
    """The QR symbols that a plain decoder finds."""
    formats = zxingcpp.BarcodeFormat.QRCodeModel2
    return zxingcpp.read_barcodes(luma, formats=formats, try_rotate=False)


def around_symbol(luma, scene):
    """The part of a frame that holds the symbol, as numbers to calculate with."""
    (left, top), (right, bottom) = corners(scene).min(axis=0), corners(scene).max(axis=0)
    return luma[round(top) : round(bottom), round(left) : round(right)].astype(float)


def sharpness(luma) -> float:
    return float(cv2.Laplacian(luma, cv2.CV_64F).var())


# --- a pure function of scene and seed


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_same_scene_and_seed_give_the_same_frame(seed, severity):
    scene = random_scene(np.random.default_rng(seed), severity)

    assert np.array_equal(render(scene, seed), render(scene, seed))


def test_the_seed_changes_the_noise_and_nothing_else():
    one, other = render(SCENE, 1).astype(int), render(SCENE, 2).astype(int)

    assert not np.array_equal(one, other)
    assert np.abs(one - other).mean() < 5
    assert np.array_equal(render(taken(noise=0), 1), render(taken(noise=0), 2))


def test_the_caller_may_write_into_a_frame():
    first = render(SCENE, 1)
    first[:] = 0

    assert render(SCENE, 1).any()


# --- any scene


phones = st.builds(
    Phone,
    payload=st.sampled_from([CODE, "https://example.com/a", "5050"]),
    kind=st.sampled_from([Kind.QR, Kind.AZTEC, Kind.DATA_MATRIX, Kind.NONE]),
    ec_level=st.sampled_from("LMQH"),
    symbol_mm=st.floats(15, 66),
    quiet_modules=st.integers(0, 6),
    dark_theme=st.booleans(),
    inverted=st.booleans(),
    brightness=st.floats(0, 2),
    pixels_per_inch=st.floats(100, 600),
    module_px=st.floats(0.5, 30),
    rotation_deg=st.floats(-360, 360),
    tilt_x_deg=st.floats(-70, 70),
    tilt_y_deg=st.floats(-70, 70),
    centre_x=st.floats(-1, 2),
    centre_y=st.floats(-1, 2),
    held=st.booleans(),
    covered=st.floats(0, 1),
    covered_from_deg=st.floats(-360, 360),
    glare=st.floats(0, 10),
    glare_x=st.floats(-3, 3),
    glare_y=st.floats(-3, 3),
    glare_mm=st.floats(0.5, 50),
    glare_stretch=st.floats(0.2, 5),
    moire=st.floats(0, 1),
)
scenes = st.builds(
    Scene,
    phones=st.lists(phones, max_size=2).map(tuple),
    width_px=st.integers(1, 320),
    height_px=st.integers(1, 240),
    place=st.integers(0, 2**63 - 1),
    ambient=st.floats(0, 30),
    backlight=st.floats(0, 20),
    clutter=st.floats(0, 1),
    defocus_px=st.floats(0, 12),
    motion_px=st.floats(0, 30),
    motion_deg=st.floats(-360, 360),
    exposure=st.floats(0, 50),
    gain=st.floats(0, 20),
    bloom=st.floats(0, 1),
    flare=st.floats(0, 1),
    banding=st.floats(0, 1),
    banding_period_px=st.floats(4, 500),
    banding_phase=st.floats(-2, 100),
    noise=st.floats(0, 5),
    sharpening=st.floats(0, 3),
    jpeg_quality=st.integers(0, 100),
)


@settings(max_examples=150, deadline=None)
@given(scenes, st.integers(0, 2**63 - 1))
def test_any_scene_gives_a_luma_plane_of_its_size(scene, seed):
    luma = render(scene, seed)

    assert luma.dtype == np.uint8
    assert luma.shape == (scene.height_px, scene.width_px)
    assert luma.flags.c_contiguous


# --- the true corners


@settings(max_examples=25, deadline=None)
@given(
    module_px=st.floats(4, 7),
    rotation_deg=st.floats(-170, 170),
    centre_x=st.floats(0.35, 0.65),
    centre_y=st.floats(0.4, 0.6),
)
def test_the_corners_are_where_a_decoder_finds_the_symbol(**pose):
    scene = showing(**pose)

    (symbol,) = read(render(scene, 0))

    found = symbol.position
    # A version 1 symbol has nothing in its fourth corner: the decoder guesses that one.
    order = (found.top_left, found.top_right, found.bottom_left)
    assert np.abs(np.array([(p.x, p.y) for p in order]) - corners(scene)[[0, 1, 3]]).max() < 3


@pytest.mark.parametrize("tilt", [{"tilt_x_deg": 40}, {"tilt_y_deg": -45}, {"tilt_x_deg": -30}])
def test_the_corners_follow_the_perspective(tilt):
    scene = showing(**tilt)
    side_px, rows = 210, 21
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32) * side_px - 0.5
    rectify = cv2.getPerspectiveTransform(corners(scene), square)

    flat = cv2.warpPerspective(render(scene, 0), rectify, (side_px, side_px))

    modules = cv2.resize(flat, (rows, rows), interpolation=cv2.INTER_AREA) < 128
    assert np.array_equal(modules, draw_modules(Kind.QR, CODE, "M"))


def test_each_of_two_phones_has_corners_of_its_own():
    other = dataclasses.replace(PHONE, payload=CODE[::-1], module_px=4.5, centre_x=0.75)
    scene = taken(phones=(dataclasses.replace(PHONE, module_px=4.5, centre_x=0.25), other))

    assert {symbol.text for symbol in read(render(scene, 0))} == {CODE, CODE[::-1]}
    assert corners(scene, 0)[:, 0].max() < 320 < corners(scene, 1)[:, 0].min()
    assert corners(scene).dtype == np.float32


def test_the_corners_tell_the_size_of_a_module():
    upper_left, upper_right = corners(showing(module_px=6))[:2]

    assert np.hypot(*(upper_right - upper_left)) == pytest.approx(21 * 6, abs=0.1)


# --- each effect does what it says


def test_the_usual_scene_is_read_at_once():
    assert [symbol.text for symbol in read(render(SCENE, 0))] == [CODE]


def test_no_phone_is_no_code():
    assert read(render(taken(phones=()), 0)) == []


def test_exposure_brightens():
    means = [render(taken(exposure=factor), 0).mean() for factor in (0.3, 1, 3)]

    assert means == sorted(means)
    assert means[0] < 0.7 * means[1] < means[2]


def test_bloom_eats_into_dark_modules():
    def dark_area(bloom):
        scene = taken(exposure=6, bloom=bloom)
        return (around_symbol(render(scene, 0), scene) < 128).mean()

    assert dark_area(0.8) < dark_area(0)


def test_gain_brightens_and_brings_the_noise_of_few_electrons_with_it():
    def spread(**light):
        return (render(taken(**light), 1).astype(int) - render(taken(**light), 2)).std()

    usual, amplified = render(SCENE, 0), render(taken(exposure=0.125, gain=8), 0)

    assert amplified.mean() == pytest.approx(usual.mean(), abs=4)
    assert spread(exposure=0.125, gain=8) > 2 * spread()


def test_gain_does_not_bring_back_what_the_sensor_could_not_hold():
    burnt = render(taken(exposure=40, bloom=0, gain=0.5, noise=0), 0)

    assert burnt.max() < 200


def test_a_dusty_lens_lifts_dark_modules_near_a_bright_screen():
    def darkest(flare):
        scene = taken(exposure=3, bloom=0, flare=flare, noise=0, ambient=0.05)
        return np.percentile(around_symbol(render(scene, 0), scene), 5)

    assert darkest(0) + 30 < darkest(0.05) + 15 < darkest(0.2)


def test_a_lens_scatters_light_and_makes_none():
    clean, dusty = (
        np.square(render(taken(flare=flare, noise=0), 0) / 255.0, dtype=float).mean()
        for flare in (0, 0.3)
    )

    assert dusty == pytest.approx(clean, rel=0.15)


def test_light_from_behind_leaves_the_screen_as_it_is():
    usual, backlit = (render(taken(backlight=b, noise=0), 0) for b in (1, 8))

    assert backlit[:60, :60].mean() > 1.5 * usual[:60, :60].mean()
    assert around_symbol(backlit, SCENE).mean() == pytest.approx(
        around_symbol(usual, SCENE).mean(), abs=2
    )


def test_a_view_may_be_taken_more_than_once():
    view = see(SCENE)
    short = taken(exposure=0.2, defocus_px=1.0)

    assert np.array_equal(take(view, short, 4), render(short, 4))
    assert np.array_equal(take(view, SCENE, 5), render(SCENE, 5))


def test_defocus_softens():
    sharp, soft, softer = (sharpness(render(taken(defocus_px=r, noise=0), 0)) for r in (0, 2, 4))

    assert sharp > 2 * soft > 3 * softer


def test_motion_softens_along_its_path_only():
    def steps(scene):
        symbol = around_symbol(render(scene, 0), scene)
        return np.array([np.square(np.diff(symbol, axis=axis)).mean() for axis in (1, 0)])

    along, across = steps(taken(noise=0, motion_px=8, motion_deg=0)) / steps(taken(noise=0))
    assert along < 0.3
    assert across > 0.5


def test_a_dim_phone_darkens_its_screen_and_not_the_room():
    bright, dim = render(SCENE, 0), render(showing(brightness=0.1), 0)

    assert around_symbol(dim, SCENE).mean() < 0.6 * around_symbol(bright, SCENE).mean()
    assert dim[:60, :60].mean() == pytest.approx(bright[:60, :60].mean(), abs=1)


def test_ambient_light_takes_contrast_from_the_screen():
    def contrast(ambient):
        scene = taken(ambient=ambient, exposure=0.5, noise=0)
        dark, light = np.percentile(around_symbol(render(scene, 0), scene), [5, 95])
        return (light - dark) / light

    assert contrast(20) < 0.7 * contrast(1)


def test_glare_is_a_bright_spot_where_it_was_put():
    luma = render(showing(glare=3, glare_x=0, glare_y=0, glare_mm=5), 0)

    assert luma[230:250, 310:330].min() > 240


def test_moire_needs_light():
    plain, beating = (render(showing(moire=m, inverted=True), 0).astype(int) for m in (0, 0.6))
    change = np.abs(beating - plain)

    assert change[plain > 150].mean() > 15
    assert change[plain < 30].mean() < 5


def test_bands_cross_the_screen_in_rows():
    scene = taken(banding=0.6, banding_period_px=40)
    rows = around_symbol(render(scene, 0), scene).mean(axis=1)

    assert rows.max() > 1.3 * rows.min()


def test_an_inverted_symbol_is_light_on_dark():
    usual, inverted = (
        around_symbol(render(scene, 0), SCENE) for scene in (SCENE, showing(inverted=True))
    )

    assert np.corrcoef(usual.ravel(), inverted.ravel())[0, 1] < -0.8


def test_a_dark_theme_darkens_the_page_and_not_the_card():
    usual, dark = (render(scene, 0) for scene in (SCENE, showing(dark_theme=True)))

    assert dark.mean() < usual.mean() - 10
    assert around_symbol(dark, SCENE).mean() == pytest.approx(
        around_symbol(usual, SCENE).mean(), abs=2
    )


def test_a_thumb_hides_the_more_of_the_symbol_the_deeper_it_lies():
    plain = render(SCENE, 0)

    def hidden(depth):
        change = np.abs(render(showing(covered=depth), 0).astype(int) - plain)
        return (around_symbol(change.astype(np.uint8), SCENE) > 40).mean()

    assert 0 < hidden(0.1) < hidden(0.3) < hidden(0.6)


def test_noise_is_as_strong_as_asked():
    silent = render(taken(noise=0), 0).astype(float)
    deviations = [(render(taken(noise=n), 0) - silent).std() for n in (0.3, 1, 2)]

    assert deviations == sorted(deviations)


def test_sharpening_overshoots_at_edges():
    assert sharpness(render(taken(sharpening=1, noise=0), 0)) > 1.5 * sharpness(
        render(taken(noise=0), 0)
    )


def test_a_camera_that_compresses_leaves_blocks():
    plain, packed = (render(taken(jpeg_quality=q), 0).astype(int) for q in (0, 30))

    assert 0.3 < np.abs(plain - packed).mean() < 5
