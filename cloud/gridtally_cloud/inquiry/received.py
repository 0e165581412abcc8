"""The completeness report out of the store: one row a day, meter and channel.

* Blocks are read for many channels at once; a day that was complete with its first version is not unpacked.
* A channel counts where its period is the meter's own, or where it holds anything of the day: a meter that was set to another period leaves
  its old channel behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, and_, select

from gridtally_cloud.inquiry.completeness import Counted, Held, all_there, counted, expected_starts
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import LATE, STANDING, Block
from gridtally_cloud.store.blocks import blocks as block_rows
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.intervals import days_slots, slots_of_block
from gridtally_cloud.store.tables import channel, interval_inbox, meter, usage_day, usage_point
from gridtally_cloud.store.totals import COMPLETE
from gridtally_shared.quantities import BY_CODE
from gridtally_shared.records import dataclass

CHUNK = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One channel of one meter on one local day."""

    day: int
    zone: str
    meter_no: int
    serial: str
    usage_point_no: int
    channel_no: int
    quantity: str
    counted: Counted


def report(conn: Connection, first_day: int, last_day: int, now_ms: int, meter_no: int | None = None) -> tuple[Line, ...]:
    """Local days [first_day, last_day] of the meters that are in place, in order of day, meter and channel."""
    channels = _channels(conn, meter_no)
    days = list(range(first_day, last_day + 1))
    lines = [line for at in range(0, len(channels), CHUNK) for line in _chunk(conn, channels[at : at + CHUNK], days, now_ms)]
    return tuple(sorted(lines, key=lambda x: (x.day, x.meter_no, x.channel_no)))


def _channels(conn: Connection, meter_no: int | None) -> list[Any]:
    """Every channel with the meter that stands at its usage point."""
    c, m, u = channel.c, meter.c, usage_point.c
    join = channel.join(meter, m.usage_point_no == c.usage_point_no).join(usage_point, u.usage_point_no == c.usage_point_no)
    query = select(c.channel_no, c.quantity, c.period_s, c.usage_point_no, m.meter_no, m.serial, m.interval_s, m.installed_ms, u.zone)
    query = query.select_from(join).where(m.removed_ms.is_(None))
    if meter_no is not None:
        query = query.where(m.meter_no == meter_no)
    return list(conn.execute(query.order_by(c.channel_no)).all())


def _chunk(conn: Connection, channels: Sequence[Any], days: list[int], now_ms: int) -> Iterator[Line]:
    numbers = [c.channel_no for c in channels]
    blocks, inbox = _by_day(block_rows(conn, numbers, days, STANDING)), _by_day(_waiting(conn, numbers, days))
    complete = _complete(conn, numbers, days)
    for c in channels:
        for day in days:
            starts = expected_starts(slots_of(day, c.zone, c.period_s), c.installed_ms, now_ms)
            key = (c.channel_no, day)
            if not starts or (c.period_s != c.interval_s and key not in blocks and key not in inbox):
                continue
            whole = key in complete and key not in inbox and _is_plain(blocks.get(key, []), len(starts))
            found = all_there(starts) if whole else counted(starts, _held(conn, key, blocks.get(key, []), inbox.get(key, [])))
            yield Line(day, c.zone, c.meter_no, c.serial, c.usage_point_no, c.channel_no, _name(c.quantity), found)


def _name(quantity: int) -> str:
    return BY_CODE[quantity].name if quantity in BY_CODE else str(quantity)


def _waiting(conn: Connection, channels: list[int], days: list[int]) -> Iterable[Any]:
    """Inbox rows without contradictions in order of arrival."""
    i = interval_inbox.c
    where = and_(i.shard == SHARD, i.day.between(days[0], days[-1]), i.channel_no.in_(channels), ~i.conflict)
    return conn.execute(select(interval_inbox).where(where).order_by(i.inbox_no))


def _by_day(rows: Iterable[Any]) -> dict[tuple[int, int], list[Any]]:
    found: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows:
        found[(row.channel_no, row.day)].append(row)
    return dict(found)


def _complete(conn: Connection, channels: list[int], days: list[int]) -> set[tuple[int, int]]:
    d = usage_day.c
    where = and_(d.shard == SHARD, d.day.between(days[0], days[-1]), d.channel_no.in_(channels), COMPLETE)
    return {(row.channel_no, row.day) for row in conn.execute(select(d.channel_no, d.day).where(where))}


def _is_plain(blocks: list[Block], expected: int) -> bool:
    """One version, all of it, no flags."""
    return len(blocks) == 1 and blocks[0].version == 0 and not blocks[0].quality and blocks[0].n == expected


def _held(conn: Connection, key: tuple[int, int], blocks: list[Block], inbox: list[Any]) -> Held:
    """A channel-day of which not everything came at once."""
    channel_no, day = key
    first = next((row for row in blocks if row.version == 0), None)
    late = [row.created_ms for row in blocks if row.source == LATE] + [row.received_ms for row in inbox if first is not None]
    opened = None if first is None else slots_of_block(first)
    measured, stands = (days_slots(conn, channel_no, [day], estimates) for estimates in (False, True))
    return Held(opened, measured, stands, max(late, default=None))
