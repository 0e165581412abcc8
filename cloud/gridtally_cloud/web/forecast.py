"""How long a balance lasts and what a day usually takes. Pure; integers only.

* Time and energy left are those of the edge's display: `gridtally_shared.tariff.estimate` over the same journal entries.
* The usual use is the mean of the whole local days known among the last fourteen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gridtally_cloud.web.reads.pace import Pace
from gridtally_cloud.web.reads.usage import DayTotal
from gridtally_shared.tariff.estimate import energy_left_wh, time_left_ms
from gridtally_shared.tariff.model import Tariff

DAYS = 14


@dataclass(frozen=True, slots=True)
class Forecast:
    """`left_ms` the balance lasts, `left_wh` it buys now, `daily_wh` is the usual use of a day; None where unknown."""

    left_ms: int | None
    left_wh: int | None
    daily_wh: int | None


def forecast(balance_nano: int, tariff: Tariff | None, pace: Pace | None, days: Sequence[DayTotal], today: int) -> Forecast:
    """`days` may hold the unfinished `today`; it is left out."""
    left_ms = time_left_ms(balance_nano, tariff, pace.used_wh, pace.over_ms) if tariff and pace else None
    return Forecast(left_ms, energy_left_wh(balance_nano, tariff) if tariff else None, daily_mean(days, today))


def daily_mean(days: Sequence[DayTotal], today: int) -> int | None:
    """Mean of the days before `today` of which at least nine tenths are known."""
    whole = [d.wh for d in days if d.day < today and d.present * 10 >= d.expected * 9][-DAYS:]
    return sum(whole) // len(whole) if whole else None
