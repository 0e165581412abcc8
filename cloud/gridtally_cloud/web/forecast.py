"""How long a balance lasts at the usual use. Pure; integers only.

* The usual use is the mean of the whole local days known among the last fourteen; fewer than one such day means "unknown".
* A day costs its energy with tax and the standing charge of one day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gridtally_cloud.web.reads.usage import DayTotal
from gridtally_shared.tariff.charge import energy_charge, fixed_charge
from gridtally_shared.tariff.model import PPM, Tariff

DAYS = 14


@dataclass(frozen=True, slots=True)
class Forecast:
    """`days_left` whole days, `wh_left` energy the balance buys now, `daily_wh` the usual use; None where unknown."""

    days_left: int | None
    wh_left: int | None
    daily_wh: int | None


def forecast(balance_nano: int, tariff: Tariff | None, days: Sequence[DayTotal], today: int) -> Forecast:
    """`days` may hold the unfinished `today`; it is left out."""
    whole = [d.wh for d in days if d.day < today and d.present * 10 >= d.expected * 9][-DAYS:]
    daily_wh = sum(whole) // len(whole) if whole else None
    if tariff is None:
        return Forecast(None, None, daily_wh)
    return Forecast(_days(balance_nano, tariff, daily_wh), _wh(balance_nano, tariff), daily_wh)


def _wh(balance_nano: int, tariff: Tariff) -> int | None:
    price = tariff.energy_nano_per_wh * (PPM + tariff.tax_ppm)
    return max(0, balance_nano) * PPM // price if price else None


def _days(balance_nano: int, tariff: Tariff, daily_wh: int | None) -> int | None:
    if daily_wh is None:
        return None
    a_day = energy_charge(tariff, 0, daily_wh).total_nano + fixed_charge(tariff, 0, 1).total_nano
    return max(0, balance_nano) // a_day if a_day > 0 else None
