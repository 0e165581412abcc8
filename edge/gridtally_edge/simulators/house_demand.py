"""Maximum demand and billing periods of a simulated meter, from its energy as a function of true time.

* Block demand is the mean power of a whole period; sliding demand looks at a period that moves on by its n-th part.
* Only periods that lie within one span count: a reset, a new billing period or a new demand period starts afresh.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gridtally_edge.simulators.household import MS_PER_MINUTE
from gridtally_shared.meter_settings import BillingDate, DemandPeriod
from gridtally_shared.records import dataclass

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Demand:
    """The largest demand of a span and the end of its period (0: no period was complete)."""

    highest_w: int
    at_ms: int


@dataclass(slots=True)
class DemandWatch:
    """Follows the largest demand from `from_ms` on; asked again later it goes on where it was."""

    from_ms: int
    period: DemandPeriod
    done_ms: int = 0
    highest: Demand = Demand(0, 0)

    def until(self, now_ms: int, energy: Callable[[int], int]) -> Demand:
        """`energy` in watt-milliseconds at a true moment."""
        period_ms = self.period.period_s * 1_000
        step_ms = period_ms // max(self.period.windows, 1)
        end_ms = max(self.done_ms, self.from_ms + period_ms - step_ms) + step_ms
        while end_ms <= now_ms:
            demand_w = (energy(end_ms) - energy(end_ms - period_ms)) // period_ms
            if demand_w > self.highest.highest_w:
                self.highest = Demand(demand_w, end_ms)
            self.done_ms, end_ms = end_ms, end_ms + step_ms
        return self.highest


def aligned_ms(at_ms: int, period_s: int) -> int:
    """The first whole period at or after a moment."""
    step_ms = period_s * 1_000
    return -(-at_ms // step_ms) * step_ms


def closings(rule: BillingDate, from_ms: int, to_ms: int, offset_ms: int) -> list[int]:
    """Billing moments within from_ms..to_ms, the end included."""
    local = _EPOCH + timedelta(milliseconds=from_ms + offset_ms)
    year, month = local.year, local.month
    found: list[int] = []
    while True:
        moment = datetime(year, month, rule.day, tzinfo=UTC) + timedelta(minutes=rule.minute)
        at_ms = (moment - _EPOCH) // timedelta(milliseconds=1) - offset_ms
        if at_ms > to_ms:
            return found
        if at_ms >= from_ms:
            found.append(at_ms)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def period_start(rule: BillingDate, at_ms: int, offset_ms: int) -> int:
    """The billing moment at or before a time."""
    return closings(rule, at_ms - 62 * 1_440 * MS_PER_MINUTE, at_ms, offset_ms)[-1]
