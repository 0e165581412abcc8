"""Three tariffs to walk: one price, slabs with a fixed charge and a duty, and time of use with a daily charge."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.terms import Plan

_PEAK: list[Any] = [
    {"seasons": [], "days": ["work"], "bands": [
        {"from": "00:00", "to": "07:00", "period": "low"}, {"from": "07:00", "to": "17:00", "period": "day"},
        {"from": "17:00", "to": "21:00", "period": "peak"}, {"from": "21:00", "to": "24:00", "period": "low"}]},
    {"seasons": [], "days": ["rest"], "bands": [{"from": "00:00", "to": "24:00", "period": "low"}]},
]  # fmt: skip
_VERSIONS: dict[str, dict[str, Any]] = {
    "flat": {"items": [{"kind": "energy", "code": "energy", "price": "0.25"}]},
    "slabs": {"items": [
        {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "100", "price": "3.15"}, {"to_kwh": "300", "price": "4.80"},
                                                       {"price": "6.40"}]},
        {"kind": "fixed", "code": "fixed", "price": "55"},
        {"kind": "percent", "code": "duty", "percent": "10", "of": ["energy"]}]},
    "hours": {
        "day_types": [{"code": "work", "weekdays": ["mon", "tue", "wed", "thu", "fri"]}, {"code": "rest", "weekdays": ["sat", "sun"]}],
        "hours": _PEAK,
        "items": [
            {"kind": "energy", "code": "energy", "rates": [{"periods": ["low"], "price": "0.15"}, {"periods": ["day"], "price": "0.25"},
                                                           {"periods": ["peak"], "price": "0.45"}]},
            {"kind": "fixed", "code": "standing", "price": "0.40", "per": "day"}]},
}  # fmt: skip
TARIFFS = tuple(_VERSIONS)


def plan_named(name: str, zone: ZoneInfo) -> Plan:
    document = {"kind": "tariff", "code": name, "currency": "EUR", "zone": zone.key,
                "versions": [{"from": "2010-01-01", **_VERSIONS[name]}]}  # fmt: skip
    return tariff_plan([json.dumps(document)], zone)
