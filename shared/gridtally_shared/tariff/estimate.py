"""How long a balance will last: the use of about the last day walked forward at the price of now. An estimate, said so.

The display of the edge and the portal show the same figures from the same facts (C3-S1.12).
"""

from __future__ import annotations

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.tariff.charge import energy_charge, fixed_charge
from gridtally_shared.tariff.model import Tariff

SHORTEST_BASE_MS = 2 * MS_PER_HOUR


def time_left_ms(balance_nano: int, tariff: Tariff, used_wh: int, over_ms: int) -> int | None:
    """None when less than two hours of use are known or nothing is being used."""
    if over_ms < SHORTEST_BASE_MS:
        return None
    energy_nano = energy_charge(tariff, 0, used_wh).total_nano * MS_PER_DAY // over_ms
    per_day_nano = energy_nano + fixed_charge(tariff, 0, 1).total_nano
    return max(0, balance_nano) * MS_PER_DAY // per_day_nano if per_day_nano > 0 else None


def energy_left_wh(balance_nano: int, tariff: Tariff) -> int | None:
    """How many Wh the balance buys at the price of now; None where energy costs nothing."""
    per_kwh_nano = energy_charge(tariff, 0, 1000).total_nano
    return max(0, balance_nano) * 1000 // per_kwh_nano if per_kwh_nano > 0 else None
