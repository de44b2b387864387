"""Power cuts of the whole machine: at every flush of a recorded session, and at random.

The judge is that of tests/crash: the journal against what the gateway really did. A cut is
harmless where nothing is missing that anyone outside had seen, the FAT is in order and the next
start sells. IMAGE_POWER_CUTS sets the number of random cuts (3).
"""

import os
import random
import time
from collections import Counter
from types import SimpleNamespace

import days
import machine
import pytest
from blocklog import Rebuilt, touches
from card import BOOT, DATA, Card, Data, copy_sparse, extract
from promises import faults_of
from tools import figure

from kiosk.sandbox.gateway import SandboxGateway

CUTS = int(os.environ.get("IMAGE_POWER_CUTS", "3"))
PATIENT = """limits:
  max_consecutive_unknown: 100
"""
SOLD = ("easy-01", "easy-02", "easy-03")


class Watched:
    """A sandbox whose every request and charge is noted with how far the card's log was then.

    Attributes:
        seen: (bytes of the log, mark), see `promises.faults_of`.
    """

    def __init__(self, gateway, log):
        self.gateway, self.seen = gateway, []
        ledger, amend = gateway.ledger, gateway.ledger.amend_request

        def noted(place, **known):
            # In the thread that serves the request, before anything of its answer is sent.
            amend(place, **known)
            if "code" in known:
                self.seen.append((log.stat().st_size, {"sent": known["code"], "charge": None}))

        ledger.amend_request = noted

    def told(self, log, code, cue):
        self.seen.append((log.stat().st_size, {"told": code, "cue": cue}))

    def marks(self, until):
        """What had been seen outside when the log had so many bytes."""
        charged = {charge.qr_code: charge for charge in self.gateway.ledger.charges}
        marks = []
        for at, mark in self.seen:
            if at > until:
                continue
            if "sent" in mark and (charge := charged.get(mark["sent"])):
                body = {"payment_id": charge.payment_id, "amount_sum": charge.amount_sum}
                mark = mark | {"charge": body}
            marks.append(mark)
        return marks


@pytest.fixture(scope="module")
def recorded(image, trial, workshop):
    """A card's first start and three payments, with every write and flush."""
    base = workshop / "recorded-base.img"
    copy_sparse(image, base)  # Not larger: its data partition is compared hundreds of times.
    now, log = workshop / "recorded.img", workshop / "recorded.log"
    with SandboxGateway() as gateway:
        Card(base).put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
        copy_sparse(base, now)
        watched = Watched(gateway, log)
        with machine.Machine(Card(now), workshop / "recorded-life", trial, log=log) as life:
            for name in SOLD:
                assert days.pay(life, name) == "approved"
                watched.told(log, days.CODES[name], "approved")
            life.wait_until_ready()
            life.cut()
        yield SimpleNamespace(base=base, log=log, watched=watched)


def state_faults(data_image, marks, folder):
    """What is wrong with a data partition as a cut left it."""
    data = Data(data_image)
    faults = data.check()
    journal = data.journal(folder / "journal")
    if journal is None:
        return [*faults, *(["the journal is gone"] if marks else [])]
    try:
        return faults + [
            # Who stood there when the power went finds the payment unknown after the next start.
            fault
            for fault in faults_of(journal, marks)
            if "is still open" not in fault
        ]
    except Exception as error:  # noqa: BLE001 - a journal that SQLite cannot read is a finding
        return [*faults, f"{type(error).__name__}: {error}"] if marks else faults


def test_no_flush_at_which_a_cut_loses_a_row_or_harms_the_fat(recorded, workshop, tmp_path):
    path = workshop / "rebuilt.img"
    copy_sparse(recorded.base, path)
    rebuilt, card = Rebuilt(path, recorded.log), Card(path)
    boot, data = card.partition(BOOT), card.partition(DATA)
    flushes = journals = fats = 0
    last_marks = None
    for number, new, end in rebuilt.flushes():
        flushes += 1
        marks = recorded.watched.marks(end)
        if touches(new, boot):
            fats += 1
            assert card.check_fat(tmp_path) == [], f"FAT at flush {number}"
        if touches(new, data) or marks != last_marks:
            journals += 1
            last_marks = marks
            copy = tmp_path / "data.img"
            extract(path, copy, data.offset, data.size)
            assert state_faults(copy, marks, tmp_path) == [], f"at flush {number}"
    assert len(last_marks) == 2 * len(SOLD)
    figure(
        f"power cut at every flush of a first start with {len(SOLD)} payments: {flushes} flushes, "
        f"{journals} states of the journal and {fats} of the FAT compared: 0 rows lost"
    )


def test_control_a_card_that_lost_its_flushes_is_caught(recorded, workshop, tmp_path):
    # As if nothing behind the first payment's request had ever reached the card.
    path = workshop / "rebuilt-short.img"
    copy_sparse(recorded.base, path)
    rebuilt, card = Rebuilt(path, recorded.log), Card(path)
    data = card.partition(DATA)
    first = recorded.watched.seen[0][0]
    for _, _, end in rebuilt.flushes():
        if end >= first:
            break
    copy = tmp_path / "data.img"
    extract(path, copy, data.offset, data.size)
    everything = recorded.watched.marks(2**63)
    assert state_faults(copy, everything, tmp_path) != []


def test_cuts_at_random_and_the_kiosk_sells_again(aged, workshop, boot, tmp_path):
    chance = random.Random(CUTS)
    card = aged.card.copied(workshop / "random-cuts.img")
    names = list(days.CODES)[1:]  # the first was sold when the card was new
    told = [(days.CODES["easy-01"], "approved")]
    moments = Counter()
    with SandboxGateway() as gateway:
        card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway), more=PATIENT))
        for number in range(CUTS):
            life = boot(card)
            moment = ("submitting", "boot", "concluded")[number % 3]
            moments[moment] += 1
            life.ask("hello")
            if moment != "boot":
                name = names.pop()
                outcome = days.pay(life, name, sees=(moment,))
                told += [(days.CODES[name], "approved")] if outcome == "approved" else []
            time.sleep(chance.uniform(0, 1.0 if moment != "boot" else 20.0))
            life.cut()
            assert card.check_fat(tmp_path) == []
        life = boot(card)
        name = names.pop()
        assert days.pay(life, name) == "approved"
        told.append((days.CODES[name], "approved"))
        life.wait_until_ready()
        life.power_off()
        ledger = SimpleNamespace(
            requests=[*aged.ledger.requests, *gateway.ledger.requests],
            charges=[*aged.ledger.charges, *gateway.ledger.charges],
        )
    assert days.faults_on(card, ledger, tmp_path, told) == []
    assert card.data(tmp_path).check() == []
    figure(
        f"power cuts of the machine: {CUTS} ({dict(moments)}), then a start that sells: "
        f"{len(ledger.charges)} charges, all in the journal"
    )
