"""Closed days written in bulk: packed in one native call, then one statement for the blocks and one for the totals.

* For channel-days of which nothing is held yet: what closing does with whole days, and what a file of history or a concentrator's day
  brings. Everything else goes through the inbox (store/inbox.py) and is compared interval by interval.
* The rows are those of the way through the inbox, bit for bit; a test holds that. Orders to VEE and notices come from store/close.py.

Source: performance.md section 2 (a day a row, the day first in the key) and mdm.md F.3.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

from sqlalchemy import Connection, bindparam, select, union

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import COLUMNS, RAW, packed_head
from gridtally_cloud.store.days import DaySlots
from gridtally_cloud.store.db import put_rows
from gridtally_cloud.store.inbox import SUMMED_UNITS
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.postgres import make_month, month_of
from gridtally_cloud.store.tables import interval_block, interval_inbox
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_native import encode_blocks
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """Whole local days of channels, one after the other: `values` and `present` hold `grids[i].n` intervals of channel `refs[i]`.
    `quality[i]` has two bytes an interval, or none where nothing is to be said. Without `present` every value is there."""

    refs: Sequence[ChannelRef]
    grids: Sequence[DaySlots]
    values: array[int]
    quality: Sequence[bytes]
    present: bytes | None = None

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def names(self) -> list[tuple[int, int]]:
        """(day, channel) of each."""
        return [(grid.day, ref.channel_no) for grid, ref in zip(self.grids, self.refs, strict=True)]

    def complete(self) -> set[tuple[int, int]]:
        """(day, channel) of those with every value."""
        ends = accumulate(grid.n for grid in self.grids)
        return {name for name, grid, end in zip(self.names, self.grids, ends, strict=True)
                if self.present is None or self.present.find(0, end - grid.n, end) < 0}  # fmt: skip

    def only(self, places: Sequence[int]) -> ClosedDays:
        """Those at these places."""
        ends = list(accumulate(grid.n for grid in self.grids))
        spans = [slice(ends[i] - self.grids[i].n, ends[i]) for i in places]
        values = array("q", chain.from_iterable(self.values[span] for span in spans))
        present = None if self.present is None else b"".join(self.present[span] for span in spans)
        refs, grids, quality = [self.refs[i] for i in places], [self.grids[i] for i in places], [self.quality[i] for i in places]
        return ClosedDays(refs, grids, values, quality, present)


def write_first(conn: Connection, days: ClosedDays, now_ms: int) -> None:
    """The first version of each channel-day, as measured and approved, and the day's total. The caller holds the usage points and knows
    that there is no version yet; where there is one, the store refuses all of them. Raises ValueError where the columns do not agree."""
    blobs, totals, counts = encode_blocks(days.values, array("i", [grid.n for grid in days.grids]), days.present)
    each = list(zip(days.refs, days.grids, blobs, days.quality, totals, counts, strict=True))
    for day in {month_of(day): day for day in {grid.day for grid in days.grids}}.values():
        make_month(conn, day)
    heads = {id(g): packed_head(g.day, g.start_ms, g.period_s, now_ms, RAW) for g in {id(g): g for g in days.grids}.values()}
    blocks = [(SHARD, grid.day, ref.channel_no, 0, *heads[id(grid)], blob, quality) for ref, grid, blob, quality, _, _ in each]
    put_rows(conn, interval_block, COLUMNS, sorted(blocks), in_order=True)
    save_days(conn, [DaySum(grid.day, ref.channel_no, total, count, grid.n)
                     for ref, grid, _, _, total, count in each if ref.unit in SUMMED_UNITS])  # fmt: skip


_b, _i = interval_block.c, interval_inbox.c
_DAYS: Any = bindparam("days", expanding=True)
_THESE: Any = bindparam("channels", expanding=True)


def _held(of: Any) -> Any:
    return select(of.day, of.channel_no).where(of.shard == SHARD, of.day.in_(_DAYS))


_BETWEEN = union(*(_held(of).where(of.channel_no.between(bindparam("first"), bindparam("last"))) for of in (_b, _i)))
_AMONG = union(*(_held(of).where(of.channel_no.in_(_THESE)) for of in (_b, _i)))
_THIN = 4
"""Channels that are fewer than one in so many of their span are looked up one by one."""


def held_days(conn: Connection, names: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those (day, channel) of which a version stands or anything waits in the inbox."""
    days, channels = sorted({day for day, _ in names}), sorted({number for _, number in names})
    if not channels:
        return set()
    dense = channels[-1] - channels[0] < _THIN * len(channels)
    span: dict[str, Any] = {"first": channels[0], "last": channels[-1]} if dense else {"channels": channels}
    found = conn.execute(_BETWEEN if dense else _AMONG, {"days": days} | span)
    return {(row.day, row.channel_no) for row in found} & set(names)
