"""Every step down is a cut: a step of a limit, by credit or by order, and a trip pass the same tests, each alone, and are evidence."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from gridtally_shared.ledger.evidence import DecisionEvidence
from gridtally_shared.prepay.cut_tests import BODILY, CUT_TESTS, LIMIT_TESTS, NOT_OF_A_LIMIT, TRIP_TESTS
from gridtally_shared.prepay.engine import advance
from gridtally_shared.prepay.facts import Facts, Limit
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import Emergency, LimitStep, Policy, ZeroAction
from gridtally_shared.prepay.policy import Limit as LimitRule
from gridtally_shared.prepay.regions import Entitlement, Funds, LoadLimit, Mode, Regions
from gridtally_shared.prepay.standing import Standing
from support.cut_cases import ACCOUNT, BLOCKING, DUE, NOON, SPENT, UNDER_A_POLICY, blocked_by

STEPS = LimitRule((LimitStep("p90", percent_ppm=900_000), LimitStep("p75", percent_ppm=750_000), LimitStep("lifeline", watts=300)), 3)
CREDIT = {"contract_w": 4_000}
CASES = [*((n, v, a, {}) for n, v, a in BLOCKING), *UNDER_A_POLICY]
IDS = [f"{n} {[*v.values(), *a.values(), *p.values()]}" for n, v, a, p in CASES]
FACTS = {f.name for f in fields(Facts)}


def policy(rules: dict[str, Any], **more: Any) -> Policy:
    plain = replace(plain_policy(ACCOUNT), zero_action=ZeroAction.LIMIT, limit=STEPS, **more)
    protected = {n: v for n, v in rules.items() if n in ("weather", "flags")}
    rest = {n: v for n, v in rules.items() if n not in protected}
    return replace(plain, protected=replace(plain.protected, **protected), **rest)


def plain_rules(account: dict[str, Any], rules: Policy) -> Policy:
    """What the single rules of a record say of hours, notices and darkness, in a policy with steps."""
    said = plain_policy(replace(ACCOUNT, **account))
    protected = said.protected if said.protected != plain_policy(ACCOUNT).protected else rules.protected
    return replace(rules, protected=protected, notice=said.notice, offline_cut=said.offline_cut, offline_grace_h=said.offline_grace_h)


def evidence(standing: Standing, view: dict[str, Any], account: dict[str, Any], rules: Policy, region: str) -> DecisionEvidence | None:
    """What is written down in a region of a supply that is due, with these things otherwise."""
    facts = replace(DUE, account=replace(ACCOUNT, **CREDIT, **account), **{n: v for n, v in view.items() if n in FACTS})
    mine = replace(standing, **{n: v for n, v in view.items() if n not in FACTS})
    fired = advance(mine, facts, plain_rules(account, rules)).fired
    return next((f.evidence for f in fired if f.region == region and f.evidence), None)


STANDS: dict[str, tuple[Standing, dict[str, Any], int]] = {
    "lifeline at zero": (SPENT, {}, 3),
    "the step of emergency credit": (
        replace(SPENT, regions=Regions(Mode.PREPAID, Funds.EC_IN_USE), emergency_since_ms=NOON - 1, uses=1),
        {"emergency": Emergency(10**9, uses_per_topup=1, step=2)}, 2,
    ),
    "from one step to the next": (
        replace(SPENT, regions=Regions(Mode.PREPAID, Funds.EXHAUSTED, Entitlement.LIMITED, step=2), limited_since_ms=NOON - 1), {}, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("stands", STANDS)
def test_a_step_of_credit_is_taken_with_every_test_stored(stands: str) -> None:
    standing, rules, step = STANDS[stands]
    facts = replace(DUE, account=replace(ACCOUNT, **CREDIT))
    after = advance(standing, facts, policy(rules))
    found = next(f.evidence for f in after.fired if f.id == "T10")
    assert found is not None
    assert (found.verdict, [t.name for t in found.tests]) == ("limit", [name for name, _ in CUT_TESTS])
    assert blocked_by(found) == ()
    assert after.standing.regions.step == step


@pytest.mark.parametrize("stands", STANDS)
@pytest.mark.parametrize(("name", "view", "account", "rules"), CASES, ids=IDS)
def test_each_cut_test_blocks_a_step_of_credit_alone(
    stands: str, name: str, view: dict[str, Any], account: dict[str, Any], rules: dict[str, Any]
) -> None:
    standing, more, _ = STANDS[stands]
    found = evidence(standing, view, account, policy(rules, **more), "entitlement")
    assert found is not None
    assert (found.verdict, blocked_by(found)) == ("held", (name,))


OVER = {"demand_over": True, "demand_w": 900, "over_for_ms": 60_000}
PAID = Standing(Regions(Mode.PREPAID))
ORDERED = {"limits": (Limit(800, "order"),), "balance_nano": 10**12}
OF_A_LIMIT = [(c, i) for c, i in zip(CASES, IDS, strict=True) if c[0] not in NOT_OF_A_LIMIT]


def test_an_ordered_limit_is_taken_with_every_test_stored() -> None:
    found = evidence(PAID, ORDERED, {}, policy({}), "limit")
    assert found is not None
    assert (found.verdict, [t.name for t in found.tests]) == ("limit", [name for name, _ in LIMIT_TESTS])


@pytest.mark.parametrize(("name", "view", "account", "rules"), [c for c, _ in OF_A_LIMIT], ids=[i for _, i in OF_A_LIMIT])
def test_each_test_blocks_an_ordered_limit_and_a_trip_alone(
    name: str, view: dict[str, Any], account: dict[str, Any], rules: dict[str, Any]
) -> None:
    held = evidence(PAID, view | ORDERED, account, policy(rules), "limit")
    assert held is not None
    assert (held.verdict, blocked_by(held)) == ("limit_held", (name,))
    limited = replace(PAID, regions=replace(PAID.regions, limit=LoadLimit.OVER), limit_w=800, limit_by="order")
    trip = evidence(limited, view | ORDERED | OVER, account, policy(rules), "limit")
    assert trip is not None
    shielded = name in BODILY  # the limit itself is lifted while a person is protected
    assert (trip.verdict, blocked_by(trip)) == ("limit_held" if shielded else "trip_held", (name,))


def test_a_limit_and_a_trip_that_are_both_held_are_written_down_once() -> None:
    """Not with every look at the supply: the journal of a month without a link would fill the disk."""
    limited = replace(PAID, regions=replace(PAID.regions, limit=LoadLimit.OVER), limit_w=900, limit_by="order")
    facts = replace(DUE, account=replace(ACCOUNT, **CREDIT), parked=1, **ORDERED, **OVER | {"demand_w": 1_000})
    written, standing = [], limited
    for _ in range(5):
        after = advance(standing, facts, policy({}))
        written += [f.evidence.verdict for f in after.fired if f.evidence]
        standing = after.standing
    assert sorted(written) == ["limit_held", "trip_held"]


def test_a_trip_is_evidence_with_the_demand_it_saw() -> None:
    limited = replace(PAID, regions=replace(PAID.regions, limit=LoadLimit.OVER), limit_w=800, limit_by="order")
    found = evidence(limited, ORDERED | OVER, {}, policy({}), "limit")
    assert found is not None
    assert (found.verdict, [t.name for t in found.tests]) == ("trip", [name for name, _ in TRIP_TESTS])


def test_what_a_limit_is_not_asked_is_named() -> None:
    """Everything of the person, the clock and the evidence is asked of a limit too (safety.md 5)."""
    asked = {"policy", "ledger", "register", "tariff", "clock", "reading", "serial", "parked", "gap", "protected_hours", "flags",
             "weather", "holds", "conversion", "schedule", "lease", "switch", "pending", "breaker"}  # fmt: skip
    assert {name for name, _ in LIMIT_TESTS} == asked
