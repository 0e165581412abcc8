"""Each cut test has a case that blocks it, alone; unknown always means stay on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.contract.messages import ClockState
from gridtally_shared.prepay.cut_tests import CUT_TESTS
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.holds import HOLDS
from gridtally_shared.prepay.protection import protected_hours
from gridtally_shared.prepay.regions import Switch
from support.cut_cases import BLOCKING, NEVER_ALONE, NOON, UNDER_A_POLICY, blocked_by, decided
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS


def test_when_everything_holds_it_cuts() -> None:
    evidence = decided({}, {})
    assert evidence is not None
    assert (evidence.verdict, blocked_by(evidence)) == ("cut", ())


@pytest.mark.covers_part("C3-A2.8b")
@pytest.mark.parametrize(("name", "view", "account"), BLOCKING, ids=[f"{n} {[*v.values(), *p.values()]}" for n, v, p in BLOCKING])
def test_each_test_blocks_alone(name: str, view: dict, account: dict) -> None:
    evidence = decided(view, account)
    assert evidence is not None
    assert (evidence.verdict, blocked_by(evidence)) == ("held", (name,))


@pytest.mark.parametrize(("name", "view", "account", "policy"), UNDER_A_POLICY)
def test_a_rule_of_a_catalogue_blocks_alone(name: str, view: dict, account: dict, policy: dict) -> None:
    assert blocked_by(decided(view, account, policy)) == (name,)


@pytest.mark.parametrize(("view", "account"), [
    ({}, {"zero_action": "none"}), ({}, {"zero_action": "a word nobody knows"}), ({"funded": False}, {}),
    ({"balance_nano": 1}, {}), ({"pending_action": True}, {}), ({"moving": True}, {}), ({"switch": Switch.OPEN}, {}),
])  # fmt: skip
def test_where_no_step_down_is_due_nothing_is_decided(view: dict, account: dict) -> None:
    assert decided(view, account) is None


def test_every_cut_test_has_a_case_that_blocks() -> None:
    cases = {name for name, *_ in (*BLOCKING, *UNDER_A_POLICY)}
    assert cases | NEVER_ALONE == {name for name, _ in CUT_TESTS}
    assert not cases & NEVER_ALONE


def test_a_policy_that_allows_cuts_offline_may_make_the_lease_longer() -> None:
    over = {"lease_until_ms": NOON - 1, "link_up": False, "offline_since_ms": NOON - 10 * DAY_MS, "cloud_seen_ms": NOON - 10 * DAY_MS}
    longer = decided(over, {}, {"lease_days": 30})
    assert longer is not None
    assert longer.verdict == "cut"
    assert blocked_by(decided(over, {}, {"lease_days": 9})) == ("lease",)
    assert blocked_by(decided(over, {"offline_cut": "grace", "offline_grace_h": 1}, {"lease_days": 30})) == ("offline", "lease")


OFF = {"balance_nano": 1, "switch": Switch.OPEN, "off_reason": OffReason.BALANCE}


@pytest.mark.parametrize("code", sorted(h.code for h in HOLDS.values() if h.blocks_close))
def test_a_hold_against_closing_holds_a_restore(code: str) -> None:
    held, free = decided(OFF, {"holds": (code,)}), decided(OFF, {})
    assert held is not None
    assert free is not None
    assert (held.verdict, free.verdict) == ("restore_held", "restore")


@pytest.mark.parametrize("why", [OffReason.ORDER, OffReason.UNORDERED, OffReason.NONE])
def test_money_closes_only_what_money_opened(why: OffReason) -> None:
    assert decided(OFF | {"balance_nano": 10**9, "off_reason": why}, {}) is None


def test_the_defaults_of_the_contract_never_cut() -> None:
    plain = {"zero_action": "none", "offline_cut": "never"}
    assert decided({}, plain) is None
    assert blocked_by(decided({"link_up": False}, plain | {"zero_action": "disconnect"})) == ("offline",)


@given(st.integers(0, 2 * DAY_MS), st.integers(0, 10 * 60_000))
def test_no_cut_while_any_true_time_may_be_protected(offset_ms: int, uncertainty_ms: int) -> None:
    spans, now_ms = ("21:30-06:15", "12:00-13:00"), START_MS + offset_ms
    view = {"notice_ms": 0, "lease_until_ms": now_ms + DAY_MS, "clock": ClockState.HOLDOVER, "now_ms": now_ms}
    evidence = decided(view | {"uncertainty_ms": uncertainty_ms}, {"protected_hours": spans})
    hours = protected_hours(spans, "Asia/Kolkata")
    around = range(now_ms - uncertainty_ms, now_ms + uncertainty_ms + 1, 30_000)
    if any(hours.touches(t, t) for t in (*around, now_ms + uncertainty_ms)):
        assert evidence is not None
        assert evidence.verdict == "held"


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
