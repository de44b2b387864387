"""Who pays at a recorded kiosk, what befalls them, and what must be on the card afterwards."""

import time

from kiosk_process import WAIT_S, a_code

from kiosk.messages import Acknowledge, Ok, Resolve

ONLY_SMALL_FILES = 8192
"""The spill file fits, the journal does not."""


class Customers:
    """Pay at a recorded kiosk, and remember what must be on the card once they are told.

    Attributes:
        ends: Code -> kind of row.
    """

    def __init__(self, kiosk, gateway):
        self.kiosk, self.gateway = kiosk, gateway
        self.ends = {}

    def pay(self, end, fault=None):
        self.ends[code := a_code()] = end
        self.gateway.set_fault(fault)
        assert self.kiosk.pay(code).outcome == end
        self._leave()

    def pay_while_the_card_is_full(self):
        """The answer comes, its row cannot be written: it is kept beside the journal."""
        self.ends[code := a_code()] = "approved"
        self._reach_the_gateway(code, "late")
        self.kiosk.limit_files(ONLY_SMALL_FILES)
        assert self.kiosk.control.wait("concluded").outcome == "unknown"
        self._leave()
        self.kiosk.limit_files()
        self.kiosk.ready()

    def pay_until_the_power_is_cut(self):
        self.ends[code := a_code()] = "unknown"
        self._reach_the_gateway(code, "stall-charged")
        self.kiosk.kill()

    def power_is_back(self):
        self.kiosk.start()
        assert self.kiosk.control.wait("concluded").outcome == "unknown"
        self._leave()

    def staff_resolve(self):
        """The last one, whose end nobody knew, was charged."""
        ((intent, _, _), *_) = self.kiosk.rows()[::-1]
        charge = self.gateway.ledger.charges[-1]
        said = Resolve(
            intent=intent, outcome="approved", by="A", why="b", payment_id=charge.payment_id
        )
        assert isinstance(self.kiosk.control.command(said), Ok)

    def wait_until_folded(self):
        """What is erased after `keep_days` is gone from the WAL as well, as that is empty."""
        wal = self.kiosk.journal_path.with_name("journal.db-wal")
        self.kiosk.control.wait("ready")
        until_s = time.monotonic() + WAIT_S
        while wal.stat().st_size > 4096:  # a new one begins at once, with what the mark knows
            assert time.monotonic() < until_s, "the WAL was never folded in"
            time.sleep(0.02)

    def _reach_the_gateway(self, code, fault):
        self.gateway.set_fault(fault)
        self.kiosk.read(code)
        assert self.gateway.ledger.wait_until(lambda ledger: ledger.charge_of(code), WAIT_S)

    def _leave(self):
        assert isinstance(self.kiosk.control.command(Acknowledge()), Ok)


def one_payment(customers):
    customers.pay("approved")
    customers.kiosk.kill()


def a_full_card(customers):
    customers.pay_while_the_card_is_full()
    customers.kiosk.kill()


def everything(customers):
    kiosk = customers.kiosk
    customers.pay("approved")
    customers.pay("declined", "declined")
    kiosk.kill()
    kiosk.start()
    customers.pay("unknown", "hang-up-charged")
    customers.staff_resolve()
    customers.pay_while_the_card_is_full()
    customers.pay_until_the_power_is_cut()
    customers.power_is_back()
    kiosk.write_config(journal={**kiosk.sections["journal"], "keep_days": 0})
    assert kiosk.stop() == 0
    customers.power_is_back()
    customers.pay("approved")
    customers.wait_until_folded()
    customers.pay("approved")
    kiosk.kill()
