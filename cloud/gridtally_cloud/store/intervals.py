"""Interval values: the append-only inbox, the packed channel-day blocks, and the one way to read both.

* New values go to `interval_inbox`, one row a local day. A day that is complete or old enough becomes one packed block
  (store/close.py); what comes later stays in the inbox until the next close and becomes a new version.
* The same interval with the same value again is dropped. Another value is kept beside the first one as a conflict and
  does not change what is read until a person decides. A real value replaces an estimated or partial one.
* Reads see the highest approved version of a day, overlaid with the inbox.

Source: mdm.md B.2 row 0, B.4 and F.3; architecture.md section 6.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of, midnight_ms, slots_of
from gridtally_cloud.store.db import add_all, upsert
from gridtally_cloud.store.tables import channel, interval_block, interval_inbox, usage_day, usage_point
from gridtally_native import decode_block, encode_block
from gridtally_shared.contract.codec import INT_MAX, INT_MIN
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality

MAX_INTERVALS = 10_000
PERIODS_S = frozenset({60, 300, 600, 900, 1800, 3600})
REPLACEABLE = Quality.ESTIMATED | Quality.PARTIAL
SUMMED_UNITS = frozenset({"Wh", "VAh", "varh"})


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


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the intervals of one block."""

    new: int = 0
    duplicates: int = 0
    conflicts: int = 0
    replaced: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.new + other.new, self.duplicates + other.duplicates, self.conflicts + other.conflicts,
                      self.replaced + other.replaced)  # fmt: skip


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


# ---- storing --------------------------------------------------------------------------------------------------


def check_block(block: ChannelBlock, now_ms: int, installed_ms: int) -> None:
    """The envelope check of mdm.md B.2 row 0. Raises ContractError that says what does not fit."""
    period_ms = block.period_s * 1000
    rules = (
        (block.period_s in PERIODS_S, f"an interval of {block.period_s} s is not in use"),
        (0 < block.n <= MAX_INTERVALS, f"{block.n} intervals in one block"),
        (block.period_s > 0 and block.start_ms % max(period_ms, 1) == 0, "the intervals are not on the UTC grid"),
        (block.start_ms + block.n * period_ms <= now_ms + period_ms, "the intervals lie in the future"),
        (block.start_ms >= installed_ms - period_ms, "the intervals lie before the installation"),
    )
    problem = next((text for holds, text in rules if not holds), None)
    if problem:
        raise ContractError(f"meter {block.meter_no}, quantity {block.quantity}: {problem}")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A checked block with its intervals."""

    ref: ChannelRef
    block: ChannelBlock
    slots: Slots

    def by_day(self) -> dict[int, Slots]:
        """Its intervals by local day."""
        first, last = self.block.start_ms, max(self.slots)
        day, zone = day_of(first, self.ref.zone), self.ref.zone
        days: dict[int, Slots] = {}
        while first <= last:
            after = midnight_ms(day + 1, zone)
            days[day] = {at: slot for at, slot in self.slots.items() if first <= at < after} if last >= after else self.slots
            first, day = after, day + 1
        return {day: _from(slots, midnight_ms(day, zone)) for day, slots in days.items() if slots}


def _from(slots: Slots, start_ms: int) -> Slots:
    return slots if min(slots) >= start_ms else {at: slot for at, slot in slots.items() if at >= start_ms}


def unpack(ref: ChannelRef, block: ChannelBlock) -> Unpacked:
    """Raises ContractError when the bytes do not fit."""
    return Unpacked(ref, block, slots_from(block.start_ms, block.period_s, block.values, block.quality, block.n))


def store_block(conn: Connection, ref: ChannelRef, block: ChannelBlock, now_ms: int) -> Stored:
    """Add one checked block to the inbox. Raises ContractError when its bytes do not fit."""
    return store_blocks(conn, [unpack(ref, block)], now_ms)


def store_blocks(conn: Connection, blocks: Sequence[Unpacked], now_ms: int) -> Stored:
    """Add blocks of any channels to the inbox, day by day, in a handful of statements."""
    if not blocks:
        return Stored()
    parts = [(u, day, part) for u in blocks for day, part in u.by_day().items()]
    known = _known(conn, blocks, sorted({day for _, day, _ in parts}))
    added = _Added(now_ms)
    total = sum((_sort_in(u, day, part, known[u.ref.channel_no], added) for u, day, part in parts), Stored())
    if added.rows:
        conn.execute(insert(interval_inbox), added.rows)
    add_all(conn, usage_day, list(added.usage.values()), ("total", "present"))
    return total


class _Added:
    """Rows to write once all blocks are sorted in."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.rows: list[dict[str, Any]] = []
        self.usage: dict[tuple[int, int], dict[str, Any]] = {}

    def slots(self, u: Unpacked, day: int, slots: Slots, conflict: bool) -> None:
        for first, count in _runs(slots, u.block.period_s * 1000):
            blob, quality = pack(slots, first, u.block.period_s, count)
            self.rows.append({
                "shard": SHARD, "day": day, "channel_no": u.ref.channel_no, "meter_no": u.block.meter_no, "start_ms": first,
                "period_s": u.block.period_s, "n": count, "blob": blob, "quality": quality, "conflict": conflict,
                "received_ms": self.now_ms,
            })  # fmt: skip

    def use(self, u: Unpacked, day: int, total: int, present: int) -> None:
        if u.ref.unit not in SUMMED_UNITS or not (total or present):
            return
        first = {"shard": SHARD, "day": day, "channel_no": u.ref.channel_no, "total": 0, "present": 0, "complete": False,
                 "expected": slots_of(day, u.ref.zone, u.block.period_s).n, "updated_ms": self.now_ms}  # fmt: skip
        row = self.usage.setdefault((u.ref.channel_no, day), first)
        row["total"] += total
        row["present"] += present


