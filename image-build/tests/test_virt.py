"""The unmodified image in QEMU's `virt` machine: its first start, and a payment.

GPIO lines of the kernel's gpio-sim, a V4L2 camera of its vivid, the sandbox gateway on the host.
Everything was seen in one life of the machine, see `days.first_life`.
"""

import itertools

import days
import pytest
from card import BOOT, DATA, GIB, SLOT_A, SLOT_B
from tools import figure

READY_GOAL_S, MEMORY_GOAL = 45, 220_000_000


@pytest.fixture(scope="module")
def first(image, trial, workshop):
    return days.first_life(image, trial, workshop)


def moment(first, cue, *, after_s=0.0):
    """(begin, end) of the first time that a cue was told."""
    later = [(at_s, one["cue"]) for at_s, one in first.history if at_s > after_s]
    for (at_s, told), following in itertools.zip_longest(later, later[1:]):
        if told == cue:
            end_s = following[0] if following else at_s
            return at_s, end_s
    raise AssertionError(f"{cue} was never told: {[told for _, told in later]}")


def blinks(first, cue):
    """The lamp's steps of a cue, from its first light on; the rest of a breath is passed over."""
    begin_s, end_s = moment(first, cue)
    steps = days.levels(first.edges, days.LED, begin_s - 0.2, end_s - 0.1)
    steps = days.without_dimming(steps)
    dark = next(at for at, (level, for_s) in enumerate(steps) if not level and for_s > 0.2)
    return steps[dark + 1 :]


def test_no_unit_fails(first):
    assert first.seen["failed"] == "", first.seen["log"]


def test_the_kiosk_gets_ready(first):
    ready_s = days.seconds_from_kernel(first.history, "ready")
    assert ready_s is not None
    figure(
        f"kernel to ready, first start, -M virt emulated: {ready_s:.1f} s (goal {READY_GOAL_S}); "
        f"{first.seen['blame'].splitlines()[0]}"
    )


def test_a_ready_kiosk_leaves_room_in_half_a_gigabyte(first):
    told = days.fields(first.seen["memory"])
    used = told["MemTotal"] - told["MemAvailable"]
    own = days.fields(first.seen["agent"]).get("VmRSS", 0)
    figure(
        f"memory in use of a ready kiosk, {told['MemTotal'] // 10**6} MB machine: "
        f"{used // 10**6} MB, {own // 10**6} of them the test's own "
        f"(goal {MEMORY_GOAL // 10**6})"
    )
    assert used - own <= MEMORY_GOAL, first.seen["processes"]


def test_a_code_before_the_camera_and_a_press_pay_once(first):
    assert first.outcome == "approved"
    [charge] = first.ledger.charges
    assert charge.amount_sum == days.AMOUNT_SUM
    assert charge.qr_code == days.CODES["easy-01"]
    [request] = first.ledger.requests
    assert request.headers["x-api-key"] == days.TOKEN


def test_the_row_is_on_the_data_partition(first, tmp_path):
    told = [(days.CODES["easy-01"], "approved")]
    assert days.faults_on(first.card, first.ledger, tmp_path, told) == []


def test_control_the_judge_misses_a_payment_that_has_no_row(first, tmp_path):
    [charge], [request] = first.ledger.charges, first.ledger.requests
    other = days.SimpleNamespace(
        requests=[request, days.SimpleNamespace(code="9" * 20)],
        charges=[
            charge,
            days.SimpleNamespace(qr_code="9" * 20, payment_id="f" * 24, amount_sum=1),
        ],
    )
    assert days.faults_on(first.card, other, tmp_path) != []


# Lamp and buzzer


def test_the_lamp_breathes_while_the_kiosk_is_ready(first):
    ready = [at_s for at_s, one in first.history if one["cue"] == "ready"]
    dimmed = [
        level
        for at_s in ready
        for level, for_s in days.levels(first.edges, days.LED, at_s, at_s + 3)
        if for_s < 0.02
    ]
    assert len(dimmed) > 20, "a lamp that breathes is switched many times a second"


def test_the_lamp_asks_for_a_press_in_its_rhythm(first):
    steps = blinks(first, "press_to_pay")
    promised = itertools.cycle(days.lamp_of("press_to_pay"))
    promised = list(itertools.islice(promised, min(len(steps) - 1, 6)))
    assert len(promised) >= 2
    assert days.misses(steps, promised) == []


