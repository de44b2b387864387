"""The `device:` section: what a technician may say of the machine, and what is answered."""

import base64
import re

import pytest

from kiosk.check_config import check_config
from kiosk.errors import SettingsError
from kiosk.settings_device import DeviceSettings
from kiosk.settings_file import load_settings

GOOD = "gateway:\n  url: http://box:8080\noffer:\n  amount_sum: 15000\ndevice:\n"
PASSWORD = "tall trees by the sea"


def ssh_key(kind="ssh-ed25519", *parts):
    strings = [kind.encode(), *(parts or (b"k" * 32,))]
    blob = b"".join(len(part).to_bytes(4) + part for part in strings)
    return f"{kind} {base64.b64encode(blob).decode()}"


KEY = ssh_key()


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "kiosk.yaml"
        path.write_text(GOOD + text + "\n")
        return path

    return _write


def device_of(path):
    return load_settings([path]).settings.device


def findings_of(path):
    with pytest.raises(SettingsError) as caught:
        load_settings([path])
    return caught.value.findings


def test_nothing_said_means_dhcp_and_no_way_in(write):
    assert device_of(write("")) == DeviceSettings()
    assert DeviceSettings().ssh_keys == ()
    assert DeviceSettings().ethernet_address is None


def test_everything_at_once(write):
    path = write(
        "  host_name: kiosk-3\n  ethernet_address: 192.168.1.60/24\n"
        "  ethernet_gateway: 192.168.1.1\n  ethernet_name_servers: [192.168.1.1, 2001:db8::1]\n"
        f"  wifi_ssid: Do'kon\n  wifi_password: {PASSWORD}\n  wifi_country: KZ\n"
        "  time_servers: [192.168.1.1, pool.ntp.org]\n"
        "  update_url: https://updates.example:8443/a/kiosk.raucb?x=1\n"
        f"  ssh_keys:\n    - {KEY} dilnoza@laptop\n    - {ssh_key('ssh-rsa', b'e', b'n' * 256)}\n"
    )

    device = device_of(path)

    assert device.host_name == "kiosk-3"
    assert device.ssh_keys[0] == f"{KEY} dilnoza@laptop"
    assert device.wifi_password == PASSWORD


FINE = [
    "  ethernet_address: 10.0.0.1/31",
    "  ethernet_address: fd00::2/64\n  ethernet_gateway: fd00::1",
    "  time_servers: [fd00::1, a.b-c.example.]",
    f"  wifi_ssid: a\n  wifi_password: {'0aF9' * 16}",
    "  wifi_ssid: a\n  wifi_password: 'a\"b\\c''d ~'",
    # What the kiosk leaves of a password, of any length.
    *(f"  wifi_ssid: a\n  wifi_password: {'x' * length}" for length in (8, 63, 64)),
]


@pytest.mark.parametrize("text", FINE)
def test_what_is_fine(write, text):
    assert device_of(write(text)) != DeviceSettings()


