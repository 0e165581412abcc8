# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -fwrapv
"""The screening of days in C types; `_pure_screen` defines and explains it."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint16_t

from gridtally_native import _records
from gridtally_native._records import check_column, check_ends, check_same_length, check_screen

cdef enum:
    GAP = 1
    LIMIT = 2
    SPIKE = 4
    STUCK = 8
    ZERO = 16
    MARKED = 32
    DARK_USE = 64
    PARTIAL = 256
    POWER_FAIL = 512

cdef int64_t MAX_CELL_WH = _records.MAX_CELL_WH
cdef int64_t LEAST = -_records.INT64_MAX - 1


cdef struct Bounds:
    int64_t bottom
    int64_t top
    int64_t floor
    int64_t permille
    int64_t stuck
    int64_t zero
    int marks


cdef struct Run:
    int64_t value
    int64_t length


def screen_days(values, quality, present, ends, bottom, top, spike_floor, spike_permille, stuck_run, zero_run, marks):
    """What may be found in each day; see `_pure_screen.screen_days`."""
    cdef Bounds b
    value_column, flag_column = check_column("values", values, "ql", 8), check_column("quality", quality, "H", 2)
    there_column = check_column("present", present, "Bbc?", 1).cast("B")
    cdef int64_t n = check_same_length(value_column, flag_column, there_column)
    cdef list edges = check_ends(ends, n)
    b.bottom, b.top, b.floor, b.permille, b.stuck, b.zero, b.marks = check_screen(
        bottom, top, spike_floor, spike_permille, stuck_run, zero_run, marks)
    cdef const int64_t[::1] numbers = value_column
    cdef const uint16_t[::1] flags = flag_column
    cdef const uint8_t[::1] there = there_column
    cdef bytearray made = bytearray(len(edges))
    cdef uint8_t* out = <uint8_t*> PyByteArray_AS_STRING(made)
    cdef Run run
    cdef int64_t first = 0, after
    cdef Py_ssize_t day
    run.value, run.length = 0, 0
    for day in range(len(edges)):
        after = edges[day]
        out[day] = _day(&numbers[first], &flags[first], &there[first], after - first, &b, &run)
        first = after
    return bytes(made)


cdef uint8_t _day(const int64_t* numbers, const uint16_t* flags, const uint8_t* there, int64_t n, const Bounds* b, Run* run) noexcept nogil:
    cdef int64_t first = LEAST, second = LEAST, third = LEAST, held = 0, i, value
    cdef uint16_t flag
    cdef uint8_t bits = 0
    for i in range(n):
        if not there[i]:
            bits |= GAP
            run.length = 0
            continue
        value, flag, held = numbers[i], flags[i], held + 1
        if value < b.bottom or value > b.top:
            bits |= LIMIT
        if value > third:
            if value > first:
                first, second, third = value, first, second
            elif value > second:
                second, third = value, second
            else:
                third = value
        if flag:
            if flag & b.marks:
                bits |= MARKED
            if value > 0 and flag & POWER_FAIL and not flag & PARTIAL:
                bits |= DARK_USE
        run.length = run.length + 1 if run.length and run.value == value else 1
        run.value = value
        if value and run.length >= b.stuck:
            bits |= STUCK
        if not value and run.length >= b.zero:
            bits |= ZERO
    if held >= 3 and _spikes(first, third if third > 0 else 0, b):
        bits |= SPIKE
    return bits


cdef bint _spikes(int64_t top, int64_t third, const Bounds* b) noexcept nogil:
    """`top` is at most 2**38 where it is multiplied, and so is `third`."""
    if top < b.floor:
        return False
    return top > MAX_CELL_WH or (top > third and (top - third) * 1000 > b.permille * third)
