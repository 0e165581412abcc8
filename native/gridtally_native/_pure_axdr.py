"""A profile buffer (array of equal structures of plain values) in A-XDR, decoded at once. Twin: `_axdr`.

* The bulk form of the DLMS decoder: 96 rows of 8 columns in one call and two buffers. What is no table (nested values,
  rows of different width) is refused, and the caller takes the general decoder, which knows every type.
* Bounded: a row costs at least two octets and a cell one, so the count is checked before anything is allocated.

Source: IEC 62056-5-3, IEC 61334-6.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from gridtally_native._records import MAX_TABLE_CELLS, MAX_TABLE_OCTETS, ProfileTable

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ARRAY, _STRUCTURE, _BITS = 1, 2, 4
_EMPTY = frozenset({0, 255})
_SIGNED = {15: 1, 16: 2, 5: 4, 20: 8}
_UNSIGNED = {3: 1, 13: 1, 17: 1, 22: 1, 18: 2, 6: 4, 23: 4, 21: 8, 24: 8}
_STRINGS = frozenset({9, 10, 12})
_TIMES = {25: 12, 26: 5, 27: 4}


def profile_table(data: Buffer) -> ProfileTable:
    """Raises ValueError where the octets are no table or end too early."""
    octets = bytes(data)
    if len(octets) > MAX_TABLE_OCTETS:
        raise ValueError(f"{len(octets)} octets in one buffer, at most {MAX_TABLE_OCTETS}")
    if octets[:1] != b"\x01":
        raise ValueError("octet 0: not an array")
    rows, at = _length(octets, 1)
    columns, tags, numbers = 0, bytearray(), array("q")
    for row in range(rows):
        if octets[at : at + 1] != b"\x02":
            raise ValueError(f"octet {at}: not a structure")
        width, at = _length(octets, at + 1)
        if row == 0:
            columns = width
            if rows * columns > MAX_TABLE_CELLS or rows * (columns + 2) > len(octets):
                raise ValueError(f"{rows} rows of {columns} columns announced, {len(octets)} octets there")
        if width != columns:
            raise ValueError(f"octet {at}: a row of {width} columns among rows of {columns}")
        for _ in range(columns):
            tag, number, at = _cell(octets, at)
            tags.append(tag)
            numbers.append(number)
    return ProfileTable(rows, columns, bytes(tags), numbers, at)


def _length(octets: bytes, at: int) -> tuple[int, int]:
    """(length, where it goes on)."""
    _need(octets, at, 1)
    first = octets[at]
    if first < 0x80:
        return first, at + 1
    size = first & 0x7F
    if not 1 <= size <= 4:
        raise ValueError(f"octet {at}: a length of {size} octets")
    _need(octets, at + 1, size)
    return int.from_bytes(octets[at + 1 : at + 1 + size], "big"), at + 1 + size


def _need(octets: bytes, at: int, count: int) -> None:
    if at + count > len(octets):
        raise ValueError(f"octet {at}: {count} octets due, {max(0, len(octets) - at)} left")


def _cell(octets: bytes, at: int) -> tuple[int, int, int]:
    """(tag, number, where it goes on)."""
    _need(octets, at, 1)
    tag, at = octets[at], at + 1
    if tag in _EMPTY:
        return tag, 0, at
    if tag in _SIGNED or tag in _UNSIGNED:
        size = _SIGNED.get(tag) or _UNSIGNED[tag]
        _need(octets, at, size)
        number = int.from_bytes(octets[at : at + size], "big", signed=tag in _SIGNED or size == 8)
        return tag, number, at + size
    if tag in _TIMES:
        count = size = _TIMES[tag]
    elif tag in _STRINGS or tag == _BITS:
        count, at = _length(octets, at)
        size = (count + 7) // 8 if tag == _BITS else count
    else:
        raise ValueError(f"octet {at - 1}: tag {tag} is no plain value")
    _need(octets, at, size)
    return tag, at << 32 | count, at + size