ONE_MISTAKE = [
    ("host_name: kiosk_3", "host_name: 'kiosk_3' is no host name; letters, digits and hyphens"),
    ("host_name: -a", "host_name: '-a' is no host name"),
    ("host_name: a.example", "host_name: 'a.example' is no host name"),
    ("hostname: a", "hostname: unknown key; did you mean device.host_name?"),
    ("wifi:\n    ssid: a", "wifi: unknown key; did you mean device.wifi_"),
    ("ethernet_address: 192.168.1.60", "has no prefix length after a slash"),
    ("ethernet_address: 192.168.1.60/33", "the prefix length is 1 to 32"),
    ("ethernet_address: 192.168.1.60/255.255.255.0", "has no prefix length after a slash"),
    ("ethernet_address: 192.168.1.0/24", "is the address of the network itself"),
    ("ethernet_address: 192.168.1.255/24", "is the address of the network itself"),
    ("ethernet_address: 192.168.1.300/24", "'192.168.1.300' is no address"),
    ("ethernet_address: 127.0.0.1/8", "127.0.0.1 is no address of a machine"),
    ("ethernet_address: fe80::1%eth0/64", "is no address of a machine in a network"),
    ("ethernet_address: dhcp", "'dhcp' is no address; four numbers"),
    ("ethernet_gateway: 192.168.1.1", "ethernet_gateway: goes with a fixed ethernet_address"),
    ("ethernet_name_servers: [192.168.1.1]", "[0]: goes with a fixed ethernet_address"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_gateway: 10.0.1.1", "ethernet_gateway: 10.0.1.1 is "
     "not in the network of ethernet_address (10.0.0.0/24)"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_gateway: fd00::1", "is not in the network of"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_gateway: 10.0.0.2", "is the kiosk's own address"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_gateway: router", "'router' is no address"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_name_servers: [8.8.8]", "[0]: '8.8.8' is no add"),
    ("ethernet_address: 10.0.0.2/24\n  ethernet_name_servers: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]",
     "ethernet_name_servers: the list has 4 entries; it wants 0 to 3"),
    ("wifi_ssid: Shop", "wifi_ssid: wifi_ssid needs wifi_password beside it"),
    (f"wifi_password: {PASSWORD}", "wifi_password: wifi_password needs wifi_ssid beside it"),
    ("wifi_ssid: 12345\n  wifi_password: abcdefgh", "is a number; it wants text (1 to 32 "
     "characters): put it in quotes"),
    (f"wifi_ssid: {'ў' * 20}\n  wifi_password: abcdefgh", "has 40 bytes; the name of a network"),
    ("wifi_ssid: a\n  wifi_password: short", "(hidden) has 5 characters (8 to 64 characters)"),
    ("wifi_ssid: a\n  wifi_password: 0123456789", "(hidden) is octal to some readers"),
    ("wifi_ssid: a\n  wifi_password: 9123456789", "(hidden) is a number"),
    ("wifi_ssid: a\n  wifi_password: паролпарол", "has a character that is not on a Latin"),
    (f"wifi_ssid: a\n  wifi_password: {'g' * 64}", "such a long one is a key of 64 digits"),
    ("wifi_country: uz", "'uz' is no country; two capital letters such as UZ"),
    ("wifi_country: УЗ", "is no country"),
    ("wifi_country: NO", "NO is true or false to some readers"),
    ("time_servers: [pool_ntp.org]", "[0]: 'pool_ntp.org' is no host name and no address"),
    ("time_servers: [192.168.1]", "[0]: '192.168.1' is no address"),
    ("time_servers: pool.ntp.org", "time_servers: pool.ntp.org does not fit; it wants a list"),
    ("update_url: http://updates.example/a", "does not begin with https://"),
    ("update_url: https://u:p@updates.example/a", "names a user or has a stray @"),
    ("update_url: https://updates.example/a b", "has ' ' in it, which no address has"),
    ("update_url: https://updates.example:99999/", "port 99999 is out of range"),
    ("update_url: 'https://updates.example/a#b'", "has a '#'"),
    ("update_url: https:///kiosk.raucb", "names no host"),
    ("ssh_keys: [-----BEGIN OPENSSH PRIVATE KEY-----]", "[0]: is a private key"),
    ("ssh_keys: [from=\"10.0.0.1\"]", "[0]: does not begin with a kind of key"),
    ("ssh_keys: [ssh-dss AAAA]", "[0]: does not begin with a kind of key"),
    (f"ssh_keys: [{KEY[:-10]}]", "[0]: is cut off or mistyped"),
    (f"ssh_keys: [{KEY[:-8]}]", "[0]: is cut off or mistyped"),
    (f"ssh_keys: [{KEY} дилноза]", "[0]: is no line of a .pub file"),
    ("ssh_keys: [ssh-ed25519]", "[0]: is no line of a .pub file"),
    ("ssh_keys: [ssh-ed25519 AAAAC3NzaC1]", "[0]: is cut off or mistyped"),
    (f"ssh_keys: ['{KEY.replace('ed25519', 'rsa', 1)}']", "[0]: is cut off or mistyped"),
]  # fmt: skip  # a table, one case a line


@pytest.mark.parametrize(("text", "expected"), ONE_MISTAKE)
def test_a_mistake_is_one_finding_with_its_line_and_what_to_do(write, text, expected):
    (finding,) = findings_of(write(f"  {text}"))

    assert re.match(r"kiosk\.yaml:[678]: device\.", finding)
    assert expected in finding


SECRETS = [
    "device:\n  wifi_ssid: a\n  wifi_password: 01234567899",
    "device:\n  wifi_password: [01234567899]",
    "device:\n  wifi_ssid: a\n  wifi_password: 01234567899\n  host_name: '*'",
    "device:\n  ssh_keys: [01234567899]",
    "device:\n  ssh_keys: 01234567899",
    "wifi_password: 01234567899",
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_finding_repeats_a_secret(tmp_path, text):
    path = tmp_path / "kiosk.yaml"
    path.write_text(GOOD.removesuffix("device:\n") + text + "\n")

    assert "1234" not in "\n".join(findings_of(path))


@pytest.mark.parametrize("as_json", [True, False])
def test_check_config_shows_the_section_and_hides_the_password(write, capsys, as_json):
    path = write(f"  wifi_ssid: Shop\n  wifi_password: {PASSWORD}\n  host_name: kiosk-3")

    assert check_config([path], as_json=as_json) == 0
    shown = capsys.readouterr().out

    assert PASSWORD not in shown
    assert "(hidden)" in shown
    assert "device.host_name" in shown
    assert "kiosk-3" in shown
    assert "kiosk.yaml:8" in shown
