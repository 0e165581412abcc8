# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -fwrapv
"""Profile buffers in A-XDR in C types; `_pure_axdr` defines and explains them."""

from cpython cimport array
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from gridtally_native import _records
from gridtally_native._records import ProfileTable

cdef int64_t MAX_TABLE_CELLS = _records.MAX_TABLE_CELLS
cdef int64_t MAX_TABLE_OCTETS = _records.MAX_TABLE_OCTETS
cdef array.array INT64 = array.array("q")

cdef enum:
    SIGNED = 16
    STRING = 32
    BITS = 64
    PLAIN = 128

cdef uint8_t SHAPE[256]          # size of the value in octets, with what it is; 0: no plain value
for _tag in range(256):
    SHAPE[_tag] = 0
for _tag, _size in ((0, 0), (255, 0), (3, 1), (13, 1), (17, 1), (22, 1), (18, 2), (6, 4), (23, 4), (21, 8), (24, 8)):
    SHAPE[_tag] = PLAIN | _size
for _tag, _size in ((15, 1), (16, 2), (5, 4), (20, 8)):
    SHAPE[_tag] = PLAIN | SIGNED | _size
for _tag, _size in ((25, 12), (26, 5), (27, 4)):
    SHAPE[_tag] = STRING | _size
for _tag in (9, 10, 12):
    SHAPE[_tag] = STRING
SHAPE[4] = BITS


cdef class _Octets:
    """The caller's buffer held open, and the place of the reader in it."""

    cdef Py_buffer view
    cdef const uint8_t* data
    cdef int64_t size
    cdef int64_t at
    cdef bint held

    def __cinit__(self, object buffer):
        self.held = False
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE)
        self.held = True
        self.data, self.size, self.at = <const uint8_t*> self.view.buf, self.view.len, 0

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef int _short(int64_t at, int64_t count, int64_t size) except -1:
    raise ValueError(f"octet {at}: {count} octets due, {max(0, size - at)} left")


cdef int64_t _length(_Octets o) except -1:
    cdef int64_t value = 0
    cdef int size, i
    if o.at >= o.size:
        _short(o.at, 1, o.size)
    if o.data[o.at] < 0x80:
        o.at += 1
        return o.data[o.at - 1]
    size = o.data[o.at] & 0x7F
    if size < 1 or size > 4:
        raise ValueError(f"octet {o.at}: a length of {size} octets")
    if o.at + 1 + size > o.size:
        _short(o.at + 1, size, o.size)
    for i in range(size):
        value = value << 8 | o.data[o.at + 1 + i]
    o.at += 1 + size
    return value


cdef inline int64_t _number(const uint8_t* p, int size, bint signed) noexcept nogil:
    if size == 1:
        return <int64_t> <int8_t> p[0] if signed else <int64_t> p[0]
    if size == 2:
        return <int64_t> <int16_t> (p[0] << 8 | p[1]) if signed else <int64_t> (p[0] << 8 | p[1])
    cdef uint32_t high = <uint32_t> p[0] << 24 | <uint32_t> p[1] << 16 | <uint32_t> p[2] << 8 | p[3]
    if size == 4:
        return <int64_t> <int32_t> high if signed else <int64_t> high
    cdef uint32_t low = <uint32_t> p[4] << 24 | <uint32_t> p[5] << 16 | <uint32_t> p[6] << 8 | p[7]
    return <int64_t> (<uint64_t> high << 32 | low)


cdef int _cell(_Octets o, uint8_t* tag, int64_t* number) except -1:
    cdef int64_t count, size
    cdef uint8_t shape
    if o.at >= o.size:
        _short(o.at, 1, o.size)
    tag[0] = o.data[o.at]
    shape = SHAPE[tag[0]]
    if shape & PLAIN:
        size = shape & 15
        if o.at + 1 + size > o.size:
            _short(o.at + 1, size, o.size)
        number[0] = _number(o.data + o.at + 1, size, shape & SIGNED) if size else 0
        o.at += 1 + size
        return 0
    if not shape:
        raise ValueError(f"octet {o.at}: tag {tag[0]} is no plain value")
    o.at += 1
    count = shape & 15 if shape & 15 else _length(o)
    size = (count + 7) // 8 if shape & BITS else count
    if o.at + size > o.size:
        _short(o.at, size, o.size)
    number[0] = o.at << 32 | count
    o.at += size
    return 0


def profile_table(data):
    """The cells of a profile buffer; see `_pure_axdr.profile_table`."""
    cdef _Octets o = _Octets(data)
    if o.size > MAX_TABLE_OCTETS:
        raise ValueError(f"{o.size} octets in one buffer, at most {MAX_TABLE_OCTETS}")
    if o.size < 1 or o.data[0] != 1:
        raise ValueError("octet 0: not an array")
    o.at = 1
    cdef int64_t rows = _length(o), columns = 0, width, row, column
    cdef bytes tags = b""
    cdef array.array numbers = array.clone(INT64, 0, False)
    cdef uint8_t* tag = NULL
    cdef int64_t* number = NULL
    for row in range(rows):
        if o.at >= o.size or o.data[o.at] != 2:
            raise ValueError(f"octet {o.at}: not a structure")
        o.at += 1
        width = _length(o)
        if row == 0:
            columns = width
            if rows > o.size or columns > o.size or rows * columns > MAX_TABLE_CELLS or rows * (columns + 2) > o.size:
                raise ValueError(f"{rows} rows of {columns} columns announced, {o.size} octets there")
            tags = PyBytes_FromStringAndSize(NULL, rows * columns)
            numbers = array.clone(INT64, rows * columns, False)
            tag, number = <uint8_t*> PyBytes_AS_STRING(tags), <int64_t*> numbers.data.as_longlongs
        if width != columns:
            raise ValueError(f"octet {o.at}: a row of {width} columns among rows of {columns}")
        for column in range(columns):
            _cell(o, tag, number)
            tag += 1
            number += 1
    return ProfileTable(rows, columns, tags, numbers, o.at)
