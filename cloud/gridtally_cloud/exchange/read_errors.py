"""Errors of readings themselves, told to whoever gets them: a reading that could not be registered, or not recorded.

* They come as events of the meters. Each is recorded once for every recipient whose schedules hold the usage point, with the event's own
  instant in its text.
* A worker that was away makes good `BACK_MS`; what happened before a schedule was made concerns nobody.

Source: ETSI TR 102 691, 5.2.3 (alternative flow 1, a and b).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, exists, select

from gridtally_cloud.exchange.deliveries import ErrorType, report_error
from gridtally_cloud.exchange.recipient_tables import delivery_error
from gridtally_cloud.exchange.schedules import Schedule, all_schedules
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import event, meter
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.events import BY_NAME

TYPE_OF: dict[str, ErrorType] = {
    "clock_invalid": ErrorType.NOT_REGISTERED,
    "memory_failed": ErrorType.NOT_RECORDED,
    "metrology_failed": ErrorType.NOT_REGISTERED,
}
"""Events that mean there is no reading, or none that was kept."""
OF_CODE = {BY_NAME[name].code: (name, what) for name, what in TYPE_OF.items()}
BACK_MS = 7 * MS_PER_DAY


def tell_recipients(db: Database, now_ms: int) -> int:
    """How many errors are new."""
    with db.read() as conn:
        found = [(schedule, row) for schedule in all_schedules(conn) if schedule.recipient for row in _events(conn, schedule, now_ms)]
    if not found:
        return 0
    with db.write() as conn:
        return sum(_report(conn, schedule, row, now_ms) for schedule, row in found)


def _report(conn: Connection, schedule: Schedule, row: Any, now_ms: int) -> bool:
    name, what = OF_CODE[row.code]
    detail = f"{name} at {utc_text(row.at_ms)}: meter {row.serial}, usage point {row.usage_point_no} {row.detail}".rstrip()
    return report_error(conn, schedule.recipient, what, f"event:{row.event_no}", detail, now_ms)


def _events(conn: Connection, schedule: Schedule, now_ms: int) -> list[Any]:
    """Of the schedule's usage points, not yet recorded for its recipient."""
    e, m, d = event.c, meter.c, delivery_error.c
    told = exists().where(d.recipient == schedule.recipient, d.ref == _REF)
    recent = and_(e.shard == SHARD, e.at_ms >= max(schedule.made_ms, now_ms - BACK_MS), e.code.in_(OF_CODE), ~told)
    query = select(event, m.serial, m.usage_point_no).join(meter, m.meter_no == e.meter_no).where(recent).order_by(e.event_no)
    if schedule.points:
        query = query.where(m.usage_point_no.in_(schedule.points))
    return list(conn.execute(query))


_REF = "event:" + event.c.event_no.cast(delivery_error.c.ref.type)
