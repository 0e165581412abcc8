"""A month of quarter hours as a real household used it, and a tariff of times of use with slabs: for the benchmarks of billing.

The household is the Ameren Illinois export of the shared data (31 days, 2,976 intervals, 1 Wh); each account takes it at a size of its
own, so that no two are alike. Without the shared data the month is made up, and `REAL` says so.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from functools import cache
from pathlib import Path

from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.terms import Plan

ROOT = Path(__file__).resolve().parents[2]
FILE = "green_button/Ameren_Res_Electric_15_Minutes_09-15-2023_10-15-2023.XML.gz"
ZONE = "Asia/Kolkata"
DAYS, QUARTERS = 31, 96


def _path() -> Path:
    return Path(os.environ.get("GRIDTALLY_DATA", ROOT.parent / "shared" / "data")) / FILE


REAL = _path().exists()


@cache
def household() -> tuple[int, ...]:
    """Wh of each quarter hour of 31 days."""
    if REAL:
        text = gzip.decompress(_path().read_bytes()).decode()
        return tuple(int(value) for value in re.findall(r"<espi:value>(\d+)</espi:value>", text))
    rng = random.Random(7)
    return tuple(int(120 + 200 * (68 <= i % QUARTERS < 90) + rng.expovariate(1 / 90)) for i in range(DAYS * QUARTERS))


def month_of(number: int) -> list[int]:
    """The month of one account: the household at 50 to 150 % of its size, with noise of 3 %."""
    rng = random.Random(number)
    size = rng.uniform(0.5, 1.5)
    return [round(value * size * rng.uniform(0.97, 1.03)) for value in household()]


def _bands(*ends: tuple[str, str]) -> list[dict[str, str]]:
    starts = ["00:00", *(end for end, _ in ends)]
    return [{"from": start, "to": end, "period": period} for start, (end, period) in zip(starts, ends, strict=False)]


def _slabs(*prices: str) -> list[dict[str, str]]:
    return [{"to_kwh": "100", "price": prices[0]}, {"to_kwh": "300", "price": prices[1]}, {"price": prices[2]}]


TARIFF = {
    "kind": "tariff", "code": "home_tou", "name": "Home, by time and slab", "currency": "INR", "zone": ZONE,
    "round_total": {"places": 2, "mode": "half_up", "carry": True},
    "versions": [{
        "from": "2020-01-01",
        "seasons": [{"code": "summer", "from": "04-01", "to": "09-30"}, {"code": "winter", "from": "10-01", "to": "03-31"}],
        "day_types": [{"code": "work", "weekdays": ["mon", "tue", "wed", "thu", "fri"]}, {"code": "rest", "weekdays": ["sat", "sun"]}],
        "hours": [
            {"days": ["work"], "bands": _bands(("06:00", "night"), ("10:00", "peak"), ("18:00", "day"), ("22:00", "peak"),
                                               ("24:00", "night"))},
            {"days": ["rest"], "bands": _bands(("08:00", "night"), ("24:00", "day"))},
        ],
        "items": [
            {"kind": "energy", "code": "energy", "rates": [
                {"periods": ["night"], "slabs": _slabs("2.10", "3.05", "4.20")},
                {"periods": ["day"], "slabs": _slabs("3.15", "4.80", "6.40")},
                {"periods": ["peak"], "slabs": _slabs("4.60", "6.90", "8.75")}]},
            {"kind": "energy", "code": "fuel", "price": "0.37"},
            {"kind": "fixed", "code": "fixed", "price": "50", "times": "kw"},
            {"kind": "percent", "code": "surcharge", "percent": "8", "of": ["energy", "fixed"]},
            {"kind": "percent", "code": "duty", "percent": "5", "of": ["energy", "fuel", "surcharge"]},
            {"kind": "minimum", "code": "minimum", "amount": "80", "of": ["energy", "fixed"]},
        ],
    }],
}  # fmt: skip
"""Slabs are monthly and count within each period."""


def plan() -> Plan:
    return tariff_plan([json.dumps(TARIFF)])
