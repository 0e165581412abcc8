"""The open cycle handed on: charged in two epochs it costs what one would charge, and what does not fit begins anew."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.contract.prepay_messages import CarriedCharge
from gridtally_shared.tariff.carried import carried, taken_over
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.lines import Line, total_nano
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.running import Running, Terms, TermVersion, begun, guess, parts_of, under, used
from gridtally_shared.tariff.terms import Plan

ZONE = ZoneInfo("Asia/Kolkata")
DAY_MS = 86_400_000
START_MS = starts_at(date(2026, 3, 1).toordinal(), ZONE)


def document(price: str) -> str:
    items = [
        {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "10", "price": price}, {"price": "7.77"}]},
        {"kind": "fixed", "code": "fixed", "price": "31.07"}, {"kind": "percent", "code": "duty", "percent": "7.77", "of": ["energy"]},
    ]  # fmt: skip
    return json.dumps({"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
                       "versions": [{"from": "2020-01-01", "items": items}]})  # fmt: skip


STORED = tuple(TariffDocument("home", n, from_ms, document(price)) for n, from_ms, price in (
    (1, 0, "1"), (2, START_MS - 40 * DAY_MS, "2"), (3, START_MS - 9 * DAY_MS, "3"), (4, START_MS + 9 * DAY_MS + 3_600_000, "4"),
    (5, START_MS + 90 * DAY_MS, "5"),
))  # fmt: skip


def priced(*versions: TariffDocument) -> tuple[Plan, Terms]:
    return pinned_plan(versions, "Asia/Kolkata"), Terms("home", "Asia/Kolkata", tuple(TermVersion(v.version, v.from_ms) for v in versions))


def charge(plan: Plan, running: Running, to_ms: int, wh: int) -> tuple[Running, tuple[Line, ...]]:
    found: tuple[Line, ...] = ()
    for part in parts_of(plan, running.state.counted_ms, to_ms, wh):
        running, lines = used(plan, running, part.from_ms, part.to_ms, part.wh)
        found += lines
    return running, found


OLD, OLD_TERMS = priced(*STORED[:4])
NEW, NEW_TERMS = priced(*STORED[2:])  # another concentrator: the version before, the one in force, and what is to come


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 9_000)), min_size=1, max_size=6), st.integers(0, 6))
def test_two_epochs_cost_to_the_nano_what_one_costs(uses: list[tuple[int, int]], hand_over: int) -> None:
    one = two = begun(OLD, OLD_TERMS, START_MS, day_of(START_MS, ZONE))
    plan, now_ms, costs = OLD, START_MS, [0, 0]
    for i, (days, wh) in enumerate(uses):
        if i == hand_over:
            found = taken_over(carried(plan, two), NEW, NEW_TERMS)
            assert found is not None
            two, plan = found, NEW
        now_ms += days * DAY_MS
        one, lines = charge(OLD, one, now_ms, wh)
        costs[0] += total_nano(lines)
        two, lines = charge(plan, two, now_ms, wh)
        costs[1] += total_nano(lines)
    assert costs[0] == costs[1]


def spent() -> Running:
    """On the thirteenth, in the second slab, under two versions of the month."""
    return charge(OLD, begun(OLD, OLD_TERMS, START_MS, day_of(START_MS, ZONE)), START_MS + 12 * DAY_MS, 14_000)[0]


@pytest.mark.parametrize("here", [
    priced(*STORED[3:]),  # the version in force when the month began is not known here
    priced(STORED[2], replace(STORED[3], from_ms=STORED[3].from_ms + 3_600_000)),  # it began at another instant
    priced(*STORED[:3]),  # the version in force is not known here
    (NEW, replace(NEW_TERMS, tariff_id="other")), (NEW, replace(NEW_TERMS, contract_w=4_600)),
])  # fmt: skip
def test_what_is_priced_otherwise_here_is_not_taken_over(here: tuple[Plan, Terms]) -> None:
    assert taken_over(carried(OLD, spent()), *here) is None


@pytest.mark.parametrize("text", ["", "[]", "{", "[[1],2,3,4]"])
def test_what_is_not_understood_is_not_taken_over(text: str) -> None:
    good = carried(OLD, spent())
    assert taken_over(CarriedCharge(text, good.versions), NEW, NEW_TERMS) is None
    assert taken_over(replace(good, versions=()), NEW, NEW_TERMS) is None


def test_what_was_guessed_stays_charged_and_is_not_carried() -> None:
    guessed, _ = guess(OLD, spent(), 3_000)
    assert guessed.guessed != ()
    assert taken_over(carried(OLD, guessed), OLD, OLD_TERMS) == spent()


def test_later_versions_are_terms_that_go_on() -> None:
    found = taken_over(carried(OLD, spent()), *priced(*STORED[2:4]))
    assert found is not None
    assert under(NEW, found, NEW_TERMS) == replace(found, terms=NEW_TERMS)
