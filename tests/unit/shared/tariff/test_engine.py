"""The engine against a slow calculation of its own (safety.md 18), and what must hold for any tariff and any load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import advance, bill, cost, opened
from gridtally_shared.tariff.lines import total_nano
from gridtally_shared.tariff.terms import Account
from gridtally_shared.tariff.use import Series
from support.slow_tariff import SlowAccount, slow_bill

MINUTE_MS = 60_000
ZONES = ("Asia/Kolkata", "Europe/Berlin", "America/New_York", "Etc/UTC", "Asia/Kathmandu")
Document = dict[str, Any]


def decimals(top: int, places: int) -> st.SearchStrategy[str]:
    return st.integers(0, top * 10**places).map(lambda n: f"{n // 10**places}.{n % 10**places:0{places}d}")


@st.composite
def slabs(draw: st.DrawFn, bound: str, places: int, rising: bool = False) -> list[Document]:
    bounds = draw(st.lists(st.integers(1, 400), max_size=3, unique=True).map(sorted))
    prices = draw(st.lists(decimals(3, places), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    prices = sorted(prices, key=Fraction) if rising else prices
    return [*({bound: str(b), "price": p} for b, p in zip(bounds, prices, strict=False)), {"price": prices[-1]}]


@st.composite
def hours(draw: st.DrawFn) -> list[Document]:
    marks = draw(st.lists(st.integers(1, 95), max_size=3, unique=True).map(sorted))
    edges = [f"{q // 4:02d}:{q % 4 * 15:02d}" for q in (0, *marks, 96)]
    return [{"from": a, "to": b, "period": f"p{n % 2}"} for n, (a, b) in enumerate(pairwise(edges))]


def rounding() -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({"places": st.integers(0, 4), "mode": st.sampled_from(("half_up", "half_even", "down", "up"))})


@st.composite
def versions(draw: st.DrawFn, first: str, positive: bool) -> Document:
    found: Document = {"from": first}
    periods = ["all"]
    if draw(st.booleans()):
        found["seasons"] = [{"code": "winter", "from": "10-15", "to": "04-10"}, {"code": "summer", "from": "04-11", "to": "10-14"}]
    if draw(st.booleans()):
        found["day_types"] = [{"code": "work", "weekdays": ["mon", "tue", "wed", "thu", "fri"]},
                              {"code": "rest", "weekdays": ["sat", "sun"], "yearly": ["04-02"], "dates": ["2026-10-20"]}]  # fmt: skip
    if draw(st.booleans()):
        rows = [{"days": ["work"], "bands": draw(hours())}, {"days": ["rest"], "bands": draw(hours())}]
        found["hours"] = rows if "day_types" in found else [{"bands": draw(hours())}]
        periods = sorted({b["period"] for row in found["hours"] for b in row["bands"]})
    telescopic = positive or draw(st.booleans())
    rates = [{"periods": [p], "slabs": draw(slabs("to_kwh", 6))} for p in periods]
    items: list[Document] = [{"kind": "energy", "code": "energy", "telescopic": telescopic, "rates": rates}]
    items.append({"kind": "fixed", "code": "rent", "price": draw(decimals(50, 9)), "per": draw(st.sampled_from(("day", "month")))})
    items.append({"kind": "fixed", "code": "load", "times": draw(st.sampled_from(("one", "kw", "kw_or_part"))),
                  "prorate": draw(st.booleans()), "slabs": draw(slabs("to_kw", 9))})  # fmt: skip
    items.append({"kind": "percent", "code": "duty", "percent": draw(decimals(20, 4)), "of": ["energy", "load"]})
    items.append({"kind": "percent", "code": "cess", "percent": draw(decimals(5, 4)), "of": ["duty", "rent"]})
    items.append({"kind": "minimum", "code": "least", "amount": draw(decimals(200, 2)), "of": ["energy", "duty"]})
    items.append({"kind": "debt", "code": "arrears", "price": draw(decimals(9, 2)), "per": draw(st.sampled_from(("day", "month")))})
    items.append({"kind": "demand", "code": "demand", "window_min": 60, "sliding": draw(st.booleans()), "price": draw(decimals(9, 6)),
                  "contract_percent": draw(decimals(90, 1)), "ratchet_percent": draw(decimals(90, 1)),
                  "excess_percent": draw(decimals(90, 1))})  # fmt: skip
    if not positive:
        items.append({"kind": "percent", "code": "subsidy", "percent": draw(decimals(50, 2)), "of": ["energy"], "credit": True,
                      "when": {"up_to": str(draw(st.integers(1, 300)))}, "unless": ["gave_up"], "cap": draw(decimals(90, 2))})  # fmt: skip
    if draw(st.booleans()):
        found["round_lines"] = draw(rounding())
    return found | {"items": draw(st.permutations(items))}


@st.composite
def documents(draw: st.DrawFn, positive: bool = False) -> Document:
    starts = ["2020-01-01", *(["2026-03-21"] if draw(st.booleans()) else []), *(["2026-10-19"] if draw(st.booleans()) else [])]
    cycle = {"months": draw(st.sampled_from((1, 2))), "start_day": draw(st.integers(1, 28))}
    by = draw(st.sampled_from(("calendar_months", "cycle_days", "thirty_days")))
    proration = {"by": by} | draw(st.sampled_from(({}, {"places": 4}, {"places": 2})))
    total = {} if draw(st.booleans()) else {"round_total": draw(rounding()) | {"carry": draw(st.booleans())}}
    return {"kind": "tariff", "code": "any", "currency": "INR", "zone": draw(st.sampled_from(ZONES)), "cycle": cycle,
            "proration": proration, **total, "versions": [draw(versions(s, positive)) for s in starts]}  # fmt: skip


@dataclass(frozen=True)
class Energies:
    """Random energies up to `top` Wh, the same for the same seed."""

    seed: int
    top: int

    def first(self, n: int) -> list[int]:
        random = Random(self.seed)
        return [random.randint(0, self.top) for _ in range(n)]


TOPS = st.sampled_from((0, 30, 900, 4000))
Load = tuple[date, date, int, Energies]


@st.composite
def loads(draw: st.DrawFn) -> Load:
    """First day, the day after the last, minutes of an interval, energies."""
    first = date(2026, draw(st.sampled_from((3, 10))), 1) + timedelta(days=draw(st.integers(0, 27)))
    days = draw(st.integers(1, 45))
    return first, first + timedelta(days=days), draw(st.sampled_from((15, 30, 60))), draw(st.builds(Energies, st.integers(0, 2**32), TOPS))


CONTRACT_W = st.sampled_from((0, 1500, 3000, 7001))
DEBT = st.integers(0, 200 * 10**9)


def account(contract_w: int, debt: int) -> Account:
    return Account(contract_w, frozenset(), (("arrears", debt),))


def series_of(plan_zone: Any, load: Load) -> Series:
    first, until, minutes, energies = load
    from_ms, to_ms = starts_at(first.toordinal(), plan_zone), starts_at(until.toordinal(), plan_zone)
    return Series(from_ms, minutes * MINUTE_MS, energies.first((to_ms - from_ms) // (minutes * MINUTE_MS)))


@settings(max_examples=50, deadline=None)
@given(documents(), loads(), CONTRACT_W, DEBT)
def test_the_engine_agrees_with_a_slow_calculation_to_the_nano(
    document: Document, load: Load, contract_w: int, debt: int
) -> None:
    text = json.dumps(document)
    plan = tariff_plan([text])
    series = series_of(plan.zone, load)
    made = bill(plan, account(contract_w, debt), [series], load[0].toordinal(), load[1].toordinal())
    starts = range(series.start_ms, series.end_ms, series.period_ms)
    rows = [(at_ms, at_ms + series.period_ms, wh) for at_ms, wh in zip(starts, series.import_wh, strict=True)]
    slow = slow_bill(text, rows, load[0], load[1], SlowAccount(Fraction(contract_w, 1000), (), {"arrears": debt}))
    assert [c.amount_nano for c in made.closed] == list(slow.values())


@settings(max_examples=40, deadline=None)
@given(documents(), loads(), CONTRACT_W, DEBT, st.lists(st.integers(0, 45 * 96), max_size=6))
def test_any_cuts_charge_what_the_month_costs_at_once(
    document: Document, load: Load, contract_w: int, debt: int, cuts: list[int]
) -> None:
    plan = tariff_plan([json.dumps(document)])
    series = series_of(plan.zone, load)
    n = len(series.import_wh)
    whole = bill(plan, account(contract_w, debt), [series], load[0].toordinal(), load[1].toordinal())
    who = Account(contract_w, frozenset(), (("arrears", debt),), (load[0].toordinal(),), load[1].toordinal())
    state, charged, closed = opened(plan, who, series.start_ms), 0, []
    for first, until in zip((0, *marks(cuts, n)), (*marks(cuts, n), n), strict=True):
        part = Series(series.start_ms + first * series.period_ms, series.period_ms, series.import_wh[first:until])
        step = advance(plan, who, state, [part] if until > first else [], part.end_ms)
        assert cost(plan, who, state, [part] if until > first else [], part.end_ms, part.end_ms) == (step.state, step.amount_nano)
        state, charged, closed = step.state, charged + step.amount_nano, [*closed, *step.closed]
    assert charged == whole.amount_nano
    assert [c.lines for c in closed] == [c.lines for c in whole.closed]


def marks(cuts: list[int], n: int) -> list[int]:
    return sorted(c for c in cuts if c < n)


def test_a_month_charged_every_quarter_of_an_hour_costs_what_it_costs_at_once() -> None:
    document = {"kind": "tariff", "code": "home", "currency": "INR", "zone": "Europe/Berlin", "versions": [
        {"from": "2020-01-01", "items": ITEMS}, {"from": "2026-10-12", "items": [i | PRICIER.get(i["code"], {}) for i in ITEMS]},
    ]}  # fmt: skip
    plan = tariff_plan([json.dumps(document)])
    load = (date(2026, 10, 1), date(2026, 11, 1), 15, Energies(7, 400))
    series = series_of(plan.zone, load)
    assert len(series.import_wh) == 31 * 96 + 4
    who = Account(2_000, ends_day=load[1].toordinal())
    state, charged = opened(plan, who, series.start_ms), 0
    for n, wh in enumerate(series.import_wh):
        at_ms = series.start_ms + n * series.period_ms
        step = advance(plan, who, state, [Series(at_ms, series.period_ms, [wh])], at_ms + series.period_ms)
        state, charged = step.state, charged + step.amount_nano
    assert charged == bill(plan, who, [series], load[0].toordinal(), load[1].toordinal()).amount_nano


ITEMS: list[Document] = [
    {"kind": "energy", "code": "energy",
     "slabs": [{"to_kwh": "100", "price": "3.000001"}, {"to_kwh": "400", "price": "4.5"}, {"price": "6.50"}]},
    {"kind": "fixed", "code": "fixed", "price": "20", "times": "kw"},
    {"kind": "percent", "code": "surcharge", "percent": "8", "of": ["energy", "fixed"]},
    {"kind": "percent", "code": "tax", "percent": "5.4321", "of": ["surcharge", "energy", "fixed"]},
    {"kind": "percent", "code": "rebate", "percent": "3", "of": ["energy"], "credit": True},
]  # fmt: skip
PRICIER = {"fixed": {"price": "30"}, "tax": {"percent": "6.6667"}}


@settings(max_examples=40, deadline=None)
@given(documents(positive=True), loads(), CONTRACT_W, st.integers(0, 4000), st.integers(1, 5000))
def test_more_energy_never_costs_less_where_prices_are_positive(
    document: Document, load: Load, contract_w: int, place: int, more: int
) -> None:
    document = {key: value for key, value in document.items() if key != "round_total"}
    plan = tariff_plan([json.dumps(document)])
    series = series_of(plan.zone, load)
    values = list(series.import_wh)
    values[place % len(values)] += more
    days = load[0].toordinal(), load[1].toordinal()
    who = account(contract_w, 0)
    low, high = (bill(plan, who, [Series(series.start_ms, series.period_ms, v)], *days) for v in (series.import_wh, values))
    assert high.amount_nano >= low.amount_nano


@settings(max_examples=25, deadline=None)
@given(documents(), loads(), CONTRACT_W, st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(
    document: Document, load: Load, contract_w: int, random: Random
) -> None:
    turned = json.loads(json.dumps(document))
    for version in turned["versions"]:
        random.shuffle(version["items"])
    one, two = (tariff_plan([json.dumps(d)]) for d in (document, turned))
    series = series_of(one.zone, load)
    a, b = (bill(p, account(contract_w, 10**10), [series], load[0].toordinal(), load[1].toordinal()) for p in (one, two))
    assert sorted(map(repr, a.lines)) == sorted(map(repr, b.lines))


@settings(max_examples=25, deadline=None)
@given(documents(), loads(), st.integers(1, 40))
def test_a_tax_is_its_rate_on_all_that_was_charged(document: Document, load: Load, percent: int) -> None:
    items = [ITEMS[0], {"kind": "percent", "code": "tax", "percent": str(percent), "of": ["energy"]}]
    plan = tariff_plan([json.dumps(document | {"versions": [{"from": "2020-01-01", "items": items}], "round_total": {"places": 9}})])
    made = bill(plan, Account(), [series_of(plan.zone, load)], load[0].toordinal(), load[1].toordinal())
    base, tax = (total_nano(line for line in made.lines if line.code == code) for code in ("energy", "tax"))
    assert tax == base * percent // 100


NIGHT_AND_DAY = [{"from": "00:00", "to": "08:00", "period": "night"}, {"from": "08:00", "to": "24:00", "period": "day"}]
REGISTER = {"kind": "tariff", "code": "tou", "currency": "EUR", "zone": "Europe/Berlin", "versions": [
    {"from": "2020-01-01", "hours": [{"bands": NIGHT_AND_DAY}], "items": [
        {"kind": "energy", "code": "energy",
         "rates": [{"periods": ["night"], "price": "1"}, {"periods": ["day"], "price": "2"}]}]}]}  # fmt: skip


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * 1000


def test_a_register_that_moved_over_a_change_of_price_is_parted_by_time_and_says_so() -> None:
    plan = tariff_plan([json.dumps(REGISTER)])
    from_ms, to_ms = at("2026-01-10T07:00+01:00"), at("2026-01-10T10:00+01:00")
    step = advance(plan, Account(), opened(plan, Account(), from_ms), [Series(from_ms, to_ms - from_ms, [1000])], to_ms)
    assert {line.period: line.quantity for line in step.lines} == {"night": 333, "day": 667}
    assert step.state.split_wh == 1000


def test_days_on_which_clocks_change_have_their_real_length() -> None:
    plan = tariff_plan([json.dumps(REGISTER)])
    for day, night in (("2026-03-29", 7), ("2026-10-25", 9), ("2026-06-01", 8)):
        first = date.fromisoformat(day).toordinal()
        from_ms, to_ms = starts_at(first, plan.zone), starts_at(first + 1, plan.zone)
        made = bill(plan, Account(), [Series(from_ms, 3_600_000, [1000] * ((to_ms - from_ms) // 3_600_000))], first, first + 1)
        assert {line.period: line.quantity for line in made.lines} == {"night": night * 1000, "day": 16_000}


@given(st.integers(0, 2_000_000), st.integers(0, 2_000_000), st.integers(0, 999), st.integers(0, 3_000_000))
@settings(max_examples=40, deadline=None)
def test_the_first_form_of_documents_taxes_energy_and_days_each_for_itself(a: int, b: int, tax: int, price: int) -> None:
    text = json.dumps({"kind": "flat", "currency": "EUR", "energy_per_kwh": f"{price // 10**6}.{price % 10**6:06d}",
                       "fixed_per_day": "0.123456789", "tax_percent": f"{tax // 10}.{tax % 10}"})  # fmt: skip
    plan = tariff_plan([text], "Asia/Kolkata")
    first = date(2026, 1, 20).toordinal()
    state, charged = opened(plan, Account(), starts_at(first, plan.zone)), 0
    for n, wh in enumerate((a, 0, b)):
        from_ms, to_ms = starts_at(first + n * 15, plan.zone), starts_at(first + n * 15 + 15, plan.zone)
        step = advance(plan, Account(), state, [Series(from_ms, to_ms - from_ms, [wh])], to_ms)
        state, charged = step.state, charged + step.amount_nano
    assume(a + b > 0)
    bases = ((a + b) * price, 45 * 123_456_789)
    assert charged == sum(base + base * tax // 1000 for base in bases)
