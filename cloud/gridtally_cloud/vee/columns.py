"""What was measured of a channel-day, in columns: what `days_slots` of the store gives, without an object an interval.

* Rows that are not on the grid of the channel, or whose parts do not agree, are for whoever reads the day alone to say: then there are no
  columns.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from gridtally_cloud.store.days import DaySlots
from gridtally_cloud.store.intervals import Slot, Slots
from gridtally_cloud.vee.model import Stretch
from gridtally_native import decode_block
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

MISSING, EDITED = int(Quality.MISSING), int(Quality.EDITED)


@dataclass(frozen=True, slots=True)
class Columns:
    """`values[i]` counts only where `present[i]` is 1. Nobody changes them: they are shared."""

    values: array[int]
    quality: array[int]
    present: bytes

    @property
    def is_whole(self) -> bool:
        return 0 not in self.present

    @property
    def has_any(self) -> bool:
        return 1 in self.present


def laid(rows: Sequence[Any], grid: DaySlots) -> Columns | None:
    """Rows of a day over each other: a value over what is there, but not over an edited one. None where they are not on the grid."""
    if len(rows) == 1 and rows[0].start_ms == grid.start_ms and rows[0].period_s == grid.period_s:
        alone = _unpacked(rows[0])
        if alone is not None and len(alone.values) == grid.n:
            return alone
    return _over(rows, grid)


def _over(rows: Sequence[Any], grid: DaySlots) -> Columns | None:
    n, period_ms = grid.n, grid.period_s * 1000
    values, quality, present, seen = array("q", bytes(8 * n)), array("H", [MISSING]) * n, bytearray(n), bytearray(n)
    for row in rows:
        first, beside = divmod(row.start_ms - grid.start_ms, period_ms)
        new = None if beside or row.period_s != grid.period_s else _unpacked(row)
        if new is None or row.n != len(new.values) or first < 0 or first + len(new.values) > n:
            return None
        after = first + len(new.values)
        if 1 not in seen[first:after]:
            values[first:after], quality[first:after], present[first:after] = new.values, new.quality, new.present
            seen[first:after] = b"\1" * (after - first)
            continue
        for place, number, word, there in zip(range(first, after), new.values, new.quality, new.present, strict=True):
            if not seen[place] or (there and not quality[place] & EDITED):
                values[place], quality[place], present[place], seen[place] = number, word, there, 1
    return Columns(values, quality, bytes(present))


def _unpacked(row: Any) -> Columns | None:
    try:
        numbers, mask = decode_block(row.blob)
    except ValueError:
        return None
    n, words = len(numbers), row.quality
    if len(words) not in (0, 2 * n):
        return None
    return Columns(numbers, _words(bytes(words)) if words else _unmarked(n), mask)


def _words(stored: bytes) -> array[int]:
    words = array("H", stored)
    if sys.byteorder == "big":
        words.byteswap()
    return words


@lru_cache(maxsize=64)
def _unmarked(n: int) -> array[int]:
    return array("H", bytes(2 * n))


@lru_cache(maxsize=64)
def nothing(n: int) -> Columns:
    """A day of which nothing came."""
    return Columns(array("q", bytes(8 * n)), array("H", [MISSING]) * n, bytes(n))


def joined(parts: Iterable[Columns], start_ms: int, period_s: int, unit: str) -> Stretch:
    """Days one after the other."""
    values, quality, present = array("q"), array("H"), bytearray()
    for part in parts:
        values += part.values
        quality += part.quality
        present += part.present
    return Stretch(start_ms, period_s, unit, values, quality, bytes(present))


def slots_of_day(held: Columns, grid: DaySlots) -> Slots:
    """Each interval of a day as the store's functions want it."""
    starts = range(grid.start_ms, grid.end_ms, grid.period_s * 1000)
    each = zip(starts, held.values, held.quality, held.present, strict=True)
    return {at: Slot(value if there else None, quality) for at, value, quality, there in each}
