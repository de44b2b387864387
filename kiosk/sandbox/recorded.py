"""The recorded frames: those under `tests/data/`, and the demo's customers.

    python -m kiosk.sandbox.recorded DIR          writes the frames for the tests
    python -m kiosk.sandbox.recorded --hard DIR   writes those that a plain decoder misses
    python -m kiosk.sandbox.recorded --demo DIR   writes the frames of `kiosk demo`

A frame is a PNG; the `.txt` beside it holds the payloads that the scanner must report, sorted,
one a line. An empty one: nothing here may be read.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kiosk.sandbox.corpus import random_payload
from kiosk.sandbox.phone import Phone
from kiosk.sandbox.renderer import render
from kiosk.sandbox.scene import Scene
from kiosk.sandbox.symbols import Kind

_NOISE = 0.22  # moderate: noise is what a PNG cannot compress


@dataclass(frozen=True, slots=True)
class Recorded:
    """A frame with a name.

    Attributes:
        name: Of its files, without the ending: the kind of difficulty and a number.
        scene: What it shows.
        seed: Of its noise.
        payloads: What the scanner must report, sorted.
    """

    name: str
    scene: Scene
    seed: int
    payloads: tuple[str, ...]

    @property
    def text(self) -> str:
        """The content of the `.txt`."""
        return "".join(f"{payload}\n" for payload in self.payloads)


def frames() -> list[Recorded]:
    """The frames for the tests, each readable by a plain decoder."""
    held = [frame for frame in _held() if not frame.name.startswith("hard-")]
    return [*held, *_wrong_kinds(), *_without_a_code(), *_two_codes()]


def hard_frames() -> list[Recorded]:
    """Frames that a plain decoder misses, though their corners given they can be read."""
    return [frame for frame in _held() if frame.name.startswith("hard-")]


def _held() -> list[Recorded]:
    return [_hold(number, name, changes) for number, (name, changes) in enumerate(_HELD)]


def demo_frames() -> list[Recorded]:
    """The customers of `kiosk demo`, each at once readable by a plain decoder."""
    held = [_hold(number, name, changes) for number, (name, changes) in enumerate(_DEMO, 700)]
    nobody = Scene(place=712, noise=_NOISE)
    return [*held, Recorded("nobody", nobody, 712, ())]


def write(recorded: Sequence[Recorded], folder: Path) -> None:
    """Render frames into a folder, each with its `.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in recorded:
        luma = render(frame.scene, frame.seed)
        _, packed = cv2.imencode(".png", luma, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        (folder / f"{frame.name}.png").write_bytes(packed.tobytes())
        (folder / f"{frame.name}.txt").write_bytes(frame.text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the recorded frames."""
    parser = argparse.ArgumentParser(description="Write the recorded frames into a folder.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--demo", action="store_true", help="the frames of `kiosk demo`")
    which.add_argument("--hard", action="store_true", help="those that a plain decoder misses")
    chosen = parser.parse_args(arguments)
    if chosen.demo:
        write(demo_frames(), chosen.folder)
    else:
        write(hard_frames() if chosen.hard else frames(), chosen.folder)
    return 0


_Changes = dict[str, Any]  # values of the fields that the keys name

# Changes of a phone held before the camera; names are fields of Phone or of Scene.
_HELD: list[tuple[str, _Changes]] = [
    ("easy-01", {}),
    ("easy-02", {"module_px": 8.5, "rotation_deg": 4}),
    ("easy-03", {"module_px": 5.5, "centre_x": 0.38, "tilt_x_deg": 10}),
    ("easy-04", {"module_px": 6.5, "rotation_deg": -7, "ec_level": "L"}),
    ("easy-05", {"module_px": 5, "centre_y": 0.42, "clutter": 1.0, "ec_level": "Q"}),
    ("easy-06", {"module_px": 7.5, "ec_level": "H", "tilt_y_deg": -9}),
    ("easy-07", {"module_px": 6, "brightness": 0.7, "ambient": 1.6, "rotation_deg": 2}),
    ("easy-08", {"module_px": 7, "ambient": 0.4, "centre_x": 0.55, "jpeg_quality": 85}),
    ("near-01", {"module_px": 13}),
    ("near-02", {"module_px": 15.5, "rotation_deg": 8, "tilt_x_deg": 12}),
    ("far-01", {"module_px": 3.2, "centre_x": 0.6, "centre_y": 0.4}),
    ("far-02", {"module_px": 2.6, "centre_x": 0.3, "rotation_deg": 6, "clutter": 1.0}),
    ("tilt-01", {"tilt_x_deg": 35, "module_px": 7}),
    ("tilt-02", {"tilt_y_deg": -38, "module_px": 6.5}),
    ("tilt-03", {"tilt_x_deg": -30, "tilt_y_deg": 28, "module_px": 6}),
    ("tilt-04", {"tilt_x_deg": 48, "rotation_deg": 15, "module_px": 8}),
    ("rotated-01", {"rotation_deg": 45, "module_px": 6}),
    ("rotated-02", {"rotation_deg": 90, "module_px": 6.5}),
    ("rotated-03", {"rotation_deg": 178, "module_px": 5.5}),
    ("dim-01", {"brightness": 0.15}),
    ("dim-02", {"brightness": 0.1, "exposure": 0.6, "module_px": 6, "noise": 0.6}),
    ("overexposed-01", {"exposure": 4, "module_px": 6.5}),
    ("overexposed-02", {"exposure": 6, "bloom": 0.5, "module_px": 8, "rotation_deg": -9}),
    ("sun-01", {"ambient": 9, "exposure": 0.4, "module_px": 6}),
    ("sun-02", {"ambient": 20, "exposure": 0.25, "brightness": 0.7, "rotation_deg": -12}),
    ("glare-01", {"glare": 1.5, "glare_x": 1.25, "glare_y": -1.2, "glare_mm": 5}),
    ("glare-02", {"glare": 0.5, "glare_x": 0.2, "glare_mm": 8, "glare_stretch": 2}),
    ("defocus-01", {"defocus_px": 2.2, "module_px": 6}),
    ("defocus-02", {"defocus_px": 3, "module_px": 6.5, "dark_theme": True}),
    ("motion-01", {"motion_px": 5, "motion_deg": 20}),
    ("motion-02", {"motion_px": 7, "motion_deg": 100, "module_px": 8}),
    ("moire-01", {"moire": 0.5, "module_px": 8.8, "pixels_per_inch": 326, "tilt_y_deg": 6}),
    ("moire-02", {"moire": 0.6, "module_px": 6.3, "pixels_per_inch": 294, "rotation_deg": 5}),
    ("banding-01", {"banding": 0.5}),
    ("banding-02", {"banding": 0.6, "banding_period_px": 45, "brightness": 0.5}),
    ("dark-theme-01", {"dark_theme": True}),
    ("dark-theme-02", {"dark_theme": True, "brightness": 0.4, "ambient": 0.1, "module_px": 5}),
    ("inverted-01", {"inverted": True, "dark_theme": True}),
    ("inverted-02", {"inverted": True, "dark_theme": True, "module_px": 5, "tilt_x_deg": 20}),
    ("covered-01", {"covered": 0.12, "covered_from_deg": 45, "module_px": 8}),
    ("covered-02", {"covered": 0.06, "covered_from_deg": 90, "ec_level": "Q"}),
    ("edge-01", {"module_px": 9, "centre_x": 0.165, "held": False}),
    ("noise-01", {"noise": 0.8, "brightness": 0.3, "exposure": 0.5}),
    ("sharpened-01", {"sharpening": 1.2, "jpeg_quality": 60, "module_px": 4.5}),
    ("url-01", {"payload": "https://example.com/pay?id=5050"}),
    ("arabic-indic-01", {"payload": "٥٠٥٠٢٧١٨٢٨١٨٢٨٤٥٩٠٤٥"}),
    ("digits-19-01", {"payload": "5050314159265358979"}),
    ("digits-21-01", {"payload": "505031415926535897932", "dark_theme": True}),
    # A plain decoder misses these; whoever knows where the symbol is reads them.
    ("hard-defocus-01", {"defocus_px": 4.4, "module_px": 5.5, "tilt_x_deg": 15}),
    ("hard-motion-01", {"motion_px": 9.2, "motion_deg": 20, "module_px": 6, "rotation_deg": 10}),
    (
        "hard-glare-01",
        {"glare": 1, "glare_x": 0.1, "glare_y": 0.5, "glare_mm": 7, "glare_stretch": 2}
        | {"module_px": 6, "tilt_y_deg": 20},
    ),
    ("hard-overexposed-01", {"exposure": 8, "bloom": 0.4, "module_px": 4.5, "defocus_px": 0.8}),
    ("hard-overexposed-02", {"exposure": 6, "bloom": 0.8, "module_px": 4.5, "defocus_px": 0.8}),
    ("hard-moire-01", {"moire": 0.65, "pixels_per_inch": 220, "module_px": 6, "tilt_y_deg": 12}),
    ("hard-inverted-01", {"inverted": True, "dark_theme": True, "defocus_px": 3.5, "module_px": 5}),
    ("hard-tilt-01", {"tilt_x_deg": 62.5, "tilt_y_deg": 20, "module_px": 6, "defocus_px": 0.8}),
    ("hard-tilt-02", {"tilt_y_deg": -55, "rotation_deg": 10, "module_px": 6, "defocus_px": 2}),
    ("hard-dim-01", {"brightness": 0.05, "exposure": 0.3, "module_px": 4, "noise": 0.8}),
    ("hard-far-01", {"module_px": 1.7, "rotation_deg": 12}),
]

_DEMO: list[tuple[str, _Changes]] = [
    ("approved", {}),
    ("declined", {"module_px": 6.5, "rotation_deg": 5, "dark_theme": True}),
    ("left", {"module_px": 6, "centre_x": 0.42, "rotation_deg": -6}),
    ("lost-answer", {"module_px": 7.5, "tilt_y_deg": 10}),
    ("gateway-down", {"module_px": 6, "centre_x": 0.56, "tilt_x_deg": 12}),
    ("second", {"module_px": 8, "dark_theme": True, "rotation_deg": -3}),
    ("not-payme", {"payload": "https://example.com/menu", "module_px": 6}),
]

_WRONG_KINDS: list[tuple[str, Kind, str | None, _Changes]] = [
    ("microqr-01", Kind.MICRO_QR, "5050123456", {"module_px": 9}),
    ("rmqr-01", Kind.RMQR, None, {"module_px": 6}),
    ("aztec-01", Kind.AZTEC, None, {"module_px": 7}),
    ("datamatrix-01", Kind.DATA_MATRIX, None, {"module_px": 5}),
    ("pdf417-01", Kind.PDF417, None, {"module_px": 2.6, "symbol_mm": 56}),
    ("ean13-01", Kind.EAN13, "505012345678", {"module_px": 2.6, "symbol_mm": 50}),
    ("code128-01", Kind.CODE128, None, {"module_px": 2, "symbol_mm": 56}),
    ("structured-append-01", Kind.STRUCTURED_APPEND, None, {}),
    ("structured-append-02", Kind.STRUCTURED_APPEND, None, {"dark_theme": True, "tilt_x_deg": 15}),
]


def _hold(number: int, name: str, changes: _Changes) -> Recorded:
    """A phone of its own code in a place of its own."""
    phone, rest = _phone(number, changes)
    scene = dataclasses.replace(Scene(phones=(phone,), place=number, noise=_NOISE), **rest)
    payloads = (phone.payload,) if phone.kind is Kind.QR else ()
    return Recorded(name, scene, number, payloads)


def _phone(number: int, changes: _Changes) -> tuple[Phone, _Changes]:
    """Apply those of the changes that are a phone's, and hand back the others."""
    own = {field.name for field in dataclasses.fields(Phone)} & changes.keys()
    phone = Phone(payload=random_payload(np.random.default_rng(number)))
    rest = {name: value for name, value in changes.items() if name not in own}
    return dataclasses.replace(phone, **{name: changes[name] for name in own}), rest


def _wrong_kinds() -> list[Recorded]:
    """What the scanner must not take for a code."""
    held = []
    for number, (name, kind, payload, changes) in enumerate(_WRONG_KINDS, 100):
        content = {} if payload is None else {"payload": payload}
        held.append(_hold(number, name, {"kind": kind, **content, **changes}))
    return held


def _without_a_code() -> list[Recorded]:
    """Places and phones with nothing to read."""
    menu: _Changes = {"kind": Kind.NONE, "module_px": 6}
    return [
        Recorded("none-01", Scene(place=200, clutter=0.3, noise=_NOISE), 200, ()),
        Recorded("none-02", Scene(place=201, clutter=1.0, noise=_NOISE), 201, ()),
        _hold(202, "none-03", menu),
        _hold(203, "none-04", menu | {"dark_theme": True, "rotation_deg": 10, "moire": 0.5}),
        # Half of the symbol is outside of the frame.
        dataclasses.replace(
            _hold(204, "none-05", {"module_px": 10, "centre_x": 0.03}), payloads=()
        ),
    ]


def _two_codes() -> list[Recorded]:
    """Two phones at once."""
    recorded = []
    for number in (300, 302):
        left: _Changes = {"module_px": 4.5, "centre_x": 0.27, "rotation_deg": -6 + number % 7}
        right: _Changes = {
            "module_px": 5,
            "centre_x": 0.73,
            "dark_theme": number > 300,
            "tilt_x_deg": 8,
        }
        phones = (_phone(number, left)[0], _phone(number + 1, right)[0])
        scene = Scene(phones=phones, place=number, noise=_NOISE)
        payloads = tuple(sorted(phone.payload for phone in phones))
        recorded.append(Recorded(f"two-codes-{number // 2 - 149:02d}", scene, number, payloads))
    return recorded


if __name__ == "__main__":
    sys.exit(main())
