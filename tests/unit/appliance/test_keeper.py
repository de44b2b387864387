"""The keeper: what it does to the machine, when, and what it never does while somebody pays."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from appliance import card, console, keeper, programs, slots, status
from appliance.card import CardError
from appliance.control import PAYING, Kiosk, Listener
from appliance.keeper import (
    IDLE_S,
    KEEP_TIME_EVERY_S,
    LOOK_AROUND_EVERY_S,
    MOST_PAYING_S,
    SETTLED_S,
    STEP_EVERY_S,
    TRIAL_S,
    TRY_AGAIN_S,
    WRITE_EVERY_S,
    Keeper,
    Machine,
    Places,
    Surroundings,
)
from appliance.programs import ProgramError
from appliance.slots import SlotError, Standing
from appliance.verdict import GOOD_FOR_S, INSIDE, OUTSIDE, WITH_AN_ADDRESS, why_not_good

from kiosk.core.cues import Reason
from kiosk.messages import State
from kiosk.payment.clock import EARLIEST, LATEST
from kiosk.payment.control import Control
from kiosk.watchdog import Watchdog

READY = Kiosk("ready", scanner=True)
OUT = Kiosk("out_of_service", {"camera_down": "unplugged"}, scanner=True)
PERMANENT, ON_TRIAL = Standing("A", "A", None, False), Standing("B", "A", None, True)
WAITING = Standing("A", "A", "B", False)
ETH0 = status.Link("eth0", "dc:a6:32:00:00:01", ("192.168.1.20",))
NOW_S = EARLIEST.timestamp() + 1e7


@dataclass
class Played:
    """The machine, played: notes what is done to it."""

    stands: Standing | None = PERMANENT
    is_server: bool = True
    ready_s: float | None = 12.5
    says_unit: str = ""
    says_failed: tuple[str, ...] = ()
    fails: dict[str, Exception] = field(default_factory=dict)
    done: list[object] = field(default_factory=list)

    def _do(self, name, *about):
        self.done.append((name, *about) if about else name)
        if name in self.fails:
            raise self.fails[name]

    def standing(self):
        return self.stands

    def mark_good(self):
        self._do("good")
        if not self.stands.on_trial:
            return False
        self.stands = Standing("B", "B", None, False)
        return True

    def give_up(self, why):
        self._do("give up", why)

    def stop_kiosk(self):
        self._do("stop")

    def start_kiosk(self):
        self._do("start")

    def restart(self):
        self._do("restart")

    def restart_into_new(self):
        self._do("try")

    def is_set_by_server(self):
        return self.is_server

    def step_clock(self, to_s):
        self._do("step", round(to_s))

    def keep_time(self):
        self._do("keep time")

    def ready_after_s(self):
        if "ready" in self.fails:
            raise self.fails["ready"]
        return self.ready_s

    def unit(self):
        if "unit" in self.fails:
            raise self.fails["unit"]
        return self.says_unit

    def failed(self):
        return self.says_failed

    def show(self, text):
        self.done.append(("show", text))

    def write(self, text):
        self._do("write", text)
        return True

    def acts(self):
        """Without what is only shown."""
        return [d for d in self.done if d[0] not in ("show", "write") and d != "keep time"]

    def texts(self, name):
        return [d[1] for d in self.done if d[0] == name]


class Here:
    """One keeper, with its machine and its time at hand."""

    def __init__(self, folder, **machine):
        self.now_s, self.wall_s = 20.0, NOW_S
        self.around = Surroundings((ETH0,), 1 << 30)
        self.hands = Played(**machine)
        intake = folder / "result.json"
        intake.write_text(json.dumps({"ok": True, "in_force": True}), encoding="utf-8")
        self.floor = folder / "floor"
        self.floor.write_text(f"{EARLIEST.timestamp():.0f}\n", encoding="ascii")
        here = self

        class Known(Places):
            def surroundings(self):
                return here.around

        places = Known(intake=intake, floor=self.floor, version=folder / "version.json")
        self.keeper = Keeper(
            self.hands, places, up_s=lambda: self.now_s, wall_s=lambda: self.wall_s
        )

    def passes(self, seconds, kiosk, every_s=2.0):
        """Time, with a look every two seconds."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            step_s = min(every_s, until_s - self.now_s)
            self.now_s += step_s
            self.wall_s += step_s
            self.keeper.look(kiosk)
        return self.hands


