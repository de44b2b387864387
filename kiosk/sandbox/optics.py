"""What the camera does to light: its lens, its sensor, its processing.

Light is linear until the sensor is read out.
"""

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]
Luma = NDArray[np.uint8]

_LENS_SIGMA_PX = 0.55  # even a sharp lens and the sensor's pixels are no pinhole
_ADC_STEPS = 4096
_FULL_WELL_ELECTRONS = 4000.0
_READ_NOISE_ELECTRONS = 9.0


def blur(light: Light, defocus_px: float, motion_px: float, motion_deg: float) -> Light:
    """Blur as the lens and the exposure time do.

    Args:
        light: float32, shape (height, width).
        defocus_px: Radius of the circle of confusion.
        motion_px: Length of the path during the exposure.
        motion_deg: Direction of the path.

    Returns:
        float32, same shape.
    """
    kernel = _blur_kernel(defocus_px, motion_px, motion_deg)
    return _light(cv2.filter2D(light, -1, kernel, borderType=cv2.BORDER_REPLICATE))


@functools.lru_cache(maxsize=64)
def _blur_kernel(defocus_px: float, motion_px: float, motion_deg: float) -> Light:
    """Point spread of lens, defocus and motion together, sampled four times a pixel."""
    fine = 4
    reach = math.ceil(defocus_px + motion_px / 2 + 3 * _LENS_SIGMA_PX)
    side = (2 * reach + 1) * fine
    y, x = np.mgrid[:side, :side].astype(np.float32) / fine + (0.5 / fine - reach - 0.5)
    angle = math.radians(motion_deg)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    # The distance from the path, which a disc of the defocus' radius sweeps.
    beyond = np.maximum(np.abs(along) - motion_px / 2, 0)
    spread = (np.hypot(beyond, across) <= max(defocus_px, 0.5)).astype(np.float32)
    spread = _light(cv2.GaussianBlur(spread, (0, 0), _LENS_SIGMA_PX * fine))
    kernel = spread.reshape(2 * reach + 1, fine, 2 * reach + 1, fine).sum(axis=(1, 3))
    return _light(kernel / kernel.sum())


def scatter(light: Light, flare: float) -> Light:
    """Spread a part of the light over the frame, as a lens with dust and fingers on it does.

    A bright screen then lifts what is dark around it, its own dark modules first.

    Returns:
        float32, same shape; the sum of the light stays about the same.
    """
    height, width = light.shape
    coarse = (max(width // 8, 1), max(height // 8, 1))
    small = cv2.resize(light, coarse, interpolation=cv2.INTER_AREA)
    halo = cv2.resize(cv2.GaussianBlur(small, (0, 0), 5.0), (width, height))
    everywhere = np.float32(0.3 * float(small.mean()))
    return _light(light + np.float32(flare) * (np.float32(0.7) * halo + everywhere - light))


def expose(light: Light, exposure: float, bloom: float) -> Light:
    """Collect light on the sensor; what it cannot hold spills over.

    Returns:
        float32, same shape, 0 to 1.
    """
    collected = _light(light * (exposure * _vignette(light.shape)))
    if bloom > 0 and float(collected.max()) > 1:
        excess = np.minimum(np.maximum(collected - 1, 0), 4)
        near = cv2.GaussianBlur(excess, (0, 0), 2.0)
        height, width = light.shape
        quarter = (max(width // 4, 1), max(height // 4, 1))
        small = cv2.resize(excess, quarter, interpolation=cv2.INTER_AREA)
        far = cv2.resize(cv2.GaussianBlur(small, (0, 0), 8.0), (width, height))
        collected = _light(collected + bloom * (0.5 * near + 0.08 * far))
    return np.clip(collected, 0, 1)


@functools.lru_cache(maxsize=8)
def _vignette(shape: Sequence[int]) -> Light:
    """A small lens gives its corners a fifth less light."""
    height, width = shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j] if min(shape) > 1 else (0, 0)
    return _light(np.broadcast_to(1 - 0.1 * (np.square(x) + np.square(y)), (height, width)))


def read_out(
    light: Light,
    rng: np.random.Generator,
    *,
    noise: float,
    gain: float = 1.0,
    sharpening: float = 0.0,
    jpeg_quality: int = 0,
) -> Luma:
    """Turn collected light into the luma plane that a driver hands over.

    Args:
        light: float32, shape (height, width), 0 to 1.
        rng: Where the noise comes from.
        noise: 1 is the noise of a cheap sensor.
        gain: Amplification, after which the noise of few electrons shows.
        sharpening: Strength of an unsharp mask.
        jpeg_quality: 1 to 100, or 0 for no compression.

    Returns:
        uint8, shape (height, width).
    """
    if noise > 0:
        electron = noise**2 / _FULL_WELL_ELECTRONS  # the light of one
        read_noise = (_READ_NOISE_ELECTRONS * electron) ** 2
        deviation = cv2.sqrt(light * np.float32(electron) + np.float32(read_noise))
        light = _light(light + deviation * rng.standard_normal(light.shape, dtype=np.float32))
    steps = np.clip(light * np.float32(gain * (_ADC_STEPS - 1)) + 0.5, 0, _ADC_STEPS - 1).astype(
        np.uint16
    )
    luma: Luma = _gamma()[steps]
    if sharpening > 0:
        soft = cv2.GaussianBlur(luma, (0, 0), 1.2)
        luma = np.asarray(
            cv2.addWeighted(luma, 1 + sharpening, soft, -sharpening, 0), dtype=np.uint8
        )
    if jpeg_quality > 0:
        _, packed = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
        luma = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return luma


@functools.lru_cache(maxsize=1)
def _gamma() -> Luma:
    """The transfer curve of sRGB (IEC 61966-2-1), as a table from 12 bits to 8."""
    x = np.arange(_ADC_STEPS) / (_ADC_STEPS - 1)
    curve = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curve), dtype=np.uint8)


@functools.lru_cache(maxsize=1)
def linear_table() -> Light:
    """Light of each level of an sRGB bitmap: float32, shape (256,), 0 to 1."""
    level = np.arange(256) / 255
    return _light(np.where(level <= 0.04045, level / 12.92, np.power((level + 0.055) / 1.055, 2.4)))


def _light(array: object) -> Light:
    return np.asarray(array, dtype=np.float32)
