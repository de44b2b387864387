"""The real `kiosk run` and the sandbox on two hosts, and a cable that fails as cables do.

Each trouble begins when the customer has been asked to press, on a warm connection.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import judge
import lan
import tools
from kiosk_process import a_code
from till import Till

RUNS = int(os.environ.get("KIOSK_LAN_RUNS", "1"))
AT_ONCE = 4
ALL = "tcp dport != 1"
"""Every packet of TCP."""
WITH_BODY = "meta length > 90"
AN_ANSWER = "meta length > 150"
LOSSY = "numgen random mod 100 < 25 drop"
# With headers of IP and TCP the head of the request is 240 bytes long and its body 100.
AFTER_HEAD = "quota over 290 bytes"
RESET = "reject with tcp reset"


def to_box(rule):
    return lambda road: road.filter("kiosk", f"{ALL} {rule}")


def to_kiosk(rule):
    return lambda road: road.filter("box", f"{ALL} {rule}")


def both(rule):
    return lambda road: (to_box(rule)(road), to_kiosk(rule)(road))


KNOWN, LOST = {"approved"}, {"unknown"}
# The connection may be found dead before the press; then nothing is sent.
NOT_THERE = {"unknown", "not_sent"}
TROUBLES = {
    # what: (how, what the customer may be told, charges where that is certain)
    "nothing": (lambda road: None, KNOWN, 1),
    "8 kbit/s": (lambda road: road.narrow("8kbit"), KNOWN, 1),
    "a quarter of all packets is lost": (both(LOSSY), {*KNOWN, *NOT_THERE}, None),
    "silence": (both("drop"), NOT_THERE, None),
    "the request is swallowed": (to_box("drop"), NOT_THERE, None),
    "its body is swallowed": (to_box(f"{AFTER_HEAD} drop"), NOT_THERE, None),
    "the box falls silent": (to_kiosk("drop"), NOT_THERE, None),
    "the answer is swallowed": (to_kiosk(f"{AN_ANSWER} drop"), NOT_THERE, None),
    "the request is reset": (to_box(f"{WITH_BODY} {RESET}"), NOT_THERE, 0),
    "its body is reset": (to_box(f"{AFTER_HEAD} {RESET}"), NOT_THERE, 0),
    "the answer is reset": (to_kiosk(f"{AN_ANSWER} {RESET}"), NOT_THERE, None),
    "the cable is pulled out": (lambda road: road.link("kiosk", "down"), NOT_THERE, None),
}


def test_a_cable_that_fails_loses_and_doubles_nothing(tmp_path):
    """Several at a time: they mostly wait for what does not come."""
    lan.lay().close()  # or skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [
            (trouble, pool.submit(pays_while, trouble, tmp_path / f"{number}-{run}"))
            for number, trouble in enumerate(TROUBLES)
            for run in range(RUNS)
        ]
    wrong, outcomes, charged = [], {trouble: Counter() for trouble in TROUBLES}, Counter()
    for trouble, run in runs:
        faults, told, charges = run.result()
        wrong += [f"{trouble}: {fault}" for fault in faults]
        outcomes[trouble][told] += 1
        charged[trouble] += charges
    assert wrong == []
    for trouble in TROUBLES:
        found = ", ".join(f"{count} {told}" for told, count in outcomes[trouble].items())
        tools.figure(f"cable, {trouble}: told {found}; {charged[trouble]} charged")


def pays_while(trouble, folder):
    """One payment of a fresh kiosk: (what is wrong, in words; what was told; charges)."""
    happens, permitted, charges = TROUBLES[trouble]
    folder.mkdir()
    with lan.lay() as road:
        kiosk, code = road.kiosk(folder), a_code()
        assert kiosk.read(code).state == "awaiting_confirm"
        happens(road)
        kiosk.press()
        told = kiosk.control.wait("concluded").outcome
        faults = lan.faults_of(kiosk, road, [(code, kiosk.control.cues())])
        ledger = road.box.ledger()
    if told not in permitted:
        faults.append(f"told {told}")
    if len(ledger.requests) > 1:
        faults.append(f"{len(ledger.requests)} requests")
    if charges is not None and len(ledger.charges) != charges:
        faults.append(f"{len(ledger.charges)} charges")
    return faults, told, len(ledger.charges)


def test_a_request_that_arrives_when_the_customer_was_told_is_in_the_journal(tmp_path):
    """The kernel goes on with what a closed connection still holds."""
    with lan.lay() as road:
        kiosk, code = road.kiosk(tmp_path), a_code()
        assert kiosk.read(code).state == "awaiting_confirm"
        to_box("drop")(road)
        kiosk.press()
        told = kiosk.control.wait("concluded").outcome
        before = len(road.box.ledger().charges)
        road.clear()
        if told == "unknown":
            road.box.wait("charges", 1)
        faults = lan.faults_of(kiosk, road, [(code, kiosk.control.cues())])
        ledger = road.box.ledger()
    assert faults == []
    assert before == 0
    assert len(ledger.requests) == (told == "unknown")
    tools.figure(
        f"cable, plugged in again: told {told} before, {len(ledger.charges)} charged after"
    )


def test_a_client_that_takes_silence_for_a_refusal_is_caught():
    with lan.lay() as road:
        url = f"http://{lan.BOX_IP}:{road.box.port}"
        place = SimpleNamespace(url=url, ca_file=None)
        till = Till(
            place, client="doubter", read_s=1.0, deadline_s=2.0, within=road.within("kiosk")
        )
        try:
            # Handshake and `GET /info/` pass, the answer to the payment does not.
            to_kiosk("quota over 640 bytes drop")(road)
            code = a_code()
            faults = [*judge.faults_of(till.pay(code), code, till, road.box.ledger())]
        finally:
            till.close()
    assert "told declined, and money moved" in faults
    tools.figure(f"control, doubter on a silent cable: {'; '.join(faults)}")
