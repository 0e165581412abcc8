"""An account charged in steps: days without readings, versions from an instant, other terms, provisional charges; the journal's walk."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.money import nano
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import advance, opened
from gridtally_shared.tariff.lines import total_nano
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.prices import prices
from gridtally_shared.tariff.running import Terms, begun, days, guess, parts_of, taken_back, under, used
from gridtally_shared.tariff.running_text import running_from, running_text
from gridtally_shared.tariff.terms import Account
from gridtally_shared.tariff.use import Series

KOLKATA, BERLIN = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
FIRST = date(2026, 3, 1).toordinal()
SLABS: list[dict[str, Any]] = [
    {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "100", "price": "3"}, {"price": "5"}]},
    {"kind": "fixed", "code": "fixed", "price": "31"},
    {"kind": "percent", "code": "duty", "percent": "7.77", "of": ["energy"]},
    {"kind": "minimum", "code": "least", "amount": "90", "of": ["energy", "fixed"]},
]  # fmt: skip
NIGHT = [{"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]


def document(items: list[dict[str, Any]] | None = None, first: str = "2026-01-01", **more: Any) -> str:
    hours = more.pop("hours", [])
    version = {"from": first, "items": items or SLABS} | ({"hours": hours} if hours else {})
    return json.dumps({"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "versions": [version]} | more)


def flat(price: str, per_day: str = "0") -> str:
    return json.dumps({"kind": "flat", "currency": "INR", "energy_per_kwh": price, "fixed_per_day": per_day, "tax_percent": "0"})


def stored(*versions: tuple[int, str]) -> tuple[TariffDocument, ...]:
    return tuple(TariffDocument("home", n, from_ms, text) for n, (from_ms, text) in enumerate(versions, 1))


PLAN = tariff_plan([document()])
TERMS = Terms("home", "Asia/Kolkata")
START_MS = starts_at(FIRST, KOLKATA)
Uses = list[tuple[int, int]]
USES = st.lists(st.tuples(st.integers(1, 70 * 24), st.integers(0, 60_000)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(USES, st.lists(st.integers(0, 100 * 24), max_size=8))
def test_days_charged_before_their_use_is_known_cost_the_same_in_the_end(uses: Uses, ticks: list[int]) -> None:
    """Readings at some hours, days charged at others, in between and over the end of cycles; against one step for each reading."""
    readings, at_ms = [], START_MS
    for hours, wh in uses:
        readings.append((at_ms, at_ms := at_ms + hours * HOUR_MS, wh))
    plain = opened(PLAN, Account(), START_MS)
    expected = 0
    for from_ms, to_ms, wh in readings:
        step = advance(PLAN, Account(), plain, [Series(from_ms, to_ms - from_ms, [wh])], to_ms)
        plain, expected = step.state, expected + step.amount_nano
    running, charged = begun(PLAN, TERMS, START_MS, 0), 0
    moments = sorted(START_MS + t * HOUR_MS for t in ticks)
    for from_ms, to_ms, wh in readings:
        while moments and moments[0] <= to_ms:
            if moments.pop(0) > running.state.until_ms:
                running, lines = days(PLAN, running, min(to_ms, max(running.state.until_ms, to_ms - HOUR_MS)))
                charged += total_nano(lines)
        running, lines = used(PLAN, running, from_ms, to_ms, wh)
        charged += total_nano(lines)
        running = running_from(running_text(running))
    assert charged == expected
    assert running.state == plain


@pytest.mark.covers_part("C3-S1.3")
def test_a_silent_meter_costs_its_days_and_the_month_is_closed_when_its_use_is_known() -> None:
    running = begun(PLAN, TERMS, START_MS, 0)
    running, lines = days(PLAN, running, START_MS + 40 * DAY_MS)
    assert {line.code: line.quantity for line in lines} == {"fixed": 1}
    assert total_nano(lines) == nano("31") + nano("31") * 9 // 30
    running, lines = used(PLAN, running, START_MS, START_MS + 40 * DAY_MS, 40_000)
    of_march = [line for line in lines if line.first == FIRST]
    assert sum(line.quantity for line in of_march if line.code == "energy") == 31_000
    assert [line.amount_nano for line in of_march if line.code == "least"] == []  # 93 + 31 is above the minimum
    assert sum(line.quantity for line in lines if line.code == "energy") == 40_000


def test_a_vacant_house_pays_the_minimum_when_the_month_is_over() -> None:
    running = begun(PLAN, TERMS, START_MS, 0)
    running, first = days(PLAN, running, START_MS + 31 * DAY_MS + HOUR_MS)
    running, closing = used(PLAN, running, START_MS, START_MS + 31 * DAY_MS, 0)
    assert [(line.code, line.amount_nano) for line in closing] == [("least", nano("59"))]
    assert total_nano(first) == nano("31") + nano("31") // 30


def test_the_day_of_the_opening_belongs_to_who_had_the_supply_at_its_midnight() -> None:
    noon_ms = START_MS + 12 * HOUR_MS
    running = begun(PLAN, TERMS, noon_ms, FIRST + 1)
    running, lines = used(PLAN, running, noon_ms, noon_ms + HOUR_MS, 1_000)
    assert {line.code for line in lines} == {"energy", "duty"}
    running, lines = days(PLAN, running, START_MS + DAY_MS + 1)
    assert total_nano(lines) == nano("1")


# ---- versions -------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("ETSI-5.2.12-basic-3")
def test_a_version_prices_energy_from_its_instant_and_days_from_the_next_midnight() -> None:
    change_ms = START_MS + 10 * HOUR_MS
    plan = pinned_plan(stored((0, flat("2", "10")), (change_ms, flat("3", "20"))), "Asia/Kolkata")
    running = begun(plan, TERMS, START_MS, 0)
    parts = parts_of(plan, START_MS, START_MS + 40 * HOUR_MS, 40_000)
    assert [(p.to_ms, p.wh) for p in parts] == [(change_ms, 10_000), (START_MS + 40 * HOUR_MS, 30_000)]
    found: dict[tuple[str, int], int] = {}
    for part in parts:
        running, lines = used(plan, running, part.from_ms, part.to_ms, part.wh)
        found |= {(line.code, line.rate): found.get((line.code, line.rate), 0) + line.quantity for line in lines}
    assert found == {
        ("energy", 2_000_000): 10_000, ("energy", 3_000_000): 30_000, ("fixed", nano("10")): 1, ("fixed", nano("20")): 1,
        ("tax_energy", 0): nano("110"), ("tax_fixed", 0): nano("30"),
    }  # fmt: skip


@given(st.integers(0, 50_000_000), st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_movement_across_versions_is_parted_and_adds_up(wh: int, from_ms: int, length_ms: int) -> None:
    plan = pinned_plan(stored((0, flat("1")), (3 * 10**8, flat("2")), (6 * 10**8, flat("3"))), "Asia/Kolkata")
    parts = parts_of(plan, from_ms, from_ms + length_ms, wh)
    assert sum(p.wh for p in parts) == wh
    assert [p.to_ms for p in parts] == sorted(p.to_ms for p in parts)


def test_a_document_with_versions_of_its_own_is_replaced_from_the_next_ones_instant() -> None:
    one = json.loads(document())
    one["versions"].append(one["versions"][0] | {"from": "2026-05-01"})
    april, june = (starts_at(date(2026, month, 1).toordinal(), KOLKATA) for month in (4, 6))
    plan = pinned_plan(stored((0, json.dumps(one)), (april, document()), (june, document(first="2026-07-01"))), "UTC")
    begins = [date.fromordinal(v.first).isoformat() for v in plan.versions]
    assert begins == ["2026-01-01", "2026-04-01", "2026-07-01"]
    assert [v.number for v in plan.versions] == [1, 2, 3]


@pytest.mark.parametrize(("other", "place"), [
    (document(currency="EUR"), "currency"), (document(zone="Asia/Dhaka"), "zone"), (document(cycle={"start_day": 5}), "cycle"),
    (document(proration={"by": "thirty_days"}), "proration"), (flat("1").replace("INR", "EUR"), "currency"),
])  # fmt: skip
def test_versions_that_count_in_another_way_are_refused_with_the_place(other: str, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        pinned_plan(stored((0, document()), (START_MS, other)), "Asia/Kolkata")


@pytest.mark.covers_part("C3-S1.3")
def test_other_terms_begin_anew_and_charge_no_day_twice() -> None:
    items = [{"kind": "fixed", "code": "fixed", "price": "31", "times": "kw"}, SLABS[0]]
    plan = tariff_plan([document(items)])
    two_kw, three_kw = Terms("home", "Asia/Kolkata", (), 2_000), Terms("home", "Asia/Kolkata", (), 3_000)
    running, lines = used(plan, begun(plan, two_kw, START_MS, 0), START_MS, START_MS + 10 * DAY_MS, 90_000)
    charged = total_nano(lines)
    running = under(plan, running, three_kw)
    running, lines = used(plan, running, START_MS + 10 * DAY_MS, START_MS + 31 * DAY_MS, 90_000)
    charged += total_nano(lines)
    room = 100_000 * 21 // 31  # the first slab of the 21 days that are left
    first_part = advance(plan, two_kw.account, opened(plan, two_kw.account, START_MS),
                         [Series(START_MS, 10 * DAY_MS, [90_000])], START_MS + 10 * DAY_MS).amount_nano  # fmt: skip
    assert charged == first_part + nano("93") * 21 // 31 + nano("3") * room // 1000 + nano("5") * (90_000 - room) // 1000


# ---- provisional ----------------------------------------------------------------------------------------------


def test_what_is_charged_without_a_clock_is_the_cheapest_and_is_taken_back() -> None:
    rates = [{"periods": ["night"], "price": "1"}, {"periods": ["day"], "price": "4"}]
    plan = tariff_plan([document([{"kind": "energy", "code": "energy", "rates": rates}], hours=[{"bands": NIGHT}])])
    running = begun(plan, TERMS, START_MS + 7 * HOUR_MS, 0)
    total = 0
    for wh in (500, 700):
        running, lines = guess(plan, running, wh)
        assert {line.period for line in lines} == {"night"}
        total += total_nano(lines)
    assert (total, running.guessed_wh) == (nano("1.2"), 1_200)
    running = running_from(running_text(running))
    running, lines = taken_back(running)
    assert total_nano(lines) == -nano("1.2")
    running, lines = used(plan, running, START_MS + 7 * HOUR_MS, START_MS + 9 * HOUR_MS, 1_500)
    assert (total_nano(lines), running.guessed_wh) == (nano("6"), 0)


def test_a_guess_that_was_right_is_only_added_to() -> None:
    plan = tariff_plan([flat("8")], "Asia/Kolkata")
    running, lines = guess(plan, begun(plan, TERMS, START_MS, 0), 500)
    running, more = used(plan, running, START_MS, START_MS + HOUR_MS, 800)
    assert [line.quantity for line in more if line.code == "energy"] == [300]
    assert total_nano(lines) + total_nano(more) == nano("6.4")


# ---- prices and text ------------------------------------------------------------------------------------------


@pytest.mark.covers_part("ETSI-5.2.12-basic-4")
def test_the_price_of_now_is_that_of_the_slab_and_the_period() -> None:
    plan = tariff_plan([document()])
    running = begun(plan, TERMS, START_MS, 0)
    low = prices(plan, running, START_MS + HOUR_MS)
    assert (low.kwh_nano, low.day_nano) == (nano("3") * 10777 // 10000, nano("1"))
    running, _ = used(plan, running, START_MS, START_MS + HOUR_MS, 150_000)
    high = prices(plan, running, START_MS + HOUR_MS)
    assert abs(high.kwh_nano - nano("5") * 10777 // 10000) <= 1


@given(st.integers(735_000, 760_000))
@settings(max_examples=40)
def test_a_day_begins_at_its_own_midnight_also_when_clocks_change(day: int) -> None:
    for zone in (KOLKATA, BERLIN):
        start_ms = starts_at(day, zone)
        assert (day_of(start_ms, zone), day_of(start_ms - 1_000, zone)) == (day, day - 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '[["h","UTC",[],0],[],[],0]', '[["h","UTC",[],0,[]],[1],[],0]'])
def test_a_text_that_is_no_running_account_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        running_from(text)
