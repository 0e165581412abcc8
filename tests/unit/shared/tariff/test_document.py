"""Tariff documents: what is refused and how it is said, the schema, items that engine cases do not show, state as text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from typing import Any

import pytest

from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.money import decimal_text
from gridtally_shared.quality import Quality
from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.document import schema, tariff_plan
from gridtally_shared.tariff.engine import Step, advance, bill, opened
from gridtally_shared.tariff.lines import difference, explained, total_nano
from gridtally_shared.tariff.state_text import state_from, state_text
from gridtally_shared.tariff.terms import Account
from gridtally_shared.tariff.use import Series

Document = dict[str, Any]
HOUR_MS = 3_600_000
NOBODY = Account()
WEEK = [{"code": "work", "weekdays": ["mon", "tue", "wed", "thu", "fri"]}, {"code": "rest", "weekdays": ["sat", "sun"]}]
NIGHT_AND_DAY = [{"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]
ENERGY: Document = {"kind": "energy", "code": "energy", "price": "0.25"}
FIXED: Document = {"kind": "fixed", "code": "fixed", "price": "9.5"}
TAX: Document = {"kind": "percent", "code": "tax", "percent": "10", "of": ["energy"]}


def document(*items: Document, version: Document | None = None, **more: Any) -> Document:
    return {"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
            "versions": [{"from": "2026-01-01", "items": list(items) or [ENERGY], **(version or {})}]} | more  # fmt: skip


def with_item(**changes: Any) -> Document:
    return document({key: value for key, value in (ENERGY | changes).items() if value is not None})


def with_version(**more: Any) -> Document:
    return document(version=more)


def slabs(*rows: tuple[str | None, str]) -> Document:
    return with_item(price=None, slabs=[({"to_kwh": to} if to else {}) | {"price": price} for to, price in rows])


BANDS = [{"from": "00:00", "to": "08:00", "period": "a"}, {"from": "08:00", "to": "24:00", "period": "b"}]
REFUSED: list[tuple[Document, str, str]] = [
    (document(currency="XXQ"), "currency", "ISO 4217"),
    (document(zone="India"), "zone", "IANA zone"),
    (document(kind="slabs"), "kind", '"tariff"'),
    (document(colour="red"), "colour", "not known here"),
    (document(versions=[]), "versions", "at least 1"),
    (document(versions={}), "versions", "list"),
    ({k: v for k, v in document().items() if k != "zone"}, "zone", "missing"),
    (with_item(price=0.25), "versions[0].items[0].price", 'write it in quotes: "0.25"'),
    (with_item(price=1), "versions[0].items[0].price", 'write it in quotes: "1"'),
    (with_item(price=True), "versions[0].items[0].price", "in quotes"),
    (with_item(price="-1"), "versions[0].items[0].price", '"credit": true'),
    (with_item(price="0.1234567"), "versions[0].items[0].price", "at most 6 decimals"),
    (with_item(price="1e3"), "versions[0].items[0].price", "digits"),
    (with_item(price=None), "versions[0].items[0]", "one of 'price' and 'slabs'"),
    (with_item(slabs=[{"price": "1"}]), "versions[0].items[0]", "one of 'price' and 'slabs'"),
    (with_item(rates=[{"price": "1"}]), "versions[0].items[0]", "not two"),
    (with_item(kind="enrgy"), "versions[0].items[0].kind", "energy"),
    (document({"code": "x"}), "versions[0].items[0].kind", "missing"),
    (with_item(code="Big Code"), "versions[0].items[0].code", "small letters"),
    (with_item(credit="yes"), "versions[0].items[0].credit", "true or false"),
    (document(ENERGY, ENERGY), "versions[0].items[1].code", "twice"),
    (slabs(("50", "1"), ("100", "2")), "versions[0].items[0].slabs[1].to_kwh", "nothing is said of what lies above"),
    (slabs(("50", "1"), ("40", "2"), (None, "3")), "versions[0].items[0].slabs[1].to_kwh", "overlap"),
    (slabs((None, "1"), (None, "2")), "versions[0].items[0].slabs[0].to_kwh", "only the last"),
    (document(ENERGY, TAX | {"of": ["enrgy"]}), "versions[0].items[1].of[0]", "energy, tax"),
    (document(ENERGY, TAX | {"of": ["tax"]}), "versions[0].items[1].of", "back to itself"),
    (document(ENERGY, TAX | {"of": []}), "versions[0].items[1].of", "at least 1"),
    (with_version(seasons=[{"code": "s", "from": "04-01", "to": "09-30"}]), "versions[0].seasons", "01-01 is in no season"),
    (with_version(seasons=[{"code": "s", "from": "01-01", "to": "09-30"}, {"code": "w", "from": "09-30", "to": "12-31"}]),
     "versions[0].seasons[1]", "09-30 is in season s too"),
    (with_version(day_types=WEEK[:1]), "versions[0].day_types", "sat is in no day type"),
    (with_version(day_types=[*WEEK, {"code": "x", "weekdays": ["sun"]}]), "versions[0].day_types[2].weekdays[0]", "already in rest"),
    (with_version(day_types=[WEEK[0] | {"dates": ["2026-08-15"]}, WEEK[1] | {"dates": ["2026-08-15"]}]),
     "versions[0].day_types[1].dates[0]", "already in work"),
    (with_version(day_types=WEEK, hours=[{"days": ["work"], "bands": BANDS}]), "versions[0].hours", "nothing for all/rest"),
    (with_version(hours=[{"bands": BANDS}, {"bands": BANDS}]), "versions[0].hours[1]", "given twice"),
    (with_version(hours=[{"days": ["feast"], "bands": BANDS}]), "versions[0].hours[0].days[0]", "no such day type"),
    (with_version(hours=[{"bands": [BANDS[1]]}]), "versions[0].hours[0].bands[0].from", "a gap before it"),
    (with_version(hours=[{"bands": [BANDS[0], BANDS[1] | {"from": "07:00"}]}]), "versions[0].hours[0].bands[1].from", "an overlap"),
    (with_version(hours=[{"bands": [BANDS[0]]}]), "versions[0].hours[0].bands[0].to", "24:00"),
    (with_version(hours=[{"bands": [BANDS[0] | {"to": "25:00"}]}]), "versions[0].hours[0].bands[0].to", "time of day"),
    (document({**ENERGY, "price": "1"} | {"rates": [{"periods": ["a"], "price": "1"}]}, version={"hours": [{"bands": BANDS}]}),
     "versions[0].items[0]", "not two"),
    (document({"kind": "energy", "code": "e", "rates": [{"periods": ["a"], "price": "1"}]}, version={"hours": [{"bands": BANDS}]}),
     "versions[0].items[0].rates", "no price"),
    (document({"kind": "energy", "code": "e", "rates": [{"periods": ["a", "b"], "price": "1"}, {"periods": ["b"], "price": "1"}]},
              version={"hours": [{"bands": BANDS}]}), "versions[0].items[0].rates[1].periods", "two prices"),
    (with_version(**{"from": "2026-02-30"}), "versions[0].from", "a day that exists"),
    (document(versions=[{"from": "2026-01-01", "items": [ENERGY]}, {"from": "2026-01-01", "items": [ENERGY]}]),
     "versions[1].from", "in the order of their days"),
    (document(versions=[{"from": "2026-01-01", "to": "2026-03-01", "items": [ENERGY]}, {"from": "2026-04-01", "items": [ENERGY]}]),
     "versions[1].from", "nothing holds from 2026-03-01"),
    (document(versions=[{"from": "2026-01-01", "to": "2026-05-01", "items": [ENERGY]}, {"from": "2026-04-01", "items": [ENERGY]}]),
     "versions[1].from", "two versions hold"),
    (with_version(to="2026-01-01"), "versions[0].to", "a day after"),
    (document(cycle={"every": "bill"}, proration={"by": "cycle_days"}), "proration.by", "calendar_months"),
    (document(cycle={"months": 13}), "cycle.months", "from 1 to 12"),
    (with_item(when={"over": "5", "up_to": "5"}), "versions[0].items[0].when.up_to", "more than 'over'"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "path", "remedy"), REFUSED)
def test_a_document_that_is_not_understood_names_the_place_and_the_remedy(wrong: Document, path: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tariff_plan([json.dumps(wrong)])
    assert caught.value.key == path
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"kind": "tariff", "kind": "tariff"}', "[" * 100_000, '{"a": NaN}'])
def test_what_is_no_document_at_all_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        tariff_plan([text])


def test_documents_of_one_tariff_come_together_in_time_and_must_agree() -> None:
    later = document(version={"from": "2026-06-01"})
    assert [v.first for v in tariff_plan([json.dumps(later), json.dumps(document())]).versions] == [
        date(2026, 1, 1).toordinal(), date(2026, 6, 1).toordinal(),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="documents of one tariff agree"):
        tariff_plan([json.dumps(document()), json.dumps(later | {"currency": "EUR"})])


# ---- schema ---------------------------------------------------------------------------------------------------


def test_the_schema_beside_the_code_is_the_one_the_code_declares() -> None:
    kept = files("gridtally_shared.tariff").joinpath("tariff.schema.json").read_text(encoding="utf-8")
    assert kept == schema(), "write it again: python -c 'from gridtally_shared.tariff.document import schema; print(schema(), end=\"\")'"


def fits(value: Any, rule: Document) -> bool:
    """As much of JSON Schema as the tariff's schema uses."""
    if "oneOf" in rule:
        return sum(fits(value, each) for each in rule["oneOf"]) == 1
    if "enum" in rule:
        return value in rule["enum"]
    kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    if not isinstance(value, kinds[rule["type"]]) or (isinstance(value, bool) and rule["type"] != "boolean"):
        return False
    return CHECKS.get(rule["type"], lambda v, r: True)(value, rule)


