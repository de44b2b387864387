"""Facts of the journal that events carry."""

import re

import pytest

from kiosk.core import events
from kiosk.core.code import PaymeCode
from kiosk.core.intent import Answer, Intent, Outcome
from kiosk.core.offer import Offer
from kiosk.errors import JournalError, JournalWriteError
from kiosk.messages import Offer as MakeOffer
from kiosk.messages import Resolve, Sighting, Symbol
from kiosk.payment.informant import Informant, new_intent_id
from kiosk.payment.store import Store

CODE = PaymeCode("50501234567890123456")
ANSWER = Answer(Outcome.APPROVED, payment_id="696e0246c9a128176d5934d8")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "journal.db")
    store.journal.record_sending(Intent("OLD", Offer(1000, "Tea", "R-1"), CODE))
    store.journal.record_outcome("OLD", ANSWER)
    yield store
    store.close()


@pytest.fixture
def informant(store):
    return Informant(store, "[0-9]{20}", new_id=lambda: "NEW")


def sighting(*payloads, kind="qr", at_s=100.0):
    symbols = [Symbol(payload=payload, kind=kind, stage="s") for payload in payloads]
    return Sighting(sequence=1, captured_at_s=at_s, symbols=symbols)


def test_a_code_with_how_it_stands(informant):
    other = b"50509999999999999999"
    seen = informant.look(sighting(CODE.mark, other, other, b"x" * 500), 100.1)
    assert seen == events.SymbolsSeen(
        seen_at_s=100.0,
        codes=(
            events.SeenCode(CODE, Outcome.APPROVED),
            events.SeenCode(PaymeCode(other.decode()), None),
        ),
        refused=(b"x" * 64,),
        fresh_id="NEW",
    )


@pytest.mark.parametrize("now_s", [101.2, 99.5, float("nan")])
def test_a_frame_of_another_time_is_none(now_s, informant):
    assert informant.look(sighting(CODE.mark), now_s) is None


def test_whether_another_payment_has_this_id(informant):
    assert informant.complete(events.OutcomeKnown("NEW", ANSWER)).payment_id_known
    assert not informant.complete(events.OutcomeKnown("OLD", ANSWER)).payment_id_known


def test_offers_and_resolutions(informant):
    offered = informant.offered(1, MakeOffer(amount_sum=5, label="a", reference="R-1"))
    assert offered.consumed
    assert not informant.offered(2, MakeOffer(amount_sum=5, label="a", reference="R-2")).consumed
    command = Resolve(
        intent="OLD", outcome="declined", by="a", why="b", payment_id=ANSWER.payment_id
    )
    asked = informant.resolving(3, command)
    assert asked.outcome is Outcome.DECLINED
    assert asked.standing.outcome is Outcome.APPROVED
    assert not asked.payment_id_known


def test_without_a_journal_nothing_is_claimed(informant, store):
    store.fail(JournalWriteError("full"))
    with pytest.raises(JournalError):
        informant.look(sighting(CODE.mark), 100.0)
    known = events.OutcomeKnown("NEW", ANSWER)
    assert informant.complete(known) == known


def test_new_ids_are_easy_to_read_out():
    ids = {new_intent_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"([2-9A-HJKMNP-TV-Z]{4}-){2}[2-9A-HJKMNP-TV-Z]{4}", i) for i in ids)
