"""What energy and days cost, worked out from the tariff's own text with fractions: none of the code that charges is used."""

from __future__ import annotations

import json
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from gridtally_cloud.customers.seed import DEMO_TARIFF

NANO = 10**9


def price_nano_per_wh() -> int:
    return int(Fraction(json.loads(DEMO_TARIFF)["energy_per_kwh"]) / 1000 * NANO)


def slow_charge(used_wh: int, days: int) -> int:
    """In nano, tax included; energy and days are taxed each by itself, down to the whole nano."""
    terms = json.loads(DEMO_TARIFF)
    tax = Fraction(terms["tax_percent"]) / 100
    nets = (Fraction(terms["energy_per_kwh"]) / 1000 * used_wh, Fraction(terms["fixed_per_day"]) * days)
    return sum(int(net * NANO) + int(net * tax * NANO) for net in nets)


def midnights(from_ms: int, to_ms: int, zone: str) -> int:
    """Local days that began after the first moment."""
    first, last = (datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).date() for ms in (from_ms, to_ms))
    return (last - first).days