CHECKS: dict[str, Callable[[Any, Document], bool]] = {
    "string": lambda v, r: re.search(r.get("pattern", ""), v) is not None,
    "integer": lambda v, r: bool(r["minimum"] <= v <= r["maximum"]),
    "array": lambda v, r: len(v) >= r.get("minItems", 0) and all(fits(each, r["items"]) for each in v),
    "object": lambda v, r: set(r["required"]) <= set(v) and all(k in r["properties"] and fits(x, r["properties"][k]) for k, x in v.items()),
}
BY_SCHEMA = [3, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 26]


def test_the_schema_takes_what_the_code_takes_and_refuses_wrong_types() -> None:
    rule = json.loads(schema())
    rich = document(ENERGY, FIXED, TAX, {"kind": "demand", "code": "d", "price": "3"}, {"kind": "minimum", "code": "m", "amount": "1",
                    "of": ["energy"]}, {"kind": "debt", "code": "old", "price": "1"}, version={"day_types": WEEK,
                    "hours": [{"bands": NIGHT_AND_DAY}]}, cycle={"months": 2}, proration={"places": 4})  # fmt: skip
    tariff_plan([json.dumps(rich)])
    assert fits(rich, rule)
    assert not [REFUSED[n] for n in BY_SCHEMA if fits(REFUSED[n][0], rule)]


