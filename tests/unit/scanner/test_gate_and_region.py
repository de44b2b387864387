"""What counts as a still scene, and where in a frame a code is looked for."""

import numpy as np
import pytest

from kiosk.sandbox import corpus, renderer
from kiosk.scanner.gate import Gate
from kiosk.scanner.region import find_regions, halve

ROOM = np.full((480, 640), 90, np.uint8)


def noisy(luma, seed, sigma=3.0):
    noise = np.random.default_rng(seed).normal(0, sigma, luma.shape)
    return np.clip(luma + noise, 0, 255).astype(np.uint8)


def test_the_first_frame_is_a_change():
    assert not Gate().still(ROOM)


def test_noise_is_no_change():
    gate = Gate()
    gate.remember(noisy(ROOM, 1))
    assert all(gate.still(noisy(ROOM, seed)) for seed in range(2, 30))


@pytest.mark.parametrize("seed", range(12))
def test_a_phone_that_comes_into_view_is_a_change(seed):
    rng = np.random.default_rng(seed)
    there = corpus.random_scene(rng, 0.7)
    nobody = renderer.render(
        type(there)(place=there.place, ambient=there.ambient, exposure=there.exposure), 1
    )
    gate = Gate()
    gate.remember(nobody)
    assert not gate.still(renderer.render(there, 2))


def test_a_frame_of_another_size_is_a_change():
    gate = Gate()
    gate.remember(ROOM)
    assert not gate.still(ROOM[:240, :320])


@pytest.mark.parametrize("view", [ROOM[:, ::2], ROOM[::-1, ::-1], ROOM.T, ROOM[:3, :3], ROOM[:20]])
def test_any_layout_has_samples(view):
    gate = Gate()
    gate.remember(view)
    assert gate.still(view)


def test_the_symbol_lies_in_the_region_of_what_can_be_read():
    rng = np.random.default_rng(5)
    inside, size = [], []
    for seed in range(60):
        scene = corpus.random_scene(rng, 0.6)
        luma = renderer.render(scene, seed)
        corners = renderer.corners(scene)
        left, top = np.maximum(corners.min(axis=0), 0)
        right, bottom = np.minimum(corners.max(axis=0), (639, 479))
        regions = find_regions(luma)
        inside.append(
            any(
                columns.start <= left
                and right < columns.stop
                and rows.start <= top
                and bottom < rows.stop
                for rows, columns in regions
            )
        )
        size.append(luma[regions[0]].size / luma.size if regions else 0)
    assert np.mean(inside) >= 0.9
    assert np.median(size) <= 0.3


def test_a_bare_wall_has_no_region():
    assert find_regions(ROOM) == []


def test_a_small_frame_is_its_own_region():
    small = ROOM[:90, :300]
    [region] = find_regions(small)
    assert small[region].shape == small.shape


def test_two_places_are_two_regions():
    luma = ROOM.copy()
    rng = np.random.default_rng(1)
    luma[40:400, 20:260] = rng.integers(60, 130, (360, 240))  # a large, faint pattern
    luma[200:280, 500:580] = rng.choice([0, 255], (80, 80))  # a small, strong one
    luma[40:400, 20:260] = np.where(rng.random((360, 240)) < 0.5, 0, 160)
    first, second = find_regions(luma)
    assert luma[first].size > luma[second].size


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (481, 641)])
def test_anything_can_be_halved(shape):
    half = halve(np.zeros(shape, np.uint8))
    assert half.shape == tuple(max(1, side // 2) for side in shape)


def test_luma_between_other_bytes_is_halved_without_laying_it_out():
    packed = np.random.default_rng(1).integers(0, 256, (480, 1280), dtype=np.uint8)
    assert halve(packed[:, ::2]).shape == (240, 320)
