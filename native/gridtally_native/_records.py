"""What the hot loops return, the limits they state, and the checks both twins share.

* The flag numbers are those of `gridtally_shared.quality.Quality`. This package imports nothing of ours, so they are
  written down a second time here, and a test compares the two.
* Each limit is far beyond any real meter. It is there so that C integers can not overflow and a hostile argument can
  not ask for all the memory; the pure twin refuses the same calls with the same exception.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

MISSING = 1
CLOCK = 4
RESET = 16
ROLLOVER = 32
PARTIAL = 256
POWER_FAIL = 512

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
MAX_CELL_WH = 2**38  # energy of one interval in demand_windows() and tou_totals(); more is never consumption
MAX_WINDOWS = 2**12  # intervals of one demand window
MAX_RATES = 64
MAX_SCREEN = 2**62  # bounds of screen_days() lie in [-MAX_SCREEN, MAX_SCREEN]
MAX_PERMILLE = 2**20
MAX_TABLE_CELLS = 400_000  # cells of one profile buffer
MAX_TABLE_OCTETS = 2**31 - 1

SCREEN_GAP = 1
SCREEN_LIMIT = 2
SCREEN_SPIKE = 4
SCREEN_STUCK = 8
SCREEN_ZERO = 16
SCREEN_MARKED = 32
SCREEN_DARK_USE = 64
"""What screen_days() says of a day."""

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


@dataclass(frozen=True, slots=True)
class Demand:
    """Mean power of windows of `windows` intervals, in whole W, rounded half up. Sliding: one value an interval, the window
    ends with it. Block: one value for each whole block."""

    window_ms: int
    power_w: array[int]
    flags: array[int]

    def __len__(self) -> int:
        return len(self.power_w)

    def peak(self, unusable: int = MISSING | RESET) -> int | None:
        """Position of the highest mean, the first of equals, among windows without these flags; None without any."""
        usable = (i for i, flags in enumerate(self.flags) if not flags & unusable)
        return max(usable, key=lambda i: (self.power_w[i], -i), default=None)


@dataclass(frozen=True, slots=True)
class TouTotals:
    """One cell a rate: energy, how many intervals, and how many of them carry a flag."""

    total_wh: array[int]
    intervals: array[int]
    flagged: array[int]


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """The cells of a profile buffer, row by row. `tags` holds the A-XDR tag of each; `numbers` its value: an integer as it
    is (unsigned 64 bit as two's complement), a float as its bits, and for strings, bit strings and times
    `offset << 32 | length` into the buffer (bit strings: length in bits). `end` is the first octet behind the table."""

    rows: int
    columns: int
    tags: bytes
    numbers: array[int]
    end: int


def check_column(name: str, buffer: Buffer, formats: str, itemsize: int) -> memoryview:
    """The buffer as a memoryview, refused when it is not a contiguous column of the wanted type."""
    view = memoryview(buffer)
    if view.ndim != 1 or not view.c_contiguous:
        raise ValueError(f"{name} must be one contiguous column")
    if view.itemsize != itemsize or view.format not in formats:
        raise ValueError(f"{name} holds items of type '{view.format}' and {view.itemsize} bytes, wanted '{formats[0]}'")
    return view


def check_same_length(*views: memoryview) -> int:
    if len({len(view) for view in views}) != 1:
        raise ValueError("columns differ in length: " + ", ".join(str(len(view)) for view in views))
    return len(views[0])


def check_screen(
    bottom: int, top: int, spike_floor: int, spike_permille: int, stuck_run: int, zero_run: int, marks: int
) -> tuple[int, int, int, int, int, int, int]:
    """The bounds of a screening as plain ints, in the same order."""
    return (
        check_range("bottom", bottom, -MAX_SCREEN, MAX_SCREEN),
        check_range("top", top, -MAX_SCREEN, MAX_SCREEN),
        check_range("spike_floor", spike_floor, -MAX_SCREEN, MAX_SCREEN),
        check_range("spike_permille", spike_permille, 0, MAX_PERMILLE),
        check_range("stuck_run", stuck_run, 1, MAX_SCREEN),
        check_range("zero_run", zero_run, 1, MAX_SCREEN),
        check_range("marks", marks, 0, 2**16 - 1),
    )


def check_ends(ends: Sequence[int], n: int) -> list[int]:
    """The ends of the days of `n` intervals as plain ints: each behind the one before it, the last one `n`."""
    plain = [index(end) for end in ends]
    if any(after <= before for before, after in pairwise([0, *plain])) or (plain[-1] if plain else 0) != n:
        raise ValueError(f"ends must rise from above 0 to {n}, the number of intervals")
    return plain


def check_demand(period_ms: int, windows: int) -> tuple[int, int]:
    """Period and number of intervals of a window as plain ints; the window is at most MAX_PERIOD_MS long."""
    period = check_range("period_ms", period_ms, 1, MAX_PERIOD_MS)
    count = check_range("windows", windows, 1, MAX_WINDOWS)
    check_range("windows x period_ms", period * count, 1, MAX_PERIOD_MS)
    return period, count


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