@pytest.fixture
def here(tmp_path):
    return Here(tmp_path)


@pytest.fixture
def on_trial(tmp_path):
    return Here(tmp_path, stands=ON_TRIAL)


@pytest.fixture
def waiting(tmp_path):
    return Here(tmp_path, stands=WAITING)


# Whether a system is good


def test_each_reason_of_the_kiosk_was_thought_about():
    lists = [set(INSIDE), set(OUTSIDE), set(WITH_AN_ADDRESS)]

    assert set.union(*lists) == {reason.value for reason in Reason}
    assert sum(map(len, lists)) == len(Reason)


@pytest.mark.parametrize("reason", sorted(OUTSIDE))
def test_what_another_system_would_not_mend_is_no_reason_to_go_back(reason):
    kiosk = Kiosk("out_of_service", {reason: ""})

    assert why_not_good(kiosk, has_address=False) == ""


@pytest.mark.parametrize("reason", sorted(INSIDE))
def test_what_it_might_mend_is(reason):
    kiosk = Kiosk("out_of_service", {reason: "", "unknown_pause": ""})

    assert why_not_good(kiosk, has_address=True) == reason


def test_a_box_that_is_away_is_outside_as_long_as_this_machine_has_a_network():
    kiosk = Kiosk("out_of_service", {"gateway_unreachable": ""})

    assert why_not_good(kiosk, has_address=True) == ""
    assert why_not_good(kiosk, has_address=False) == "gateway_unreachable"


@pytest.mark.parametrize("state", ["ready", *sorted(PAYING)])
def test_a_kiosk_that_serves_is_good(state):
    assert why_not_good(Kiosk(state), has_address=False) == ""


@pytest.mark.parametrize(
    ("kiosk", "why"),
    [
        (None, "does not run"),
        (Kiosk("dreaming"), "not known here: dreaming"),
        (Kiosk("out_of_service"), "does not say why"),
        (Kiosk("out_of_service", {"of_a_later_version": ""}), "of_a_later_version"),
    ],
)
def test_what_cannot_be_told_is_not_good(kiosk, why):
    assert why in why_not_good(kiosk, has_address=True)


# A trial


def test_a_minute_of_service_makes_it_permanent_once(on_trial):
    assert on_trial.passes(GOOD_FOR_S, READY).acts() == []

    on_trial.passes(600, READY)

    assert on_trial.hands.acts() == ["good"]


def test_a_box_that_is_down_takes_no_update_back(on_trial):
    kiosk = Kiosk("out_of_service", {"gateway_unreachable": "", "clock_implausible": ""})

    assert on_trial.passes(3600, kiosk).acts() == ["good"]


def test_payments_count_as_service(on_trial):
    on_trial.passes(20, READY)
    on_trial.passes(30, Kiosk("submitting"))
    on_trial.passes(14, READY)

    assert on_trial.hands.acts() == ["good"]


def test_each_break_begins_the_minute_anew(on_trial):
    for _ in range(5):
        on_trial.passes(GOOD_FOR_S - 10, READY)
        on_trial.passes(2, OUT)

    assert on_trial.hands.acts() == []


def test_one_that_does_not_serve_in_ten_minutes_is_given_up(on_trial):
    assert on_trial.passes(TRIAL_S - 20 - 2, OUT).acts() == []

    on_trial.passes(60, OUT)

    assert on_trial.hands.acts() == [("give up", "camera_down"), "stop", "restart"]


def test_so_is_one_whose_kiosk_never_comes(on_trial):
    on_trial.passes(TRIAL_S, None)

    assert on_trial.hands.acts() == [("give up", "the kiosk does not run"), "stop", "restart"]


