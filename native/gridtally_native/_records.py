"""What the hot loops return, the limits they state, and the checks both twins share.

* The flag numbers are those of `gridtally_shared.quality.Quality`. This package imports nothing of ours, so they are
  written down a second time here, and a test compares the two.
* Each limit is far beyond any real meter. It is there so that C integers can not overflow and a hostile argument can
  not ask for all the memory; the pure twin refuses the same calls with the same exception.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from operator import index
from typing import TypeAlias

MISSING = 1
RESET = 16
ROLLOVER = 32
PARTIAL = 256

INT64_MAX = 2**63 - 1
MAX_MS = 2**62  # start_ms and the end of the last interval lie in [-MAX_MS, MAX_MS]
MAX_PERIOD_MS = 2**31 - 1  # 24.8 days
MAX_ROWS = 2**31 - 1  # rows of one aggregate() call
MAX_INTERVALS = 2**24  # intervals per meter of one register call
MAX_CELLS = 2**27  # meters x intervals of one register call
MAX_METER_ROWS = 2**23 - 1  # register samples of one meter in one call; x MAX_STEP_WH still fits int64
MAX_STEP_WH = 2**40  # one step of a register; more is never consumption
MAX_POWER_W = 2**31 - 1
MAX_ROLLOVER_WH = 2**62
MAX_BLOCK = 2**20  # intervals of one encoded block

Numbers: TypeAlias = "array[int] | array[float]"


@dataclass(frozen=True, slots=True)
class Aggregates:
    """One row per meter and interval that has samples, in order of (meter, start_ms). Columns have equal length.

    `total` to `last` have the type of the values given. `first` and `last` are by time; among equal times the
    earliest arrival is first and the latest arrival is last. `outside` counts the samples beyond the grid.
    """

    meters: array[int]
    start_ms: array[int]
    count: array[int]
    total: Numbers
    minimum: Numbers
    maximum: Numbers
    first: Numbers
    last: Numbers
    outside: int

    def __len__(self) -> int:
        return len(self.meters)

    def mean(self, row: int) -> float:
        return self.total[row] / self.count[row]


@dataclass(frozen=True, slots=True)
class RegisterIntervals:
    """Energy and quality flags of `len(energy_wh)` consecutive intervals of one meter, the first at `start_ms`."""

    start_ms: int
    period_ms: int
    energy_wh: array[int]
    flags: array[int]

    def __len__(self) -> int:
        return len(self.energy_wh)

    @property
    def total_wh(self) -> int:
        return sum(self.energy_wh)


@dataclass(frozen=True, slots=True)
class RegisterTable:
    """The same for many meters: `energy_wh` and `flags` hold `n` intervals of meters[0], then of meters[1], ..."""

    start_ms: int
    period_ms: int
    n: int
    meters: array[int]
    energy_wh: array[int]
    flags: array[int]

    def __len__(self) -> int:
        return len(self.meters)

    def row(self, number: int) -> RegisterIntervals:
        if not 0 <= number < len(self.meters):
            raise IndexError(f"meter row {number} of {len(self.meters)}")
        cells = slice(number * self.n, (number + 1) * self.n)
        return RegisterIntervals(self.start_ms, self.period_ms, self.energy_wh[cells], self.flags[cells])

    def __iter__(self) -> Iterator[tuple[int, RegisterIntervals]]:
        return ((meter, self.row(number)) for number, meter in enumerate(self.meters))


def check_range(name: str, value: int, low: int, high: int) -> int:
    """`value` as a plain int; TypeError if it is no integer, ValueError if it is outside [low, high]."""
    number = index(value)
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}, must be {low} to {high}")
    return number


def check_grid(start_ms: int, period_ms: int, n: int | None) -> tuple[int, int, int]:
    """(start, period, end) of the grid as plain ints; `n` None means without end."""
    start = check_range("start_ms", start_ms, -MAX_MS, MAX_MS)
    period = check_range("period_ms", period_ms, 1, MAX_PERIOD_MS)
    if n is None:
        return start, period, MAX_MS
    end = start + period * check_range("n", n, 0, INT64_MAX)
    if end > MAX_MS:
        raise ValueError(f"{n} intervals of {period} ms from {start} end beyond {MAX_MS}")
    return start, period, end


def check_register(
    start_ms: int, period_ms: int, n: int, max_gap_ms: int, rollover_wh: int, max_power_w: int, resolution_wh: int
) -> tuple[int, int, int, int, int, int, int]:
    """The settings of a register call as plain ints, in the same order."""
    count = check_range("n", n, 0, MAX_INTERVALS)
    start, period, _ = check_grid(start_ms, period_ms, count)
    return (
        start,
        period,
        count,
        check_range("max_gap_ms", max_gap_ms, 1, MAX_MS),
        check_range("rollover_wh", rollover_wh, 0, MAX_ROLLOVER_WH),
        check_range("max_power_w", max_power_w, 0, MAX_POWER_W),
        check_range("resolution_wh", resolution_wh, 0, MAX_STEP_WH),
    )
