"""The way back after a cut, and what keeps a supply off: the core's part of it, with the line's answers given by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import AccountHead, InstrumentType
from gridtally_shared.money import nano
from gridtally_shared.prepay.regions import Entitlement, Switch
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench
from support.supply_cases import cut, exhausted, names, standing


def test_credit_restores_at_once(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.wait(DAY_MS)
    bench.effects.clear()
    bench.credit(1, "5")
    order = bench.order(close=True)
    assert order.min_register_wh is None
    bench.finish()
    assert bench.messages() == ["CREDIT", "ON"]
    assert bench.replayed()[1] is None


def test_too_little_credit_does_not_restore(tmp_path: Path) -> None:
    bench = cut(tmp_path, restore_min_nano=nano("10"))
    bench.effects.clear()
    bench.credit(1, "5")
    assert bench.orders() == []
    bench.credit(1, "5")
    assert bench.order().close


def test_restoring_works_offline_without_a_clock_and_with_a_forked_ledger(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.restart()
    bench.tell(p.WelcomeSeen(START_MS - DAY_MS, (AccountHead(101, 1, 99, b"?" * 32),)))
    bench.offline()
    bench.credit(1, "5")
    assert bench.order().close


def test_credit_that_comes_after_the_order_left_restores_when_it_is_done(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.credit(1, "5")
    bench.finish(SwitchResult.DONE, bench.order(close=False))
    assert bench.order().close


def test_a_contactor_that_opens_late_is_still_ours_and_restored_by_credit(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(SwitchResult.STUCK, sent=True)
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.OPEN)
    assert "switch_unordered" not in names(bench)
    bench.credit(1, "5")
    assert bench.order().close


def test_a_house_that_is_not_the_right_one_is_tried_again_with_growing_patience(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "5")
    tries = []
    for _ in range(4 * 60):
        if bench.orders() and bench.orders()[-1].close and bench.orders()[-1].action_id not in tries:
            tries.append(bench.orders()[-1].action_id)
            bench.finish(SwitchResult.WRONG_SERIAL)
        bench.wait(60_000)
    assert 15 <= len(tries) <= 21, "a quarter of an hour at most"


@pytest.mark.parametrize("hold", ["tamper", "vacant", "regulator", "a hold nobody knows"])
def test_a_hold_of_another_kind_is_not_lifted_by_payment(tmp_path: Path, hold: str) -> None:
    bench = cut(tmp_path)
    bench.configure(holds=(hold,))
    bench.effects.clear()
    bench.credit(1, "50")
    assert [o for o in bench.orders() if o.close] == []
    assert bench.decisions()[-1].verdict == "restore_held"
    bench.configure(holds=())
    assert bench.order().close


def test_where_the_consumer_must_be_present_a_meter_without_a_button_is_not_closed_from_afar(tmp_path: Path) -> None:
    bench = cut(tmp_path, arm_only=True)
    bench.credit(1, "50")
    assert bench.order(close=True).arm
    bench.finish(SwitchResult.PRESENCE)
    bench.effects.clear()
    for _ in range(5):
        bench.wait(HOUR_MS)
    assert bench.orders() == []
    assert bench.decisions()[-1].verdict == "restore_held"
    bench.tell(p.RecloseAsked(101))
    assert (bench.order().close, bench.order().arm) == (True, False)
    assert bench.decisions()[-1].verdict == "restore_by_hand"


@pytest.mark.covers_part("BYPL-4.3")
def test_a_meter_with_a_button_is_armed_and_closed_by_hand(tmp_path: Path) -> None:
    bench = cut(tmp_path, arm_only=True)
    bench.effects.clear()
    bench.credit(1, "50")
    bench.finish(state_after=SwitchState.ARMED)
    assert bench.messages() == ["CREDIT", "ARMED"]
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.ARMED)
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.CLOSED)
    assert len(bench.orders()) == 1
    assert "switch_unordered" not in names(bench)


def test_a_close_whose_money_is_cleared_is_not_carried_out_if_it_has_not_left(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "50")
    order = bench.order(close=True)
    assert order.permit.granted()
    bench.credit(1, "0", type=InstrumentType.CREDIT_CLEAR)
    assert not order.permit.granted()
    assert standing(bench).regions.entitlement is Entitlement.CUT
    bench.effects.clear()
    bench.finish(SwitchResult.WITHDRAWN, order)
    assert bench.orders() == []
    bench.credit(1, "50")
    assert bench.order(close=True).permit.granted()


def test_a_paid_home_whose_meter_gives_no_answer_is_tried_every_few_minutes_and_told(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "50")
    answered = 1
    for _ in range(120):
        if len(bench.orders()) > answered:
            answered = len(bench.orders())
            bench.finish(SwitchResult.NO_ANSWER, state_after=SwitchState.UNKNOWN)
        bench.wait(60_000)
    closes = [o for o in bench.orders() if o.close]
    assert 20 <= len(closes) <= 28, "two hours: every five minutes, and sooner in the beginning"
    assert names(bench).count("restore_delayed") == 1


def test_a_live_load_side_is_looked_at_every_few_minutes_and_the_home_comes_back_when_it_is_dead(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.read(1, 1_001_000, SwitchState.OPEN, power_w=2_000)
    bench.credit(1, "50")
    assert bench.decisions()[-1].verdict == "restore_held"
    bench.effects.clear()
    for _ in range(30):
        bench.wait(60_000)
    looks = [e for e in bench.effects if isinstance(e, p.RunRead)]
    assert 5 <= len(looks) <= 6
    assert bench.orders() == []
    bench.read(1, 1_001_000, SwitchState.OPEN, power_w=0)
    assert bench.order().close


def test_a_meter_that_is_read_again_is_closed_at_once(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "50")
    for _ in range(4):
        bench.finish(SwitchResult.NO_ANSWER, state_after=SwitchState.UNKNOWN)
        bench.wait(6 * 60_000)
    bench.finish(SwitchResult.NO_ANSWER, state_after=SwitchState.UNKNOWN)
    bench.effects.clear()
    bench.now_ms += 10_000
    bench.read(1, 1_001_000, SwitchState.OPEN)
    assert bench.order().close


def test_a_clock_set_back_makes_no_home_wait(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "50")
    bench.finish(SwitchResult.STUCK)
    bench.effects.clear()
    bench.now_ms -= 3 * HOUR_MS
    bench.tell(p.Tick())
    assert bench.order().close


def test_a_button_brings_nothing_back_that_is_not_paid_or_is_held(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.tell(p.RecloseAsked(101))
    bench.configure(holds=("safety",))
    bench.credit(1, "50")
    bench.tell(p.RecloseAsked(101))
    assert [o.close for o in bench.orders()] == [False]


def test_a_home_that_feeds_itself_is_guided_and_tried_again_never_stranded(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "50")
    for wait_ms in (46_000, 91_000, 181_000):
        bench.finish(SwitchResult.LIVE, load_side_mv=228_000)
        count = len(bench.orders())
        bench.wait(wait_ms)
        bench.read(1, 1_001_000, SwitchState.OPEN, load_side_mv=0)
        assert len(bench.orders()) == count + 1
    bench.finish()
    assert standing(bench).regions.switch is Switch.CLOSED
    assert names(bench).count("load_side_live") == 1


def test_a_live_load_side_is_never_closed_onto(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.OPEN, power_w=400)
    bench.credit(1, "50")
    assert len(bench.orders()) == 1
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.OPEN, power_w=0)
    assert bench.order().close


def test_a_protection_that_comes_while_cut_restores(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.configure(holds=("medical",))
    assert bench.order().close


def test_the_power_drawn_before_a_cut_does_not_hold_its_restore(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000, power_w=900)
    bench.finish()
    bench.credit(1, "50")
    assert bench.order().close