def test_one_that_serves_now_and_then_is_given_up_between_customers(on_trial):
    while on_trial.now_s < TRIAL_S + 300:
        on_trial.passes(20, Kiosk("submitting"))
        on_trial.passes(2, OUT)
    assert on_trial.hands.acts() == []

    on_trial.passes(IDLE_S + 4, OUT)

    assert on_trial.hands.acts()[0] == ("give up", "camera_down")


def test_a_state_that_never_ends_does_not_keep_it(on_trial):
    on_trial.hands.fails["good"] = CardError("worn out")  # or it would be good by then
    on_trial.passes(TRIAL_S + MOST_PAYING_S + 10, Kiosk("concluded"))
    assert "restart" not in on_trial.hands.acts()

    while on_trial.now_s < TRIAL_S + 2 * MOST_PAYING_S:
        on_trial.passes(10, Kiosk("connecting"))
        on_trial.passes(2, Kiosk("dreaming"))

    assert on_trial.hands.acts()[-2:] == ["stop", "restart"]


def test_a_card_that_cannot_make_it_permanent_is_tried_again(on_trial):
    on_trial.hands.fails["good"] = CardError("config.txt was not written whole")
    on_trial.passes(100, READY)
    assert "good, but it cannot be made permanent" in on_trial.hands.texts("show")[-1]
    del on_trial.hands.fails["good"]

    on_trial.passes(4, READY)

    assert on_trial.hands.acts().count("restart") == 0
    assert on_trial.keeper._is_marked


@pytest.mark.parametrize("fails", ["give up", "stop"])
def test_going_back_stops_at_nothing(on_trial, fails):
    errors = {"give up": SlotError("no"), "stop": ProgramError("systemctl: no")}
    on_trial.hands.fails[fails] = errors[fails]

    on_trial.passes(TRIAL_S, OUT)

    assert on_trial.hands.acts()[-1] == "restart"


def test_a_machine_that_does_not_restart_is_told_again(on_trial):
    on_trial.hands.fails["restart"] = ProgramError("systemctl: no")

    on_trial.passes(TRIAL_S + 10, OUT)

    assert on_trial.hands.acts().count("restart") > 1


def test_a_permanent_system_is_never_given_up(here):
    assert here.passes(3 * TRIAL_S, OUT).acts() == []


def test_nothing_is_decided_where_nobody_can_say_which_system_runs(tmp_path):
    here = Here(tmp_path, stands=None)

    assert here.passes(2 * TRIAL_S, READY).acts() == []


# A system that waits for its trial


def test_it_is_tried_once_nobody_pays_and_the_kiosk_was_stopped_in_order(waiting):
    waiting.passes(IDLE_S - 2, READY)
    waiting.passes(300, Kiosk("submitting"))
    waiting.passes(IDLE_S, READY)
    assert [act for act in waiting.hands.acts() if act != "good"] == []

    waiting.passes(4, READY)

    assert [act for act in waiting.hands.acts() if act != "good"] == ["stop", "try"]


def test_it_is_tried_where_no_kiosk_runs_it_may_mend_that(waiting):
    waiting.passes(IDLE_S + 4, None)

    assert waiting.hands.acts() == ["stop", "try"]


@pytest.mark.parametrize("fails", ["stop", "try"])
def test_where_that_fails_the_kiosk_goes_on_and_it_is_tried_later(waiting, fails):
    waiting.hands.fails[fails] = ProgramError("systemctl: no")
    waiting.passes(IDLE_S + 10, None)
    first = waiting.hands.acts()
    assert first[-1] == "start"

    waiting.passes(TRY_AGAIN_S - 20, None)
    assert waiting.hands.acts() == first
    waiting.passes(20, None)

    assert waiting.hands.acts() == first * 2


