"""Concentrators that can not be reached: one report for each silence, one when it speaks again (I2-S2-trig).

* Gone is who died by the broker's word (its will) and has not come back within `GRACE_S`, and who serves meters and has said nothing
  for `UNHEARD_MS`, though its connection seems to stand.
* The report is an event of the concentrator. Its meters are not reported: nobody has asked them, so nobody knows of them.
  A meter that does not answer its concentrator is that one's own report (`meter_silent`).
* What was reported is remembered by the events themselves: the last of the two says how things stand.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, Row, func, insert, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu, event, meter
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.events import BY_NAME

GRACE_S = 60
UNHEARD_MS = 2 * MS_PER_HOUR
UNHEARD_S = 180
SILENT, BACK = BY_NAME["dcu_silent"].code, BY_NAME["dcu_back"].code


def watch(db: Database, now_ms: int, factor: float = 1.0) -> int:
    """Report what has changed; how many reports were made. `factor`: how fast the clock runs against real seconds."""
    with db.read() as conn:
        if not _reports(conn, now_ms, factor):
            return 0
    with db.write() as conn:
        reports = _reports(conn, now_ms, factor)
        for name, code, detail in reports:
            row = {"shard": SHARD, "dcu": name, "meter_no": 0, "code": code, "at_ms": now_ms, "detail": detail, "received_ms": now_ms}
            conn.execute(insert(event).values(row))
    return len(reports)


def _reports(conn: Connection, now_ms: int, factor: float) -> list[tuple[str, int, str]]:
    """(concentrator, event, detail) of those whose state is another than the one told last."""
    told, served = _told_silent(conn), _served(conn)
    found = []
    for row in conn.execute(select(dcu).where(dcu.c.state == "active", dcu.c.last_contact_ms.is_not(None)).order_by(dcu.c.dcu)):
        silent = _is_silent(row, now_ms, factor, row.dcu in served)
        if silent and row.dcu not in told:
            found.append((row.dcu, SILENT, f"last heard {datetime.fromtimestamp(row.last_contact_ms // 1000, UTC):%Y-%m-%d %H:%M}Z"))
        elif row.dcu in told and not silent and row.online:
            found.append((row.dcu, BACK, ""))
    return found


def _is_silent(row: Row[tuple[object, ...]], now_ms: int, factor: float, serves: bool) -> bool:
    quiet_ms = now_ms - row.last_contact_ms
    if not row.online:
        return bool(quiet_ms >= GRACE_S * 1000 * factor)
    return serves and bool(quiet_ms >= max(UNHEARD_MS, UNHEARD_S * 1000 * factor))


def _told_silent(conn: Connection) -> frozenset[str]:
    """Whose last report says silent."""
    e = event.c
    last = select(func.max(e.event_no)).where(e.shard == SHARD, e.meter_no == 0, e.code.in_((SILENT, BACK))).group_by(e.dcu)
    return frozenset(conn.execute(select(e.dcu).where(e.event_no.in_(last), e.code == SILENT)).scalars())


def _served(conn: Connection) -> frozenset[str]:
    """Concentrators that have meters to speak of."""
    return frozenset(conn.execute(select(meter.c.dcu).where(meter.c.removed_ms.is_(None), meter.c.dcu.is_not(None)).distinct()).scalars())