# ---- items ----------------------------------------------------------------------------------------------------


def month(made: Document, wh: list[int] | None = None, account: Account = NOBODY, **channels: list[int]) -> Step:
    """April 2026 in Kolkata, hourly."""
    plan = tariff_plan([json.dumps(made)])
    first, until = date(2026, 4, 1).toordinal(), date(2026, 5, 1).toordinal()
    return bill(plan, account, [Series(starts_at(first, plan.zone), HOUR_MS, wh or [1000] * 720, **channels)], first, until)


def amounts(step: Step) -> dict[str, str]:
    codes = dict.fromkeys(line.code for line in step.lines)
    return {code: decimal_text(total_nano(line for line in step.lines if line.code == code)) for code in codes}


def test_slabs_that_are_not_telescopic_price_all_by_the_slab_reached() -> None:
    made = slabs(("200", "3"), ("800", "4"), (None, "6"))
    made["versions"][0]["items"][0]["telescopic"] = False
    step = month(made)
    assert amounts(step) == {"energy": "2880"}
    assert [(line.slab, line.quantity) for line in step.lines] == [(2, 720_000)]


def test_slabs_within_periods_count_each_for_itself() -> None:
    rates = [{"periods": ["night"], "slabs": [{"to_kwh": "100", "price": "1"}, {"price": "2"}]}, {"periods": ["day"], "price": "5"}]
    made = document({"kind": "energy", "code": "energy", "rates": rates}, version={"hours": [{"bands": NIGHT_AND_DAY}]})
    assert amounts(month(made)) == {"energy": str(100 + 80 * 2 + 540 * 5)}


