"""The rows of `interval_block`, packed and unpacked: the one place that knows what of a block stands in which column.

* A row holds no more than does not follow from the rest. The number of intervals is in the block itself. `first_no` is the number of the
  first interval, counted in periods from UTC midnight of `day`: 0 in UTC, -22 at 15 minutes in India. So the start stays true whatever
  becomes of the zone. `created_s` counts from the same midnight, and is small as well; seconds are enough for when a version was made.
* A version is approved unless it is one of contradictions (mdm.md B.4): `source` says so.
* `START_MS` and the other SQL are the same for both engines, for views and migrations.

Source: performance.md section 8 (bytes an interval): of a row of 140 bytes with a block of 104, start and creation took 14, number,
length, source and approval 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import PERIOD, SOURCE, interval_block
from gridtally_shared.clock import MS_PER_DAY

RAW, LATE, CONFLICT, SILENT = "raw", "late", "conflict", "silent"
"""Sources of what was measured; SILENT is the first version of a day of which nothing came."""

ESTIMATE, EDIT = "estimate", "edit"
"""Sources of the versions VEE makes; with EDIT some of it is a person's."""

DAY_S = 86_400
_b = interval_block.c

APPROVED = _b.source != CONFLICT
MEASURED = _b.source.in_((RAW, LATE, SILENT))
"""Approved, and not of VEE."""


class Block(NamedTuple):
    """One version of a channel-day as it is stored. `blob` and `quality` are packed (store/intervals.py opens them). A tuple: a month of
    a meter is thirty of them, and has half a millisecond."""

    day: int
    channel_no: int
    version: int
    start_ms: int
    period_s: int
    blob: bytes
    quality: bytes
    source: str
    created_ms: int

    @property
    def n(self) -> int:
        """How many intervals the block says it holds."""
        return length_of(self.blob)

    @property
    def approved(self) -> bool:
        return self.source != CONFLICT


def length_of(blob: bytes) -> int:
    """The number of intervals of a packed block (native/README.md: base 128, low group first); 0 where its head is cut off."""
    n = shift = 0
    for byte in blob[1:4]:
        n |= (byte & 127) << shift
        if byte < 128:
            return n
        shift += 7
    return 0


# ---- writing --------------------------------------------------------------------------------------------------

COLUMNS = ("shard", "day", "channel_no", "version", "first_no", "period_s", "created_s", "source", "blob", "quality")


def packed_row(block: Block) -> tuple[Any, ...]:
    """What `COLUMNS` hold for a block, each as its type has it."""
    packed = packed_head(block.day, block.start_ms, block.period_s, block.created_ms, block.source)
    return SHARD, block.day, block.channel_no, block.version, *packed, block.blob, block.quality


def packed_head(day: int, start_ms: int, period_s: int, created_ms: int, source: str) -> tuple[Any, ...]:
    """The columns from `first_no` to `source`: the same for all channels of a grid, so that thousands of rows need it once."""
    first = start_ms // (period_s * 1000) - day * DAY_S // period_s
    return first, PERIOD.code(period_s), (created_ms - day * MS_PER_DAY) // 1000, SOURCE.code(source)


# ---- reading --------------------------------------------------------------------------------------------------


def start_ms(day: int, first: int, period_s: int) -> int:
    return (day * DAY_S // period_s + first) * period_s * 1000


def block_of(row: Any) -> Block:
    """What a row of `ALL` says."""
    day, channel_no, version, first, period_s, created_s, source, blob, quality = row
    return Block(day, channel_no, version, start_ms(day, first, period_s), period_s, blob, quality, source,
                 (day * DAY_S + created_s) * 1000)  # fmt: skip


_DAYS: Any = bindparam("days", expanding=True)
_CHANNELS: Any = bindparam("channels", expanding=True)
ALL: Select[Any] = (
    select(_b.day, _b.channel_no, _b.version, _b.first_no, _b.period_s, _b.created_s, _b.source, _b.blob, _b.quality)
    .where(_b.shard == SHARD, _b.day.in_(_DAYS), _b.channel_no.in_(_CHANNELS))
    .order_by(_b.day, _b.version)
)
"""Every version of some channel-days (`days`, `channels`), those of a day in the order they were made; to be narrowed by `where`."""

STANDING, STANDING_MEASURED, CONTRADICTING = ALL.where(APPROVED), ALL.where(MEASURED), ALL.where(_b.source == CONFLICT)
"""Built once: building a statement took longer than running it, and these run with every message."""


def blocks(conn: Connection, channels: Iterable[int], days: Iterable[int], query: Select[Any] = ALL) -> list[Block]:
    return [block_of(row) for row in conn.execute(query, {"channels": list(channels), "days": list(days)})]


def version_of(conn: Connection, channel_no: int, day: int, version: int) -> Block:
    """One version of a day, which is there."""
    return block_of(conn.execute(ALL.where(_b.version == version), {"channels": [channel_no], "days": [day]}).one())


# ---- SQL ------------------------------------------------------------------------------------------------------


def period_sql(of: str) -> str:
    return f"({PERIOD.words(f'{of}.period_s')})"


def start_sql(of: str) -> str:
    period = period_sql(of)
    return f"((CAST({of}.day AS BIGINT) * {DAY_S} / {period} + {of}.first_no) * {period} * 1000)"


def value_view(opened: str, i: str, quality: str, makes: str) -> str:
    """The view of a row an interval. `opened` is the source of (`i`, value) of a block, `quality` the mark of interval i."""
    approved = SOURCE.code(CONFLICT)
    return f"""{makes} VIEW interval_value AS
SELECT b.shard, b.day, b.channel_no, b.version, {SOURCE.words("b.source")} AS source, b.source <> {approved} AS approved,
       b.source <> {approved} AND NOT EXISTS (SELECT 1 FROM interval_block h WHERE h.shard = b.shard AND h.day = b.day
           AND h.channel_no = b.channel_no AND h.source <> {approved} AND h.version > b.version) AS stands,
       {start_sql("b")} + {i} * CAST(1000 AS BIGINT) * {period_sql("b")} AS start_ms, {period_sql("b")} AS period_s, x.value,
       {quality} AS quality
FROM interval_block b {opened}
"""