@pytest.mark.parametrize("state", sorted(PAYING))
def test_control_nothing_is_ever_stopped_while_somebody_pays(tmp_path, state):
    for stands in (WAITING, ON_TRIAL):
        here = Here(tmp_path, stands=stands)
        here.hands.fails["good"] = CardError("else it would be good")
        here.passes(TRIAL_S + MOST_PAYING_S - 50, Kiosk(state, started_by_box_s=NOW_S + 9e5))
        assert [act for act in here.hands.acts() if act != "good"] == []


# The clock


def by_box(here, ahead_s, state="ready"):
    return Kiosk(state, scanner=True, started_by_box_s=here.wall_s - here.now_s + ahead_s)


def test_without_a_time_server_the_box_is_believed(here):
    here.hands.is_server = False

    here.passes(2, by_box(here, 86_400))

    assert here.hands.acts() == [("step", round(here.wall_s + 86_400))]


@pytest.mark.parametrize("ahead_s", [-59, 0, 59])
def test_what_the_box_tells_a_little_late_is_no_reason_to_step(here, ahead_s):
    here.hands.is_server = False

    assert here.passes(100, by_box(here, ahead_s)).acts() == ["good"]


def test_a_time_server_is_believed_before_the_box(here):
    assert here.passes(10, by_box(here, 86_400)).acts() == []


@pytest.mark.parametrize(
    "at_s", [EARLIEST.timestamp() - 100, LATEST.timestamp() + 100, 0.0, float("nan"), float("inf")]
)
def test_a_time_that_cannot_be_is_not_believed(here, at_s):
    here.hands.is_server = False

    here.passes(10, Kiosk("ready", started_by_box_s=at_s - here.now_s))

    assert here.hands.acts() == []


def test_nor_is_one_before_the_floor(here):
    here.hands.is_server = False
    here.floor.write_text(f"{here.wall_s + 1000:.0f}\n")

    assert here.passes(10, by_box(here, 500)).acts() == []


def test_without_a_floor_the_release_is_one(here):
    here.floor.unlink()

    assert here.keeper.places.floor_s() == EARLIEST.timestamp()


def test_a_box_gone_mad_does_not_drag_the_clock_along(here):
    here.hands.is_server = False
    here.hands.fails["step"] = PermissionError(1, "Operation not permitted")
    told = by_box(here, 86_400)

    here.passes(STEP_EVERY_S - 10, told)

    assert len([act for act in here.hands.acts() if act[0] == "step"]) == 1
    here.passes(20, told)
    assert len([act for act in here.hands.acts() if act[0] == "step"]) == 2


def test_the_time_is_kept_each_hour(here):
    here.hands.fails["keep time"] = OSError(28, "No space left on device")

    here.passes(3 * KEEP_TIME_EVERY_S + 10, READY, every_s=30)

    assert here.hands.done.count("keep time") == 3


@pytest.mark.parametrize(
    ("is_server", "ahead_s", "told"),
    [
        (True, None, "time server"),
        (False, 0, "the box"),
        (False, 61, "nobody"),
        (False, None, "no"),
    ],
)
def test_who_vouches_is_told(here, is_server, ahead_s, told):
    here.hands.is_server = is_server
    here.hands.fails["step"] = PermissionError(1, "Operation not permitted")

    here.passes(2, READY if ahead_s is None else by_box(here, ahead_s))

    (line,) = [x for x in here.hands.texts("show")[-1].splitlines() if x.startswith("Clock:")]
    assert told in line


# What people read


def test_the_screen_follows_and_the_card_is_written_when_the_start_is_over(here):
    here.passes(10, OUT)
    assert len(here.hands.texts("show")) == 1
    assert here.hands.texts("write") == []

    here.passes(2, READY)

    assert "in service" in here.hands.texts("write")[0]


def test_what_lasts_is_written_although_it_is_not_well(here):
    here.passes(SETTLED_S, OUT)

    assert "camera_down" in here.hands.texts("write")[0]


@pytest.mark.parametrize("what", ["configuration", "data", "journal"])
def test_a_card_in_trouble_is_told_at_once(here, what):
    if what == "data":
        here.around = replace(here.around, free_bytes=None)
    elif what == "journal":
        here.around = replace(here.around, is_journal_lost=True)
    else:
        here.keeper.places.intake.write_text('{"ok": false, "in_force": false}')

    here.passes(2, None)

    assert len(here.hands.texts("write")) == 1