def test_a_version_in_the_middle_of_a_month_prorates_slabs_and_fixed_charges() -> None:
    items = [{"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "300", "price": "1"}, {"price": "2"}]}, FIXED]
    made = document(versions=[{"from": "2026-01-01", "items": items}, {"from": "2026-04-11", "items": items}])
    step = month(made)
    assert [(line.code, line.quantity, str(line.factor)) for line in step.lines] == [
        ("energy", 100_000, "1"), ("energy", 140_000, "1"), ("fixed", 1, "1/3"),
        ("energy", 200_000, "1"), ("energy", 280_000, "1"), ("fixed", 1, "2/3"),
    ]  # fmt: skip


def test_holidays_are_days_of_their_own() -> None:
    days = [WEEK[0], WEEK[1] | {"dates": ["2026-04-01"], "yearly": ["04-14"]}]
    hours = [{"days": ["work"], "bands": [{"from": "00:00", "to": "24:00", "period": "full"}]},
             {"days": ["rest"], "bands": [{"from": "00:00", "to": "24:00", "period": "low"}]}]  # fmt: skip
    rates = [{"periods": ["full"], "price": "2"}, {"periods": ["low"], "price": "1"}]
    step = month(document({"kind": "energy", "code": "energy", "rates": rates}, version={"day_types": days, "hours": hours}))
    assert {line.period: line.quantity for line in step.lines} == {"full": 20 * 24_000, "low": 10 * 24_000}


def test_a_subsidy_is_for_small_users_who_did_not_give_it_up_and_has_a_cap() -> None:
    subsidy = {"kind": "percent", "code": "subsidy", "percent": "50", "of": ["energy"], "credit": True, "when": {"up_to": "400"},
               "unless": ["gave_up"], "cap": "40"}  # fmt: skip
    made = document(ENERGY, subsidy)
    assert amounts(month(made)) == {"energy": "180"}
    assert amounts(month(made, [500] * 720)) == {"energy": "90", "subsidy": "-40"}
    assert amounts(month(made, [400] * 720)) == {"energy": "72", "subsidy": "-36"}
    assert amounts(month(made, [500] * 720, Account(flags=frozenset({"gave_up"})))) == {"energy": "90"}


def test_a_rebate_is_for_those_who_prepay() -> None:
    made = document(ENERGY, {"kind": "percent", "code": "rebate", "percent": "5", "of": ["energy"], "credit": True, "needs": ["prepaid"]})
    assert amounts(month(made)) == {"energy": "180"}
    assert amounts(month(made, account=Account(flags=frozenset({"prepaid"})))) == {"energy": "180", "rebate": "-9"}


def test_what_is_given_back_has_its_own_price_by_interval() -> None:
    export = {"kind": "energy", "code": "export", "measure": "net_export", "price": "0.1", "credit": True}
    made = document({**ENERGY, "measure": "net_import"}, export)
    assert amounts(month(made, [1000, 0] * 360, export_wh=[400, 500] * 360)) == {"energy": "54", "export": "-18"}


def test_apparent_energy_is_billed_or_asked_for() -> None:
    made = document({**ENERGY, "measure": "apparent"})
    assert amounts(month(made, apparent_vah=[1200] * 720)) == {"energy": "216"}
    with pytest.raises(ConfigError, match="kvah"):
        month(made)


def test_demand_is_the_highest_window_and_its_floors() -> None:
    item = {"kind": "demand", "code": "demand", "window_min": 120, "price": "10"}
    load = [1000] * 720
    load[101:103] = [4000, 4000]
    assert amounts(month(document(item), load)) == {"demand": "25"}
    assert amounts(month(document(item | {"sliding": True}), load)) == {"demand": "40"}
    floors = item | {"sliding": True, "contract_percent": "75", "excess_percent": "50"}
    assert amounts(month(document(floors), load, Account(8000))) == {"demand": "60"}
    assert amounts(month(document(floors), load, Account(3000))) == {"demand": "45"}
    with pytest.raises(ConfigError, match="30 minutes"):
        month(document(item | {"window_min": 30}), load)


def test_a_ratchet_remembers_past_months() -> None:
    item = {"kind": "demand", "code": "demand", "window_min": 60, "price": "10", "ratchet_percent": "80", "ratchet_cycles": 1}
    plan = tariff_plan([json.dumps(document(item))])
    first, until = date(2026, 4, 1).toordinal(), date(2026, 7, 1).toordinal()
    load = [5000] + [1000] * (91 * 24 - 1)
    made = bill(plan, Account(), [Series(starts_at(first, plan.zone), HOUR_MS, load)], first, until)
    assert [decimal_text(c.amount_nano) for c in made.closed] == ["50", "40", "10"]


def test_a_debt_ends_when_it_is_paid() -> None:
    made = document(ENERGY, {"kind": "debt", "code": "arrears", "price": "2"})
    assert amounts(month(made, account=Account(debts=(("arrears", 45 * 10**9),))))["arrears"] == "45"
    assert amounts(month(made, account=Account(debts=(("arrears", 100 * 10**9),))))["arrears"] == "60"


def test_what_rounding_a_total_leaves_goes_into_the_next_month() -> None:
    plan = tariff_plan([json.dumps(document(FIXED | {"price": "10.4"}, round_total={"places": 0, "carry": True}))])
    first, until = date(2026, 4, 1).toordinal(), date(2026, 9, 1).toordinal()
    assert [decimal_text(c.amount_nano) for c in bill(plan, Account(), [], first, until).closed] == ["10", "11", "10", "11", "10"]


def test_after_the_last_version_it_goes_on_and_before_the_first_it_holds_already() -> None:
    plan = tariff_plan([json.dumps(document(FIXED, version={"to": "2026-02-01"}))])
    for first in (date(2026, 6, 1), date(2020, 6, 1)):
        made = bill(plan, Account(), [], first.toordinal(), first.toordinal() + 30)
        assert decimal_text(made.amount_nano) == "9.5"


def test_energy_that_is_not_known_is_counted_as_missing_not_as_zero() -> None:
    plan = tariff_plan([json.dumps(document())])
    first = date(2026, 4, 1).toordinal()
    start_ms = starts_at(first, plan.zone)
    bad = Series(start_ms, HOUR_MS, [5000] * 12, quality=Quality.MISSING)
    guess = Series(start_ms + 12 * HOUR_MS, HOUR_MS, [1000] * 12, quality=Quality.ESTIMATED)
    made = bill(plan, Account(), [bad, guess], first, first + 1)
    assert amounts(made) == {"energy": "3"}
    assert (made.state.missing, made.state.estimated_wh) == (12, 12_000)


def test_time_never_goes_back() -> None:
    plan = tariff_plan([json.dumps(document())])
    start_ms = starts_at(date(2026, 4, 1).toordinal(), plan.zone)
    state = opened(plan, Account(), start_ms)
    with pytest.raises(ValueError, match="is not between"):
        advance(plan, Account(), state, [Series(start_ms - HOUR_MS, HOUR_MS, [1])], start_ms)
    with pytest.raises(ValueError, match="time goes forward"):
        advance(plan, Account(), state, [], start_ms - 1)


def test_a_bill_cycle_needs_the_bills_days() -> None:
    plan = tariff_plan([json.dumps(document(cycle={"every": "bill"}))])
    with pytest.raises(ConfigError, match="say where the bill"):
        opened(plan, Account(), starts_at(date(2026, 4, 1).toordinal(), plan.zone))


# ---- lines and state ------------------------------------------------------------------------------------------


def test_lines_of_a_step_say_what_moved() -> None:
    before, after = (month(document(ENERGY, TAX), [wh] * 720).lines for wh in (100, 150))
    moved = difference(after, before)
    assert [(line.code, explained(line), decimal_text(line.amount_nano)) for line in moved] == [
        ("energy", "36 kWh at 0.25 per kWh", "9"), ("tax", "10 % of 9", "0.9"),
    ]  # fmt: skip
    assert difference(after, after) == ()
    assert total_nano(difference((), after)) == -total_nano(after)


def test_a_state_survives_as_text_and_goes_on_the_same() -> None:
    item = {"kind": "demand", "code": "demand", "window_min": 120, "sliding": True, "price": "10"}
    plan = tariff_plan([json.dumps(document(ENERGY, FIXED, TAX, item))])
    start_ms = starts_at(date(2026, 4, 10).toordinal(), plan.zone)
    state = advance(plan, Account(), opened(plan, Account(), start_ms), [Series(start_ms, HOUR_MS, [700] * 30)],
                    start_ms + 30 * HOUR_MS).state  # fmt: skip
    assert state_from(state_text(state)) == state
    for text in ("", "{}", "[]", state_text(state).replace("[1,", "[2,", 1), state_text(state)[:-1] + ",1]"):
        with pytest.raises(ContractError):
            state_from(text)
