"""Closes local days: what waits in the inbox becomes packed blocks.

* A day closes when it is over and complete, or `GRACE_MS` after its end however incomplete it is.
* Version 0 is what came first, never altered. What came later and better is the next version; a value that contradicts
  an earlier one is a version of its own, not approved: it waits for a person (mdm.md B.4).
* Usage points are shared by the workers (store/work.py): packing, totals and the removal from the inbox of some of them are one
  transaction, in which nobody else puts values of them in.
* First versions are written together (store/bulk.py); whatever needs a look at each interval one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, and_, delete, func, select

from gridtally_cloud.integrations.webhook_tables import webhook
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import APPROVED, COLUMNS, CONFLICT, LATE, RAW, SILENT, Block, packed_row
from gridtally_cloud.store.bulk import ClosedDays, held_days, write_first
from gridtally_cloud.store.days import DaySlots, date_of, slots_of
from gridtally_cloud.store.db import Database, put_rows
from gridtally_cloud.store.inbox import SUMMED_UNITS, save_usage
from gridtally_cloud.store.intervals import (
    ChannelRef,
    Slots,
    channel_ref,
    channel_refs,
    day_slots,
    hold_points,
    inbox_days,
    inbox_slots,
    pack,
    waits,
)
from gridtally_cloud.store.orders import order_day, order_days
from gridtally_cloud.store.postgres import make_month
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, meter
from gridtally_cloud.store.whole import Name, first_versions
from gridtally_cloud.store.work import Hand, in_other_hands, share_lots, this_process
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR

GRACE_MS = 24 * MS_PER_HOUR
EARLIEST_ZONE_MS = 14 * MS_PER_HOUR
DAYS_AT_ONCE = 100
"""Channel-days of one usage point that are closed in one transaction."""

DAYS_A_LOT, LOTS_A_TURN = 200, 4
"""Channel-days of all its usage points after which a transaction takes no further one."""

ROWS_AT_ONCE = 10_000
"""Rows of the inbox named in one statement; SQLite takes 32,766 values. A meter that sends each five minutes by itself has 288 a day."""

POINTS_A_TURN, LOOKED_AT_ONCE = 1_000, 500
"""Between two turns the worker takes in what arrived."""


def close_days(db: Database, now_ms: int, hand: Hand | None = None) -> int:
    """Close days that are ready and that no other worker has in hand, of `POINTS_A_TURN` usage points at most. How many channel-days
    were packed."""
    hand = hand or this_process()
    with db.read() as conn:
        ready = _ready_by_point(conn, in_other_hands(conn, "close", now_ms, hand), now_ms)

    def close(conn: Connection, points: Sequence[int]) -> int:
        return close_together(conn, [name for point in points for name in ready.get(point, ())], now_ms)

    return sum(share_lots(db, "close", _lots(ready), close, now_ms, hand))


def _ready_by_point(conn: Connection, held: set[int], now_ms: int) -> dict[int, list[Name]]:
    """(day, channel) pairs to close by usage point, those with the oldest days first."""
    last_day = (now_ms + EARLIEST_ZONE_MS) // MS_PER_DAY - 1
    waiting = [((day, number), point) for day, number, point in inbox_days(conn, last_day) if point not in held]
    ready: dict[int, list[Name]] = {}
    for first in range(0, len(waiting), LOOKED_AT_ONCE):
        some = waiting[first : first + LOOKED_AT_ONCE]
        can = _ready(conn, [name for name, _ in some], now_ms)
        for name, point in some:
            room = point in ready or len(ready) < POINTS_A_TURN
            if name in can and room and len(ready.get(point, ())) < DAYS_AT_ONCE:
                ready.setdefault(point, []).append(name)
        if len(ready) >= POINTS_A_TURN:
            break
    return ready


def _ready(conn: Connection, names: Sequence[Name], now_ms: int) -> set[Name]:
    """Those that are over and complete, or over for long enough."""
    refs = channel_refs(conn, (number for _, number in names))
    over = {(day, number): slots_of(day, refs[number][0].zone, refs[number][1]) for day, number in names}
    over = {name: grid for name, grid in over.items() if grid.end_ms <= now_ms}
    graced = {name for name, grid in over.items() if grid.end_ms + GRACE_MS <= now_ms}
    days, _ = first_versions(conn, [name for name in over if name not in graced])
    seen = graced | set(days.names)
    return graced | days.complete() | {name for name, grid in over.items() if name not in seen and _is_complete(conn, name, grid)}


def _is_complete(conn: Connection, name: Name, grid: DaySlots) -> bool:
    day, number = name
    return sum(slot.value is not None for slot in day_slots(conn, number, day).values()) >= grid.n


def _lots(ready: dict[int, list[Name]]) -> Iterator[list[int]]:
    """Usage points to close in one transaction: of some `DAYS_A_LOT` channel-days, less where other workers would go empty-handed."""
    most = min(DAYS_A_LOT, -(-sum(map(len, ready.values())) // LOTS_A_TURN))
    lot: list[int] = []
    days = 0
    for point, names in ready.items():
        lot, days = [*lot, point], days + len(names)
        if days >= most:
            yield lot
            lot, days = [], 0
    if lot:
        yield lot


def close_together(conn: Connection, names: Sequence[Name], now_ms: int) -> int:
    """Pack channel-days; of how many anything waited."""
    if not names:
        return 0
    hold_points(conn, (number for _, number in names))
    days, rows = first_versions(conn, names)
    _stand(conn, days, now_ms)
    i = interval_inbox.c
    for first in range(0, len(rows), ROWS_AT_ONCE):
        conn.execute(delete(interval_inbox).where(i.shard == SHARD, i.inbox_no.in_(rows[first : first + ROWS_AT_ONCE])))
    done = set(days.names)
    return len(done) + sum(close_day(conn, day, number, now_ms) for day, number in names if (day, number) not in done)


def take_days(conn: Connection, days: ClosedDays, now_ms: int) -> list[int]:
    """Close whole days past the inbox. Those of which anything is held are left alone: their places, for the inbox to compare."""
    hold_points(conn, (ref.channel_no for ref in days.refs))
    held = held_days(conn, days.names)
    left = [i for i, name in enumerate(days.names) if name in held] if held else []
    _stand(conn, days.only(sorted(set(range(len(days))) - set(left))) if left else days, now_ms)
    return left


def _stand(conn: Connection, days: ClosedDays, now_ms: int) -> None:
    """First versions stand: they are written, VEE is asked, and others are told."""
    write_first(conn, days, now_ms)
    order_days(conn, days.names)
    if conn.execute(_LISTENING).first() is not None:
        for day, number in days.names:
            _tell_others(conn, day, number, 0, now_ms)


_LISTENING = select(webhook.c.webhook_no).where(webhook.c.ended_ms.is_(None)).limit(1)


def close_day(conn: Connection, day: int, channel_no: int, now_ms: int) -> bool:
    """Pack one channel-day; False, and nothing is changed, where nothing waits in the inbox any more."""
    hold_points(conn, [channel_no])
    if not waits(conn, day, channel_no):
        return False
    ref, period_s = channel_ref(conn, channel_no)
    grid = slots_of(day, ref.zone, period_s)
    first, last = inbox_slots(conn, channel_no, day, conflict=False)
    other, _ = inbox_slots(conn, channel_no, day, conflict=True)
    version = next_version(conn, day, channel_no)
    before = day_slots(conn, channel_no, day)
    if version == 0 and first:
        save_version(conn, ref, grid, 0, first, RAW, True, now_ms)
        version = 1
        late = last if last != first else {}
    else:
        late = before if first else {}
    if late:
        save_version(conn, ref, grid, version, before, LATE, True, now_ms)
        version += 1
    if other:
        save_version(conn, ref, grid, version, before | other, CONFLICT, False, now_ms)
    i = interval_inbox.c
    conn.execute(delete(interval_inbox).where(and_(i.shard == SHARD, i.day == day, i.channel_no == channel_no)))
    if ref.unit in SUMMED_UNITS:
        save_usage(conn, ref, day, period_s, day_slots(conn, channel_no, day))
    version = next_version(conn, day, channel_no) - 1
    order_day(conn, day, channel_no, version)
    _tell_others(conn, day, channel_no, version, now_ms)
    return True


def close_silent_day(conn: Connection, day: int, channel_no: int, now_ms: int) -> bool:
    """Close a day of which nothing came: its first version holds no value, and VEE is asked. False where there is anything of it."""
    hold_points(conn, [channel_no])
    if waits(conn, day, channel_no) or next_version(conn, day, channel_no):
        return False
    ref, period_s = channel_ref(conn, channel_no)
    save_version(conn, ref, slots_of(day, ref.zone, period_s), 0, {}, SILENT, True, now_ms)
    if ref.unit in SUMMED_UNITS:
        save_usage(conn, ref, day, period_s, {})
    order_day(conn, day, channel_no, 0)
    _tell_others(conn, day, channel_no, 0, now_ms)
    return True


def _tell_others(conn: Connection, day: int, channel_no: int, version: int, now_ms: int) -> None:
    """A day of usage stands and can be fetched (C3-FR31)."""
    query = select(channel.c.quantity, meter.c.meter_no).join(meter, meter.c.usage_point_no == channel.c.usage_point_no)
    for row in conn.execute(query.where(channel.c.channel_no == channel_no, meter.c.removed_ms.is_(None))):
        announce(conn, Topic.USAGE_CLOSED, f"{channel_no}/{day}/{version}", now_ms, f"/meters/{row.meter_no}/intervals", {
            "meter_no": row.meter_no, "quantity": row.quantity, "day": date_of(day).isoformat(), "version": version,
        })  # fmt: skip


def next_version(conn: Connection, day: int, channel_no: int) -> int:
    """Taken for this transaction: the usage point is held."""
    hold_points(conn, [channel_no])
    b = interval_block.c
    where = and_(b.shard == SHARD, b.day == day, b.channel_no == channel_no)
    return int(conn.execute(select(func.coalesce(func.max(b.version), -1)).where(where)).scalar_one()) + 1


def standing_version(conn: Connection, day: int, channel_no: int) -> int:
    """The highest approved version of a closed day."""
    b = interval_block.c
    where = and_(b.shard == SHARD, b.day == day, b.channel_no == channel_no, APPROVED)
    return int(conn.execute(select(func.max(b.version)).where(where)).scalar_one())


def save_version(conn: Connection, ref: ChannelRef, grid: DaySlots, version: int, slots: Slots, source: str, approved: bool,
          now_ms: int) -> None:  # fmt: skip
    """A further version of a day; those before it stay. Raises ValueError where its source is approved and this is not, or the reverse."""
    blob, quality = pack(slots, grid.start_ms, grid.period_s, grid.n)
    block = Block(grid.day, ref.channel_no, version, grid.start_ms, grid.period_s, blob, quality, source, now_ms)
    if block.approved != approved:
        raise ValueError(f"a version of source {source} is {'' if block.approved else 'not '}approved")
    make_month(conn, grid.day)
    put_rows(conn, interval_block, COLUMNS, [packed_row(block)])
