"""Time frames and events at the edge: started, ended and undone offline, through the same tests as every switch action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.display.account import view_account
from gridtally_edge.display.facts import facts
from gridtally_edge.display.texts import Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import ALL_WEEK, Action, Outcome, Schedule, Window, to_bytes
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench

C, S = CommandType, CommandState
MINUTE_MS = 60_000
OPEN, CLOSED = SwitchState.OPEN, SwitchState.CLOSED


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.credit(1, "100")
    made.effects.clear()
    return made


def schedule(bench: Bench, in_ms: int = HOUR_MS, length_ms: int = 2 * HOUR_MS, number: int = 1, **more: Any) -> Command:
    start_ms = bench.now_ms + in_ms
    document = Schedule(
        number, **{"programme": "A", "account_no": 101, "zone": "Asia/Kolkata", "start_ms": start_ms, "end_ms": start_ms + length_ms,
                   "currency": "INR", **more},
    )  # fmt: skip
    return bench.command(C.SCHEDULE, not_before_ms=start_ms, expires_ms=start_ms + 30 * DAY_MS, detail=to_bytes(document))


def event(bench: Bench, credit: str = "50", **more: Any) -> Command:
    return schedule(bench, programme="B", requester_no=777, credit_nano=nano(credit), **more)


def states(bench: Bench, command: Command) -> list[tuple[CommandState, str]]:
    return [(S(r.state), r.reason) for r in bench.receipts() if r.cmd_id == command.cmd_id]


def outcome(bench: Bench, command: Command) -> Outcome:
    last = [r for r in bench.receipts() if r.cmd_id == command.cmd_id][-1]
    return decode(Outcome, last.result)


def names(bench: Bench) -> list[str]:
    return [BY_CODE[e.code].name for e in bench.events() if BY_CODE[e.code].name.startswith("schedule_")]


class Meter:
    """The bench's meter 1, which does what it is ordered and is read every quarter of an hour."""

    def __init__(self, bench: Bench, switch: SwitchState = CLOSED, wh: int = 1_000_000) -> None:
        self.bench, self.switch, self.wh, self.seen = bench, switch, wh, 0

    def live(self, ms: int, watts: int = 0, believed: bool = True, step_ms: int = 20 * MINUTE_MS) -> None:
        for _ in range(ms // step_ms):
            self.bench.now_ms += step_ms
            self.wh += watts * step_ms // HOUR_MS if self.switch is CLOSED else 0
            said = (p.ClockObserved(p.ClockSource.NTP, self.bench.now_ms, self.bench.now_ms),) if believed else ()
            batch = (*said, p.Tick(), self.bench.meter_read(1, self.wh, self.switch))
            self.bench.effects.extend(self.bench.core.handle_all(batch, self.bench.now_ms))
            self.obey()

    def obey(self) -> None:
        orders = self.bench.orders()
        for order in orders[self.seen :]:
            self.switch = CLOSED if order.close else OPEN
            self.bench.finish(order=order)
        self.seen = len(orders)

    def restart(self) -> None:
        self.bench.restart()
        self.seen = 0


def switched_off(bench: Bench, meter: Meter) -> None:
    bench.send(bench.command(C.SWITCH_OPEN, switch_counter=bench.db.execute("SELECT counter FROM switch").fetchone()[0] + 1))
    meter.obey()
    assert meter.switch is OPEN


@pytest.mark.covers_part("C3-S2.10", "C3-S2.13", "C3-S2.16")
def test_a_time_frame_switches_on_offline_and_goes_back_to_what_it_was(bench: Bench) -> None:
    meter = Meter(bench)
    switched_off(bench, meter)
    frame = schedule(bench)
    bench.send(frame)
    assert states(bench, frame) == [(S.DELIVERED, "")]
    bench.offline()
    meter.restart()
    meter.live(HOUR_MS)
    assert meter.switch is CLOSED
    meter.live(HOUR_MS)
    meter.restart()
    meter.live(2 * HOUR_MS)
    assert meter.switch is OPEN
    assert [s for s, _ in states(bench, frame)] == [S.DELIVERED, S.EXECUTING, S.DONE]
    assert names(bench) == ["schedule_started", "schedule_ended"]


@pytest.mark.covers_part("C3-S2.13", "C3-S2.16")
def test_a_supply_that_is_on_is_kept_and_stays(bench: Bench) -> None:
    meter = Meter(bench)
    bench.send(schedule(bench))
    meter.live(5 * HOUR_MS, watts=600)
    assert bench.orders() == []
    assert meter.switch is CLOSED


@pytest.mark.covers_part("C3-S2.13", "C3-S2.16")
def test_a_supply_off_for_want_of_money_is_on_in_its_time_and_the_engine_decides_afterwards(bench: Bench) -> None:
    meter = Meter(bench)
    meter.live(HOUR_MS * 20, watts=1200)
    assert meter.switch is OPEN
    frame = schedule(bench)
    bench.send(frame)
    meter.live(HOUR_MS + 20 * MINUTE_MS)
    assert meter.switch is CLOSED
    meter.live(HOUR_MS)
    assert meter.switch is CLOSED
    meter.live(2 * HOUR_MS)
    assert meter.switch is OPEN


@pytest.mark.covers_part("C3-FR16")
def test_five_schedules_all_run(bench: Bench) -> None:
    meter = Meter(bench)
    frames = [schedule(bench, (1 + 2 * n) * HOUR_MS, HOUR_MS, n + 1) for n in range(5)]
    for frame in frames:
        bench.send(frame)
    meter.live(12 * HOUR_MS)
    assert [states(bench, f)[-1][0] for f in frames] == [S.DONE] * 5


@pytest.mark.covers("C3-FR18")
def test_an_overlap_that_comes_all_the_same_is_kept_refused_and_reported(bench: Bench) -> None:
    first, clashing, touching = schedule(bench), schedule(bench, 2 * HOUR_MS, number=2), schedule(bench, 3 * HOUR_MS, number=3)
    for frame in (first, clashing, touching):
        bench.send(frame)
    assert states(bench, clashing) == [(S.REFUSED, Reason.OVERLAP)]
    assert outcome(bench, clashing).schedule_no == 1
    assert names(bench) == ["schedule_overlap"]
    assert [states(bench, f)[-1][0] for f in (first, touching)] == [S.DELIVERED] * 2
    Meter(bench).live(6 * HOUR_MS)
    assert [states(bench, f)[-1][0] for f in (first, touching)] == [S.DONE] * 2


def test_recurring_windows_run_each_day_by_the_local_clock(bench: Bench) -> None:
    meter = Meter(bench)
    switched_off(bench, meter)
    night = Window(ALL_WEEK, 18 * 60, 19 * 60)
    frame = schedule(bench, 0, 2 * DAY_MS, windows=(night,))
    bench.send(frame)
    seen = []
    for hour in range(48):
        meter.live(HOUR_MS, step_ms=30 * MINUTE_MS)
        seen.append((hour, meter.switch is CLOSED))
    begins = (18 * 60 - (11 * 60 + 10)) // 60  # the bench starts at 11:10 in Kolkata
    assert [hour for hour, on in seen if on] == [begins, begins + 24]
    meter.live(HOUR_MS)
    assert outcome(bench, frame).runs == 2


def test_an_off_window_goes_through_the_cut_tests_and_comes_back(bench: Bench) -> None:
    bench.configure(protected_hours=("12:00-13:00",))
    meter = Meter(bench)
    bench.send(schedule(bench, action=int(Action.OFF)))  # 12:10 to 14:10 in Kolkata
    meter.live(HOUR_MS + 20 * MINUTE_MS)
    assert meter.switch is CLOSED
    assert names(bench).count("schedule_held") == 1
    meter.live(40 * MINUTE_MS)
    assert meter.switch is OPEN
    bench.credit(1, "50")
    meter.obey()
    assert meter.switch is OPEN
    meter.live(HOUR_MS + 40 * MINUTE_MS)
    assert meter.switch is CLOSED


@pytest.mark.parametrize("lost", ["restart at the end", "no clock", "stepped clock"])
def test_what_a_schedule_switched_off_always_comes_back(bench: Bench, lost: str) -> None:
    meter = Meter(bench)
    bench.send(schedule(bench, action=int(Action.OFF)))
    meter.live(2 * HOUR_MS)
    assert meter.switch is OPEN
    if lost == "stepped clock":
        bench.now_ms += 30 * DAY_MS
        bench.trust()
    else:
        meter.restart()
    meter.live(2 * HOUR_MS if lost == "restart at the end" else 20 * MINUTE_MS, believed=lost != "no clock")
    assert meter.switch is CLOSED


def test_what_a_person_orders_in_a_window_stands(bench: Bench) -> None:
    meter = Meter(bench)
    bench.send(schedule(bench))
    meter.live(HOUR_MS + 20 * MINUTE_MS)
    switched_off(bench, meter)
    meter.live(3 * HOUR_MS)
    assert meter.switch is OPEN


def test_a_hold_keeps_it_off_and_says_so(bench: Bench) -> None:
    meter = Meter(bench)
    switched_off(bench, meter)
    bench.configure(holds=("safety",))
    bench.send(schedule(bench))
    meter.live(2 * HOUR_MS)
    assert meter.switch is OPEN
    assert names(bench) == ["schedule_started", "schedule_held"]


@pytest.mark.covers_part("C3-S3.7")
def test_an_event_is_paid_by_its_funds_and_the_owner_pays_nothing(bench: Bench) -> None:
    meter = Meter(bench)
    frame = event(bench)
    bench.send(frame)
    before = bench.balance()
    meter.live(5 * HOUR_MS, watts=0)
    assert outcome(bench, frame).rest_nano == nano("50")

    second = event(bench, number=2)
    bench.send(second)
    meter.live(HOUR_MS, watts=0)
    meter.live(2 * HOUR_MS, watts=1200)
    meter.live(HOUR_MS, watts=0)
    result = outcome(bench, second)
    assert (result.spent_wh, result.spent_nano) == (2400, nano("20.16"))
    assert result.rest_nano == nano("50") - nano("20.16")
    assert bench.balance() == before
    state, problem = bench.replayed()
    assert problem is None
    assert state.pools.get(Pool.EVENT, 0) == 0


def test_what_is_used_in_the_turn_in_which_the_event_ends_counts_once(bench: Bench) -> None:
    meter = Meter(bench)
    frame = event(bench)
    bench.send(frame)
    meter.live(HOUR_MS)
    meter.live(HOUR_MS + 40 * MINUTE_MS, watts=1200)
    bench.now_ms += 20 * MINUTE_MS
    read = bench.meter_read(1, meter.wh + 400, CLOSED)  # at the end, and told a minute after it
    bench.now_ms += MINUTE_MS
    believed = p.ClockObserved(p.ClockSource.NTP, bench.now_ms, bench.now_ms)
    bench.core.handle_all((believed, read, p.Tick(), p.Tick()), bench.now_ms)
    result = outcome(bench, frame)
    assert (result.spent_wh, result.spent_nano) == (2400, nano("20.16"))
    assert result.rest_nano == nano("50") - nano("20.16")


@pytest.mark.covers_part("C3-S3.7")
def test_an_overrun_is_the_requesters_and_never_cuts(bench: Bench) -> None:
    meter = Meter(bench)
    frame = event(bench, credit="5")
    bench.send(frame)
    before = bench.balance()
    meter.live(HOUR_MS)
    meter.live(3 * HOUR_MS, watts=1200)
    result = outcome(bench, frame)
    assert (result.spent_wh, result.rest_nano) == (2400, nano("-15.16"))
    assert before - bench.balance() == nano("10.08")
    assert bench.orders() == []


@pytest.mark.covers_part("C3-S3.9")
def test_ended_early_the_charges_stop_and_the_rest_is_told(bench: Bench) -> None:
    meter = Meter(bench)
    frame = event(bench)
    bench.send(frame)
    meter.live(HOUR_MS)
    meter.live(HOUR_MS, watts=1200)
    bench.send(bench.command(C.CANCEL, target=frame.cmd_id))
    meter.live(HOUR_MS, watts=1200)
    assert states(bench, frame)[-1] == (S.DONE, Reason.ENDED_EARLY)
    assert outcome(bench, frame).spent_wh == 1200
    assert outcome(bench, frame).rest_nano == nano("50") - nano("10.08")


def test_cancelled_before_it_begins_nothing_happens(bench: Bench) -> None:
    meter = Meter(bench)
    frame = event(bench)
    bench.send(frame)
    bench.send(bench.command(C.CANCEL, target=frame.cmd_id))
    meter.live(5 * HOUR_MS)
    assert states(bench, frame)[-1] == (S.CANCELLED, Reason.CANCELLED)
    assert Kind.SCHEDULE not in bench.kinds()


def test_without_a_clock_it_is_held_and_says_so(bench: Bench) -> None:
    frame = schedule(bench)
    bench.send(frame)
    bench.restart()
    meter = Meter(bench)
    meter.live(100 * MINUTE_MS, believed=False)
    assert states(bench, frame) == [(S.DELIVERED, ""), (S.DELIVERED, Reason.CLOCK_UNTRUSTED)]
    meter.live(20 * MINUTE_MS)
    assert states(bench, frame)[-1] == (S.EXECUTING, "")


@pytest.mark.parametrize("changes", [{"account_no": 999}, {"zone": "Mars/Base"}, {"programme": "C"}, {"end_ms": 5}])
def test_one_that_makes_no_sense_here_is_refused(bench: Bench, changes: dict[str, Any]) -> None:
    document = Schedule(1, "A", 101, "Asia/Kolkata", START_MS + HOUR_MS, START_MS + 2 * HOUR_MS)
    values = {name: changes.get(name, getattr(document, name)) for name in Schedule.__slots__}
    frame = bench.command(C.SCHEDULE, detail=encode(Schedule(**values)))
    bench.send(frame)
    assert states(bench, frame)[-1][0] is S.REFUSED


def test_windows_begin_and_end_at_their_moment_and_not_with_the_next_minute(bench: Bench) -> None:
    bench.send(schedule(bench, 90_007, 120_000, action=int(Action.OFF)))
    began_ms, ordered = bench.now_ms, dict[bool, int]()
    for _ in range(9):
        if bench.core.wake_ms is None:
            break
        bench.now_ms = bench.core.wake_ms
        bench.effects.clear()
        bench.trust()
        bench.tell(p.Tick())
        for order in bench.orders():
            ordered[order.close] = bench.now_ms - began_ms
            bench.finish(order=order)
    assert 90_007 <= ordered[False] < 90_100
    assert 209_900 < ordered[True] <= 210_100


@pytest.mark.covers_part("C3-S2.16")
def test_a_supply_that_went_off_only_after_its_window_comes_back(bench: Bench) -> None:
    """The meter did what it was told when nobody listened; it is seen off when the schedule is over."""
    meter = Meter(bench)
    meter.live(MINUTE_MS * 20)
    bench.send(schedule(bench, 20 * MINUTE_MS, 40 * MINUTE_MS, action=int(Action.OFF)))
    bench.now_ms += 21 * MINUTE_MS
    bench.trust()
    bench.tell(p.Tick())
    bench.read(1, meter.wh, CLOSED)
    cut = bench.order(False)
    bench.now_ms += 2 * HOUR_MS
    bench.trust()
    bench.tell(p.Tick())
    bench.finish(order=cut)
    bench.trust()
    bench.read(1, meter.wh, OPEN)
    bench.wait(MINUTE_MS)
    assert bench.order(True).meter_no == 1


def test_the_next_window_of_another_schedule_does_not_end_this_one(bench: Bench) -> None:
    meter = Meter(bench)
    bench.send(schedule(bench, 20 * MINUTE_MS, 80 * MINUTE_MS, action=int(Action.OFF)))
    bench.send(schedule(bench, 10 * HOUR_MS, HOUR_MS, number=2, action=int(Action.OFF)))
    meter.live(80 * MINUTE_MS)
    assert [o.close for o in bench.orders()] == [False]
    meter.live(60 * MINUTE_MS)
    assert meter.switch is CLOSED


@pytest.mark.parametrize(
    ("more", "code"),
    [({}, "SCHEDULE_ON"), ({"action": Action.OFF}, "SCHEDULE_OFF"), ({"windows": (Window(ALL_WEEK, 60, 120),)}, "SCHEDULE_ON_TIMES"),
     ({"programme": "B", "requester_no": 777, "credit_nano": nano("5")}, "SCHEDULE_EVENT")],
)  # fmt: skip
def test_the_consumer_is_told_when_it_comes_and_when_it_is_cancelled(bench: Bench, more: dict[str, Any], code: str) -> None:
    held = schedule(bench, in_ms=30 * HOUR_MS, **more)
    bench.send(held)
    bench.send(held)
    bench.send(bench.command(C.CANCEL, target=held.cmd_id))
    told = bench.db.execute("SELECT code, params FROM message WHERE code LIKE 'SCHEDULE%' ORDER BY message_no").fetchall()
    assert [row[0] for row in told] == [code, "SCHEDULE_GONE"]
    assert json.loads(told[0][1]) == {"s": str(held.not_before_ms), "d": str(held.not_before_ms + 2 * HOUR_MS)}


@pytest.mark.covers("C3-S2.15")
def test_the_display_shows_what_runs_and_what_comes_with_the_credit_of_an_event(bench: Bench) -> None:
    meter = Meter(bench)
    bench.send(event(bench))
    bench.send(schedule(bench, in_ms=30 * HOUR_MS, number=2, action=Action.OFF))
    bench.send(schedule(bench, in_ms=50 * HOUR_MS, length_ms=9 * DAY_MS, number=3, windows=(Window(ALL_WEEK, 60, 120),)))
    meter.live(2 * HOUR_MS, 1_000)
    view = view_account(bench.db, 101, bench.now_ms)
    assert view is not None
    shown = [(s.programme, s.action, s.is_running, s.end_ms - s.start_ms) for s in view.now.schedules]
    assert shown == [("B", "supply", True, 2 * HOUR_MS), ("A", "off", False, 2 * HOUR_MS), ("A", "supply", False, HOUR_MS)]
    assert nano("40") < (view.now.event_credit_nano or 0) < nano("50")
    words = Words("en", "INR", zone_of("Asia/Kolkata"))
    said = dict(facts(words, view))
    assert said["Schedule now"].startswith("Event from 02.03.2026 12:10 to 14:10, paid by whoever asked for it")
    assert said["Left for the event"] == words.money(view.now.event_credit_nano or 0)
    meter.live(2 * HOUR_MS, 1_000)
    after = view_account(bench.db, 101, bench.now_ms)
    assert after is not None
    assert after.now.event_credit_nano is None
    assert [s.is_running for s in after.now.schedules] == [False, False]


def test_a_supply_that_is_off_by_order_again_is_not_switched_on_by_another_schedule(bench: Bench) -> None:
    """Disconnected by the desk, on for a time frame, off again: the end of somebody's dark hours is none of its business."""
    meter = Meter(bench)
    switched_off(bench, meter)
    bench.send(schedule(bench))
    bench.send(schedule(bench, in_ms=6 * HOUR_MS, number=2, action=int(Action.OFF)))
    meter.live(4 * HOUR_MS)
    assert meter.switch is OPEN
    meter.live(8 * HOUR_MS)
    assert meter.switch is OPEN
    assert bench.db.execute("SELECT off_reason FROM switch WHERE meter_no = 1").fetchone() == ("order",)


def test_a_time_frame_right_behind_dark_hours_leaves_the_supply_on(bench: Bench) -> None:
    meter = Meter(bench)
    bench.send(schedule(bench, action=int(Action.OFF)))
    bench.send(schedule(bench, in_ms=3 * HOUR_MS, number=2))
    meter.live(2 * HOUR_MS)
    assert meter.switch is OPEN
    meter.live(8 * HOUR_MS)
    assert meter.switch is CLOSED


def test_ended_by_somebody_after_its_end_it_gets_no_longer(bench: Bench) -> None:
    """The box was without power over its end, and is told to cancel it before it looks: it does not take the time of the next one."""
    meter = Meter(bench)
    first = schedule(bench)
    bench.send(first)
    meter.live(2 * HOUR_MS)
    end_ms = START_MS + 3 * HOUR_MS
    bench.now_ms = end_ms + 4 * HOUR_MS
    bench.send(bench.command(C.CANCEL, target=first.cmd_id))
    assert bench.db.execute("SELECT end_ms FROM schedule").fetchone() == (end_ms,)


def test_who_opens_it_at_the_meter_within_a_time_frame_finds_it_open(bench: Bench) -> None:
    """An electrician, say. What he opened, nothing closes from here."""
    meter = Meter(bench)
    bench.send(schedule(bench))
    meter.live(2 * HOUR_MS)
    meter.switch = OPEN
    meter.live(HOUR_MS)
    assert meter.switch is OPEN
