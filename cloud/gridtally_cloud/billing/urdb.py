"""A rate of the OpenEI Utility Rate Database (URDB, version 8) as a tariff document of ours, and what of it could not be carried over.

* Every field is carried over, known to say nothing about prices, or named in a note with what it would have changed. Nothing is guessed
  in silence: what is assumed is a note too.
* A rate that can not be billed at all (no energy prices, a schedule that is not 12 x 24, a period without prices) is refused: ConfigError
  with the field.

Source: mdm.md C.2; the fields as openei.org describes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from gridtally_cloud.billing.urdb_hours import Clock, clock_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.document import tariff_plan

Json = dict[str, Any]
PRICE_PLACES, MONEY_PLACES, AMOUNT_PLACES = 6, 9, 3
MONTHLY, DAILY = (None, "kwh"), ("kwh daily", "kwh/day")
NET, SELLING = "net metering", {"net billing instantaneous": "net", "net billing hourly": "net", "buy all sell all": ""}
DEMANDS = ((2, "flatdemandstructure", "flatdemandunit", "demand"), (1, "demandratestructure", "demandrateunit", "demand_tou"))
PROSE = ("energycomments", "demandcomments", "basicinformationcomments", "dgcomments")
CARRIED = {
    "name", "utility", "label", "startdate", "energyratestructure", "energyweekdayschedule", "energyweekendschedule", "flatdemandstructure",
    "flatdemandmonths", "flatdemandunit", "flatdemandunits", "demandratestructure", "demandweekdayschedule", "demandweekendschedule",
    "demandrateunit", "demandunits", "demandwindow", "fixedchargefirstmeter", "fixedchargeunits", "fixedmonthlycharge", "mincharge",
    "minchargeunits", "minmonthlycharge", "dgrules", "usenetmetering", "lookbackpercent", "lookbackrange", "lookbackmonths", *PROSE,
}  # fmt: skip
SAYS_NOTHING = {
    "uri", "approved", "is_default", "eiaid", "sector", "description", "source", "sourceparent", "country", "servicetype", "supersedes",
    "revisions", "latest_update", "rate_uri", "utilityname", "peakkwcapacitymin", "peakkwcapacitymax", "peakkwcapacityhistory",
    "peakkwhusagemin", "peakkwhusagemax", "peakkwhusagehistory", "voltageminimum", "voltagemaximum", "voltagecategory", "phasewiring",
    "energyattrs", "fixedattrs", "demandattrs", "bundled", "eia", "enddate", "demandreactivepowercharge_units",
}  # fmt: skip


@dataclass(slots=True)
class Import:
    """The document so far, and what there is to say of it."""

    rate: Json
    window_min: int
    items: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def exact(self, key: str, amount: Decimal, places: int) -> str:
        """As text of at most so many decimals; a note where some were lost, an error below zero."""
        if amount < 0:
            raise ConfigError(key, str(amount), "a price below zero can not be read: take it out, and add an item with credit")
        short = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
        if short != amount:
            self.notes.append(f"{key}: {amount} is rounded to {short}")
        return f"{short:f}".rstrip("0").rstrip(".") if "." in f"{short:f}" else f"{short:f}"


def read_rate(text: str) -> Json:
    """One rate: the object itself, or the only one of `items`. Raises ConfigError."""
    try:
        raw = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError("file", "", f"this is not JSON ({error}); give the file as the rate database writes it") from None
    items = raw.get("items") if isinstance(raw, dict) else None
    if isinstance(items, list):
        if len(items) != 1:
            raise ConfigError("items", len(items), "give a file with one rate; ask the rate database for one by its label")
        raw = items[0]
    if not isinstance(raw, dict):
        raise ConfigError("file", "", "write one rate, in { }")
    return raw


def document_of(rate: Json, zone: str, code: str, window_min: int = 0) -> tuple[Json, tuple[str, ...]]:
    """The tariff document and the notes. `window_min`: of the demand, where the rate names none. Raises ConfigError."""
    made = Import(rate, window_min)
    clock = clock_of(rate)
    _energy(made, clock)
    _demand(made, clock)
    _fixed(made)
    _minimum(made)
    _said(made)
    begins = rate.get("startdate")
    first = datetime.fromtimestamp(int(begins), UTC).date().isoformat() if begins else "1970-01-01"
    version = {"from": first, **clock.version(), "items": made.items}
    document = {"kind": "tariff", "code": code, "name": _name(rate), "currency": "USD", "zone": zone, "versions": [version]}
    tariff_plan([json.dumps(document)])
    return document, tuple(made.notes)


def _name(rate: Json) -> str:
    return " - ".join(str(rate[key]) for key in ("utility", "name") if rate.get(key))[:120] or "URDB rate"


# ---- energy ---------------------------------------------------------------------------------------------------


def _energy(made: Import, clock: Clock) -> None:
    structure = made.rate["energyratestructure"]
    rules = str(made.rate.get("dgrules") or "").lower() or (NET if made.rate.get("usenetmetering") else "")
    rates = [{"periods": periods, **_tiers(made, f"energyratestructure[{n}]", structure[n])} for n, periods in clock.periods_by(0)]
    item: Json = {"kind": "net" if rules == NET else "energy", "code": "energy", **_per(made, structure), "rates": rates}
    if SELLING.get(rules):
        item["measure"] = "net_import"
    made.items.append(item)
    if len(rates) > 1 and any(len(structure[n]) > 1 for n, _ in clock.periods_by(0)):
        made.notes.append("energyratestructure: tiers in several periods; here each period counts its own kWh, not the whole month's")
    if rules == NET:
        made.notes.append("dgrules: surplus kWh are carried on; the rate names no month of settlement, add true_up_month and its price")
    _selling(made, clock, structure, rules)


def _per(made: Import, structure: list[Any]) -> Json:
    """What tiers are for: a month, or a day."""
    units = {str(tier["unit"]).lower() if tier.get("unit") else None for tiers in structure for tier in tiers if "max" in tier}
    if units <= set(DAILY) and units:
        return {"per": "day"}
    if not units <= set(MONTHLY):
        raise ConfigError("energyratestructure", ", ".join(str(u) for u in units), "tiers in kWh, or all in kWh daily, can be read")
    return {}


def _tiers(made: Import, key: str, tiers: Any) -> Json:
    if not isinstance(tiers, list) or not tiers:
        raise ConfigError(key, "", "the schedule names this period and it has no prices")
    prices = [made.exact(f"{key}[{i}].rate", _number(f"{key}[{i}]", tier, "rate") + _number(f"{key}[{i}]", tier, "adj"), PRICE_PLACES)
              for i, tier in enumerate(tiers)]  # fmt: skip
    if len(prices) == 1:
        return {"price": prices[0]}
    ends = [made.exact(f"{key}[{i}].max", _number(f"{key}[{i}]", tier, "max"), AMOUNT_PLACES) for i, tier in enumerate(tiers[:-1])]
    limit = "to_kw" if "demand" in key else "to_kwh"
    return {"slabs": [{limit: end, "price": price} for end, price in zip(ends, prices, strict=False)] + [{"price": prices[-1]}]}


def _number(key: str, tier: Any, name: str) -> Decimal:
    value = tier.get(name, Decimal(0)) if isinstance(tier, dict) else None
    if not isinstance(value, Decimal) or not value.is_finite():
        raise ConfigError(f"{key}.{name}", value, "write a number")
    return value


def _selling(made: Import, clock: Clock, structure: list[Any], rules: str) -> None:
    """What is given back, where the rate says how it is counted."""
    has_price = any(tier.get("sell") for tiers in structure for tier in tiers)
    if rules and rules != NET and rules not in SELLING:
        made.notes.append(f"dgrules: {rules!r} is not known here; what is given back is not priced")
    elif rules in SELLING:
        rates = [{"periods": periods, "price": made.exact(f"energyratestructure[{n}][0].sell", _number("", structure[n][0], "sell"),
                                                          PRICE_PLACES)} for n, periods in clock.periods_by(0)]  # fmt: skip
        measure = "net_export" if SELLING[rules] else "export"
        made.items.append({"kind": "energy", "code": "export", "measure": measure, "credit": True, "rates": rates})
        if any(len({tier.get("sell") for tier in tiers}) > 1 for tiers in structure):
            made.notes.append("energyratestructure: the sell price differs between tiers; the first tier's is taken for all")
    elif has_price and not rules:
        made.notes.append("energyratestructure: there are sell prices and no dgrules; what is given back is not priced")


# ---- demand ---------------------------------------------------------------------------------------------------


def _demand(made: Import, clock: Clock) -> None:
    for axis, name, unit, code in DEMANDS:
        structure = made.rate.get(name) or []
        for number, periods in clock.periods_by(axis) if structure else ():
            tiers = structure[number] if number < len(structure) else None
            prices = _tiers(made, f"{name}[{number}]", tiers)
            if prices.get("price") != "0":
                made.items.append({"kind": "demand", "code": f"{code}_{number}", "periods": periods, **_unit(made, unit), **_window(made),
                                   **_ratchet(made), **prices})  # fmt: skip


def _unit(made: Import, key: str) -> Json:
    unit = str(made.rate.get(key) or made.rate.get(key + "s") or "kW")
    if unit.lower() not in ("kw", "kva"):
        raise ConfigError(key, unit, "demand in kW and kVA can be read")
    return {"measure": "apparent"} if unit.lower() == "kva" else {}


def _window(made: Import) -> Json:
    window = made.rate.get("demandwindow")
    if window is None and not made.window_min:
        made.window_min = 15
        made.notes.append("demandwindow: the rate names none; 15 minutes are assumed (--demand-window)")
    return {"window_min": made.window_min or int(window or 0)}


def _ratchet(made: Import) -> Json:
    percent, months = made.rate.get("lookbackpercent"), made.rate.get("lookbackmonths")
    if not percent:
        return {}
    if months and not all(months):
        note = "lookbackmonths: only some months count for the ratchet; it is left out"
        made.notes += [note] if note not in made.notes else []
        return {}
    share = Decimal(percent) * 100 if percent <= 1 else Decimal(percent)
    return {"ratchet_percent": made.exact("lookbackpercent", share, 4), "ratchet_cycles": int(made.rate.get("lookbackrange") or 12)}


# ---- fixed charges, what is left ------------------------------------------------------------------------------


def _fixed(made: Import) -> None:
    amount, unit = made.rate.get("fixedchargefirstmeter"), str(made.rate.get("fixedchargeunits") or "$/month")
    if amount is None:
        amount, unit = made.rate.get("fixedmonthlycharge"), "$/month"
    if not amount:
        return
    if unit not in ("$/month", "$/day", "$/year"):
        raise ConfigError("fixedchargeunits", unit, "$/month, $/day and $/year can be read")
    price = made.exact("fixedchargefirstmeter", amount / 12 if unit == "$/year" else amount, MONEY_PLACES)
    made.items.append({"kind": "fixed", "code": "fixed", "price": price, "per": "day" if unit == "$/day" else "month"})


def _minimum(made: Import) -> None:
    amount, unit = made.rate.get("mincharge"), str(made.rate.get("minchargeunits") or "$/month")
    if amount is None:
        amount, unit = made.rate.get("minmonthlycharge"), "$/month"
    if amount and unit == "$/month":
        bases = [item["code"] for item in made.items]
        made.items.append({"kind": "minimum", "code": "minimum", "amount": made.exact("mincharge", amount, MONEY_PLACES), "of": bases})
    elif amount:
        made.notes.append(f"mincharge: {amount} {unit} is not carried over, only a minimum a month is")


def _said(made: Import) -> None:
    made.notes += _left_out(made.rate)


def _left_out(rate: Json) -> Iterator[str]:
    for key in sorted(set(rate) - CARRIED - SAYS_NOTHING):
        if rate[key] not in (None, "", [], False):
            shown = json.dumps(rate[key], default=str)
            yield f"{key}: not carried over, {shown if len(shown) <= 60 else shown[:57] + '...'}"
    if rate.get("enddate"):
        yield f"enddate: the rate ended on {datetime.fromtimestamp(int(rate['enddate']), UTC).date().isoformat()}; the document goes on"
    yield from (f"{key}: is prose and may hold rules, read it" for key in PROSE if rate.get(key))
    yield "holidays: the rate database names none; add dates to the day type rest"