def test_a_day_of_sales_writes_nothing(here):
    here.passes(200, READY)
    before = len(here.hands.texts("write"))

    for hour in range(24):
        here.around = replace(here.around, free_bytes=(1 << 30) + hour * 4096)
        for state in sorted(PAYING):
            here.passes(10, Kiosk(state, scanner=True))
        here.passes(3500, READY, every_s=50)

    assert len(here.hands.texts("write")) == before == 1


def test_what_flickers_is_written_once_a_minute_at_most(here):
    for _ in range(300):
        here.passes(2, OUT)
        here.passes(2, READY)

    assert 15 <= len(here.hands.texts("write")) <= 1200 / WRITE_EVERY_S + 1


def test_a_card_that_cannot_be_written_is_tried_again_in_a_minute(here):
    here.hands.fails["write"] = CardError("worn out")
    here.passes(10, READY)
    del here.hands.fails["write"]

    here.passes(WRITE_EVERY_S + 60, READY)

    assert len(here.hands.texts("write")) == 2


def test_how_long_the_start_took_is_told_once(here, capsys):
    here.hands.fails["ready"] = ProgramError("systemctl: no")
    here.passes(4, READY)
    del here.hands.fails["ready"]
    here.hands.ready_s = None
    here.passes(4, READY)
    here.hands.ready_s = 12.5

    here.passes(10, READY)

    assert capsys.readouterr().err.count("ready 12.5 s after the kernel began") == 1


def test_the_surroundings_are_looked_at_now_and_then(here):
    looks = []
    here.hands.standing = lambda: looks.append(here.now_s) or PERMANENT

    here.passes(100, READY)

    assert len(looks) <= 100 / LOOK_AROUND_EVERY_S + 2


def test_the_surroundings_of_this_machine(tmp_path):
    said = tmp_path / "said"
    places = Places(update=said, data=Path("/proc"), sys_net=tmp_path)
    assert places.surroundings() == Surroundings((), 0, True, "")

    said.write_text("not installed: \x1b[2J wrong key\n")

    assert places.surroundings().update == "not installed: ?[2J wrong key"
    assert not Surroundings((status.Link("wlan0", "x"),)).has_address


# The real hands


@pytest.fixture
def commands(monkeypatch):
    """What is run, and what it says."""
    ran = []

    def run(command, most_s=60.0):
        ran.append([*command])
        return "12345678\n"

    monkeypatch.setattr(programs, "run", run)
    return ran


def test_what_it_tells_systemd(commands):
    machine = Machine()

    machine.stop_kiosk()
    machine.start_kiosk()
    machine.restart()
    machine.restart_into_new()

    assert commands[0] == ["systemctl", "stop", "kiosk.service"]
    assert commands[1] == ["systemctl", "start", "--no-block", "kiosk.service"]
    assert commands[2] == ["systemctl", "reboot"]
    assert commands[3][1:] == ["-m", "appliance.update", "try"]
    assert machine.ready_after_s() == 12.345678


@pytest.mark.parametrize(
    ("state", "result", "asked", "why"),
    [
        ("active", "yes", "7", ""),
        ("activating", "yes", "7", ""),
        ("inactive", "no", "7", "condition"),
        ("inactive", "no", "0", "inactive"),
        ("inactive", "yes", "7", "inactive"),
    ],
)
def test_what_keeps_the_kiosk_from_running(monkeypatch, state, result, asked, why):
    said = f"ActiveState={state}\nConditionResult={result}\nConditionTimestampMonotonic={asked}\n"
    monkeypatch.setattr(programs, "run", lambda command, most_s=60.0: said)

    assert Machine().unit() == why


def test_which_units_failed(monkeypatch):
    said = "kiosk-firewall.service loaded failed failed Firewall of the kiosk\n\n"
    monkeypatch.setattr(programs, "run", lambda command, most_s=60.0: said)

    assert Machine().failed() == ("kiosk-firewall.service",)


