"""From settings to what the rules and the hardware understand."""

import pytest

from kiosk.core.offer import Offer
from kiosk.settings import (
    CameraSettings,
    ConfirmSettings,
    GatewaySettings,
    OfferItem,
    OfferSettings,
    PanelSettings,
    Settings,
)
from kiosk.wiring import open_camera, panel_pins, policy_of

GATEWAY = GatewaySettings(url="http://127.0.0.1:9", connect_timeout_s=2, deadline_s=40)


@pytest.mark.parametrize(
    ("offer", "offers"),
    [
        (OfferSettings(amount_sum=1000, label="Tea"), (Offer(1000, "Tea"),)),
        (
            OfferSettings(
                source="menu",
                items=(OfferItem(amount_sum=1, label="A"), OfferItem(amount_sum=2, label="B")),
            ),
            (Offer(1, "A"), Offer(2, "B")),
        ),
        (OfferSettings(source="host"), ()),
    ],
)
def test_offers(offer, offers):
    assert policy_of(Settings(gateway=GATEWAY, offer=offer)).offers == offers


def test_policy():
    settings = Settings(
        gateway=GATEWAY,
        offer=OfferSettings(amount_sum=1),
        confirm=ConfirmSettings(mode="automatic", timeout_s=12),
    )
    policy = policy_of(settings)
    assert policy.confirm_automatic
    assert policy.confirm_timeout_s == 12
    assert policy.connecting_s == 7.0
    assert policy.deadline_s == 40


def test_pins():
    settings = Settings(
        gateway=GATEWAY,
        offer=OfferSettings(amount_sum=1),
        panel=PanelSettings(led_pin=5, buzzer="passive", led_pwm=False),
    )
    pins = panel_pins(settings)
    assert (pins.led_pin, pins.buzzer, pins.led_pwm) == (5, "passive", False)


@pytest.mark.parametrize("backend", ["replay", "csi", "v4l2"])
def test_cameras(backend, tmp_path):
    camera = open_camera(CameraSettings(backend=backend, path=str(tmp_path)))
    assert type(camera).__name__.lower().startswith(backend)
