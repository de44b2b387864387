"""What stands before the camera, and the camera itself, as plain values."""

from dataclasses import dataclass

from kiosk.sandbox.phone import Phone


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All that decides a frame, but for the noise.

    Light is linear: 1 is the most that the sensor holds. A white pixel of a phone at full
    brightness gives 0.7 at exposure 1, a white wall in a room with ambient light 1 gives 0.28.

    Attributes:
        phones: The phones, the nearest last; none is an empty place.
        width_px: Columns of the frame.
        height_px: Rows of the frame.
        place: Which of endless places this is: the background, the customer, their hand.
        ambient: Light of the place; 0 is night, 1 a lit room, 5 sun on the phone.
        backlight: Factor on the light of all that is behind the phone; above 1 the customer has
            the sun behind them, below 1 the phone is under the only lamp.
        clutter: How much there is to see in the background, 0 to 1.
        defocus_px: Radius of the circle that a point becomes.
        motion_px: Path of the phone during the exposure.
        motion_deg: Direction of that path; 0 is along the rows.
        exposure: Factor on the light; 1 suits a bright screen.
        gain: Factor on what the sensor collected, and on its noise.
        bloom: Part of the light beyond full scale that spills into the neighbourhood, 0 to 1.
        flare: Part of all light that a cheap or dusty lens scatters widely, 0 to 1.
        banding: Depth of the bands that a dimmed screen leaves on a rolling shutter, 0 to 1.
        banding_period_px: Rows from one band to the next.
        banding_phase: Where the first band begins, in periods.
        noise: Shot and read noise; 1 is a cheap sensor in a lit room.
        sharpening: Strength of the camera's own sharpening, which leaves halos.
        jpeg_quality: 1 to 100 for a camera that compresses (MJPG); 0 for one that does not.
    """

    phones: tuple[Phone, ...] = ()
    width_px: int = 640
    height_px: int = 480
    place: int = 0
    ambient: float = 1.0
    backlight: float = 1.0
    clutter: float = 0.5
    defocus_px: float = 0.0
    motion_px: float = 0.0
    motion_deg: float = 0.0
    exposure: float = 1.0
    gain: float = 1.0
    bloom: float = 0.3
    flare: float = 0.0
    banding: float = 0.0
    banding_period_px: float = 90.0
    banding_phase: float = 0.0
    noise: float = 0.5
    sharpening: float = 0.0
    jpeg_quality: int = 0
