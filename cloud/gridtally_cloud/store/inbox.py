"""Putting interval values into the inbox: what is new, what is a duplicate, what contradicts, what replaces.

* The same interval with the same value again is dropped. Another value is kept beside the first one as a conflict and does
  not change what is read until a person decides. A real value replaces an estimated or partial one.
* Any number of blocks of any channels go in with a handful of statements; the day's totals are kept up with them.

Source: mdm.md B.2 row 0 and F.3.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, insert

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of, midnight_ms, slots_of
from gridtally_cloud.store.intervals import (
    ChannelRef,
    Slot,
    Slots,
    columns_from,
    held_rows,
    hold_points,
    pack,
    slots_from,
    slots_of_columns,
)
from gridtally_cloud.store.tables import interval_inbox
from gridtally_cloud.store.totals import DaySum, add_days, save_days
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

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
    """A checked block, decoded; what it says of the time before `installed_ms` does not count."""

    ref: ChannelRef
    block: ChannelBlock
    values: array[int]
    present: bytes
    installed_ms: int

    @property
    def end_ms(self) -> int:
        return self.block.start_ms + self.block.n * self.block.period_s * 1000

    @property
    def counts(self) -> bool:
        """Whether anything of it does."""
        return self.block.n > 0 and self.end_ms > self.installed_ms

    def days(self) -> range:
        """The local days its intervals start in."""
        last_ms = self.end_ms - self.block.period_s * 1000
        return range(day_of(self.block.start_ms, self.ref.zone), day_of(last_ms, self.ref.zone) + 1)

    def slots(self) -> Slots:
        slots = slots_of_columns(self.block.start_ms, self.block.period_s, self.values, self.present, self.block.quality)
        if self.block.start_ms < self.installed_ms:
            slots = {at: slot for at, slot in slots.items() if at > self.installed_ms - self.block.period_s * 1000}
        return slots

    def by_day(self) -> dict[int, Slots]:
        """Its intervals by local day."""
        slots = self.slots()
        first, last = self.block.start_ms, max(slots)
        day, zone = day_of(first, self.ref.zone), self.ref.zone
        days: dict[int, Slots] = {}
        while first <= last:
            after = midnight_ms(day + 1, zone)
            days[day] = {at: slot for at, slot in slots.items() if first <= at < after} if last >= after else slots
            first, day = after, day + 1
        return {day: _from(slots, midnight_ms(day, zone)) for day, slots in days.items() if slots}


def _from(slots: Slots, start_ms: int) -> Slots:
    return slots if min(slots) >= start_ms else {at: slot for at, slot in slots.items() if at >= start_ms}


def unpack(ref: ChannelRef, block: ChannelBlock, installed_ms: int = 0) -> Unpacked:
    """The intervals of a block that began after the installation, or contain it. Raises ContractError when the bytes do
    not fit."""
    values, present = columns_from(block.values, block.quality, block.n)
    return Unpacked(ref, block, values, present, installed_ms)


def store_block(conn: Connection, ref: ChannelRef, block: ChannelBlock, now_ms: int) -> Stored:
    """Add one checked block to the inbox. Raises ContractError when its bytes do not fit."""
    return store_blocks(conn, [unpack(ref, block)], now_ms)


def store_blocks(conn: Connection, blocks: Sequence[Unpacked], now_ms: int) -> Stored:
    """Add blocks of any channels to the inbox, in a handful of statements. A block within one day of which nothing is held yet goes in
    as it came; of others each interval is compared."""
    counting = [u for u in blocks if u.counts]
    if not counting:
        return Stored()
    hold_points(conn, (u.ref.channel_no for u in counting))
    days = [u.days() for u in counting]
    held, added = _Held(conn, counting, sorted({day for each in days for day in each})), _Added(now_ms)
    total = sum((_put(u, each, held, added) for u, each in zip(counting, days, strict=True)), Stored())
    if added.rows:
        conn.execute(insert(interval_inbox), added.rows)
    add_days(conn, added.usage)
    return total


def _put(u: Unpacked, days: range, held: _Held, added: _Added) -> Stored:
    if len(days) == 1 and u.block.start_ms >= u.installed_ms and not held.touches(u):
        added.whole(u, days[0])
        held.add(u)
        return Stored(new=u.block.n)
    known = held.slots(u.ref.channel_no)
    stored = sum((_sort_in(u, day, part, known, added) for day, part in u.by_day().items()), Stored())
    held.note(u)
    return stored


class _Held:
    """What is held of the blocks' channels in the span they cover together; opened only where a block touches it."""

    def __init__(self, conn: Connection, blocks: Sequence[Unpacked], days: list[int]) -> None:
        self._spans: dict[int, list[tuple[int, int]]] = {u.ref.channel_no: [] for u in blocks}
        self._closed: dict[int, list[Callable[[], Slots]]] = {number: [] for number in self._spans}
        self._open: dict[int, Slots] = {}
        from_ms, to_ms = min(u.block.start_ms for u in blocks), max(u.end_ms for u in blocks)
        for row in held_rows(conn, list(self._spans), days, from_ms, to_ms):
            self._spans[row.channel_no].append((row.start_ms, row.start_ms + row.n * row.period_s * 1000))
            self._closed[row.channel_no].append(partial(slots_from, row.start_ms, row.period_s, row.blob, row.quality, row.n))

    def touches(self, u: Unpacked) -> bool:
        return any(first < u.end_ms and after > u.block.start_ms for first, after in self._spans[u.ref.channel_no])

    def note(self, u: Unpacked) -> None:
        self._spans[u.ref.channel_no].append((u.block.start_ms, u.end_ms))

    def add(self, u: Unpacked) -> None:
        """A block that went in whole."""
        self.note(u)
        self._closed[u.ref.channel_no].append(u.slots)

    def slots(self, channel_no: int) -> Slots:
        """Every interval held; what is added to the dictionary is held from then on."""
        slots = self._open.setdefault(channel_no, {})
        for opened in self._closed[channel_no]:
            slots.update((at, slot) for at, slot in opened().items() if slot.value is not None or at not in slots)
        self._closed[channel_no].clear()
        return slots


