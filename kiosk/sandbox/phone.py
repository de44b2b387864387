"""A phone in front of the kiosk: what it shows, and how it is held before the camera.

Lengths on the phone are millimetres from the centre of the symbol, x to the right and y down.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kiosk.sandbox.symbols import Kind, draw_modules

Matrix = NDArray[np.float64]
Points = NDArray[np.float64]

# A usual phone: 72 x 150 mm, the symbol a little above the middle.
LEFT_MM, RIGHT_MM, TOP_MM, BOTTOM_MM = -36.0, 36.0, -66.0, 84.0
_ROUNDING_MM = 9.0
_FOCAL_LENGTH = 1.0  # in widths of the frame: a horizontal field of view of 53 degrees


@dataclass(frozen=True, kw_only=True, slots=True)
class Phone:
    """A phone, its screen, and its pose before the camera.

    Attributes:
        payload: The text in the symbol.
        kind: The kind of symbol.
        ec_level: Error correction of a QR symbol: L, M, Q or H.
        symbol_mm: Longer side of the symbol on the glass, up to 66.
        quiet_modules: Width of the light margin around the symbol.
        dark_theme: The app's surroundings of the symbol are dark.
        inverted: Light modules on dark.
        brightness: Light of a white pixel; 1 is full brightness in a lit room.
        pixels_per_inch: Density of the screen, for moire.
        module_px: Size of a module in the frame, at the symbol's centre and without tilt.
        rotation_deg: Turn in the plane of the frame, clockwise.
        tilt_x_deg: Turn about the phone's short axis, -70 to 70; positive leans the top away.
        tilt_y_deg: Turn about the phone's long axis, -70 to 70.
        centre_x: Where the symbol's centre is in the frame, in widths of the frame.
        centre_y: The same in heights of the frame.
        held: A hand holds the phone.
        covered: How deep a thumb lies over the symbol, in sides of the symbol.
        covered_from_deg: Where the thumb comes from; 0 is the right side, 90 the bottom.
        glare: Light of a lamp's reflection on the glass; 1 is as bright as a white pixel.
        glare_x: Where the reflection is, in halves of the symbol from its centre.
        glare_y: The same, downwards.
        glare_mm: Radius of the reflection.
        glare_stretch: Length of the reflection over its width.
        moire: Depth of the pattern between the screen's pixels and the sensor's, 0 to 1.
    """

    payload: str
    kind: Kind = Kind.QR
    ec_level: str = "M"
    symbol_mm: float = 42.0
    quiet_modules: int = 4
    dark_theme: bool = False
    inverted: bool = False
    brightness: float = 1.0
    pixels_per_inch: float = 401.0
    module_px: float = 7.0
    rotation_deg: float = 0.0
    tilt_x_deg: float = 0.0
    tilt_y_deg: float = 0.0
    centre_x: float = 0.5
    centre_y: float = 0.5
    held: bool = True
    covered: float = 0.0
    covered_from_deg: float = 90.0
    glare: float = 0.0
    glare_x: float = 0.0
    glare_y: float = 0.0
    glare_mm: float = 8.0
    glare_stretch: float = 1.0
    moire: float = 0.0

    @property
    def columns_and_rows(self) -> tuple[int, int]:
        """Size of the symbol in modules; that of the smallest QR symbol where there is none."""
        rows, columns = draw_modules(self.kind, self.payload, self.ec_level).shape
        return (columns, rows) if columns else (21, 21)

    @property
    def module_mm(self) -> float:
        """Size of a module on the glass."""
        return self.symbol_mm / max(self.columns_and_rows)

    @property
    def px_per_mm(self) -> float:
        """Scale in the frame at the symbol's centre."""
        return self.module_px / self.module_mm

    @property
    def symbol_corners_mm(self) -> Points:
        """Shape (4, 2): upper left, upper right, lower right, lower left of the symbol."""
        columns, rows = self.columns_and_rows
        half = np.array([columns, rows]) * self.module_mm / 2
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half


def to_frame(phone: Phone, width_px: int, height_px: int) -> Matrix:
    """Where the phone's glass is in the frame.

    Returns:
        float64, shape (3, 3): homography from millimetres on the phone to the frame, where pixel
        (0, 0) covers 0 to 1. The third coordinate is the depth, positive before the camera.
    """
    focal_px = _FOCAL_LENGTH * width_px
    roll, pitch, yaw = (
        math.radians(angle) for angle in (phone.rotation_deg, phone.tilt_x_deg, phone.tilt_y_deg)
    )
    about_z = np.array(
        [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
    )
    about_y = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    turn = about_z @ about_x @ about_y
    depth_mm = focal_px / phone.px_per_mm
    middle = np.array([width_px / 2, height_px / 2])
    place_px = np.array([phone.centre_x * width_px, phone.centre_y * height_px])
    shift_mm = np.append((place_px - middle) * depth_mm / focal_px, depth_mm)
    camera = np.array([[focal_px, 0, middle[0]], [0, focal_px, middle[1]], [0, 0, 1]])
    return np.asarray(camera @ np.column_stack([turn[:, 0], turn[:, 1], shift_mm]))


def project(homography: Matrix, points_mm: Points, nearest_mm: float = 20.0) -> Points:
    """Map points on the phone into the frame.

    Args:
        homography: From `to_frame`.
        points_mm: Shape (n, 2).
        nearest_mm: Points behind the camera are drawn at this depth, far outside of the frame.

    Returns:
        float64, shape (n, 2), in pixels.
    """
    mapped = np.column_stack([points_mm, np.ones(len(points_mm))]) @ homography.T
    return np.asarray(mapped[:, :2] / np.maximum(mapped[:, 2:], nearest_mm))


def body_outline_mm() -> Points:
    """Shape (n, 2): the rounded outline of the phone."""
    quarter = np.linspace(0, math.pi / 2, 8)
    x, y, r = RIGHT_MM, BOTTOM_MM, _ROUNDING_MM
    arcs = [
        ((x - r, y - r), 0.0),
        ((LEFT_MM + r, y - r), math.pi / 2),
        ((LEFT_MM + r, TOP_MM + r), math.pi),
        ((x - r, TOP_MM + r), 3 * math.pi / 2),
    ]
    return np.concatenate(
        [
            np.column_stack([cx + r * np.cos(quarter + turn), cy + r * np.sin(quarter + turn)])
            for (cx, cy), turn in arcs
        ]
    )
