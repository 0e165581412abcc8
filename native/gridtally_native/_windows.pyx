# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -fwrapv
"""Demand, time-of-use totals and blocks on the grid in C types; `_pure_windows` defines and explains them."""

from cpython cimport array
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free

from gridtally_native import _records
from gridtally_native._records import (
    Demand,
    RegisterIntervals,
    TouTotals,
    check_column,
    check_demand,
    check_grid,
    check_range,
    check_same_length,
)

cdef enum:
    MISSING = 1
    CLOCK = 4
    RESET = 16
    PARTIAL = 256

cdef int64_t MAX_CELL_WH = _records.MAX_CELL_WH
cdef int64_t MAX_STEP_WH = _records.MAX_STEP_WH
cdef int64_t MAX_MS = _records.MAX_MS
cdef int64_t MS_PER_HOUR = 3_600_000
cdef array.array INT32 = array.array("i")
cdef array.array INT64 = array.array("q")
cdef array.array UINT16 = array.array("H")


def demand_windows(energy_wh, flags, period_ms, windows, *, sliding=False):
    """Mean power of windows of intervals; see `_pure_windows.demand_windows`."""
    cdef int64_t period, count
    period, count = check_demand(period_ms, windows)
    energy_column, flag_column = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    cdef int64_t n = check_range("intervals", check_same_length(energy_column, flag_column), 0, _records.MAX_INTERVALS)
    cdef const int64_t[::1] energy = energy_column
    cdef const uint16_t[::1] marks = flag_column
    cdef bint slides = bool(sliding)
    cdef int64_t results = n if slides else n // count
    cdef array.array power = array.clone(INT64, results, True)
    cdef array.array out = array.clone(UINT16, results, True)
    cdef int64_t* means = <int64_t*> power.data.as_longlongs
    cdef uint16_t* seen = <uint16_t*> out.data.as_ushorts
    if n:
        with nogil:
            _demand(&energy[0], &marks[0], n, period, count, slides, means, seen)
    return Demand(period * count, power, out)


cdef void _demand(const int64_t* energy, const uint16_t* marks, int64_t n, int64_t period, int64_t count, bint slides,
                  int64_t* means, uint16_t* seen) noexcept nogil:
    """One pass: the sum is carried on, and for each flag the last interval that had it."""
    cdef int64_t last[16]
    cdef int64_t total = 0, window = period * count, row, at, double_
    cdef int bit, flag, own
    for bit in range(16):
        last[bit] = -count - 1
    for row in range(n):
        own = marks[row]
        if energy[row] > MAX_CELL_WH or energy[row] < -MAX_CELL_WH:
            own |= RESET
        else:
            total += energy[row]
        if own:
            for bit in range(16):
                if own >> bit & 1:
                    last[bit] = row
        if row >= count:
            if -MAX_CELL_WH <= energy[row - count] <= MAX_CELL_WH:
                total -= energy[row - count]
        if not slides and (row + 1) % count:
            continue
        at = row if slides else row // count
        if row + 1 < count:
            means[at], seen[at] = 0, MISSING
            continue
        flag = 0
        for bit in range(16):
            if last[bit] > row - count:
                flag |= 1 << bit
        if total > MAX_STEP_WH or total < -MAX_STEP_WH:
            means[at], seen[at] = 0, <uint16_t> (flag | RESET)
            continue
        double_ = total * MS_PER_HOUR + window // 2
        means[at] = double_ // window - (double_ % window < 0)
        seen[at] = <uint16_t> flag


def tou_totals(energy_wh, flags, rates, n_rates):
    """Energy by rate; see `_pure_windows.tou_totals`."""
    cdef int64_t count = check_range("n_rates", n_rates, 1, _records.MAX_RATES)
    energy_column, flag_column = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    rate_column = check_column("rates", rates, "Bbc?", 1).cast("B")
    cdef int64_t n = check_range(
        "intervals", check_same_length(energy_column, flag_column, rate_column), 0, _records.MAX_INTERVALS)
    cdef const int64_t[::1] energy = energy_column
    cdef const uint16_t[::1] marks = flag_column
    cdef const uint8_t[::1] names = rate_column
    cdef array.array total = array.clone(INT64, count, True)
    cdef array.array intervals = array.clone(INT32, count, True)
    cdef array.array flagged = array.clone(INT32, count, True)
    cdef int64_t* sums = <int64_t*> total.data.as_longlongs
    cdef int* counts = intervals.data.as_ints
    cdef int* doubts = flagged.data.as_ints
    cdef int64_t row, bad = -1
    cdef bint plausible
    with nogil:
        for row in range(n):
            if names[row] >= count:
                bad = row
                break
            plausible = -MAX_CELL_WH <= energy[row] <= MAX_CELL_WH
            if plausible:
                sums[names[row]] += energy[row]
            counts[names[row]] += 1
            doubts[names[row]] += marks[row] != 0 or not plausible
    if bad >= 0:
        raise ValueError(f"interval {bad} has rate {names[bad]}, there are {count}")
    return TouTotals(total, intervals, flagged)


