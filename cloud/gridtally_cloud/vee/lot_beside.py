"""What vee/beside.py says of a day beside its channel, out of what was read for a lot: rates and demand, reactive and apparent channels,
months.

* Totals of days before (months; whether there ever was reactive energy) are those of a store in which earlier days were judged: whoever
  asks has to take care of that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache

from sqlalchemy import Connection, bindparam, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, days_of_month
from gridtally_cloud.store.tables import usage_day, usage_month
from gridtally_cloud.store.totals import MonthSum
from gridtally_cloud.vee.across import Beside, Month
from gridtally_cloud.vee.among import Among
from gridtally_cloud.vee.beside import DEMAND, RATES, TOTAL, VAH, demand_of, had_any, month_of, months_to_compare, rates_of
from gridtally_cloud.vee.checks import BY_RULE
from gridtally_cloud.vee.lot import Lot
from gridtally_cloud.vee.model import RegisterSample, Stretch
from gridtally_cloud.vee.near import Ref
from gridtally_shared.records import dataclass

Compared = tuple[Month | None, Month | None]


@dataclass(frozen=True, slots=True)
class _Others:
    """Reactive and apparent energy of a day; None where they are not whole."""

    varh: list[int] | None = None
    vah: list[int] | None = None
    varh_channels: tuple[int, ...] = ()


def is_asked(ref: Ref) -> bool:
    """Whether the channel is one that is held against others."""
    return _ACROSS.applies(ref.unit, ref.direction)


_ACROSS = BY_RULE["high_low"]


@lru_cache(maxsize=64)
def ends_month(day: int) -> bool:
    return date_of(day + 1).month != date_of(day).month


def is_plain(lot: Lot, ref: Ref, day: int) -> bool:
    """Nothing is known beside the day that could say anything against it."""
    return (
        not is_asked(ref)
        or (not (ends_month(day) or ref.usage_point_no in lot.others)
        and not (lot.rates and any(row.meter_no in lot.with_rates for row in lot.meters.get(ref.usage_point_no, ()))))
    )


def looks_back(lot: Lot, ref: Ref, day: int) -> bool:
    """Whether days before are asked for their totals."""
    return is_asked(ref) and (ends_month(day) or ref.usage_point_no in lot.others)


def beside_of(conn: Connection, lot: Lot, ref: Ref, part: Stretch, day: int, compared: Compared) -> Beside | None:
    """All that the rules across channels ask for; what is not whole is left out. A second meter makes the usage point's registers say
    nothing. None where another channel is not on its grid."""
    meters = lot.meters.get(ref.usage_point_no, [])
    reads = _reads_of(lot, meters[0].meter_no, part) if len(meters) == 1 else {}
    total_moved, rates_moved = rates_of(reads)
    others = _others(lot, ref, day)
    if any(other.channel_no in lot.odd for other in lot.others.get(ref.usage_point_no, ())):
        return None
    asks_back = others.varh is not None and not sum(others.varh)
    month, reference = compared
    return Beside(
        varh=others.varh, vah=others.vah, had_varh=asks_back and had_any(conn, others.varh_channels, day), total_moved=total_moved,
        rates_moved=rates_moved, step=max((row.register_step_wh for row in meters), default=0) or 1, month=month, reference=reference,
        demand_w=demand_of(reads, part),
    )  # fmt: skip


def _others(lot: Lot, ref: Ref, day: int) -> _Others:
    others = [other for other in lot.others.get(ref.usage_point_no, ()) if other.period_s == ref.period_s]
    if not others:
        return _NONE
    vah = [other for other in others if other.quantity == VAH]
    varh = [other for other in others if other.quantity != VAH]
    columns = [_whole(lot, other, day) for other in varh]
    summed = [sum(each) for each in zip(*columns, strict=True)] if columns and all(columns) else None  # type: ignore[arg-type]
    return _Others(summed, _whole(lot, vah[0], day) if vah else None, tuple(other.channel_no for other in varh))


_NONE = _Others()


def _whole(lot: Lot, ref: Ref, day: int) -> list[int] | None:
    held = lot.columns(day, ref)
    return list(held.values) if held is not None and held.is_whole else None


def _reads_of(lot: Lot, meter_no: int, day: Stretch) -> dict[int, dict[int, int]]:
    reads: dict[int, dict[int, int]] = {}
    if meter_no in lot.with_rates:
        for quantity in (TOTAL, DEMAND, *RATES):
            for sample in within(lot.rates.get((meter_no, quantity), []), day):
                reads.setdefault(sample.at_ms, {})[quantity] = sample.value
    return reads


def within(reads: list[RegisterSample], stretch: Stretch) -> list[RegisterSample]:
    """Those of a stretch, both ends included."""
    first = bisect_left(reads, stretch.start_ms, key=_at)
    return reads[first : bisect_right(reads, stretch.start_of(len(stretch)), key=_at)]


def _at(sample: RegisterSample) -> int:
    return sample.at_ms


def compared_months(conn: Connection, channels: Iterable[int], day: int) -> dict[int, Compared]:
    """(the month that ends with the day, what it is compared with) of each channel; nothing on other days."""
    if not ends_month(day):
        return {}
    numbers, (this, year_ago, before) = sorted(set(channels)), months_to_compare(day)
    now, then = _months(conn, numbers, this), _months(conn, numbers, year_ago)
    last = _months(conn, [no for no in numbers if not then[no].days], before)
    return {no: (now[no], last.get(no, then[no])) for no in numbers}


_m, _u = usage_month.c, usage_day.c
_MONTHS = Among(select(_m.channel_no, _m.total, _m.days, _m.present, _m.expected)
                .where(_m.shard == SHARD, _m.month == bindparam("month")), _m.channel_no)  # fmt: skip
_BY_DAYS = (select(_u.channel_no, func.sum(_u.total), func.count(), func.sum(_u.present), func.sum(_u.expected))
            .where(_u.shard == SHARD, _u.day.in_(bindparam("days", expanding=True)),
                   _u.channel_no.in_(bindparam("channels", expanding=True)))
            .group_by(_u.channel_no))  # fmt: skip
_NOTHING = month_of(MonthSum(0, 0, 0, 0))


def _months(conn: Connection, channels: list[int], month: int) -> dict[int, Month]:
    """`month_sum` of many channels."""
    found = {number: month_of(MonthSum(*map(int, sums))) for number, *sums in _MONTHS.rows(conn, channels, month=month)}
    left = [number for number in channels if number not in found]
    by_days = conn.execute(_BY_DAYS, {"days": list(days_of_month(month)), "channels": left}) if left else ()
    found |= {number: month_of(MonthSum(*map(int, sums))) for number, *sums in by_days}
    return {number: found.get(number, _NOTHING) for number in channels}
