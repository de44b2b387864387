"""The connection is cut after every single byte of the exchange, in both directions.

By FIN and by RST, plain and under TLS, for an approval and for a refusal. What the customer may
be told follows from what the proxy saw and from what the sandbox charged.
"""

import os
import time

import pytest
import tools
from road import open_road

EVERY_BYTE = bool(os.environ.get("KIOSK_CUT_EVERY_BYTE"))
"""Under TLS also those of the handshake and of `GET /info/`."""
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_cut_after_any_byte_loses_and_doubles_nothing(tls, part):
    found = {}
    with open_road(tls=tls) as road:
        begun_s = time.monotonic()
        for cut, refuses in [*road.cuts(every_byte=EVERY_BYTE or not tls)][part::PARTS]:
            if faults := [*road.meet(cut, refuses=refuses)]:
                found[str(cut)] = faults
        speed = road.runs / (time.monotonic() - begun_s)
    assert found == {}
    tools.figure(
        f"cut after every byte, {'tls' if tls else 'plain'}, part {part + 1} of {PARTS}: "
        f"{road.runs} cuts of {road.sent} + {road.info + road.approval} bytes, "
        f"{dict(road.outcomes)}, {speed:.0f} a second"
    )


def few(road):
    return [*road.cuts(every_byte=False)][::29]


def resets_of_the_request(road):
    cuts = road.cuts(every_byte=False)
    return [pair for pair in cuts if (pair[0].side, pair[0].by) == ("client", "rst")][::3]


@pytest.mark.parametrize(
    ("client", "tls", "found"),
    [
        ("pool", True, "a payment request began to leave on"),
        ("pool", False, "told that nothing was sent, and a request arrived"),
        ("pool without retries", True, "told that nothing was sent, and a request arrived"),
        ("pool without retries", False, "told that nothing was sent, and a request arrived"),
        ("doubter", True, "told declined, and money moved"),
        ("doubter", False, "told declined without a whole answer"),
    ],
)
def test_a_client_that_breaks_the_rules_is_caught(client, tls, found):
    texts = []
    with open_road(tls=tls, client=client) as road:
        # urllib3 posts again where the connection breaks while it writes under TLS.
        cuts = resets_of_the_request(road) if "began" in found else few(road)
        for cut, refuses in cuts:
            texts += road.meet(cut, refuses=refuses)
    caught = [text for text in texts if found in text]
    assert caught, texts
    tools.figure(
        f"control, {client} {'under TLS' if tls else 'plain'}: "
        f"{len(caught)} of {road.runs} cuts: {caught[0]}"
    )
