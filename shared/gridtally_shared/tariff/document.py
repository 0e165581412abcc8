"""Tariff documents: JSON that says prices, read into a `Plan`. The one declaration of what a document may hold.

* `schema()` is the same declaration as JSON Schema; the file `tariff.schema.json` beside this module is made from it.
* A document that is not understood whole is refused whole: ConfigError with the path and what to write.
* The fields and their meaning: `docs/tariff.md`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from gridtally_shared.tariff.checks import checked, checked_versions
from gridtally_shared.tariff.currencies import CURRENCIES
from gridtally_shared.tariff.forms import (
    CODE,
    DAY,
    FLAG,
    MINUTE,
    MONTH_DAY,
    NAME,
    Field,
    Form,
    Json,
    choice,
    decimal,
    listed,
    mapping,
    number,
    one_of,
    parsed,
    refuse,
    shaped,
)  # fmt: skip
from gridtally_shared.tariff.terms import (
    Band,
    Cycle,
    DayType,
    Debt,
    Demand,
    Energy,
    Every,
    Fixed,
    Hours,
    Item,
    Measure,
    Minimum,
    Net,
    Percent,
    Places,
    Plan,
    PowerFactor,
    Prorate,
    Proration,
    Rate,
    Rounding,
    Season,
    Slab,
    Times,
    Version,
)  # fmt: skip
from gridtally_shared.tariff.terms import When as WhenTerm

WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
SCHEMA_ID = "https://gridtally.org/schemas/tariff-1.json"


def _words(kind: Any) -> dict[str, Any]:
    return {member.value: member for member in kind}


def _read_zone(value: Any, path: str) -> ZoneInfo:
    try:
        if not isinstance(value, str) or not value:
            raise ValueError(value)
        return ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise refuse(path, value, 'write an IANA zone, such as "Asia/Kolkata"') from None


def _read_currency(value: Any, path: str) -> str:
    if not isinstance(value, str) or value not in CURRENCIES:
        raise refuse(path, value, 'write the ISO 4217 code of a currency, such as "INR"')
    return value


ZONE = Form(_read_zone, {"type": "string", "description": "IANA zone"})
CURRENCY = Form(_read_currency, {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"})
PRICE_KWH, PRICE_KW, MONEY = decimal(6, "0.2750"), decimal(6, "12.50"), decimal(9, "9.50")
KWH, KW, PERCENT = decimal(3, "100"), decimal(3, "2.5"), decimal(4, "7.5")
PLACES = shaped(Places, [
    Field("places", number(0, 9)), Field("mode", choice(_words(Rounding)), Rounding.HALF_UP), Field("carry", FLAG, False),
])  # fmt: skip
EVERY, TIMES = choice(_words(Every)), choice(_words(Times))
CODES = listed(CODE, 1)
COMMON = (
    Field("code", CODE, about="names the item on lines and in 'of'"),
    Field("name", NAME, ""),
    Field("credit", FLAG, False, "true: the amount is given, not taken (subsidy, rebate, export)"),
    Field("when", shaped(WhenTerm, [Field("over", KWH, 0), Field("up_to", KWH, None)]), None,
          "only where the month's imported kWh are above 'over' and at most 'up_to'"),
    Field("needs", listed(CODE), (), "flags the account must have"),
    Field("unless", listed(CODE), (), "flags the account must not have"),
    Field("rounding", PLACES, None, "instead of the version's"),
    Field("cap", MONEY, None, "no more than this a month"),
)  # fmt: skip


def _slabs(limit: str, form: Form, price: Form) -> Form:
    return listed(shaped(_slab, [Field(limit, form, None), Field("price", price)]), 1)


def _slab(until: int | None, price: int) -> Slab:
    return Slab(until, price)


def _priced(price: Form, slabs: Form) -> tuple[Field, ...]:
    return Field("price", price, None, "one price for all"), Field("slabs", slabs, None, "prices by quantity")


def _rate(periods: tuple[str, ...], price: int | None, slabs: tuple[Slab, ...] | None) -> Rate:
    return Rate(periods, _one_price(price, slabs))


def _one_price(price: int | None, slabs: tuple[Slab, ...] | None) -> tuple[Slab, ...]:
    """No slab at all stands for both or neither given; the checks refuse it with the path."""
    if (price is None) == (slabs is None):
        return ()
    return slabs if slabs is not None else (Slab(None, price or 0),)


def _energy(price: int | None, slabs: tuple[Slab, ...] | None, rates: tuple[Rate, ...] | None, **rest: Any) -> Energy:
    plain = price is not None or slabs is not None
    if rates is None or plain:
        rates = () if rates is not None else (Rate((), _one_price(price, slabs)),)
    return Energy(rates=rates, **rest)


def _net(true_up_price: int, **rest: Any) -> Net:
    made = _energy(measure=Measure.IMPORT, **{name: rest.pop(name) for name in ("price", "slabs", "rates", "telescopic", "every", *_ITEM)})
    shared = {name: getattr(made, name) for name in ("telescopic", "every", "rates", *_ITEM)}
    return Net(true_up_price=true_up_price, **shared, **rest)


_ITEM = ("code", "name", "credit", "when", "needs", "unless", "rounding", "cap")


def _below(below: int, percent: int) -> Slab:
    return Slab(below, percent)


def _from(first: int, percent: int) -> Slab:
    return Slab(first, percent)


def _fixed(price: int | None, slabs: tuple[Slab, ...] | None, **rest: Any) -> Fixed:
    return Fixed(slabs=_one_price(price, slabs), **rest)


def _demand(price: int | None, slabs: tuple[Slab, ...] | None, **rest: Any) -> Demand:
    return Demand(slabs=_one_price(price, slabs), contract_ppm=rest.pop("contract_percent"), ratchet_ppm=rest.pop("ratchet_percent"),
                  excess_ppm=rest.pop("excess_percent"), **rest)  # fmt: skip


def _percent(percent: int, **rest: Any) -> Percent:
    return Percent(ppm=percent, **rest)


ENERGY_SLABS, KW_SLABS = _slabs("to_kwh", KWH, PRICE_KWH), _slabs("to_kw", KW, PRICE_KW)
RATES = listed(shaped(_rate, [Field("periods", listed(CODE), ()), *_priced(PRICE_KWH, ENERGY_SLABS)]), 1)
FACTOR = decimal(4, "0.95")
BELOW = listed(shaped(_below, [Field("below", FACTOR), Field("percent", PERCENT)]))
FROM = listed(shaped(_from, [Field("from", FACTOR), Field("percent", PERCENT)]))
MEASURE = Field("measure", choice(_words(Measure)), Measure.IMPORT)
ITEM = one_of("kind", {
    "energy": (_energy, [*COMMON, MEASURE, Field("telescopic", FLAG, True), Field("per", EVERY, Every.MONTH, "what slabs are for"),
                         *_priced(PRICE_KWH, ENERGY_SLABS), Field("rates", RATES, None, "prices by time-of-use period")]),
    "net": (_net, [*COMMON, Field("telescopic", FLAG, True), Field("per", EVERY, Every.MONTH, "what slabs are for"),
                   *_priced(PRICE_KWH, ENERGY_SLABS), Field("rates", RATES, None, "prices by time-of-use period; each carries its own"),
                   Field("true_up_month", number(0, 12), 0, "what is carried is settled when this month begins; 0 never"),
                   Field("true_up_price", PRICE_KWH, 0, "for what is carried then; without it it lapses")]),
    "power_factor": (PowerFactor, [*COMMON, Field("of", CODES), Field("places", number(2, 4), 2), Field("each", FACTOR, 0),
                                   Field("penalties", BELOW, ()), Field("incentives", FROM, ())]),
    "fixed": (_fixed, [*COMMON, Field("per", EVERY, Every.MONTH), Field("times", TIMES, Times.ONE), Field("prorate", FLAG, True),
                       *_priced(MONEY, _slabs("to_kw", KW, MONEY))]),
    "demand": (_demand, [*COMMON, MEASURE, Field("periods", listed(CODE), ()), Field("window_min", number(1, 1440), 30),
                         Field("sliding", FLAG, False), *_priced(PRICE_KW, KW_SLABS), Field("contract_percent", PERCENT, 0),
                         Field("ratchet_percent", PERCENT, 0), Field("ratchet_cycles", number(1, 24), 12),
                         Field("excess_percent", PERCENT, 0)]),
    "percent": (_percent, [*COMMON, Field("percent", PERCENT), Field("of", CODES)]),
    "minimum": (Minimum, [*COMMON, Field("amount", MONEY), Field("times", TIMES, Times.ONE), Field("of", CODES)]),
    "debt": (Debt, [*COMMON, Field("price", MONEY), Field("per", EVERY, Every.DAY)]),
})  # fmt: skip
HOURS = shaped(Hours, [
    Field("seasons", listed(CODE), ()), Field("days", listed(CODE), ()),
    Field("bands", listed(shaped(Band, [Field("from", MINUTE), Field("to", MINUTE), Field("period", CODE)]), 1)),
])  # fmt: skip


def _cycle(every: str, months: int, start_day: int, first_month: int) -> Cycle:
    return Cycle(0 if every == "bill" else months, start_day, first_month)


def _version(items: tuple[Item, ...], round_lines: Places | None, **rest: Any) -> Version:
    return Version(items=items, order=(), periods=(), rounding=round_lines, **rest)


def _register(period: str, rate: int) -> tuple[str, int]:
    return period, rate


VERSION = shaped(_version, [
    Field("from", DAY, about="the first local day"), Field("to", DAY, None, "the first local day of the next version"),
    Field("seasons", listed(shaped(Season, [Field("code", CODE), Field("from", MONTH_DAY), Field("to", MONTH_DAY)])), ()),
    Field("day_types", listed(shaped(DayType, [
        Field("code", CODE), Field("weekdays", listed(choice(WEEKDAYS)), ()), Field("dates", listed(DAY), ()),
        Field("yearly", listed(MONTH_DAY), ()),
    ])), ()),
    Field("hours", listed(HOURS), ()), Field("round_lines", PLACES, None), Field("items", listed(ITEM, 1)),
    Field("registers", listed(shaped(_register, [Field("period", CODE), Field("rate", number(1, 8))])), (),
          "the meter's rate register that counts each period: bills without intervals rest on them"),
])  # fmt: skip


def _plan(kind: str, round_total: Places | None, **rest: Any) -> Plan:
    return Plan(total=round_total, **rest)


CYCLE = shaped(_cycle, [
    Field("every", choice({"month": "month", "bill": "bill"}), "month"), Field("months", number(1, 12), 1),
    Field("start_day", number(1, 28), 1), Field("first_month", number(1, 12), 1),
])  # fmt: skip
PRORATION = shaped(Proration, [
    Field("by", choice(_words(Prorate)), Prorate.CALENDAR_MONTHS), Field("places", number(1, 9), None),
])  # fmt: skip
TARIFF = shaped(_plan, [
    Field("kind", choice({"tariff": "tariff"})), Field("code", CODE), Field("name", NAME, ""), Field("currency", CURRENCY),
    Field("zone", ZONE), Field("cycle", CYCLE, Cycle(1, 1, 1)),
    Field("proration", PRORATION, Proration(Prorate.CALENDAR_MONTHS, None)), Field("round_total", PLACES, None),
    Field("notice_days", number(0, 366), 0, "a further version is made so many days before it begins, at least"),
    Field("versions", listed(VERSION, 1)),
])  # fmt: skip


def tariff_plan(texts: Sequence[str], zone: str = "UTC") -> Plan:
    """The plan of one or more documents of the same tariff, each with later versions. Raises ConfigError.

    `zone` is only for the first, flat form of documents (`model.py`), which names none.
    """
    plans = [_one(text, zone) for text in texts]
    first = plans[0]
    for other in plans[1:]:
        for name in ("code", "currency", "zone", "cycle", "proration", "total"):
            if getattr(other, name) != getattr(first, name):
                raise refuse(name, str(getattr(other, name)), f"documents of one tariff agree on it: {getattr(first, name)}")
    versions = tuple(sorted((v for plan in plans for v in plan.versions), key=lambda v: v.first)) if plans[1:] else first.versions
    return checked_versions(replace(first, versions=versions))


def _one(text: str, zone: str) -> Plan:
    raw = parsed(text)
    if isinstance(raw, dict) and raw.get("kind") == "flat":
        raw = _from_flat(mapping(raw, ""), zone)
    plan: Plan = TARIFF.read(raw, "")
    return replace(plan, versions=tuple(checked(plan, v, f"versions[{i}]") for i, v in enumerate(plan.versions)))


def _from_flat(raw: Json, zone: str) -> Json:
    """The first form of documents as one of today: energy and days are taxed each for itself."""
    known = {"kind", "currency", "energy_per_kwh", "fixed_per_day", "tax_percent", "name"}
    for name in set(raw) - known:
        raise refuse(name, raw[name], f"this key is not known here; write one of {', '.join(sorted(known))}")
    tax = raw.get("tax_percent", "0")
    items = [
        {"kind": "energy", "code": "energy", "price": raw.get("energy_per_kwh", "0")},
        {"kind": "fixed", "code": "fixed", "per": "day", "price": raw.get("fixed_per_day", "0")},
        {"kind": "percent", "code": "tax_energy", "percent": tax, "of": ["energy"]},
        {"kind": "percent", "code": "tax_fixed", "percent": tax, "of": ["fixed"]},
    ]
    named = {"name": raw["name"]} if raw.get("name") else {}
    return {"kind": "tariff", "code": "flat", "currency": raw.get("currency"), "zone": zone, **named,
            "versions": [{"from": "1970-01-01", "items": items}]}  # fmt: skip


def schema() -> str:
    """The JSON Schema of a tariff document, as text."""
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "gridtally tariff", **TARIFF.schema}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
