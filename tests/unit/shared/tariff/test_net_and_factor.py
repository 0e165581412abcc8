"""Net metering with what is carried and settled; power factor steps; a published industrial bill that has both kVA and a power factor."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text
from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import Step, advance, bill, opened
from gridtally_shared.tariff.lines import explained, total_nano
from gridtally_shared.tariff.state_text import state_from, state_text
from gridtally_shared.tariff.terms import Account, Plan
from gridtally_shared.tariff.use import Series

DAY_MS = 86_400_000
NET: dict[str, Any] = {"kind": "net", "code": "energy", "price": "5"}
FIRST = date(2026, 1, 1).toordinal()


def plan_of(*items: dict[str, Any], **version: Any) -> Plan:
    versions = [{"from": "2020-01-01", "items": list(items), **version}]
    return tariff_plan([json.dumps({"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "versions": versions})])


def months(plan: Plan, *use: tuple[int, int], account: Account | None = None) -> Step:
    """A day's import and export each month of 2026, on its second day, from January on."""
    days = [starts_at(date(2026, n + 1, 2).toordinal(), plan.zone) for n in range(len(use))]
    series = [Series(at_ms, DAY_MS, [wh], [given_wh]) for at_ms, (wh, given_wh) in zip(days, use, strict=True)]
    until = date(2026 + len(use) // 12, len(use) % 12 + 1, 1).toordinal()
    begin = opened(plan, account or Account(), starts_at(FIRST, plan.zone))
    return advance(plan, account or Account(), begin, series, starts_at(until, plan.zone))


def charged(step: Step) -> list[str]:
    return [decimal_text(c.amount_nano) for c in step.closed]


def test_what_is_given_more_than_taken_is_carried_until_it_is_used() -> None:
    step = months(plan_of(NET), (10_000, 25_000), (9_000, 1_000), (20_000, 4_000))
    assert charged(step) == ["0", "0", "45"]  # 15 carried, 7 carried, 16 - 7 = 9 x 5
    carried = [line for cycle in step.closed for line in cycle.lines if line.kind == "carried"]
    assert [line.quantity for line in carried] == [15_000, 7_000]
    assert explained(carried[0]) == "15 kWh more given than taken, carried into the next cycle"


def test_the_settlement_year_pays_what_is_left_and_begins_anew() -> None:
    item = NET | {"true_up_month": 3, "true_up_price": "2"}
    step = months(plan_of(item), (1_000, 5_000), (1_000, 3_000), (10_000, 0))
    assert charged(step) == ["0", "-12", "50"]
    lapsed = months(plan_of(NET | {"true_up_month": 3}), (1_000, 5_000), (1_000, 3_000), (10_000, 0))
    assert charged(lapsed) == ["0", "0", "50"]
    closing = plan_of(NET | {"true_up_price": "2"})
    series = [Series(starts_at(FIRST + 1, closing.zone), DAY_MS, [1_000], [4_000])]
    assert charged(bill(closing, Account(), series, FIRST, FIRST + 10)) == ["-6"], "service that ends is settled"


def test_each_bucket_carries_its_own() -> None:
    bands = [{"from": "00:00", "to": "12:00", "period": "am"}, {"from": "12:00", "to": "24:00", "period": "pm"}]
    item = {"kind": "net", "code": "energy", "rates": [{"periods": ["am"], "price": "5"}, {"periods": ["pm"], "price": "8"}]}
    plan = plan_of(item, hours=[{"bands": bands}])
    at_ms = starts_at(FIRST + 1, plan.zone)
    feb_ms = starts_at(date(2026, 2, 2).toordinal(), plan.zone)
    use = [Series(at_ms, DAY_MS // 2, [1_000, 3_000], [4_000, 1_000]), Series(feb_ms, DAY_MS // 2, [4_000, 1_000], [0, 0])]
    until = starts_at(date(2026, 3, 1).toordinal(), plan.zone)
    step = advance(plan, Account(), opened(plan, Account(), starts_at(FIRST, plan.zone)), use, until)
    assert charged(step) == ["16", "13"]  # pm 2 x 8; am 4 - 3 carried = 1 x 5 and pm 1 x 8


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 30_000)), min_size=1, max_size=60), st.integers(0, 12))
def test_any_cuts_charge_what_all_at_once_costs(use: list[tuple[int, int]], month: int) -> None:
    slabs = [{"to_kwh": "20", "price": "3.15"}, {"price": "4.8"}]
    plan = plan_of({"kind": "net", "code": "energy", "slabs": slabs, "true_up_month": month, "true_up_price": "1.7"})
    begin_ms = starts_at(FIRST, plan.zone)
    days = [Series(begin_ms + n * DAY_MS, DAY_MS, [a], [b]) for n, (a, b) in enumerate(use)]
    end_ms = begin_ms + len(use) * DAY_MS
    whole = advance(plan, Account(), opened(plan, Account(), begin_ms), days, end_ms)
    state, total = opened(plan, Account(), begin_ms), 0
    for series in days:
        step = advance(plan, Account(), state_from(state_text(state)), [series], series.end_ms)
        state, total = step.state, total + step.amount_nano
    assert total == whole.amount_nano
    assert state.remainders == whole.state.remainders


