"""Typed, frozen settings: the configuration contract of the kiosk.

Ranges stand where a key is declared; rules that a type cannot say stand in `problems` of the
section. `settings_file.py` reads YAML into these and names file, line, key, value, range and
the nearest known key when something does not fit.
"""

import re
import warnings
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from msgspec import Meta, field

from kiosk.settings_device import DeviceSettings
from kiosk.settings_rules import header_problems, url_problem
from kiosk.settings_section import Problem, Section

Pin = Annotated[int, Meta(ge=0, le=53)]
Port = Annotated[int, Meta(ge=0, le=65535)]
AmountSum = Annotated[
    int, Meta(ge=1, le=1_000_000_000, description="the price in whole sum", examples=[15000])
]
Label = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="what the customer reads", examples=["Payment"]),
]
# A relative one belongs to the folder of the file that names it; the loader makes it absolute.
FilePath = Annotated[str, Meta(min_length=1, max_length=1024, extra={"is_path": True})]
# Without a default: the description and the example are what a technician reads when it is missing.
GatewayUrl = Annotated[
    str,
    Meta(
        max_length=512,
        description="the address of the fiscal box",
        examples=["http://192.168.1.50:8080"],
    ),
]
EngineName = Literal["gate", "fast", "zxing", "pyzbar", "opencv"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
RescueName = Literal[
    "smooth-threshold",
    "dark-grow",
    "half-light-grow",
    "enlarge-sharpen",
    "light-grow",
    "sharpen",
    "smooth",
    "dark-grow-fine",
    "fine-threshold",
    "border",
]
RESCUES: tuple[RescueName, ...] = get_args(RescueName)
CameraValue = Literal["auto"] | Annotated[int, Meta(ge=0, le=1_000_000)]


class GatewaySettings(Section, frozen=True):
    """The `gateway:` section; gateway-api.md section 3 says how the times are used."""

    url: GatewayUrl  # base, without /payment/payme
    amount_unit: Literal["sum", "tiyin"] = "sum"
    connect_timeout_s: Annotated[float, Meta(gt=0, le=30)] = 3.0
    read_timeout_s: Annotated[float, Meta(gt=0, le=300)] = 60.0
    deadline_s: Annotated[float, Meta(gt=0, le=600)] = 65.0
    ca_file: FilePath | None = None
    client_cert_file: FilePath | None = None
    client_key_file: FilePath | None = None
    headers: dict[str, str] = field(default_factory=dict)
    trust_refusals: bool = True

    def problems(self) -> Iterator[Problem]:
        """The address, the headers, and what belongs together."""
        if wrong := url_problem(self.url):
            yield Problem(("url",), wrong)
        if (self.client_cert_file is None) != (self.client_key_file is None):
            pair = ("client_cert_file", "client_key_file")
            given, other = pair if self.client_key_file is None else pair[::-1]
            yield Problem((given, other), f"{given} needs {other} beside it; give both or neither")
        for name, text in header_problems(self.headers):
            yield Problem((f"headers.{name}",), text)


class CameraSettings(Section, frozen=True):
    """The `camera:` section."""

    backend: Literal["v4l2", "csi", "replay"] = "v4l2"
    device: str = "/dev/video0"
    width: Annotated[int, Meta(ge=160, le=4096)] = 640
    height: Annotated[int, Meta(ge=120, le=4096)] = 480
    fps: Annotated[int, Meta(ge=1, le=120)] = 30
    exposure: Literal["auto", "screen"] | Annotated[int, Meta(ge=0, le=1_000_000)] = "auto"
    gain: CameraValue = "auto"
    focus: CameraValue = "auto"
    path: FilePath | None = None  # replay: a picture, a folder or a video
    loop: bool = True  # replay: start again at the end; a folder is listed anew each time
    stall_s: Annotated[float, Meta(gt=0, le=60)] = 2.0  # without a frame so long: reopened

    def problems(self) -> Iterator[Problem]:
        """A replay needs something to replay."""
        if self.backend == "replay" and self.path is None:
            yield Problem(
                ("path", "backend"),
                "is missing; backend replay needs a picture, a folder or a video",
            )


class ScanSettings(Section, frozen=True):
    """The `scan:` section."""

    # Matched in full against the payload's bytes.
    code_pattern: Annotated[str, Meta(min_length=1, max_length=200)] = "[0-9]{20}"
    # `gate` skips still scenes, `fast` and the next look at each frame, the others in turn.
    engines: Annotated[tuple[EngineName, ...], Meta(min_length=1, max_length=5)] = ENGINES
    rescues: Annotated[tuple[RescueName, ...], Meta(min_length=0, max_length=10)] = RESCUES
    rearm_s: Annotated[float, Meta(ge=0.5, le=60)] = 3.0

    def problems(self) -> Iterator[Problem]:
        """The pattern compiles and accepts something; no engine is named twice."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pattern = re.compile(self.code_pattern.encode("ascii"))
        except UnicodeEncodeError:
            yield Problem(("code_pattern",), "must be ASCII; codes are read as bytes")
        except (re.error, OverflowError, RecursionError, Warning) as error:
            yield Problem(("code_pattern",), f"is no regular expression: {error}")
        else:
            if pattern.fullmatch(b""):
                yield Problem(("code_pattern",), "must not accept an empty payload")
        for key, names in (("engines", self.engines), ("rescues", self.rescues)):
            if len(set(names)) != len(names):
                yield Problem((key,), "names one twice")
        if "gate" in self.engines[1:]:
            yield Problem(("engines",), "has the gate behind an engine; it comes first")
        if set(self.engines) <= {"gate", "fast"}:
            text = "has nothing that reads a difficult code; add zxing"
            yield Problem(("engines",), text)


class ScannerSettings(Section, frozen=True):
    """The `scanner:` section."""

    socket: FilePath = "/run/kiosk-scanner/scanner.sock"


class PanelSettings(Section, frozen=True):
    """The `panel:` section. Pins are BCM numbers."""

    backend: Literal["gpio", "simulated"] = "gpio"
    pin_factory: Literal["lgpio", "rpigpio", "pigpio", "native"] = "lgpio"
    chip: Annotated[int, Meta(ge=0, le=15)] | None = None
    led_pin: Pin = 17
    led_pwm: bool = True
    buzzer_pin: Pin = 18
    buzzer: Literal["active", "passive"] = "active"
    button_pin: Pin = 27
    press_after_s: Annotated[float, Meta(ge=0, le=600)] | None = None

    def problems(self) -> Iterator[Problem]:
        """Each pin serves one thing; only a simulated button presses by itself."""
        taken: dict[int, str] = {}
        for name in ("led_pin", "buzzer_pin", "button_pin"):
            pin = getattr(self, name)
            if twin := taken.get(pin):
                text = f"{pin} is the pin of {twin} as well; each needs a pin of its own"
                yield Problem((name, twin), text)
            taken.setdefault(pin, name)
        if self.press_after_s is not None and self.backend != "simulated":
            text = "presses by itself and exists for backend simulated only; delete it"
            yield Problem(("press_after_s", "backend"), text)


class ConfirmSettings(Section, frozen=True):
    """The `confirm:` section."""

    mode: Literal["button", "automatic"] = "button"
    timeout_s: Annotated[float, Meta(ge=2, le=300)] = 30.0


class OfferItem(Section, frozen=True):
    """One line of `offer.items`."""

    amount_sum: AmountSum
    label: Label


class OfferSettings(Section, frozen=True):
    """The `offer:` section: what is for sale."""

    source: Literal["fixed", "menu", "host"] = "fixed"
    amount_sum: AmountSum | None = None
    label: Label = "Payment"
    items: tuple[OfferItem, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """What is given is what the source uses."""
        if self.source == "fixed" and self.amount_sum is None:
            text = "is missing; source fixed needs the price in whole sum, such as 15000"
            yield Problem(("amount_sum", "source"), text)
        if self.source == "menu" and not self.items:
            text = "is missing; source menu needs a list, each with amount_sum and label"
            yield Problem(("items", "source"), text)
        if self.source != "menu" and self.items:
            text = f"belongs to source menu; the source here is {self.source}; write items: []"
            yield Problem(("items", "source"), text)
        if self.source != "fixed" and self.amount_sum is not None:
            text = f"belongs to source fixed; the source here is {self.source}; write null for none"
            yield Problem(("amount_sum", "source"), text)


class LimitSettings(Section, frozen=True):
    """The `limits:` section."""

    max_amount_sum: AmountSum = 5_000_000
    max_consecutive_unknown: Annotated[int, Meta(ge=1, le=100)] = 2
    unknown_pause_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    max_unresolved: Annotated[int, Meta(ge=1, le=10_000)] = 10


class JournalSettings(Section, frozen=True):
    """The `journal:` section."""

    path: FilePath = "/var/lib/kiosk/journal.db"
    keep_days: Annotated[int, Meta(ge=0, le=3650)] = 30  # codes, phones and raw answers


class ControlSettings(Section, frozen=True):
    """The `control:` section."""

    socket: FilePath = "/run/kiosk/control.sock"


class LocaleSettings(Section, frozen=True):
    """The `locale:` section."""

    language: Literal["uz", "ru", "en"] = "uz"
    timezone: str = "Asia/Tashkent"  # day totals are cut here


class LogSettings(Section, frozen=True):
    """The `log:` section."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section, frozen=True):
    """The whole configuration. Only `gateway.url` and the offer have no default."""

    gateway: GatewaySettings
    offer: OfferSettings
    camera: CameraSettings = CameraSettings()
    scan: ScanSettings = ScanSettings()
    scanner: ScannerSettings = ScannerSettings()
    panel: PanelSettings = PanelSettings()
    confirm: ConfirmSettings = ConfirmSettings()
    limits: LimitSettings = LimitSettings()
    journal: JournalSettings = JournalSettings()
    control: ControlSettings = ControlSettings()
    locale: LocaleSettings = LocaleSettings()
    log: LogSettings = LogSettings()
    device: DeviceSettings = DeviceSettings()

    def problems(self) -> Iterator[Problem]:
        """Rules between sections; keys are dotted here."""
        ceiling = self.limits.max_amount_sum
        amounts = {
            f"offer.items[{i}].amount_sum": x.amount_sum for i, x in enumerate(self.offer.items)
        }
        if self.offer.amount_sum is not None:
            amounts["offer.amount_sum"] = self.offer.amount_sum
        for key, amount in amounts.items():
            if amount > ceiling:
                text = f"{amount} sum is above limits.max_amount_sum ({ceiling})"
                yield Problem((key, "limits.max_amount_sum"), text)
        if self.control.socket == self.scanner.socket:
            text = "is also scanner.socket; each needs a path of its own"
            yield Problem(("control.socket", "scanner.socket"), text)
