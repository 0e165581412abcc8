"""Each cut test has a case that blocks it, alone; unknown always means stay on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.decide import CUT_TESTS, OffReason, Verdict, decide
from gridtally_edge.prepay.holds import HOLDS, protected_hours
from gridtally_shared.contract.messages import AccountConfig, ClockState
from support.cut_cases import BLOCKING, DUE, NOON, POLICY
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS


def test_when_everything_holds_it_cuts() -> None:
    assert decide(DUE, POLICY, NOON).verdict is Verdict.CUT


@pytest.mark.covers_part("C3-A2.8b")
@pytest.mark.parametrize(("name", "view", "policy"), BLOCKING, ids=[f"{n} {[*v.values(), *p.values()]}" for n, v, p in BLOCKING])
def test_each_test_blocks_alone(name: str, view: dict, policy: dict) -> None:
    decision = decide(replace(DUE, **view), replace(POLICY, **policy), NOON)
    assert decision.verdict is Verdict.HELD
    assert decision.blocked_by == (name,)


def test_every_cut_test_has_a_case_that_blocks() -> None:
    assert {name for name, _, _ in BLOCKING} == {name for name, _ in CUT_TESTS}


@pytest.mark.parametrize("code", sorted(h.code for h in HOLDS.values() if h.blocks_close))
def test_a_hold_against_closing_holds_a_restore(code: str) -> None:
    off = replace(DUE, balance_nano=1, switch=SwitchState.OPEN, off_reason=OffReason.BALANCE)
    assert decide(off, replace(POLICY, holds=(code,)), NOON).verdict is Verdict.RESTORE_HELD
    assert decide(off, POLICY, NOON).verdict is Verdict.RESTORE


@pytest.mark.parametrize("why", [OffReason.ORDER, OffReason.UNORDERED, OffReason.NONE])
def test_money_closes_only_what_money_opened(why: OffReason) -> None:
    off = replace(DUE, balance_nano=10**9, switch=SwitchState.OPEN, off_reason=why)
    assert decide(off, POLICY, NOON).verdict is Verdict.STAY


def test_the_defaults_of_the_contract_never_cut() -> None:
    plain = AccountConfig(101, 1, 1, "INR", "Asia/Kolkata", "home", 0)
    assert decide(DUE, plain, NOON).verdict is Verdict.STAY
    assert decide(replace(DUE, link_up=False), replace(plain, zero_action="disconnect"), NOON).verdict is Verdict.HELD


@given(st.integers(0, 2 * DAY_MS), st.integers(0, 10 * 60_000))
def test_no_cut_while_any_true_time_may_be_protected(offset_ms: int, uncertainty_ms: int) -> None:
    policy = replace(POLICY, protected_hours=("21:30-06:15", "12:00-13:00"))
    now_ms = START_MS + offset_ms
    view = replace(DUE, notice_at_ms=0, lease_until_ms=now_ms + DAY_MS, clock=ClockState.HOLDOVER)
    decision = decide(replace(view, uncertainty_ms=uncertainty_ms), policy, now_ms)
    hours = protected_hours(policy.protected_hours, policy.zone)
    around = range(now_ms - uncertainty_ms, now_ms + uncertainty_ms + 1, 30_000)
    if any(hours.touches(t, t) for t in (*around, now_ms + uncertainty_ms)):
        assert decision.verdict is Verdict.HELD


@given(st.integers(0, 3 * DAY_MS), st.integers(0, 3 * HOUR_MS))
def test_free_until_stops_before_the_first_protected_minute(offset_ms: int, length_ms: int) -> None:
    hours = protected_hours(("21:30-06:15", "12:00-13:00"), "Asia/Kolkata")
    start_ms = START_MS + offset_ms
    end_ms = hours.free_until_ms(start_ms, start_ms + length_ms)
    assert end_ms <= start_ms + length_ms
    if not hours.touches(start_ms, start_ms):
        assert not hours.touches(start_ms, end_ms)
        assert end_ms == start_ms + length_ms or hours.touches(end_ms + 1, end_ms + 1)
    else:
        assert end_ms < start_ms or end_ms == start_ms + length_ms == start_ms
