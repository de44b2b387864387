"""Whether this system serves as it should: what decides that an update stays.

A system that is out of service for a reason that lies outside it is as good as one that sells: the
one before would stand there just the same, and going back would mend nothing.
"""

from appliance.control import Kiosk

GOOD_FOR_S = 60.0

OUTSIDE = {
    "gateway_not_ready": "the box answers, and says that it cannot work",
    "clock_implausible": "no time server and no box; each start goes through it",
    "unknown_pause": "payments that ended unknown, and the pause after them",
    "unresolved_limit": "payments that wait for staff",
}
"""Reasons of the kiosk that another system would not mend."""

WITH_AN_ADDRESS = {
    "gateway_unreachable": "the box is off or away; but without any address of its own on any "
    "network it may be this system that has lost its network card, and then nobody could mend it "
    "from afar",
}
"""The same, as long as this machine has an address."""

INSIDE = {
    "journal_damaged": "a journal that is not intact proves nothing",
    "journal_newer": "it was written by a later system",
    "journal_missing": "a journal that is not intact proves nothing",
    "journal_replaced": "a journal that is not intact proves nothing",
    "journal_unwritable": "no row can be made durable, whoever is to blame",
    "outcome_unsaved": "no row can be made durable, whoever is to blame",
    "scanner_down": "our own program",
    "camera_down": "a kernel without its driver looks the same as a camera that is not plugged in; "
    "going back costs one restart, staying may cost a journey",
}
"""Reasons that the system before might mend."""


def why_not_good(kiosk: Kiosk | None, *, has_address: bool) -> str:
    """What keeps this system from being called good now; "" for nothing.

    Args:
        kiosk: What it says; None where it does not run.
        has_address: This machine has an address on some network.
    """
    if kiosk is None:
        return "the kiosk does not run"
    if kiosk.is_open:
        return ""
    if kiosk.state != "out_of_service":
        return f"the kiosk is in a state that is not known here: {kiosk.state}"
    if not kiosk.reasons:
        return "the kiosk is out of service and does not say why"
    fine = {**OUTSIDE, **WITH_AN_ADDRESS} if has_address else OUTSIDE
    return ", ".join(name for name in kiosk.reasons if name not in fine)


class Proof:
    """For how long without a break this system has been good."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def look(self, why: str, now_s: float) -> bool:
        """Whether it is proven by now.

        Args:
            why: From `why_not_good`; "" for good.
            now_s: Seconds since the start of the machine.
        """
        if why:
            self._since_s = None
            return False
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= GOOD_FOR_S