def _sort_in(u: Unpacked, day: int, part: Slots, known: Slots, added: _Added) -> Stored:
    fresh = {at: s for at, s in part.items() if _is_new(known.get(at), s)}
    better = {at: s for at, s in part.items() if at not in fresh and _is_better(known[at], s)}
    other = {at: s for at, s in part.items() if at not in fresh and at not in better and _differs(known[at], s)}
    before = sum(known[at].value or 0 for at in better)
    added.slots(u, day, fresh | better, conflict=False)
    added.slots(u, day, other, conflict=True)
    values = [s.value for s in (fresh | better).values() if s.value is not None]
    added.use(u, day, sum(values) - before, sum(s.value is not None for s in fresh.values()))
    known.update(fresh | better)
    return Stored(len(fresh), len(part) - len(fresh) - len(better) - len(other), len(other), len(better))


def _known(conn: Connection, blocks: Sequence[Unpacked], days: list[int]) -> dict[int, Slots]:
    """What is held of the blocks' channels in the span they cover together."""
    known: dict[int, Slots] = {u.ref.channel_no: {} for u in blocks}
    from_ms, to_ms = min(min(u.slots) for u in blocks), max(max(u.slots) for u in blocks) + 1
    for row in _held_rows(conn, list(known), days, from_ms, to_ms):
        held = slots_from(row.start_ms, row.period_s, row.blob, row.quality, row.n)
        slots = known[row.channel_no]
        slots.update((at, slot) for at, slot in held.items() if slot.value is not None or at not in slots)
    return known


def _is_new(known: Slot | None, slot: Slot) -> bool:
    return known is None or (known.value is None and slot.value is not None)


def _is_better(known: Slot, slot: Slot) -> bool:
    return slot.value is not None and bool(known.quality & REPLACEABLE) and not slot.quality & REPLACEABLE


def _differs(known: Slot, slot: Slot) -> bool:
    return slot.value is not None and known.value is not None and slot.value != known.value


def _runs(slots: Slots, period_ms: int) -> Iterator[tuple[int, int]]:
    """Unbroken runs (first start, count), so that a row never says anything about a slot it does not hold."""
    starts = sorted(slots)
    first = 0
    for i in range(1, len(starts) + 1):
        if i == len(starts) or starts[i] - starts[i - 1] != period_ms:
            yield starts[first], i - first
            first = i


def save_usage(conn: Connection, ref: ChannelRef, day: int, period_s: int, slots: Slots, now_ms: int) -> None:
    """Write the day's total, so that charts and bills need not open blocks."""
    values = [slot.value for slot in slots.values() if slot.value is not None]
    expected = slots_of(day, ref.zone, period_s).n
    upsert(conn, usage_day, {"shard": SHARD, "day": day, "channel_no": ref.channel_no, "total": sum(values),
                             "present": len(values), "expected": expected, "complete": len(values) >= expected,
                             "updated_ms": now_ms})  # fmt: skip


# ---- reading --------------------------------------------------------------------------------------------------


def day_slots(conn: Connection, channel_no: int, day: int) -> Slots:
    """What is known of one day: the approved block overlaid with the inbox, conflicts left out."""
    return days_slots(conn, channel_no, [day])


def days_slots(conn: Connection, channel_no: int, days: list[int]) -> Slots:
    slots: Slots = {}
    for row in _held_rows(conn, [channel_no], days, INT_MIN, INT_MAX):
        held = slots_from(row.start_ms, row.period_s, row.blob, row.quality, row.n)
        slots.update((at, slot) for at, slot in held.items() if slot.value is not None or at not in slots)
    return slots


def _held_rows(conn: Connection, channels: list[int], days: list[int], from_ms: int, to_ms: int) -> list[Any]:
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
        first.update((at, s) for at, s in held.items() if at not in first or _is_new(first[at], s))
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
