"""Scenes by the thousand: what customers do, from a seed and a severity."""

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence

import numpy as np

from kiosk.sandbox.phone import Phone
from kiosk.sandbox.scene import Scene


def random_payload(rng: np.random.Generator) -> str:
    """Invent a payment code: twenty digits, none of them anyone's."""
    return "5050" + "".join(str(digit) for digit in rng.integers(0, 10, 16))


def easy_scene(rng: np.random.Generator) -> Scene:
    """A phone held still, near, level, in a lit room: any decoder reads it."""
    return random_scene(rng, 0.05)


def hard_scene(rng: np.random.Generator) -> Scene:
    """Far, tilted, blurred, badly lit, several at once: the best decoders read some of these."""
    return random_scene(rng, 0.9)


def random_scene(rng: np.random.Generator, severity: float) -> Scene:
    """Draw lots for a scene with one QR symbol.

    Args:
        rng: Decides everything; the same state gives the same scene.
        severity: 0 is as easy as it gets, 1 is at the edge of what can be read. Each kind of
            difficulty becomes likelier and stronger.

    Returns:
        A scene of 640 x 480.
    """

    def strength(likelihood: float = 0.5) -> float:
        """How strong an effect is: 0 where it does not occur, else up to the severity."""
        occurs = rng.random() < likelihood * min(1.0, 0.1 + severity)
        amount = severity * (1 - rng.random() ** 2)
        return float(amount) if occurs else 0.0

    level = float(rng.choice([0, 0, 0, 0, 1, 2, 3]))
    module_px = float(np.exp(rng.uniform(math.log(6.5 - 4.3 * severity), math.log(9.5))))
    light = _random_light(rng, strength)
    centre_x, centre_y = _random_place(rng, module_px)
    phone = Phone(
        payload=random_payload(rng),
        ec_level="MLQH"[int(level)],
        symbol_mm=float(rng.uniform(34, 48)),
        quiet_modules=2 if strength(0.3) > 0.4 else 4,
        dark_theme=bool(rng.random() < 0.3),
        inverted=strength(0.25) > 0.25,
        brightness=light["brightness"],
        pixels_per_inch=float(rng.uniform(260, 520)),
        module_px=module_px,
        rotation_deg=float(rng.normal(0, 3 + 14 * severity)) + 180.0 * (strength(0.15) > 0.2),
        tilt_x_deg=float(np.clip(rng.normal(0, 3 + 22 * severity), -58, 58)),
        tilt_y_deg=float(np.clip(rng.normal(0, 3 + 18 * severity), -55, 55)),
        centre_x=centre_x,
        centre_y=centre_y,
        covered=0.2 * strength(0.25),
        covered_from_deg=float(rng.uniform(-10, 190)),
        glare=2.2 * strength(0.4),
        glare_x=float(rng.uniform(-1.2, 1.2)),
        glare_y=float(rng.uniform(-1.2, 1.2)),
        glare_mm=float(rng.uniform(3, 5 + 5 * severity)),
        glare_stretch=float(rng.uniform(1, 3.5)),
        moire=0.6 * strength(0.35),
    )
    blur_px = 0.5 * module_px  # what a symbol bears depends on its size
    return Scene(
        phones=(phone,),
        place=int(rng.integers(2**31)),
        ambient=light["ambient"],
        clutter=float(rng.uniform(0.2, 1)),
        defocus_px=min(1.7 * blur_px * strength(0.6), 8.0),
        motion_px=min(2.6 * blur_px * strength(0.45), 16.0),
        motion_deg=float(rng.uniform(0, 180)),
        exposure=light["exposure"],
        bloom=float(rng.uniform(0.2, 0.5)),
        banding=0.75 * strength(0.3),
        banding_period_px=float(rng.uniform(30, 200)),
        banding_phase=float(rng.random()),
        noise=float(rng.uniform(0.2, 0.5 + 1.2 * severity)),
        sharpening=float(rng.choice([0.0, 0.0, 0.5, 1.0])),
        jpeg_quality=int(rng.choice([0, 0, 90, 75])) if severity > 0.3 else 0,
    )


def _random_light(rng: np.random.Generator, strength: Callable[[float], float]) -> dict[str, float]:
    """Room, screen and exposure belong together: one of them is wrong, seldom two."""
    light = {
        "ambient": float(rng.uniform(0.3, 1.6)),
        "brightness": float(rng.uniform(0.7, 1.0)),
        "exposure": float(rng.uniform(0.8, 1.2)),
    }
    amount = strength(0.9)
    match rng.integers(4):
        case 0:  # a dim phone
            light["brightness"] *= math.exp(-3.2 * amount)
        case 1:  # a camera that exposes for a dark booth
            light["exposure"] *= math.exp(2.6 * amount)
        case 2:  # sun on the phone, and a camera that stops down for it
            light["ambient"] += 9 * amount
            light["exposure"] *= 1 - 0.6 * amount
        case _:  # a camera blinded by a window
            light["exposure"] *= math.exp(-3.0 * amount)
    return light


