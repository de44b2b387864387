"""kill -9 at random moments, always restarted on the same journal, against one ledger.

CRASH_KILLS sets the number of kills (600), for example `CRASH_KILLS=20000 pytest tests/crash`.
"""

import os
import random
from collections import Counter

import pytest
from audit import faults_of, intent_of, rows_of, without_outcome
from kiosk_process import a_code

from kiosk.messages import Acknowledge, Ok
from kiosk.sandbox.gateway import SandboxGateway

KILLS = int(os.environ.get("CRASH_KILLS", "600"))
PARTS = 6
ROUNDS_BETWEEN_FULL_CHECKS = 25
LONGEST_START_S = 0.25
LONGEST_PAYMENT_S = 0.035


def is_born(journal_path):
    """Before this mark the journal may be half made; nothing was sold with it."""
    return journal_path.with_name(journal_path.name + ".made").exists()


def wait_until_it_serves(kiosk, open_before):
    """The first cue after a restart; an announced request without outcome is never forgotten."""
    state = kiosk.control.wait(lambda s: s.state != "out_of_service")
    if open_before:
        assert (state.state, state.cue) == ("concluded", "unknown")
    if state.state == "concluded":
        assert isinstance(kiosk.control.command(Acknowledge()), Ok)
        kiosk.control.wait("ready")


def check_last(kiosk, code, cues, ledger):
    """The checks of one life; the whole record is compared now and then."""
    intent = intent_of(kiosk.journal_path, code)
    kinds = [kind for kind, _ in rows_of(kiosk.journal_path).get(intent, [])]
    assert sum(request.code == code for request in ledger.requests) <= 1
    if "approved" in cues:
        assert kinds[-1] == "approved"
    if ledger.charge_of(code) is not None:
        assert "sending" in kinds
    return kinds[-1] if kinds else "nothing"


@pytest.mark.parametrize("part", range(PARTS))
def test_no_payment_is_lost_or_doubled(part, mortal_at, record_testsuite_property):
    chance = random.Random(os.environ.get("CRASH_SEED", f"{part}"))
    with SandboxGateway(latency_s=0.004) as gateway:
        kiosk = mortal_at(gateway.url, confirm={"mode": "automatic"})
        told, ends, open_before = [], Counter(), []
        for life in range(max(1, KILLS // PARTS)):
            code = a_code()
            if chance.random() < 0.2:
                # In the middle of a start, where the row of doubt is written.
                kiosk.start(follow=False)
                kiosk.process.wait_for(chance.uniform(0, LONGEST_START_S))
                ends["while starting"] += 1
            else:
                kiosk.start()
                wait_until_it_serves(kiosk, open_before)
                assert without_outcome(kiosk.journal_path) == []
                kiosk.scanner.show(code)
                kiosk.process.wait_for(chance.uniform(0, LONGEST_PAYMENT_S))
            kiosk.kill()
            cues = kiosk.last_cues()
            if is_born(kiosk.journal_path):
                told.append((code, cues))
                ends[check_last(kiosk, code, cues, gateway.ledger)] += 1
                open_before = without_outcome(kiosk.journal_path)
            if life % ROUNDS_BETWEEN_FULL_CHECKS == 0 and told:
                assert faults_of(kiosk.journal_path, gateway.ledger, told) == []

        kiosk.start()
        wait_until_it_serves(kiosk, open_before)
        kiosk.kill()
        assert faults_of(kiosk.journal_path, gateway.ledger, told) == []
        assert without_outcome(kiosk.journal_path) == []
        record_testsuite_property(f"kills_{part}", dict(ends))
        print(dict(ends), len(gateway.ledger.charges), "charges")
        if KILLS >= 300:
            # A run that never dies in the middle of a payment proves nothing.
            assert {"nothing", "sending", "approved"} <= ends.keys()