class _Added:
    """Rows to write once all blocks are sorted in."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.rows: list[dict[str, Any]] = []
        self._usage: dict[tuple[int, int], DaySum] = {}

    def slots(self, u: Unpacked, day: int, slots: Slots, conflict: bool) -> None:
        for first, count in _runs(slots, u.block.period_s * 1000):
            blob, quality = pack(slots, first, u.block.period_s, count)
            self.rows.append({
                "shard": SHARD, "day": day, "channel_no": u.ref.channel_no, "meter_no": u.block.meter_no, "start_ms": first,
                "period_s": u.block.period_s, "n": count, "blob": blob, "quality": quality, "conflict": conflict,
                "received_ms": self.now_ms,
            })  # fmt: skip

    def whole(self, u: Unpacked, day: int) -> None:
        """A block of which nothing is held, in its own bytes."""
        quality = u.block.quality if any(u.block.quality) else b""
        self.rows.append({
            "shard": SHARD, "day": day, "channel_no": u.ref.channel_no, "meter_no": u.block.meter_no, "start_ms": u.block.start_ms,
            "period_s": u.block.period_s, "n": u.block.n, "blob": u.block.values, "quality": quality, "conflict": False,
            "received_ms": self.now_ms,
        })  # fmt: skip
        self.use(u, day, sum(u.values), sum(u.present))

    def use(self, u: Unpacked, day: int, total: int, present: int) -> None:
        if u.ref.unit not in SUMMED_UNITS or not (total or present):
            return
        name = (u.ref.channel_no, day)
        held = self._usage.get(name) or DaySum(day, u.ref.channel_no, 0, 0, slots_of(day, u.ref.zone, u.block.period_s).n)
        self._usage[name] = held._replace(total=held.total + total, present=held.present + present)

    @property
    def usage(self) -> list[DaySum]:
        """What the days have more than before."""
        return list(self._usage.values())


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


def save_usage(conn: Connection, ref: ChannelRef, day: int, period_s: int, slots: Slots, estimates: int = 0) -> None:
    """Write the day's total, so that charts and bills need not open blocks. `estimates` of the values count for the total, and do not
    make a day complete."""
    values = [slot.value for slot in slots.values() if slot.value is not None]
    expected, present = slots_of(day, ref.zone, period_s).n, len(values) - estimates
    save_days(conn, [DaySum(day, ref.channel_no, sum(values), present, expected)])
