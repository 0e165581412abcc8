# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -fwrapv -falign-loops=64
"""The hot loops in C types: the same functions as `_pure`, which defines them and explains them.

* Loops run on raw pointers into the caller's buffers, without the interpreter lock where a call can be long.
* Nothing here trusts its input: each range is checked before the loop (`_records`) or can not overflow in it.
* 64-bit integers only, so that it also compiles for 32-bit boards.
* One translation unit on purpose: the compiler inlines across all of it, and one file is built and loaded.
* Loops begin on a cache line (-falign-loops): where else one fell by chance, the same instructions took up to 1.6 times as long.
"""

from cpython cimport array
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

from gridtally_native import _records
from gridtally_native._records import Aggregates, RegisterIntervals, RegisterTable, check_grid, check_register

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define GT_BITS(x) (64 - __builtin_clzll(x))
    #define GT_ONES(x) __builtin_ctzll(~(x))
    #define GT_LIKELY(x) __builtin_expect(!!(x), 1)
    #define GT_FETCH(x) __builtin_prefetch(x)
    #else
    static int GT_BITS(unsigned long long x) { int n = 0; while (x) { n++; x >>= 1; } return n; }
    static int GT_ONES(unsigned long long x) { int n = 0; while (x & 1) { n++; x >>= 1; } return n; }
    #define GT_LIKELY(x) (x)
    #define GT_FETCH(x) ((void) (x))
    #endif
    #include <stdint.h>
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Asks for large pages: a third of a long call was the first touch of its result, page by page. Only a hint. */
    static void gt_large_pages(void *start, size_t size) {
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        uintptr_t first = ((uintptr_t) start + 0xFFFF) & ~(uintptr_t) 0xFFFF;
        if (size > ((size_t) 1 << 20))
            madvise((void *) first, ((uintptr_t) start + size - first) & ~(uintptr_t) 0xFFFF, MADV_HUGEPAGE);
    #else
        (void) start; (void) size;
    #endif
    }
    /* malloc on large pages, for memory that is read in another order than it was written. */
    static void *gt_malloc(size_t size) {
    #if defined(__linux__)
        void *block = NULL;
        if (size > ((size_t) 4 << 20)) {
            if (posix_memalign(&block, (size_t) 2 << 20, size)) return NULL;
            gt_large_pages(block, size);
            return block;
        }
    #endif
        return malloc(size);
    }
    """
    void* gt_malloc(size_t size) nogil
    void gt_large_pages(void* start, size_t size) nogil
    int GT_BITS(uint64_t) nogil   # bit length of x > 0
    int GT_ONES(uint64_t) nogil   # trailing one bits of x, not all ones
    bint GT_LIKELY(bint) nogil
    void GT_FETCH(void*) nogil

cdef enum:
    MISSING = 1
    CLOCK = 4
    RESET = 16
    ROLLOVER = 32
    PARTIAL = 256
    HAS_MASK = 0x80
    EXP_GOLOMB = 0x40
    FROM_LEAST = 0x20
    MAX_K = 30
    AHEAD = 512                # rows fetched in front: the chip's own fetching ends with each page

cdef int64_t INT64_MAX = _records.INT64_MAX
cdef int64_t MAX_MS = _records.MAX_MS
cdef int64_t MAX_STEP_WH = _records.MAX_STEP_WH
cdef Py_ssize_t MAX_ROWS = _records.MAX_ROWS if sizeof(Py_ssize_t) > 4 else 2**31 - 1
cdef Py_ssize_t MAX_METER_ROWS = _records.MAX_METER_ROWS
cdef Py_ssize_t MAX_CELLS = _records.MAX_CELLS
cdef Py_ssize_t MAX_BLOCK = _records.MAX_BLOCK

cdef uint64_t LOW32 = 2**32 - 1
cdef array.array INT32 = array.array("i")
cdef array.array INT64 = array.array("q")
cdef array.array FLOAT64 = array.array("d")
cdef array.array UINT16 = array.array("H")

ctypedef fused value_t:
    int64_t
    double


cdef class _Column:
    """One buffer held open: a contiguous column of the wanted type, aligned."""

    cdef Py_buffer view
    cdef void* data
    cdef Py_ssize_t rows
    cdef char kind
    cdef bint held
    cdef bytes copy

    def __cinit__(self, str name, object buffer, bytes formats, Py_ssize_t itemsize):
        self.held = False
        try:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_FORMAT | PyBUF_ND)
        except (BufferError, ValueError):
            raise ValueError(f"{name} must be one contiguous column") from None
        self.held = True
        if self.view.ndim != 1:
            raise ValueError(f"{name} must be one contiguous column")
        cdef bytes form = b"B" if self.view.format == NULL else self.view.format
        if self.view.itemsize != itemsize or len(form) != 1 or form not in formats:
            raise ValueError(
                f"{name} holds items of type '{form.decode()}' and {self.view.itemsize} bytes, "
                f"wanted '{formats.decode()[0]}'"
            )
        self.kind = form[0]
        self.rows = self.view.shape[0]
        self.data = self.view.buf
        if <size_t> self.data % <size_t> itemsize:
            self.copy = PyBytes_FromStringAndSize(<char*> self.view.buf, self.view.len)
            self.data = PyBytes_AS_STRING(self.copy)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef int _unequal(Py_ssize_t a, Py_ssize_t b) except -1:
    raise ValueError(f"columns differ in length: {a}, {b}")


# --- samples of many meters -> fixed intervals -----------------------------------------------------------------------

cdef struct Rows:              # the result columns, `room` rows long, `used` filled
    int32_t* meter
    int64_t* start
    int32_t* count
    void* total
    void* minimum
    void* maximum
    void* first
    void* last
    Py_ssize_t room
    Py_ssize_t used

cdef struct Part:              # 64 bytes; cells: total, minimum, maximum, first, last
    int64_t start
    int64_t cells[5]
    int32_t meter
    int32_t count
    uint32_t first_after       # ms after start
    uint32_t last_after

cdef struct Slot:              # hash table entry: the open part of a meter, -1 = empty
    int32_t meter
    int32_t part

cdef struct Parts:
    Part* parts
    Py_ssize_t room
    Py_ssize_t used
    Slot* slots
    uint32_t mask
    int shift                  # 32 - bits of the mask
    Py_ssize_t meters
    int64_t outside

cdef struct Place:             # sort key of a part inside its meter
    int64_t start
    int32_t part

cdef class _Result:
    """The result columns, grown by doubling and cut at the end."""

    cdef list columns
    cdef Rows rows

    def __cinit__(self, Py_ssize_t room, bint floats):
        cdef array.array kind = FLOAT64 if floats else INT64
        self.columns = [array.clone(template, 0, False) for template in (INT32, INT64, INT32, kind, kind, kind, kind, kind)]
        self.rows.used = 0
        self.resize(room)

    cdef int resize(self, Py_ssize_t room) except -1:
        cdef array.array column
        for column in self.columns:
            array.resize(column, room)
            gt_large_pages(column.data.as_voidptr, room * column.itemsize)
        self.rows.room = room
        column = self.columns[0]
        self.rows.meter = <int32_t*> column.data.as_ints
        column = self.columns[1]
        self.rows.start = <int64_t*> column.data.as_longlongs
        column = self.columns[2]
        self.rows.count = <int32_t*> column.data.as_ints
        column = self.columns[3]
        self.rows.total = column.data.as_voidptr
        column = self.columns[4]
        self.rows.minimum = column.data.as_voidptr
        column = self.columns[5]
        self.rows.maximum = column.data.as_voidptr
        column = self.columns[6]
        self.rows.first = column.data.as_voidptr
        column = self.columns[7]
        self.rows.last = column.data.as_voidptr
        return 0


cdef bint _sum_fails(value_t total, value_t minimum, value_t maximum, int32_t count) noexcept nogil:
    cdef int64_t limit
    if value_t is double:
        return total - total != 0
    else:
        limit = INT64_MAX // count
        return maximum > limit or minimum < -limit


cdef int _put(Rows* out, int32_t meter, int64_t start, int32_t count, value_t total, value_t minimum, value_t maximum,
              value_t first, value_t last) noexcept nogil:
    cdef Py_ssize_t row = out.used
    out.meter[row] = meter
    out.start[row] = start
    out.count[row] = count
    (<value_t*> out.total)[row] = total
    (<value_t*> out.minimum)[row] = minimum
    (<value_t*> out.maximum)[row] = maximum
    (<value_t*> out.first)[row] = first
    (<value_t*> out.last)[row] = last
    out.used = row + 1
    return 0


cdef enum:
    DONE = 0
    FULL = 1                   # grow the result and go on
    UNSORTED = 2
    BAD_SUM = 3
    NO_MEMORY = 4


cdef int _sorted_rows(const int32_t* meters, const int64_t* at, const value_t* values, Py_ssize_t rows,
                      int64_t grid_start, int64_t period, int64_t grid_end,
                      Rows* out, Py_ssize_t* position, int64_t* outside) noexcept nogil:
    """Rows in order of (meter, at). Stops at the first that is not."""
    cdef Py_ssize_t i = position[0], j
    cdef int32_t meter
    cdef int64_t low, high, before, now
    cdef value_t total, minimum, maximum, first, value
    cdef int state = DONE
    low = high = grid_start - period
    while i < rows:
        before = at[i]
        if before < grid_start or before >= grid_end:
            outside[0] += 1
            i += 1
            continue
        if out.used == out.room:
            state = FULL
            break
        meter = meters[i]
        if <uint64_t> (before - high) < <uint64_t> period:      # most often the next interval
            low = high
        else:
            low = before - (before - grid_start) % period
        high = low + period
        if high > grid_end:
            high = grid_end
        if out.used and (meter < out.meter[out.used - 1]
                         or (meter == out.meter[out.used - 1] and low <= out.start[out.used - 1])):
            state = UNSORTED
            break
        value = values[i]
        total = minimum = maximum = first = value
        GT_FETCH(at + i + AHEAD)
        GT_FETCH(at + i + AHEAD + 8)
        GT_FETCH(values + i + AHEAD)
        GT_FETCH(values + i + AHEAD + 8)
        GT_FETCH(meters + i + AHEAD)
        j = i + 1
        while j < rows and meters[j] == meter:
            now = at[j]
            if not GT_LIKELY(<uint64_t> (now - before) < <uint64_t> (high - before)):
                break
            before = now
            value = values[j]
            total += value
            minimum = value if value < minimum else minimum
            maximum = value if value > maximum else maximum
            j += 1
        if _sum_fails[value_t](total, minimum, maximum, <int32_t> (j - i)):
            _put[value_t](out, meter, low, <int32_t> (j - i), total, minimum, maximum, first, value)
            state = UNSORTED                                     # the full pass decides, it may meet more of this sum
            break
        _put[value_t](out, meter, low, <int32_t> (j - i), total, minimum, maximum, first, value)
        i = j
    position[0] = i
    return state


cdef int _more_slots(Parts* p) noexcept nogil:
    """Doubles the hash table."""
    cdef uint32_t size = 2 * (p.mask + 1), index, old
    cdef Slot* slots = <Slot*> malloc(size * sizeof(Slot))
    if slots == NULL:
        return NO_MEMORY
    memset(slots, 0xFF, size * sizeof(Slot))
    for old in range(p.mask + 1):
        if p.slots[old].part >= 0:
            index = _hash(p.slots[old].meter, p.shift - 1)
            while slots[index].part >= 0:
                index = (index + 1) & (size - 1)
            slots[index] = p.slots[old]
    free(p.slots)
    p.slots = slots
    p.mask = size - 1
    p.shift -= 1
    return DONE


cdef inline uint32_t _hash(int32_t meter, int shift) noexcept nogil:
    """Golden section: numbers in a row, as meters have, hardly ever meet."""
    return (<uint32_t> meter * <uint32_t> 0x9E3779B1) >> shift


cdef int _new_part(Parts* p, uint32_t index, int32_t meter, int64_t start) noexcept nogil:
    cdef Part* grown
    if p.used == p.room:
        grown = <Part*> gt_malloc(2 * p.room * sizeof(Part))
        if grown == NULL:
            return NO_MEMORY
        memcpy(grown, p.parts, p.used * sizeof(Part))
        free(p.parts)
        p.parts = grown
        p.room *= 2
    p.parts[p.used].meter = meter
    p.parts[p.used].start = start
    if p.slots[index].part < 0:
        p.meters += 1
    p.slots[index].meter = meter
    p.slots[index].part = <int32_t> p.used
    p.used += 1
    if 2 * p.meters > <Py_ssize_t> p.mask:
        return _more_slots(p)
    return DONE


cdef int _any_rows(const int32_t* meters, const int64_t* at, const value_t* values, Py_ssize_t rows,
                   int64_t grid_start, int64_t period, int64_t grid_end, Parts* p) noexcept nogil:
    """Rows in any order -> parts: one open part per meter, a new one whenever the interval changes."""
    cdef Py_ssize_t i
    cdef int32_t meter
    cdef uint32_t index, after
    cdef int64_t now
    cdef value_t value, lowest, highest
    cdef Part* part
    cdef value_t* cells
    cdef Slot* slots = p.slots
    cdef Slot* slot
    cdef Part* parts = p.parts
    cdef uint32_t mask = p.mask
    cdef int shift = p.shift
    for i in range(rows):
        now = at[i]
        if not GT_LIKELY(now >= grid_start and now < grid_end):
            p.outside += 1
            continue
        meter = meters[i]
        value = values[i]
        index = _hash(meter, shift)
        slot = slots + index
        while not GT_LIKELY(slot.meter == meter) and slot.part >= 0:
            index = (index + 1) & mask
            slot = slots + index
        if GT_LIKELY(slot.part >= 0):
            part = parts + slot.part
            if GT_LIKELY(<uint64_t> (now - part.start) < <uint64_t> period):
                cells = <value_t*> part.cells
                after = <uint32_t> (now - part.start)
                part.count += 1
                cells[0] += value
                lowest, highest = cells[1], cells[2]            # in registers: without branches
                cells[1] = value if value < lowest else lowest
                cells[2] = value if value > highest else highest
                if GT_LIKELY(after >= part.last_after):
                    part.last_after = after
                    cells[4] = value
                elif after < part.first_after:
                    part.first_after = after
                    cells[3] = value
                continue
        if _new_part(p, index, meter, now - (now - grid_start) % period) != DONE:
            return NO_MEMORY
        slots, parts, mask, shift = p.slots, p.parts, p.mask, p.shift
        part = p.parts + p.used - 1
        part.count = 1
        part.first_after = part.last_after = <uint32_t> (now - part.start)
        cells = <value_t*> part.cells
        cells[0] = cells[1] = cells[2] = cells[3] = cells[4] = value
    return DONE


cdef int _by_meter(const void* a, const void* b) noexcept nogil:
    cdef int32_t x = (<const Slot*> a).meter, y = (<const Slot*> b).meter
    return (x > y) - (x < y)


cdef int _by_start(const void* a, const void* b) noexcept nogil:
    cdef const Place* x = <const Place*> a
    cdef const Place* y = <const Place*> b
    if x.start != y.start:
        return (x.start > y.start) - (x.start < y.start)
    return (x.part > y.part) - (x.part < y.part)


cdef void _order(Parts* p, int32_t* order, Slot* names, int32_t* ends) noexcept nogil:
    """Fills `order` with the numbers of all parts in order of (meter, arrival)."""
    cdef Py_ssize_t i, count = 0
    cdef int32_t rank
    for i in range(<Py_ssize_t> p.mask + 1):
        if p.slots[i].part >= 0:
            names[count].meter = p.slots[i].meter
            names[count].part = <int32_t> i
            count += 1
    qsort(names, count, sizeof(Slot), _by_meter)
    for i in range(count):
        p.slots[names[i].part].part = <int32_t> i               # from here on: the rank of the meter
    memset(ends, 0, (count + 1) * sizeof(int32_t))
    for i in range(p.used):
        ends[_rank(p, p.parts[i].meter) + 1] += 1
    for i in range(count):
        ends[i + 1] += ends[i]
    for i in range(p.used):
        rank = _rank(p, p.parts[i].meter)
        order[ends[rank]] = <int32_t> i
        ends[rank] += 1
    # ends[i] is now the end of meter i


cdef inline int32_t _rank(Parts* p, int32_t meter) noexcept nogil:
    cdef uint32_t index = _hash(meter, p.shift)
    while p.slots[index].meter != meter or p.slots[index].part < 0:
        index = (index + 1) & p.mask
    return p.slots[index].part


cdef int _sort_meter(const Parts* p, int32_t* order, Py_ssize_t count) noexcept nogil:
    """The parts of one meter by (start, arrival)."""
    cdef Py_ssize_t i
    cdef Place* places = <Place*> malloc(count * sizeof(Place))
    if places == NULL:
        return NO_MEMORY
    for i in range(count):
        places[i].start = p.parts[order[i]].start
        places[i].part = order[i]
    qsort(places, count, sizeof(Place), _by_start)
    for i in range(count):
        order[i] = places[i].part
    free(places)
    return DONE


cdef void _add_part(Part* part, const Part* later, value_t kind) noexcept nogil:
    cdef value_t* cells = <value_t*> part.cells
    cdef const value_t* more = <const value_t*> later.cells
    part.count += later.count
    cells[0] += more[0]
    cells[1] = more[1] if more[1] < cells[1] else cells[1]
    cells[2] = more[2] if more[2] > cells[2] else cells[2]
    if later.first_after < part.first_after:
        part.first_after = later.first_after
        cells[3] = more[3]
    if later.last_after >= part.last_after:
        part.last_after = later.last_after
        cells[4] = more[4]


cdef int _merge_meter(const Parts* p, const int32_t* order, Py_ssize_t count, Rows* out, value_t kind) noexcept nogil:
    """The parts of one meter become rows, one per interval; UNSORTED if an interval comes back."""
    cdef Py_ssize_t i = 0
    cdef Part part
    cdef value_t* cells = <value_t*> part.cells
    while i < count:
        part = p.parts[order[i]]
        i += 1
        while i < count and p.parts[order[i]].start <= part.start:
            if p.parts[order[i]].start < part.start:
                return UNSORTED
            _add_part[value_t](&part, p.parts + order[i], kind)
            i += 1
        if i + 16 < count:
            GT_FETCH(p.parts + order[i + 16])
        _put[value_t](out, part.meter, part.start, part.count, cells[0], cells[1], cells[2], cells[3], cells[4])
        if _sum_fails[value_t](cells[0], cells[1], cells[2], part.count):
            return BAD_SUM
    return DONE


cdef int _merge(const Parts* p, int32_t* order, const int32_t* ends, Rows* out, value_t kind) noexcept nogil:
    """All parts become rows in order of (meter, start). `out` has room for all."""
    cdef Py_ssize_t meter, begin = 0, used
    cdef int state
    for meter in range(p.meters):
        used = out.used
        state = _merge_meter[value_t](p, order + begin, ends[meter] - begin, out, kind)
        if state == UNSORTED or state == BAD_SUM:               # a sum is judged when its interval is complete
            out.used = used
            state = _sort_meter(p, order + begin, ends[meter] - begin)
            if state == DONE:
                state = _merge_meter[value_t](p, order + begin, ends[meter] - begin, out, kind)
        if state != DONE:
            return state
        begin = ends[meter]
    return DONE


cdef int _arrival(const int32_t* meters, const int64_t* at, const value_t* values, Py_ssize_t rows,
                  int64_t start, int64_t period, int64_t end, _Result result, int64_t* outside) except -1:
    cdef Parts p
    cdef int32_t* order = NULL
    cdef Slot* names = NULL
    cdef int32_t* ends = NULL
    cdef int state = NO_MEMORY
    memset(&p, 0, sizeof(p))
    p.room = rows // 12 + 64
    p.mask = 1023
    p.shift = 22
    try:
        p.parts = <Part*> gt_malloc(p.room * sizeof(Part))
        p.slots = <Slot*> malloc(1024 * sizeof(Slot))
        if p.parts != NULL and p.slots != NULL:
            memset(p.slots, 0xFF, 1024 * sizeof(Slot))
            with nogil:
                state = _any_rows[value_t](meters, at, values, rows, start, period, end, &p)
        if state == DONE:
            order = <int32_t*> malloc((p.used + 1) * sizeof(int32_t))
            names = <Slot*> malloc((p.meters + 1) * sizeof(Slot))
            ends = <int32_t*> malloc((p.meters + 1) * sizeof(int32_t))
            if order == NULL or names == NULL or ends == NULL:
                raise MemoryError
            result.rows.used = 0
            result.resize(p.used)
            with nogil:
                _order(&p, order, names, ends)
                state = _merge[value_t](&p, order, ends, &result.rows, 0)
        if state == NO_MEMORY:
            raise MemoryError
        outside[0] = p.outside
        return state
    finally:
        free(p.parts)
        free(p.slots)
        free(order)
        free(names)
        free(ends)


cdef object _aggregate(_Column meters, _Column at, _Column values, int64_t start, int64_t period, int64_t end,
                       value_t kind):
    cdef Py_ssize_t position = 0
    cdef int64_t outside = 0
    cdef int state = FULL
    cdef _Result result = _Result(meters.rows // 12 + 64, value_t is double)
    while state == FULL:
        with nogil:
            state = _sorted_rows[value_t](<int32_t*> meters.data, <int64_t*> at.data, <value_t*> values.data,
                                          meters.rows, start, period, end, &result.rows, &position, &outside)
        if state == FULL:
            result.resize(2 * result.rows.room)
    if state == UNSORTED:
        state = _arrival[value_t](<int32_t*> meters.data, <int64_t*> at.data, <value_t*> values.data, meters.rows,
                                  start, period, end, result, &outside)
    if state == BAD_SUM:
        _refuse_sum(result, value_t is double)
    result.resize(result.rows.used)
    return Aggregates(*result.columns, outside)


cdef int _refuse_sum(_Result result, bint floats) except -1:
    cdef Py_ssize_t row = result.rows.used - 1
    what = "the sum is not a finite number" if floats else "count x value does not fit 64 bits"
    raise ValueError(f"meter {result.rows.meter[row]}, interval {result.rows.start[row]}: {what}")


def aggregate(meters, at_ms, values, start_ms, period_ms, n=None):
    """Count, sum, minimum, maximum, first and last of each meter in each interval; see `_pure.aggregate`."""
    cdef _Column meter_column = _Column("meters", meters, b"il", 4)
    cdef _Column at_column = _Column("at_ms", at_ms, b"ql", 8)
    cdef _Column value_column = _Column("values", values, b"qld", 8)
    if meter_column.rows != at_column.rows or at_column.rows != value_column.rows:
        _unequal(meter_column.rows, at_column.rows if meter_column.rows != at_column.rows else value_column.rows)
    if meter_column.rows > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS} rows in one call")
    cdef int64_t start, period, end
    start, period, end = check_grid(start_ms, period_ms, n)
    if value_column.kind == b"d":
        return _aggregate[double](meter_column, at_column, value_column, start, period, end, 0.0)
    return _aggregate[int64_t](meter_column, at_column, value_column, start, period, end, 0)


# --- samples of a cumulative register -> energy per interval ---------------------------------------------------------

cdef struct Settings:
    int64_t start
    int64_t period
    Py_ssize_t n
    int64_t max_gap
    int64_t rollover
    int64_t max_power
    int64_t resolution
    bint clock_steps


cdef inline int64_t _movement(const Settings* s, int64_t before, int64_t after, int64_t elapsed, int* flag) noexcept nogil:
    """The energy of one step; a refused one gives 0 and RESET. `elapsed` is -1 where the clock was set back."""
    cdef int64_t moved
    cdef int clock = CLOCK if elapsed < 0 else 0
    flag[0] = clock
    if after < before:
        flag[0] = RESET
        if not (s.rollover > before and after >= 0):
            return 0
        moved = after - before + s.rollover
        if moved > s.rollover // 10:
            return 0
        flag[0] = clock | ROLLOVER
    elif <uint64_t> after - <uint64_t> before > <uint64_t> MAX_STEP_WH:
        flag[0] = RESET
        return 0
    else:
        moved = after - before
    if moved > MAX_STEP_WH:
        flag[0] = RESET
        return 0
    if s.max_power and elapsed >= 0 and not _power_allows(s, moved, elapsed):
        flag[0] = RESET
        return 0
    return moved


cdef inline bint _power_allows(const Settings* s, int64_t moved, int64_t elapsed) noexcept nogil:
    cdef int64_t seconds
    if elapsed < <int64_t> 1 << 31:
        return (moved - s.resolution) * 3_600_000 <= s.max_power * (elapsed + 1000)
    seconds = elapsed // 1000 + 1
    if seconds > <int64_t> 1 << 31:
        seconds = <int64_t> 1 << 31
    return (moved - s.resolution) * 3600 <= s.max_power * seconds


cdef int64_t _long_share(int64_t moved, int64_t part, int64_t whole) noexcept nogil:
    """moved x part / whole, rounded down, where the product may not fit; 0 < part < whole."""
    cdef uint64_t rest = 0, quotient = 0
    cdef int bit
    for bit in range(41, -1, -1):
        rest <<= 1
        quotient <<= 1
        if rest >= <uint64_t> whole:
            rest -= <uint64_t> whole
            quotient += 1
        if moved >> bit & 1:
            rest += <uint64_t> part
            if rest >= <uint64_t> whole:
                rest -= <uint64_t> whole
                quotient += 1
    return <int64_t> quotient


cdef inline int64_t _share(int64_t moved, int64_t part, int64_t whole) noexcept nogil:
    if GT_LIKELY(moved < <int64_t> 1 << 31 and whole < <int64_t> 1 << 31):
        return moved * part // whole
    return _long_share(moved, part, whole)


cdef inline uint16_t _coverage_flag(int64_t covered, int64_t period) noexcept nogil:
    if covered == period:
        return 0
    return PARTIAL if covered else MISSING


cdef struct Plain:             # a step inside the interval, neither long nor too large
    uint64_t gap
    uint64_t step
    int64_t power
    int64_t forgiven


cdef inline Py_ssize_t _plain_steps(const Plain* plain, const int64_t* at, const int64_t* register, Py_ssize_t row,
                                    Py_ssize_t rows, int64_t high) noexcept nogil:
    """The first row from `row` on whose step is not plain. They add up by themselves: nothing but the ends counts."""
    cdef uint64_t gap = plain.gap, most = plain.step
    cdef int64_t power = plain.power, forgiven = plain.forgiven, t0 = at[row - 1], t1, before = register[row - 1], now, moved
    GT_FETCH(at + row + AHEAD)
    GT_FETCH(at + row + AHEAD + 8)
    GT_FETCH(register + row + AHEAD)
    GT_FETCH(register + row + AHEAD + 8)
    while row < rows:
        t1, now = at[row], register[row]
        moved = <int64_t> (<uint64_t> now - <uint64_t> before)
        if not GT_LIKELY(t1 <= high and <uint64_t> (t1 - t0) <= gap and <uint64_t> moved <= most
                         and (moved - forgiven) * 3_600_000 <= power * (t1 - t0 + 1000)):
            break
        t0, before = t1, now
        row += 1
    return row


cdef Py_ssize_t _one_meter(const Settings* s, const int64_t* at, const int64_t* register, Py_ssize_t rows,
                           int64_t* energy_wh, uint16_t* flags) noexcept nogil:
    """Fills the n cells of one meter; returns the first row whose time goes back where it must not, or 0."""
    cdef int64_t low = s.start, high = s.start + s.period, energy = 0, covered = 0
    cdef int64_t t0, t1, moved, booked, share
    cdef int seen = 0, flag
    cdef bint counts, behind, standing = False
    cdef Py_ssize_t row = 1, index = 0, end
    cdef Plain plain
    plain.gap = <uint64_t> (s.max_gap if s.max_gap < <int64_t> 1 << 31 else (<int64_t> 1 << 31) - 1)
    plain.step = <uint64_t> MAX_STEP_WH
    plain.power = s.max_power
    plain.forgiven = s.resolution if s.max_power else MAX_STEP_WH
    t0 = at[0] if rows else 0
    while row < rows and at[row] <= s.start and t0 <= s.start:
        standing = at[row] < t0
        if standing and not s.clock_steps:
            return row
        t0 = t0 if standing else at[row]
        row += 1
    while row < rows:
        if t0 >= low and not standing and index < s.n:
            end = _plain_steps(&plain, at, register, row, rows, high)
            energy += <int64_t> (<uint64_t> register[end - 1] - <uint64_t> register[row - 1])
            covered += at[end - 1] - t0
            t0 = at[end - 1]
            row = end
            if row == rows:
                break
        t1 = at[row]
        row += 1
        if t1 < t0 and not s.clock_steps:
            return row - 1
        behind = standing or t1 < t0
        standing = t1 < t0
        t1 = t0 if standing else t1
        if index == s.n or t1 <= s.start:
            t0 = t1
            continue
        moved = _movement(s, register[row - 2], register[row - 1], -1 if behind else t1 - t0, &flag)
        counts = flag != RESET and t1 - t0 <= s.max_gap
        booked = 0
        if t0 < s.start:
            booked = _share(moved, s.start - t0, t1 - t0)
        while t1 > high and index < s.n:
            if high > t0:
                share = _share(moved, high - t0, t1 - t0)
                energy += share - booked
                booked = share
                seen |= flag
                if counts:
                    covered += high - (t0 if t0 > low else low)
            energy_wh[index] = energy
            flags[index] = <uint16_t> (seen | _coverage_flag(covered, s.period))
            energy = covered = 0
            seen = 0
            index += 1
            low = high
            high += s.period
        energy += moved - booked
        seen |= flag
        if counts:
            covered += t1 - (t0 if t0 > low else low)
        t0 = t1
    while index < s.n:
        energy_wh[index] = energy
        flags[index] = <uint16_t> (seen | _coverage_flag(covered, s.period))
        energy = covered = 0
        seen = 0
        index += 1
    return 0


cdef int _check_meter(const Settings* s, const int64_t* at, Py_ssize_t rows) except -1:
    cdef int64_t least = 0, most = 0
    cdef Py_ssize_t row
    if rows > MAX_METER_ROWS:
        raise ValueError(f"{rows} samples of one meter, at most {MAX_METER_ROWS} in one call")
    if rows:
        least, most = at[0], at[rows - 1]
    if s.clock_steps:
        for row in range(rows):
            least = at[row] if at[row] < least else least
            most = at[row] if at[row] > most else most
    if least < -MAX_MS or most > MAX_MS:
        raise ValueError(f"at_ms must be within {-MAX_MS} to {MAX_MS}")
    return 0


cdef int _refuse_order(Py_ssize_t row) except -1:
    raise ValueError(f"row {row}: at_ms goes back; sort the samples first")


def register_intervals(at_ms, register_wh, start_ms, period_ms, n, max_gap_ms, *, rollover_wh=0, max_power_w=0,
                       resolution_wh=1, clock_steps=False):
    """Energy of `n` intervals of one meter from samples of its register; see `_pure.register_intervals`."""
    cdef Settings s
    s.start, s.period, s.n, s.max_gap, s.rollover, s.max_power, s.resolution = check_register(
        start_ms, period_ms, n, max_gap_ms, rollover_wh, max_power_w, resolution_wh)
    s.clock_steps = bool(clock_steps)
    cdef _Column at_column = _Column("at_ms", at_ms, b"ql", 8)
    cdef _Column register_column = _Column("register_wh", register_wh, b"ql", 8)
    if at_column.rows != register_column.rows:
        _unequal(at_column.rows, register_column.rows)
    cdef const int64_t* at = <int64_t*> at_column.data
    _check_meter(&s, at, at_column.rows)
    cdef array.array energy_wh = array.clone(INT64, s.n, False)
    cdef array.array flags = array.clone(UINT16, s.n, False)
    cdef Py_ssize_t bad
    with nogil:
        bad = _one_meter(&s, at, <int64_t*> register_column.data, at_column.rows,
                         <int64_t*> energy_wh.data.as_longlongs, <uint16_t*> flags.data.as_ushorts)
    if bad:
        _refuse_order(bad)
    return RegisterIntervals(s.start, s.period, energy_wh, flags)


cdef Py_ssize_t _count_meters(const int32_t* meters, Py_ssize_t rows, Py_ssize_t* bad) noexcept nogil:
    cdef Py_ssize_t row, count = 1 if rows else 0
    cdef bint falls = False
    for row in range(1, rows):
        count += meters[row] != meters[row - 1]
        falls |= meters[row] < meters[row - 1]
    bad[0] = 0
    if falls:
        for row in range(1, rows):
            if meters[row] < meters[row - 1]:
                bad[0] = row
                break
    return count


cdef Py_ssize_t _end_of_meter(const int32_t* meters, Py_ssize_t begin, Py_ssize_t rows) noexcept nogil:
    """The first row after the meter of row `begin`; the column is in order."""
    cdef Py_ssize_t step = 1, low = begin, high, middle
    while begin + step < rows and meters[begin + step] == meters[begin]:
        low = begin + step
        step *= 2
    high = begin + step if begin + step < rows else rows
    while high - low > 1:
        middle = low + (high - low) // 2
        if meters[middle] == meters[begin]:
            low = middle
        else:
            high = middle
    return high


def register_intervals_many(meters, at_ms, register_wh, start_ms, period_ms, n, max_gap_ms, *, rollover_wh=0,
                            max_power_w=0, resolution_wh=1, clock_steps=False):
    """`register_intervals` for rows of many meters, sorted by (meter, at_ms)."""
    cdef Settings s
    s.start, s.period, s.n, s.max_gap, s.rollover, s.max_power, s.resolution = check_register(
        start_ms, period_ms, n, max_gap_ms, rollover_wh, max_power_w, resolution_wh)
    s.clock_steps = bool(clock_steps)
    cdef _Column meter_column = _Column("meters", meters, b"il", 4)
    cdef _Column at_column = _Column("at_ms", at_ms, b"ql", 8)
    cdef _Column register_column = _Column("register_wh", register_wh, b"ql", 8)
    cdef Py_ssize_t rows = meter_column.rows
    if rows != at_column.rows or rows != register_column.rows:
        _unequal(rows, at_column.rows if rows != at_column.rows else register_column.rows)
    cdef const int32_t* names = <int32_t*> meter_column.data
    cdef const int64_t* at = <int64_t*> at_column.data
    cdef const int64_t* register = <int64_t*> register_column.data
    cdef Py_ssize_t bad, count, begin = 0, end, index
    with nogil:
        count = _count_meters(names, rows, &bad)
    if bad:
        raise ValueError(f"row {bad}: meters are not in order; sort the samples by (meter, at_ms)")
    if s.n and count > MAX_CELLS // s.n:
        raise ValueError(f"{count} meters x {s.n} intervals is more than {MAX_CELLS}")
    cdef array.array out_meters = array.clone(INT32, count, False)
    cdef array.array energy_wh = array.clone(INT64, count * s.n, False)
    cdef array.array flags = array.clone(UINT16, count * s.n, False)
    for index in range(count):
        end = _end_of_meter(names, begin, rows)
        _check_meter(&s, at + begin, end - begin)
        with nogil:
            bad = _one_meter(&s, at + begin, register + begin, end - begin,
                             <int64_t*> energy_wh.data.as_longlongs + index * s.n,
                             <uint16_t*> flags.data.as_ushorts + index * s.n)
        if bad:
            _refuse_order(begin + bad)
        out_meters.data.as_ints[index] = names[begin]
        begin = end
    return RegisterTable(s.start, s.period, s.n, out_meters, energy_wh, flags)


# --- block codec -----------------------------------------------------------------------------------------------------

cdef inline uint64_t _mean(const uint64_t* z, Py_ssize_t count) noexcept nogil:
    cdef uint64_t high = 0, low = 0
    cdef Py_ssize_t i
    if count == 0:
        return 0
    for i in range(count):
        high += z[i] >> 32
        low += z[i] & LOW32
    high += low >> 32
    low &= LOW32
    return (high // count << 32) + ((high % count << 32) + low) // count


cdef uint64_t _best_code(const uint64_t* z, Py_ssize_t count, int* form) noexcept nogil:
    """The code and k with the fewest bits; returns the bits."""
    cdef uint64_t mean = _mean(z, count), all_bits = 0, rice, golomb, best = 0
    cdef int near = GT_BITS(mean) if mean else 0, lowest, highest, tried
    cdef bint found = False
    cdef Py_ssize_t i
    for i in range(count):
        all_bits |= z[i]
    lowest = near - 4 if near - 4 < MAX_K else MAX_K
    if lowest < <int> (all_bits >> 63):
        lowest = <int> (all_bits >> 63)
    highest = near if near < MAX_K else MAX_K
    form[0] = 0
    for tried in range(lowest, highest + 1):
        rice = <uint64_t> count * <uint64_t> (tried + 1)
        golomb = <uint64_t> count * <uint64_t> tried
        for i in range(count):
            rice += z[i] >> tried
            golomb += 2 * GT_BITS((z[i] >> tried) + 1) - 1
        if not found or rice < best:
            found, best, form[0] = True, rice, tried
        if golomb < best:
            best, form[0] = golomb, EXP_GOLOMB | tried
    return best


cdef Py_ssize_t _residuals(const int64_t* values, const uint8_t* kept, Py_ssize_t n, uint64_t* steps,
                           uint64_t* from_least) noexcept nogil:
    """Both predictions of the values that are there; returns their number. `from_least` has one more, the least."""
    cdef uint64_t before = 0, delta
    cdef int64_t least = 0
    cdef Py_ssize_t i, count = 0
    for i in range(n):
        if kept == NULL or kept[i]:
            delta = <uint64_t> values[i] - before
            before = <uint64_t> values[i]
            steps[count] = (delta << 1) ^ (0 - (delta >> 63))
            least = values[i] if count == 0 or values[i] < least else least
            count += 1
            from_least[count] = before
    from_least[0] = (<uint64_t> least << 1) ^ (0 - (<uint64_t> least >> 63))
    for i in range(1, count + 1):
        from_least[i] -= <uint64_t> least
    return count


cdef struct Writer:
    uint8_t* out
    uint64_t window
    int used                   # bits in the window, below 8 between two calls


cdef inline void _write(Writer* w, uint64_t bits, int length) noexcept nogil:
    """Up to 56 bits. The buffer has 8 bytes of slack."""
    cdef int whole
    w.window |= bits << w.used
    w.used += length
    while w.used >= 8:
        w.out[0] = <uint8_t> w.window
        w.out += 1
        w.window >>= 8
        w.used -= 8


cdef inline void _write_long(Writer* w, uint64_t bits, int length) noexcept nogil:
    if length > 32:
        _write(w, bits & LOW32, 32)
        bits >>= 32
        length -= 32
    _write(w, bits, length)


cdef inline void _write_ones(Writer* w, uint64_t count) noexcept nogil:
    """`count` one bits and a zero."""
    while count > 32:
        _write(w, LOW32, 32)
        count -= 32
    _write(w, (<uint64_t> 1 << count) - 1, <int> count + 1)


cdef void _pack(Writer* w, const uint64_t* z, Py_ssize_t count, int code, int k) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint64_t high, low_mask = (<uint64_t> 1 << k) - 1
    cdef int m
    for i in range(count):
        high = z[i] >> k
        if code:
            m = GT_BITS(high + 1) - 1
            _write_ones(w, m)
            _write_long(w, (high + 1) ^ (<uint64_t> 1 << m), m)
        else:
            _write_ones(w, high)
        _write_long(w, z[i] & low_mask, k)
    if w.used:
        w.out[0] = <uint8_t> w.window
        w.out += 1


cdef bytes _block(const int64_t* value, const uint8_t* kept, Py_ssize_t n):
    """One block; `kept` is NULL where every value is there."""
    cdef Py_ssize_t i, count = 0, mask_bytes = 0, size
    cdef uint64_t bits, other_bits
    cdef uint64_t* z
    cdef uint64_t small[257]
    cdef uint8_t* out
    cdef int form, other_form
    cdef Writer w
    cdef bytes block
    if n <= 128:
        z = &small[0]
    else:
        z = <uint64_t*> malloc((2 * n + 1) * sizeof(uint64_t))
        if z == NULL:
            raise MemoryError
    try:
        count = _residuals(value, kept, n, z, z + n)
        bits = _best_code(z, count, &form)
        if count:
            other_bits = _best_code(z + n, count + 1, &other_form)
            if other_bits < bits:
                bits, form = other_bits, other_form | FROM_LEAST
        mask_bytes = (n + 7) // 8 if count < n else 0
        size = (2 if n < 128 else 3 if n < 16384 else 4) + mask_bytes + <Py_ssize_t> (bits + 7) // 8
        block = PyBytes_FromStringAndSize(NULL, size)
        out = <uint8_t*> PyBytes_AS_STRING(block)
        out[0] = <uint8_t> ((HAS_MASK if mask_bytes else 0) | form)
        out += 1
        i = n
        while i > 0x7F:
            out[0] = <uint8_t> (i & 0x7F | 0x80)
            out += 1
            i >>= 7
        out[0] = <uint8_t> i
        out += 1
        if mask_bytes:
            memset(out, 0, mask_bytes)
            for i in range(n):
                if kept[i]:
                    out[i >> 3] |= <uint8_t> (1 << (i & 7))
            out += mask_bytes
        w.out, w.window, w.used = out, 0, 0
        if form & FROM_LEAST:
            _pack(&w, z + n, count + 1, form & EXP_GOLOMB, form & 0x1F)
        else:
            _pack(&w, z, count, form & EXP_GOLOMB, form & 0x1F)
        return block
    finally:
        if z != &small[0]:
            free(z)


cdef int _too_many(Py_ssize_t n) except -1:
    raise ValueError(f"{n} intervals in one block, at most {MAX_BLOCK}")


def encode_block(values, present=None):
    """Packs up to 2**20 int64 values into bytes; see `_pure.encode_block`."""
    cdef _Column column = _Column("values", values, b"ql", 8)
    cdef _Column there = None
    if column.rows > MAX_BLOCK:
        _too_many(column.rows)
    if present is not None:
        there = _Column("present", present, b"Bbc?", 1)
        if there.rows != column.rows:
            _unequal(column.rows, there.rows)
    return _block(<int64_t*> column.data, NULL if there is None else <uint8_t*> there.data, column.rows)


cdef Py_ssize_t _sum(const int64_t* value, const uint8_t* kept, Py_ssize_t n, int64_t* total) noexcept nogil:
    """How many values are there, -1 where their sum is no int64."""
    cdef int64_t high = 0
    cdef uint64_t low = 0
    cdef Py_ssize_t i, count = n if kept == NULL else 0
    if kept == NULL:
        for i in range(n):
            high += value[i] >> 32
            low += <uint64_t> value[i] & LOW32
    else:
        for i in range(n):
            if kept[i]:
                high += value[i] >> 32
                low += <uint64_t> value[i] & LOW32
                count += 1
    high += <int64_t> (low >> 32)
    total[0] = <int64_t> (<uint64_t> high << 32 | low & LOW32)
    return count if -2147483648 <= high <= 2147483647 else -1


def encode_blocks(values, sizes, present=None):
    """(blocks, sums, counts) of columns that stand one after the other; see `_pure.encode_blocks`."""
    cdef _Column column = _Column("values", values, b"ql", 8)
    cdef _Column size = _Column("sizes", sizes, b"il", 4)
    cdef _Column there = None
    cdef const int32_t* n = <int32_t*> size.data
    cdef const int64_t* value = <int64_t*> column.data
    cdef const uint8_t* kept = NULL
    cdef Py_ssize_t i, rows = 0, count
    if present is not None:
        there = _Column("present", present, b"Bbc?", 1)
        if there.rows != column.rows:
            _unequal(column.rows, there.rows)
        kept = <uint8_t*> there.data
    for i in range(size.rows):
        if not 0 <= n[i] <= MAX_BLOCK:
            _too_many(n[i])
        rows += n[i]
    if rows != column.rows:
        raise ValueError(f"sizes add up to {rows}, there are {column.rows} values")
    cdef array.array totals = array.clone(INT64, size.rows, False)
    cdef array.array counts = array.clone(INT32, size.rows, False)
    cdef list blocks = []
    for i in range(size.rows):
        count = _sum(value, kept, n[i], <int64_t*> totals.data.as_longlongs + i)
        if count < 0:
            raise ValueError(f"block {i}: the sum of its values is no int64")
        counts.data.as_ints[i] = <int> count
        blocks.append(_block(value, kept, n[i]))
        value += n[i]
        if kept != NULL:
            kept += n[i]
    return blocks, totals, counts


cdef enum:
    CUT_SHORT = 1
    TOO_LARGE = 2
    TOO_LONG = 3


cdef struct Reader:
    const uint8_t* data
    Py_ssize_t left            # bytes not yet in the window
    uint64_t window
    int used


cdef inline void _refill(Reader* r) noexcept nogil:
    """At least 56 bits in the window, or all that are left."""
    while r.used <= 56 and r.left:
        r.window |= <uint64_t> r.data[0] << r.used
        r.data += 1
        r.left -= 1
        r.used += 8


cdef inline void _drop(Reader* r, int length) noexcept nogil:
    r.window = r.window >> length if length < 64 else 0
    r.used -= length


cdef inline int _take(Reader* r, int length, uint64_t* bits) noexcept nogil:
    cdef uint64_t low = 0
    cdef int done = 0
    if length > 32:
        if _take_short(r, 32, &low):
            return CUT_SHORT
        done = 32
    if _take_short(r, length - done, bits):
        return CUT_SHORT
    bits[0] = bits[0] << done | low
    return DONE


cdef inline int _take_short(Reader* r, int length, uint64_t* bits) noexcept nogil:
    if r.used < length:
        _refill(r)
        if r.used < length:
            return CUT_SHORT
    bits[0] = r.window & ((<uint64_t> 1 << length) - 1)
    _drop(r, length)
    return DONE


cdef inline int _ones(Reader* r, uint64_t* count) noexcept nogil:
    """The number of one bits before the next zero bit; takes them and the zero."""
    cdef int run
    count[0] = 0
    while True:
        _refill(r)
        if r.used == 0:
            return CUT_SHORT
        run = 64 if ~r.window == 0 else GT_ONES(r.window)
        if run < r.used:
            count[0] += run
            _drop(r, run + 1)
            return DONE
        count[0] += r.used
        r.window = 0
        r.used = 0


cdef inline int _residual(Reader* r, int code, int k, uint64_t* z) noexcept nogil:
    cdef uint64_t high, low = 0
    if _ones(r, &high):
        return CUT_SHORT
    if code:
        if high > 63:
            return TOO_LARGE
        if _take(r, <int> high, &low):
            return CUT_SHORT
        high = (<uint64_t> 1 << high | low) - 1
    if k and high >> (64 - k):
        return TOO_LARGE
    if _take_short(r, k, &low):
        return CUT_SHORT
    z[0] = high << k | low
    return DONE


cdef int _unpack(Reader* r, int64_t* values, const uint8_t* present, Py_ssize_t n, Py_ssize_t count,
                 int form) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint64_t value = 0, least = 0, z = 0
    cdef int code = form & EXP_GOLOMB, k = form & 0x1F, state
    if form & FROM_LEAST and count:
        state = _residual(r, code, k, &z)
        if state:
            return state
        least = (z >> 1) ^ (0 - (z & 1))
    for i in range(n):
        if present != NULL and not present[i]:
            values[i] = 0
            continue
        state = _residual(r, code, k, &z)
        if state:
            return state
        if form & FROM_LEAST:
            value = least + z
        else:
            value += (z >> 1) ^ (0 - (z & 1))
        values[i] = <int64_t> value
    return TOO_LONG if r.left or r.used > 7 or r.window else DONE


cdef Py_ssize_t _head(const uint8_t* data, Py_ssize_t size, Py_ssize_t* n) except -1:
    """Reads format byte and length; returns the bytes read."""
    cdef int place
    if size < 2:
        raise ValueError("block is cut short")
    if data[0] & 0x1F > MAX_K:
        raise ValueError(f"block format {data[0]:#04x} is not known")
    n[0] = 0
    for place in range(3):
        if place + 1 >= size:
            raise ValueError("block is cut short")
        n[0] |= <Py_ssize_t> (data[place + 1] & 0x7F) << 7 * place
        if data[place + 1] < 0x80:
            if n[0] > MAX_BLOCK or (place and not data[place + 1]):
                break
            if (n[0] + 7) // 8 > size - 2 - place:
                raise ValueError("block is cut short")
            return place + 2
    raise ValueError("block length is not valid")


cdef Py_ssize_t _unmask(const uint8_t* mask, Py_ssize_t n, uint8_t* present) except -1:
    """Fills `present`; returns how many are."""
    cdef Py_ssize_t i, count = 0
    if n & 7 and mask[n >> 3] >> (n & 7):
        raise ValueError("block has bits after its end")
    for i in range(n):
        present[i] = mask[i >> 3] >> (i & 7) & 1
        count += present[i]
    return count


def decode_block(data):
    """(values, present) of `encode_block`, or ValueError; see `_pure.decode_block`."""
    cdef _Column column = _Column("data", data, b"Bbc?", 1)
    cdef const uint8_t* source = <uint8_t*> column.data
    cdef Py_ssize_t n, offset, count
    cdef Reader r
    cdef bytes present
    cdef uint8_t* there = NULL
    offset = _head(source, column.rows, &n)
    present = PyBytes_FromStringAndSize(NULL, n)
    memset(PyBytes_AS_STRING(present), 1, n)
    count = n
    if source[0] & HAS_MASK:
        there = <uint8_t*> PyBytes_AS_STRING(present)
        count = _unmask(source + offset, n, there)
        offset += (n + 7) // 8
    r.data, r.left, r.window, r.used = source + offset, column.rows - offset, 0, 0
    if count > 8 * r.left:
        raise ValueError("block is cut short")
    cdef array.array values = array.clone(INT64, n, False)
    cdef int state = _unpack(&r, <int64_t*> values.data.as_longlongs, there, n, count, source[0])
    if state == CUT_SHORT:
        raise ValueError("block is cut short")
    if state == TOO_LARGE:
        raise ValueError("block holds a value beyond 64 bits")
    if state == TOO_LONG:
        raise ValueError("block has bits after its end")
    return values, present


# --- frame checks ----------------------------------------------------------------------------------------------------

cdef uint16_t X25[256]
cdef uint16_t MODBUS[256]


cdef void _fill(uint16_t* table, uint16_t polynomial) noexcept:
    cdef int byte, bit
    cdef uint16_t crc
    for byte in range(256):
        crc = <uint16_t> byte
        for bit in range(8):
            crc = (crc >> 1) ^ polynomial if crc & 1 else crc >> 1
        table[byte] = crc


_fill(X25, 0x8408)
_fill(MODBUS, 0xA001)


cdef uint16_t _folded(const uint8_t* source, Py_ssize_t n, const uint16_t* table) noexcept nogil:
    cdef uint16_t crc = 0xFFFF
    cdef Py_ssize_t i
    for i in range(n):
        crc = (crc >> 8) ^ table[(crc ^ source[i]) & 0xFF]
    return crc


cdef uint16_t _crc16(object data, const uint16_t* table) except? 0xFFFF:
    cdef _Column column
    if type(data) is bytes:  # nearly always: a column made for 85 octets takes ten times as long as they do
        return _folded(<uint8_t*> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), table)
    column = _Column("data", data, b"Bbc?", 1)
    return _folded(<uint8_t*> column.data, column.rows, table)


def crc16_x25(data):
    """The frame check of HDLC and of IEC 62056-46 (ISO/IEC 13239); sent low byte first."""
    return _crc16(data, X25) ^ 0xFFFF


def crc16_modbus(data):
    """The check of a Modbus RTU frame; sent low byte first."""
    return _crc16(data, MODBUS)
