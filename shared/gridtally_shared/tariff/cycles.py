"""The span in which slabs count, and how many months a run of days is. Pure.

* A cycle is a number of calendar months from a day of the month, or the days of one bill.
* `calendar_months`: the sum over the months touched of days / days in that month, each rounded half up to the tariff's
  places where it names some. `cycle_days`: days / days of the cycle, times its months. `thirty_days`: days / 30.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from functools import lru_cache

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.terms import Account, Cycle, Plan, Prorate, Proration


@dataclass(frozen=True, slots=True)
class Days:
    """[first, until) in local days; `months` of the calendar that the cycle stands for, 0 where it is a bill."""

    first: int
    until: int
    months: int


def cycle_of(plan: Plan, account: Account, day: int) -> Days:
    """The cycle a local day belongs to. Raises ConfigError where the cycle is the bill and no bill holds the day."""
    return _month_cycle(plan.cycle, day) if plan.cycle.months else _bill_cycle(account, day)


def _bill_cycle(account: Account, day: int) -> Days:
    marks = sorted({*account.cuts, *((account.ends_day,) if account.ends_day is not None else ())})
    below, above = [c for c in marks if c <= day], [c for c in marks if c > day]
    if not below or not above:
        raise ConfigError("bill days", date.fromordinal(day).isoformat(), "this tariff counts by bill: say where the bill of this day "
                          "begins and ends")  # fmt: skip
    return Days(below[-1], above[0], 0)


@lru_cache(maxsize=4096)
def _month_cycle(cycle: Cycle, day: int) -> Days:
    at = date.fromordinal(day)
    month = at.year * 12 + at.month - 1 - (at.day < cycle.start_day)
    month -= (month - (cycle.first_month - 1)) % cycle.months
    return Days(_month_day(month, cycle.start_day), _month_day(month + cycle.months, cycle.start_day), cycle.months)


def _month_day(month: int, day: int) -> int:
    return date(month // 12, month % 12 + 1, day).toordinal()


@lru_cache(maxsize=16384)
def months_of(proration: Proration, cycle: Days, first: int, until: int) -> Fraction:
    """How many months [first, until) counts for."""
    return sum(month_parts(proration, cycle, first, until), Fraction(0))


def month_parts(proration: Proration, cycle: Days, first: int, until: int) -> tuple[Fraction, ...]:
    """The share of each calendar month touched, rounded as the tariff says."""
    days = max(0, until - first)
    if not days:
        return ()
    shares = {
        Prorate.CALENDAR_MONTHS: lambda: list(_calendar(first, until)),
        Prorate.CYCLE_DAYS: lambda: [Fraction(days * cycle.months, cycle.until - cycle.first)],
        Prorate.THIRTY_DAYS: lambda: [Fraction(days, 30)],
    }[proration.by]()
    return tuple(_half_up(share, proration.places) for share in shares)


def _calendar(first: int, until: int) -> Iterator[Fraction]:
    while first < until:
        at = date.fromordinal(first)
        length = monthrange(at.year, at.month)[1]
        end = min(until, first - at.day + 1 + length)
        yield Fraction(end - first, length)
        first = end


def _half_up(share: Fraction, places: int | None) -> Fraction:
    if places is None:
        return share
    step = 10**places
    return Fraction((2 * share.numerator * step + share.denominator) // (2 * share.denominator), step)
