from kiosk.core import events
from kiosk.payment.mailbox import Mailbox


def test_oldest_first_and_nothing_when_empty():
    mailbox = Mailbox()
    assert mailbox.take(0) is None
    assert mailbox.take(-1) is None
    for at_s in (1.0, 2.0, 3.0):
        mailbox.post(events.ButtonPressed(at_s))
    assert [mailbox.take(1).at_s for _ in range(3)] == [1.0, 2.0, 3.0]
    assert mailbox.take(0.001) is None
