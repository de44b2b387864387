"""How far a life came: a mark at each step, written where a SIGKILL cannot take it back.

A mark stands in the pipe of the cues, before what it announces and after what it states. The
phase in which a life ended is the last thing that its pipe tells.
"""

import os

SIGN = "@"
PHASES = {
    # the last mark or cue: the phase that it began
    "born": "starting",
    "recovering": "recovering",
    "ready": "before the press",
    "code-read": "before the press",
    "press_to_pay": "before the press",
    "connecting": "connecting",
    "submitting": "connecting",
    "writing-sending": "writing the row",
    "sending-written": "row written",
    "request": "request out",
    "answer": "answered",
    "writing-outcome": "writing the outcome",
    "outcome-written": "outcome written",
    "approved": "told",
    "declined": "told",
    "not_sent": "told",
    "unknown": "told",
    "not_accepted": "told",
}


def install(fd):
    """Make a forked kiosk, before it runs, write its marks."""
    from kiosk.payment import loop
    from kiosk.payment.gateway import Call, _Noting
    from kiosk.payment.gateway_thread import Attempts
    from kiosk.payment.informant import Informant
    from kiosk.payment.journal import Journal

    def mark(name):
        os.write(fd, f"{SIGN}{name}\n".encode())

    def surround(owner, method, before=None, after=None, when=lambda self, found: True):
        original = getattr(owner, method)

        def marked(self, *args, **kwargs):
            if before and when(self, None):
                mark(before)
            found = original(self, *args, **kwargs)
            if after and when(self, found):
                mark(after)
            return found

        setattr(owner, method, marked)

    submit = Call.submit

    def submitting(*args, **kwargs):
        try:
            return submit(*args, **kwargs)
        finally:
            mark("answer")  # or the news that none will come

    Call.submit = submitting

    recover = loop.recover

    def recovering(*args):
        mark("recovering")
        return recover(*args)

    loop.recover = recovering
    surround(Informant, "look", after="code-read", when=lambda _, seen: seen and seen.codes)
    surround(Attempts, "connect", before="connecting")
    surround(Journal, "record_sending", before="writing-sending", after="sending-written")
    surround(_Noting, "send", before="request", when=lambda line, _: line.is_payment)
    surround(Journal, "record_outcome", before="writing-outcome", after="outcome-written")
    mark("born")


def words_of(heard):
    """Cues and marks in order, without the sign."""
    return [word.removeprefix(SIGN) for word in heard]


def cues_of(heard):
    """What a customer saw and heard."""
    return [word for word in heard if not word.startswith(SIGN)]


def phase_of(heard):
    """Where it was when it died."""
    words = words_of(heard)
    if "ready" not in words:
        # What it then writes is the doubt that it found.
        return "recovering" if "recovering" in words else "starting"
    known = [word for word in words if word in PHASES]
    return PHASES[known[-1]]
