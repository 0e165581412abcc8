"""Warn, cut, restore: the core's part of it, with the line's answers given by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.decide import CUT_TESTS
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import AccountHead
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench, serial_of


def names(bench: Bench) -> list[str]:
    return [BY_CODE[e.code].name for e in bench.events()]


def exhausted(folder: Path, meters: int = 1, **policy: object) -> Bench:
    """Every home has used up 8.40 that were paid, an hour ago it had them."""
    bench = Bench(folder, meters, dict(policy))
    for n in range(1, meters + 1):
        bench.credit(n, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    return bench


def cut(folder: Path, **policy: object) -> Bench:
    bench = exhausted(folder, **policy)
    bench.finish()
    return bench


@pytest.mark.covers_part("C3-A2.8b")
def test_zero_cuts_with_the_evidence_stored_before_the_order_leaves(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    order = bench.order()
    assert (order.meter_no, order.close, order.serial, order.min_register_wh) == (1, False, serial_of(1), 1_001_000)
    decision = bench.decisions()[-1]
    assert decision.verdict == "cut"
    assert len(decision.tests) == len(CUT_TESTS)
    assert all(t.holds for t in decision.tests)
    entry = next(e for e in bench.entries() if e.kind == Kind.DECISION)
    assert entry.cause == order.action_id


def test_the_message_of_low_balance_comes_before_the_cut(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    assert "LOW_BARE" in bench.messages()
    kinds = bench.kinds()
    assert kinds.index(Kind.NOTICE) < kinds.index(Kind.DECISION)


def test_what_the_meter_reports_after_a_cut_is_in_the_journal(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    entry = next(e for e in bench.entries() if e.kind == Kind.SWITCH)
    evidence = evidence_of(entry)
    assert isinstance(evidence, SwitchEvidence)
    assert (evidence.result, evidence.state_after, evidence.counter, evidence.origin) == ("done", 0, 1, "local")
    assert "CUT" in bench.messages()


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


def test_credit_while_the_cut_waits_for_its_line_withdraws_it(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    order = bench.order()
    assert order.permit.granted()
    bench.credit(1, "5")
    assert not order.permit.granted()
    bench.finish(SwitchResult.WITHDRAWN, order)
    assert len(bench.orders()) == 1


def test_credit_that_comes_after_the_order_left_restores_when_it_is_done(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.credit(1, "5")
    bench.finish(SwitchResult.DONE, bench.order(close=False))
    assert bench.order().close


def test_only_one_order_is_under_way(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    for wh in (1_001_010, 1_001_020):
        bench.wait(60_000)
        bench.read(1, wh)
    assert len(bench.orders()) == 1


def test_the_fresh_register_of_the_cut_is_charged(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.wait(60_000)
    bench.finish(register_wh=1_001_040, register_at_ms=bench.now_ms)
    assert bench.replayed()[0].charged_wh == 1_040


def test_a_stuck_contactor_is_told_and_not_hammered(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(SwitchResult.STUCK, sent=True)
    assert "switch_stuck" in names(bench)
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_100)
    assert len(bench.orders()) == 1
    assert bench.decisions()[-1].verdict == "held"


def test_a_contactor_that_opens_late_is_still_ours_and_restored_by_credit(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(SwitchResult.STUCK, sent=True)
    bench.wait(60_000)
    bench.read(1, 1_001_000, SwitchState.OPEN)
    assert "switch_unordered" not in names(bench)
    bench.credit(1, "5")
    assert bench.order().close


def test_a_meter_that_does_not_answer_is_tried_again_with_growing_patience(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.credit(1, "5")
    tries = []
    for _ in range(4 * 60):
        if bench.orders() and bench.orders()[-1].close and bench.orders()[-1].action_id not in tries:
            tries.append(bench.orders()[-1].action_id)
            bench.finish(SwitchResult.NO_ANSWER)
        bench.wait(60_000)
    assert 5 <= len(tries) <= 12


def test_a_breaker_that_somebody_opened_is_an_event_and_not_fought(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    bench.read(1, 1_000_000, SwitchState.OPEN)
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_000, SwitchState.OPEN)
    assert names(bench).count("switch_unordered") == 1
    assert bench.orders() == []


def test_a_supply_that_closed_itself_is_cut_once_more_and_then_left(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    for _ in range(3):
        bench.wait(HOUR_MS)
        bench.read(1, 1_001_000)
        if bench.orders()[-1].action_id not in [e.cause for e in bench.entries() if e.kind == Kind.SWITCH]:
            bench.finish()
    assert len([o for o in bench.orders() if not o.close]) == 2
    assert "resync" in {t.name for t in bench.decisions()[-1].tests if not t.holds}


@pytest.mark.parametrize("hold", ["safety", "work", "tamper", "vacant", "regulator", "a hold nobody knows"])
def test_a_hold_of_another_kind_is_not_lifted_by_payment(tmp_path: Path, hold: str) -> None:
    bench = cut(tmp_path)
    bench.configure(holds=(hold,))
    bench.effects.clear()
    bench.credit(1, "50")
    assert [o for o in bench.orders() if o.close] == []
    assert bench.decisions()[-1].verdict == "restore_held"
    bench.configure(holds=())
    assert bench.order().close


def test_where_the_consumer_must_be_present_nothing_is_closed_from_afar(tmp_path: Path) -> None:
    bench = cut(tmp_path, arm_only=True)
    bench.effects.clear()
    bench.credit(1, "50")
    assert bench.orders() == []


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


@pytest.mark.parametrize("policy", [{"zero_action": "none"}, {"zero_action": "limit"}])
def test_without_the_policy_nobody_is_cut(tmp_path: Path, policy: dict) -> None:
    assert exhausted(tmp_path, **policy).orders() == []


def test_an_account_that_was_never_funded_is_not_cut(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    assert bench.orders() == []


def test_offline_never_is_the_default_and_holds_the_cut_until_the_cloud_answers(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy={"offline_cut": "never"})
    bench.credit(1, "8.40")
    bench.offline()
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    bench.tell(p.LinkChanged(True))
    bench.wait(60_000)
    assert bench.orders() == []
    assert [t.name for t in bench.decisions()[-1].tests if not t.holds] == ["offline"]
    bench.online()
    assert not bench.order().close


def test_offline_grace_gives_the_consumer_its_hours(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy={"offline_cut": "grace", "offline_grace_h": 3})
    bench.credit(1, "8.40")
    bench.offline()
    bench.wait(2 * HOUR_MS)
    bench.read(1, 1_001_000)
    bench.wait(3 * HOUR_MS - 60_000)
    bench.read(1, 1_001_000)
    assert bench.orders() == []
    bench.wait(60_000)
    assert not bench.order().close


def test_the_right_to_cut_ends_without_the_cloud_and_comes_back_with_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.offline()
    bench.wait(7 * DAY_MS + HOUR_MS)
    bench.trust()
    bench.read(1, 1_001_000)
    assert bench.orders() == []
    assert "lease" in {t.name for t in bench.decisions()[-1].tests if not t.holds}
    bench.online()
    assert not bench.order().close


def test_a_mirror_that_is_ahead_stops_cuts_and_nothing_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.tell(p.WelcomeSeen(bench.now_ms, (AccountHead(101, 1, 99, b"?" * 32),)))
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    assert bench.orders() == []
    assert "ledger_fault" in names(bench)
    assert bench.replayed()[0].charged_wh == 1_000
    entry = bench.entries()[-1]
    bench.tell(p.WelcomeSeen(bench.now_ms, (AccountHead(101, 1, entry.seq, entry.entry_hash),)))
    assert not bench.order().close


def test_a_mirror_with_another_entry_is_a_fork(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.tell(p.WelcomeSeen(bench.now_ms, (AccountHead(101, 1, 1, b"?" * 32),)))
    assert "ledger_fault" in names(bench)


def test_the_local_breaker_lets_a_share_through_each_hour(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 20)
    bench.configure(share_permille=100)
    bench.wait(2 * DAY_MS)
    bench.trust()
    for n in range(1, 21):
        bench.credit(n, "8.40")
    bench.read_all(1_001_000)
    assert len(bench.orders()) == 2
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    assert len(bench.orders()) == 4


def test_soon_after_a_change_the_breaker_waits_for_a_person(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 20)
    bench.configure(share_permille=100)
    for n in range(1, 21):
        bench.credit(n, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    assert len(bench.orders()) == 2
    assert any("breaker" in e.detail for e in bench.events())
    for _ in range(30):
        bench.wait(HOUR_MS)
        bench.trust()
        bench.read_all(1_001_000)
    assert len(bench.orders()) == 2
    bench.configure(share_permille=100, lease_ms=9 * DAY_MS)
    assert len(bench.orders()) == 2
    bench.configure(share_permille=1000)
    assert len(bench.orders()) == 20


def test_protected_hours_hold_and_the_order_may_not_run_into_them(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, protected_hours=("12:30-18:00",))  # it is 12:10 in Kolkata
    uncertainty_ms = bench.core.clock(bench.now_ms).uncertainty_ms
    assert bench.order().latest_ms == bench.now_ms + 20 * 60_000 - 1 - uncertainty_ms
    bench.finish(SwitchResult.WITHDRAWN)
    assert len(bench.orders()) == 2
    bench.wait(25 * 60_000)
    bench.finish(SwitchResult.WITHDRAWN)
    assert len(bench.orders()) == 2


def test_a_wrong_serial_in_the_association_is_an_event_and_no_loop(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(SwitchResult.WRONG_SERIAL, serial="GT9999")
    assert "serial_mismatch" in names(bench)
    assert len(bench.orders()) == 1


def test_the_power_drawn_before_a_cut_does_not_hold_its_restore(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000, power_w=900)
    bench.finish()
    bench.credit(1, "50")
    assert bench.order().close
