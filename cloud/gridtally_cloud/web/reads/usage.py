"""Consumption of one usage point for charts, tables and the API: intervals of the import channel, and daily totals.

Raw and final values are read by `store.intervals` in one way for everybody; this module only finds the channel and asks.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_cloud.store.tables import channel, usage_day
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME, INTERVAL_IMPORT
from gridtally_shared.records import dataclass
from gridtally_shared.usage_days import DayTotal

INTERVAL_EXPORT = BY_NAME["interval_export_wh"]
NET = "net"
_CHANNELS = {"import": INTERVAL_IMPORT.code, "export": INTERVAL_EXPORT.code}
DIRECTIONS = (*_CHANNELS, NET)


@dataclass(frozen=True, slots=True)
class Interval:
    """`wh` is None where nothing is known of the interval."""

    start_ms: int
    period_s: int
    wh: int | None
    estimated: bool = False
    quality: int = 0


@dataclass(frozen=True, slots=True)
class ChannelKey:
    channel_no: int
    period_s: int


def channel_of(conn: Connection, usage_point_no: int, quantity: int = INTERVAL_IMPORT.code) -> ChannelKey | None:
    """The channel of a quantity with the finest intervals; None before the first data."""
    c = channel.c
    query = select(c.channel_no, c.period_s).where(c.usage_point_no == usage_point_no, c.quantity == quantity)
    row = conn.execute(query.order_by(c.period_s).limit(1)).one_or_none()
    return ChannelKey(row.channel_no, row.period_s) if row else None


def intervals(
    conn: Connection, usage_point_no: int, from_ms: int, to_ms: int, quantity: int = INTERVAL_IMPORT.code
) -> tuple[Interval, ...]:
    """Intervals that start in [from_ms, to_ms), of consumption unless said otherwise; empty where there is no channel yet."""
    key = channel_of(conn, usage_point_no, quantity)
    if key is None or to_ms <= from_ms:
        return ()
    return tuple(_rows(read_intervals(conn, key.channel_no, from_ms, to_ms)))


def net_intervals(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int) -> tuple[Interval, ...]:
    """Consumption less what went back to the grid; unknown where either is. A meter that counts one way gives back nothing."""
    given = {i.start_ms: i for i in intervals(conn, usage_point_no, from_ms, to_ms, INTERVAL_EXPORT.code)}
    taken = intervals(conn, usage_point_no, from_ms, to_ms)
    return tuple(_less(i, given.get(i.start_ms)) for i in taken) if given else taken


def _less(taken: Interval, given: Interval | None) -> Interval:
    if given is None or taken.wh is None or given.wh is None:
        return replace(taken, wh=None)
    return Interval(
        taken.start_ms, taken.period_s, taken.wh - given.wh, taken.estimated or given.estimated, taken.quality | given.quality
    )  # fmt: skip


def in_direction(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int, way: str) -> tuple[Interval, ...]:
    """`way` is one of DIRECTIONS."""
    if way == NET:
        return net_intervals(conn, usage_point_no, from_ms, to_ms)
    return intervals(conn, usage_point_no, from_ms, to_ms, _CHANNELS[way])


def _rows(series: IntervalSeries) -> list[Interval]:
    step = series.period_s * 1000
    return [
        Interval(series.start_ms + i * step, series.period_s, series.values[i] if series.present[i] else None,
                 bool(series.quality[i] & Quality.ESTIMATED), series.quality[i])
        for i in range(len(series))
    ]  # fmt: skip


def day_totals(conn: Connection, usage_point_no: int, first_day: int, last_day: int) -> tuple[DayTotal, ...]:
    """Totals of the local days `first_day` to `last_day` that hold any data."""
    key = channel_of(conn, usage_point_no)
    if key is None:
        return ()
    u = usage_day.c
    where = (u.shard == SHARD, u.channel_no == key.channel_no, u.day >= first_day, u.day <= last_day)
    rows = conn.execute(select(u.day, u.total, u.present, u.expected).where(*where).order_by(u.day))
    return tuple(DayTotal(r.day, r.total, r.present, r.expected) for r in rows)
