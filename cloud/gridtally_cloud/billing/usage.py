"""What was measured in a period, from the store: use per day, data quality, the register at a boundary."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from gridtally_cloud.billing.model import DataQuality, DayUse, Reading
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, day_of, slots_of
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_cloud.store.tables import channel, reading, reading_latest
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import ENERGY_IMPORT, INTERVAL_IMPORT

UNUSABLE = Quality.MISSING | Quality.METER_INVALID | Quality.COMM_ERROR


def channel_of(conn: Connection, usage_point_no: int) -> int | None:
    """The channel of imported energy per interval; None where nothing was measured yet."""
    c = channel.c
    mine = select(c.channel_no).where(c.usage_point_no == usage_point_no, c.quantity == INTERVAL_IMPORT.code)
    return conn.execute(mine.order_by(c.period_s, c.channel_no).limit(1)).scalar_one_or_none()


def measured(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int,
             zone: str) -> tuple[tuple[DayUse, ...], DataQuality]:  # fmt: skip
    """Use of each local day in the period and how good the intervals behind it are."""
    number = channel_of(conn, usage_point_no)
    if number is None:
        return (), DataQuality()
    series = read_intervals(conn, number, from_ms, to_ms)
    days = range(day_of(from_ms, zone), day_of(to_ms - 1, zone) + 1)
    return tuple(_day_use(series, day, zone) for day in days), _quality(series)


def _day_use(series: IntervalSeries, day: int, zone: str) -> DayUse:
    slots = slots_of(day, zone, series.period_s)
    start = (slots.start_ms - series.start_ms) // (series.period_s * 1000)
    span = range(max(0, start), max(0, min(len(series), start + slots.n)))
    known = [series.values[i] for i in span if series.present[i]]
    return DayUse(date_of(day).isoformat(), sum(known) if known else None)


def _quality(series: IntervalSeries) -> DataQuality:
    words = [word for i, word in enumerate(series.quality) if series.present[i]]
    estimated, edited, untrusted = (
        sum(1 for word in words if word & flag) for flag in (Quality.ESTIMATED, Quality.EDITED, Quality.UNTRUSTWORTHY)
    )
    return DataQuality(len(words) - estimated, estimated, len(series) - len(words), edited, untrusted)


def register_at(conn: Connection, meter_no: int, at_ms: int, slack_ms: int) -> Reading | None:
    """The import register at an instant: a reading within `slack_ms`, the nearest one, as it is; else estimated in
    proportion to time between the readings around it. None without a reading on both sides."""
    before = _register(conn, meter_no, at_ms, earlier=True)
    after = _register(conn, meter_no, at_ms, earlier=False)
    near = min((r for r in (before, after) if r), key=lambda r: abs(r.at_ms - at_ms), default=None)
    if near is not None and abs(near.at_ms - at_ms) <= slack_ms:
        return Reading(near.at_ms, near.value)
    if before is None or after is None:
        return None
    moved_wh = (after.value - before.value) * (at_ms - before.at_ms) // (after.at_ms - before.at_ms)
    return Reading(at_ms, before.value + moved_wh, estimated=True)


def _register(conn: Connection, meter_no: int, at_ms: int, earlier: bool) -> Row[Any] | None:
    r = reading.c
    mine: Select[Any] = select(r.at_ms, r.value).where(r.shard == SHARD, r.meter_no == meter_no, r.quantity == ENERGY_IMPORT.code,
                                          r.quality.op("&")(int(UNUSABLE)) == 0)  # fmt: skip
    side = mine.where(r.at_ms <= at_ms).order_by(r.at_ms.desc()) if earlier else mine.where(r.at_ms > at_ms).order_by(r.at_ms)
    return conn.execute(side.limit(1)).one_or_none()


def registers_since(conn: Connection, meter_no: int, since_ms: int, most: int = 5_000) -> list[tuple[int, int]]:
    """Time and value of the usable register readings after a time, oldest first."""
    r = reading.c
    mine = (r.shard == SHARD, r.meter_no == meter_no, r.quantity == ENERGY_IMPORT.code, r.quality.op("&")(int(UNUSABLE)) == 0)
    query = select(r.at_ms, r.value).where(*mine, r.at_ms > since_ms).order_by(r.at_ms).limit(most)
    return [(row.at_ms, row.value) for row in conn.execute(query)]


def first_register(conn: Connection, meter_no: int) -> Reading | None:
    """The oldest register reading there is."""
    row = _register(conn, meter_no, -(2**62), earlier=False)
    return Reading(row.at_ms, row.value) if row else None


def newest_register_ms(conn: Connection, meter_no: int) -> int:
    """When the register was last read; 0 when never."""
    r = reading_latest.c
    query = select(r.at_ms).where(r.shard == SHARD, r.meter_no == meter_no, r.quantity == ENERGY_IMPORT.code)
    return conn.execute(query).scalar_one_or_none() or 0
