"""Closes days of which nothing came at all, so that they are judged and estimated like any other.

* Days that are over for longer than the grace of a close, on which a meter was in place from beginning to end, of channels with the
  meter's own period. What comes later is a further version and wins over every estimate.
* Only where the channel was heard within the last `HEARD_DAYS`: a meter that fell silent for good is for a person, and so is a channel it
  no longer keeps. No guess is built on guesses.

Source: mdm.md B.2 row 0 and B.3; issue 5, line 7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import LATE, RAW
from gridtally_cloud.store.close import GRACE_MS, close_silent_day
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.inbox import SUMMED_UNITS
from gridtally_cloud.store.orders import ordered_days
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, meter, usage_point, vee_run
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.quantities import QUANTITIES, Kind

HEARD_DAYS = 35
"""A month, and what a month is late."""
UNSETTLED_MS = GRACE_MS + 12 * MS_PER_HOUR
"""The grace of a close, and half a day for zones behind UTC."""
A_TURN = 500
INTERVALS = [q.code for q in QUANTITIES if q.kind is Kind.INTERVAL]


def close_silent(db: Database, now_ms: int) -> int:
    """Close such days. How many, and no more than `A_TURN` channel-days at a time."""
    with db.read() as conn:
        found = [pair for _, pair in zip(range(A_TURN), _silent(conn, now_ms), strict=False)]
    by_channel: dict[int, list[int]] = {}
    for day, channel_no in found:
        by_channel.setdefault(channel_no, []).append(day)
    done = 0
    for channel_no, days in by_channel.items():
        with db.write() as conn:
            done += sum(close_silent_day(conn, day, channel_no, now_ms) for day in days)
    return done


def _silent(conn: Connection, now_ms: int) -> Iterator[tuple[int, int]]:
    """(day, channel) of which there is nothing."""
    last = (now_ms - UNSETTLED_MS) // MS_PER_DAY - 1
    days = range(last - HEARD_DAYS + 1, last + 1)
    closed = _closed(conn, days)
    for row in _channels(conn):
        if closed.get(row.channel_no, 0) < len(days):
            known, heard = _days_of(conn, row.channel_no, days)
            yield from ((day, row.channel_no) for day in days if heard and day not in known and _was_there(row, day))


def _was_there(row: Any, day: int) -> bool:
    """The meter, the whole day."""
    end_ms = midnight_ms(day + 1, row.zone)
    return bool(row.installed_ms <= midnight_ms(day, row.zone) and (row.removed_ms is None or row.removed_ms >= end_ms))


def _closed(conn: Connection, days: range) -> dict[int, int]:
    """How many of the days are closed, by channel."""
    r = vee_run.c
    query = select(r.channel_no, func.count().label("n")).where(r.shard == SHARD, r.day.between(days[0], days[-1])).group_by(r.channel_no)
    judged = Counter({row.channel_no: row.n for row in conn.execute(query)})
    return judged + Counter(channel_no for _, channel_no in ordered_days(conn, days))


def _days_of(conn: Connection, channel_no: int, days: range) -> tuple[set[int], set[int]]:
    """Days of which there is anything, and those of which something was measured."""
    waiting, blocks = (set(conn.execute(query).scalars()) for query in (_day_query(interval_inbox, channel_no, days),
                       _day_query(interval_block, channel_no, days)))  # fmt: skip
    measured = _day_query(interval_block, channel_no, days).where(interval_block.c.source.in_((RAW, LATE)))
    return waiting | blocks, waiting | set(conn.execute(measured).scalars())


def _day_query(table: Table, channel_no: int, days: range) -> Select[int]:
    t = table.c
    return select(t.day).where(t.shard == SHARD, t.day.between(days[0], days[-1]), t.channel_no == channel_no).distinct()


def _channels(conn: Connection) -> list[Any]:
    """Channels of energy and alike, with the meters whose period they have."""
    c, m, u = channel.c, meter.c, usage_point.c
    join = channel.join(meter, and_(m.usage_point_no == c.usage_point_no, m.interval_s == c.period_s))
    join = join.join(usage_point, u.usage_point_no == c.usage_point_no)
    query = select(c.channel_no, m.installed_ms, m.removed_ms, u.zone).select_from(join)
    return list(conn.execute(query.where(c.unit.in_(SUMMED_UNITS), c.quantity.in_(INTERVALS)).order_by(c.channel_no)).all())
