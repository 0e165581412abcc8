"""When the money is gone: loads walked through the real tariff until the funds are spent. Pure.

* Time of use, slabs, fixed charges, taxes and debts of the tariff are what `tariff.engine` says; a copy of the account's state
  walks on, the account itself is not touched.
* Whole weeks first, then the hour, guessed from the money and halved in turn: about five steps of the engine a week.
* Within the hour in proportion to its cost; a charge that falls due at its beginning is spent at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.hours import hour_start
from gridtally_shared.prepay.policy import Period
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of
from gridtally_shared.tariff.engine import State, cost
from gridtally_shared.tariff.terms import Account, Plan
from gridtally_shared.tariff.use import Series

STRIDE = 7 * 24


def _month_of(at_ms: int, zone: ZoneInfo) -> int:
    day = date.fromordinal(day_of(at_ms, zone))
    return day.year * 12 + day.month


PERIODS: dict[Period, Callable[[int, ZoneInfo], int]] = {
    Period.DAY: day_of,
    Period.WEEK: lambda at_ms, zone: (day_of(at_ms, zone) - 1) // 7,
    Period.MONTH: _month_of,
}
"""The number of the period an instant lies in."""


@dataclass(frozen=True, slots=True)
class Debit:
    """Money taken outside the tariff as each period begins (a debt by time), until `left_nano` is paid."""

    period: Period
    rate_nano: int
    left_nano: int


@dataclass(frozen=True, slots=True)
class Purse:
    """An account as the walk begins: how it is charged, and what there is to spend from `state.counted_ms` on."""

    plan: Plan
    account: Account
    state: State
    funds_nano: int
    debits: tuple[Debit, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere on the way: hours walked, and the charges so far."""

    index: int
    state: State
    charged_nano: int


def runs_out_ms(purse: Purse, loads_wh: Sequence[int]) -> int | None:
    """When the funds are spent; None when they outlast the loads. The first load is what is left of the hour under way."""
    if purse.funds_nano <= 0:
        return purse.state.counted_ms
    here = Place(0, purse.state, 0)
    while here.index < len(loads_wh):
        reached = _walked(purse, loads_wh, here, min(len(loads_wh), here.index + STRIDE))
        if spent_nano(purse, reached) >= purse.funds_nano:
            return _within(purse, *_hour_of(purse, loads_wh, here, reached))
        here = reached
    return None


def spent_nano(purse: Purse, place: Place) -> int:
    """What the charges and the debits have taken when this place is reached."""
    from_ms, to_ms, zone = purse.state.counted_ms, place.state.counted_ms, purse.plan.zone
    begun = ((d, PERIODS[d.period](to_ms, zone) - PERIODS[d.period](from_ms, zone)) for d in purse.debits)
    return place.charged_nano + sum(min(d.left_nano, d.rate_nano * periods) for d, periods in begun)


def _walked(purse: Purse, loads_wh: Sequence[int], here: Place, until: int) -> Place:
    """`until` hours are over."""
    series = tuple(_series(purse.plan.zone, here, loads_wh, until))
    end_ms = series[-1].end_ms
    state, moved_nano = cost(purse.plan, purse.account, here.state, series, max(here.state.until_ms, end_ms), end_ms)
    return Place(until, state, here.charged_nano + moved_nano)


def _series(zone: ZoneInfo, here: Place, loads_wh: Sequence[int], until: int) -> Iterator[Series]:
    index, at_ms = here.index, here.state.counted_ms
    first_ms = hour_start(at_ms, zone) + MS_PER_HOUR - at_ms
    if first_ms < MS_PER_HOUR:
        yield Series(at_ms, first_ms, loads_wh[index : index + 1])
        index, at_ms = index + 1, at_ms + first_ms
    if index < until:
        yield Series(at_ms, MS_PER_HOUR, loads_wh[index:until])


def _hour_of(purse: Purse, loads_wh: Sequence[int], before: Place, after: Place) -> tuple[Place, Place]:
    """The hour in which the funds are spent: the places at its beginning and end."""
    guess = True
    while (width := after.index - before.index) > 1:
        steps = _in_proportion(purse, before, after) if guess else width // 2
        middle = _walked(purse, loads_wh, before, before.index + min(max(1, steps), width - 1))
        if spent_nano(purse, middle) >= purse.funds_nano:
            after = middle
        else:
            before = middle
        guess = not guess
    return before, after


def _in_proportion(purse: Purse, before: Place, after: Place) -> int:
    """After how many hours the funds would be spent if every hour cost the same."""
    earlier, later = spent_nano(purse, before), spent_nano(purse, after)
    return (purse.funds_nano - earlier) * (after.index - before.index) // max(1, later - earlier)


def _within(purse: Purse, before: Place, after: Place) -> int:
    start_ms, end_ms = before.state.counted_ms, after.state.counted_ms
    _, at_once_nano = cost(purse.plan, purse.account, before.state, (), max(before.state.until_ms, start_ms + 1), start_ms)
    begun_nano = spent_nano(purse, before) + at_once_nano
    missing, whole = purse.funds_nano - begun_nano, spent_nano(purse, after) - begun_nano
    if missing <= 0 or whole <= 0:
        return start_ms
    return start_ms + (end_ms - start_ms) * min(missing, whole) // whole