def test_a_kiosk_that_does_not_run_has_its_reason_told(here):
    here.hands.says_unit = "condition"
    here.passes(2, None)
    assert ".card" in here.hands.texts("show")[-1]

    here.passes(20, READY)
    assert "in service" in here.hands.texts("show")[-1]


def test_a_systemd_that_does_not_answer_stops_nothing(here):
    here.hands.fails["unit"] = ProgramError("systemctl: timed out")

    here.passes(2, None)

    assert "started again and again" in here.hands.texts("show")[-1].replace("\n             ", " ")


def test_what_failed_is_told_while_the_kiosk_is_not_open(here):
    here.hands.says_failed = ("kiosk-firewall.service",)

    here.passes(2, OUT)
    text = here.hands.texts("show")[-1]

    assert "the firewall did not load" in text
    assert "failed: kiosk-firewall.service" in text


@pytest.mark.parametrize("said", ["", "0\n", "[not set]\n"])
def test_a_kiosk_that_was_never_ready(monkeypatch, said):
    monkeypatch.setattr(programs, "run", lambda command, most_s=60.0: said)

    assert Machine().ready_after_s() is None


def test_the_slots_are_asked_and_told(monkeypatch):
    told = []
    monkeypatch.setattr(slots, "standing", lambda: ON_TRIAL)
    monkeypatch.setattr(slots, "mark_good", lambda: True)
    monkeypatch.setattr(slots, "give_up", told.append)
    machine = Machine()

    assert machine.standing() is ON_TRIAL
    assert machine.mark_good()
    machine.give_up("why")
    assert told == ["why"]

    def nobody_knows():
        raise SlotError("the command line names none")

    monkeypatch.setattr(slots, "standing", nobody_knows)
    assert machine.standing() is None


def test_the_status_file_is_written_when_it_says_something_new(monkeypatch, tmp_path):
    file = tmp_path / "kiosk-status.txt"
    written = []

    def in_place(path, data):
        assert path.stat().st_size == len(data)
        path.write_bytes(data)
        written.append(data)
        return True

    monkeypatch.setattr(card, "write_if_changed", in_place)
    machine = Machine(file)
    with pytest.raises(CardError):
        machine.write("hello\n")
    file.write_bytes(b" " * status.FILE_BYTES)

    assert machine.write("hello\nWritten: today\n")
    assert not machine.write("hello\nWritten: tomorrow\n")
    assert machine.write("good bye\nWritten: tomorrow\n")
    assert len(written) == 2


def test_clock_and_screen(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(keeper.clock, "set_clock", asked.append)
    monkeypatch.setattr(console, "show", asked.append)
    machine = Machine(kept=str(tmp_path / "clock"))

    machine.step_clock(5.0)
    machine.show("text")
    machine.keep_time()

    assert asked == [5.0, "text"]
    assert (tmp_path / "clock").exists()
    assert machine.is_set_by_server() == Path("/run/systemd/timesync/synchronized").exists()


def test_it_goes_on_as_long_as_it_is_let(monkeypatch, tmp_path, here):
    monkeypatch.setattr(keeper, "LOOK_EVERY_S", 0.01)
    served = Control(tmp_path / "control.sock", lambda post: None)
    served.publish(State(state="ready", scanner=True))
    looks = iter([False] * 200)
    listener = Listener(tmp_path / "control.sock")

    keeper.run(here.keeper, listener, Watchdog(), lambda: next(looks, True))

    listener.close()
    served.stop()
    assert "in service" in here.hands.texts("show")[-1]


def test_it_runs_on_the_card(monkeypatch):
    ran = []
    monkeypatch.setattr(keeper, "run", lambda *parts: ran.append(parts))

    assert keeper.main() == 0
    ((made, *_, is_over),) = ran
    assert isinstance(made.hands, Machine)
    assert not is_over()
    assert made.up_s() > 0
