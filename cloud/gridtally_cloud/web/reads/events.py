"""Events of meters and DCUs, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event, meter
from gridtally_shared.events import EVENT_TYPES, EventType, event_type

URGENT_CODES = tuple(e.code for e in EVENT_TYPES if e.urgent)


@dataclass(frozen=True, slots=True)
class EventRow:
    """`meter_no` 0 stands for the DCU itself."""

    event_no: int
    dcu: str
    meter_no: int
    serial: str
    type: EventType
    at_ms: int
    received_ms: int
    detail: str


def events(conn: Connection, *, meter_no: int | None = None, urgent_only: bool = False, before: tuple[int, int] | None = None,
           from_ms: int | None = None, to_ms: int | None = None, limit: int = 50) -> tuple[EventRow, ...]:  # fmt: skip
    """Newest first by (time, number), below `before`; within [from_ms, to_ms) where given."""
    e = event.c
    query = select(event, meter.c.serial).select_from(event.outerjoin(meter, meter.c.meter_no == e.meter_no))
    query = query.where(e.shard == SHARD)
    narrowed = (
        e.meter_no == meter_no if meter_no is not None else None,
        e.code.in_(URGENT_CODES) if urgent_only else None,
        e.at_ms >= from_ms if from_ms is not None else None,
        e.at_ms < to_ms if to_ms is not None else None,
    )
    query = query.where(*(condition for condition in narrowed if condition is not None))
    if before is not None:
        query = query.where(or_(e.at_ms < before[0], and_(e.at_ms == before[0], e.event_no < before[1])))
    rows = conn.execute(query.order_by(e.at_ms.desc(), e.event_no.desc()).limit(limit))
    return tuple(
        EventRow(r.event_no, r.dcu, r.meter_no, r.serial or "", event_type(r.code), r.at_ms, r.received_ms, r.detail)
        for r in rows
    )
