"""What a technician sees before the kiosk goes live."""

import json

import pytest

from kiosk.check_config import check_config
from kiosk.settings import (
    CameraSettings,
    ConfirmSettings,
    GatewaySettings,
    OfferSettings,
    PanelSettings,
    ScanSettings,
    Settings,
)
from kiosk.settings_warnings import host_of, is_near, warnings_about

GOOD = "gateway:\n  url: http://192.168.1.50:8080/\noffer:\n  amount_sum: 15000\n"


@pytest.fixture
def write(tmp_path):
    def _write(content):
        path = tmp_path / "kiosk.yaml"
        path.write_text(content)
        return path

    return _write


def test_it_prints_each_setting_with_its_origin_and_the_exact_request(write, capsys):
    assert check_config([write(GOOD)], as_json=False) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["gateway.url", "http://192.168.1.50:8080/", "kiosk.yaml:2"]
    assert ["camera.fps", "30", "default"] in [line.split() for line in lines]
    assert (
        "Payment  15 000 so'm  ->  POST http://192.168.1.50:8080/payment/payme "
        '{"amount":15000,"qr_code":"<20 digits>"}'
    ) in lines
    assert lines[-1] == "ok"


def test_for_a_box_that_counts_in_tiyin_it_says_so(write, capsys):
    path = write(GOOD.replace("url:", "amount_unit: tiyin\n  url:"))

    assert check_config([path], as_json=False) == 0

    out = capsys.readouterr().out
    assert '{"amount":1500000,"qr_code":"<20 digits>"}' in out
    assert "the box gets tiyin: 15 000 sum x 100" in out


def test_a_menu_shows_the_request_for_each_item(write, capsys):
    menu = (
        "offer:\n  source: menu\n"
        "  items: [{amount_sum: 5000, label: Tea}, {amount_sum: 9000, label: Pie}]\n"
    )

    assert check_config([write(GOOD.partition("offer")[0] + menu)], as_json=True) == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    requests = [line["request"] for line in lines if "request" in line]
    assert [(each["label"], each["amount"]) for each in requests] == [("Tea", 5000), ("Pie", 9000)]
    assert requests[1]["key"] == "offer.items[1].amount_sum"


def test_text_shows_the_items_too(write, capsys):
    menu = "offer:\n  source: menu\n  items: [{amount_sum: 5000, label: Tea}]\n"

    check_config([write(GOOD.partition("offer")[0] + menu)], as_json=False)

    assert "[{amount_sum: 5000, label: Tea}]" in capsys.readouterr().out


def test_a_host_names_its_own_prices(write, capsys):
    check_config([write(GOOD.replace("amount_sum: 15000", "source: host"))], as_json=False)

    assert "no price here: the host names each" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_masked(write, capsys, as_json):
    path = write(GOOD.replace("url:", "headers: {X-Token: s3cret}\n  url:"))

    assert check_config([path], as_json=as_json) == 0

    out = capsys.readouterr().out
    assert "X-Token" in out
    assert "s3cret" not in out


def test_json_is_one_object_a_line_with_stable_names(write, capsys):
    check_config([write(GOOD + "confirm:\n  mode: automatic\n")], as_json=True)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {
        "key": "gateway.url",
        "value": "http://192.168.1.50:8080/",
        "origin": "kiosk.yaml:2",
    }
    assert lines[-2]["request"]["body"] == '{"amount":15000,"qr_code":"<20 digits>"}'
    assert lines[-1]["warning"].startswith("confirm.mode: automatic")


def test_all_errors_are_listed(write, capsys):
    path = write("gateway:\n  url: htp://box\noffer:\n  amount_sum: 0\n")

    assert check_config([path], as_json=False) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == ["gateway.url", "offer.amount_sum"]


def test_errors_as_json_are_on_stdout(write, capsys):
    assert check_config([write("log: [")], as_json=True) == 2

    out, err = capsys.readouterr()
    assert err == ""
    assert all(list(json.loads(line)) == ["error"] for line in out.splitlines())


