"""Draws the luma plane that a kiosk's camera would deliver.

The order is that of nature: the screen's bitmap, its place in space, the light of the room, the
lens, the exposure, the sensor, its noise, and at last eight bits with gamma.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.sandbox import optics, surroundings
from kiosk.sandbox.optics import Light, Luma
from kiosk.sandbox.phone import (
    Matrix,
    Phone,
    body_outline_mm,
    project,
    to_frame,
)
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.screen import draw_screen
from kiosk.sandbox.surroundings import View

_SCREEN_WHITE = 0.7  # light of a white pixel at full brightness
_GLASS_VEIL = 0.012  # light that the glass throws back where the ambient light is 1
_OVERSAMPLING = 2  # samples a pixel in each direction, of which the mean is taken
_MM_PER_INCH = 25.4


def render(scene: Scene, seed: int) -> Luma:
    """Draw a frame.

    Args:
        scene: What stands before the camera.
        seed: Of the noise; the same scene and seed give the same frame.

    Returns:
        uint8, shape (scene.height_px, scene.width_px), owned by the caller.
    """
    return take(see(scene), scene, seed)


def see(scene: Scene) -> View:
    """Draw what is before the lens; all that the camera does to it is left to `take`.

    Returns:
        What `take` may use any number of times, with the scene or with another that differs
        only in the camera's part: from `defocus_px` on, but for the banding.
    """
    place_rng = np.random.default_rng(scene.place)
    view = surroundings.draw_place(
        scene.width_px,
        scene.height_px,
        place_rng,
        ambient=scene.ambient * scene.backlight,
        clutter=scene.clutter,
    )
    for phone in scene.phones:
        _add_phone(view, phone, scene, place_rng)
    return view


def take(view: View, scene: Scene, seed: int) -> Luma:
    """Take the picture of a view.

    Returns:
        As `render`.
    """
    light = optics.blur(view.light, scene.defocus_px, scene.motion_px, scene.motion_deg)
    light *= view.beats  # moire arises where the sensor samples, after the lens has blurred
    if scene.flare > 0:
        light = optics.scatter(light, scene.flare)
    light = optics.expose(light, scene.exposure, scene.bloom)
    return optics.read_out(
        light,
        np.random.default_rng(seed),
        noise=scene.noise,
        gain=scene.gain,
        sharpening=scene.sharpening,
        jpeg_quality=scene.jpeg_quality,
    )


def corners(scene: Scene, phone: int = 0) -> NDArray[np.float32]:
    """Tell where a symbol truly is.

    Args:
        scene: The scene that was rendered.
        phone: Which of its phones.

    Returns:
        float32, shape (4, 2): x and y of the symbol's outer corners in pixels, without its quiet
        zone, in the symbol's own order: upper left, upper right, lower right, lower left. Whole
        numbers are the centres of pixels, as in OpenCV. They may lie outside of the frame.
    """
    shown = scene.phones[phone]
    homography = to_frame(shown, scene.width_px, scene.height_px)
    return (project(homography, shown.symbol_corners_mm) - 0.5).astype(np.float32)


def _add_phone(view: View, phone: Phone, scene: Scene, rng: np.random.Generator) -> None:
    """Draw a phone and the hand that holds it over what is already there."""
    homography = to_frame(phone, scene.width_px, scene.height_px)
    side = 0.0
    if phone.held:
        side = surroundings.draw_palm(view, phone, homography, rng, scene.ambient)
    _add_glass(view, phone, scene, homography)
    if phone.held:
        surroundings.draw_fingers(view, phone, homography, rng, scene.ambient, side)
    if phone.covered > 0:
        surroundings.draw_cover(view, phone, homography, scene.ambient)


def _add_glass(view: View, phone: Phone, scene: Scene, homography: Matrix) -> None:
    """Draw the front of a phone: its own light, and what its glass throws back."""
    outline = project(homography, body_outline_mm())
    low = np.maximum(np.floor(outline.min(axis=0)), 0).astype(int)
    high = np.ceil(outline.max(axis=0)).clip(0, (scene.width_px, scene.height_px)).astype(int)
    if np.any(high <= low):
        return
    area = (slice(low[1], high[1]), slice(low[0], high[0]))
    shape = view.light[area].shape
    fine = (shape[1] * _OVERSAMPLING, shape[0] * _OVERSAMPLING)
    n = float(_OVERSAMPLING)
    # From the frame to the fine grid, whose pixel (0, 0) has its centre at 0.
    to_fine = np.array([[n, 0, -n * low[0] - 0.5], [0, n, -n * low[1] - 0.5], [0, 0, 1]])

    screen = draw_screen(phone)
    shown = cv2.warpPerspective(
        optics.linear_table()[screen.bitmap],
        to_fine @ homography @ screen.to_mm,
        fine,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )
    emitted = _mean_over_pixels(shown, shape) * np.float32(_SCREEN_WHITE * phone.brightness)

    sixteenths = np.rint((outline - low) * n * 16 - 8).clip(-1e6, 1e6).astype(np.int32)
    mask = np.zeros((fine[1], fine[0]), dtype=np.uint8)
    cv2.fillPoly(mask, [sixteenths], 255, cv2.LINE_AA, 4)
    opacity = _mean_over_pixels(mask, shape) * np.float32(1 / 255)
    rim = np.zeros((fine[1], fine[0]), dtype=np.uint8)
    rim_px = max(1, round(1.2 * n * phone.px_per_mm))
    cv2.polylines(
        rim, [sixteenths], isClosed=True, color=255, thickness=rim_px, lineType=cv2.LINE_AA, shift=4
    )
    metal = _mean_over_pixels(rim, shape) * np.float32(0.06 * scene.ambient / 255)

    rows = np.arange(low[1], high[1], dtype=np.float32)[:, None]
    columns = np.arange(low[0], high[0], dtype=np.float32)[None, :]
    if scene.banding > 0:
        emitted *= _bands(scene, rows)
    x_mm, y_mm, inverse_depth = _on_glass(
        homography, columns + np.float32(0.5), rows + np.float32(0.5)
    )
    returned = metal + np.float32(_GLASS_VEIL * scene.ambient)
    if phone.glare > 0:
        returned = returned + _reflection(phone, x_mm, y_mm)
    opacity *= inverse_depth > 0  # behind the camera, the projection turns over
    beats = _pixel_grid(phone, x_mm, y_mm) if phone.moire > 0 else np.float32(1)
    view.light[area] += opacity * (emitted + returned - view.light[area])
    view.beats[area] += opacity * (beats - view.beats[area])


def _mean_over_pixels(fine: cv2.typing.MatLike, shape: tuple[int, ...]) -> Light:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _on_glass(homography: Matrix, x: Light, y: Light) -> tuple[Light, Light, Light]:
    """Map pixels to millimetres on the phone, and tell the inverse of their depth."""
    back = np.linalg.inv(homography).astype(np.float32)
    scale = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    safe = np.where(np.abs(scale) < 1e-9, np.float32(1e-9), scale)
    return (
        (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / safe,
        (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / safe,
        scale,
    )


def _bands(scene: Scene, rows: Light) -> Light:
    """A screen dimmed by pulses is dark for some rows of a rolling shutter: soft steps."""
    turn = 2 * math.pi * (rows / scene.banding_period_px + scene.banding_phase)
    pulse = 0.5 + 0.5 * np.tanh(2.5 * np.sin(turn))
    return np.asarray(1 - scene.banding * pulse, dtype=np.float32)


def _pixel_grid(phone: Phone, x_mm: Light, y_mm: Light) -> Light:
    """The screen's pixels, sampled once a sensor pixel: where both grids beat, moire appears."""
    turns = np.float32(2 * math.pi * phone.pixels_per_inch / _MM_PER_INCH)
    waves = np.cos(x_mm * turns) + np.cos(y_mm * turns)
    return np.asarray(1 + 0.5 * phone.moire * waves, dtype=np.float32)


def _reflection(phone: Phone, x_mm: Light, y_mm: Light) -> Light:
    """A lamp in the glass: bright to its edge, which is soft since it is far out of focus."""
    half = phone.symbol_mm / 2
    x = (x_mm - phone.glare_x * half) / (phone.glare_mm * phone.glare_stretch)
    y = (y_mm - phone.glare_y * half) / phone.glare_mm
    near = np.minimum(x * x + y * y, 16)
    core = np.exp(-near * near)
    halo = np.exp(-near / 4)
    return np.asarray(phone.glare * _SCREEN_WHITE * (core + 0.06 * halo), dtype=np.float32)