def _random_place(rng: np.random.Generator, module_px: float) -> tuple[float, float]:
    """Somewhere in the frame, mostly whole."""
    half = 12.5 * module_px
    reach_x, reach_y = max(0.0, 0.5 - half / 640), max(0.0, 0.5 - half / 480)
    return (
        0.5 + float(np.clip(rng.normal(0, 0.4), -1, 1)) * reach_x,
        0.5 + float(np.clip(rng.normal(0, 0.4), -1, 1)) * reach_y,
    )


def visit(
    rng: np.random.Generator, severity: float, *, frames: int = 60, fps: float = 30.0
) -> list[Scene]:
    """A customer brings a phone before the camera, and tries to hold it still.

    Args:
        rng: Decides everything.
        severity: As for `random_scene`; it also makes the hand unsteady.
        frames: How many scenes.
        fps: Frames a second.

    Returns:
        One scene a frame: the phone comes nearer and turns to the camera within a second, is
        blurred by its own speed, and is out of focus until the lens has followed.
    """
    held = random_scene(rng, severity)
    goal = held.phones[0]
    arrival_s = float(rng.uniform(0.4, 1.2))
    start = np.array([rng.uniform(-0.7, 0.7), rng.uniform(0.5, 1.1)])  # from below, to a side
    turn_deg = rng.normal(0, 35, 3)
    shake_px = 1.0 + 5.0 * severity
    swing_hz, swing = rng.uniform(1.5, 6.0, 2), rng.uniform(0, 2 * math.pi, 2)
    scenes: list[Scene] = []
    before = None
    for number in range(frames):
        time_s = number / fps
        away = math.exp(-3.5 * time_s / arrival_s)
        sway = shake_px * np.sin(2 * math.pi * swing_hz * time_s + swing)
        place = np.array([goal.centre_x, goal.centre_y]) + away * start
        place = place + sway / (held.width_px, held.height_px)
        moved = np.zeros(2) if before is None else place - before
        before = place
        # The shutter is open for a third of a frame's time.
        path = moved * (held.width_px, held.height_px) / 3
        motion_px = float(np.hypot(*path)) + held.motion_px * 0.3
        phone = dataclasses.replace(
            goal,
            module_px=goal.module_px * (1 - 0.6 * away),
            rotation_deg=goal.rotation_deg + turn_deg[0] * away,
            tilt_x_deg=float(np.clip(goal.tilt_x_deg + turn_deg[1] * away, -65, 65)),
            tilt_y_deg=float(np.clip(goal.tilt_y_deg + turn_deg[2] * away, -65, 65)),
            centre_x=float(place[0]),
            centre_y=float(place[1]),
        )
        scene = dataclasses.replace(
            held,
            phones=(phone,),
            defocus_px=held.defocus_px + 3.0 * away,
            motion_px=min(motion_px, 30.0),
            motion_deg=math.degrees(math.atan2(path[1], path[0])),
            banding_phase=held.banding_phase + 0.37 * number,
        )
        scenes.append(scene)
    return scenes


class Situation(enum.StrEnum):
    """Where a kiosk stands. What a scene calls ambient light 1 is some 400 lux.

    BOOTH is 4 to 40 lux: night, or a dim corridor; the screen is tens of times brighter than a
    white wall. In SUN the phone is in the kiosk's shade, and what is behind it is not.
    """

    BOOTH = "booth"
    ROOM = "room"
    SUN = "sun"


def relight(scenes: Sequence[Scene], situation: Situation, rng: np.random.Generator) -> list[Scene]:
    """Move a visit to where the light is as the situation says, before a lens with some dust.

    The exposure is that for a bright screen in a lit room: whoever takes the picture sets it.
    """

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(math.log(low), math.log(high))))

    match situation:
        case Situation.BOOTH:
            ambient, backlight, brightness = between(0.01, 0.1), 1.0, rng.uniform(0.5, 1)
        case Situation.ROOM:
            ambient, backlight, brightness = between(0.5, 1.6), 1.0, rng.uniform(0.3, 1)
        case Situation.SUN:
            ambient, backlight = between(3, 12), between(3, 15)
            brightness = rng.uniform(0.3, 1.5)  # many phones turn it up in the sun
    flare = float(rng.uniform(0.02, 0.1))
    return [
        dataclasses.replace(
            scene,
            phones=tuple(
                dataclasses.replace(phone, brightness=float(brightness)) for phone in scene.phones
            ),
            ambient=ambient,
            backlight=backlight,
            exposure=1.0,
            flare=flare,
        )
        for scene in scenes
    ]
