"""What energy and a day cost now, taxes and slabs as they stand, and what a balance buys at that price. Pure.

The display of the edge and the portal show the same figures from the same facts (C3-S1.12).
"""

from __future__ import annotations

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import begins_ms, day_of, starts_at
from gridtally_shared.tariff.engine import advance
from gridtally_shared.tariff.lines import total_nano
from gridtally_shared.tariff.running import Running, probed
from gridtally_shared.tariff.terms import Plan

KWH_WH = 1000
SHORTEST_BASE_MS = 2 * MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Prices:
    """Of the next kWh, and of the next whole day whatever is used."""

    kwh_nano: int
    day_nano: int


@dataclass(frozen=True, slots=True)
class Coming:
    """What the next kWh costs at the instant another version begins."""

    from_ms: int
    kwh_nano: int


MOST_COMING = 3


def coming(plan: Plan, running: Running, now_ms: int) -> tuple[Coming, ...]:
    """The versions still to come, the soonest first."""
    begins = sorted({at_ms for version in plan.versions[1:] if (at_ms := begins_ms(version, plan.zone)) > now_ms})
    return tuple(Coming(at_ms, prices(plan, running, at_ms).kwh_nano) for at_ms in begins[:MOST_COMING])


def prices(plan: Plan, running: Running, at_ms: int) -> Prices:
    """The prices of an instant, not before the last one that was charged."""
    at_ms = max(at_ms, running.state.counted_ms)
    return Prices(total_nano(probed(plan, running, at_ms, KWH_WH)), _day_nano(plan, running, at_ms))


def _day_nano(plan: Plan, running: Running, at_ms: int) -> int:
    state, account = running.state, running.terms.account
    tomorrow = max(day_of(at_ms, plan.zone), day_of(state.until_ms - 1, plan.zone)) + 1
    before = advance(plan, account, state, (), max(state.until_ms, starts_at(tomorrow, plan.zone)), state.counted_ms)
    return advance(plan, account, before.state, (), before.state.until_ms + 1, state.counted_ms).amount_nano


def time_left_ms(balance_nano: int, price: Prices, used_wh: int, over_ms: int) -> int | None:
    """The use of about the last day walked forward at the price of now. None when less than two hours of use are known or nothing
    costs anything."""
    if over_ms < SHORTEST_BASE_MS:
        return None
    per_day_nano = price.kwh_nano * used_wh * MS_PER_DAY // (KWH_WH * over_ms) + price.day_nano
    return max(0, balance_nano) * MS_PER_DAY // per_day_nano if per_day_nano > 0 else None


def energy_left_wh(balance_nano: int, price: Prices) -> int | None:
    """How many Wh the balance buys at the price of now; None where energy costs nothing."""
    return max(0, balance_nano) * KWH_WH // price.kwh_nano if price.kwh_nano > 0 else None
