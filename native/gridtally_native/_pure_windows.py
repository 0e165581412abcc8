"""What is made of intervals, in plain Python: demand, time-of-use totals, blocks laid on the UTC grid. Twin: `_windows`.

* Energy and flags are columns of intervals as `register_intervals` gives them (int64 Wh, uint16).
* The grid is UTC, so no interval is lost or doubled when clocks change for summer; local days are the caller's.
* Energy beyond MAX_CELL_WH in one interval, or below zero where it can not be, is flagged RESET and books nothing.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from gridtally_native._records import (
    CLOCK,
    MAX_CELL_WH,
    MAX_INTERVALS,
    MAX_MS,
    MAX_RATES,
    MAX_STEP_WH,
    MISSING,
    PARTIAL,
    RESET,
    Demand,
    RegisterIntervals,
    TouTotals,
    check_column,
    check_demand,
    check_grid,
    check_range,
    check_same_length,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MS_PER_HOUR = 3_600_000


def demand_windows(
    energy_wh: Buffer, flags: Buffer, period_ms: int, windows: int, *, sliding: bool = False
) -> Demand:
    """Mean power of windows of `windows` intervals of `period_ms`.

    * Block: one value for every `windows` intervals, a rest that fills no window is left out. Sliding: one value an interval,
      of the window that ends with it; those before the first whole window are MISSING with power 0.
    * A window carries every flag of its intervals. A MISSING one makes its mean a lower bound: `Demand.peak` leaves it out.
    """
    period, count = check_demand(period_ms, windows)
    energy, marks = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    n = check_range("intervals", check_same_length(energy, marks), 0, MAX_INTERVALS)
    power, out = array("q"), array("H")
    for end in range(1, n + 1) if sliding else range(count, n + 1, count):
        mean, flag = (0, MISSING) if end < count else _mean(energy[end - count : end], marks[end - count : end], count * period)
        power.append(mean)
        out.append(flag)
    return Demand(period * count, power, out)


def _mean(energy_wh: memoryview, flags: memoryview, window_ms: int) -> tuple[int, int]:
    total = seen = 0
    for energy, flag in zip(energy_wh, flags, strict=True):
        plausible = -MAX_CELL_WH <= energy <= MAX_CELL_WH
        total += energy if plausible else 0
        seen |= flag if plausible else flag | RESET
    if not -MAX_STEP_WH <= total <= MAX_STEP_WH:
        return 0, seen | RESET
    return (total * _MS_PER_HOUR + window_ms // 2) // window_ms, seen


def tou_totals(energy_wh: Buffer, flags: Buffer, rates: Buffer, n_rates: int) -> TouTotals:
    """Energy by rate; `rates` holds one byte an interval, below `n_rates`. Flagged intervals are counted and booked: their
    energy is part of the register's movement. Raises ValueError for a rate that is none."""
    count = check_range("n_rates", n_rates, 1, MAX_RATES)
    energy, marks = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    names = check_column("rates", rates, "Bbc?", 1).cast("B")
    check_range("intervals", check_same_length(energy, marks, names), 0, MAX_INTERVALS)
    total, intervals, flagged = array("q", bytes(8 * count)), array("i", bytes(4 * count)), array("i", bytes(4 * count))
    for row, rate in enumerate(names):
        if rate >= count:
            raise ValueError(f"interval {row} has rate {rate}, there are {count}")
        plausible = -MAX_CELL_WH <= energy[row] <= MAX_CELL_WH
        total[rate] += energy[row] if plausible else 0
        intervals[rate] += 1
        flagged[rate] += 1 if marks[row] or not plausible else 0
    return TouTotals(total, intervals, flagged)


def lay_on_grid(
    from_ms: Buffer, to_ms: Buffer, energy_wh: Buffer, flags: Buffer, start_ms: int, period_ms: int, n: int
) -> RegisterIntervals:
    """Blocks of any length and in any order, as a meter with its own clock stamps them, on the grid of `n` intervals.

    * The energy of a block is spread evenly over from..to and rounded down at each boundary: nothing is lost from the sum.
    * An interval no block touches is MISSING, one covered in part PARTIAL. One covered more than once, or the end of a block
      that ends before it begins, is CLOCK: the meter's clock was set back; the energy is real and stays.
    * What lies outside the grid is left out; a block's flags go to every interval it touches.
    """
    count = check_range("n", n, 0, MAX_INTERVALS)
    start, period, end = check_grid(start_ms, period_ms, count)
    begins, ends = check_column("from_ms", from_ms, "ql", 8), check_column("to_ms", to_ms, "ql", 8)
    energy, marks = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    rows = check_same_length(begins, ends, energy, marks)
    out, seen, covered = array("q", bytes(8 * count)), array("H", bytes(2 * count)), [0] * count
    for row in range(rows):
        begin, stop = begins[row], ends[row]
        if not (-MAX_MS <= begin <= MAX_MS and -MAX_MS <= stop <= MAX_MS):
            raise ValueError(f"block {row}: times must be within {-MAX_MS} to {MAX_MS}")
        plausible = 0 <= energy[row] <= MAX_STEP_WH
        amount, flag = (energy[row], marks[row]) if plausible else (0, marks[row] | RESET)
        if stop <= begin:
            cell = (stop - start - 1) // period
            if 0 <= cell < count:
                out[cell] += amount
                seen[cell] |= flag | CLOCK
            continue
        low, high = max(begin, start), min(stop, end)
        if low >= high:
            continue
        booked = amount * (low - begin) // (stop - begin)
        for cell in range((low - start) // period, (high - start - 1) // period + 1):
            cell_end = min(start + (cell + 1) * period, high)
            share = amount * (cell_end - begin) // (stop - begin)
            out[cell] += share - booked
            booked = share
            seen[cell] |= flag
            covered[cell] += cell_end - max(low, start + cell * period)
    for cell in range(count):
        seen[cell] |= _coverage_flag(covered[cell], period)
    return RegisterIntervals(start, period, out, seen)


def _coverage_flag(covered_ms: int, period_ms: int) -> int:
    if covered_ms >= period_ms:
        return CLOCK if covered_ms > period_ms else 0
    return PARTIAL if covered_ms else MISSING
