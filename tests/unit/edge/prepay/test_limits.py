"""Load limits at the edge: the lowest in force, the trip by polled demand, one re-close by itself, then by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared import cbor
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, DcuConfig, InstrumentType, MeterConfig
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_CODE, BY_NAME
from gridtally_shared.instruments.details import HoldOrder, LimitOrder
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import LoadLimit, packed
from gridtally_shared.prepay.regions import Entitlement
from gridtally_shared.prepay.regions import LoadLimit as Watch
from gridtally_shared.prepay.standing import Standing, standing_from
from support.prepay_bench import HOUR_MS, Bench, serial_of

MINUTE_MS = 60_000
POLICY: dict[str, Any] = {
    "kind": "policy", "code": "steps", "currency": "INR", "zero_action": "limit", "offline": {"cut": "allowed"},
    "limit": {"at_zero": 3, "steps": [
        {"code": "p90", "percent": "90"}, {"code": "p75", "percent": "75"}, {"code": "lifeline", "watts": 300},
    ]},
    "emergency": {"limit": "20", "threshold": "5", "auto": True, "step": 2},
    "low": {"money": ["10"]},
}  # fmt: skip


class Limited(Bench):
    """A home of 4 kW whose policy limits at zero; its register runs on with the minutes."""

    wh = 1_000_000

    def document(self, **changes: Any) -> tuple[PolicyDocument, ...]:
        return (PolicyDocument("steps", 1, 0, json.dumps(POLICY | changes)),)

    def minutes(self, count: int, watts: int, switch: SwitchState = SwitchState.CLOSED) -> None:
        """The register is read each minute."""
        for _ in range(count):
            self.now_ms += MINUTE_MS
            self.wh += watts // 60 if switch is SwitchState.CLOSED else 0
            self.read(1, self.wh, switch)
            self.tell(p.Tick())

    def control(self, kind: InstrumentType, detail: object, **changes: Any) -> None:
        self.credit(1, "0", type=kind, detail=encode(detail), **changes)

    def standing(self) -> Standing:
        text, decision = self.db.execute("SELECT standing, last_decision FROM account WHERE account_no = 101").fetchone()
        return standing_from(text, decision)

    def event_names(self) -> list[str]:
        return [BY_CODE[e.code].name for e in self.events()]

    def tasks(self) -> list[p.RunTask]:
        return [e for e in self.effects if isinstance(e, p.RunTask)]

    def answer(self, task: p.RunTask, reason: str = "") -> None:
        self.tell(p.ReadFinished(task.cmd_id, not reason, self.now_ms, reason=reason, serial=task.serial))


def home(folder: Path, **changes: Any) -> Limited:
    bench = Limited(folder, 1, {"policy_id": "steps", "contract_w": 4_000}, documents=Limited.document(Bench, **changes))
    bench.credit(1, "100")
    return bench


def ordered_to(folder: Path, watts: int, **changes: Any) -> Limited:
    """Limited by a signed order, at a meter without a limiter of its own."""
    bench = home(folder, **changes)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(watts))
    bench.answer(bench.tasks()[-1], Reason.UNSUPPORTED)
    bench.effects.clear()
    return bench


def tripped(folder: Path, **changes: Any) -> Limited:
    bench = ordered_to(folder, 1_000, **changes)
    bench.minutes(3, 3_000)
    bench.finish(order=bench.order(close=False))
    bench.effects.clear()
    return bench


def test_a_demand_above_the_limit_trips_with_its_evidence(tmp_path: Path) -> None:
    bench = ordered_to(tmp_path, 1_000)
    bench.minutes(3, 900)
    assert bench.orders() == []
    bench.minutes(2, 3_000)
    order = bench.order(close=False)
    evidence = bench.decisions()[-1]
    assert (evidence.verdict, evidence.transition) == ("trip", "T22")
    demand = next(t for t in evidence.tests if t.name == "demand")
    assert {q.name: q.value for q in demand.params} == {"demand_w": "2940", "over_ms": "60000", "limit_w": "1000", "by": "order"}
    assert order.min_register_wh is not None
    bench.finish()
    assert bench.db.execute("SELECT off_reason FROM switch").fetchone()[0] == "limit"
    assert "RECLOSE" in bench.messages()
    assert "load_limit_exceeded" in bench.event_names()


@pytest.mark.covers_part("C3-FR22")
def test_one_close_by_itself_at_120_s_and_the_second_trip_stays(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    at_ms = bench.now_ms
    bench.wait(119_000)
    assert bench.orders() == []
    assert bench.core.wake_ms == at_ms + 120_000
    bench.wait(1_000)
    assert bench.order().close
    bench.finish()
    bench.effects.clear()
    bench.minutes(3, 3_000)
    assert not bench.order().close
    bench.finish()
    assert "MANUAL" in bench.messages()
    bench.effects.clear()
    for _ in range(60):
        bench.wait(MINUTE_MS)
    assert bench.orders() == []
    assert bench.standing().regions.limit is Watch.LOCKED_MANUAL


@pytest.mark.parametrize("looked", [False, True], ids=["nothing happens", "a tick"])
def test_the_two_minutes_begin_when_the_supply_is_off(tmp_path: Path, looked: bool) -> None:
    """The order takes a minute and a half on the line; whether anything is looked at meanwhile changes nothing."""
    bench = ordered_to(tmp_path, 1_000)
    bench.minutes(3, 3_000)
    trip = bench.order(close=False)
    bench.effects.clear()
    for _ in range(3):
        bench.now_ms += 30_000
        if looked:
            bench.tell(p.Tick())
    bench.finish(order=trip)
    bench.effects.clear()
    assert bench.core.wake_ms == bench.now_ms + 120_000
    bench.wait(119_000)
    assert bench.orders() == []
    bench.wait(1_000)
    assert bench.order().close


def test_an_event_at_the_very_moment_does_not_put_the_close_off_to_the_next_minute(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    due_ms = bench.now_ms + 120_000
    bench.wait(119_000)
    assert bench.core.wake_ms == due_ms
    bench.now_ms = due_ms
    bench.tell(p.LinkChanged(False))
    assert bench.core.wake_ms == due_ms
    bench.tell(p.Tick())
    assert bench.order().close


def test_a_restart_and_a_clock_set_forward_do_not_hasten_the_close(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    bench.restart()
    bench.trust()
    bench.wait(1_000)
    assert bench.orders() == []
    mono_ms = 5_000
    bench.core.handle(p.Tick(), bench.now_ms, mono_ms)
    bench.now_ms += HOUR_MS
    assert not [e for e in bench.core.handle(p.Tick(), bench.now_ms, mono_ms + 1_000) if isinstance(e, p.RunSwitch)]
    closes = [e for e in bench.core.handle(p.Tick(), bench.now_ms + 120_000, mono_ms + 121_000) if isinstance(e, p.RunSwitch)]
    assert [e.close for e in closes] == [True]


@pytest.mark.covers_part("C3-FR23")
def test_by_hand_it_comes_back_and_the_limit_stays(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    bench.wait(120_000)
    bench.finish()
    bench.minutes(3, 3_000)
    bench.finish()
    bench.effects.clear()
    bench.tell(p.RecloseAsked(101))
    assert bench.order().close
    assert bench.decisions()[-1].verdict == "reclose_by_hand"
    bench.finish()
    assert bench.standing().limit_w == 1_000
    bench.effects.clear()
    bench.minutes(3, 3_000)
    assert not bench.order().close
    bench.finish()
    bench.effects.clear()
    bench.wait(10 * MINUTE_MS)
    assert bench.orders() == []


def test_hours_in_the_dark_do_not_give_the_close_back(tmp_path: Path) -> None:
    """Locked for long, then closed by hand: the clean period begins there, so the next trip stays."""
    bench = tripped(tmp_path)
    bench.wait(120_000)
    bench.finish()
    bench.minutes(3, 3_000)
    bench.finish()
    bench.effects.clear()
    for _ in range(5):
        bench.wait(HOUR_MS)
    bench.tell(p.RecloseAsked(101))
    bench.finish()
    assert bench.standing().recloses == 1
    bench.effects.clear()
    bench.minutes(3, 3_000)
    bench.finish(order=bench.order(close=False))
    assert bench.standing().regions.limit is Watch.LOCKED_MANUAL


def test_a_close_that_a_hold_kept_back_for_hours_is_still_the_only_one(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    bench.configure(holds=("vacant",))
    for _ in range(5):
        bench.wait(HOUR_MS)
    assert bench.orders() == []
    bench.trust()
    bench.configure(holds=())
    assert bench.order().close
    bench.finish()
    bench.effects.clear()
    assert bench.standing().recloses == 1
    bench.minutes(3, 3_000)
    bench.finish(order=bench.order(close=False))
    assert bench.standing().regions.limit is Watch.LOCKED_MANUAL


def test_a_close_that_found_no_answer_for_hours_is_still_the_only_one(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    bench.wait(120_000)
    for _ in range(24):
        bench.finish(p.SwitchResult.NO_ANSWER)
        bench.wait(15 * MINUTE_MS)
    bench.finish()
    bench.effects.clear()
    assert bench.standing().recloses == 1
    bench.minutes(3, 3_000)
    bench.finish(order=bench.order(close=False))
    assert bench.standing().regions.limit is Watch.LOCKED_MANUAL


def test_the_button_of_the_meter_counts_as_a_hand(tmp_path: Path) -> None:
    bench = tripped(tmp_path)
    bench.now_ms += 30_000
    bench.read(1, bench.wh, SwitchState.CLOSED)
    bench.wait(5 * MINUTE_MS)
    assert bench.orders() == []
    assert bench.standing().regions.limit is Watch.IDLE


def test_a_clean_period_gives_the_close_back(tmp_path: Path) -> None:
    bench = tripped(tmp_path, reclose={"reset_after_s": 600})
    bench.wait(120_000)
    bench.finish()
    bench.minutes(12, 600)
    assert bench.standing().recloses == 0
    bench.minutes(3, 3_000)
    bench.finish(order=bench.order(close=False))
    bench.effects.clear()
    bench.wait(120_000)
    assert bench.order().close


def test_waiting_count_and_clean_period_are_the_policy_s(tmp_path: Path) -> None:
    bench = tripped(tmp_path, reclose={"delay_s": 30, "count": 2})
    for _ in range(2):
        bench.wait(30_000)
        bench.finish(order=bench.order(close=True))
        bench.minutes(3, 3_000)
        bench.finish(order=bench.order(close=False))
        bench.effects.clear()
    bench.wait(HOUR_MS)
    assert bench.orders() == []


def test_nothing_trips_in_protected_hours_and_that_is_written_down_once(tmp_path: Path) -> None:
    bench = ordered_to(tmp_path, 1_000, protected={"daily": [{"from": "11:15", "to": "18:00"}]})
    bench.minutes(5, 900)
    bench.minutes(20, 3_000)
    assert bench.orders() == []
    assert [d.verdict for d in bench.decisions()] == ["limit", "trip_held"]
    assert "protected_hours" in [t.name for t in bench.decisions()[-1].tests if not t.holds]


def test_a_medical_protection_lifts_the_limit_while_it_lasts(tmp_path: Path) -> None:
    bench = ordered_to(tmp_path, 1_000)
    bench.control(InstrumentType.PROTECT, HoldOrder("medical", True))
    assert bench.standing().limit_w is None
    bench.minutes(5, 3_000)
    assert bench.orders() == []
    bench.control(InstrumentType.PROTECT, HoldOrder("medical", False))
    assert bench.standing().limit_w == 1_000


def test_a_window_in_which_the_clock_was_set_is_passed_by(tmp_path: Path) -> None:
    bench = ordered_to(tmp_path, 1_000)
    for mono_ms, step_ms in ((60_000, 60_000), (120_000, 60_000)):
        bench.now_ms += step_ms
        bench.core.handle(bench.meter_read(1, bench.wh), bench.now_ms, mono_ms)
    bench.now_ms += 65_000
    effects = bench.core.handle(bench.meter_read(1, bench.wh + 100), bench.now_ms, 180_000)
    assert not [e for e in effects if isinstance(e, p.RunSwitch)]
    bench.now_ms += 60_000
    effects = bench.core.handle(bench.meter_read(1, bench.wh + 200), bench.now_ms, 240_000)
    assert [e.close for e in effects if isinstance(e, p.RunSwitch)] == [False]


@pytest.mark.covers_part("C3-FR21", "C3-A2.8a")
def test_credit_steps_go_down_and_payment_lifts_them(tmp_path: Path) -> None:
    bench = home(tmp_path)
    bench.now_ms += HOUR_MS
    bench.read(1, 1_012_000)
    assert (bench.standing().limit_w, bench.standing().limit_by) == (3_000, "credit:p75")
    bench.now_ms += HOUR_MS
    bench.read(1, 1_014_500)
    assert (bench.standing().limit_w, bench.standing().limit_by) == (300, "credit:lifeline")
    assert bench.standing().regions.entitlement is Entitlement.LIMITED
    bench.credit(1, "500")
    assert bench.standing().limit_w is None
    assert [m for m in bench.messages() if m.startswith("LIMIT")] == ["LIMIT", "LIMIT", "LIMIT_OFF"]
    assert [e.settings for e in bench.tasks()] == [
        (packed(LoadLimit(3_000, 60)),), (packed(LoadLimit(300, 60)),), (packed(LoadLimit(0, 60)),)
    ]  # fmt: skip


def test_the_lowest_of_money_and_order_wins(tmp_path: Path) -> None:
    bench = ordered_to(tmp_path, 1_000)
    bench.now_ms += HOUR_MS
    bench.read(1, 1_012_000)
    assert (bench.standing().limit_w, bench.standing().limit_by) == (1_000, "order")
    bench.now_ms += HOUR_MS
    bench.read(1, 1_014_500)
    assert (bench.standing().limit_w, bench.standing().limit_by) == (300, "credit:lifeline")
    bench.credit(1, "500")
    assert (bench.standing().limit_w, bench.standing().limit_by) == (1_000, "order")
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(0))
    assert bench.standing().limit_w is None


def test_the_meter_s_own_limiter_comes_first_and_its_trip_is_told_by_its_log(tmp_path: Path) -> None:
    bench = home(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(1_000))
    task = bench.tasks()[-1]
    assert (task.type, task.settings) == (CommandType.WRITE_SETTINGS, (packed(LoadLimit(1_000, 60)),))
    bench.answer(task)
    bench.effects.clear()
    bench.minutes(5, 3_000)
    assert bench.orders() == []
    bench.minutes(1, 0, SwitchState.OPEN)
    (ask,) = [e for e in bench.effects if isinstance(e, p.RunRead) and e.type is CommandType.READ_EVENTS]
    log = [[BY_NAME["overloaded"].code, bench.now_ms - 5_000, ""]]
    bench.tell(p.ReadFinished(ask.cmd_id, True, bench.now_ms, cbor.dumps({0: log})))
    assert bench.standing().regions.limit is Watch.TRIPPED
    bench.wait(120_000)
    assert bench.order().close
    assert "switch_unordered" not in bench.event_names()


def test_a_meter_whose_account_is_run_by_others_keeps_no_limit_of_ours(tmp_path: Path) -> None:
    """Nobody would lift it, nor close behind it: its people would stay in the dark at the next kettle."""
    bench = home(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(1_000))
    bench.answer(bench.tasks()[-1])
    bench.effects.clear()
    bench.version += 1
    meters = (MeterConfig(1, serial_of(1), 0),)
    bench.tell(p.ConfigAccepted(DcuConfig(bench.version, "dcu-1", bench.now_ms, meters, (), bench.tariffs)))
    bench.wait(MINUTE_MS)
    assert bench.tasks()[-1].settings == (packed(LoadLimit(0)),)
    bench.answer(bench.tasks()[-1], Reason.NO_ANSWER)
    bench.effects.clear()
    bench.wait(MINUTE_MS)
    bench.answer(bench.tasks()[-1])
    bench.effects.clear()
    for _ in range(90):
        bench.wait(MINUTE_MS)
    assert bench.tasks() == []


def test_a_limit_another_box_left_in_the_meter_is_taken_out_once(tmp_path: Path) -> None:
    bench = Limited(tmp_path, ready=False)
    bench.trust()
    bench.online()
    bench.configure(account_epoch=2, opening_wh=1_000_000, swapped_ms=bench.now_ms - HOUR_MS)
    bench.minutes(1, 600)
    (task,) = bench.tasks()
    assert task.settings == (packed(LoadLimit(0, 60)),)
    bench.answer(task, Reason.UNSUPPORTED)
    bench.effects.clear()
    bench.minutes(90, 600)
    assert bench.tasks() == []


def test_a_trip_of_the_meter_that_was_found_after_hours_of_quiet_waits_its_two_minutes_too(tmp_path: Path) -> None:
    bench = home(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(1_000))
    bench.answer(bench.tasks()[-1])
    bench.minutes(20, 500)
    bench.effects.clear()
    bench.minutes(1, 0, SwitchState.OPEN)
    (ask,) = [e for e in bench.effects if isinstance(e, p.RunRead) and e.type is CommandType.READ_EVENTS]
    log = [[BY_NAME["overloaded"].code, bench.now_ms - 5_000, ""]]
    bench.tell(p.ReadFinished(ask.cmd_id, True, bench.now_ms, cbor.dumps({0: log})))
    assert bench.orders() == []
    bench.wait(119_000)
    assert bench.orders() == []
    bench.wait(1_000)
    assert bench.order().close


def test_a_local_breaker_behind_a_limiter_is_not_fought(tmp_path: Path) -> None:
    bench = home(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(1_000))
    bench.answer(bench.tasks()[-1])
    bench.effects.clear()
    bench.minutes(2, 500)
    bench.minutes(1, 0, SwitchState.OPEN)
    (ask,) = [e for e in bench.effects if isinstance(e, p.RunRead) and e.type is CommandType.READ_EVENTS]
    bench.tell(p.ReadFinished(ask.cmd_id, True, bench.now_ms, cbor.dumps({0: []})))
    bench.wait(10 * MINUTE_MS)
    assert bench.orders() == []
    assert "switch_unordered" in bench.event_names()


def test_a_limiter_that_did_not_answer_is_written_again_and_the_demand_watched_meanwhile(tmp_path: Path) -> None:
    bench = home(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(1_000))
    bench.answer(bench.tasks()[-1], Reason.NO_ANSWER)
    assert len(bench.tasks()) == 1
    bench.wait(46_000)
    assert len(bench.tasks()) == 2
    bench.minutes(3, 3_000)
    assert bench.order(close=False)


# ---- a limit that is no more before its trip has left -------------------------------------------------------


def tripping(folder: Path) -> tuple[Limited, p.RunSwitch]:
    """The order to open waits for its line."""
    bench = ordered_to(folder, 1_000)
    bench.minutes(3, 3_000)
    return bench, bench.order(close=False)


@pytest.mark.parametrize("watts", [0, 9_000], ids=["lifted", "raised"])
def test_a_trip_that_has_not_left_is_taken_back_with_its_limit(tmp_path: Path, watts: int) -> None:
    bench, trip = tripping(tmp_path)
    bench.effects.clear()
    assert trip.permit.granted()
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(watts))
    assert not trip.permit.granted()
    bench.finish(p.SwitchResult.WITHDRAWN, trip)
    bench.wait(MINUTE_MS)
    assert bench.orders() == []
    assert (bench.standing().regions.limit, bench.standing().recloses) == (Watch.IDLE, 0)


def test_a_trip_that_had_left_before_its_limit_was_lifted_is_closed_at_once(tmp_path: Path) -> None:
    bench, trip = tripping(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(0))
    bench.effects.clear()
    bench.finish(order=trip)
    assert [order.close for order in bench.orders()] == [True]
    assert bench.decisions()[-1].transition == "T23l"


def test_a_trip_goes_on_while_its_limit_stands(tmp_path: Path) -> None:
    bench, trip = tripping(tmp_path)
    bench.control(InstrumentType.LIMIT_SET, LimitOrder(500))
    bench.wait(MINUTE_MS)
    assert trip.permit.granted()
