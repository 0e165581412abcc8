"""How long a balance lasts and what a day usually takes. Pure; integers only.

* Time left is what the concentrator says (prepay/time_left.py), as on its display; energy left is reckoned by the same code.
* The usual use is that of `gridtally_shared.usage_days`, as on the display.
"""

from __future__ import annotations

from collections.abc import Sequence

from gridtally_shared.forecast.timeleft import TimeLeft, span_ms
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.prices import energy_left_wh
from gridtally_shared.tariff.quote import Quote
from gridtally_shared.usage_days import DayTotal, daily_mean


@dataclass(frozen=True, slots=True)
class Forecast:
    """`left_ms` the balance lasts from the time it is shown as of; `left_wh` it buys now; `daily_wh` is
    the usual use of a day. None where unknown, or where it `is_long`: longer than can be told."""

    left_ms: int | None
    left_wh: int | None
    daily_wh: int | None
    is_long: bool = False


def forecast(
    balance_nano: int, as_of_ms: int, tariff: Quote | None, left: TimeLeft | None, days: Sequence[DayTotal], today: int
) -> Forecast:
    """`days` may hold the unfinished `today`; it is left out."""
    left_wh = energy_left_wh(balance_nano, tariff.price) if tariff else None
    return Forecast(span_ms(left, as_of_ms), left_wh, daily_mean(days, today), left is not None and left.central_ms is None)
