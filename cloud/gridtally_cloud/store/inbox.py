"""Putting interval values into the inbox: what is new, what is a duplicate, what contradicts, what replaces.

* The same interval with the same value again is dropped. Another value is kept beside the first one as a conflict and does
  not change what is read until a person decides. A real value replaces an estimated or partial one.
* Any number of blocks of any channels go in with a handful of statements; the day's totals are kept up with them.

Source: mdm.md B.2 row 0 and F.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of, midnight_ms, slots_of
from gridtally_cloud.store.db import add_all, upsert
from gridtally_cloud.store.intervals import ChannelRef, Slot, Slots, held_rows, pack, slots_from
from gridtally_cloud.store.tables import interval_inbox, usage_day
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality

MAX_INTERVALS = 10_000
FIRST_CONTACT_MS = 26 * MS_PER_HOUR
PERIODS_S = frozenset({60, 300, 600, 900, 1800, 3600})
REPLACEABLE = Quality.ESTIMATED | Quality.PARTIAL
SUMMED_UNITS = frozenset({"Wh", "VAh", "varh"})


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


def check_block(block: ChannelBlock, now_ms: int, installed_ms: int) -> None:
    """The envelope check of mdm.md B.2 row 0. Raises ContractError that says what does not fit. A first contact may bring a
    day from before the installation; `unpack` passes over that part."""
    period_ms = block.period_s * 1000
    rules = (
        (block.period_s in PERIODS_S, f"an interval of {block.period_s} s is not in use"),
        (0 < block.n <= MAX_INTERVALS, f"{block.n} intervals in one block"),
        (block.period_s > 0 and block.start_ms % max(period_ms, 1) == 0, "the intervals are not on the UTC grid"),
        (block.start_ms + block.n * period_ms <= now_ms + period_ms, "the intervals lie in the future"),
        (block.start_ms >= installed_ms - FIRST_CONTACT_MS, "the intervals lie before the installation"),
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


def unpack(ref: ChannelRef, block: ChannelBlock, installed_ms: int = 0) -> Unpacked:
    """The intervals of a block that began after the installation, or contain it. Raises ContractError when the bytes do
    not fit."""
    slots = slots_from(block.start_ms, block.period_s, block.values, block.quality, block.n)
    if block.start_ms < installed_ms:
        slots = {at: slot for at, slot in slots.items() if at > installed_ms - block.period_s * 1000}
    return Unpacked(ref, block, slots)


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
    for row in held_rows(conn, list(known), days, from_ms, to_ms):
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
