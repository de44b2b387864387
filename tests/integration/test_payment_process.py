"""A payment through the real payment process, over real HTTP, into a real journal."""

from kiosk_process import a_code


def test_read_pressed_charged_once_recorded_told(kiosk, gateway):
    code = a_code()

    told = kiosk.pay(code)

    assert (told.outcome, told.cue) == ("approved", "approved")
    (charge,) = gateway.ledger.charges
    assert charge.qr_code == code
    assert charge.amount == 1000
    assert len(gateway.ledger.requests) == 1
    sending, approved = kiosk.rows()
    assert sending[1:] == ("sending", None)
    assert approved == (sending[0], "approved", charge.payment_id)
    kiosk.ready()
    assert kiosk.control.cues()[-5:] == [
        "ready",
        "press_to_pay",
        "submitting",
        "approved",
        "ready",
    ]
    assert kiosk.stop() == 0
