"""Warn and cut, and what holds a cut: the core's part of it, with the line's answers given by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import AccountHead
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.prepay.cut_tests import CUT_TESTS
from gridtally_shared.prepay.regions import Switch
from support.prepay_bench import DAY_MS, HOUR_MS, Bench, serial_of
from support.supply_cases import cut, exhausted, names, standing


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


def test_a_cut_that_waits_for_its_line_is_withdrawn_when_the_mirror_knows_more(tmp_path: Path) -> None:
    """A box on an old disk image orders a cut before the welcome tells it (seed 622 of the simulation)."""
    bench = exhausted(tmp_path)
    order = bench.order()
    assert order.permit.granted()
    bench.tell(p.WelcomeSeen(bench.now_ms, (AccountHead(101, 1, 99, b"?" * 32),)))
    assert not order.permit.granted()
    bench.finish(SwitchResult.WITHDRAWN, order)
    bench.wait(HOUR_MS)
    bench.read(1, 1_002_000)
    assert bench.orders() == [order]


def test_credit_while_the_cut_waits_for_its_line_withdraws_it(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    order = bench.order()
    assert order.permit.granted()
    bench.credit(1, "5")
    assert not order.permit.granted()
    bench.finish(SwitchResult.WITHDRAWN, order)
    assert len(bench.orders()) == 1


@pytest.mark.parametrize(("offline_cut", "stands"), [("never", False), ("allowed", True)])
def test_the_link_falls_while_the_cut_waits_for_its_line(tmp_path: Path, offline_cut: str, stands: bool) -> None:
    bench = exhausted(tmp_path, offline_cut=offline_cut)
    order = bench.order()
    bench.offline()
    assert order.permit.granted() is stands


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


def test_an_open_switch_with_voltage_behind_it_is_a_fault_charged_and_told(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(load_side_mv=228_000)
    assert names(bench).count("load_side_live") == 1
    assert standing(bench).regions.switch is Switch.FAULT
    before = bench.balance()
    for wh in (1_001_010, 1_001_100):
        bench.wait(60_000)
        bench.read(1, wh, SwitchState.OPEN, load_side_mv=228_000)
    assert bench.balance() < before
    assert names(bench).count("use_while_open") == 1


def test_a_switch_that_does_not_move_is_shown_as_a_fault_until_it_works(tmp_path: Path) -> None:
    bench = exhausted(tmp_path)
    bench.finish(SwitchResult.STUCK)
    bench.wait(60_000)
    assert standing(bench).regions.switch is Switch.FAULT
    assert "switch_stuck" in names(bench)


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


@pytest.mark.parametrize("welcomed", [False, True], ids=["nobody answers", "the cloud answers"])
def test_after_a_start_a_cut_waits_for_the_first_word_of_the_cloud_but_not_for_ever(tmp_path: Path, welcomed: bool) -> None:
    """The disk may be an old one. What is read is charged at once; only the cut waits, ten minutes where nobody answers."""
    bench = Bench(tmp_path, policy={"offline_cut": "allowed", "keypad_key": b"k" * 32})
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.restart()
    bench.trust()
    bench.read(1, 1_001_000)
    assert bench.orders() == []
    assert [t.name for t in bench.decisions()[-1].tests if not t.holds] == ["offline"]
    for _ in range(9):
        bench.wait(60_000)
    assert bench.orders() == []
    if welcomed:
        bench.online()
    else:
        bench.wait(60_000)
    assert not bench.order().close


def test_a_supply_that_is_owed_does_not_wait_for_the_cloud_after_a_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    bench.finish()
    bench.restart()
    bench.effects.clear()
    bench.trust()
    bench.credit(1, "100")
    assert bench.order().close


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


def test_nobody_is_cut_by_a_configuration_that_the_cloud_called_old(tmp_path: Path) -> None:
    """An old disk: what protects this household may stand in the newer one, which is still on its way."""
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.tell(p.WelcomeSeen(bench.now_ms, config_version=bench.version + 1))
    bench.restart()
    bench.trust()
    bench.read(1, 1_001_000)
    assert bench.orders() == []
    assert {t.name: t.seen for t in bench.decisions()[-1].tests if not t.holds}["lease"].startswith("behind the cloud's")
    bench.online()
    assert bench.orders() == []
    bench.configure()
    bench.wait(60_000)
    assert not bench.order().close


def test_a_clock_that_was_ahead_when_the_cloud_spoke_makes_the_right_to_cut_no_longer(tmp_path: Path) -> None:
    """Its word is remembered at a time still to come; the lease counts by the configuration, not from there."""
    bench = Bench(tmp_path)
    bench.configure(lease_ms=2 * DAY_MS)
    bench.credit(1, "10")
    bench.now_ms += 5 * DAY_MS
    bench.online()
    bench.now_ms -= 5 * DAY_MS
    bench.tell(p.WelcomeSeen(bench.now_ms, age_ms=None))
    bench.now_ms += 3 * DAY_MS
    bench.trust()
    bench.read(1, 1_002_000)
    bench.wait(HOUR_MS)
    bench.read(1, 1_002_000)
    assert bench.orders() == []
    assert "lease" in {t.name for t in bench.decisions()[-1].tests if not t.holds}


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
