"""What systemd-networkd, wpa_supplicant and timesyncd are told."""

import configparser
import re
from pathlib import Path

import pytest
from appliance import network
from appliance.network import ETHERNET, SUPPLICANT, TIME, WIFI, files_for

from kiosk.settings_device import DeviceSettings

OVERLAY = Path(__file__).parents[3] / "image-build/overlay"


def sections(text):
    """Section -> [(key, value)]; a key may come more than once."""
    found, name = {}, ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            name = match[1]
            found[name] = []
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[name].append((key, value))
    return found


def test_without_a_word_the_cable_asks_for_an_address():
    files = files_for(DeviceSettings())

    assert set(files) == {ETHERNET}
    told = sections(files[ETHERNET])
    assert ("Type", "ether") in told["Match"]
    assert ("DHCP", "yes") in told["Network"]
    assert ("ClientIdentifier", "mac") in told["DHCPv4"]


def test_a_fixed_address():
    told = sections(
        files_for(
            DeviceSettings(
                ethernet_address="192.168.1.60/24",
                ethernet_gateway="192.168.1.1",
                ethernet_name_servers=("192.168.1.1", "9.9.9.9"),
            )
        )[ETHERNET]
    )

    assert [pair for pair in told["Network"] if pair[0] in ("DHCP", "Address", "DNS")] == [
        ("DHCP", "no"),
        ("Address", "192.168.1.60/24"),
        ("DNS", "192.168.1.1"),
        ("DNS", "9.9.9.9"),
    ]
    assert ("Gateway", "192.168.1.1") in told["Route"]
    assert "DHCPv4" not in told


def test_the_cable_goes_before_the_air():
    files = files_for(DeviceSettings(wifi_ssid="Shop", wifi_password="password"))
    metrics = [dict(sections(files[name])["DHCPv4"])["RouteMetric"] for name in (ETHERNET, WIFI)]

    assert int(metrics[0]) < int(metrics[1])
    assert ("Type", "wlan") in sections(files[WIFI])["Match"]


def test_a_wireless_network_is_named_by_digits_alone():
    # The example of IEEE 802.11-2012, annex M.4.
    device = DeviceSettings(wifi_ssid="IEEE", wifi_password="password", wifi_country="KZ")

    text = files_for(device)[SUPPLICANT]

    assert "\tssid=49454545\n" in text
    assert "\tpsk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e\n" in text
    assert "country=KZ\n" in text
    assert "password" not in text


@pytest.mark.parametrize("ssid", ['a"b', "a\\b", "Do'kon ў", " a ", "#a"])
def test_no_name_of_a_network_leaves_its_line(ssid):
    text = files_for(DeviceSettings(wifi_ssid=ssid, wifi_password='a"}\\b c#d'))[SUPPLICANT]

    assert bytes.fromhex(re.search(r"\tssid=([0-9a-f]+)\n", text)[1]).decode() == ssid
    assert text.count("{") == text.count("}") == 1


def test_a_key_of_64_digits_is_used_as_it_is():
    device = DeviceSettings(wifi_ssid="Shop", wifi_password="AB" * 32)

    assert f"\tpsk={'ab' * 32}\n" in files_for(device)[SUPPLICANT]


def test_time_servers():
    text = files_for(DeviceSettings(time_servers=("192.168.1.1", "pool.ntp.org")))[TIME]

    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert parser["Time"]["NTP"] == "192.168.1.1 pool.ntp.org"


def test_the_supplicant_reads_what_is_written():
    unit = OVERLAY / "etc/systemd/system/wpa_supplicant@.service.d/kiosk.conf"

    assert f"-c/run/{SUPPLICANT} " in unit.read_text()
    assert f"ConditionPathExists=/run/{SUPPLICANT}" in unit.read_text()


def test_the_kernel_is_told_the_name(tmp_path):
    network.set_host_name("kiosk-3", tmp_path / "hostname")

    assert (tmp_path / "hostname").read_text() == "kiosk-3\n"
