"""Scenes by the thousand."""

import numpy as np
import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st

from kiosk.sandbox.corpus import easy_scene, hard_scene, random_payload, random_scene, visit
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
