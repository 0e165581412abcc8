"""Interval values: the append-only inbox, the packed channel-day blocks, and the one way to read both.

* New values go to `interval_inbox` (store/inbox.py), one row a local day. A day that is complete or old enough becomes one packed block
  (store/close.py); what comes later stays in the inbox until the next close and becomes a new version.
* Reads see the highest approved version of a day, overlaid with the inbox.

Source: mdm.md B.2 row 0, B.4 and F.3; architecture.md section 6.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, usage_point
from gridtally_native import decode_block, encode_block
from gridtally_shared.contract.codec import INT_MAX, INT_MIN
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality


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


def slots_from(start_ms: int, period_s: int, values: bytes, quality: bytes, n: int) -> Slots:
    """Unpack a block. Raises ContractError where its parts do not agree."""
    try:
        numbers, present = decode_block(values)
    except ValueError as error:
        raise ContractError(f"interval block: {error}") from None
    if len(numbers) != n or len(quality) not in (0, 2 * n):
        raise ContractError(f"interval block announces {n} values and holds {len(numbers)}, {len(quality)} bytes of quality")
    words = _words(quality, n)
    step = period_s * 1000
    return {start_ms + i * step: Slot(numbers[i] if present[i] else None, words[i]) for i in range(n)}


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


# ---- reading --------------------------------------------------------------------------------------------------


def day_slots(conn: Connection, channel_no: int, day: int) -> Slots:
    """What is known of one day: the approved block overlaid with the inbox, conflicts left out."""
    return days_slots(conn, channel_no, [day])


def days_slots(conn: Connection, channel_no: int, days: list[int]) -> Slots:
    slots: Slots = {}
    for row in held_rows(conn, [channel_no], days, INT_MIN, INT_MAX):
        held = slots_from(row.start_ms, row.period_s, row.blob, row.quality, row.n)
        slots.update((at, slot) for at, slot in held.items() if slot.value is not None or at not in slots)
    return slots


def held_rows(conn: Connection, channels: list[int], days: list[int], from_ms: int, to_ms: int) -> list[Any]:
    """The approved block of each channel-day, then the inbox rows that overlap the span, in order of arrival."""
    return [*_approved(conn, channels, days), *_inbox(conn, channels, days, False, from_ms, to_ms)]


def _approved(conn: Connection, channels: list[int], days: list[int]) -> list[Any]:
    b = interval_block.c
    columns = (b.channel_no, b.day, b.start_utc_ms.label("start_ms"), b.period_s, b.n, b.blob, b.quality)
    where = and_(b.shard == SHARD, b.day.in_(days), b.channel_no.in_(channels), b.approved)
    rows = conn.execute(select(*columns).where(where).order_by(b.day, b.version))
    return list({(row.channel_no, row.day): row for row in rows}.values())


def _inbox(conn: Connection, channels: list[int], days: list[int], conflict: bool, from_ms: int, to_ms: int) -> list[Any]:
    i = interval_inbox.c
    columns = (i.channel_no, i.start_ms, i.period_s, i.n, i.blob, i.quality)
    where = and_(i.shard == SHARD, i.day.in_(days), i.channel_no.in_(channels), i.conflict == conflict, i.start_ms < to_ms,
                 i.start_ms + i.n * i.period_s * 1000 > from_ms)  # fmt: skip
    return list(conn.execute(select(*columns).where(where).order_by(i.inbox_no)).all())


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
    """The intervals of a channel that start in [from_ms, to_ms), on the channel's grid."""
    row = _channel_row(conn, channel_no)
    period_ms = row.period_s * 1000
    start = -(-from_ms // period_ms) * period_ms
    n = max(0, -(-(to_ms - start) // period_ms))
    days = list(range(day_of(start, row.zone), day_of(max(start, to_ms - 1), row.zone) + 1)) if n else []
    slots = days_slots(conn, channel_no, days)
    return series(slots, start, row.period_s, n)


def series(slots: Mapping[int, Slot], start_ms: int, period_s: int, n: int) -> IntervalSeries:
    """`n` slots from `start_ms` on as columns."""
    row = [slots.get(start_ms + i * period_s * 1000, Slot(None, Quality.MISSING)) for i in range(n)]
    values, quality = array("q", [slot.value or 0 for slot in row]), array("H", [slot.quality for slot in row])
    return IntervalSeries(start_ms, period_s, values, quality, bytes(slot.value is not None for slot in row))


def _channel_row(conn: Connection, channel_no: int) -> Any:
    join = channel.join(usage_point, usage_point.c.usage_point_no == channel.c.usage_point_no)
    query = select(channel.c.period_s, channel.c.unit, usage_point.c.zone).select_from(join)
    row = conn.execute(query.where(channel.c.channel_no == channel_no)).first()
    if row is None:
        raise ValueError(f"there is no channel {channel_no}")
    return row


def channel_ref(conn: Connection, channel_no: int) -> tuple[ChannelRef, int]:
    """The channel and its period in seconds."""
    row = _channel_row(conn, channel_no)
    return ChannelRef(channel_no, row.unit, row.zone), row.period_s


def inbox_days(conn: Connection) -> list[tuple[int, int]]:
    """(day, channel) pairs that wait in the inbox, oldest first."""
    i = interval_inbox.c
    query = select(i.day, i.channel_no).where(i.shard == SHARD).group_by(i.day, i.channel_no).order_by(i.day, i.channel_no)
    return [(row.day, row.channel_no) for row in conn.execute(query)]


def inbox_size(conn: Connection) -> int:
    return int(conn.execute(select(func.count()).select_from(interval_inbox)).scalar_one())