def warnings_of(**sections):
    gateway = {"url": "http://192.168.1.50:8080", **sections.pop("gateway", {})}
    sections.setdefault("offer", OfferSettings(amount_sum=15000))
    return list(warnings_about(Settings(gateway=GatewaySettings(**gateway), **sections)))


def test_usual_settings_give_no_warning():
    assert warnings_of() == []


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"confirm": ConfirmSettings(mode="automatic")}, "nobody presses a button"),
        ({"scan": ScanSettings(code_pattern="[0-9]{19}")}, "scan.code_pattern is not [0-9]{20}"),
        ({"panel": PanelSettings(backend="simulated")}, "no lamp, no buzzer"),
        ({"panel": PanelSettings(backend="simulated", press_after_s=1)}, "presses by itself"),
        ({"offer": OfferSettings(amount_sum=150)}, "150 so'm is very little"),
        ({"offer": OfferSettings(amount_sum=1500000)}, "1500000 tiyin are 15 000 so'm"),
        ({"offer": OfferSettings(amount_sum=1500050)}, "is this sum or tiyin?"),
        ({"gateway": {"deadline_s": 10}}, "gateway.deadline_s (10) ends before"),
        ({"gateway": {"url": "http://box.example"}}, "as plain text over the internet"),
        ({"gateway": {"url": "http://8.8.8.8:80"}}, "as plain text over the internet"),
    ],
)
def test_what_deserves_a_second_look(sections, expected):
    (warning,) = warnings_of(**sections)

    assert expected in warning


def test_a_replay_of_nothing_is_named(tmp_path):
    camera = CameraSettings(backend="replay", path=str(tmp_path / "gone"))

    assert any("gone does not exist" in warning for warning in warnings_of(camera=camera))


def test_files_of_the_gateway_are_looked_for_but_not_read(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("s3cret")
    key.chmod(0o644)
    files = {
        "url": "https://box.example",
        "ca_file": str(tmp_path / "gone.pem"),
        "client_cert_file": str(tmp_path),
        "client_key_file": str(key),
    }

    found = warnings_of(gateway=files)

    assert "gone.pem: No such file or directory" in found[0]
    assert "is no ordinary file" in found[1]
    assert "everybody on this machine can use" in found[2]
    assert "s3cret" not in "".join(found)


def test_a_ca_is_of_no_use_without_https(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.touch()

    (warning,) = warnings_of(gateway={"ca_file": str(ca)})

    assert "gateway.ca_file is not used" in warning


@pytest.mark.parametrize(
    ("url", "host", "near"),
    [
        ("http://localhost:80/a", "localhost", True),
        ("http://BOX", "box", True),
        ("http://box.local.", "box.local", True),
        ("http://10.0.0.1:80", "10.0.0.1", True),
        ("http://169.254.1.1", "169.254.1.1", True),
        ("http://[::1]:80", "::1", True),
        ("http://[fd00::1]", "fd00::1", True),
        ("http://[2a00::1]", "2a00::1", False),
        ("https://box.example:443", "box.example", False),
        ("http://1.1.1.1", "1.1.1.1", False),
    ],
)
def test_near_and_far_hosts(url, host, near):
    assert host_of(url) == host
    assert is_near(host) is near


def test_a_setting_that_the_scanners_own_user_cannot_see_is_pointed_out(write, tmp_path, capsys):
    private = write(GOOD + "camera:\n  exposure: screen\n  fps: 25\nscan:\n  rearm_s: 2\n")
    private.chmod(0o640)
    board = tmp_path / "board.yaml"
    board.write_text("camera:\n  fps: 25\n")
    board.chmod(0o644)

    assert check_config([private, board], as_json=False) == 0
    said = capsys.readouterr().out
    assert "camera.exposure: not everybody may read kiosk.yaml" in said
    assert "ok, with 1 to look at again" in said

    private.chmod(0o644)
    assert check_config([private, board], as_json=False) == 0
    assert capsys.readouterr().out.endswith("\nok\n")
