"""What was measured in a period, from the store: use per day, data quality, the register at a boundary."""

from __future__ import annotations

from collections import Counter
from itertools import compress
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select

from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.held import channel_of as finest_channel
from gridtally_cloud.billing.model import DataQuality, DayUse, Reading
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, day_of, slots_of
from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_cloud.store.tables import reading, reading_latest
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import ENERGY_IMPORT, INTERVAL_IMPORT, Quantity

UNUSABLE = Quality.MISSING | Quality.METER_INVALID | Quality.COMM_ERROR
_r = reading.c
_REGISTERS: Select[Any] = select(_r.at_ms, _r.value, _r.quality).where(_r.shard == SHARD, _r.meter_no == bindparam("meter"),
                                                           _r.quantity == bindparam("quantity"),
                                                           _r.quality.op("&")(int(UNUSABLE)) == 0)  # fmt: skip
_NEAREST = {
    True: _REGISTERS.where(_r.at_ms <= bindparam("at")).order_by(_r.at_ms.desc()).limit(1),
    False: _REGISTERS.where(_r.at_ms > bindparam("at")).order_by(_r.at_ms).limit(1),
}
"""Built once: building a statement takes longer than running it, and a bill asks eight times."""
COUNTED = tuple(int(flag) for flag in (Quality.ESTIMATED, Quality.EDITED, Quality.UNTRUSTWORTHY))


def channel_of(conn: Connection, usage_point_no: int) -> int | None:
    """The channel of imported energy per interval; None where nothing was measured yet."""
    return finest_channel(conn, usage_point_no, INTERVAL_IMPORT)


def measured(held: Held, usage_point_no: int, from_ms: int, to_ms: int, zone: str) -> tuple[tuple[DayUse, ...], DataQuality]:
    """Use of each local day in the period and how good the intervals behind it are."""
    number = held.channel(usage_point_no, INTERVAL_IMPORT)
    if number is None:
        return (), DataQuality()
    series = held.series(number, from_ms, to_ms)
    days = range(day_of(from_ms, zone), day_of(to_ms - 1, zone) + 1)
    return tuple(_day_use(series, day, zone) for day in days), _quality(series)


def missing_of(held: Held, usage_point_no: int, from_ms: int, to_ms: int) -> int:
    """Intervals of the period that are not there; 0 where nothing was measured yet."""
    number = held.channel(usage_point_no, INTERVAL_IMPORT)
    return held.series(number, from_ms, to_ms).present.count(0) if number is not None else 0


def _day_use(series: IntervalSeries, day: int, zone: str) -> DayUse:
    slots = slots_of(day, zone, series.period_s)
    start = (slots.start_ms - series.start_ms) // (series.period_s * 1000)
    span = slice(max(0, start), max(0, start + slots.n))
    present = series.present[span]
    return DayUse(date_of(day).isoformat(), sum(compress(series.values[span], present)) if any(present) else None)


def _quality(series: IntervalSeries) -> DataQuality:
    words = Counter(compress(series.quality, series.present))
    known = words.total()
    estimated, edited, untrusted = (sum(n for word, n in words.items() if word & flag) for flag in COUNTED)
    return DataQuality(known - estimated, estimated, len(series) - known, edited, untrusted)


def register_at(conn: Connection, meter_no: int, at_ms: int, slack_ms: int) -> Reading | None:
    """The import register at an instant: a reading within `slack_ms`, the nearest one, as it is; else estimated in
    proportion to time between the readings around it. None without a reading on both sides."""
    before, after = around(conn, meter_no, at_ms)
    near = min((r for r in (before, after) if r), key=lambda r: abs(r.at_ms - at_ms), default=None)
    if near is not None and abs(near.at_ms - at_ms) <= slack_ms:
        return Reading(near.at_ms, near.value)
    if before is None or after is None:
        return None
    moved_wh = (after.value - before.value) * (at_ms - before.at_ms) // (after.at_ms - before.at_ms)
    return Reading(at_ms, before.value + moved_wh, estimated=True)


def around(conn: Connection, meter_no: int, at_ms: int) -> tuple[Row[Any] | None, Row[Any] | None]:
    """The reads next to an instant: (up to it, after it)."""
    return _register(conn, meter_no, at_ms, earlier=True), _register(conn, meter_no, at_ms, earlier=False)


def _register(conn: Connection, meter_no: int, at_ms: int, earlier: bool) -> Row[Any] | None:
    return _nearest(conn, meter_no, ENERGY_IMPORT, at_ms, earlier)


def _nearest(conn: Connection, meter_no: int, quantity: Quantity, at_ms: int, earlier: bool) -> Row[Any] | None:
    return conn.execute(_NEAREST[earlier], {"meter": meter_no, "quantity": quantity.code, "at": at_ms}).one_or_none()


def value_near(conn: Connection, meter_no: int, quantity: Quantity, at_ms: int, slack_ms: int) -> int | None:
    """A register as it was read within `slack_ms` of an instant, the nearest reading; never an estimate."""
    both = (_nearest(conn, meter_no, quantity, at_ms, earlier) for earlier in (True, False))
    near = min((r for r in both if r), key=lambda r: abs(r.at_ms - at_ms), default=None)
    return int(near.value) if near is not None and abs(near.at_ms - at_ms) <= slack_ms else None


def registers_since(conn: Connection, meter_no: int, since_ms: int, most: int = 5_000) -> list[tuple[int, int]]:
    """Time and value of the usable register readings after a time, oldest first."""
    r = reading.c
    mine = (r.shard == SHARD, r.meter_no == meter_no, r.quantity == ENERGY_IMPORT.code, r.quality.op("&")(int(UNUSABLE)) == 0)
    query = select(r.at_ms, r.value).where(*mine, r.at_ms > since_ms).order_by(r.at_ms).limit(most)
    return [(row.at_ms, row.value) for row in conn.execute(query)]


def last_register(conn: Connection, meter_no: int, at_ms: int) -> Reading | None:
    """The newest register reading up to an instant."""
    row = _register(conn, meter_no, at_ms, earlier=True)
    return Reading(row.at_ms, row.value) if row else None


def first_register(conn: Connection, meter_no: int) -> Reading | None:
    """The oldest register reading there is."""
    row = _register(conn, meter_no, -(2**62), earlier=False)
    return Reading(row.at_ms, row.value) if row else None


def newest_register_ms(conn: Connection, meter_no: int) -> int:
    """When the register was last read; 0 when never."""
    r = reading_latest.c
    query = select(r.at_ms).where(r.shard == SHARD, r.meter_no == meter_no, r.quantity == ENERGY_IMPORT.code)
    return conn.execute(query).scalar_one_or_none() or 0
