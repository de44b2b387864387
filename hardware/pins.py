"""The way to the pins: one pin factory, named by the configuration, never another in its place.

gpiozero left to itself tries one factory after the other and ends with whatever loads. A kiosk
that "works" on the wrong factory has pins that nobody wired, so here the named one opens or a
`PinsError` says why. gpiozero's global `Device.pin_factory` stays unset: each device is given its
factory.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast, get_args

from hardware.errors import PinsError

PinFactoryName = Literal["lgpio", "rpigpio", "pigpio", "native", "simulated"]

_DEVICES = Path("/dev")

# Label of the pin controller behind the 40-pin header in the kernel drivers pinctrl-bcm2835
# (Pi 1 to 4, Zero) and pinctrl-rp1 (Pi 5); other chips of the same boards are named otherwise.
_HEADER_LABEL: Final = "pinctrl-"

# Without PYPI=1 its build links to a liblgpio that must be installed before; with it, it brings it.
_INSTALL_LGPIO: Final = (
    "Install a real one: PYPI=1 pip install 'lgpio>=0.2.2' (where there is no wheel for it, it is "
    "built, which needs: sudo apt install swig gcc python3-dev)."
)

_CLASSES: Final[dict[str, tuple[str, str]]] = {
    "lgpio": ("gpiozero.pins.lgpio", "LGPIOFactory"),
    "rpigpio": ("gpiozero.pins.rpigpio", "RPiGPIOFactory"),
    "pigpio": ("gpiozero.pins.pigpio", "PiGPIOFactory"),
    "native": ("gpiozero.pins.native", "NativeFactory"),
}

_ADVICE: Final[dict[str, str]] = {
    "lgpio": _INSTALL_LGPIO,
    "rpigpio": "Install it with: pip install RPi.GPIO. It does not know the Pi 5: use lgpio there.",
    "pigpio": "Install it with: pip install pigpio, and start its daemon: "
    "sudo systemctl start pigpiod. It does not know the Pi 5: use lgpio there.",
    "native": "Use lgpio unless you have a reason; native needs /dev/gpiomem and the group gpio.",
}

_NO_PI: Final = (
    "Run it on a Raspberry Pi, or choose the simulated pins to try it without one (a test rig "
    "gives the board's revision)."
)


class PinFactory(Protocol):
    """A pin factory of gpiozero, as far as anyone outside `hardware` touches it."""

    def close(self) -> None:
        """Release every pin; devices must have been closed before."""


def open_pin_factory(
    name: PinFactoryName, chip: int | None = None, *, board_revision: int | None = None
) -> PinFactory:
    """Open the pin factory of that name, and no other.

    Call it before other threads start: the import of lgpio changes the working directory of the
    whole process for a moment.

    Args:
        name: `lgpio` on a Pi; `simulated` for gpiozero's own mock pins with PWM.
        chip: Number of /dev/gpiochipN, for lgpio; the others ignore it. None takes the first
            whose label is the header's; where none is, gpiozero chooses, and says why it fails.
        board_revision: The Pi's revision code, for a machine that is no Pi and has its pins from
            the kernel's gpio-sim. Without it the board is asked.

    Returns:
        The factory; the caller closes it, after the devices that use it.

    Raises:
        PinsError: With the reason and the remedy.
    """
    if name == "simulated":
        from hardware import simulation

        return simulation.open_simulated_factory()
    if name not in _CLASSES:
        known = ", ".join(get_args(PinFactoryName))
        raise PinsError(f"There is no pin factory {name!r}.", advice=f"Choose one of: {known}.")
    if name == "lgpio":
        _import_lgpio()
    factory_class = _load_class(name)
    if name == "lgpio" and chip is None and board_revision is None:
        # gpiozero's own choice knows Raspberry Pi's kernels; others number the chips differently.
        chip = next((n for n in _list_chips() if _read_label(n).startswith(_HEADER_LABEL)), None)
    if board_revision is not None:
        # gpiozero asks /proc and takes no argument; _get_revision is what it means one to override.
        given = {"_get_revision": lambda _self: board_revision}
        factory_class = type(factory_class.__name__, (factory_class,), given)
    factory = _construct(name, factory_class, chip)
    try:
        _check_board(factory)
        if name == "lgpio" and board_revision is None:
            _check_chip(factory.chip)
    except PinsError:
        factory.close()
        raise
    return cast("PinFactory", factory)


def _load_class(name: str) -> Any:
    module_name, class_name = _CLASSES[name]
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise PinsError(
            f"The pin factory {name!r} does not load: {error}.", advice=_ADVICE[name]
        ) from error


def _construct(name: str, factory_class: Any, chip: int | None) -> Any:
    from gpiozero.exc import PinUnknownPi

    try:
        return factory_class(chip=chip) if name == "lgpio" else factory_class()
    except PinUnknownPi as error:
        raise PinsError("This machine is no Raspberry Pi.", advice=_NO_PI) from error
    except Exception as error:
        # Each library has an error class of its own, and none can be named before it is imported.
        if name == "lgpio":
            raise _chip_error(chip, error) from error
        raise PinsError(
            f"The pin factory {name!r} does not open: {error}.", advice=_ADVICE[name]
        ) from error


def _check_board(factory: Any) -> None:
    """Ask for the board now: gpiozero would ask when the first pin is opened."""
    from gpiozero.exc import PinUnknownPi

    try:
        _ = factory.board_info
    except PinUnknownPi as error:
        raise PinsError("This machine is no Raspberry Pi.", advice=_NO_PI) from error


def _check_chip(chip: int) -> None:
    """Refuse a chip that is not the header: its lines would obey, and switch something else."""
    label = _read_label(chip)
    if label.startswith(_HEADER_LABEL):
        return
    right = [n for n in _list_chips() if n != chip and _read_label(n).startswith(_HEADER_LABEL)]
    advice = (
        f"The header is chip {right[0]} here." if right else "Leave the chip out to have it found."
    )
    raise PinsError(
        f"/dev/gpiochip{chip} is {label!r}, not the 40-pin header of this board.", advice=advice
    )


def _read_label(chip: int) -> str:
    lgpio = importlib.import_module("lgpio")
    try:
        handle = lgpio.gpiochip_open(chip)
    except lgpio.error:
        return ""
    try:
        return str(lgpio.gpio_get_chip_info(handle)[3])
    finally:
        lgpio.gpiochip_close(handle)


def _list_chips() -> list[int]:
    matches = (re.fullmatch(r"gpiochip(\d+)", path.name) for path in _DEVICES.glob("gpiochip*"))
    return sorted(int(match[1]) for match in matches if match)


def _chip_error(chip: int | None, error: Exception) -> PinsError:
    """Find out why a chip does not open; lgpio says only that it does not."""
    chips = _list_chips()
    if not chips:
        return PinsError("This machine has no GPIO chip (/dev/gpiochipN).", advice=_NO_PI)
    path = _DEVICES / f"gpiochip{0 if chip is None else chip}"
    if not path.exists():
        found = ", ".join(map(str, chips))
        return PinsError(
            f"There is no {path}.",
            advice=f"Chips here: {found}. On a Pi 5 the header is 4 with old kernels, 0 with new "
            "ones; on all others 0. Left out, it is found.",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return PinsError(
            f"This user may not open {path}.",
            advice="Add it to the group gpio: sudo usermod -aG gpio USER, then log in again or "
            "restart the service.",
        )
    return PinsError(f"{path} does not open: {error}.", advice="Is it the chip of the header?")


def _import_lgpio() -> None:
    """Import lgpio with its traps disarmed.

    On import it makes a pipe `.lgd-nfy0` in the directory that LG_WD names, or in the current one,
    makes that directory the current one of the whole process, and fails if it is not there.

    Raises:
        PinsError: It is not installed, does not load, or is the empty 0.0.0.2 from PyPI.
    """
    if sys.modules.get("lgpio") is None:
        try:
            with _scratch_directory() as directory, _environment("LG_WD", directory), _same_cwd():
                importlib.import_module("lgpio")
        except ModuleNotFoundError as error:
            raise PinsError("lgpio is not installed here.", advice=_INSTALL_LGPIO) from error
        except ImportError as error:
            raise PinsError(f"lgpio does not load: {error}.", advice=_INSTALL_LGPIO) from error
        except OSError as error:
            raise PinsError(
                f"lgpio could not make its pipe: {error}.",
                advice="It needs a directory that can be written to: set RuntimeDirectory= in the "
                "service's unit, or TMPDIR.",
            ) from error
    if not hasattr(sys.modules["lgpio"], "gpiochip_open"):
        # Left in place it would pass for imported on the next try.
        del sys.modules["lgpio"]
        raise PinsError(
            "The lgpio installed here is empty (PyPI has a placeholder 0.0.0.2 without content).",
            advice=_INSTALL_LGPIO,
        )


@contextlib.contextmanager
def _scratch_directory() -> Iterator[str]:
    """A directory for the pipe, gone again at once: lgpio keeps both ends open and needs no name.

    systemd's RuntimeDirectory= goes before /tmp, which a hardened unit may not write to.
    """
    base = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or None
    with tempfile.TemporaryDirectory(prefix="lgpio-", dir=base) as directory:
        yield directory


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _same_cwd() -> Iterator[None]:
    # By descriptor, not by name: the current directory may have been renamed or be unreadable.
    here = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
