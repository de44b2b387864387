"""The data partition full, and damaged: nothing is sold, and full it comes back by itself."""

import days
from card import DATA, write_at
from tools import figure

FULL = "/data/full"


def test_a_full_data_partition_is_said_and_passes(aged, boot, workshop, gateway, tmp_path):
    card = aged.card.copied(workshop / "full.img")
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    life = boot(card)
    life.wait_until_ready()
    # Not to the last byte at once: fallocate takes what is there, the loop what is left.
    life.sh(
        f"fallocate -l $(($(stat -f -c '%a*%S' /data))) {FULL} || true;"
        f"cat /dev/zero > {FULL}2 2>/dev/null || true; sync; df /data",
    )
    state = life.wait_for_state(
        lambda s: s["state"] == "out_of_service" and "journal_unwritable" in s["reasons"],
        "out of service: journal_unwritable",
    )
    assert state["details"]["journal_unwritable"]
    assert gateway.ledger.requests == ()
    life.sh(f"rm {FULL} {FULL}2; sync")
    assert days.pay(life, "easy-02") == "approved"
    life.wait_until_ready()
    life.power_off()
    ledger = days.SimpleNamespace(
        requests=[*aged.ledger.requests, *gateway.ledger.requests],
        charges=[*aged.ledger.charges, *gateway.ledger.charges],
    )
    told = [(days.CODES["easy-02"], "approved")]
    assert days.faults_on(card, ledger, tmp_path, told) == []
    figure("full data partition: out of service (journal_unwritable), back and sells by itself")


def test_with_a_damaged_data_partition_it_sells_nothing(aged, boot, workshop, gateway):
    card = aged.card.copied(workshop / "damaged.img")
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    # What mount looks at, and the first folders; fsck finds a copy of the one, not of the others.
    write_at(card.path, card.partition(DATA).offset, bytes(4 * 1024 * 1024))
    life = boot(card)
    status = life.wait(
        lambda: (
            text
            if "data partition"
            in (text := life.sh("cat /boot/firmware/kiosk-status.txt", check=False))
            else None
        ),
        "a status that names the data partition",
    )
    assert "does not start" in status
    assert life.sh("systemctl is-active kiosk", check=False) == "inactive"
    life.cut()
    assert gateway.ledger.requests == ()