cdef struct Cells:
    int64_t start
    int64_t period
    int64_t end
    int64_t n
    int64_t* energy
    uint16_t* seen
    int64_t* covered


cdef int64_t _share(int64_t amount, uint64_t part, uint64_t whole) noexcept nogil:
    """amount x part / whole, rounded down, in 64 bits; 0 <= amount <= MAX_STEP_WH, part <= whole < 2**63."""
    cdef uint64_t rest = 0, quotient = 0
    cdef int bit
    if amount < <int64_t> 1 << 31 and whole < <uint64_t> 1 << 32:
        return <int64_t> (<uint64_t> amount * part // whole)
    for bit in range(41, -1, -1):
        rest <<= 1
        quotient <<= 1
        if rest >= whole:
            rest -= whole
            quotient += 1
        if amount >> bit & 1:
            rest += part
            if rest >= whole:
                rest -= whole
                quotient += 1
    return <int64_t> quotient


cdef void _lay(Cells* c, int64_t begin, int64_t stop, int64_t amount, int flag) noexcept nogil:
    cdef int64_t low, high, cell, cell_end, share, booked, cell_start
    if stop <= begin:
        cell = stop - c.start - 1
        if cell >= 0 and cell // c.period < c.n:
            c.energy[cell // c.period] += amount
            c.seen[cell // c.period] |= <uint16_t> (flag | CLOCK)
        return
    low, high = begin if begin > c.start else c.start, stop if stop < c.end else c.end
    if low >= high:
        return
    booked = _share(amount, low - begin, stop - begin)
    for cell in range((low - c.start) // c.period, (high - c.start - 1) // c.period + 1):
        cell_start = c.start + cell * c.period
        cell_end = cell_start + c.period if cell_start + c.period < high else high
        share = _share(amount, cell_end - begin, stop - begin)
        c.energy[cell] += share - booked
        booked = share
        c.seen[cell] |= <uint16_t> flag
        c.covered[cell] += cell_end - (low if low > cell_start else cell_start)


def lay_on_grid(from_ms, to_ms, energy_wh, flags, start_ms, period_ms, n):
    """Blocks of any length on the grid; see `_pure_windows.lay_on_grid`."""
    cdef Cells c
    cdef int64_t count = check_range("n", n, 0, _records.MAX_INTERVALS)
    c.start, c.period, c.end = check_grid(start_ms, period_ms, count)
    c.n = count
    begin_column, end_column = check_column("from_ms", from_ms, "ql", 8), check_column("to_ms", to_ms, "ql", 8)
    energy_column, flag_column = check_column("energy_wh", energy_wh, "ql", 8), check_column("flags", flags, "H", 2)
    cdef int64_t rows = check_same_length(begin_column, end_column, energy_column, flag_column)
    cdef const int64_t[::1] begins = begin_column
    cdef const int64_t[::1] ends = end_column
    cdef const int64_t[::1] energy = energy_column
    cdef const uint16_t[::1] marks = flag_column
    cdef array.array out = array.clone(INT64, count, True)
    cdef array.array seen = array.clone(UINT16, count, True)
    c.energy = <int64_t*> out.data.as_longlongs
    c.seen = <uint16_t*> seen.data.as_ushorts
    cdef int64_t row, cell, bad = -1
    cdef bint plausible
    c.covered = <int64_t*> calloc(count + 1, sizeof(int64_t))
    if c.covered == NULL:
        raise MemoryError
    with nogil:
        for row in range(rows):
            if begins[row] < -MAX_MS or begins[row] > MAX_MS or ends[row] < -MAX_MS or ends[row] > MAX_MS:
                bad = row
                break
            plausible = 0 <= energy[row] <= MAX_STEP_WH
            _lay(&c, begins[row], ends[row], energy[row] if plausible else 0, marks[row] if plausible else marks[row] | RESET)
        for cell in range(count):
            if c.covered[cell] > c.period:
                c.seen[cell] |= CLOCK
            elif c.covered[cell] < c.period:
                c.seen[cell] |= PARTIAL if c.covered[cell] else MISSING
    free(c.covered)
    if bad >= 0:
        raise ValueError(f"block {bad}: times must be within {-MAX_MS} to {MAX_MS}")
    return RegisterIntervals(c.start, c.period, out, seen)