KERALA: dict[str, Any] = {
    "kind": "power_factor", "code": "pf", "of": ["energy"], "each": "0.01",
    "penalties": [{"below": "0.95", "percent": "0.5"}, {"below": "0.9", "percent": "1"}],
    "incentives": [{"from": "0.95", "percent": "0.5"}],
}  # fmt: skip


@pytest.mark.parametrize(("apparent", "percent"), [
    (1_000_000, "-2.5"), (1_030_927, "-1"), (1_052_632, ""), (1_075_269, "1"), (1_111_111, "2.5"), (1_136_364, "4.5"),
    (1_250_000, "12.5"),
])  # fmt: skip
def test_steps_of_a_hundredth_add_up_within_their_bands(apparent: int, percent: str) -> None:
    plan = plan_of({"kind": "energy", "code": "energy", "price": "1"}, KERALA)
    series = [Series(starts_at(FIRST, plan.zone), DAY_MS, [1_000_000], (), [apparent])]
    lines = [line for line in bill(plan, Account(), series, FIRST, FIRST + 31).lines if line.code == "pf"]
    assert [decimal_text(line.amount_nano) for line in lines] == ([decimal_text(round(float(percent) * 10**10))] if percent else [])
    if percent == "1":
        assert explained(lines[0]) == "1 % of 1000 for the power factor, 0.93"


def test_an_industrial_bill_with_kva_and_a_power_factor_incentive() -> None:
    """Maharashtra, HT: 220 kVA, 75,895 kWh, power factor 0.998 (mdm.md C.3, example 2)."""
    places = {"rounding": {"places": 2}}
    table = [("0.96", "1"), ("0.97", "2"), ("0.98", "3"), ("0.99", "5"), ("1", "7")]
    plan = plan_of(
        {"kind": "demand", "code": "demand", "measure": "apparent", "window_min": 60, "price": "295"},
        {"kind": "energy", "code": "energy", "price": "8.41"},
        {"kind": "fixed", "code": "fac", "price": "21091.22"}, {"kind": "fixed", "code": "tod", "price": "1122.50", "credit": True},
        {"kind": "power_factor", "code": "pf", "of": ["demand", "energy", "fac", "tod"], **places,
         "incentives": [{"from": at, "percent": percent} for at, percent in table]},
        {"kind": "energy", "code": "tax", "price": "0.0904", **places},
    )  # fmt: skip
    hours, apparent = 744, 76_047_000
    import_wh = [75_895_000 // hours] * (hours - 1)
    vah = [220_000, *[(apparent - 220_000) // (hours - 1)] * (hours - 2)]
    series = Series(starts_at(FIRST, plan.zone), DAY_MS // 24, [*import_wh, 75_895_000 - sum(import_wh)], (), [*vah, apparent - sum(vah)])
    step = bill(plan, Account(), [series], FIRST, FIRST + 31)
    expected = {"demand": "64900", "energy": "638276.95", "pf": "-50620.2", "tax": "6860.91"}
    assert {code: decimal_text(total_nano(line for line in step.lines if line.code == code)) for code in expected} == expected
    assert decimal_text(step.amount_nano) == "679386.38"


def test_a_month_without_use_has_no_power_factor_and_one_that_is_not_over_none_yet() -> None:
    plan = plan_of({"kind": "fixed", "code": "energy", "price": "100"}, KERALA)
    assert charged(bill(plan, Account(), [], FIRST, FIRST + 31)) == ["100"]
    begin = opened(plan, Account(), starts_at(FIRST, plan.zone))
    series = Series(starts_at(FIRST, plan.zone), DAY_MS, [1_000], (), [2_000])
    step = advance(plan, Account(), begin, [series], series.end_ms)
    assert {line.code for line in step.lines} == {"energy"}


WRONG: list[tuple[dict[str, Any], str]] = [
    (KERALA | {"penalties": [], "incentives": []}, "penalties"),
    (KERALA | {"penalties": [{"below": "0.9", "percent": "1"}, {"below": "0.95", "percent": "1"}]}, r"penalties\[1\].*bounds go down"),
    (KERALA | {"incentives": [{"from": "0.97", "percent": "1"}, {"from": "0.96", "percent": "1"}]}, r"incentives\[1\].*bounds go up"),
    (KERALA | {"incentives": [{"from": "0.9", "percent": "1"}]}, r"incentives\[0\].from"),
    (KERALA | {"of": ["enrgy"]}, "no such item"),
    (KERALA | {"of": ["pf"]}, "back to itself"),
    (KERALA | {"places": 5}, "from 2 to 4"),
    ({"kind": "net", "code": "n"}, "one of 'price' and 'slabs'"),
    ({"kind": "net", "code": "n", "price": "1", "true_up_month": 13}, "from 0 to 12"),
    ({"kind": "net", "code": "n", "price": "1", "measure": "export"}, "not known here"),
]


@pytest.mark.parametrize(("item", "said"), WRONG)
def test_what_is_not_understood_is_refused_with_its_place(item: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_of({"kind": "energy", "code": "energy", "price": "1"}, item)


def test_a_power_factor_needs_apparent_energy() -> None:
    plan = plan_of({"kind": "energy", "code": "energy", "price": "1"}, KERALA)
    with pytest.raises(ConfigError, match="kvah"):
        bill(plan, Account(), [Series(starts_at(FIRST, plan.zone), DAY_MS, [1])], FIRST, FIRST + 31)
