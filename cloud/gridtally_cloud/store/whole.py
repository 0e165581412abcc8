"""Whole days out of what waits in the inbox: laid on the day's grid in columns, for a first version written in bulk.

* A day is taken so where no version of it stands and its rows neither overlap nor contradict. It then is what the way interval by interval
  makes of it, and what that way is for is left to it (store/close.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.bulk import ClosedDays
from gridtally_cloud.store.days import DaySlots, slots_of
from gridtally_cloud.store.intervals import ChannelRef, channel_refs, columns_from
from gridtally_cloud.store.tables import interval_block, interval_inbox
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

Name = tuple[int, int]
"""(day, channel)."""

_b, _i = interval_block.c, interval_inbox.c
_THESE: dict[str, Any] = {"days": bindparam("days", expanding=True), "channels": bindparam("channels", expanding=True)}
_VERSIONS = (select(_b.day, _b.channel_no)
             .where(_b.shard == SHARD, _b.day.in_(_THESE["days"]), _b.channel_no.in_(_THESE["channels"])))  # fmt: skip
_WAITING = (select(_i.inbox_no, _i.day, _i.channel_no, _i.start_ms, _i.period_s, _i.n, _i.blob, _i.quality, _i.conflict)
            .where(_i.shard == SHARD, _i.day.in_(_THESE["days"]), _i.channel_no.in_(_THESE["channels"])))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Day:
    """The columns of one day, and the inbox rows they are of."""

    ref: ChannelRef
    grid: DaySlots
    values: array[int]
    present: bytes
    quality: bytes
    rows: tuple[int, ...]


def first_versions(conn: Connection, names: Sequence[Name]) -> tuple[ClosedDays, list[int]]:
    """Those of the days that can be written in bulk, and the numbers of their inbox rows. The caller holds the usage points."""
    if not names:
        return _together([])
    asked = {"days": sorted({day for day, _ in names}), "channels": sorted({number for _, number in names})}
    stand = {(row.day, row.channel_no) for row in conn.execute(_VERSIONS, asked)}
    waiting: dict[Name, list[Any]] = {name: [] for name in names if name not in stand}
    for row in conn.execute(_WAITING, asked):
        waiting.get((row.day, row.channel_no), []).append(row)
    refs = channel_refs(conn, asked["channels"])
    laid = [_laid(refs[number], day, rows) for (day, number), rows in waiting.items() if rows]
    return _together([day for day in laid if day is not None])


def _together(days: Sequence[_Day]) -> tuple[ClosedDays, list[int]]:
    values = array("q")
    for day in days:
        values += day.values
    refs, grids, quality = [day.ref for day in days], [day.grid for day in days], [day.quality for day in days]
    return ClosedDays(refs, grids, values, quality, b"".join(day.present for day in days)), [no for day in days for no in day.rows]


def _laid(channel: tuple[ChannelRef, int], day: int, rows: Sequence[Any]) -> _Day | None:
    """None where it needs a look at each interval."""
    ref, period_s = channel
    grid = slots_of(day, ref.zone, period_s)
    values, present = array("q", bytes(8 * grid.n)), bytearray(grid.n)
    words, taken = bytearray(Quality.MISSING.to_bytes(2, "little") * grid.n), bytearray(grid.n)
    for row in rows:
        first, beside = divmod(row.start_ms - grid.start_ms, period_s * 1000)
        last = first + row.n
        if row.conflict or beside or row.period_s != period_s or first < 0 or last > grid.n or any(taken[first:last]):
            return None
        values[first:last], present[first:last] = columns_from(row.blob, row.quality, row.n)
        words[2 * first : 2 * last] = row.quality or bytes(2 * row.n)
        taken[first:last] = b"\x01" * row.n
    return _Day(ref, grid, values, bytes(present), bytes(words) if any(words) else b"", tuple(row.inbox_no for row in rows))
