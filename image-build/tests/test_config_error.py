"""A technician's mistake: said on the card with its line, and never worse than before."""

import days
from appliance.signal import RHYTHMS
from tools import figure

WRONG = "amount_sum: -5"
SECRET = "canary-of-a-wrong-file-81"


def wrong_settings(url):
    return days.settings_for(url).replace(f"amount_sum: {days.AMOUNT_SUM}", WRONG)


def line_of(text, words):
    return next(number for number, line in enumerate(text.splitlines(), start=1) if words in line)


def wait_for_status(life, words):
    """Until the kiosk has written that on its card."""

    def told():
        text = life.sh("cat /boot/firmware/kiosk-status.txt", check=False)
        return text if words in text else None

    return life.wait(told, f"{words!r} in the status file")


def test_a_first_file_with_a_mistake_is_named_and_nothing_is_sold(
    image, boot, workshop, gateway, tmp_path
):
    from card import Card

    card = Card.flashed(image, workshop / "first-mistake.img")
    text = wrong_settings(days.url_inside(gateway))
    card.put("kiosk.yaml", text)
    life = boot(card)
    life.ask("watch")
    status = wait_for_status(life, "NOT TAKEN")
    assert f"kiosk.yaml:{line_of(text, WRONG)}" in status, status
    assert "amount_sum" in status
    assert life.sh("systemctl is-active kiosk", check=False) == "inactive"
    # Its lamp: the rhythm that no payment has, again and again.
    life.sh("sleep 12")
    now_s = float(life.sh("cut -d' ' -f1 /proc/uptime"))
    steps = days.levels(life.ask("edges"), days.LED, now_s - 10, now_s)
    rhythm = [*RHYTHMS["config"][1]] * 2
    matches = [
        at
        for at in range(len(rhythm) // 2)
        if days.misses(steps[:-1], rhythm[at : at + 4], tolerance_s=0.15) == []
    ]
    assert matches, steps
    assert life.sh("systemctl --failed --no-legend --plain") == ""
    life.power_off()
    assert gateway.ledger.requests == ()
    assert card.get("kiosk.yaml") == text.encode()  # not taken, so nothing is taken off it
    assert card.check_fat(tmp_path) == []
    # The same card with the mistake mended: it sells.
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    life = boot(card)
    assert days.pay(life, "easy-02") == "approved"
    life.power_off()
    # Not the whole FAT: what a computer left behind in free clusters when it saved the file anew
    # is out of the kiosk's reach.
    assert days.TOKEN.encode() not in card.get("kiosk.yaml")
    figure("a first kiosk.yaml with a mistake: named with its line, mended, sells")


def test_a_later_file_with_a_mistake_leaves_the_one_before_in_force(
    aged, boot, workshop, gateway, tmp_path
):
    card = aged.card.copied(workshop / "later-mistake.img")
    good = days.settings_for(days.url_inside(gateway)).replace(days.TOKEN, "x" * len(days.TOKEN))
    card.put("kiosk.yaml", good)  # a new address of the box; the secret is the one it has
    life = boot(card)
    life.wait_until_ready()
    life.power_off()
    text = wrong_settings("http://192.0.2.1:1").replace(days.TOKEN, SECRET)
    card.put("kiosk.yaml", text)
    life = boot(card)
    assert days.pay(life, "easy-02") == "approved"
    status = wait_for_status(life, "NOT TAKEN")
    assert f"kiosk.yaml:{line_of(text, WRONG)}" in status, status
    assert SECRET not in status
    assert life.sh("systemctl --failed --no-legend --plain") == ""
    life.power_off()
    [charge] = gateway.ledger.charges
    assert charge.amount_sum == days.AMOUNT_SUM
    assert gateway.ledger.requests[-1].headers["x-api-key"] == days.TOKEN
    assert card.check_fat(tmp_path) == []
    figure("a later kiosk.yaml with a mistake: the one before sells on, secret of x kept")


def test_without_a_clock_it_starts_at_a_plausible_time(aged, boot, workshop, gateway):
    card = aged.card.copied(workshop / "no-clock.img")
    card.put("kiosk.yaml", days.settings_for(days.url_inside(gateway)))
    life = boot(card, rtc="2020-02-02T02:02:02")
    life.wait_until_ready()
    now_s = int(life.sh("date +%s"))
    last_row_s = int(
        life.sh(
            '/opt/kiosk/.venv/bin/python -c "import sqlite3;'
            "print(sqlite3.connect('file:/var/lib/kiosk/journal.db?mode=ro', uri=True)"
            ".execute('SELECT max(unixepoch(at)) FROM row').fetchone()[0])\""
        )
    )
    assert now_s >= last_row_s
    assert days.pay(life, "easy-03") == "approved"
    life.cut()
