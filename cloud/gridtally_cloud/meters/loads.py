"""Load above its limit: which meter told of it, when, how high its maximum demand stood, and what limit it had.

* Two say so: the meter's own log (`overloaded`), and the concentrator that holds the limit of an account (`load_limit_exceeded`).
* The demand stands in the event (md_w), read from the meter when it told of the violation; the limit does too where the
  concentrator holds it (limit_w), else it is the meter's own, as read back or ordered.

Source: BYPL-9.1.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, and_, or_, select

from gridtally_cloud.meters.tables import meter_setting
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event, meter, usage_point
from gridtally_shared.events import BY_NAME, EventType, event_type
from gridtally_shared.meter_settings import LoadLimit, Setting, SettingKind, unpacked
from gridtally_shared.records import dataclass

CODES = tuple(BY_NAME[name].code for name in ("overloaded", "load_limit_exceeded"))
_NUMBER = re.compile(r"(?:^| )(\w+)=(\d{1,12})(?: |$)")


@dataclass(frozen=True, slots=True)
class Violation:
    """None: nobody told."""

    event_no: int
    meter_no: int
    serial: str
    address: str
    type: EventType
    at_ms: int
    demand_w: int | None
    limit_w: int | None


def violations(conn: Connection, from_ms: int, to_ms: int, before: tuple[int, int] | None = None, limit: int = 50) -> tuple[Violation, ...]:
    """Within [from_ms, to_ms), newest first by (time, number), below `before`."""
    e, s = event.c, meter_setting
    joined = event.join(meter, meter.c.meter_no == e.meter_no)
    joined = joined.outerjoin(usage_point, usage_point.c.usage_point_no == meter.c.usage_point_no)
    joined = joined.outerjoin(s, and_(s.c.meter_no == e.meter_no, s.c.kind == int(SettingKind.LOAD_LIMIT)))
    columns = (*event.c, meter.c.serial, usage_point.c.address, s.c.reported, s.c.wanted)
    query = select(*columns).select_from(joined).where(e.shard == SHARD, e.code.in_(CODES), e.at_ms >= from_ms, e.at_ms < to_ms)
    if before is not None:
        query = query.where(or_(e.at_ms < before[0], and_(e.at_ms == before[0], e.event_no < before[1])))
    found = []
    for r in conn.execute(query.order_by(e.at_ms.desc(), e.event_no.desc()).limit(limit)):
        told = {name: int(number) for name, number in _NUMBER.findall(r.detail.replace(" ", "  "))}
        limit_w = told.get("limit_w", _own_limit_w(r.reported or r.wanted))
        found.append(Violation(r.event_no, r.meter_no, r.serial, r.address or "", event_type(r.code), r.at_ms, told.get("md_w"), limit_w))
    return tuple(found)


def _own_limit_w(body: bytes | None) -> int | None:
    record = unpacked(Setting(int(SettingKind.LOAD_LIMIT), bytes(body))) if body else None
    return record.threshold_w or None if isinstance(record, LoadLimit) else None
