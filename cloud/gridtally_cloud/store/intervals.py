"""Interval values: the append-only inbox, the packed channel-day blocks, and the one way to read both.

* New values go to `interval_inbox` (store/inbox.py), one row a local day. A day that is complete or old enough becomes one packed block
  (store/close.py); what comes later stays in the inbox until the next close and becomes a new version.
* What was measured of a day is its highest approved version that VEE did not make, overlaid with the inbox. What stands (bills, pages,
  exports: `read_intervals`) has the estimates of VEE and the edits of persons in it, each with its flag, and a measured value over every
  estimate.

Source: mdm.md B.2 row 0, B.4 and F.3; architecture.md section 6.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import EDIT as EDIT
from gridtally_cloud.store.blocks import ESTIMATE as ESTIMATE
from gridtally_cloud.store.blocks import STANDING, STANDING_MEASURED, Block, blocks
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.tables import channel, interval_inbox, usage_point
from gridtally_native import decode_block, encode_block
from gridtally_shared.contract.codec import INT_MAX, INT_MIN
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """One interval; `value` is None where it is missing."""

    value: int | None
    quality: int


@dataclass(frozen=True, slots=True)
class ChannelRef:
    """A channel with what is needed to place its values in local days."""

    channel_no: int
    unit: str
    zone: str


@dataclass(frozen=True, slots=True)
class IntervalSeries:
    """Equal intervals from `start_ms` on. `values[i]` counts only where `present[i]` is 1."""

    start_ms: int
    period_s: int
    values: array[int]
    quality: array[int]
    present: bytes

    def __len__(self) -> int:
        return len(self.values)

    @property
    def total(self) -> int:
        return sum(self.values)


Slots = dict[int, Slot]


def columns_from(values: bytes, quality: bytes, n: int) -> tuple[array[int], bytes]:
    """(values, present) of a block. Raises ContractError where its parts do not agree."""
    try:
        numbers, present = decode_block(values)
    except ValueError as error:
        raise ContractError(f"interval block: {error}") from None
    if len(numbers) != n or len(quality) not in (0, 2 * n):
        raise ContractError(f"interval block announces {n} values and holds {len(numbers)}, {len(quality)} bytes of quality")
    return numbers, present


def slots_from(start_ms: int, period_s: int, values: bytes, quality: bytes, n: int) -> Slots:
    """Unpack a block. Raises ContractError where its parts do not agree."""
    return slots_of_columns(start_ms, period_s, *columns_from(values, quality, n), quality)


def slots_of_block(block: Block) -> Slots:
    """Unpack a version of a day. Raises ContractError where its parts do not agree."""
    return slots_from(block.start_ms, block.period_s, bytes(block.blob), bytes(block.quality), block.n)


def slots_of_columns(start_ms: int, period_s: int, numbers: array[int], present: bytes, quality: bytes) -> Slots:
    words, step = _words(quality, len(numbers)), period_s * 1000
    return {start_ms + i * step: Slot(numbers[i] if present[i] else None, words[i]) for i in range(len(numbers))}


def _words(quality: bytes, n: int) -> list[int]:
    if not quality:
        return [0] * n
    return [int.from_bytes(quality[2 * i : 2 * i + 2], "little") for i in range(n)]


def pack(slots: Slots, start_ms: int, period_s: int, n: int) -> tuple[bytes, bytes]:
    """(block, quality bytes) of `n` slots from `start_ms` on; slots that are not there are missing."""
    row = [slots.get(start_ms + i * period_s * 1000, Slot(None, Quality.MISSING)) for i in range(n)]
    present = bytes(slot.value is not None for slot in row)
    blob = encode_block(array("q", [slot.value or 0 for slot in row]), present)
    words = b"".join(slot.quality.to_bytes(2, "little") for slot in row)
    return blob, words if any(words) else b""


_HOLD = (select(usage_point.c.usage_point_no).where(usage_point.c.usage_point_no.in_(
    select(channel.c.usage_point_no).where(channel.c.channel_no.in_(bindparam("channels", expanding=True)))))
    .order_by(usage_point.c.usage_point_no).with_for_update(key_share=True))  # fmt: skip


_HOLD_ONE = select(usage_point.c.usage_point_no).where(usage_point.c.usage_point_no == bindparam("number")).with_for_update(key_share=True)


def hold_points(conn: Connection, channels: Iterable[int]) -> None:
    """Until the end of the transaction nobody else puts values of these channels' usage points in, closes or judges their days.
    On SQLite nobody could."""
    if conn.dialect.name != "sqlite":
        conn.execute(_HOLD, {"channels": sorted(set(channels))}).all()


def hold_point(conn: Connection, usage_point_no: int) -> None:
    """The same for one usage point, all of its channels."""
    if conn.dialect.name != "sqlite":
        conn.execute(_HOLD_ONE, {"number": usage_point_no}).all()


# ---- reading --------------------------------------------------------------------------------------------------


def day_slots(conn: Connection, channel_no: int, day: int) -> Slots:
    """What was measured of one day: the approved block overlaid with the inbox, conflicts left out."""
    return days_slots(conn, channel_no, [day])


def days_slots(conn: Connection, channel_no: int, days: list[int], estimates: bool = False) -> Slots:
    """What was measured of some days; with `estimates` what stands."""
    slots: Slots = {}
    for row in held_rows(conn, [channel_no], days, INT_MIN, INT_MAX, estimates):
        held = slots_from(row.start_ms, row.period_s, row.blob, row.quality, row.n)
        slots.update((at, slot) for at, slot in held.items() if at not in slots or (slot.value is not None and not _is_edited(slots[at])))
    return slots


def _is_edited(slot: Slot) -> bool:
    """What a person set stands until a person takes it back."""
    return bool(slot.quality & Quality.EDITED)


def held_rows(
    conn: Connection, channels: list[int], days: list[int], from_ms: int, to_ms: int, estimates: bool = False
) -> list[Any]:
    """The approved block of each channel-day, then the inbox rows that overlap the span, in order of arrival."""
    return [*_approved(conn, channels, days, estimates), *_inbox(conn, channels, days, False, from_ms, to_ms)]


_i = interval_inbox.c
_THESE: dict[str, Any] = {"days": bindparam("days", expanding=True), "channels": bindparam("channels", expanding=True)}
_WAITING = (select(_i.channel_no, _i.start_ms, _i.period_s, _i.n, _i.blob, _i.quality)
            .where(_i.shard == SHARD, _i.day.in_(_THESE["days"]), _i.channel_no.in_(_THESE["channels"]),
                   _i.conflict == bindparam("conflict"), _i.start_ms < bindparam("to_ms"),
                   _i.start_ms + _i.n * _i.period_s * 1000 > bindparam("from_ms"))
            .order_by(_i.inbox_no))  # fmt: skip
"""Built once: building a statement took longer than running it, and these run with every message."""


def _approved(conn: Connection, channels: list[int], days: list[int], estimates: bool) -> list[Block]:
    held = blocks(conn, channels, days, STANDING if estimates else STANDING_MEASURED)
    return list({(block.channel_no, block.day): block for block in held}.values())


def _inbox(conn: Connection, channels: list[int], days: list[int], conflict: bool, from_ms: int, to_ms: int) -> list[Any]:
    values = {"channels": channels, "days": days, "conflict": conflict, "from_ms": from_ms, "to_ms": to_ms}
    return list(conn.execute(_WAITING, values).all())


def inbox_slots(conn: Connection, channel_no: int, day: int, conflict: bool) -> tuple[Slots, Slots]:
    """(first value of each slot, last value of each slot) waiting in the inbox of a day."""
    first: Slots = {}
    last: Slots = {}
    for row in _inbox(conn, [channel_no], [day], conflict, INT_MIN, INT_MAX):
        held = slots_from(row.start_ms, row.period_s, row.blob, row.quality, row.n)
        first.update((at, s) for at, s in held.items() if at not in first or (first[at].value is None and s.value is not None))
        last.update((at, s) for at, s in held.items() if s.value is not None or at not in last)
    return first, last


def read_intervals(conn: Connection, channel_no: int, from_ms: int, to_ms: int) -> IntervalSeries:
    """The intervals of a channel that start in [from_ms, to_ms), on the channel's grid, as they stand: with estimates."""
    row = _channel_row(conn, channel_no)
    period_ms = row.period_s * 1000
    start = -(-from_ms // period_ms) * period_ms
    n = max(0, -(-(to_ms - start) // period_ms))
    days = list(range(day_of(start, row.zone), day_of(max(start, to_ms - 1), row.zone) + 1)) if n else []
    columns = _Columns(start, row.period_s, n)
    for held in held_rows(conn, [channel_no], days, INT_MIN, INT_MAX, estimates=True) if days else ():
        columns.lay(held)
    return columns.series()


_NOT_THERE = Quality.MISSING.to_bytes(2, "little")
_EDITED_HIGH = Quality.EDITED >> 8


class _Columns:
    """A span of intervals being put together out of rows in the order that counts: `days_slots` without an object an interval."""

    def __init__(self, start_ms: int, period_s: int, n: int) -> None:
        self._start_ms, self._period_s, self._n = start_ms, period_s, n
        self._values, self._present = array("q", bytes(8 * n)), bytearray(n)
        self._words, self._held = bytearray(_NOT_THERE * n), bytearray(n)

    def lay(self, row: Any) -> None:
        values, present = columns_from(row.blob, row.quality, row.n)
        words = row.quality or bytes(2 * row.n)
        at, beside = divmod(row.start_ms - self._start_ms, self._period_s * 1000)
        if beside or row.period_s != self._period_s:
            return  # of another grid: no interval of it starts where one of these does, or lasts as long
        first, last = max(0, at), min(self._n, at + row.n)
        if first >= last:
            return
        a, b = first - at, last - at
        if self._held.find(1, first, last) < 0:
            self._values[first:last], self._present[first:last] = values[a:b], present[a:b]
            self._words[2 * first : 2 * last] = words[2 * a : 2 * b]
            self._held[first:last] = b"\x01" * (b - a)
            return
        for i in range(first, last):
            if not self._held[i] or (present[i - at] and not self._words[2 * i + 1] & _EDITED_HIGH):
                self._values[i], self._present[i], self._held[i] = values[i - at], present[i - at], 1
                self._words[2 * i : 2 * i + 2] = words[2 * (i - at) : 2 * (i - at) + 2]

    def series(self) -> IntervalSeries:
        quality = array("H", bytes(self._words))
        if sys.byteorder == "big":
            quality.byteswap()
        return IntervalSeries(self._start_ms, self._period_s, self._values, quality, bytes(self._present))


def series(slots: Mapping[int, Slot], start_ms: int, period_s: int, n: int) -> IntervalSeries:
    """`n` slots from `start_ms` on as columns."""
    row = [slots.get(start_ms + i * period_s * 1000, Slot(None, Quality.MISSING)) for i in range(n)]
    values, quality = array("q", [slot.value or 0 for slot in row]), array("H", [slot.quality for slot in row])
    return IntervalSeries(start_ms, period_s, values, quality, bytes(slot.value is not None for slot in row))


_CHANNEL = (select(channel.c.period_s, channel.c.unit, usage_point.c.zone)
            .select_from(channel.join(usage_point, usage_point.c.usage_point_no == channel.c.usage_point_no))
            .where(channel.c.channel_no == bindparam("channel_no")))  # fmt: skip


def _channel_row(conn: Connection, channel_no: int) -> Any:
    row = conn.execute(_CHANNEL, {"channel_no": channel_no}).first()
    if row is None:
        raise ValueError(f"there is no channel {channel_no}")
    return row


def channel_ref(conn: Connection, channel_no: int) -> tuple[ChannelRef, int]:
    """The channel and its period in seconds."""
    row = _channel_row(conn, channel_no)
    return ChannelRef(channel_no, row.unit, row.zone), row.period_s


_CHANNELS = (select(channel.c.channel_no, channel.c.period_s, channel.c.unit, usage_point.c.zone)
             .select_from(channel.join(usage_point, usage_point.c.usage_point_no == channel.c.usage_point_no))
             .where(channel.c.channel_no.in_(bindparam("channels", expanding=True))))  # fmt: skip


def channel_refs(conn: Connection, channels: Iterable[int]) -> dict[int, tuple[ChannelRef, int]]:
    """`channel_ref` of each that there is, by its number."""
    rows = conn.execute(_CHANNELS, {"channels": sorted(set(channels))})
    return {row.channel_no: (ChannelRef(row.channel_no, row.unit, row.zone), row.period_s) for row in rows}


def inbox_days(conn: Connection, last_day: int) -> list[tuple[int, int, int]]:
    """(day, channel, usage point) of what waits in the inbox up to a day, oldest first."""
    i, c = interval_inbox.c, channel.c
    query = select(i.day, i.channel_no, c.usage_point_no).join(channel, c.channel_no == i.channel_no)
    rows = conn.execute(query.where(i.shard == SHARD, i.day <= last_day).distinct().order_by(i.day, i.channel_no))
    return [(row.day, row.channel_no, row.usage_point_no) for row in rows]


def waits(conn: Connection, day: int, channel_no: int) -> bool:
    """Whether anything of a channel-day is in the inbox."""
    i = interval_inbox.c
    where = and_(i.shard == SHARD, i.day == day, i.channel_no == channel_no)
    return conn.execute(select(i.inbox_no).where(where).limit(1)).first() is not None


def inbox_size(conn: Connection) -> int:
    return int(conn.execute(select(func.count()).select_from(interval_inbox)).scalar_one())
