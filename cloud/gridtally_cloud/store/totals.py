"""Totals of local days and months, so that charts, bills and VEE need not open blocks.

* `usage_day` has a row a channel and local day, kept up from the first value that comes in; what stands counts, estimates too. `present`
  counts measured values only, so a day is complete (`COMPLETE`) where no estimate stands in for a value.
* `usage_month` is the sum of its days, nothing else: made when the last day of the month is closed, by the sum over `usage_day`, and made
  anew in the transaction of every later change of one of its days. So a total never disagrees with its days, whatever is restated; a
  test holds that. A month without a row (open, or without its last day) is summed when it is asked for.
* Every write of either table goes through this module. The caller holds the usage points (`hold_points`), so on PostgreSQL nobody
  changes a day of theirs between the sum and the end of the transaction.

Source: mdm.md F.3; performance.md section 8 (what a row of totals costs).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import days_of_month, month_no
from gridtally_cloud.store.db import add_all, dialect_of, put_rows
from gridtally_cloud.store.tables import usage_day, usage_month
from gridtally_shared.records import dataclass

_u, _m = usage_day.c, usage_month.c
COMPLETE = _u.present >= _u.expected
CHANNELS_AT_ONCE = 2_000
"""In one statement; SQLite takes 32,766 values."""


class DaySum(NamedTuple):
    """`present` of `expected` intervals were measured; `total` has what stands for the others too."""

    day: int
    channel_no: int
    total: int
    present: int
    expected: int


@dataclass(frozen=True, slots=True)
class MonthSum:
    """The sums over the `days` of a month of which there is anything."""

    total: int
    days: int
    present: int
    expected: int


_COLUMNS = ("shard", "day", "channel_no", "total", "present", "expected")


def save_days(conn: Connection, days: Sequence[DaySum]) -> None:
    """Put the totals of closed days in the place of those there are; their months are kept up with them, and begin with their last day."""
    put_rows(conn, usage_day, _COLUMNS, [(SHARD, *day) for day in sorted(days)], replace=True, in_order=True)
    _keep_months(conn, days, begin=True)


def add_days(conn: Connection, days: Sequence[DaySum]) -> None:
    """Add to the totals and counts of open days; months there are, are kept up with them."""
    rows = [{"shard": SHARD, "day": d.day, "channel_no": d.channel_no, "total": d.total, "present": d.present, "expected": d.expected}
            for d in days]  # fmt: skip
    add_all(conn, usage_day, rows, ("total", "present"))
    _keep_months(conn, days, begin=False)


# ---- months ---------------------------------------------------------------------------------------------------

_CHANNELS: Any = bindparam("channels", expanding=True)
_TOTAL, _PRESENT, _EXPECTED = (func.coalesce(func.sum(column), 0) for column in (_u.total, _u.present, _u.expected))
_SUMS = (_TOTAL, func.count(), _PRESENT, _EXPECTED)
_OF_MONTH = (_u.shard == SHARD, _u.day.in_(bindparam("days", expanding=True)), _u.channel_no.in_(_CHANNELS))
_SUMMED = (select(_u.shard, bindparam("month", type_=_m.month.type), _u.channel_no, *_SUMS)
           .where(*_OF_MONTH).group_by(_u.shard, _u.channel_no))  # fmt: skip
_ANY = (select(_m.channel_no).where(_m.shard == SHARD, _m.month == bindparam("month"),
                                    _m.channel_no.between(bindparam("first"), bindparam("last"))).limit(1))  # fmt: skip
_THERE = select(_m.channel_no).where(_m.shard == SHARD, _m.month == bindparam("month"), _m.channel_no.in_(_CHANNELS))


@cache
def _sum_up(dialect: str) -> Any:
    columns = [c.name for c in usage_month.columns]
    insert = dialect_of(dialect).insert(usage_month).from_select(columns, _SUMMED)
    return insert.on_conflict_do_update(index_elements=columns[:3], set_={name: insert.excluded[name] for name in columns[3:]})


def _keep_months(conn: Connection, days: Iterable[DaySum], begin: bool) -> None:
    """Sum up the months of these days that have a row, and with `begin` those whose last day is among them."""
    by_day: dict[int, set[int]] = {}
    for day in days:
        by_day.setdefault(day.day, set()).add(day.channel_no)
    touched: dict[int, set[int]] = {}
    ended: dict[int, set[int]] = {}
    for day_no, channels in by_day.items():
        month = month_no(day_no)
        touched.setdefault(month, set()).update(channels)
        if begin and day_no == days_of_month(month)[-1]:
            ended[month] = channels
    for month, channels in sorted(touched.items()):
        over = ended.get(month, set())
        sum_up(conn, month, over | _there(conn, month, channels - over))


def _there(conn: Connection, month: int, channels: set[int]) -> set[int]:
    """Those of which there is a row; mostly nobody's month has one yet, which one look tells."""
    if not channels or conn.execute(_ANY, {"month": month, "first": min(channels), "last": max(channels)}).first() is None:
        return set()
    return {no for some in _lots(sorted(channels)) for no in conn.execute(_THERE, {"month": month, "channels": some}).scalars()}


def sum_up(conn: Connection, month: int, channels: Iterable[int]) -> None:
    """Make the rows of a month out of its days, or make them anew."""
    for some in _lots(sorted(channels)):
        conn.execute(_sum_up(conn.dialect.name), {"month": month, "days": list(days_of_month(month)), "channels": some})


def _lots(channels: list[int]) -> Iterable[list[int]]:
    numbers = iter(channels)
    while some := list(islice(numbers, CHANNELS_AT_ONCE)):
        yield some


_MONTH = select(_m.total, _m.days, _m.present, _m.expected).where(
    _m.shard == SHARD, _m.month == bindparam("month"), _m.channel_no == bindparam("channel_no")
)
_BY_DAYS = select(*_SUMS).where(*_OF_MONTH)


def month_sum(conn: Connection, channel_no: int, month: int) -> MonthSum:
    """The month of a channel; of one that is not over so far."""
    row = conn.execute(_MONTH, {"month": month, "channel_no": channel_no}).first()
    if row is None:
        row = conn.execute(_BY_DAYS, {"days": list(days_of_month(month)), "channels": [channel_no]}).one()
    return MonthSum(*map(int, row))
