"""Ways to die at a named step of a payment.

Installed in a forked payment process before it runs; the product has no hook for any of it.
"""

import os
import signal
import threading
import time

import marks
from worse_kiosks import MISBEHAVIOURS

_dying = threading.Lock()


def die():
    """Like a power cut for this process: no handler, no buffer, no goodbye."""
    _dying.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def install(cue_fd, *, kill=None, nth=1, misbehave=None, marked=False):
    """Report every cue at the moment it is shown; then arrange for the rest.

    Args:
        cue_fd: Where cues go, one a line.
        kill: The step to die at, one of `POINTS` or a cue; None to live on.
        nth: Not the first time but the n-th.
        misbehave: One of `MISBEHAVIOURS`.
        marked: Report the steps of `marks` as well.
    """
    from kiosk.payment.indicator import Indicator

    show = Indicator.show

    def shown(self, cue, now_s):
        if kill == f"before-cue-{cue.value}":
            die()
        os.write(cue_fd, f"{cue.value}\n".encode())
        show(self, cue, now_s)
        if kill == f"cue-{cue.value}":
            die()

    Indicator.show = shown
    if misbehave is not None:
        MISBEHAVIOURS[misbehave]()
    if marked:
        marks.install(cue_fd)
    if kill is not None and "cue-" not in kill:
        POINTS[kill](_Fuse(nth))


class _Fuse:
    """Burns through at the n-th time."""

    def __init__(self, nth):
        self._left = nth

    def burn(self):
        self._left -= 1
        if self._left == 0:
            die()


def _wrap(owner, name, fuse, *, after, when=lambda self, result: True):
    original = getattr(owner, name)

    def wrapped(self, *args, **kwargs):
        if not after and when(self, None):
            fuse.burn()
        result = original(self, *args, **kwargs)
        if after and when(self, result):
            fuse.burn()
        return result

    setattr(owner, name, wrapped)


def _code_read(fuse):
    from kiosk.payment.informant import Informant

    _wrap(Informant, "look", fuse, after=True, when=lambda _, seen: seen and seen.codes)


def _attempts(name, *, after=False):
    def arrange(fuse):
        from kiosk.payment.gateway_thread import Attempts

        _wrap(Attempts, name, fuse, after=after)

    return arrange


def _call(name, *, after):
    def arrange(fuse):
        from kiosk.payment.gateway import Call

        _wrap(Call, name, fuse, after=after)

    return arrange


def _send(*, after):
    def arrange(fuse):
        from kiosk.payment.gateway import _Noting

        _wrap(_Noting, "send", fuse, after=after, when=lambda line, _: line.is_payment)

    return arrange


def _sent(fuse):
    from kiosk.payment.gateway import _PlainLine

    _wrap(_PlainLine, "getresponse", fuse, after=False, when=lambda line, _: line.is_payment)


def _journal(name, *, after):
    def arrange(fuse):
        from kiosk.payment.journal import Journal

        _wrap(Journal, name, fuse, after=after)

    return arrange


def _complete(fuse):
    from kiosk.payment.informant import Informant

    _wrap(Informant, "complete", fuse, after=False)


class _Database:
    """A connection that tells a fuse of COMMITs made inside one method of the journal."""

    def __init__(self, db, burn_before, burn_after):
        self._db, self._before, self._after = db, burn_before, burn_after

    def execute(self, sql, *args):
        if sql == "COMMIT":
            self._before()
        found = self._db.execute(sql, *args)
        if sql == "COMMIT":
            self._after()
        return found

    def __getattr__(self, name):
        return getattr(self._db, name)


def _commit_of(method, *, after):
    def arrange(fuse):
        from kiosk.payment.journal import Journal

        inside = False
        original, init = getattr(Journal, method), Journal.__init__

        def burn():
            if inside:
                fuse.burn()

        def wrapped(self, *args, **kwargs):
            nonlocal inside
            inside = True
            try:
                return original(self, *args, **kwargs)
            finally:
                inside = False

        def made(self, path, db, lock):

            def nothing():
                pass

            db = _Database(db, *((nothing, burn) if after else (burn, nothing)))
            init(self, path, db, lock)

        setattr(Journal, method, wrapped)
        Journal.__init__ = made

    return arrange


POINTS = {
    "code-read": _code_read,
    "warm-up": _attempts("warm_up"),
    "pressed": _attempts("connect"),
    "connected": _journal("record_sending", after=False),
    "sending-before-commit": _commit_of("record_sending", after=False),
    "sending-after-commit": _commit_of("record_sending", after=True),
    "sending-row-written": _journal("record_sending", after=True),
    "before-submit": _attempts("submit"),
    "before-send": _send(after=False),
    "half-sent": _send(after=True),
    "sent": _sent,
    "answered": _call("submit", after=True),
    "outcome-known": _complete,
    "outcome-before-commit": _commit_of("record_outcome", after=False),
    "outcome-after-commit": _commit_of("record_outcome", after=True),
}
