"""What fails, seen over many meters: events grouped by type, maker or concentrator, and those that come again and again.

Source: I2 FR12, FR13.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, distinct, func, select

from gridtally_cloud.meters.tables import name_plate
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event, meter
from gridtally_shared.events import EventType, event_type
from gridtally_shared.records import dataclass

CHRONIC_DAYS = 30
CHRONIC_LEAST = 5

GROUPS: dict[str, ColumnElement[Any]] = {
    "driver": meter.c.driver,
    "maker": func.coalesce(name_plate.c.maker, ""),
    "model": func.coalesce(name_plate.c.model, ""),
    "firmware": func.coalesce(name_plate.c.firmware, ""),
    "commodity": meter.c.commodity,
    "dcu": event.c.dcu,
}


@dataclass(frozen=True, slots=True)
class Group:
    """`count` events of one kind on `meters` meters of a group; "" are the meters whose group nobody knows."""

    group: str
    type: EventType
    count: int
    meters: int


@dataclass(frozen=True, slots=True)
class Chronic:
    meter_no: int
    serial: str
    type: EventType
    count: int
    first_ms: int
    last_ms: int


def grouped(conn: Connection, by: str, from_ms: int, to_ms: int) -> tuple[Group, ...]:
    """Most frequent first. `by` is a key of GROUPS."""
    e, group = event.c, GROUPS[by].label("grouped_by")
    joined = event.join(meter, meter.c.meter_no == e.meter_no).outerjoin(name_plate, name_plate.c.meter_no == e.meter_no)
    count = func.count().label("n")
    query = select(group, e.code, count, func.count(distinct(e.meter_no)).label("meters")).select_from(joined)
    query = query.where(e.shard == SHARD, e.at_ms >= from_ms, e.at_ms < to_ms).group_by(group, e.code)
    rows = conn.execute(query.order_by(count.desc(), group, e.code))
    return tuple(Group(r.grouped_by or "", event_type(r.code), r.n, r.meters) for r in rows)


def chronic(conn: Connection, from_ms: int, to_ms: int, least: int = CHRONIC_LEAST) -> tuple[Chronic, ...]:
    """Meters and events that came `least` times or more, most frequent first."""
    e, count = event.c, func.count().label("n")
    columns = (e.meter_no, meter.c.serial, e.code, count, func.min(e.at_ms).label("first"), func.max(e.at_ms).label("last"))
    query = select(*columns).select_from(event.join(meter, meter.c.meter_no == e.meter_no))
    query = query.where(e.shard == SHARD, e.at_ms >= from_ms, e.at_ms < to_ms).group_by(e.meter_no, meter.c.serial, e.code)
    rows = conn.execute(query.having(count >= least).order_by(count.desc(), e.meter_no, e.code))
    return tuple(Chronic(r.meter_no, r.serial, event_type(r.code), r.n, r.first, r.last) for r in rows)
