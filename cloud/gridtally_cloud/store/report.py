"""Counts over the stored intervals, from what is really there: for the demo's report, doctor and completeness pages."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import CONFLICT, blocks
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.intervals import days_slots, slots_from, slots_of_block
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, meter, usage_point
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class IntervalCount:
    """Intervals of one channel within a span. `duplicates` are slots stored twice with the same value: always 0."""

    meter_no: int
    channel_no: int
    quantity: int
    expected: int
    stored: int
    duplicates: int
    conflicts: int

    @property
    def missing(self) -> int:
        return self.expected - self.stored


def interval_counts(conn: Connection, from_ms: int, to_ms: int, quantity: int | None = None) -> tuple[IntervalCount, ...]:
    """One row a channel, in order of channel number, for intervals that start in [from_ms, to_ms)."""
    c, u, m = channel.c, usage_point.c, meter.c
    join = channel.join(usage_point, u.usage_point_no == c.usage_point_no)
    number = select(func.min(m.meter_no)).where(m.usage_point_no == c.usage_point_no).scalar_subquery()
    query = select(c.channel_no, c.quantity, c.period_s, u.zone, number.label("meter_no")).select_from(join)
    if quantity is not None:
        query = query.where(c.quantity == quantity)
    return tuple(_count(conn, row, from_ms, to_ms) for row in conn.execute(query.order_by(c.channel_no)).all())


def _count(conn: Connection, row: object, from_ms: int, to_ms: int) -> IntervalCount:
    r = row._mapping  # type: ignore[attr-defined]
    period_ms = r["period_s"] * 1000
    days = list(range(day_of(from_ms, r["zone"]), day_of(to_ms - 1, r["zone"]) + 1))
    stored = sum(s.value is not None and from_ms <= at < to_ms for at, s in days_slots(conn, r["channel_no"], days).items())
    copies = Counter(pair for pair in _raw_pairs(conn, r["channel_no"], days) if from_ms <= pair[0] < to_ms)
    expected = -(-to_ms // period_ms) - -(-from_ms // period_ms)
    return IntervalCount(r["meter_no"], r["channel_no"], r["quantity"], expected, stored,
                         sum(n - 1 for n in copies.values()), _conflicts(conn, r["channel_no"], days))  # fmt: skip


def _raw_pairs(conn: Connection, channel_no: int, days: list[int]) -> list[tuple[int, int]]:
    """(start, value) of every value as first stored: the raw blocks and the inbox, each row by itself."""
    i = interval_inbox.c
    inbox = and_(i.shard == SHARD, i.day.in_(days), i.channel_no == channel_no, ~i.conflict)
    held = [slots_of_block(block) for block in blocks(conn, [channel_no], days) if block.version == 0]
    waiting = conn.execute(select(interval_inbox).where(inbox))
    held += [slots_from(r.start_ms, r.period_s, bytes(r.blob), bytes(r.quality), r.n) for r in waiting]
    return [(at, slot.value) for slots in held for at, slot in slots.items() if slot.value is not None]


def _conflicts(conn: Connection, channel_no: int, days: list[int]) -> int:
    """Days of a channel that hold a contradicting value."""
    b, i = interval_block.c, interval_inbox.c
    blocks = select(b.day).where(b.shard == SHARD, b.day.in_(days), b.channel_no == channel_no, b.source == CONFLICT)
    inbox = select(i.day).where(i.shard == SHARD, i.day.in_(days), i.channel_no == channel_no, i.conflict)
    return len(set(conn.execute(blocks).scalars()) | set(conn.execute(inbox).scalars()))
