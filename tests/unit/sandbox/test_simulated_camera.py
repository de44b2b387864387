"""The simulated camera obeys as a webcam does, and a longer exposure costs what it costs."""

import dataclasses

import numpy as np
import pytest

from hardware.camera import CameraLostError
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.simulated_camera import (
    LATENCY_FRAMES,
    SUITS_A_SCREEN,
    SimulatedCamera,
    exposed,
)

PHONE = Phone(payload="50501234567890123456")
ROOM = Scene(phones=(PHONE,), place=3)
BOOTH = dataclasses.replace(ROOM, ambient=0.02)


def opened(*scenes, **how):
    camera = SimulatedCamera(scenes, seed=1, **how)
    camera.open()
    return camera


def settle(camera, frames=25):
    for _ in range(frames - 1):
        camera.read(1)
    return camera.read(1).luma


def test_at_the_usual_exposure_a_frame_is_that_of_the_renderer():
    luma = opened(ROOM, exposure=SUITS_A_SCREEN).read(1).luma

    assert np.array_equal(luma, render(ROOM, 1))


def test_frames_count_and_are_stamped_by_their_pace():
    camera = opened(ROOM, fps=10)
    frames = [camera.read(1) for _ in range(3)]

    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert [frame.captured_at_s for frame in frames] == [0, 0.1, 0.2]
    assert camera.number == 3


def test_the_last_scene_stays():
    camera = opened(ROOM, dataclasses.replace(ROOM, phones=()), exposure=SUITS_A_SCREEN)
    one, *others = (camera.read(1).luma.astype(int) for _ in range(3))

    assert np.abs(one - others[0]).mean() > 10
    assert np.abs(others[0] - others[1]).mean() < 5


def test_what_it_is_told_shows_two_frames_later():
    camera = opened(ROOM, exposure=SUITS_A_SCREEN)
    camera.read(1)

    assert camera.expose(10) == 10

    means = [camera.read(1).luma.mean() for _ in range(LATENCY_FRAMES + 2)]
    assert means[1] == pytest.approx(means[0], abs=1)
    assert means[2] < 0.6 * means[1]
    assert means[3] == pytest.approx(means[2], abs=1)


def test_it_takes_what_is_in_its_range():
    camera = opened(ROOM, fps=30)

    assert camera.expose(10_000) == 333  # the time between two frames
    assert camera.expose(0) == 1
    found = camera.exposure_range()
    assert (found.lowest, found.highest, found.now) == (1, 333, 1)


def test_its_own_control_holds_the_mean_wherever_it_is():
    sun = dataclasses.replace(ROOM, ambient=8.0, backlight=8.0)
    means = {place: settle(opened(place)).mean() for place in (ROOM, sun)}

    assert means[ROOM] == pytest.approx(110, abs=25)
    assert means[sun] == pytest.approx(110, abs=25)


def test_its_own_control_burns_out_a_screen_in_the_dark():
    empty = dataclasses.replace(BOOTH, phones=())
    camera = opened(*[empty] * 20, BOOTH)
    settle(camera, 20)
    exposure, gain = camera.in_effect

    assert exposure == 333
    assert gain > 1
    assert (camera.read(1).luma == 255).mean() > 0.1


def test_a_heavier_middle_spares_what_is_there():
    plain, weighted = (settle(opened(BOOTH, centre_weight=weight)).mean() for weight in (1.0, 8.0))

    assert weighted < plain


def test_set_by_hand_it_no_longer_adapts_or_amplifies():
    camera = opened(dataclasses.replace(BOOTH, phones=()))
    settle(camera)
    camera.expose(50)
    settle(camera)

    assert camera.in_effect == (50, 1.0)


def test_a_longer_exposure_takes_more_motion_and_fewer_bands():
    scene = dataclasses.replace(ROOM, motion_px=2.0, banding=0.2)
    short, long = exposed(scene, SUITS_A_SCREEN // 3), exposed(scene, SUITS_A_SCREEN * 3)

    assert short.motion_px < 2 < long.motion_px == pytest.approx(6)
    assert short.banding > 0.2 > long.banding
    assert exposed(scene, SUITS_A_SCREEN) == scene


def test_a_closed_camera_is_lost():
    camera = opened(ROOM)
    camera.close()

    with pytest.raises(CameraLostError):
        camera.read(1)
    with pytest.raises(CameraLostError):
        camera.expose(5)