def test_control_another_rhythm_is_told_apart(first):
    steps = blinks(first, "press_to_pay")
    for other in ("declined", "unknown", "out_of_service", "submitting"):
        expected = itertools.islice(itertools.cycle(days.lamp_of(other)), 6)
        assert days.misses(steps, list(expected)) != [], other


def test_the_lamp_is_steady_and_the_buzzer_long_when_it_is_approved(first):
    begin_s, _ = moment(first, "approved")
    lamp = days.without_dimming(days.levels(first.edges, days.LED, begin_s - 0.3, begin_s + 5))
    longest_s = max(for_s for level, for_s in lamp if level)
    assert abs(longest_s - 3.0) < 0.3, lamp
    [(level, sounded_s), *_] = [
        step
        for step in days.levels(first.edges, days.BUZZER, begin_s - 0.3, begin_s + 3)
        if step[0]
    ]
    assert level
    assert abs(sounded_s - 0.5) < 0.15
    figure(f"approved: lamp on for {longest_s:.2f} s (3), buzzer for {sounded_s:.2f} s (0.5)")


def test_the_buzzer_beeps_once_to_ask_for_a_press(first):
    begin_s, end_s = moment(first, "press_to_pay")
    sounds = days.levels(first.edges, days.BUZZER, begin_s - 0.2, end_s - 0.05)
    assert days.misses(sounds, days.sound_of("press_to_pay"), tolerance_s=0.08) == []


# The card afterwards


def test_the_data_partition_grew_to_the_end_of_the_card(first):
    size = int(first.seen["data"])
    assert size > 0.9 * (2 * GIB - first.card.partition(DATA).offset)
    found = first.card.partition(DATA)
    assert found.offset + found.size > 2 * GIB - 8 * 1024 * 1024


def test_the_second_system_was_filled(first):
    assert "Result=success" in first.seen["fill"]
    a, b = first.card.read(SLOT_A), first.card.read(SLOT_B)
    assert a[:4] == b"hsqs"
    used = int.from_bytes(a[40:48], "little")
    assert a[:used] == b[:used]


def test_secrets_are_off_the_fat_and_the_rest_is_as_it_was_written(first):
    now = first.card.get("kiosk.yaml")
    assert now == first.written.replace(days.TOKEN.encode(), b"x" * len(days.TOKEN))
    fat = first.card.read(BOOT)
    assert days.TOKEN.encode() not in fat
    # Control: what the technician wrote would have been found.
    assert b"from the vendor's letter" in fat


def test_the_fat_is_in_order_and_says_how_the_kiosk_is(first, tmp_path):
    assert first.card.check_fat(tmp_path) == []
    status = first.card.status()
    assert "10.0.2.15" in status, status
    assert days.TOKEN not in status
    assert days.CODES["easy-01"] not in status


def test_only_data_was_ever_writable(first):
    mounts = [line.split() for line in first.seen["mounts"].splitlines()]
    cards = {
        where: how.split(",") for what, where, _, how, *_ in mounts if what.startswith("/dev/vd")
    }
    writable = {where for where, how in cards.items() if "rw" in how}
    assert cards["/"][0] == "ro"
    assert cards["/boot/firmware"][0] == "ro"
    assert writable <= {"/data", "/var/lib/kiosk", "/etc/kiosk"}


def test_nobody_listens_on_the_network(first):
    listening = [
        line.split()[1]
        for line in first.seen["listening"].splitlines()
        if " 0A " in line and not line.split()[1].startswith(("0100007F", "3500007F", "3600007F"))
    ]
    assert listening == []


def test_the_host_name_is_the_one_in_the_file(first):
    assert first.seen["host_name"] == "kiosk-7"


def test_what_was_taken_is_in_force_on_the_data_partition(first, tmp_path):
    data = first.card.data(tmp_path)
    assert data.check() == []
    sets = data.names("etc/sets")
    assert data.get(f"etc/sets/{sets[-1]}/kiosk.yaml", tmp_path / "kiosk.yaml"), sets
    assert days.TOKEN in (tmp_path / "kiosk.yaml").read_text()
