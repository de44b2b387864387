"""Rules of the settings that a single type cannot say."""

import pytest

from kiosk.settings import (
    CameraSettings,
    GatewaySettings,
    LimitSettings,
    OfferItem,
    OfferSettings,
    PanelSettings,
    ScanSettings,
    Settings,
)
from kiosk.settings_section import SectionError

URL = "http://192.168.1.50:8080"


def problems_of(section, **values):
    with pytest.raises(SectionError) as caught:
        section(**values)
    return [(problem.keys[0], problem.text) for problem in caught.value.problems]


def test_the_defaults_of_the_contract():
    settings = Settings(gateway=GatewaySettings(url=URL), offer=OfferSettings(amount_sum=15000))

    assert settings.gateway.deadline_s == 65
    assert settings.limits == LimitSettings(
        max_amount_sum=5_000_000,
        max_consecutive_unknown=2,
        unknown_pause_s=600,
        max_unresolved=10,
    )


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        CameraSettings().fps = 5


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://localhost",
        "http://127.0.0.1:8787/",
        "https://box.example/fbox",
        "https://box_1.example.:443",
        "http://[::1]:80",
        "http://[fe80::1]",
    ],
)
def test_addresses_of_a_gateway(url):
    assert GatewaySettings(url=url).url == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "did you mean http://192.168.1.50:8080?"),
        ("htp://box:80", "did you mean http://box:80?"),
        ("http//box", "did you mean http://box?"),
        ("http:/box", "did you mean http://box?"),
        ("http:box", "did you mean http://box?"),
        ("https:/box", "did you mean https://box?"),
        ("HTTP://box", "did you mean http://box?"),
        ("192.168.1.50:8080", "did you mean http://192.168.1.50:8080?"),
        ("box:8080/a", "did you mean http://box:8080/a?"),
        ("localhost:8080", "did you mean http://localhost:8080?"),
        ("http://bo x", "has a space in it"),
        (" http://box", "has a space in it"),
        ("http://bоx", "'о', no Latin letter"),
        ("http://", "names no host"),
        ("http:///a", "names no host"),
        ("http://:80", "names no host"),
        ("http://box:", "after the last colon is no port"),
        ("http://box:8o80", "'8o80' after the last colon is no port"),
        ("http://box:0", "port 0 is out of range (1 to 65535)"),
        ("http://box:65536", "port 65536 is out of range (1 to 65535)"),
        ("http://192.168.1.500", "each number is 0 to 255"),
        ("http://192.168.1", "four numbers such as 192.168.1.50"),
        ("http://192.168.01.1", "four numbers such as 192.168.1.50"),
        ("http://192,168,1,50", "is no host name"),
        ("http://fe80::1", "IPv6 address stands in [brackets]"),
        ("http://box..example", "is no host name"),
        ("http://-box", "is no host name"),
        ("http://box?a=b", "has a '?'"),
        ("http://box#a", "has a '#'"),
        ("http://box\\a", "has a '\\\\'"),
        ("http://box/payment/payme", "is the base; leave /payment/payme away"),
        ("http://box/x/payment/payme/", "is the base; leave /payment/payme away"),
    ],
)
def test_a_typo_in_the_address_is_named(url, expected):
    ((key, text),) = problems_of(GatewaySettings, url=url)

    assert key == "url"
    assert expected in text


def test_a_password_in_the_address_is_refused_and_not_repeated():
    ((_, text),) = problems_of(GatewaySettings, url="http://user:s3cret@box")

    assert "credentials belong in headers" in text
    assert "s3cret" not in text


@pytest.mark.parametrize("given", ["client_cert_file", "client_key_file"])
def test_certificate_and_key_belong_together(given):
    ((key, text),) = problems_of(GatewaySettings, url=URL, **{given: "/a"})

    assert key == given
    assert "client_cert_file" in text
    assert "client_key_file" in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("A b", "x", "is no header name"),
        ("A:", "x", "is no header name"),
        ("", "x", "is no header name"),
        ("Content-Type", "x", "set by the kiosk itself"),
        ("HOST", "x", "set by the kiosk itself"),
        ("Transfer-Encoding", "x", "set by the kiosk itself"),
        ("x-token", "x", "twice"),
        ("A", " x", "printable ASCII"),
        ("A", "x\r\nB: y", "printable ASCII"),
        ("A", "ключ", "printable ASCII"),
    ],
)
def test_headers_that_cannot_be_sent(name, value, expected):
    ((key, text),) = problems_of(GatewaySettings, url=URL, headers={"X-Token": "", name: value})

    assert key == f"headers.{name}"
    assert expected in text


def test_a_replay_needs_something_to_replay():
    assert CameraSettings(backend="replay", path="/frames").path == "/frames"
    assert problems_of(CameraSettings, backend="replay")[0][0] == "path"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[", "is no regular expression"),
        ("(" * 200, "is no regular expression"),
        ("a{99999999999999999999}", "is no regular expression"),
        ("[[a]]", "is no regular expression"),
        ("цифры", "must be ASCII"),
        ("[0-9]*", "must not accept an empty payload"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused(pattern, expected):
    ((key, text),) = problems_of(ScanSettings, code_pattern=pattern)

    assert key == "code_pattern"
    assert expected in text


def test_an_engine_named_twice_is_refused():
    assert problems_of(ScanSettings, engines=("zxing", "zxing"))[0][0] == "engines"
    assert problems_of(ScanSettings, rescues=("smooth", "smooth"))[0][0] == "rescues"


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        (("zxing", "gate"), "comes first"),
        (("gate",), "add zxing"),
        (("gate", "fast"), "add zxing"),
        (("fast",), "add zxing"),
    ],
)
def test_engines_that_cannot_work_are_refused(engines, expected):
    ((key, text),) = problems_of(ScanSettings, engines=engines)

    assert key == "engines"
    assert expected in text


def test_every_rescue_can_be_left_out():
    assert ScanSettings(rescues=()).rescues == ()


def test_each_pin_serves_one_thing():
    found = problems_of(PanelSettings, led_pin=5, buzzer_pin=5, button_pin=5)

    assert [key for key, _ in found] == ["buzzer_pin", "button_pin"]


def test_only_a_simulated_button_presses_by_itself():
    assert PanelSettings(backend="simulated", press_after_s=1).press_after_s == 1
    assert problems_of(PanelSettings, press_after_s=1)[0][0] == "press_after_s"


ITEM = OfferItem(amount_sum=5000, label="Tea")


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, ["amount_sum"]),
        ({"source": "menu"}, ["items"]),
        ({"amount_sum": 1, "items": (ITEM,)}, ["items"]),
        ({"source": "host", "amount_sum": 1, "items": (ITEM,)}, ["items", "amount_sum"]),
    ],
)
def test_an_offer_has_what_its_source_uses(values, keys):
    assert [key for key, _ in problems_of(OfferSettings, **values)] == keys


def test_no_price_is_above_the_limit():
    limits = LimitSettings(max_amount_sum=4999)
    offer = OfferSettings(source="menu", items=(ITEM,))

    found = problems_of(Settings, gateway=GatewaySettings(url=URL), offer=offer, limits=limits)

    assert found == [
        ("offer.items[0].amount_sum", "5000 sum is above limits.max_amount_sum (4999)")
    ]


def test_a_section_error_reads_as_one_sentence():
    with pytest.raises(SectionError, match="amount_sum: is missing; source fixed needs the price"):
        OfferSettings()
