"""Events of meters and DCUs, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event, meter
from gridtally_cloud.web.reads.usage import Interval
from gridtally_shared.events import EVENT_TYPES, EventType, event_type
from gridtally_shared.records import dataclass

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
           from_ms: int | None = None, to_ms: int | None = None, limit: int = 50,
           usage_point_no: int | None = None) -> tuple[EventRow, ...]:  # fmt: skip
    """Newest first by (time, number), below `before`; within [from_ms, to_ms) where given. `usage_point_no`: of every meter that
    was installed there, while it was."""
    e = event.c
    query = select(event, meter.c.serial).select_from(event.outerjoin(meter, meter.c.meter_no == e.meter_no))
    query = query.where(e.shard == SHARD)
    narrowed = (
        e.meter_no == meter_no if meter_no is not None else None,
        _while_installed(usage_point_no) if usage_point_no is not None else None,
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


def _while_installed(usage_point_no: int) -> ColumnElement[bool]:
    at_ms, m = event.c.at_ms, meter.c
    not_removed = or_(m.removed_ms.is_(None), at_ms <= m.removed_ms)
    return and_(m.usage_point_no == usage_point_no, at_ms >= m.installed_ms, not_removed)


def names_by_interval(conn: Connection, meter_no: int, intervals: Sequence[Interval]) -> dict[int, tuple[str, ...]]:
    """What a meter reported, by the start of the interval it happened in, in order of time. `intervals` follow one another."""
    if not intervals:
        return {}
    e, step_ms, first_ms = event.c, intervals[0].period_s * 1_000, intervals[0].start_ms
    where = (e.shard == SHARD, e.meter_no == meter_no, e.at_ms >= first_ms, e.at_ms < intervals[-1].start_ms + step_ms)
    found: dict[int, tuple[str, ...]] = {}
    for row in conn.execute(select(e.code, e.at_ms).where(*where).order_by(e.at_ms, e.event_no)):
        start_ms = first_ms + (row.at_ms - first_ms) // step_ms * step_ms
        found[start_ms] = (*found.get(start_ms, ()), event_type(row.code).name)
    return found
