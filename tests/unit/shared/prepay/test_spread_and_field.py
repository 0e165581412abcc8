"""Many homes at once come back in turn, one that is paid at once; and who goes where a meter has no switch, and who is called back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import ClockState
from gridtally_shared.ledger.evidence import DecisionEvidence
from gridtally_shared.prepay.cut_tests import RESTORE_TESTS
from gridtally_shared.prepay.engine import Step, advance
from gridtally_shared.prepay.facts import Facts, Happening, OffReason
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import Emergency, FlagRule, NoSwitch, Policy, ZeroAction
from gridtally_shared.prepay.regions import Entitlement, Funds, Mode, Regions, Switch
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.table import ORDERS, Effect
from support.cut_cases import ACCOUNT, BLOCKING, DUE, NOON, SPENT, blocked_by
from support.prepay_bench import HOUR_MS

MINUTE_MS = 60_000
DARK = Standing(Regions(Mode.PREPAID, Funds.EXHAUSTED, Entitlement.CUT, Switch.OPEN), decision="cut", exhausted_since_ms=NOON - HOUR_MS)
OFF = replace(DUE, switch=Switch.OPEN, off_reason=OffReason.BALANCE, off_since_ms=NOON - HOUR_MS, balance_nano=-1)
PLAIN = plain_policy(ACCOUNT)
SPREAD = replace(PLAIN, restore=replace(PLAIN.restore, spread_s=3_600))


def held_by(*holds: str, account_no: int = ACCOUNT.account_no) -> Facts:
    return replace(OFF, account=replace(ACCOUNT, account_no=account_no, holds=holds))


def effects(step: Step) -> list[Effect]:
    return [e for f in step.fired for e in f.effects]


def comes_back_after(facts: Facts, policy: Policy, minutes: int = 66) -> int | None:
    """Minutes until the order to close, asked every fifth; None where it does not come."""
    standing = DARK
    for minute in range(0, minutes, 5):
        step = advance(standing, replace(facts, now_ms=NOON + minute * MINUTE_MS), policy)
        if Effect.ORDER_CLOSE in effects(step):
            return minute
        standing = step.standing
    return None


# ---- the spread of a mass restore ---------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["weather", "disaster"])
def test_homes_that_are_released_together_come_back_over_the_whole_spread(hold: str) -> None:
    minutes = [comes_back_after(held_by(hold, account_no=n), SPREAD) for n in range(1, 61)]
    assert None not in minutes
    came = [m for m in minutes if m is not None]
    assert max(came.count(m) for m in came) <= 9
    assert (min(came), max(came)) == (5, 60)


def test_another_policy_releases_in_turn_too() -> None:
    lenient = replace(SPREAD, zero_action=ZeroAction.NONE)
    assert len({comes_back_after(held_by(account_no=n), lenient) for n in range(1, 21)}) > 8


def test_its_turn_is_a_test_of_the_evidence_and_told_once() -> None:
    facts = held_by("weather", account_no=7)
    first = advance(DARK, facts, SPREAD)
    (found,) = [f.evidence for f in first.fired if f.evidence]
    assert (found.verdict, blocked_by(found)) == ("restore_held", ("turn",))
    assert [t.name for t in found.tests] == [name for name, _ in RESTORE_TESTS]
    again = advance(first.standing, replace(facts, now_ms=NOON + MINUTE_MS), SPREAD)
    assert not [f for f in again.fired if f.evidence]
    at_ms = int(next(p.value for t in found.tests for p in t.params if p.name == "at_ms"))
    assert Effect.ORDER_CLOSE not in effects(advance(first.standing, replace(facts, now_ms=at_ms - 1), SPREAD))
    assert Effect.ORDER_CLOSE in effects(advance(first.standing, replace(facts, now_ms=at_ms), SPREAD))


ALONE: dict[str, dict[str, Any]] = {
    "paid": {"balance_nano": 10**9},
    "paid in a storm": {"balance_nano": 10**9, "account": replace(ACCOUNT, holds=("weather",))},
    "medical hold": {"account": replace(ACCOUNT, holds=("medical",))},
    "medical flag": {"account": replace(ACCOUNT, flags=("medical_device",))},
    "a dispute in a storm": {"account": replace(ACCOUNT, holds=("dispute", "weather"))},
    "regular billing": {"account": replace(ACCOUNT, mode=1), "boundary": True},
}


@pytest.mark.parametrize("why", ALONE)
def test_one_that_is_paid_or_protected_for_its_own_sake_does_not_wait(why: str) -> None:
    policy = replace(SPREAD, protected=replace(SPREAD.protected, flags=(FlagRule("medical_device"),)))
    for number in range(1, 6):
        facts = replace(OFF, **ALONE[why])
        assert comes_back_after(replace(facts, account=replace(facts.account, account_no=number)), policy, 6) in (0, 5)


def test_emergency_credit_that_is_taken_brings_it_back_at_once() -> None:
    policy = replace(SPREAD, emergency=Emergency(10**10, 10**9))
    spent = replace(DARK, regions=replace(DARK.regions, funds=Funds.EXHAUSTED))
    assert Effect.ORDER_CLOSE in effects(advance(spent, held_by("weather"), policy, Happening.EMERGENCY_ACCEPTED))


def test_a_payment_while_it_waits_for_its_turn_brings_it_back_at_once() -> None:
    waiting = advance(DARK, held_by("weather", account_no=7), SPREAD)
    assert Effect.ORDER_CLOSE not in effects(waiting)
    paid = replace(held_by("weather", account_no=7), balance_nano=10**9, now_ms=NOON + 1)
    assert Effect.ORDER_CLOSE in effects(advance(waiting.standing, paid, SPREAD, Happening.CREDITED))


def test_a_hand_does_not_wait_for_its_turn() -> None:
    waiting = advance(DARK, held_by("weather", account_no=7), SPREAD)
    assert Effect.ORDER_CLOSE in effects(advance(waiting.standing, held_by("weather", account_no=7), SPREAD, Happening.RECLOSED_BY_HAND))


def test_a_clock_that_was_set_back_strands_nobody() -> None:
    facts = held_by("weather", account_no=7)
    ahead = advance(DARK, replace(facts, now_ms=NOON + MS_PER_DAY), SPREAD).standing
    for minute in range(0, 66, 5):
        step = advance(ahead, replace(facts, now_ms=NOON + minute * MINUTE_MS), SPREAD)
        if Effect.ORDER_CLOSE in effects(step):
            return
        ahead = step.standing
    raise AssertionError("still dark after an hour")


def test_a_release_that_ends_and_comes_again_begins_its_turn_anew() -> None:
    facts = held_by("weather", account_no=7)
    standing = advance(DARK, facts, SPREAD).standing
    standing = advance(standing, replace(held_by(account_no=7), now_ms=NOON + MINUTE_MS), SPREAD).standing
    assert standing.free_since_ms is None
    later_ms = NOON + MS_PER_DAY
    assert Effect.ORDER_CLOSE not in effects(advance(standing, replace(facts, now_ms=later_ms), SPREAD))


# ---- a meter without a switch -------------------------------------------------------------------------------

FIELD = replace(PLAIN, no_switch=NoSwitch.FIELD_ORDER, no_switch_days=3)
SWITCHLESS = replace(DUE, switch=Switch.NOT_FITTED, now_ms=NOON + 3 * MS_PER_DAY, lease_until_ms=NOON + 9 * MS_PER_DAY)


def field_decision(step: Step) -> DecisionEvidence | None:
    return next((f.evidence for f in step.fired if f.evidence and f.evidence.verdict.startswith("cut")), None)


def sent() -> Standing:
    return advance(SPENT, SWITCHLESS, FIELD).standing


def test_after_the_days_of_the_policy_somebody_is_sent_once_and_nothing_is_ever_ordered() -> None:
    standing, asked = SPENT, []
    for hour in range(24 * 5):
        facts = replace(SWITCHLESS, now_ms=NOON + hour * MS_PER_HOUR)
        step = advance(standing, facts, FIELD)
        assert ORDERS.isdisjoint(effects(step))
        asked += [hour] * effects(step).count(Effect.ASK_FIELD)
        assert effects(step).count(Effect.TELL_FIELD) == effects(step).count(Effect.ASK_FIELD)
        standing = step.standing
    assert asked == [72]


def test_the_field_order_is_evidence_with_every_test_but_the_switch_s() -> None:
    found = field_decision(advance(SPENT, SWITCHLESS, FIELD))
    assert found is not None
    assert (found.verdict, blocked_by(found)) == ("cut_by_field", ("switch",))


@pytest.mark.parametrize(("name", "view", "account"), [c for c in BLOCKING if c[0] != "switch"])
def test_each_cut_test_alone_keeps_somebody_from_being_sent(name: str, view: dict[str, Any], account: dict[str, Any]) -> None:
    behind, mine = replace(ACCOUNT, **account), {n: v for n, v in view.items() if hasattr(SPENT, n)}
    facts = replace(DUE, account=behind, **{n: v for n, v in view.items() if n not in mine} | {"switch": Switch.NOT_FITTED})
    at_once = replace(plain_policy(behind), no_switch=NoSwitch.FIELD_ORDER)
    step = advance(replace(SPENT, **mine), facts, at_once)
    held = next(f.evidence for f in step.fired if f.evidence)
    assert (held.verdict, set(blocked_by(held))) == ("held", {name, "switch"})
    assert Effect.ASK_FIELD not in effects(step)


@pytest.mark.parametrize("policy", [
    replace(FIELD, no_switch=NoSwitch.NOTIFY), replace(FIELD, zero_action=ZeroAction.NONE), replace(FIELD, zero_action=ZeroAction.LIMIT),
])  # fmt: skip
def test_where_the_policy_does_not_say_so_nobody_is_sent(policy: Policy) -> None:
    assert Effect.ASK_FIELD not in effects(advance(SPENT, SWITCHLESS, policy))


@pytest.mark.parametrize("switch", [Switch.UNKNOWN, Switch.CLOSED, Switch.OPEN, Switch.FAULT])
def test_a_switch_that_is_there_or_not_known_sends_nobody(switch: Switch) -> None:
    assert Effect.ASK_FIELD not in effects(advance(SPENT, replace(SWITCHLESS, switch=switch), FIELD))


@pytest.mark.parametrize("why", [
    {"balance_nano": 10**12}, {"account": replace(ACCOUNT, holds=("medical",))}, {"switch": Switch.CLOSED},
    {"account": replace(ACCOUNT, mode=1), "boundary": True},
])  # fmt: skip
def test_who_is_on_the_way_is_called_back_once(why: dict[str, Any]) -> None:
    standing, done = sent(), []
    for minute in (1, 2, 3):
        step = advance(standing, replace(SWITCHLESS, now_ms=SWITCHLESS.now_ms + minute * MINUTE_MS, **why), FIELD)
        done += [e for e in effects(step) if e in (Effect.CALL_BACK, Effect.ASK_FIELD)]
        standing = step.standing
    assert done == [Effect.CALL_BACK]


@pytest.mark.parametrize("why", [
    {"clock": ClockState.UNTRUSTED}, {"link_up": False}, {"reading_age_ms": None}, {"now_ms": NOON},
    {"account": replace(ACCOUNT, protected_hours=("09:00-17:00",))},
])  # fmt: skip
def test_what_is_not_known_calls_nobody_back(why: dict[str, Any]) -> None:
    facts = replace(SWITCHLESS, **why)
    policy = replace(FIELD, protected=plain_policy(facts.account).protected)
    assert Effect.CALL_BACK not in effects(advance(sent(), facts, policy))


def test_who_uses_it_up_again_is_sent_to_again_after_the_days() -> None:
    paid = advance(sent(), replace(SWITCHLESS, balance_nano=10**12), FIELD).standing
    asked, standing = [], paid
    for hour in range(24 * 5):
        step = advance(standing, replace(SWITCHLESS, now_ms=SWITCHLESS.now_ms + hour * MS_PER_HOUR, lease_until_ms=10**15), FIELD)
        asked += [hour] * effects(step).count(Effect.ASK_FIELD)
        standing = step.standing
    assert asked == [72]


# ---- requests upward ----------------------------------------------------------------------------------------


def test_a_small_payment_is_followed_by_another_request_at_the_next_zero() -> None:
    policy = replace(PLAIN, zero_action=ZeroAction.REPLENISH)
    standing = Standing(Regions(Mode.PREPAID))
    asked = []
    for balance_nano in (0, -1, 1, 0):  # paid, but never above the low level
        step = advance(standing, replace(DUE, balance_nano=balance_nano), policy)
        asked.append(effects(step).count(Effect.ASK_PAYMENT))
        standing = step.standing
    assert asked == [1, 0, 0, 1]
