"""Which days of a channel any check of single intervals could have something against, in plain Python. Twin: `_screen`.

* A day without a bit has nothing that these checks find. A day with one is for whoever knows the rule: the bits promise no finding.
* An interval that is not there is only a gap; neither its value nor its flags are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, pairwise
from typing import TYPE_CHECKING

from gridtally_native._records import (
    MAX_CELL_WH,
    PARTIAL,
    POWER_FAIL,
    SCREEN_DARK_USE,
    SCREEN_GAP,
    SCREEN_LIMIT,
    SCREEN_MARKED,
    SCREEN_SPIKE,
    SCREEN_STUCK,
    SCREEN_ZERO,
    check_column,
    check_ends,
    check_same_length,
    check_screen,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer


def screen_days(
    values: Buffer, quality: Buffer, present: Buffer, ends: Sequence[int], bottom: int, top: int,
    spike_floor: int, spike_permille: int, stuck_run: int, zero_run: int, marks: int,
) -> bytes:  # fmt: skip
    """One byte a day, the SCREEN_ bits of what may be found in it; days end before the intervals `ends`.

    * GAP: an interval is not there. LIMIT: one below `bottom` or above `top`.
    * SPIKE: the highest is at least `spike_floor` and more than `spike_permille` above the third highest, which counts as 0 where it is
      below that; or it is above 2**38, which is for others to judge.
    * STUCK, ZERO: a run of `stuck_run` equal values that are not zero, or of `zero_run` zeros, reaches that length in the day. A run
      goes on from day to day, and ends where an interval is not there.
    * MARKED: one has a flag of `marks`. DARK_USE: one above zero has POWER_FAIL without PARTIAL.
    """
    numbers, flags = check_column("values", values, "ql", 8).tolist(), check_column("quality", quality, "H", 2).tolist()
    there = check_column("present", present, "Bbc?", 1).cast("B").tolist()
    if not len(numbers) == len(flags) == len(there):
        check_same_length(memoryview(values), memoryview(quality), memoryview(present))
    edges = [0, *check_ends(ends, len(numbers))]
    check_screen(bottom, top, spike_floor, spike_permille, stuck_run, zero_run, marks)
    out = bytearray(len(edges) - 1)
    for day, (first, after) in enumerate(pairwise(edges)):
        held = list(compress(numbers[first:after], there[first:after]))
        if len(held) < after - first:
            out[day] |= SCREEN_GAP
        held.sort()
        if held and not (bottom <= held[0] and held[-1] <= top):
            out[day] |= SCREEN_LIMIT
        if len(held) >= 3 and _spikes(held[-1], max(0, held[-3]), spike_floor, spike_permille):
            out[day] |= SCREEN_SPIKE
        if any(flags[first:after]):
            out[day] |= _flagged(numbers[first:after], flags[first:after], there[first:after], marks)
    _standing(numbers, there, edges, stuck_run, zero_run, out)
    return bytes(out)


def _spikes(top: int, third: int, floor: int, permille: int) -> bool:
    return top >= floor and (top > MAX_CELL_WH or (top - third) * 1000 > permille * third)


def _flagged(numbers: list[int], flags: list[int], there: list[int], marks: int) -> int:
    bits = 0
    for number, flag, is_there in zip(numbers, flags, there, strict=True):
        if is_there and flag & marks:
            bits |= SCREEN_MARKED
        if is_there and number > 0 and flag & POWER_FAIL and not flag & PARTIAL:
            bits |= SCREEN_DARK_USE
    return bits


def _standing(numbers: list[int], there: list[int], edges: list[int], stuck_run: int, zero_run: int, out: bytearray) -> None:
    """Runs over the days: STUCK and ZERO."""
    length, before, day = 0, 0, 0
    least = min(stuck_run, zero_run)
    for i, (number, is_there) in enumerate(zip(numbers, there, strict=True)):
        length = (length + 1 if number == before and length else 1) if is_there else 0
        before = number
        if length >= least:
            while i >= edges[day + 1]:
                day += 1
            if length >= (stuck_run if number else zero_run):
                out[day] |= SCREEN_STUCK if number else SCREEN_ZERO
