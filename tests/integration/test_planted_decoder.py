"""Native code that throws, aborts or hangs over a frame: the payment process does not notice.

The mistake is planted in the scanner process only, and happens whenever a frame holds the
trigger: a black square in its corner, as any stranger could hold it up.
"""

import cv2
import pytest

from tests.integration.test_scanner_and_payment import FRAMES, NOBODY, Stage

PLANT = """
import sys
if "scanner" in sys.argv:
    import os, time
    from kiosk.scanner import {module}
    real = {module}.{name}
    def planted(luma, *rest):
        if not luma[:8, :8].any():
            {act}
        return real(luma, *rest)
    {module}.{name} = planted
"""
ACTS = {
    "throws": "raise RuntimeError('planted')",
    "aborts": "os.abort()",
    "hangs": "time.sleep(1000)",
}


@pytest.fixture
def planted(kiosk_at, gateway, tmp_path):
    def start(act, module="reader", name="read"):
        kiosk = kiosk_at(gateway.url, own_scanner=True)
        kiosk.stage = Stage(kiosk.folder / "stage")
        plant = tmp_path / "plant"
        plant.mkdir()
        (plant / "sitecustomize.py").write_text(
            PLANT.format(act=ACTS[act], module=module, name=name)
        )
        return kiosk.start(env={"PYTHONPATH": str(plant)})

    return start


@pytest.fixture
def trigger(tmp_path):
    """Nobody's frame, with the trigger in its corner: the fast stage reads nothing in it."""
    luma = cv2.imread(str(NOBODY), cv2.IMREAD_GRAYSCALE)
    luma[:8, :8] = 0
    path = tmp_path / "trigger.png"
    assert cv2.imwrite(str(path), luma)
    return path


def test_a_decoder_that_throws_costs_nothing_but_that_frame(planted, trigger, gateway):
    kiosk = planted("throws")
    kiosk.ready()
    kiosk.stage.hold_up(trigger)
    assert kiosk.logged("decoder stage failed, passed over", stage="zxing")

    kiosk.stage.hold_up(FRAMES / "easy-01.png")
    kiosk.control.wait("awaiting_confirm")
    kiosk.press()
    assert kiosk.control.wait("concluded").outcome == "approved"
    assert len(gateway.ledger.requests) == 1
    assert "scanner gone" not in kiosk.stderr


@pytest.mark.parametrize("act", ["aborts", "hangs"])
def test_a_decoder_that_ends_its_process_costs_a_restart_and_no_payment(
    planted, trigger, gateway, act
):
    kiosk = planted(act)
    kiosk.ready()
    kiosk.stage.hold_up(FRAMES / "easy-01.png")
    intent = kiosk.control.wait("awaiting_confirm").intent

    kiosk.stage.hold_up(trigger)
    kiosk.press()

    told = kiosk.control.wait("concluded")
    assert (told.outcome, told.intent) == ("approved", intent)
    assert kiosk.logged("scanner gone")
    kiosk.stage.hold_up(FRAMES / "easy-02.png")
    kiosk.control.wait("awaiting_confirm")
    assert len(gateway.ledger.requests) == 1


def test_a_region_that_cannot_be_found_is_a_frame_dropped(planted, trigger):
    kiosk = planted("throws", module="decoder", name="find_regions")
    kiosk.ready()
    kiosk.stage.hold_up(trigger)
    assert kiosk.logged("frame dropped")
    kiosk.stage.hold_up(FRAMES / "easy-01.png")
    kiosk.control.wait("awaiting_confirm")
