"""What is in the frame beside the phone: the place, the customer, their hand."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from kiosk.sandbox.optics import Light
from kiosk.sandbox.phone import LEFT_MM, RIGHT_MM, Matrix, Phone, Points, project


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is before the lens, drawn from the far to the near.

    Attributes:
        light: float32, shape (height, width): linear light.
        beats: float32, same shape: factor on the light that the sensor's grid adds after the
            lens, 1 where it adds nothing.
    """

    light: Light
    beats: Light


_SKIN = 0.42  # albedo of skin in the light that a camera sees
_WHITE = 0.28  # light of a white wall where the ambient light is 1


def draw_place(
    width_px: int, height_px: int, rng: np.random.Generator, *, ambient: float, clutter: float
) -> View:
    """Draw a room behind the customer, out of focus since the lens looks at the phone.

    Returns:
        A view to draw phones and hands into.
    """
    # A quarter of the frame's resolution is enough for what is out of focus.
    width, height = max(width_px // 4, 8), max(height_px // 4, 8)
    top, bottom = rng.uniform(0.2, 0.6), rng.uniform(0.06, 0.3)
    ramp = np.linspace(top, bottom, height, dtype=np.float32)[:, None]
    room = np.ascontiguousarray(np.broadcast_to(ramp, (height, width)))

    for _ in range(round(3 + 16 * clutter)):  # doors, shelves, posters
        x, y = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 0.8) * height
        w, h = rng.uniform(0.05, 0.4) * width, rng.uniform(0.08, 0.6) * height
        level = float(np.clip(rng.lognormal(-1.6, 0.7), 0.01, 0.9))
        cv2.rectangle(room, (int(x), int(y)), (int(x + w), int(y + h)), level, -1)
        if rng.random() < 0.5 * clutter:  # rows of goods or lines of print
            for line in range(int(y), int(y + h), 5):
                cv2.line(room, (int(x), line), (int(x + w), line), level * 0.4, 2)
    cv2.GaussianBlur(room, (0, 0), 0.7 + 1.8 * rng.random(), dst=room)

    for _ in range(rng.integers(0, 2 + round(3 * clutter))):  # lamps under the ceiling, windows
        x, y = rng.uniform(0, 1) * width, rng.uniform(0, 0.3) * height
        axes = (int(rng.uniform(0.02, 0.09) * width), int(rng.uniform(0.01, 0.05) * height) + 1)
        cv2.ellipse(room, (int(x), int(y)), axes, rng.uniform(-20, 20), 0, 360, 3.5, -1)
    _draw_customer(room, rng)
    cv2.GaussianBlur(room, (0, 0), 1.0, dst=room)
    full = cv2.resize(room, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    light = np.asarray(np.maximum(full, 0.003) * (_WHITE * ambient), dtype=np.float32)
    return View(light, np.ones_like(light))


def _draw_customer(room: Light, rng: np.random.Generator) -> None:
    """A head and shoulders, nearer than the room, and darker: the lamps are behind."""
    height, width = room.shape
    x = rng.uniform(0.3, 0.7) * width
    y = rng.uniform(0.0, 0.3) * height
    clothes = float(rng.choice([0.03, 0.06, 0.12, 0.3, 0.55]))
    shoulder = rng.uniform(0.32, 0.45) * width
    body = (int(x), int(y + 0.95 * height))
    cv2.ellipse(room, body, (int(shoulder), int(0.7 * height)), 0, 0, 360, clothes, -1)
    fold = (int(x + 0.2 * shoulder), int(y + 1.1 * height))
    cv2.ellipse(room, fold, (int(0.6 * shoulder), int(0.75 * height)), 8, 0, 360, clothes * 0.8, -1)
    head = (int(0.13 * width), int(0.24 * height))
    cv2.ellipse(room, (int(x), int(y)), head, 0, 0, 360, 0.22, -1)
    hair = (int(x), int(y - 0.12 * height))
    cv2.ellipse(room, hair, (head[0] + 1, int(0.17 * height)), 0, 0, 360, 0.03, -1)


def draw_palm(
    view: View, phone: Phone, homography: Matrix, rng: np.random.Generator, ambient: float
) -> float:
    """Draw the part of the hand that is behind the phone.

    Returns:
        The side of the palm: 1 for a left hand, whose thumb is on the phone's left, or -1.
    """
    side = 1.0 if rng.random() < 0.4 else -1.0
    level = _skin_light(ambient, 0.0)
    sleeve = np.array([[-side * 34.0, 150.0], [-side * 75.0, 300.0]])
    _draw_limb(view, homography, sleeve, 78, phone, level * rng.uniform(0.1, 1.2))
    wrist = np.array([[-side * 16.0, 92.0], [-side * 38.0, 165.0]])
    _draw_limb(view, homography, wrist, 54, phone, level * 0.75)
    heel = np.array([[-side * 22.0, 60.0], [-side * 16.0, 96.0]])
    _draw_limb(view, homography, heel, 50, phone, level * 0.8)
    return side


def draw_fingers(
    view: View,
    phone: Phone,
    homography: Matrix,
    rng: np.random.Generator,
    ambient: float,
    side: float,
) -> None:
    """Draw finger tips around one edge of the phone and the thumb on the other."""
    level = _skin_light(ambient, phone.brightness)
    edge = RIGHT_MM if side > 0 else LEFT_MM
    first = rng.uniform(-6, 14)
    for finger, (length, width) in enumerate(((3.0, 15), (5.5, 16), (4.5, 15.5), (1.5, 13))):
        y = first + 17.5 * finger + rng.uniform(-1, 1)
        tip = edge - side * (length + rng.uniform(-2, 1) - width / 2)
        path = np.array([[tip, y - 1.5], [edge + side * 5, y + rng.uniform(1, 4)]])
        _draw_limb(view, homography, path, width, phone, level)
    y = rng.uniform(18, 38)
    base = np.array([-edge - side * 7, y + 38])
    ball = np.array([base, [-edge + side * 2, y + 62]])
    _draw_limb(view, homography, ball, 31, phone, level * 0.85)
    thumb = np.array([[-edge + side * 0.5, y], [-edge - side * 6.5, y + 22]])
    _draw_limb(view, homography, thumb, 19, phone, level)
    _draw_limb(view, homography, np.array([thumb[1], base]), 24, phone, level * 0.95)


def draw_cover(view: View, phone: Phone, homography: Matrix, ambient: float) -> None:
    """Draw the thumb that hides a part of the symbol."""
    angle = math.radians(phone.covered_from_deg)
    way = np.array([math.cos(angle), math.sin(angle)])
    half = np.array(phone.columns_and_rows) * phone.module_mm / 2
    reach = float(np.min(half / np.maximum(np.abs(way), 1e-6)))  # from the centre to the rim
    tip = way * (reach - phone.covered * phone.symbol_mm + 9)  # the thumb is round: 9 mm radius
    path = np.array([tip, tip + way * 75 + np.array([0, 12.0])])
    _draw_limb(view, homography, path, 18, phone, _skin_light(ambient, phone.brightness))


def _skin_light(ambient: float, brightness: float) -> float:
    return _SKIN * (_WHITE * ambient + 0.1 * brightness) + 0.002


def _draw_limb(
    view: View, homography: Matrix, path_mm: Points, width_mm: float, phone: Phone, level: float
) -> None:
    """Draw a part of a hand: a capsule, slimmer at its first end, shaded like a cylinder."""
    height, width = view.light.shape
    radius = max(width_mm * phone.px_per_mm / 2, 1.0)
    ends = np.clip(project(homography, path_mm), -4 * width, 5 * width)
    low = np.maximum(np.floor(ends.min(axis=0) - radius - 2), 0).astype(int)
    high = np.minimum(np.ceil(ends.max(axis=0) + radius + 2), (width, height)).astype(int)
    if np.any(high <= low):
        return
    x = np.arange(low[0], high[0], dtype=np.float32)[None, :] + np.float32(0.5)
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] + np.float32(0.5)
    (x0, y0), (dx, dy) = ends[0], ends[1] - ends[0]
    length_2 = max(dx * dx + dy * dy, 1e-6)
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / length_2, 0, 1).astype(np.float32)
    away_x, away_y = x - x0 - along * dx, y - y0 - along * dy
    taper = np.float32(radius) * (np.float32(0.86) + np.float32(0.14) * along)
    distance = np.sqrt(away_x * away_x + away_y * away_y) / taper
    opacity = np.clip((1 - distance) * radius + 0.5, 0, 1)
    roundness = np.sqrt(np.clip(1 - distance * distance, 0, 1))
    lit = 1 - 0.25 * away_y / radius  # the lamps are above
    shade = level * (0.3 + 0.7 * roundness) * lit
    area = (slice(low[1], high[1]), slice(low[0], high[0]))
    view.light[area] += opacity * (shade - view.light[area])
    view.beats[area] += opacity * (1 - view.beats[area])
