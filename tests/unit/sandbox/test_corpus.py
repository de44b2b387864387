"""Scenes by the thousand."""

import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from kiosk.sandbox.corpus import (
    Situation,
    easy_scene,
    hard_scene,
    random_payload,
    random_scene,
    relight,
    visit,
)
from kiosk.sandbox.renderer import render


def is_read(scene, seed: int) -> bool:
    """Whether a plain decoder reads what the scene's phone shows. It must never read else."""
    found = zxingcpp.read_barcodes(
        render(scene, seed), formats=zxingcpp.BarcodeFormat.QRCodeModel2, try_rotate=False
    )
    assert {symbol.text for symbol in found} <= {scene.phones[0].payload}
    return bool(found)


@given(st.integers(0, 2**63), st.floats(0, 1))
def test_a_seed_and_a_severity_decide_the_scene(seed, severity):
    one, other = (random_scene(np.random.default_rng(seed), severity) for _ in range(2))

    assert one == other


@given(st.integers(0, 2**63))
def test_invented_codes_look_like_codes(seed):
    payload = random_payload(np.random.default_rng(seed))

    assert payload.isascii()
    assert payload.isdecimal()
    assert len(payload) == 20
    assert payload.startswith("5050")


def test_easy_scenes_are_all_read_and_hard_ones_seldom():
    rng = np.random.default_rng(1)
    easy = [is_read(easy_scene(rng), seed) for seed in range(15)]
    hard = [is_read(hard_scene(rng), seed) for seed in range(30)]

    assert all(easy)
    assert 0 < sum(hard) < 20


def test_a_visitor_comes_nearer_and_is_read_in_the_end():
    scenes = visit(np.random.default_rng(5), 0.1, frames=45)
    sizes = [scene.phones[0].module_px for scene in scenes]

    assert len(scenes) == 45
    assert sizes == sorted(sizes)
    assert not is_read(scenes[0], 0)
    assert is_read(scenes[-1], 44)


def test_a_visitor_stays_who_they_are():
    scenes = visit(np.random.default_rng(6), 0.5, frames=20)

    assert len({(scene.place, scene.phones[0].payload) for scene in scenes}) == 1


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_every_frame_of_a_visit_can_be_drawn(severity):
    for number, scene in enumerate(visit(np.random.default_rng(7), severity, frames=12, fps=10)):
        assert render(scene, number).shape == (480, 640)


@pytest.mark.parametrize("situation", Situation)
@given(seed=st.integers(0, 2**63))
def test_a_visit_elsewhere_is_the_same_but_for_the_light(situation, seed):
    scenes = visit(np.random.default_rng(seed), 0.4, frames=3)
    one, other = (relight(scenes, situation, np.random.default_rng(seed)) for _ in range(2))

    assert one == other
    assert len({(s.ambient, s.backlight, s.flare, s.phones[0].brightness) for s in one}) == 1
    for before, after in zip(scenes, one, strict=True):
        assert after.place == before.place
        assert after.motion_px == before.motion_px
        assert after.phones[0].module_px == before.phones[0].module_px


def test_a_booth_is_dark_and_the_sun_is_behind_the_phone():
    scenes = visit(np.random.default_rng(1), 0.4, frames=1)
    booth, room, sun = (relight(scenes, s, np.random.default_rng(2))[0] for s in Situation)

    assert booth.ambient < 0.2 * room.ambient < room.ambient < sun.ambient
    assert booth.backlight == room.backlight == 1 < sun.backlight
