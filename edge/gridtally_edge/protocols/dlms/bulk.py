"""Profile buffers by the native table decoder: the same `Data` as axdr.py makes of them, in a fraction of the time.

* Only arrays of equal structures of plain values are tables; for everything else `table_at` gives None and the general decoder,
  which knows every type and says what is wrong, takes over.
* Short buffers are not worth the call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gridtally_edge.protocols.dlms.data import Bits, Data, Tag, Value
from gridtally_native import ProfileTable, profile_table

WORTH_OCTETS: Final = 200
_ARRAY: Final = 1
_MASK: Final = (1 << 32) - 1


def table_at(octets: bytes, start: int) -> tuple[Data, int] | None:
    """The table that starts at `start` and the offset behind it, or None where none does."""
    if len(octets) - start < WORTH_OCTETS or octets[start] != _ARRAY:
        return None
    body = octets[start:] if start else octets
    try:
        table = profile_table(body)
    except ValueError:
        return None
    if not table.columns:
        return None
    return _data_of(table, body), start + table.end


def _data_of(table: ProfileTable, octets: bytes) -> Data:
    cells = [_CELLS[tag](number, octets) for tag, number in zip(table.tags, table.numbers, strict=True)]
    width = table.columns
    rows = [Data(Tag.STRUCTURE, tuple(cells[first : first + width])) for first in range(0, table.rows * width, width)]
    return Data(Tag.ARRAY, tuple(rows))


def _plain(tag: Tag) -> Callable[[int, bytes], Data]:
    return lambda number, _: Data(tag, number)


def _unsigned_64(number: int, _: bytes) -> Data:
    return Data(Tag.UINT64, number & ((1 << 64) - 1))


def _nothing(tag: Tag) -> Callable[[int, bytes], Data]:
    empty = Data(tag, None)
    return lambda _, __: empty


def _slice(tag: Tag) -> Callable[[int, bytes], Data]:
    def cut(number: int, octets: bytes) -> Data:
        first = number >> 32
        return Data(tag, octets[first : first + (number & _MASK)])

    return cut


def _bits(number: int, octets: bytes) -> Data:
    first, count = number >> 32, number & _MASK
    value: Value = Bits(count, octets[first : first + (count + 7) // 8])
    return Data(Tag.BIT_STRING, value)


def _float(tag: Tag, size: int) -> Callable[[int, bytes], Data]:
    mask = (1 << 8 * size) - 1
    return lambda number, _: Data(tag, (number & mask).to_bytes(size, "big"))


_PLAIN: Final = (
    Tag.BOOLEAN, Tag.BCD, Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.ENUM, Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64,
)  # fmt: skip
_SLICED: Final = (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING, Tag.DATE_TIME, Tag.DATE, Tag.TIME)
_CELLS: Final[dict[int, Callable[[int, bytes], Data]]] = {
    **{int(tag): _plain(tag) for tag in _PLAIN},
    **{int(tag): _slice(tag) for tag in _SLICED},
    **{int(tag): _nothing(tag) for tag in (Tag.NULL, Tag.DONT_CARE)},
    int(Tag.UINT64): _unsigned_64,
    int(Tag.FLOAT32): _float(Tag.FLOAT32, 4),
    int(Tag.FLOAT64): _float(Tag.FLOAT64, 8),
    int(Tag.BIT_STRING): _bits,
}
