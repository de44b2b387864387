"""Which fault is on, and for how many more times."""

import threading
import time

from kiosk.sandbox.faults import Fault, Place


class ActiveFault:
    """The one fault that is on, or none.

    Threads: any.
    """

    def __init__(self) -> None:
        """No fault."""
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._left: int | None = None
        self._until_s: float | None = None

    def set(self, fault: Fault | None, times: int | None, for_s: float | None) -> None:
        """Replace the fault; without `times` and `for_s` it stays until it is replaced."""
        with self._lock:
            self._fault = fault
            self._left = times
            self._until_s = None if for_s is None else time.monotonic() + for_s

    def at(self, place: Place) -> Fault | None:
        """The fault at `place`, not used up."""
        with self._lock:
            return self._now_at(place)

    def take(self, place: Place) -> Fault | None:
        """The fault for something that happens at `place`, used up by one."""
        with self._lock:
            fault = self._now_at(place)
            if fault is not None and self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self._fault = None
            return fault

    def _now_at(self, place: Place) -> Fault | None:
        if self._until_s is not None and time.monotonic() >= self._until_s:
            self._fault = None
        return self._fault if self._fault is not None and self._fault.place == place else None
