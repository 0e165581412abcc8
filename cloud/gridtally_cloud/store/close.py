"""Closes local days: what waits in the inbox becomes packed blocks; and drops what is old enough.

* A day closes when it is over and complete, or `GRACE_MS` after its end however incomplete it is.
* Version 0 is what came first, never altered. What came later and better is the next version; a value that contradicts
  an earlier one is a version of its own, not approved: it waits for a person (mdm.md B.4).
* Packing, totals and the removal from the inbox are one transaction a channel-day.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, insert, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import DaySlots, slots_of
from gridtally_cloud.store.db import Database, upsert
from gridtally_cloud.store.inbox import SUMMED_UNITS, save_usage
from gridtally_cloud.store.intervals import (
    ChannelRef,
    Slots,
    channel_ref,
    day_slots,
    inbox_days,
    inbox_slots,
    pack,
)
from gridtally_cloud.store.tables import interval_block, interval_inbox, reading, vee_run
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.quantities import QUANTITIES, Kind

GRACE_MS = 24 * MS_PER_HOUR
KEEP_INSTANT_MS = 45 * MS_PER_DAY
KEEP_REGISTER_MS = 800 * MS_PER_DAY
PENDING = "pending"


def close_days(db: Database, now_ms: int) -> int:
    """Close every day that is ready. How many channel-days were packed."""
    with db.read() as conn:
        ready = [(day, number) for day, number in inbox_days(conn) if _ready(conn, day, number, now_ms)]
    for day, number in ready:
        with db.write() as conn:
            close_day(conn, day, number, now_ms)
    return len(ready)


def _ready(conn: Connection, day: int, channel_no: int, now_ms: int) -> bool:
    ref, period_s = channel_ref(conn, channel_no)
    slots = slots_of(day, ref.zone, period_s)
    if now_ms < slots.end_ms:
        return False
    if now_ms >= slots.end_ms + GRACE_MS:
        return True
    return sum(s.value is not None for s in day_slots(conn, channel_no, day).values()) >= slots.n


def close_day(conn: Connection, day: int, channel_no: int, now_ms: int) -> None:
    """Pack one channel-day. Running it again with an empty inbox changes nothing."""
    ref, period_s = channel_ref(conn, channel_no)
    grid = slots_of(day, ref.zone, period_s)
    first, last = inbox_slots(conn, channel_no, day, conflict=False)
    other, _ = inbox_slots(conn, channel_no, day, conflict=True)
    version = _next_version(conn, day, channel_no)
    before = day_slots(conn, channel_no, day)
    if version == 0 and first:
        _save(conn, ref, grid, 0, first, "raw", True, now_ms)
        version = 1
        late = last if last != first else {}
    else:
        late = before if first else {}
    if late:
        _save(conn, ref, grid, version, before, "late", True, now_ms)
        version += 1
    if other:
        _save(conn, ref, grid, version, before | other, "conflict", False, now_ms)
    i = interval_inbox.c
    conn.execute(delete(interval_inbox).where(and_(i.shard == SHARD, i.day == day, i.channel_no == channel_no)))
    if ref.unit in SUMMED_UNITS:
        save_usage(conn, ref, day, period_s, day_slots(conn, channel_no, day), now_ms)
    mark_pending(conn, day, channel_no, _next_version(conn, day, channel_no) - 1, now_ms)


def _next_version(conn: Connection, day: int, channel_no: int) -> int:
    b = interval_block.c
    where = and_(b.shard == SHARD, b.day == day, b.channel_no == channel_no)
    return int(conn.execute(select(func.coalesce(func.max(b.version), -1)).where(where)).scalar_one()) + 1


def _save(conn: Connection, ref: ChannelRef, grid: DaySlots, version: int, slots: Slots, source: str, approved: bool,
          now_ms: int) -> None:  # fmt: skip
    blob, quality = pack(slots, grid.start_ms, grid.period_s, grid.n)
    row = {"shard": SHARD, "day": grid.day, "channel_no": ref.channel_no, "version": version, "n": grid.n,
           "start_utc_ms": grid.start_ms, "period_s": grid.period_s, "blob": blob, "quality": quality, "source": source,
           "approved": approved, "created_ms": now_ms}  # fmt: skip
    conn.execute(insert(interval_block).values(row))


def mark_pending(conn: Connection, day: int, channel_no: int, version: int, now_ms: int) -> None:
    """A channel-day was closed or has a new version: judge it (again)."""
    row = {"shard": SHARD, "day": day, "channel_no": channel_no, "version": version, "rule_set": "",
           "status": PENDING, "findings": 0, "at_ms": now_ms}  # fmt: skip
    upsert(conn, vee_run, row)


def prune(db: Database, now_ms: int) -> int:
    """Drop momentary values after 45 days and register samples after 800. How many."""
    instants = [q.code for q in QUANTITIES if q.kind is Kind.INSTANT]
    r = reading.c
    with db.write() as conn:
        young = and_(r.shard == SHARD, r.quantity.in_(instants), r.at_ms < now_ms - KEEP_INSTANT_MS)
        old = and_(r.shard == SHARD, r.at_ms < now_ms - KEEP_REGISTER_MS)
        return sum(conn.execute(delete(reading).where(where)).rowcount for where in (young, old))
