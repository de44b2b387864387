"""The decoder on whole sets of pictures: recorded frames, and photographs where they are."""

import io
import json
from pathlib import Path

import pytest

from kiosk.scanner.replay import replay
from kiosk.settings import GatewaySettings, OfferSettings, ScanSettings, Settings

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
# The black-box images of the ZXing project lie beside the checkout of a developer, or nowhere.
PHOTOS = ROOT.parent / "shared" / "data" / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="no photographs beside the checkout")


def replayed(*paths, engines=("gate", "fast", "zxing", "pyzbar", "opencv")):
    settings = Settings(
        gateway=GatewaySettings(url="http://127.0.0.1:1"),
        offer=OfferSettings(amount_sum=1000),
        scan=ScanSettings(engines=engines),
    )
    out = io.StringIO()
    replay(list(paths), settings, as_json=True, out=out)
    *lines, last = [json.loads(line) for line in out.getvalue().splitlines()]
    return lines, last["summary"]


@pytest.mark.parametrize("folder", ["frames", "frames-hard"])
def test_every_recorded_frame_is_read_without_the_other_engines(folder):
    lines, _ = replayed(DATA / folder, engines=("gate", "fast", "zxing"))
    assert [line["file"] for line in lines if not line["ok"]] == []


@needs_photos
def test_photographs_of_codes_are_read():
    _, summary = replayed(*sorted(PHOTOS.glob("qrcode-*")))
    assert summary["files"] == 179
    assert summary["read"] >= 170


@needs_photos
def test_nothing_is_read_in_photographs_without_a_code():
    _, summary = replayed(*sorted(PHOTOS.glob("falsepositives*")))
    assert summary["files"] == 47
    assert summary["read"] == 0
