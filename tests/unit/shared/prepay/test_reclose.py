"""The one automatic close after a trip, and a cut that becomes due while it is on its way: withdrawn, given once, or cut after it; and
a trip whose limit is no more before it has left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gridtally_shared.prepay.engine import Step, advance
from gridtally_shared.prepay.facts import Facts, Happening, Limit, OffReason
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.prepay.regions import Entitlement, Funds, LoadLimit, Switch
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.table import ORDERS, Effect
from support.cut_cases import ACCOUNT, BLOCKING, DUE, NOON, SPENT

SECOND_MS = 1_000
TRIPPED_MS, CLOSED_MS = NOON - 125 * SECOND_MS, NOON - 5 * SECOND_MS
OFF = replace(DUE, switch=Switch.OPEN, off_reason=OffReason.LIMIT, off_since_ms=TRIPPED_MS, limit_for_ms=0, limits=(Limit(1_000, "order"),))
CLOSING = replace(OFF, moving=True)
PAID = {"balance_nano": 10**12}
OF_THE_SWITCH = {"switch", "pending", "stuck"}
HELD = [case for case in BLOCKING if case[0] not in OF_THE_SWITCH and set(case[1]) <= set(Facts.__slots__)]


def reclosed(**more: Any) -> Standing:
    """Spent, and closed by itself five seconds ago, as far as was ordered."""
    said = {"recloses": 1, "reclosed_ms": CLOSED_MS, "limit_w": 1_000, "limit_by": "order", **more}
    return replace(SPENT, regions=replace(SPENT.regions, limit=LoadLimit.RECLOSED_ONCE), **said)


def step(standing: Standing, facts: Facts, after_s: int = 0, happening: Happening | None = None) -> Step:
    return advance(standing, replace(facts, now_ms=facts.now_ms + after_s * SECOND_MS), plain_policy(facts.account), happening)


def rows(step: Step) -> list[str]:
    """Those of the load limit."""
    return [fired.id for fired in step.fired if fired.region == "limit"]


def orders(step: Step) -> list[Effect]:
    return [e for fired in step.fired for e in fired.effects if e in ORDERS]


def withdrawn() -> Standing:
    return step(reclosed(), CLOSING).standing


def test_a_cut_that_becomes_due_withdraws_the_close_that_is_on_its_way_once() -> None:
    found = step(reclosed(), CLOSING)
    moved = next(f for f in found.fired if f.id == "T23w")
    assert (moved.before, moved.after, moved.effects) == (LoadLimit.RECLOSED_ONCE, LoadLimit.TRIPPED, (Effect.WITHDRAW_CLOSE,))
    assert orders(found) == []
    assert rows(step(found.standing, CLOSING, 1)) == []


@pytest.mark.parametrize(("name", "view", "account"), HELD, ids=[f"{n} {[*v.values(), *a.values()]}" for n, v, a in HELD])
def test_where_one_test_of_a_cut_does_not_hold_the_close_goes_on(name: str, view: dict[str, Any], account: dict[str, Any]) -> None:
    """Unknown always means "stay on": no supply is kept back by a cut that nobody could prove."""
    found = step(reclosed(), replace(CLOSING, account=replace(ACCOUNT, **account), **view))
    assert not {"T23w", "T25w"}.intersection(rows(found))


def test_what_is_paid_or_only_limited_goes_on_too() -> None:
    assert rows(step(reclosed(), replace(CLOSING, **PAID))) == []
    assert "T23w" not in rows(advance(reclosed(), CLOSING, replace(plain_policy(ACCOUNT), zero_action=ZeroAction.LIMIT)))


def test_withdrawn_it_is_given_at_once_when_it_is_paid_and_is_the_same_one() -> None:
    waiting = withdrawn()
    assert orders(step(waiting, OFF, 10)) == []
    paid = step(waiting, replace(OFF, **PAID), 20, Happening.CREDITED)
    assert orders(paid) == [Effect.RECLOSE]
    assert (paid.standing.regions.limit, paid.standing.recloses) == (LoadLimit.RECLOSED_ONCE, 1)
    evidence = next(f.evidence for f in paid.fired if f.id == "T23v")
    assert evidence is not None
    assert (evidence.verdict, [t.name for t in evidence.tests if not t.holds]) == ("reclose", [])


def test_hours_off_after_it_was_withdrawn_are_no_clean_period() -> None:
    late = step(withdrawn(), replace(OFF, limit_for_ms=10**9), 10_000)
    assert (late.standing.regions.limit, late.standing.recloses) == (LoadLimit.TRIPPED, 1)


@pytest.mark.parametrize("holds", [("safety",), ("vacant",)])
def test_withdrawn_and_paid_it_still_waits_for_a_hold(holds: tuple[str, ...]) -> None:
    held = replace(OFF, account=replace(ACCOUNT, holds=holds), **PAID)
    assert orders(step(withdrawn(), held, 20, Happening.CREDITED)) == []


def test_a_close_that_had_left_has_acted_and_the_cut_follows_it() -> None:
    on = replace(CLOSING, switch=Switch.CLOSED, off_reason=OffReason.NONE, moving=False)
    found = step(withdrawn(), on, 1)
    assert orders(found) == [Effect.ORDER_OPEN]
    cut = next(f for f in found.fired if f.id == "T11")
    assert cut.evidence is not None
    assert all(t.holds for t in cut.evidence.tests)
    regions = found.standing.regions
    assert (regions.entitlement, regions.limit, found.standing.recloses) == (Entitlement.CUT_DUE, LoadLimit.RECLOSED_ONCE, 1)


def test_a_close_that_had_left_and_was_paid_before_it_was_read_back_stays() -> None:
    on = replace(CLOSING, switch=Switch.CLOSED, off_reason=OffReason.NONE, moving=False, **PAID)
    assert orders(step(withdrawn(), on, 1, Happening.CREDITED)) == []


@pytest.mark.parametrize(("recloses", "state"), [(1, LoadLimit.LOCKED_MANUAL), (0, LoadLimit.TRIPPED)], ids=["by hand", "limit lifted"])
def test_a_close_by_hand_and_one_after_the_limit_was_lifted_are_withdrawn_too(recloses: int, state: LoadLimit) -> None:
    """The automatic one that is used up stays so: the person asks again when it is paid."""
    asked = replace(reclosed(recloses=recloses), regions=replace(reclosed().regions, limit=LoadLimit.IDLE))
    found = step(asked, CLOSING)
    assert (rows(found), found.standing.regions.limit) == (["T25w"], state)
    paid = step(found.standing, replace(OFF, **PAID), 10, Happening.CREDITED)
    assert orders(paid) == []
    by_hand = step(paid.standing, replace(OFF, **PAID), 20, Happening.RECLOSED_BY_HAND)
    assert orders(by_hand) == [Effect.RECLOSE]


def test_what_a_command_switched_off_is_none_of_its_business() -> None:
    by_order = replace(CLOSING, off_reason=OffReason.ORDER)
    assert not {"T23w", "T25w"}.intersection(rows(step(reclosed(), by_order)))


def test_a_limit_that_is_lifted_closes_and_is_no_new_trip() -> None:
    """Nor does an order that did not reach the meter, however long it takes: it is given again."""
    off = replace(reclosed(recloses=0, reclosed_ms=None, tripped_ms=TRIPPED_MS), regions=replace(SPENT.regions, limit=LoadLimit.TRIPPED))
    lifted = replace(OFF, limits=(), **PAID)
    found = step(off, lifted)
    assert [i for i in rows(found) if i != "T15u"] == ["T23l"]
    assert found.standing.regions.limit is LoadLimit.IDLE
    again = step(found.standing, replace(lifted, limit_for_ms=None), 10_000)
    assert rows(again) == ["T23r"]
    on = replace(lifted, switch=Switch.CLOSED, off_reason=OffReason.NONE, limit_for_ms=None)
    assert rows(step(again.standing, on, 10_000)) == ["T25c"]


TRIPPING = replace(DUE, moving=True, limit_for_ms=0, demand_over=True, demand_w=2_000, **PAID)


def tripped(state: LoadLimit = LoadLimit.TRIPPED, recloses: int = 0) -> Standing:
    """Paid, limited and above it for too long; the order to open left for its line five seconds ago."""
    said = {"tripped_ms": CLOSED_MS, "limit_w": 1_000, "limit_by": "order", "recloses": recloses}
    return replace(Standing(), regions=replace(SPENT.regions, funds=Funds.IN_CREDIT, limit=state), **said)


GONE = [("lifted", {}), ("raised", {"limits": (Limit(9_000, "order"),)}),
        ("protected", {"limits": (Limit(1_000, "order"),), "account": replace(ACCOUNT, holds=("medical",))})]  # fmt: skip


@pytest.mark.parametrize(("name", "view"), GONE, ids=[name for name, _ in GONE])
@pytest.mark.parametrize(("state", "recloses"), [(LoadLimit.TRIPPED, 0), (LoadLimit.LOCKED_MANUAL, 1)])
def test_a_trip_of_a_limit_that_is_no_more_is_withdrawn_and_uses_nothing_up(
    name: str, view: dict[str, Any], state: LoadLimit, recloses: int
) -> None:
    found = step(tripped(state, recloses), replace(TRIPPING, **view))
    assert rows(found)[0] == "T22w"
    assert [e for f in found.fired for e in f.effects if e is Effect.WITHDRAW_TRIP] == [Effect.WITHDRAW_TRIP]
    assert orders(found) == []
    assert rows(step(found.standing, replace(TRIPPING, **view), 1)) == []
    on = replace(TRIPPING, moving=False, demand_over=None, **view)
    ended = step(found.standing, on, 2)
    assert (ended.standing.regions.limit, ended.standing.recloses) == (LoadLimit.IDLE, recloses)
    assert orders(ended) == []


def test_a_trip_of_a_limit_that_stands_or_was_lowered_goes_on() -> None:
    for watts in (1_000, 500):
        found = step(tripped(), replace(TRIPPING, limits=(Limit(watts, "order"),)))
        assert "T22w" not in rows(found)


@pytest.mark.parametrize("state", [LoadLimit.TRIPPED, LoadLimit.LOCKED_MANUAL])
def test_a_trip_that_had_left_before_its_limit_was_lifted_is_closed_at_once(state: LoadLimit) -> None:
    found = step(tripped(state), TRIPPING)
    off = replace(TRIPPING, moving=False, switch=Switch.OPEN, off_reason=OffReason.LIMIT, off_since_ms=NOON, demand_over=None)
    assert orders(step(found.standing, off, 2)) == [Effect.RECLOSE]
